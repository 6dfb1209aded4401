//! The CPU: f32 (and weights in bf16 or int8), by the kernels of `sentir-kernels`, on as many threads as rayon's current
//! pool has.
//!
//! This file only takes tensors apart; how a number is computed stands in `kernels`, what it should be in [`crate::ops`].

use sentir_kernels::dropout::Dropout;
use sentir_kernels::gemm::{Epilogue, PackedMatrix};
use sentir_kernels::{attention, distance, elementwise, gemm, norm, pool, threads};

use crate::ops::{AttentionShape, Lookup, PoolingMode};
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
        Tensor::new(width, Storage::F32(vec![0.0; rows * width]))
    }

    fn upload(&self, values: &[f32], width: usize) -> Tensor {
        Tensor::new(width, Storage::F32(values.to_vec()))
    }

    fn download(&self, tensor: &Tensor) -> Vec<f32> {
        tensor.f32().to_vec()
    }

    fn prepare(&self, matrix: &[f32], outputs: usize, inputs: usize, kind: WeightType) -> Weight {
        Weight::new(outputs, inputs, WeightStorage::Packed(PackedMatrix::pack(matrix, outputs, inputs, kind)))
    }

    fn packed(&self, matrix: PackedMatrix) -> Weight {
        Weight::new(matrix.outputs(), matrix.inputs(), WeightStorage::Packed(matrix))
    }

    fn embed(&self, lookups: &[Lookup<'_>], out: &mut Tensor) {
        let (first, others) = lookups.split_first().expect("at least one lookup");
        each_row(out, |token, row| {
            first.table.for_each(first.ids[token], |j, value| row[j] = value);
            for lookup in others {
                lookup.table.for_each(lookup.ids[token], |j, value| row[j] += value);
            }
        });
        lookups.iter().for_each(|lookup| lookup.table.looked_up(lookup.ids.len()));
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
        activation: Activation,
        out: &mut Tensor,
    ) {
        let WeightStorage::Packed(matrix) = &weight.storage else { panic!("a weight of another backend") };
        let epilogue = Epilogue { bias: bias.map(Tensor::f32), activation, residual: None };
        gemm::gemm(x.f32(), x.rows(), matrix, epilogue, out.f32_mut());
    }

    fn attention(&self, qkv: &Tensor, offsets: &[usize], shape: AttentionShape, out: &mut Tensor) {
        attention::attention(qkv.f32(), offsets, shape, Dropout::NONE, out.f32_mut());
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

    fn unit_length(&self, x: &mut Tensor) {
        let width = x.width();
        distance::normalize_rows(x.f32_mut(), width);
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
