//! What to do with texts that are longer than the model reads, and the account of it.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// What happens to a text with more tokens than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// The rest is not read, as in sentence-transformers; [`TruncationReport`] says how much.
    #[default]
    Truncate,
    /// It is an error that names the text; nothing is encoded.
    Error,
    /// The text is read in consecutive chunks that fit, each with the prompt and the special tokens, and the pooled vectors of
    /// the chunks are averaged, weighted by the number of their tokens; the modules after pooling see that average.
    ChunkMean,
}

impl Truncation {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Truncate, "truncate"), (Self::Error, "error"), (Self::ChunkMean, "chunk-mean")];
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(truncation, _)| truncation == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Truncation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(truncation, _)| *truncation).ok_or_else(
            || {
                Error::Argument(format!(
                    "truncation \"{name}\" is not known; known are truncate, error, chunk-mean"
                ))
            },
        )
    }
}

/// Which texts had more tokens than the model reads, and how many more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruncationReport {
    /// The most tokens of a text that are read at once, special tokens and prompt included. `None`: no limit.
    pub max_seq_length: Option<usize>,
    /// What was done about it.
    pub policy: Truncation,
    /// Per text, the number of its tokens beyond the limit: lost with [`Truncation::Truncate`], read in further chunks with
    /// [`Truncation::ChunkMean`].
    pub tokens_cut: Vec<usize>,
}

impl TruncationReport {
    /// Number of texts with tokens beyond the limit.
    pub fn texts(&self) -> usize {
        self.tokens_cut.iter().filter(|&&cut| cut > 0).count()
    }

    /// Number of tokens beyond the limit.
    pub fn tokens(&self) -> usize {
        self.tokens_cut.iter().sum()
    }
}
