//! The specification of every kernel: plain loops in f64, one thread. Not for use, but for comparison.
//!
//! Arguments are those of the kernels of the same name; results are rounded to f32 once, at the end.

use std::ops::Range;

use crate::activation::Activation;
use crate::attention::AttentionShape;
use crate::dropout::Dropout;

/// `activation(x wᵀ + bias) + residual`: x `[m, k]`, weight `[n, k]`, bias `[n]`, residual and out `[m, n]`.
pub fn gemm(
    x: &[f32],
    m: usize,
    weight: &[f32],
    n: usize,
    k: usize,
    bias: Option<&[f32]>,
    activation: Activation,
    residual: Option<&[f32]>,
    out: &mut [f32],
) {
    for i in 0..m {
        for j in 0..n {
            let product = (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(weight[j * k + p])).sum::<f64>();
            let biased = product + bias.map_or(0.0, |bias| f64::from(bias[j]));
            let residual = residual.map_or(0.0, |residual| f64::from(residual[i * n + j]));
            out[i * n + j] = (activate(biased, activation) + residual) as f32;
        }
    }
}

/// The nearest bf16, ties to even.
pub fn round_bf16(x: f32) -> f32 {
    let (below, unit) = (f32::from_bits(x.to_bits() & 0xFFFF_0000), 0x1_0000);
    let above = f32::from_bits((x.to_bits() & 0xFFFF_0000).wrapping_add(unit));
    let (down, up) = (f64::from(x) - f64::from(below), f64::from(above) - f64::from(x));
    let even = below.to_bits() & unit == 0;
    if down.abs() < up.abs() || (down.abs() == up.abs() && even) { below } else { above }
}

/// Symmetric integers of eight bits with one scale: x ≈ integer · scale, the largest magnitude is 127.
pub fn quantise(x: &[f32]) -> (Vec<i32>, f64) {
    let largest = x.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    let integer =
        |&x: &f32| if largest > 0.0 { (f64::from(x) / largest * 127.0).round_ties_even() as i32 } else { 0 };
    (x.iter().map(integer).collect(), largest / 127.0)
}

/// Bytes with one scale and one byte for zero: x ≈ (byte − zero) · scale, 255 steps from the smallest number (or zero) to the
/// largest (or zero).
pub fn quantise_row(x: &[f32]) -> (Vec<i32>, i32, f64) {
    let bound = |pick: fn(f64, f64) -> f64| x.iter().map(|&x| f64::from(x)).fold(0.0, pick);
    let (smallest, scale) = (bound(f64::min), (bound(f64::max) - bound(f64::min)) / 255.0);
    if scale == 0.0 {
        return (vec![0; x.len()], 0, 0.0);
    }
    let zero = (-smallest / scale).round_ties_even();
    let byte = |&x: &f32| (f64::from(x) / scale + zero).round_ties_even().clamp(0.0, 255.0) as i32;
    (x.iter().map(byte).collect(), zero as i32, scale)
}

/// `activation(x)` for one number; formulas at [`Activation`].
pub fn activate(x: f64, activation: Activation) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Identity => x,
        Activation::Gelu => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        }
        // `f64::max` would turn NaN into zero.
        Activation::Relu if x < 0.0 => 0.0,
        Activation::Relu => x,
        Activation::Silu => x * sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
    }
}

/// `activation′(x)` for one number; 0 at the kink of ReLU.
pub fn activation_slope(x: f64, activation: Activation) -> f64 {
    let s = activate(x, Activation::Sigmoid);
    match activation {
        Activation::Identity => 1.0,
        Activation::Gelu => {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0 + x * density
        }
        Activation::GeluTanh => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let t = (factor * (x + 0.044_715 * x.powi(3))).tanh();
            (1.0 + t) / 2.0 + x / 2.0 * (1.0 - t * t) * factor * (1.0 + 3.0 * 0.044_715 * x * x)
        }
        Activation::Relu => f64::from(x > 0.0),
        Activation::Silu => s * (1.0 + x * (1.0 - s)),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Sigmoid => s * (1.0 - s),
    }
}

/// The gradients of [`layer_norm`] without a residual: `d` from the gradient of y to that of x; to those of scale and shift,
/// theirs are added.
pub fn layer_norm_grad(
    x: &[f32],
    scale: &[f32],
    epsilon: f32,
    d: &mut [f32],
    d_scale: &mut [f32],
    d_shift: &mut [f32],
) {
    let width = scale.len();
    let n = width as f64;
    let (mut scales, mut shifts) = (vec![0.0; width], vec![0.0; width]);
    for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let factor = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let normal: Vec<f64> = x.iter().map(|&x| (f64::from(x) - mean) * factor).collect();
        let g: Vec<f64> = d.iter().zip(scale).map(|(&d, &s)| f64::from(d) * f64::from(s)).collect();
        let mean_g = g.iter().sum::<f64>() / n;
        let mean_gx = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / n;
        for j in 0..width {
            scales[j] += f64::from(d[j]) * normal[j];
            shifts[j] += f64::from(d[j]);
            d[j] = (factor * (g[j] - mean_g - normal[j] * mean_gx)) as f32;
        }
    }
    for j in 0..width {
        d_scale[j] += scales[j] as f32;
        d_shift[j] += shifts[j] as f32;
    }
}

/// erf(x) = 2/√π ∫₀ˣ e^(−t²) dt to about 1e-15: a series of positive terms near zero, the continued fraction of
/// erfc beyond (Abramowitz & Stegun 7.1.6 and 7.1.14).
pub fn erf(x: f64) -> f64 {
    let z = x.abs();
    if x.is_nan() {
        return x;
    }
    if z > 6.0 {
        return x.signum();
    }
    let root = std::f64::consts::PI.sqrt();
    let gauss = (-z * z).exp();
    if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= 2.0 * z * z / f64::from(2 * n + 1);
            sum += term;
        }
        (2.0 / root * gauss * sum).copysign(x)
    } else {
        let tail = (1..=120).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
        (1.0 - gauss / root / tail).copysign(x)
    }
}

/// Softmax attention within each sentence; see [`crate::attention::attention`].
pub fn attention(qkv: &[f32], offsets: &[usize], shape: AttentionShape, dropout: Dropout, out: &mut [f32]) {
    round(&attention_f64(&widen(qkv), offsets, shape, dropout), out);
}

/// Its gradient; see [`crate::attention::attention_grad`].
pub fn attention_grad(
    qkv: &[f32],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    round(&attention_grad_f64(&widen(qkv), offsets, shape, dropout, &widen(d_out)), d_qkv);
}

fn attention_f64(qkv: &[f64], offsets: &[usize], shape: AttentionShape, dropout: Dropout) -> Vec<f64> {
    let (width, dim) = (shape.width(), shape.head_dim);
    let mut out = vec![0.0; qkv.len() / 3];
    for_each_query(qkv, offsets, shape, dropout, |head, query, keys, probabilities, factors| {
        for (key, (p, factor)) in keys.zip(probabilities.iter().zip(factors)) {
            for c in head * dim..(head + 1) * dim {
                out[query * width + c] += p * factor * qkv[(3 * key + 2) * width + c];
            }
        }
    });
    out
}

fn attention_grad_f64(
    qkv: &[f64],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    d_out: &[f64],
) -> Vec<f64> {
    let (width, dim) = (shape.width(), shape.head_dim);
    let mut d_qkv = vec![0.0; qkv.len()];
    for_each_query(qkv, offsets, shape, dropout, |head, query, keys, probabilities, factors| {
        let columns = head * dim..(head + 1) * dim;
        let at = |token: usize, third: usize, column: usize| (token * 3 + third) * width + column;
        let d_probability = |(key, factor): (usize, &f64)| {
            let terms = columns.clone().map(|c| d_out[query * width + c] * qkv[at(key, 2, c)]);
            terms.sum::<f64>() * factor
        };
        let d_probabilities: Vec<f64> = keys.clone().zip(factors).map(d_probability).collect();
        let mean: f64 = probabilities.iter().zip(&d_probabilities).map(|(p, d_p)| p * d_p).sum();
        for (i, key) in keys.enumerate() {
            let p = probabilities[i];
            let d_score = p * (d_probabilities[i] - mean) / (dim as f64).sqrt();
            for c in columns.clone() {
                d_qkv[at(query, 0, c)] += d_score * qkv[at(key, 1, c)];
                d_qkv[at(key, 1, c)] += d_score * qkv[at(query, 0, c)];
                d_qkv[at(key, 2, c)] += p * factors[i] * d_out[query * width + c];
            }
        }
    });
    d_qkv
}

/// Calls `visit(head, query, keys, softmax(q Kᵀ / √D), factors of dropout)` for each query of each head; `query` and `keys`
/// are tokens of the batch.
fn for_each_query(
    qkv: &[f64],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    mut visit: impl FnMut(usize, usize, Range<usize>, &[f64], &[f64]),
) {
    let (width, dim, tokens) = (shape.width(), shape.head_dim, offsets[offsets.len() - 1]);
    let at = |token: usize, third: usize, column: usize| qkv[(token * 3 + third) * width + column];
    for sentence in offsets.windows(2).map(|s| s[0]..s[1]) {
        for (head, query) in
            (0..shape.heads).flat_map(|head| sentence.clone().map(move |query| (head, query)))
        {
            let columns = head * dim..(head + 1) * dim;
            let dot = |key| columns.clone().map(|c| at(query, 0, c) * at(key, 1, c)).sum::<f64>();
            let scores: Vec<f64> = sentence.clone().map(|key| dot(key) / (dim as f64).sqrt()).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let probabilities: Vec<f64> = powers.iter().map(|power| power / sum).collect();
            let mut factors = vec![0.0; sentence.len()];
            dropout.factors((head * tokens + query) as u32, &mut factors);
            visit(head, query, sentence.clone(), &probabilities, &widen(&factors));
        }
    }
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

fn round(x: &[f64], to: &mut [f32]) {
    assert_eq!(x.len(), to.len(), "a result of another size");
    x.iter().zip(to).for_each(|(&x, to)| *to = x as f32);
}

/// x = (y − mean(y)) / √(var(y) + ε) · scale + shift with y = x + residual, over rows as wide as `scale`.
pub fn layer_norm(x: &mut [f32], residual: Option<&[f32]>, scale: &[f32], shift: &[f32], epsilon: f32) {
    let width = scale.len();
    for (i, row) in x.chunks_exact_mut(width).enumerate() {
        let residual = |j: usize| residual.map_or(0.0, |residual| f64::from(residual[i * width + j]));
        let sums: Vec<f64> = (0..width).map(|j| f64::from(row[j]) + residual(j)).collect();
        let mean = sums.iter().sum::<f64>() / width as f64;
        let variance = sums.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / width as f64;
        for j in 0..width {
            let normal = (sums[j] - mean) / (variance + f64::from(epsilon)).sqrt();
            row[j] = (normal * f64::from(scale[j]) + f64::from(shift[j])) as f32;
        }
    }
}

/// `out[j] = Σ (first_weight + i) · rows[i][j]`, or the plain sum without a first weight.
pub fn sum_rows(rows: &[f32], width: usize, first_weight: Option<f32>, out: &mut [f32]) {
    for j in 0..width {
        let weight = |i: usize| first_weight.map_or(1.0, |first| f64::from(first) + i as f64);
        let states = rows.chunks_exact(width).enumerate();
        out[j] = states.map(|(i, row)| weight(i) * f64::from(row[j])).sum::<f64>() as f32;
    }
}

/// The largest of each column, −∞ without rows, NaN if one is NaN.
pub fn max_rows(rows: &[f32], width: usize, out: &mut [f32]) {
    for j in 0..width {
        let column = || rows.chunks_exact(width).map(|row| row[j]);
        let largest = column().fold(f32::NEG_INFINITY, f32::max);
        out[j] = if column().any(f32::is_nan) { f32::NAN } else { largest };
    }
}

/// `Σ f(a, b)` over the pairs of numbers of two vectors.
fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(a.len(), b.len(), "two vectors of different lengths");
    a.iter().zip(b).map(|(&a, &b)| f(a.into(), b.into())).sum()
}

/// `Σ a·b`
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_pairs(a, b, |a, b| a * b) as f32
}

/// `Σ (a − b)²`
pub fn squared_euclidean(a: &[f32], b: &[f32]) -> f32 {
    sum_pairs(a, b, |a, b| (a - b) * (a - b)) as f32
}

/// `Σ |a − b|`
pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    sum_pairs(a, b, |a, b| (a - b).abs()) as f32
}

/// Each row divided by its length, or by 1e-12 if it is shorter.
pub fn normalize_rows(x: &mut [f32], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let length = sum_pairs(row, row, |a, b| a * b).sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (f(x + h) − f(x − h)) / 2h differs from the derivative by the third one times h² / 6, and by the rounding of f over h:
    /// about 1e-10 each here.
    #[test]
    fn the_gradient_of_attention_is_what_differences_say() {
        let shape = AttentionShape { heads: 2, head_dim: 3 };
        let offsets = [0, 1, 1, 6, 8];
        let wave = |n: usize, phase: f64| (0..n).map(|i| (1.7 * i as f64 + phase).sin()).collect::<Vec<_>>();
        let (qkv, d_out) = (wave(8 * 3 * 6, 0.3), wave(8 * 6, 1.1));
        for dropout in [Dropout::NONE, Dropout { probability: 0.3, seed: 5, stream: 2 }] {
            let loss = |qkv: &[f64]| {
                let out = attention_f64(qkv, &offsets, shape, dropout);
                out.iter().zip(&d_out).map(|(out, d_out)| out * d_out).sum::<f64>()
            };
            let gradient = attention_grad_f64(&qkv, &offsets, shape, dropout, &d_out);
            for i in 0..qkv.len() {
                let step = 1e-5;
                let moved = |by: f64| {
                    let mut qkv = qkv.clone();
                    qkv[i] += by;
                    loss(&qkv)
                };
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((gradient[i] - difference).abs() < 1e-9, "{i}: {} for {difference}", gradient[i]);
            }
        }
    }
}
