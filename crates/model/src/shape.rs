//! What an encoder looks like, whatever family it comes from. No names of files or tensors: that is `families`.

use sentir_compute::Activation;
use sentir_compute::ops::AttentionShape;

/// The shape of a transformer encoder that normalizes after each branch and has learned positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncoderShape {
    /// Number of rows of the token-embedding table.
    pub vocabulary: usize,
    /// Width of a hidden state.
    pub width: usize,
    /// Number of layers.
    pub layers: usize,
    /// How the width is divided among the heads of attention.
    pub attention: AttentionShape,
    /// Width inside the feed-forward part of a layer.
    pub feed_forward: usize,
    /// The function inside the feed-forward part.
    pub activation: Activation,
    /// ε of every layer normalization.
    pub epsilon: f64,
    /// Number of rows of the position table.
    pub positions: usize,
    /// How positions are counted.
    pub counting: Counting,
    /// Number of rows of the token-type table.
    pub token_types: usize,
    /// With what probability training drops a number of a hidden state: after the embeddings, and of each branch before it is
    /// added.
    pub hidden_dropout: f32,
    /// With what probability training drops a probability of attention.
    pub attention_dropout: f32,
}

/// How the tokens of a sentence get their rows of the position table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// 0, 1, 2, …
    FromZero,
    /// `padding + 1`, `padding + 2`, … for all tokens but the padding token, which gets `padding` wherever it stands and is
    /// not counted. Source: `create_position_ids_from_input_ids` in transformers' `models/roberta/modeling_roberta.py`.
    AfterPadding {
        /// Id of the padding token.
        padding: u32,
    },
}

impl EncoderShape {
    /// The most tokens that a sentence can have: for RoBERTa's 514 positions, 512.
    pub(crate) fn usable_positions(&self) -> usize {
        match self.counting {
            Counting::FromZero => self.positions,
            Counting::AfterPadding { padding } => self.positions.saturating_sub(padding as usize + 1),
        }
    }

    /// Number of trainable numbers.
    pub(crate) fn parameters(&self) -> usize {
        self.tables() + 2 * self.width + self.layers * self.layer_parameters()
    }

    /// Numbers in the embedding tables.
    pub(crate) fn tables(&self) -> usize {
        (self.vocabulary + self.positions + self.token_types) * self.width
    }

    /// Trainable numbers in one layer.
    pub(crate) fn layer_parameters(&self) -> usize {
        let (d, f) = (self.width, self.feed_forward);
        4 * (d * d + d) + 2 * d * f + f + d + 4 * d
    }
}

impl Counting {
    /// Appends the positions of one sentence.
    pub(crate) fn extend(self, positions: &mut Vec<u32>, ids: &[u32]) {
        match self {
            Self::FromZero => positions.extend((0..).take(ids.len())),
            Self::AfterPadding { padding } => {
                let mut next = padding;
                positions.extend(ids.iter().map(|&id| {
                    if id == padding {
                        return padding;
                    }
                    next += 1;
                    next
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(counting: Counting, ids: &[u32]) -> Vec<u32> {
        let mut positions = Vec::new();
        counting.extend(&mut positions, ids);
        positions
    }

    #[test]
    fn roberta_counts_from_after_the_padding_and_skips_it() {
        let ids = [0, 7, 1, 9, 1, 1, 2];
        assert_eq!(positions(Counting::FromZero, &ids), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(positions(Counting::AfterPadding { padding: 1 }, &ids), [2, 3, 1, 4, 1, 1, 5]);
        assert_eq!(positions(Counting::AfterPadding { padding: 0 }, &ids), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_parameters_of_published_models() {
        // all-MiniLM-L6-v2 has 22,713,216 with a pooler of 384 · 385; XLM-RoBERTa-large 559,890,432 with one of 1024 · 1025.
        let mut shape = EncoderShape {
            vocabulary: 30522,
            width: 384,
            layers: 6,
            attention: AttentionShape { heads: 12, head_dim: 32 },
            feed_forward: 1536,
            activation: Activation::Gelu,
            epsilon: 1e-12,
            positions: 512,
            counting: Counting::FromZero,
            token_types: 2,
            hidden_dropout: 0.1,
            attention_dropout: 0.1,
        };
        assert_eq!(shape.parameters(), 22_713_216 - 384 * 385);
        assert_eq!(shape.usable_positions(), 512);
        shape.vocabulary = 250_002;
        (shape.width, shape.feed_forward, shape.layers) = (1024, 4096, 24);
        (shape.positions, shape.token_types) = (514, 1);
        shape.counting = Counting::AfterPadding { padding: 1 };
        assert_eq!(shape.parameters(), 559_890_432 - 1024 * 1025);
        assert_eq!(shape.usable_positions(), 512);
    }
}
