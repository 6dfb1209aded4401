//! What a device must be able to do.

use std::fmt::Debug;

use sentir_kernels::dropout::Dropout;
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

    /// A matrix `[outputs, inputs]`, row-major, that is trained: it stays in full precision and may change. Products with it,
    /// its gradients included, are computed in the type `kind`, f32 or bf16; a backend that lacks it uses a wider one.
    fn trainable(&self, matrix: Vec<f32>, outputs: usize, inputs: usize, kind: WeightType) -> Weight;

    /// A matrix that was packed before, as a weight.
    fn packed(&self, matrix: PackedMatrix) -> Weight;

    /// [`crate::ops::embed`]
    fn embed(&self, lookups: &[Lookup<'_, '_>], out: &mut Tensor);

    /// [`crate::ops::linear`]
    fn linear(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        activation: Activation,
        out: &mut Tensor,
    );

    /// [`crate::ops::linear`]: the derivative by x, from that by the product before its activation. The weight is trainable.
    fn linear_input_grad(&self, d: &Tensor, weight: &Weight, d_x: &mut Tensor);

    /// [`crate::ops::linear`]: adds the derivative by the weight.
    fn linear_weight_grad(&self, x: &Tensor, d: &Tensor, weight: &Weight, d_weight: &mut Tensor);

    /// Adds the sum of all rows of `x` to `sum`, one row.
    fn sum_rows(&self, x: &Tensor, sum: &mut Tensor);

    /// Applies an activation in place.
    fn activate(&self, x: &mut Tensor, activation: Activation);

    /// `d` times the slope of an activation at `x`.
    fn activation_grad(&self, x: &Tensor, activation: Activation, d: &mut Tensor);

    /// [`crate::ops::dropout`], in place; its gradient is the same.
    fn dropout(&self, x: &mut Tensor, mask: Dropout);

    /// [`crate::ops::attention`]
    fn attention(
        &self,
        qkv: &Tensor,
        offsets: &[usize],
        shape: AttentionShape,
        mask: Dropout,
        kind: WeightType,
        out: &mut Tensor,
    );

    /// [`crate::ops::attention`]: the derivative by qkv.
    fn attention_grad(
        &self,
        qkv: &Tensor,
        offsets: &[usize],
        shape: AttentionShape,
        mask: Dropout,
        d: &Tensor,
        d_qkv: &mut Tensor,
    );

    /// [`crate::ops::layer_norm`]: `x` becomes the normalized `x + residual`.
    fn layer_norm(
        &self,
        x: &mut Tensor,
        residual: Option<&Tensor>,
        scale: &Tensor,
        shift: &Tensor,
        epsilon: f64,
    );

    /// [`crate::ops::layer_norm`] without a residual: `d` from the derivative by the result to that by `x`; those by scale and
    /// shift are added to `d_scale` and `d_shift`.
    fn layer_norm_grad(
        &self,
        x: &Tensor,
        scale: &Tensor,
        epsilon: f64,
        d: &mut Tensor,
        d_scale: &mut Tensor,
        d_shift: &mut Tensor,
    );

    /// [`crate::ops::embed`]: adds row t of `d` to row `places[t]` of `sums`.
    fn scatter_add(&self, d: &Tensor, places: &[usize], sums: &mut Tensor);

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

    /// [`crate::ops::pool`]: adds the derivative by the states, from columns `column..column + d_hidden.width()` of `d`.
    /// `hidden` is there for [`PoolingMode::Max`].
    fn pool_grad(
        &self,
        d: &Tensor,
        column: usize,
        offsets: &[usize],
        skip: &[usize],
        mode: PoolingMode,
        hidden: Option<&Tensor>,
        d_hidden: &mut Tensor,
    );

    /// [`crate::ops::unit_length`], in place.
    fn unit_length(&self, x: &mut Tensor);

    /// [`crate::ops::unit_length`]: `d` from the derivative by the result to that by `x`.
    fn unit_length_grad(&self, x: &Tensor, d: &mut Tensor);
}
