//! Multi-head self-attention within each sentence of a batch (<https://arxiv.org/abs/1706.03762>, section 3.2).
//!
//! For sentence s with tokens `offsets[s]..offsets[s + 1]` and head h with D = `head_dim`:
//!
//! scores = Q Kᵀ / √D `[length, length]`, out = softmax(scores) V `[length, D]`
//!
//! where Q, K and V are the columns `h·D..(h + 1)·D` of the three thirds of `qkv` `[tokens, 3 · heads · D]`.
//! Every token attends to every token of its own sentence; nothing is masked because nothing is padded.
//! Reference: `eager_attention_forward` in transformers' `models/bert/modeling_bert.py`.
//!
//! In training, probabilities P are dropped out: out = (P ∘ M) V, M being 0 or 1 / (1 − p). Row `head · tokens + token` of
//! the mask belongs to a query, a column to a key of its sentence. With ∂P = (∂out Vᵀ) ∘ M and
//! ∂scores = P ∘ (∂P − Σ over keys of P ∘ ∂P): ∂Q = ∂scores K / √D, ∂K = ∂scoresᵀ Q / √D, ∂V = (P ∘ M)ᵀ ∂out.
//! P is computed once more rather than kept.

use std::ops::Range;

pub use sentir_kernels::attention::AttentionShape;
use sentir_kernels::dropout::Dropout;

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor, WeightType};

/// `qkv` is `[tokens, 3 * width]`; the result is `[tokens, width]`. `offsets` has one entry more than there are sentences.
/// `dropout` is the probability with which training drops a number of the probabilities. `kind` is the type of the weights that made `qkv`: outside
/// of training, both products may be computed in bf16 if it is not f32 ([`sentir_kernels::attention::attention`]). Gradients are those of f32.
pub fn attention(
    pass: &mut Pass<'_>,
    qkv: &Tensor,
    offsets: &[usize],
    shape: AttentionShape,
    dropout: f32,
    kind: WeightType,
) -> Tensor {
    assert_eq!(qkv.width(), 3 * shape.width(), "queries, keys and values of {shape:?}");
    assert_eq!(offsets.last(), Some(&qkv.rows()), "the last sentence ends with the last token");
    let mut out = pass.tensor(qkv.rows(), shape.width());
    let mask = pass.mask(dropout);
    let kind = if pass.tape.is_some() { WeightType::F32 } else { kind };
    pass.backend().attention(qkv, offsets, shape, mask, kind, &mut out);
    if pass.records() {
        let from = pass.node_of(qkv);
        if from.flows {
            pass.keep(qkv);
        }
        pass.record(&mut out, from.flows, || {
            Box::new(AttentionStep { from, offsets: offsets.to_vec(), shape, mask })
        });
    }
    out
}

struct AttentionStep {
    /// qkv, which is kept.
    from: Node,
    offsets: Vec<usize>,
    shape: AttentionShape,
    mask: Dropout,
}

impl<'a> Step<'a> for AttentionStep {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor) {
        let qkv = walk.take(self.from);
        let mut d_qkv = walk.pass.tensor(qkv.rows(), qkv.width());
        walk.pass.backend().attention_grad(&qkv, &self.offsets, self.shape, self.mask, &d, &mut d_qkv);
        walk.put_back(self.from, qkv);
        walk.pass.free(d);
        walk.flow(self.from, d_qkv);
    }
}

/// The probabilities of each query of each head of each sentence, and what the mask multiplies them with:
/// `each(head, sentence, query, probabilities, factors)`.
fn for_each_query(
    qkv: &[f64],
    offsets: &[usize],
    shape: AttentionShape,
    mask: Dropout,
    mut each: impl FnMut(usize, Range<usize>, usize, &[f64], &[f64]),
) {
    let (width, dim) = (shape.width(), shape.head_dim);
    let tokens = offsets[offsets.len() - 1];
    for (sentence, head) in
        offsets.windows(2).flat_map(|s| (0..shape.heads).map(move |head| (s[0]..s[1], head)))
    {
        let part = |token: usize, third: usize| &qkv[(token * 3 + third) * width + head * dim..][..dim];
        for query in sentence.clone() {
            let dot = |key: usize| part(query, 0).iter().zip(part(key, 1)).map(|(q, k)| q * k).sum::<f64>();
            let scores: Vec<f64> = sentence.clone().map(|key| dot(key) / (dim as f64).sqrt()).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            let probabilities: Vec<f64> = exponentials.iter().map(|e| e / sum).collect();
            let mut factors = vec![1.0f32; sentence.len()];
            if !mask.is_none() {
                mask.factors((head * tokens + query) as u32, &mut factors);
            }
            let factors: Vec<f64> = factors.into_iter().map(f64::from).collect();
            each(head, sentence.clone(), query, &probabilities, &factors);
        }
    }
}

/// The formula, token by token.
pub(crate) fn naive(qkv: &[f64], offsets: &[usize], shape: AttentionShape, mask: Dropout, out: &mut [f64]) {
    let (width, dim) = (shape.width(), shape.head_dim);
    for_each_query(qkv, offsets, shape, mask, |head, sentence, query, probabilities, factors| {
        for j in 0..dim {
            let value = |token: usize| qkv[(token * 3 + 2) * width + head * dim + j];
            let weighted = sentence.clone().zip(probabilities.iter().zip(factors));
            out[query * width + head * dim + j] = weighted.map(|(token, (p, m))| p * m * value(token)).sum();
        }
    });
}

/// `d_qkv` becomes ∂Q, ∂K and ∂V, side by side as `qkv`.
pub(crate) fn naive_grad(
    qkv: &[f64],
    offsets: &[usize],
    shape: AttentionShape,
    mask: Dropout,
    d: &[f64],
    d_qkv: &mut [f64],
) {
    let (width, dim) = (shape.width(), shape.head_dim);
    let root = (dim as f64).sqrt();
    d_qkv.fill(0.0);
    for_each_query(qkv, offsets, shape, mask, |head, sentence, query, p, m| {
        let at = |token: usize, third: usize| (token * 3 + third) * width + head * dim;
        let d_out = &d[query * width + head * dim..][..dim];
        let by_p =
            |i: usize, key: usize| m[i] * (0..dim).map(|j| d_out[j] * qkv[at(key, 2) + j]).sum::<f64>();
        let d_p: Vec<f64> = sentence.clone().enumerate().map(|(i, key)| by_p(i, key)).collect();
        let mean: f64 = p.iter().zip(&d_p).map(|(p, d)| p * d).sum();
        for (i, key) in sentence.enumerate() {
            let d_score = p[i] * (d_p[i] - mean) / root;
            for j in 0..dim {
                d_qkv[at(query, 0) + j] += d_score * qkv[at(key, 1) + j];
                d_qkv[at(key, 1) + j] += d_score * qkv[at(query, 0) + j];
                d_qkv[at(key, 2) + j] += p[i] * m[i] * d_out[j];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{
        Network, assert_close, backends, check_gradients, golden, numbers, random, usizes, widen,
    };

    fn run(
        backend: &dyn crate::Backend,
        qkv: &[f32],
        offsets: &[usize],
        shape: AttentionShape,
        kind: WeightType,
    ) -> Vec<f32> {
        let mut pass = Pass::inference(backend);
        let out = attention(&mut pass, &backend.upload(qkv, 3 * shape.width()), offsets, shape, 0.1, kind);
        backend.download(&out)
    }

    #[test]
    fn every_backend_equals_the_naive_loops() {
        for backend in backends() {
            for (shape, offsets) in [
                (AttentionShape { heads: 1, head_dim: 1 }, vec![0, 1]),
                (AttentionShape { heads: 3, head_dim: 5 }, vec![0, 4, 5, 12]),
                (AttentionShape { heads: 2, head_dim: 32 }, vec![0, 70, 71, 200]),
            ] {
                let tokens = *offsets.last().unwrap();
                let qkv = random(tokens * 3 * shape.width(), 5);
                let mut expected = vec![0.0; tokens * shape.width()];
                naive(&widen(&qkv), &offsets, shape, Dropout::NONE, &mut expected);
                let out = |kind| run(backend, &qkv, &offsets, shape, kind);
                assert_close(&out(WeightType::F32), &expected, 2e-6, backend.name());
                // bf16 has eight bits: probabilities and values are off by 2⁻⁹ each, and scores a little.
                assert_close(&out(WeightType::Bf16), &expected, 1e-2, backend.name());
                assert_eq!(out(WeightType::Int8), out(WeightType::Bf16));
            }
        }
    }

    #[test]
    fn equals_pytorch() {
        let case = &golden()["attention"];
        let shape = AttentionShape { heads: 4, head_dim: 8 };
        let qkv: Vec<f32> = numbers(&case["qkv"]).iter().map(|&x| x as f32).collect();
        for backend in backends() {
            let out = run(backend, &qkv, &usizes(&case["offsets"]), shape, WeightType::F32);
            assert_close(&out, &numbers(&case["out"]), 2e-6, backend.name());
        }
    }

    struct Attention(AttentionShape, f32);

    impl Network for Attention {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let qkv = leaves.remove(0);
            let out = attention(pass, &qkv, &[0, 3, 4, 9], self.0, self.1, WeightType::Bf16);
            pass.free(qkv);
            out
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for dropout in [0.0, 0.3] {
            let shape = AttentionShape { heads: 2, head_dim: 3 };
            check_gradients(&[(9, 18)], &[], |_, _| Attention(shape, dropout));
        }
    }
}
