//! Matrix products: of activations with a packed weight ([`gemm`]), and of two plain matrices ([`gemm_nt`]).
//!
//! Each number of a result is one chain of fused multiply-adds over k, cut into parts that depend on k alone and are
//! added in order. Tiles of any size follow the same chains, so neither the number of rows nor the place of a row shows.

mod packed;
mod plain;
pub(crate) mod tile;

#[cfg(test)]
mod tests;

pub use packed::{Epilogue, PackedMatrix, gemm};
pub use plain::gemm_nt;

/// An output that several threads write into, each its own numbers.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: it is only an address; whoever writes through it says why nobody else writes there.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}
