//! AdamW, clipping, and which parameters decay: over slices, deterministic whatever the number of threads.
//!
//! Not here: the learning rate ([`crate::schedule`]), and where gradients come from.

use rayon::prelude::*;

/// Elements that one thread takes at a time. Sums over a tensor are made piece by piece, so their order does not depend on threads.
const PIECE: usize = 1 << 14;
/// Sums that run beside each other within a piece, so that the loop needs no reordering to use vector instructions.
const LANES: usize = 8;

/// What an update needs beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// How much the mean of gradients keeps; 0.9.
    pub beta1: f64,
    /// How much the mean of squares keeps; 0.999.
    pub beta2: f64,
    /// Added to the root of the mean of squares; 1e-8.
    pub epsilon: f64,
    /// The part of a parameter, times the learning rate, that goes in each update; 0 for those that do not decay ([`Decay`]).
    pub weight_decay: f64,
    /// Which update of this parameter this is, from 1.
    pub update: u64,
    /// What gradients are multiplied by first: [`clip_coefficient`], or 1.
    pub scale: f64,
}

/// One update of a tensor `p` by its gradient `g`, with its means `m` and `v` (zeros before the first update):
///
/// ```text
/// p ← p (1 − lr · decay)
/// m ← m + (1 − β₁) (s g − m)
/// v ← β₂ v + (1 − β₂) (s g)²
/// p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
/// ```
///
/// Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), in the order of operations of `torch/optim/adamw.py`,
/// whose epsilon stands outside the root.
///
/// # Panics
/// If the slices differ in length.
pub fn adamw_step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: Hyper) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len(), "slices of one length");
    let step = Constants::new(&hyper);
    let pieces = (p.par_chunks_mut(PIECE).zip(g.par_chunks(PIECE)))
        .zip(m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)));
    pieces.for_each(|((p, g), (m, v))| step.run(p, g, m, v));
}

/// The factors of an update in f32, as PyTorch rounds them.
#[derive(Clone, Copy)]
pub(crate) struct Constants {
    /// What weight decay leaves of a parameter.
    pub(crate) keep: f32,
    scale: f32,
    new1: f32,
    beta2: f32,
    new2: f32,
    root: f32,
    epsilon: f32,
    rate: f32,
}

impl Constants {
    pub(crate) fn new(hyper: &Hyper) -> Self {
        let update = i32::try_from(hyper.update).unwrap_or(i32::MAX);
        Self {
            keep: (1.0 - hyper.learning_rate * hyper.weight_decay) as f32,
            scale: hyper.scale as f32,
            new1: (1.0 - hyper.beta1) as f32,
            beta2: hyper.beta2 as f32,
            new2: (1.0 - hyper.beta2) as f32,
            root: (1.0 - hyper.beta2.powi(update)).sqrt() as f32,
            epsilon: hyper.epsilon as f32,
            rate: (hyper.learning_rate / (1.0 - hyper.beta1.powi(update))) as f32,
        }
    }

    /// [`adamw_step`] on this thread.
    pub(crate) fn run(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        // Lengths that the compiler sees to be one: no checks in the loop.
        let n = p.len();
        let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let gradient = g[i] * self.scale;
            m[i] += self.new1 * (gradient - m[i]);
            v[i] = v[i] * self.beta2 + self.new2 * gradient * gradient;
            p[i] = p[i] * self.keep - self.rate * (m[i] / (v[i].sqrt() / self.root + self.epsilon));
        }
    }
}

/// The Euclidean norm of all gradients together, in f64. It is infinite or not a number if a gradient is: training must stop then.
#[must_use]
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let squares = |gradient: &[f32]| {
        let pieces: Vec<f64> = gradient.par_chunks(PIECE).map(sum_of_squares).collect();
        pieces.iter().sum::<f64>()
    };
    gradients.into_iter().map(squares).sum::<f64>().sqrt()
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            let value = f64::from(values[lane]);
            sums[lane] += value * value;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>()
}

/// What all gradients are multiplied by so that their norm is at most `most` (`max_grad_norm`): min(1, most / (norm + 1e-6)), as
/// `torch.nn.utils.clip_grad_norm_`. A `most` of 0 or less does not clip, as in the Trainer.
#[must_use]
pub fn clip_coefficient(norm: f64, most: f64) -> f64 {
    if most > 0.0 { (most / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

/// Which parameters decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decay {
    /// All but biases and norms, as the Trainer of transformers 5 tells them by name (`get_decay_parameter_names`).
    #[default]
    Trainer,
    /// All but biases and the weights of what is called LayerNorm, as `SentenceTransformer.fit` has it.
    Fit,
}

impl Decay {
    /// Whether the parameter of this name decays: `encoder.layer.0.output.dense.weight`.
    #[must_use]
    pub fn applies(self, name: &str) -> bool {
        match self {
            Self::Fit => !name.contains("bias") && !name.contains("LayerNorm.weight"),
            Self::Trainer => {
                let name = name.to_lowercase();
                let norm = |part: &str| part == "norm" || part.ends_with("_norm");
                !["bias", "layernorm", "rmsnorm"].iter().any(|word| name.contains(word))
                    && !name.split('.').any(norm)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::golden;

    fn floats(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
    }

    fn tensors(value: &Value) -> Vec<Vec<f32>> {
        value.as_array().unwrap().iter().map(floats).collect()
    }

    fn close(found: &[f32], expected: &[f32], place: &str) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let off = (found - expected).abs();
            assert!(off <= 1e-6 * expected.abs().max(1e-30), "{place}: {found} {expected}");
        }
    }

    #[test]
    fn five_updates_are_those_of_torch() {
        let golden = golden::read("optimizer.json");
        let cases = golden["adamw"].as_array().unwrap();
        assert_eq!(cases.len(), 9);
        for case in cases {
            let get = |name: &str| case[name].as_f64().unwrap();
            let decays = case["decays"].as_array().unwrap();
            let mut parameters = tensors(&case["start"]);
            let mut means: Vec<[Vec<f32>; 2]> =
                parameters.iter().map(|p| [vec![0.0; p.len()], vec![0.0; p.len()]]).collect();
            for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
                let place = format!("{}, clip {}, update {index}", case["name"], case["clip"]);
                let gradients = tensors(&step["gradients"]);
                let norm = global_norm(gradients.iter().map(Vec::as_slice));
                if let Some(expected) = step["norm"].as_f64() {
                    assert!((norm - expected).abs() <= 1e-6 * expected, "{place}: {norm} {expected}");
                }
                let scale = clip_coefficient(norm, case["clip"].as_f64().unwrap_or(0.0));
                let expected = tensors(&step["parameters"]);
                for (at, parameter) in parameters.iter_mut().enumerate() {
                    let hyper = Hyper {
                        learning_rate: step["lr"].as_f64().unwrap(),
                        beta1: get("beta1"),
                        beta2: get("beta2"),
                        epsilon: get("epsilon"),
                        weight_decay: if decays[at] == true { get("weight_decay") } else { 0.0 },
                        update: index as u64 + 1,
                        scale,
                    };
                    let [m, v] = &mut means[at];
                    adamw_step(parameter, &gradients[at], m, v, hyper);
                    close(parameter, &expected[at], &place);
                }
            }
            for (found, expected) in means.iter().zip(case["moments"].as_array().unwrap()) {
                let expected = tensors(expected);
                for i in 0..2 {
                    // A mean of numbers that cancel keeps the error of the largest.
                    let largest = expected[i].iter().fold(0.0f32, |most, value| most.max(value.abs()));
                    for (found, expected) in found[i].iter().zip(&expected[i]) {
                        assert!((found - expected).abs() <= 1e-6 * largest, "{found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn decay_by_name_is_that_of_the_trainer_and_of_fit() {
        let golden = golden::read("optimizer.json");
        let cases = golden["decays"].as_array().unwrap();
        assert!(cases.len() > 30);
        for case in cases {
            let name = case["name"].as_str().unwrap();
            assert_eq!(Decay::Trainer.applies(name), case["trainer"] == true, "{name}");
            assert_eq!(Decay::Fit.applies(name), case["fit"] == true, "{name}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let n = 3 * PIECE + 17;
        let values = |factor: f32| (0..n).map(|i| (i as f32 * factor).sin()).collect::<Vec<f32>>();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut p, g, mut m, mut v) = (values(0.1), values(0.7), vec![0.0; n], vec![0.0; n]);
                let norm = global_norm([g.as_slice(), &g[..100]]);
                let hyper = Hyper {
                    learning_rate: 1e-3,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                    update: 1,
                    scale: clip_coefficient(norm, 1.0),
                };
                adamw_step(&mut p, &g, &mut m, &mut v, hyper);
                let sums: f64 = g.iter().chain(&g[..100]).map(|&x| f64::from(x).powi(2)).sum();
                assert!((norm - sums.sqrt()).abs() < 1e-12 * norm);
                (norm.to_bits(), p, m, v)
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5));
    }

    #[test]
    fn gradients_that_are_no_numbers_show_in_the_norm() {
        assert!(global_norm([[1.0, f32::NAN].as_slice()]).is_nan());
        assert!(global_norm([[f32::INFINITY].as_slice()]).is_infinite());
        // What f32 cannot square, f64 can.
        assert_eq!(global_norm([[3e30f32, 4e30].as_slice()]) as f32, 5e30);
    }
}
