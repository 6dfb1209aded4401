//! What can go wrong while training. Messages name the file, the line or the argument, and say what to do.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why training could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument, or arguments that do not fit together, or to the data.
    #[error("{0}")]
    Argument(String),
    /// A file of data, with the line or row (from 1) where there is one.
    #[error("{}{}: {message}", path.display(), row.map_or(String::new(), |row| format!(", row {row}")))]
    Data {
        /// The file.
        path: PathBuf,
        /// The line or row, from 1.
        row: Option<usize>,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Vectors that do not fit together.
    #[error(transparent)]
    Vectors(#[from] sentir_vectors::Error),
    /// The model.
    #[error(transparent)]
    Model(sentir_model::Error),
    /// A loss or a gradient that is NaN or infinite: training cannot go on.
    #[error("{0}")]
    NotFinite(String),
    /// Stopped by the caller, between two steps.
    #[error("interrupted")]
    Interrupted,
}

impl From<sentir_model::Error> for Error {
    fn from(error: sentir_model::Error) -> Self {
        match error {
            sentir_model::Error::Interrupted => Self::Interrupted,
            error => Self::Model(error),
        }
    }
}
