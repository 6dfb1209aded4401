//! Slices in, slices out: the kernels that sentir spends its time in, and all of its `unsafe`.
//!
//! Numbers are f32, matrices row-major and contiguous. Functions write into their last argument and panic only if a
//! slice has the wrong length. They run on as many threads as rayon's current pool has (`threads`), and on the calling one
//! alone if the work is too small to be worth waking another.
//!
//! **Same row, same bits.** What is computed for a row depends on this row and the sizes of its operands alone: not on
//! the number of rows, the place of the row among them, or the number of threads. Every sum has one order.
//!
//! Each algorithm is written once, generic over `simd::Simd`, and instantiated per instruction set ([`simd::Isa`]).
//! Each has a twin of plain loops in [`naive`], against which it is tested on every instruction set of the machine.
//!
//! There are no tensors and no models here.

pub mod activation;
pub mod attention;
pub mod buffer;
pub mod distance;
pub mod dropout;
pub mod elementwise;
pub mod gemm;
mod lines;
pub mod mapped;
pub mod naive;
pub mod norm;
pub mod pool;
pub mod select;
pub mod simd;
pub mod threads;
mod transpose;
