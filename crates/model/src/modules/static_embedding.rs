//! `StaticEmbedding`: a text's vector is the mean of its tokens' rows in one table; no encoder, no special tokens, no limit.
//!
//! Also the directories of Model2Vec, whose table is called `embeddings`, optionally with a row number (`mapping`) and a
//! factor (`weights`) per token. Source: sentence-transformers 6.2, `sentence_transformer/modules/static_embedding.py`.
//! An empty text has the vector 0, as `torch.nn.EmbeddingBag` gives.

use std::path::Path;

use rayon::prelude::*;
use sentir_compute::ops::{self, Lookup, PoolingMode};
use sentir_compute::{Pass, Table, Tensor};

use crate::batch::PackedBatch;
use crate::parameters::{self, Trainable};
use crate::tokens::Tokenizer;
use crate::weights::{Dtype, View, Weights};
use crate::{Error, Result};

/// The table and its tokenizer.
#[derive(Debug)]
pub(crate) struct StaticEmbedding {
    pub tokenizer: Tokenizer,
    pub table: Table,
    /// What the table is called in its file.
    pub name: &'static str,
}

impl StaticEmbedding {
    /// Loads from the module's folder.
    pub(crate) fn load(folder: &Path, trainable: Trainable) -> Result<Self> {
        if !folder.join("tokenizer.json").is_file() {
            return Err(Error::invalid(folder, "there is no tokenizer.json; a StaticEmbedding needs it"));
        }
        let tokenizer = Tokenizer::load_json_alone(folder)?;
        let weights = Weights::open(folder)?;
        let name = if weights.contains("embedding.weight") { "embedding.weight" } else { "embeddings" };
        let view = weights.get(name)?;
        let &[rows, width] = view.shape.as_slice() else {
            let message = format!("it has the shape {:?}, but should be a table, [rows, width]", view.shape);
            return Err(Error::tensor(weights.path(), name, message));
        };
        let folded = weights.contains("mapping") || weights.contains("weights");
        let table = if name == "embeddings" && (folded || view.dtype == Dtype::I8) {
            if trainable != Trainable::Nothing {
                let message =
                    "its table is folded (rows shared among tokens, or int8), which has no gradient";
                return Err(Error::tensor(weights.path(), name, message));
            }
            fold(&weights, view, rows, width)?
        } else {
            parameters::table(&weights, name, rows, width, trainable)?
        };
        Ok(Self { tokenizer, table, name })
    }

    /// The means, `[texts, width]`.
    pub(crate) fn forward<'a>(&'a self, pass: &mut Pass<'a>, batch: &PackedBatch) -> Tensor {
        let rows = ops::embed(pass, &[Lookup { table: &self.table, ids: &batch.ids }]);
        let out = ops::pool(pass, &rows, &batch.offsets, &batch.skip, &[PoolingMode::Mean]);
        pass.free(rows);
        out
    }
}

/// The table with a row per token: `embeddings[mapping[token]] * weights[token]`.
fn fold(weights: &Weights, view: &View, rows: usize, width: usize) -> Result<Table> {
    let path = weights.path();
    let embeddings = view.to_f32()?;
    let mapping = if weights.contains("mapping") {
        weights.get("mapping")?.to_i64()?
    } else {
        (0..rows as i64).collect()
    };
    let factors = if weights.contains("weights") {
        weights.get("weights")?.to_f32()?
    } else {
        vec![1.0; mapping.len()]
    };
    if factors.len() != mapping.len() {
        let message = format!("there are {} factors for {} tokens", factors.len(), mapping.len());
        return Err(Error::tensor(path, "weights", message));
    }
    if let Some((token, row)) = mapping.iter().enumerate().find(|(_, row)| !(0..rows as i64).contains(row)) {
        let message = format!("token {token} is mapped to row {row} of a table of {rows}");
        return Err(Error::tensor(path, "mapping", message));
    }
    let row = |(&row, &factor): (&i64, &f32)| {
        embeddings[row as usize * width..][..width].iter().map(move |x| x * factor).collect::<Vec<_>>()
    };
    let values: Vec<f32> = mapping.par_iter().zip(&factors).flat_map_iter(row).collect();
    parameters::owned_table(values, width)
        .ok_or_else(|| Error::tensor(path, "embeddings", "the table has no columns"))
}
