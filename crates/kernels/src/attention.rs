//! Attention.

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

/// Softmax attention within each sentence.
pub fn attention(qkv: &[f32], offsets: &[usize], shape: AttentionShape, out: &mut [f32]) {
    crate::naive::attention(qkv, offsets, shape, out);
}
