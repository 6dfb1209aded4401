//! Matrix products: of activations with a packed weight ([`gemm`]), of two plain matrices ([`gemm_nt`]), and those of
//! training, where a weight is packed for one product because it changes ([`linear`] and its gradients).
//!
//! Each number of a result is one chain of multiply-adds over k, cut into parts that depend on k alone and are added in
//! order. Tiles of any size follow the same chains, so neither the number of rows nor the place of a row shows.

mod engine;
mod fresh;
mod matrix;
pub(crate) mod operand;
mod packed;
mod plain;
mod product;
mod split;
pub(crate) mod tile;
mod widen;

#[cfg(test)]
mod tests;

use std::fmt;

pub use fresh::{linear, linear_input_grad, linear_weight_grad, sum_rows};
pub use operand::Bytes;
pub use packed::PackedMatrix;
pub use plain::{dots, gemm_nt};
pub use product::{Epilogue, gemm, gemm_bytes, gemm_with_steps};

/// The type in which a packed weight holds its numbers, and in which products with it are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WeightType {
    /// Single precision: `f32`.
    #[default]
    F32,
    /// The upper half of single precision: `bf16`. Sums are f32.
    Bf16,
    /// Integers of eight bits with a scale per output of the weight, and a scale and a zero per row of the other operand:
    /// `int8`. Sums are exact.
    Int8,
}

impl WeightType {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::F32, "f32"), (Self::Bf16, "bf16"), (Self::Int8, "int8")];

    /// `f32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Numbers in a word of four bytes: 1, 2 or 4.
    pub fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
