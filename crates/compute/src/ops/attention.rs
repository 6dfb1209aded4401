//! Multi-head self-attention within each sentence of a batch (<https://arxiv.org/abs/1706.03762>, section 3.2).
//!
//! For sentence s with tokens `offsets[s]..offsets[s + 1]` and head h with D = `head_dim`:
//!
//! scores = Q Kᵀ / √D `[length, length]`, out = softmax(scores) V `[length, D]`
//!
//! where Q, K and V are the columns `h·D..(h + 1)·D` of the three thirds of `qkv` `[tokens, 3 · heads · D]`.
//! Every token attends to every token of its own sentence; nothing is masked because nothing is padded.
//! Reference: `eager_attention_forward` in transformers' `models/bert/modeling_bert.py`.

pub use sentir_kernels::attention::AttentionShape;

use crate::{Pass, Tensor};

/// `qkv` is `[tokens, 3 * width]`; the result is `[tokens, width]`. `offsets` has one entry more than there are sentences.
pub fn attention(pass: &mut Pass<'_>, qkv: &Tensor, offsets: &[usize], shape: AttentionShape) -> Tensor {
    assert_eq!(qkv.width(), 3 * shape.width(), "queries, keys and values of {shape:?}");
    assert_eq!(offsets.last(), Some(&qkv.rows()), "the last sentence ends with the last token");
    let mut out = pass.tensor(qkv.rows(), shape.width());
    pass.backend().attention(qkv, offsets, shape, &mut out);
    out
}

/// The formula, token by token.
pub(crate) fn naive(qkv: &[f64], offsets: &[usize], shape: AttentionShape, out: &mut [f64]) {
    let (width, dim) = (shape.width(), shape.head_dim);
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
            for j in 0..dim {
                let weighted =
                    sentence.clone().zip(&exponentials).map(|(token, e)| e / sum * part(token, 2)[j]);
                out[query * width + head * dim + j] = weighted.sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, backends, golden, numbers, random, usizes, widen};

    fn run(backend: &dyn crate::Backend, qkv: &[f32], offsets: &[usize], shape: AttentionShape) -> Vec<f32> {
        let mut pass = Pass::inference(backend);
        let out = attention(&mut pass, &backend.upload(qkv, 3 * shape.width()), offsets, shape);
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
                naive(&widen(&qkv), &offsets, shape, &mut expected);
                assert_close(&run(backend, &qkv, &offsets, shape), &expected, 2e-6, backend.name());
            }
        }
    }

    #[test]
    fn equals_pytorch() {
        let case = &golden()["attention"];
        let shape = AttentionShape { heads: 4, head_dim: 8 };
        let qkv: Vec<f32> = numbers(&case["qkv"]).iter().map(|&x| x as f32).collect();
        for backend in backends() {
            let out = run(backend, &qkv, &usizes(&case["offsets"]), shape);
            assert_close(&out, &numbers(&case["out"]), 2e-6, backend.name());
        }
    }
}
