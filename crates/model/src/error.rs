//! The one error of this crate: what went wrong, in which file, text or argument, and what to do about it.

use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be loaded or a text not encoded. Every message names its object and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("{}: line {line}, column {column}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// One-based line.
        line: usize,
        /// One-based column.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A file or directory is there but does not hold what it should.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// One tensor of a weights file is missing or is not what the model needs.
    #[error("{}: tensor \"{tensor}\": {message}", path.display())]
    Tensor {
        /// The weights file or the directory that was searched.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A module that sentir does not implement.
    #[error("{}: module \"{module}\" is not supported: {message}", path.display())]
    UnsupportedModule {
        /// The file that asks for it.
        path: PathBuf,
        /// The `type` as the file has it.
        module: String,
        /// What is supported.
        message: String,
    },
    /// The hub, or the cache of it, cannot give the model.
    #[error("{id}: {message}")]
    Hub {
        /// The repository id as the user gave it.
        id: String,
        /// What happened and what to do.
        message: String,
    },
    /// One of the texts cannot be encoded.
    #[error("text {index}: {message}")]
    Text {
        /// Zero-based position in the input.
        index: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// An argument or option is wrong.
    #[error("{0}")]
    Argument(String),
    /// Vectors do not fit together.
    #[error(transparent)]
    Vectors(#[from] sentir_vectors::Error),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn tensor(path: &Path, tensor: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: tensor.into(), message: message.into() }
    }

    pub(crate) fn json(path: &Path, error: &serde_json::Error) -> Self {
        // serde_json repeats the position in its message; ours gives it once, before.
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Self::Json { path: path.to_owned(), line: error.line(), column: error.column(), message }
    }
}
