//! The operations that a text encoder is made of, on any device.
//!
//! A [`Backend`] owns buffers and computes the operations of [`ops`] on them, destination first, allocating nothing.
//! A [`Pass`] is one walk through a network on one backend: it hands out buffers and takes them back. Two backends
//! exist: [`Cpu`] (f32, the kernels of `sentir-kernels`) and [`Reference`] (f64, the naive loops that stand in each
//! operation's own file). The second is the specification of the first: every operation is tested against it.
//!
//! Tensors are row-major, contiguous and two-dimensional: `[rows, width]`. Padding does not exist here: a batch is all
//! tokens of all sentences one after another, with the offsets at which sentences begin.
//!
//! A pass in training remembers what gradients need; [`Pass::backward`] walks back and adds the derivatives by parameters to
//! [`Gradients`].
//!
//! This crate knows no text, no file and no model family.

#![forbid(unsafe_code)]

mod aligned;
mod backend;
mod cpu;
mod gradients;
pub mod ops;
mod pass;
mod reference;
mod table;
mod tape;
mod tensor;
mod weight;

pub use backend::Backend;
pub use cpu::Cpu;
pub use gradients::{GradientRef, Gradients, ParameterMut, Projection};
pub use pass::{Memory, Pass};
pub use reference::Reference;
pub use sentir_kernels::activation::Activation;
pub use sentir_kernels::gemm::WeightType;
pub use sentir_kernels::simd::{Isa, check_isa, isa};
pub use table::{Table, TableType};
pub use tape::Randomness;
pub use tensor::Tensor;
pub use weight::Weight;
