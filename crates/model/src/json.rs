//! JSON files of a model directory, with errors that name file, line and column.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The largest JSON file that is read; tokenizers are larger and have a reader of their own.
const LARGEST: u64 = 64 << 20;

/// Reads a file that must be there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length > LARGEST {
        return Err(Error::invalid(path, format!("{length} bytes are too many for a configuration file")));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(path, &bytes)
}

/// Reads a file that may be missing.
pub(crate) fn read_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read(path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        read => read.map(Some),
    }
}

/// Parses what was read from `path`. A byte-order mark is tolerated.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|e| Error::json(path, &e))
}
