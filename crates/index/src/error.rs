//! The error of this crate: which file or row, and what to do.

use std::path::{Path, PathBuf};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an index could not be opened, searched or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or directory is there but does not hold what it should.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Rows that cannot be taken.
    #[error("{0}")]
    Rows(String),
    /// Of files.
    #[error(transparent)]
    Model(#[from] sentir_model::Error),
    /// Of vectors.
    #[error(transparent)]
    Vectors(#[from] sentir_vectors::Error),
}

impl Error {
    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), message: message.into() }
    }
}
