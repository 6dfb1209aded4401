//! The specification as a backend: f64, one thread, the naive loops of [`crate::ops`]. Not for use, but for comparison:
//! hundreds of times slower than [`crate::Cpu`], and right.

use sentir_kernels::gemm::PackedMatrix;

use crate::ops::{
    AttentionShape, Lookup, PoolingMode, naive_add, naive_attention, naive_embed, naive_layer_norm,
    naive_linear, naive_pool, naive_unit_length,
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

    fn packed(&self, matrix: PackedMatrix) -> Weight {
        let values: Vec<f32> = (0..matrix.outputs()).flat_map(|row| matrix.row(row)).collect();
        self.prepare(&values, matrix.outputs(), matrix.inputs(), WeightType::F32)
    }

    fn embed(&self, lookups: &[Lookup<'_>], out: &mut Tensor) {
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
        let WeightStorage::F64(matrix) = &weight.storage else { panic!("a weight of another backend") };
        naive_linear(x.f64(), matrix, weight.inputs(), bias.map(Tensor::f64), activation, out.f64_mut());
    }

    fn attention(&self, qkv: &Tensor, offsets: &[usize], shape: AttentionShape, out: &mut Tensor) {
        naive_attention(qkv.f64(), offsets, shape, out.f64_mut());
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
}
