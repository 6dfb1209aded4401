//! The specification as a backend: f64, one thread, the naive loops of [`crate::ops`]. Not for use, but for comparison:
//! hundreds of times slower than [`crate::Cpu`], and right.

use sentir_kernels::dropout::Dropout;
use sentir_kernels::gemm::PackedMatrix;

use crate::ops::{
    AttentionShape, Lookup, PoolingMode, naive_activation, naive_activation_slope, naive_add,
    naive_attention, naive_attention_grad, naive_dropout, naive_embed, naive_input_grad, naive_layer_norm,
    naive_layer_norm_grad, naive_linear, naive_pool, naive_pool_grad, naive_scatter_add, naive_unit_length,
    naive_unit_length_grad, naive_weight_grad,
};
use crate::tensor::Storage;
use crate::weight::WeightStorage;
use crate::{Activation, Backend, Tensor, Weight, WeightType};

/// The naive loops in double precision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn tensor(&self, rows: usize, width: usize) -> Tensor {
        Tensor::new(width, Storage::F64(vec![0.0; rows * width]))
    }

    fn upload(&self, values: &[f32], width: usize) -> Tensor {
        Tensor::new(width, Storage::F64(widen(values)))
    }

    fn download(&self, tensor: &Tensor) -> Vec<f32> {
        tensor.f64().iter().map(|&x| x as f32).collect()
    }

    fn prepare(&self, matrix: &[f32], outputs: usize, inputs: usize, _: WeightType) -> Weight {
        Weight::new(outputs, inputs, WeightStorage::F64(widen(matrix)))
    }

    fn trainable(&self, matrix: Vec<f32>, outputs: usize, inputs: usize, kind: WeightType) -> Weight {
        self.prepare(&matrix, outputs, inputs, kind)
    }

    fn packed(&self, matrix: PackedMatrix) -> Weight {
        let values: Vec<f32> = (0..matrix.outputs()).flat_map(|row| matrix.row(row)).collect();
        self.prepare(&values, matrix.outputs(), matrix.inputs(), WeightType::F32)
    }

    fn embed(&self, lookups: &[Lookup<'_, '_>], out: &mut Tensor) {
        naive_embed(lookups, out.f64_mut());
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        activation: Activation,
        out: &mut Tensor,
    ) {
        naive_linear(
            x.f64(),
            matrix(weight),
            weight.inputs(),
            bias.map(Tensor::f64),
            activation,
            out.f64_mut(),
        );
    }

    fn linear_input_grad(&self, d: &Tensor, weight: &Weight, d_x: &mut Tensor) {
        naive_input_grad(d.f64(), matrix(weight), weight.inputs(), d_x.f64_mut());
    }

    fn linear_weight_grad(&self, x: &Tensor, d: &Tensor, weight: &Weight, d_weight: &mut Tensor) {
        naive_weight_grad(x.f64(), d.f64(), weight.inputs(), d_weight.f64_mut());
    }

    fn sum_rows(&self, x: &Tensor, sum: &mut Tensor) {
        x.f64().chunks_exact(sum.width()).for_each(|row| naive_add(sum.f64_mut(), row));
    }

    fn activate(&self, x: &mut Tensor, activation: Activation) {
        x.f64_mut().iter_mut().for_each(|x| *x = naive_activation(*x, activation));
    }

    fn activation_grad(&self, x: &Tensor, activation: Activation, d: &mut Tensor) {
        d.f64_mut().iter_mut().zip(x.f64()).for_each(|(d, &x)| *d *= naive_activation_slope(x, activation));
    }

    fn dropout(&self, x: &mut Tensor, mask: Dropout) {
        let width = x.width();
        naive_dropout(x.f64_mut(), width, mask);
    }

    fn attention(
        &self,
        qkv: &Tensor,
        offsets: &[usize],
        shape: AttentionShape,
        mask: Dropout,
        _: WeightType,
        out: &mut Tensor,
    ) {
        naive_attention(qkv.f64(), offsets, shape, mask, out.f64_mut());
    }

    fn attention_grad(
        &self,
        qkv: &Tensor,
        offsets: &[usize],
        shape: AttentionShape,
        mask: Dropout,
        d: &Tensor,
        d_qkv: &mut Tensor,
    ) {
        naive_attention_grad(qkv.f64(), offsets, shape, mask, d.f64(), d_qkv.f64_mut());
    }

    fn layer_norm(
        &self,
        x: &mut Tensor,
        residual: Option<&Tensor>,
        scale: &Tensor,
        shift: &Tensor,
        epsilon: f64,
    ) {
        naive_layer_norm(x.f64_mut(), residual.map(Tensor::f64), scale.f64(), shift.f64(), epsilon);
    }

    fn layer_norm_grad(
        &self,
        x: &Tensor,
        scale: &Tensor,
        epsilon: f64,
        d: &mut Tensor,
        d_scale: &mut Tensor,
        d_shift: &mut Tensor,
    ) {
        let (d_scale, d_shift) = (d_scale.f64_mut(), d_shift.f64_mut());
        naive_layer_norm_grad(x.f64(), scale.f64(), epsilon, d.f64_mut(), d_scale, d_shift);
    }

    fn scatter_add(&self, d: &Tensor, places: &[usize], sums: &mut Tensor) {
        naive_scatter_add(d.f64(), d.width(), places, sums.f64_mut());
    }

    fn add(&self, x: &mut Tensor, y: &Tensor) {
        naive_add(x.f64_mut(), y.f64());
    }

    fn pool(
        &self,
        hidden: &Tensor,
        offsets: &[usize],
        skip: &[usize],
        mode: PoolingMode,
        column: usize,
        out: &mut Tensor,
    ) {
        let (width, stride) = (hidden.width(), out.width());
        for (i, sentence) in offsets.windows(2).enumerate() {
            let own = &hidden.f64()[sentence[0] * width..sentence[1] * width];
            naive_pool(own, width, skip[i], mode, &mut out.f64_mut()[i * stride + column..][..width]);
        }
    }

    fn unit_length(&self, x: &mut Tensor) {
        let width = x.width();
        naive_unit_length(x.f64_mut(), width);
    }

    fn pool_grad(
        &self,
        d: &Tensor,
        column: usize,
        offsets: &[usize],
        skip: &[usize],
        mode: PoolingMode,
        hidden: Option<&Tensor>,
        d_hidden: &mut Tensor,
    ) {
        let width = d_hidden.width();
        for (i, sentence) in offsets.windows(2).enumerate() {
            let own = sentence[0] * width..sentence[1] * width;
            let hidden = hidden.map(|hidden| &hidden.f64()[own.clone()]);
            let d = &d.f64()[i * d.width() + column..][..width];
            naive_pool_grad(d, skip[i], mode, hidden, &mut d_hidden.f64_mut()[own]);
        }
    }

    fn unit_length_grad(&self, x: &Tensor, d: &mut Tensor) {
        naive_unit_length_grad(x.f64(), x.width(), d.f64_mut());
    }
}

fn matrix(weight: &Weight) -> &[f64] {
    match &weight.storage {
        WeightStorage::F64(matrix) => matrix,
        _ => panic!("a weight of another backend"),
    }
}
