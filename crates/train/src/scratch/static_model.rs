//! A new static model: a vector per token, drawn at random; the vector of a text is their mean (`StaticEmbedding` of
//! sentence-transformers). Its training is `training`'s.

use std::path::Path;

use rayon::prelude::*;
use sentir_model::directory::create;
use sentir_model::layout::{write_json, write_modules};
use sentir_model::tokens::Tokenizer;
use serde_json::Value;

use super::initial::Normal;
use super::tokenizer::{TokenizerOptions, learn};
use super::write;
use crate::{Error, Result};

const UNKNOWN: &str = "[UNK]";

/// What a static model is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticOptions {
    /// Its vocabulary; 2000 tokens of at most 5 characters.
    pub tokenizer: TokenizerOptions,
    /// Components of a vector; 256.
    pub dimension: usize,
    /// The seed of the vectors; 42.
    pub seed: u64,
}

impl Default for StaticOptions {
    fn default() -> Self {
        let tokenizer = TokenizerOptions { vocabulary: 2000, longest_piece: 5 };
        Self { tokenizer, dimension: 256, seed: 42 }
    }
}

/// Writes a model that is not trained as the new directory `target`: `modules.json`, `config_sentence_transformers.json`,
/// `tokenizer.json`, and `model.safetensors` with `embedding.weight`, `[tokens, dimension]`.
///
/// The row of a token is a vector of normal deviates times its inverse document frequency in the texts,
/// ln((1 + texts) / (1 + texts with it)), over the greatest of them: in many dimensions such vectors are almost orthogonal, so
/// that the model begins as TF-IDF over pieces of words rather than as chance. The row of the unknown token is 0.
///
/// The same texts and options give the same tokenizer.json, in whatever order they are and on however many threads.
///
/// # Errors
/// If `target` exists or cannot be written, if the texts have no characters, or an option is of no use.
pub fn write_static<Text: AsRef<str>>(texts: &[Text], options: &StaticOptions, target: &Path) -> Result<()> {
    if !(1..=1 << 16).contains(&options.dimension) {
        let message = format!("vectors of {} components: there must be from 1 to 65536", options.dimension);
        return Err(Error::Argument(message));
    }
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    create(target, |directory| {
        let (file, size) = learn(&texts, &options.tokenizer, &[UNKNOWN], UNKNOWN, &Value::Null)?;
        write_json(&directory.join("tokenizer.json"), &file)?;
        write_modules(directory, &[("", "StaticEmbedding", "")])?;
        write::settings(directory)?;
        let factors = inverse_frequencies(&texts, &Tokenizer::load_json_alone(directory)?, size)?;
        let mut normal = Normal::new(options.seed);
        let mut table = normal.fill(size * options.dimension, 1.0);
        for (row, factor) in table.chunks_exact_mut(options.dimension).zip(&factors) {
            row.iter_mut().for_each(|x| *x *= factor);
        }
        table[..options.dimension].fill(0.0);
        let shape = vec![size, options.dimension];
        write::tensors(&directory.join("model.safetensors"), &[("embedding.weight".to_owned(), shape, table)])
    })
}

/// A factor per token, at most 1. Where all texts have all tokens, every factor is 1.
fn inverse_frequencies(texts: &[&str], tokenizer: &Tokenizer, size: usize) -> Result<Vec<f32>> {
    let ids: Vec<Vec<u32>> = (texts.par_iter())
        .map(|text| {
            let mut ids = tokenizer.encode_plain(text)?;
            ids.sort_unstable();
            ids.dedup();
            Ok(ids)
        })
        .collect::<Result<_>>()?;
    let mut counts = vec![0u64; size];
    ids.iter().flatten().for_each(|&id| counts[id as usize] += 1);
    let factor = |&count: &u64| ((1.0 + texts.len() as f64) / (1.0 + count as f64)).ln();
    let factors: Vec<f64> = counts.iter().map(factor).collect();
    let most = factors.iter().copied().fold(0.0, f64::max);
    // A token that is in every text would have no direction to begin with, and no gradient could give it one.
    Ok(factors.iter().map(|factor| if most > 0.0 { (factor / most).max(0.01) as f32 } else { 1.0 }).collect())
}
