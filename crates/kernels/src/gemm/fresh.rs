//! The products of training: a linear layer whose weight changes at each step, and its gradients.
//!
//! With y = x wᵀ, x `[m, k]`, w `[n, k]`, y `[m, n]`: ∂x = ∂y w, ∂w = ∂yᵀ x, ∂bias = Σ over rows of ∂y. All three are the product
//! with a packed matrix; the right operand is packed right before, which is little beside the product itself, and saves
//! two copies of the model. In bf16 both operands are rounded; sums are f32.

use std::cell::RefCell;

use super::operand::{as_words, as_words_mut};
use super::packed::{PackedMatrix, Plain};
use super::{Epilogue, WeightType, gemm};
use crate::simd::isa;
use crate::threads;
use crate::transpose::Transpose;

thread_local! {
    /// Memory for the packed operand and for a transpose, kept from one product to the next.
    static PACKED: RefCell<PackedMatrix> = RefCell::default();
    static TRANSPOSED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn multiply(
    x: &[f32],
    m: usize,
    right: Plain<'_>,
    kind: WeightType,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    // Taken out, so that a product inside of another would only lack the memory.
    let mut packed = PACKED.take();
    packed.repack(right, kind);
    gemm(x, m, &packed, epilogue, out);
    PACKED.set(packed);
}

/// `out = activation(x wᵀ + bias) + residual`: x `[m, k]`, w `[n, k]`, out `[m, n]`. `kind` is f32 or bf16.
pub fn linear(
    x: &[f32],
    m: usize,
    w: &[f32],
    (n, k): (usize, usize),
    kind: WeightType,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    multiply(x, m, Plain { values: w, outputs: n, inputs: k, transposed: false }, kind, epilogue, out);
}

/// `d_x = d_out w`: d_out `[m, n]`, w `[n, k]`, d_x `[m, k]`.
pub fn linear_input_grad(
    d_out: &[f32],
    m: usize,
    w: &[f32],
    (n, k): (usize, usize),
    kind: WeightType,
    d_x: &mut [f32],
) {
    let right = Plain { values: w, outputs: k, inputs: n, transposed: true };
    multiply(d_out, m, right, kind, Epilogue::default(), d_x);
}

/// `d_w += d_outᵀ x`: d_out `[m, n]`, x `[m, k]`, d_w `[n, k]`. The sum over m has one order, whatever the number of threads.
pub fn linear_weight_grad(
    d_out: &[f32],
    m: usize,
    x: &[f32],
    (n, k): (usize, usize),
    kind: WeightType,
    d_w: &mut [f32],
) {
    assert_eq!(Some(d_out.len()), m.checked_mul(n), "a gradient of [{m}, {n}]");
    let mut transposed = TRANSPOSED.take();
    transpose(d_out, m, n, &mut transposed);
    let right = Plain { values: x, outputs: k, inputs: m, transposed: true };
    multiply(&transposed, n, right, kind, Epilogue { accumulate: true, ..Epilogue::default() }, d_w);
    TRANSPOSED.set(transposed);
}

/// Columns that one thread sums.
const COLUMNS: usize = 256;

/// `out[j] += Σ x[i][j]` over the rows of x `[rows, out.len()]`, in their order.
pub fn sum_rows(x: &[f32], out: &mut [f32]) {
    let width = out.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    threads::pieces(out, COLUMNS, |i, out| {
        for row in x.chunks_exact(width) {
            out.iter_mut().zip(&row[i * COLUMNS..]).for_each(|(out, x)| *out += x);
        }
    });
}

/// Rows of the transpose that one thread writes.
const ROWS: usize = 64;

/// `to` becomes the transpose of x `[m, n]`.
fn transpose(x: &[f32], m: usize, n: usize, to: &mut Vec<f32>) {
    to.resize(m * n, 0.0);
    if x.is_empty() {
        return;
    }
    let isa = isa();
    threads::pieces(as_words_mut(to), ROWS * m, |i, to| {
        let (from, columns) = (&as_words(x)[i * ROWS..], to.len() / m);
        isa.run(Transpose { from, from_row: n, rows: m, columns, to, to_row: m });
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::activation::Activation;
    use crate::naive;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let words = (0..n.div_ceil(4))
            .flat_map(|i| crate::dropout::philox([i as u32, 0, seed as u32, (seed >> 32) as u32], [0; 2]));
        words.map(|word| word as f32 / 2_147_483_648.0 - 1.0).take(n).collect()
    }

    fn rounded(x: &[f32], kind: WeightType) -> Vec<f32> {
        x.iter().map(|&x| if kind == WeightType::Bf16 { naive::round_bf16(x) } else { x }).collect()
    }

    fn transposed(x: &[f32], m: usize, n: usize) -> Vec<f32> {
        (0..m * n).map(|i| x[i % m * n + i / m]).collect()
    }

    fn close(y: &[f32], expected: &[f32], terms: usize) -> std::result::Result<(), TestCaseError> {
        let tolerance = 1e-6 * (1.0 + (terms as f32).sqrt());
        for (y, e) in y.iter().zip(expected) {
            prop_assert!((y - e).abs() <= tolerance * e.abs().max(1.0), "{y} for {e}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn products_of_training_equal_the_plain_loops(
            m in 0usize..70, n in 1usize..200, k in 1usize..140, seed: u64,
            kind in prop::sample::select(vec![WeightType::F32, WeightType::Bf16]),
        ) {
            let (x, w, d) = (numbers(m * k, seed), numbers(n * k, seed ^ 1), numbers(m * n, seed ^ 2));
            let (bias, start) = (numbers(n, seed ^ 3), numbers(n * k, seed ^ 4));
            let (x16, w16, d16) = (rounded(&x, kind), rounded(&w, kind), rounded(&d, kind));
            let product = |a: &[f32], m, b: &[f32], n, k, bias: Option<&[f32]>, to: Option<&[f32]>| {
                let mut out = vec![0.0; m * n];
                naive::gemm(a, m, b, n, k, bias, Activation::Identity, to, &mut out);
                out
            };

            let mut y = vec![f32::NAN; m * n];
            let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
            linear(&x, m, &w, (n, k), kind, epilogue, &mut y);
            close(&y, &product(&x16, m, &w16, n, k, Some(&bias), None), k)?;

            let mut d_x = vec![f32::NAN; m * k];
            linear_input_grad(&d, m, &w, (n, k), kind, &mut d_x);
            close(&d_x, &product(&d16, m, &transposed(&w16, n, k), k, n, None, None), n)?;

            let mut d_w = start.clone();
            linear_weight_grad(&d, m, &x, (n, k), kind, &mut d_w);
            let (left, right) = (transposed(&d16, m, n), transposed(&x16, m, k));
            close(&d_w, &product(&left, n, &right, k, m, None, Some(&start)), m)?;

            let mut d_bias = bias.clone();
            sum_rows(&d, &mut d_bias);
            close(&d_bias, &product(&vec![1.0; m], 1, &transposed(&d, m, n), n, m, None, Some(&bias)), m)?;
        }
    }

    #[test]
    fn gradients_have_the_same_bits_on_any_number_of_threads() {
        let (m, n, k) = (700, 190, 333);
        let (x, d) = (numbers(m * k, 1), numbers(m * n, 2));
        for kind in [WeightType::F32, WeightType::Bf16] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut d_w = vec![1.0; n * k];
                    linear_weight_grad(&d, m, &x, (n, k), kind, &mut d_w);
                    let mut d_bias = vec![0.0; n];
                    sum_rows(&d, &mut d_bias);
                    (d_w, d_bias)
                })
            };
            let one = run(1);
            assert!(run(2) == one && run(3) == one, "{kind}");
        }
    }
}
