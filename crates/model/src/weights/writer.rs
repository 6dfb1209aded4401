//! Writing a safetensors file: the header first, then the numbers of each tensor as they come.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// A tensor to be written: its name, its type as safetensors calls it, its shape, its bytes.
pub(crate) struct Entry {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: usize,
}

/// A file whose header is written.
pub(crate) struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    left: usize,
}

impl Writer {
    /// Writes the header. The numbers of the first tensor begin at a multiple of 64 bytes.
    pub(crate) fn create(path: &Path, entries: &[Entry]) -> Result<Self> {
        let (mut header, mut end) = (Map::new(), 0);
        for entry in entries {
            let offsets = [end, end + entry.bytes];
            end += entry.bytes;
            let value = json!({"dtype": entry.dtype, "shape": entry.shape, "data_offsets": offsets});
            header.insert(entry.name.clone(), value);
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize((8 + text.len()).next_multiple_of(64) - 8, b' ');
        let file = File::create(path).map_err(|error| Error::io(path, error))?;
        let mut writer = Self { path: path.to_owned(), out: BufWriter::new(file), left: end };
        let length = (text.len() as u64).to_le_bytes();
        writer.put(&[&length[..], &text].concat())?;
        Ok(writer)
    }

    /// The next bytes, of the tensors in order.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len()).expect("as many bytes as the entries say");
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Error::io(&self.path, error))
    }

    /// Puts the file on the disk.
    pub(crate) fn finish(self) -> Result<()> {
        assert_eq!(self.left, 0, "as many bytes as the entries say");
        let synced =
            self.out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| Error::io(&self.path, error))
    }
}
