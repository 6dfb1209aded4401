//! The CPU: f32 (and weights in bf16 or int8), by the kernels of `sentir-kernels`, on as many threads as rayon's current
//! pool has.
//!
//! This file only takes tensors apart; how a number is computed stands in `kernels`, what it should be in [`crate::ops`].

use sentir_kernels::dropout::Dropout;
use sentir_kernels::gemm::{Epilogue, PackedMatrix};
use sentir_kernels::{activation, attention, distance, dropout, elementwise, gemm, norm, pool, threads};

use crate::aligned::Aligned;
use crate::ops::{AttentionShape, Lookup, PoolingMode, pool_factors};
use crate::tensor::Storage;
use crate::weight::WeightStorage;
use crate::{Activation, Backend, Tensor, Weight, WeightType};

/// The machine's processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

/// Rows that one thread gathers or pools at least: below, waking another costs more than it saves.
const ROWS_PER_THREAD: usize = 32;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn tensor(&self, rows: usize, width: usize) -> Tensor {
        Tensor::new(width, Storage::F32(Aligned::zeros(rows * width)))
    }

    fn upload(&self, values: &[f32], width: usize) -> Tensor {
        Tensor::new(width, Storage::F32(values.into()))
    }

    fn download(&self, tensor: &Tensor) -> Vec<f32> {
        tensor.f32().to_vec()
    }

    fn prepare(&self, matrix: &[f32], outputs: usize, inputs: usize, kind: WeightType) -> Weight {
        Weight::new(outputs, inputs, WeightStorage::Packed(PackedMatrix::pack(matrix, outputs, inputs, kind)))
    }

    fn trainable(&self, matrix: Vec<f32>, outputs: usize, inputs: usize, kind: WeightType) -> Weight {
        assert!(kind != WeightType::Int8, "int8 has no gradient");
        assert_eq!(matrix.len(), outputs * inputs, "a weight of [{outputs}, {inputs}]");
        Weight::new(outputs, inputs, WeightStorage::Plain { values: matrix, kind })
    }

    fn packed(&self, matrix: PackedMatrix) -> Weight {
        Weight::new(matrix.outputs(), matrix.inputs(), WeightStorage::Packed(matrix))
    }

    fn embed(&self, lookups: &[Lookup<'_, '_>], out: &mut Tensor) {
        let (first, others) = lookups.split_first().expect("at least one lookup");
        each_row(out, |token, row| {
            first.table.for_each(first.ids[token], |j, value| row[j] = value);
            for lookup in others {
                lookup.table.for_each(lookup.ids[token], |j, value| row[j] += value);
            }
        });
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        activation: Activation,
        out: &mut Tensor,
    ) {
        let epilogue = Epilogue { bias: bias.map(Tensor::f32), activation, ..Epilogue::default() };
        match &weight.storage {
            WeightStorage::Packed(matrix) => gemm::gemm(x.f32(), x.rows(), matrix, epilogue, out.f32_mut()),
            WeightStorage::Plain { values, kind } => {
                let shape = (weight.outputs(), weight.inputs());
                gemm::linear(x.f32(), x.rows(), values, shape, *kind, epilogue, out.f32_mut());
            }
            WeightStorage::F64(_) => panic!("a weight of another backend"),
        }
    }

    fn linear_input_grad(&self, d: &Tensor, weight: &Weight, d_x: &mut Tensor) {
        let (values, kind) = plain(weight);
        let shape = (weight.outputs(), weight.inputs());
        gemm::linear_input_grad(d.f32(), d.rows(), values, shape, kind, d_x.f32_mut());
    }

    fn linear_weight_grad(&self, x: &Tensor, d: &Tensor, weight: &Weight, d_weight: &mut Tensor) {
        let shape = (weight.outputs(), weight.inputs());
        gemm::linear_weight_grad(d.f32(), d.rows(), x.f32(), shape, plain(weight).1, d_weight.f32_mut());
    }

    fn sum_rows(&self, x: &Tensor, sum: &mut Tensor) {
        gemm::sum_rows(x.f32(), sum.f32_mut());
    }

    fn activate(&self, x: &mut Tensor, kind: Activation) {
        activation::activate(x.f32_mut(), kind);
    }

    fn activation_grad(&self, x: &Tensor, kind: Activation, d: &mut Tensor) {
        activation::activation_grad(x.f32(), kind, d.f32_mut());
    }

    fn dropout(&self, x: &mut Tensor, mask: Dropout) {
        let width = x.width();
        dropout::dropout(x.f32_mut(), width, mask);
    }

    fn attention(
        &self,
        qkv: &Tensor,
        offsets: &[usize],
        shape: AttentionShape,
        mask: Dropout,
        kind: WeightType,
        out: &mut Tensor,
    ) {
        attention::attention(qkv.f32(), offsets, shape, mask, kind, out.f32_mut());
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
        attention::attention_grad(qkv.f32(), offsets, shape, mask, d.f32(), d_qkv.f32_mut());
    }

    fn layer_norm(
        &self,
        x: &mut Tensor,
        residual: Option<&Tensor>,
        scale: &Tensor,
        shift: &Tensor,
        epsilon: f64,
    ) {
        norm::layer_norm(x.f32_mut(), residual.map(Tensor::f32), scale.f32(), shift.f32(), epsilon as f32);
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
        let (d_scale, d_shift) = (d_scale.f32_mut(), d_shift.f32_mut());
        norm::layer_norm_grad(x.f32(), scale.f32(), epsilon as f32, d.f32_mut(), d_scale, d_shift);
    }

    fn scatter_add(&self, d: &Tensor, places: &[usize], sums: &mut Tensor) {
        let width = d.width();
        for (d, &place) in d.f32().chunks_exact(width).zip(places) {
            elementwise::add(&mut sums.f32_mut()[place * width..][..width], d);
        }
    }

    fn add(&self, x: &mut Tensor, y: &Tensor) {
        elementwise::add(x.f32_mut(), y.f32());
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
        let width = hidden.width();
        each_row(out, |i, row| {
            let own = &hidden.f32()[offsets[i] * width..offsets[i + 1] * width];
            pool_one(own, width, skip[i], mode, &mut row[column..column + width]);
        });
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
            let d = &d.f32()[i * d.width() + column..][..width];
            let own = sentence[0] * width..sentence[1] * width;
            let d_own = &mut d_hidden.f32_mut()[own.clone()];
            pool_factors(sentence[1] - sentence[0], skip[i], mode, |t, factor| {
                elementwise::add_scaled(&mut d_own[t * width..][..width], d, factor as f32);
            });
            if let (PoolingMode::Max, Some(hidden)) = (mode, hidden) {
                pool::max_rows_grad(&hidden.f32()[own][skip[i] * width..], d, &mut d_own[skip[i] * width..]);
            }
        }
    }

    fn unit_length(&self, x: &mut Tensor) {
        let width = x.width();
        distance::normalize_rows(x.f32_mut(), width);
    }

    fn unit_length_grad(&self, x: &Tensor, d: &mut Tensor) {
        distance::normalize_rows_grad(x.f32(), x.width(), d.f32_mut());
    }
}

/// The numbers of a weight that changes, and the type in which products with it are computed.
fn plain(weight: &Weight) -> (&[f32], WeightType) {
    match &weight.storage {
        WeightStorage::Plain { values, kind } => (values, *kind),
        _ => panic!("a gradient was asked of a weight that is not trainable"),
    }
}

/// Calls `each` with the number and the numbers of every row, several rows a thread.
fn each_row(out: &mut Tensor, each: impl Fn(usize, &mut [f32]) + Sync) {
    let width = out.width();
    threads::pieces(out.f32_mut(), ROWS_PER_THREAD * width, |i, rows| {
        for (j, row) in rows.chunks_exact_mut(width).enumerate() {
            each(i * ROWS_PER_THREAD + j, row);
        }
    });
}

/// One sentence; the cases are those of [`crate::ops::pool`].
fn pool_one(states: &[f32], width: usize, skip: usize, mode: PoolingMode, out: &mut [f32]) {
    let counted = &states[skip * width..];
    let n = counted.len() / width;
    match mode {
        PoolingMode::Cls if n > 0 => out.copy_from_slice(&counted[..width]),
        PoolingMode::Cls if !states.is_empty() => out.copy_from_slice(&states[..width]),
        PoolingMode::Max => pool::max_rows(counted, width, out),
        _ if n == 0 => out.fill(0.0),
        PoolingMode::Cls => unreachable!("a counted state is a state"),
        PoolingMode::LastToken => out.copy_from_slice(&counted[(n - 1) * width..]),
        PoolingMode::Mean => {
            pool::sum_rows(counted, width, out);
            elementwise::scale(out, 1.0 / n as f32);
        }
        PoolingMode::MeanSqrtLen => {
            pool::sum_rows(counted, width, out);
            elementwise::scale(out, 1.0 / (n as f32).sqrt());
        }
        PoolingMode::WeightedMean => {
            pool::weighted_sum_rows(counted, width, (skip + 1) as f32, out);
            // The weights skip + 1 … skip + n.
            elementwise::scale(out, 1.0 / (n * (2 * skip + n + 1) / 2) as f32);
        }
    }
}
