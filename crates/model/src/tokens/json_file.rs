//! `tokenizer.json`, read into its parts. Nothing of it runs before `build` has looked at it.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::Vocab;

use super::unigram::Pieces;
use crate::{Error, Result, json};

/// The largest file that is read. The largest of published models have some 35 MB.
const LARGEST: u64 = 1 << 30;

/// The parts of `tokenizer.json`; the decoder, which makes text of ids, is not among them.
#[derive(Deserialize)]
pub(super) struct TokenizerFile {
    pub model: ModelPart,
    #[serde(default)]
    pub added_tokens: Vec<Value>,
    pub normalizer: Option<Value>,
    pub pre_tokenizer: Option<Value>,
    pub post_processor: Option<Value>,
    pub truncation: Option<Value>,
    pub padding: Option<Value>,
}

/// The model of `tokenizer.json`, of any type.
#[derive(Deserialize)]
pub(super) struct ModelPart {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub vocab: Vocabulary,
    pub merges: Option<Merges>,
    pub unk_token: Option<String>,
    pub unk_id: Option<usize>,
    pub continuing_subword_prefix: Option<String>,
    pub end_of_word_suffix: Option<String>,
    pub max_input_chars_per_word: Option<usize>,
    pub dropout: Option<f32>,
    #[serde(default)]
    pub fuse_unk: Option<bool>,
    pub byte_fallback: Option<bool>,
    pub ignore_merges: Option<bool>,
}

/// Tokens with their ids, or with their scores in the order of ids.
pub(super) enum Vocabulary {
    Ids(Vocab),
    Scores(Pieces),
}

/// Pairs of pieces that become one, the most urgent first.
pub(super) struct Merges(pub Vec<(String, String)>);

impl TokenizerFile {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let length = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
        if length > LARGEST {
            return Err(Error::invalid(path, format!("{length} bytes are too many for a tokenizer")));
        }
        json::parse(path, &fs::read(path).map_err(|e| Error::io(path, e))?)
    }
}

impl ModelPart {
    /// The type; files of the first years do not name it.
    pub(super) fn kind(&self) -> &str {
        match (&self.kind, &self.vocab) {
            (Some(kind), _) => kind,
            (None, Vocabulary::Scores(_)) => "Unigram",
            (None, Vocabulary::Ids(_)) if self.merges.is_some() => "BPE",
            (None, Vocabulary::Ids(_)) => "WordPiece",
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their ids, or a list of tokens with their scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut ids = Vocab::default();
                while let Some((token, id)) = map.next_entry::<String, u32>()? {
                    ids.insert(token, id);
                }
                Ok(Vocabulary::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Entry<'a>(#[serde(borrow)] Cow<'a, str>, f64);
                let mut pieces = Pieces::default();
                while let Some(Entry(piece, score)) = list.next_element()? {
                    pieces.push(&piece, score);
                }
                Ok(Vocabulary::Scores(pieces))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// `"a b"` before tokenizers 0.20, since then `["a", "b"]`.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Merge {
            Joined(String),
            Pair(String, String),
        }
        let list = Vec::<Merge>::deserialize(deserializer)?;
        let mut merges = Vec::with_capacity(list.len());
        for (index, merge) in list.into_iter().enumerate() {
            merges.push(match merge {
                Merge::Pair(a, b) => (a, b),
                Merge::Joined(line) => split_merge(&line).ok_or_else(|| {
                    D::Error::custom(format!(
                        "merge {index} is not two pieces with a space between them: {line:?}"
                    ))
                })?,
            });
        }
        Ok(Self(merges))
    }
}

/// `a b` as two pieces.
pub(super) fn split_merge(line: &str) -> Option<(String, String)> {
    let (a, b) = line.split_once(' ')?;
    (!b.contains(' ')).then(|| (a.to_owned(), b.to_owned()))
}
