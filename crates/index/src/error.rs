//! The error of this crate: which file or row, and what to do.

use std::path::Path;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an index could not be opened, searched or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Rows that cannot be taken.
    #[error("{0}")]
    Rows(String),
    /// A file could not be read or written, or does not hold what it should.
    #[error(transparent)]
    Model(#[from] sentir_model::Error),
    /// Of vectors.
    #[error(transparent)]
    Vectors(#[from] sentir_vectors::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        sentir_model::Error::Io { path: path.to_owned(), source }.into()
    }

    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        sentir_model::Error::Invalid { path: path.to_owned(), message: message.into() }.into()
    }
}
