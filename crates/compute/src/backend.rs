//! What a device must be able to do.

use std::fmt::Debug;

use sentir_kernels::gemm::PackedMatrix;

use crate::ops::{AttentionShape, Lookup, PoolingMode};
use crate::{Activation, Tensor, Weight, WeightType};

/// A device: it makes tensors and weights in its own storage and computes the operations of [`crate::ops`] on them.
///
/// Object-safe on purpose: the device is a value that a user chooses at run time. Methods are coarse (one call per layer
/// and operation), write into their last argument, which already has the shape of the result, and allocate no tensor.
/// None has a default body: a device that lacks an operation does not compile. Formulas, shapes and sources stand in the
/// file of each operation. Wrong shapes are programming errors and panic.
pub trait Backend: Send + Sync + Debug {
    /// The name for messages: `cpu`, `reference`.
    fn name(&self) -> &'static str;

    /// A new tensor of zeros.
    fn tensor(&self, rows: usize, width: usize) -> Tensor;

    /// A tensor with the given numbers, `[values.len() / width, width]`.
    fn upload(&self, values: &[f32], width: usize) -> Tensor;

    /// The numbers of a tensor.
    fn download(&self, tensor: &Tensor) -> Vec<f32>;

    /// A matrix `[outputs, inputs]`, row-major, in the form that [`Backend::linear`] multiplies with. A backend that lacks
    /// the type holds it in a wider one.
    fn prepare(&self, matrix: &[f32], outputs: usize, inputs: usize, kind: WeightType) -> Weight;

    /// A matrix that was packed before, as a weight.
    fn packed(&self, matrix: PackedMatrix) -> Weight;

    /// [`crate::ops::embed`]
    fn embed(&self, lookups: &[Lookup<'_>], out: &mut Tensor);

    /// [`crate::ops::linear`]
    fn linear(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        activation: Activation,
        out: &mut Tensor,
    );

    /// [`crate::ops::attention`]
    fn attention(&self, qkv: &Tensor, offsets: &[usize], shape: AttentionShape, out: &mut Tensor);

    /// [`crate::ops::layer_norm`]: `x` becomes the normalized `x + residual`.
    fn layer_norm(
        &self,
        x: &mut Tensor,
        residual: Option<&Tensor>,
        scale: &Tensor,
        shift: &Tensor,
        epsilon: f64,
    );

    /// [`crate::ops::add`]: `x` becomes `x + y`.
    fn add(&self, x: &mut Tensor, y: &Tensor);

    /// [`crate::ops::pool`]: one of the modes, into columns `column..column + hidden.width()` of `out`.
    fn pool(
        &self,
        hidden: &Tensor,
        offsets: &[usize],
        skip: &[usize],
        mode: PoolingMode,
        column: usize,
        out: &mut Tensor,
    );

    /// [`crate::ops::unit_length`], in place.
    fn unit_length(&self, x: &mut Tensor);
}
