//! Multi-head self-attention within each sentence (<https://arxiv.org/abs/1706.03762>, section 3.2) and its gradient.
//!
//! Nothing of the size length² is kept, in memory or for the backward pass: scores exist for some queries at a time, and the
//! gradient computes them again. They are held transposed, a lane is a query, so that maximum, exponential and sum need
//! nothing across lanes. All products are the tile of the matrix product.
//!
//! The directions are `forward` and `backward`; both are made of the functions in `parts`.

mod backward;
mod forward;
mod parts;

pub use backward::attention_grad;
pub use forward::attention;

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
/// Queries of a block, for which scores are held: as wide as the widest tile, and, backward, sums over queries that are long enough to pay for
/// adding them to dK and dV.
const BLOCK: usize = 64;
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
