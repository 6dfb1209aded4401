//! LoRA: in place of a matrix W, a product B A of low rank that is added to it is trained (Hu et al. 2021,
//! <https://arxiv.org/abs/2106.09685>):
//!
//! ```text
//! W' = W + s B A,  s = lora_alpha / r,  A [r, inputs], B [outputs, r]
//! ∂A = s Bᵀ ∂W',   ∂B = s ∂W' Aᵀ
//! ```
//!
//! A begins with uniform numbers within ±1/√inputs, B with zeros, as in peft (`peft/tuners/lora/layer.py`). The network computes with
//! W', so that a model is merged at any time and saved as any other; there is no dropout in front of A. Everything else stays as it is:
//! no gradients of other matrices, no moments but those of A and B, and of ∂W' no more than one at a time.
//!
//! Not here: which parameters there are (`update`), and how ∂W' is computed.

use rayon::prelude::*;
use sentir_compute::Projection;
use serde::{Deserialize, Serialize};

use crate::order::Mt19937;
use crate::{Error, Result};

/// Which matrices get a product of low rank, and of which; the names are those of peft's `LoraConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// The rank; 8.
    pub r: usize,
    /// The product is scaled by `lora_alpha / r`; 16.
    pub lora_alpha: f64,
    /// The last parts of the names of the modules of the encoder's layers; `query` and `value`. `all-linear` are all.
    pub target_modules: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { r: 8, lora_alpha: 16.0, target_modules: ["query", "value"].map(str::to_owned).into() }
    }
}

impl Lora {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Argument`] that says what is expected.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Argument(message));
        if self.r == 0 || self.r > 1 << 14 {
            return wrong(format!("lora_r is {}; a rank from 1 to 16384 is expected", self.r));
        }
        if !self.lora_alpha.is_finite() || self.lora_alpha <= 0.0 {
            return wrong(format!("lora_alpha is {}; a positive number is expected", self.lora_alpha));
        }
        if self.target_modules.iter().all(|name| name.trim().is_empty()) {
            return wrong("lora_target_modules names no module; `query` and `value` are usual".to_owned());
        }
        Ok(())
    }

    /// Whether the matrix of this name (`encoder.layer.0.attention.self.query.weight`) gets a product.
    pub(crate) fn targets(&self, tensor: &str) -> bool {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        self.target_modules.iter().any(|name| {
            let rest = module.strip_suffix(name.as_str());
            name == "all-linear" || rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

/// The products of one matrix of the model, which may be several stacked: query, key and value.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    /// Which of the stacked matrices have one.
    parts: Vec<usize>,
    r: usize,
    outputs: usize,
    inputs: usize,
    scale: f32,
    /// For each part A, row-major, then B.
    pub(crate) values: Vec<f32>,
}

/// The products, and what they are added to.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) factors: Factors,
    /// W of each part.
    base: Vec<f32>,
}

impl Factors {
    /// Numbers of a part.
    fn size(&self) -> usize {
        self.r * (self.inputs + self.outputs)
    }
}

/// The gradient by A and B from that by the matrix.
impl Projection for Factors {
    fn kept(&self) -> usize {
        self.values.len()
    }

    fn add(&self, d: &[f32], kept: &mut [f32]) {
        let (r, outputs, inputs, scale) = (self.r, self.outputs, self.inputs, self.scale);
        let size = self.size();
        let parts = self.parts.par_iter().zip(self.values.par_chunks(size));
        parts.zip(kept.par_chunks_mut(size)).for_each(|((&part, values), kept)| {
            let d = &d[part * outputs * inputs..][..outputs * inputs];
            let (a, b) = values.split_at(r * inputs);
            let (d_a, d_b) = kept.split_at_mut(r * inputs);
            for ((d, b), d_b) in d.chunks_exact(inputs).zip(b.chunks_exact(r)).zip(d_b.chunks_exact_mut(r)) {
                for k in 0..r {
                    d_b[k] += scale * dot(d, &a[k * inputs..][..inputs]);
                    add(&mut d_a[k * inputs..][..inputs], scale * b[k], d);
                }
            }
        });
    }
}

impl Adapter {
    /// For `matrix`, several of `[outputs, inputs]` stacked, of which those in `parts` get a product.
    pub(crate) fn new(
        lora: &Lora,
        parts: Vec<usize>,
        [outputs, inputs]: [usize; 2],
        matrix: &[f32],
        random: &mut Mt19937,
    ) -> Self {
        let r = lora.r;
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut values = Vec::new();
        let mut base = Vec::new();
        for &part in &parts {
            // From [−1, 1).
            values.extend(
                (0..r * inputs)
                    .map(|_| ((f64::from(random.next_u32()) / 2f64.powi(31) - 1.0) * bound) as f32),
            );
            values.extend(std::iter::repeat_n(0.0, outputs * r));
            base.extend_from_slice(&matrix[part * outputs * inputs..][..outputs * inputs]);
        }
        let scale = (lora.lora_alpha / r as f64) as f32;
        Self { factors: Factors { parts, r, outputs, inputs, scale, values }, base }
    }

    /// Writes W + s B A into the matrix.
    pub(crate) fn merge(&self, matrix: &mut [f32]) {
        let own = &self.factors;
        let (r, outputs, inputs) = (own.r, own.outputs, own.inputs);
        for (i, &part) in own.parts.iter().enumerate() {
            let (a, b) = own.values[i * own.size()..][..own.size()].split_at(r * inputs);
            let base = &self.base[i * outputs * inputs..][..outputs * inputs];
            let to = &mut matrix[part * outputs * inputs..][..outputs * inputs];
            let rows = to.par_chunks_exact_mut(inputs).zip(base.par_chunks_exact(inputs));
            rows.zip(b.par_chunks_exact(r)).with_min_len(16).for_each(|((to, base), b)| {
                to.fill(0.0);
                b.iter().zip(a.chunks_exact(inputs)).for_each(|(&b, a)| add(to, own.scale * b, a));
                to.iter_mut().zip(base).for_each(|(to, base)| *to += base);
            });
        }
    }
}

/// to ← to + factor · x
fn add(to: &mut [f32], factor: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}

/// Σ a b, as eight sums that run beside each other.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter() -> (Adapter, Vec<f32>) {
        let lora = Lora { r: 3, lora_alpha: 6.0, ..Lora::default() };
        let mut random = Mt19937::new(5);
        let mut numbers = |count: usize| {
            (0..count).map(|_| random.next_u32() as f32 / 2f32.powi(31) - 1.0).collect::<Vec<_>>()
        };
        let matrix = numbers(3 * 5 * 11);
        let b = numbers(2 * 5 * 3);
        let mut adapter = Adapter::new(&lora, vec![0, 2], [5, 11], &matrix, &mut Mt19937::new(1));
        let size = adapter.factors.size();
        for (part, b) in b.chunks_exact(15).enumerate() {
            adapter.factors.values[part * size + 33..][..15].copy_from_slice(b);
        }
        (adapter, matrix)
    }

    #[test]
    fn names_are_matched_as_peft_does() {
        let lora = Lora::default();
        assert!(lora.targets("encoder.layer.0.attention.self.query.weight"));
        assert!(!lora.targets("encoder.layer.0.attention.self.key.weight"));
        assert!(!lora.targets("encoder.layer.0.subquery.weight"));
        let of = |name: &str| Lora { target_modules: vec![name.to_owned()], ..Lora::default() };
        assert!(of("output.dense").targets("encoder.layer.0.attention.output.dense.weight"));
        assert!(of("all-linear").targets("encoder.layer.0.intermediate.dense.weight"));
    }

    #[test]
    fn a_new_product_changes_nothing_and_a_merged_one_is_the_formula() {
        let (adapter, matrix) = adapter();
        let mut merged = matrix.clone();
        adapter.merge(&mut merged);
        assert_eq!(merged[55..110], matrix[55..110], "the key has no product");
        for (i, part) in [0, 2].into_iter().enumerate() {
            let (a, b) =
                adapter.factors.values[i * adapter.factors.size()..][..adapter.factors.size()].split_at(33);
            for (o, j) in (0..5).flat_map(|o| (0..11).map(move |j| (o, j))) {
                let product: f64 = (0..3).map(|k| f64::from(b[o * 3 + k]) * f64::from(a[k * 11 + j])).sum();
                let at = part * 55 + o * 11 + j;
                let expected = f64::from(matrix[at]) + 2.0 * product;
                assert!((f64::from(merged[at]) - expected).abs() < 1e-6, "{} {expected}", merged[at]);
            }
        }
        let fresh = Adapter::new(&Lora::default(), vec![0, 2], [5, 11], &matrix, &mut Mt19937::new(1));
        let mut merged = matrix.clone();
        fresh.merge(&mut merged);
        assert_eq!(merged, matrix);
        assert!(fresh.factors.values.iter().all(|x| x.abs() <= 1.0 / 11f32.sqrt()));
    }

    /// f(A, B) = Σ c W', whose gradient by W' is c.
    #[test]
    fn gradients_are_finite_differences() {
        let (mut adapter, matrix) = adapter();
        let c: Vec<f32> = (0..165).map(|i| ((i * 37 % 23) as f32 - 11.0) / 11.0).collect();
        let mut gradient = vec![0.0; adapter.factors.kept()];
        adapter.factors.add(&c, &mut gradient);
        let value = |adapter: &Adapter| {
            let mut merged = matrix.clone();
            adapter.merge(&mut merged);
            merged.iter().zip(&c).map(|(w, c)| f64::from(*w) * f64::from(*c)).sum::<f64>()
        };
        for i in 0..adapter.factors.values.len() {
            let kept = adapter.factors.values[i];
            let at = |adapter: &mut Adapter, x: f32| {
                adapter.factors.values[i] = x;
                value(adapter)
            };
            // The function is linear in each number: the step may be large.
            let difference = (at(&mut adapter, kept + 0.5) - at(&mut adapter, kept - 0.5)) / 1.0;
            adapter.factors.values[i] = kept;
            assert!((difference - f64::from(gradient[i])).abs() < 1e-4, "{i}: {difference} {}", gradient[i]);
        }
    }
}
