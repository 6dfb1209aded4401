//! BERT (<https://arxiv.org/abs/1810.04805>; transformers, `models/bert`).

use super::{Family, Names};
use crate::shape::Counting;

pub(super) const FAMILY: Family = Family {
    model_types: &["bert"],
    names: Names { prefixes: &["", "bert."], ..NAMES },
    counting: |_| Counting::FromZero,
};

/// RoBERTa has the same names but for the prefix.
pub(super) const NAMES: Names = Names {
    prefixes: &[],
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: "embeddings.token_type_embeddings",
    embeddings_norm: "embeddings.LayerNorm",
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};
