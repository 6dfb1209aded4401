//! Multi-head self-attention within each sentence (<https://arxiv.org/abs/1706.03762>, section 3.2) and its gradient.
//!
//! Nothing of the size length² is kept, in memory or for the backward pass: scores exist for some queries at a time, and the
//! gradient computes them again. They are held transposed, a lane is a query, so that maximum, exponential and sum need
//! nothing across lanes. All products are the tile of the matrix product.
//!
//! Here is what both directions share; they themselves are in `forward` and `backward`.

mod backward;
mod forward;

pub use backward::attention_grad;
pub use forward::attention;

use crate::simd::{Simd, math};

/// How the width of a hidden state is divided among heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of heads.
    pub heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of all heads together.
    pub fn width(self) -> usize {
        self.heads * self.head_dim
    }
}

/// Queries side by side: the lanes of one or two vectors.
const PANEL: usize = crate::dropout::PANEL;
/// Multiply-adds of a task at least (some ten microseconds).
const WORK: usize = 1 << 18;
/// Longest part of a sentence that is summed in one chain; parts are added in order.
const STEPS: usize = 512;

/// The number of tokens. Panics if the offsets decrease or the slices are not `[tokens, 3 · heads · D]` and
/// `[tokens, heads · D]`.
fn checked_tokens(qkv: &[f32], offsets: &[usize], shape: AttentionShape, out: &[f32]) -> usize {
    let (Some(&first), Some(&tokens)) = (offsets.first(), offsets.last()) else {
        panic!("offsets are never empty")
    };
    assert!(first == 0 && offsets.is_sorted(), "offsets begin with 0 and do not decrease");
    let width = shape.heads.checked_mul(shape.head_dim);
    let expected = width.and_then(|width| width.checked_mul(3)?.checked_mul(tokens));
    assert_eq!(Some(qkv.len()), expected, "queries, keys and values of {tokens} tokens");
    assert_eq!(out.len(), tokens * shape.width(), "a result for {tokens} tokens");
    tokens
}

/// Replaces the scores of the queries in the columns `lane..lane + LANES` of `[length, columns]` by e^(score − largest) and
/// returns 1 / (their sum) per query.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], columns: usize, lane: usize) -> S::Vector {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for row in scores.chunks_exact(columns) {
        largest = simd.max(largest, simd.load(&row[lane..]));
    }
    let mut total = simd.splat(0.0);
    for part in scores.chunks_mut(STEPS * columns) {
        let mut sum = simd.splat(0.0);
        for row in part.chunks_exact_mut(columns) {
            let power = math::exp(simd, simd.sub(simd.load(&row[lane..]), largest));
            simd.store(power, &mut row[lane..]);
            sum = simd.add(sum, power);
        }
        total = simd.add(total, sum);
    }
    simd.div(simd.splat(1.0), total)
}

/// What the tests of both directions use.
#[cfg(test)]
mod testing {
    /// Numbers from −2 to 2 without a pattern.
    pub(super) fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 22) as f32 - 2.0)
            .collect()
    }

    pub(super) fn offsets(lengths: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets.last().unwrap() + length));
        offsets
    }

    pub(super) fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    pub(super) fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }
}
