//! A tokenizer for one's own texts: how it normalizes and divides, and its `tokenizer.json`. Which pieces it has is
//! `unigram`'s.
//!
//! Texts are brought to Unicode's compatibility form (NFKC) and to lower case, and «ё» becomes «е», as most people write it;
//! they are divided at white space and around punctuation, then into pieces. The beginning of a word is not marked: a root
//! is the same piece after a prefix.

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::{
    NormalizedString, Normalizer as _, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _, PreTokenizerWrapper,
};

use super::unigram;
use crate::{Error, Result};

/// What a vocabulary is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Tokens at most, special tokens included. Texts with few distinct words give fewer.
    pub vocabulary: usize,
    /// Characters of a piece at most. Short pieces are shared by the forms of a word, and most of them survive a typing
    /// error in it; long ones keep words apart.
    pub longest_piece: usize,
}

impl TokenizerOptions {
    /// # Errors
    /// If a number is of no use.
    pub(super) fn check(&self) -> Result<()> {
        if !(16..=1 << 20).contains(&self.vocabulary) {
            let message =
                format!("a vocabulary of {} tokens: it must have from 16 to 1048576", self.vocabulary);
            return Err(Error::Argument(message));
        }
        if !(1..=64).contains(&self.longest_piece) {
            let message =
                format!("pieces of {} characters: the longest must have from 1 to 64", self.longest_piece);
            return Err(Error::Argument(message));
        }
        Ok(())
    }
}

fn normalizer() -> Value {
    json!({"type": "Sequence", "normalizers": [
        {"type": "NFKC"},
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"String": "ё"}, "content": "е"},
    ]})
}

fn pre_tokenizer() -> Value {
    json!({"type": "BertPreTokenizer"})
}

/// Learns a vocabulary and gives the content of `tokenizer.json` and the number of tokens: the special tokens first, then
/// the pieces from the most probable to the least. `post_processor` as in that file. The same texts, in whatever order, give
/// the same bytes.
///
/// # Errors
/// If the texts have no character that is not white space, or the options are of no use.
pub(super) fn learn(
    texts: &[&str],
    options: &TokenizerOptions,
    special: &[&str],
    unknown: &str,
    post_processor: &Value,
) -> Result<(Value, usize)> {
    options.check()?;
    let words = words(texts)?;
    let pieces = unigram::train(&words, options.vocabulary - special.len(), options.longest_piece);
    if pieces.is_empty() {
        return Err(Error::Argument(
            "the texts have no characters but white space; a vocabulary cannot be learned from them"
                .to_owned(),
        ));
    }
    let added: Vec<Value> = (special.iter().enumerate())
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    // Six digits: a score says no more, and no machine's logarithm differs there.
    let scored = pieces.iter().map(|(piece, score)| (piece.as_str(), (score * 1e6).round() / 1e6));
    let vocab: Vec<Value> = special
        .iter()
        .map(|&content| (content, 0.0))
        .chain(scored)
        .map(|(piece, score)| json!([piece, score]))
        .collect();
    let size = vocab.len();
    let unknown = special.iter().position(|content| *content == unknown);
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer(),
        "pre_tokenizer": pre_tokenizer(),
        "post_processor": post_processor,
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": false},
    });
    Ok((file, size))
}

/// All words with their counts, by their text.
fn words(texts: &[&str]) -> Result<Vec<(String, u64)>> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Argument(format!("a text cannot be divided: {error}"));
    let normalizer: NormalizerWrapper =
        serde_json::from_value(normalizer()).map_err(|error| failed(&error))?;
    let pre_tokenizer: PreTokenizerWrapper =
        serde_json::from_value(pre_tokenizer()).map_err(|error| failed(&error))?;
    type Counts = HashMap<String, u64>;
    let count = |mut counts: Counts, text: &&str| -> Result<Counts> {
        let mut normalized = NormalizedString::from(*text);
        normalizer.normalize(&mut normalized).map_err(|error| failed(&error))?;
        let mut divided = PreTokenizedString::from(normalized);
        pre_tokenizer.pre_tokenize(&mut divided).map_err(|error| failed(&error))?;
        for (word, _, _) in divided.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(word.to_owned(), 1);
                }
            }
        }
        Ok(counts)
    };
    let join = |a: Counts, b: Counts| {
        let (mut all, less) = if a.len() < b.len() { (b, a) } else { (a, b) };
        less.into_iter().for_each(|(word, count)| *all.entry(word).or_default() += count);
        Ok(all)
    };
    // Whole numbers: their sum has no order.
    let counts = texts.par_iter().try_fold(Counts::new, count).try_reduce(Counts::new, join)?;
    let mut words: Vec<(String, u64)> = counts.into_iter().collect();
    words.sort_unstable();
    Ok(words)
}
