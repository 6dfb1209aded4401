//! Matrix products.

use crate::activation::Activation;
use crate::naive;

/// A weight `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    values: Vec<f32>,
}

impl PackedMatrix {
    /// Packs a row-major weight `[n, k]`.
    pub fn pack(weight: &[f32], n: usize, k: usize) -> Self {
        assert_eq!(weight.len(), n * k, "a weight of [{n}, {k}]");
        Self { outputs: n, inputs: k, values: weight.to_vec() }
    }

    /// n
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// k
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// What happens to a product before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, added to each row.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// `[m, n]`, added after the activation.
    pub residual: Option<&'a [f32]>,
}

/// `out = activation(x wᵀ + bias) + residual`
pub fn gemm(x: &[f32], m: usize, weight: &PackedMatrix, epilogue: Epilogue<'_>, out: &mut [f32]) {
    let Epilogue { bias, activation, residual } = epilogue;
    naive::gemm(x, m, &weight.values, weight.outputs, weight.inputs, bias, activation, residual, out);
}

/// `out = a bᵀ`
pub fn gemm_nt(a: &[f32], m: usize, b: &[f32], n: usize, k: usize, out: &mut [f32]) {
    naive::gemm(a, m, b, n, k, None, Activation::Identity, None, out);
}
