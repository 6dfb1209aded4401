//! A segment: rows of an index in one file of safetensors, written once. `vectors` `[rows, dimensions]` (float32; of unit length, if the index
//! compares by cosine), `codes` `[rows, width]` (the compressed vectors), and texts one after another in `ids` and `entries`, which end at
//! `id_ends` and `entry_ends`.
//!
//! Not here: which rows are gone.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use sentir_model::weights::{SharedBytes, Weights};
use sentir_vectors::compress::Precision;
use sentir_vectors::quantized::Compressed;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::manifest::{Listed, Manifest};

/// What is kept with a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Names the row; there is one row of an id.
    pub id: String,
    /// Whatever is to be found again, such as the text.
    pub fields: Map<String, Value>,
}

/// Rows in memory, before they are written.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) vectors: Vec<f32>,
    pub(crate) codes: Vec<u8>,
    ids: Texts,
    entries: Texts,
}

/// Texts one after another, and where each ends.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend(text);
        self.ends.push(self.bytes.len() as u64);
    }
}

impl Part {
    pub(crate) fn push_texts(&mut self, id: &str, entry: &[u8]) {
        self.ids.push(id.as_bytes());
        self.entries.push(entry);
    }

    /// Adds a row of a segment.
    pub(crate) fn push_row(&mut self, segment: &Segment, row: usize) -> Result<()> {
        if let Some(vectors) = segment.vectors()? {
            let width = vectors.len() / segment.rows;
            self.vectors.extend(&vectors[row * width..][..width]);
        }
        if let Some(codes) = &segment.codes {
            let width = codes.as_ref().len() / segment.rows;
            self.codes.extend(&codes.as_ref()[row * width..][..width]);
        }
        self.push_texts(segment.id(row)?, segment.entry_bytes(row)?);
        Ok(())
    }

    /// Adds all rows of another part.
    pub(crate) fn join(&mut self, other: Self) {
        self.vectors.extend(other.vectors);
        self.codes.extend(other.codes);
        for (own, other) in [(&mut self.ids, other.ids), (&mut self.entries, other.entries)] {
            let start = own.bytes.len() as u64;
            own.ends.extend(other.ends.iter().map(|end| start + end));
            own.bytes.extend(other.bytes);
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.ids.ends.len()
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, directory: &Path, listed: &Listed, manifest: &Manifest) -> Result<()> {
        let rows = self.rows();
        let ends =
            |texts: &Texts| -> Vec<u8> { texts.ends.iter().flat_map(|end| end.to_le_bytes()).collect() };
        let (id_ends, entry_ends) = (ends(&self.ids), ends(&self.entries));
        let dimensions = manifest.dimensions;
        let mut tensors = vec![
            ("ids", safetensors::Dtype::U8, vec![self.ids.bytes.len()], &self.ids.bytes[..]),
            ("id_ends", safetensors::Dtype::I64, vec![rows], &id_ends),
            ("entries", safetensors::Dtype::U8, vec![self.entries.bytes.len()], &self.entries.bytes),
            ("entry_ends", safetensors::Dtype::I64, vec![rows], &entry_ends),
        ];
        if manifest.full {
            let bytes = bytemuck::cast_slice(&self.vectors);
            tensors.push(("vectors", safetensors::Dtype::F32, vec![rows, dimensions], bytes));
        }
        if let Some(width) = code_width(manifest) {
            tensors.push(("codes", safetensors::Dtype::U8, vec![rows, width], &self.codes));
        }
        let aside = directory.join(format!(".sentir-{}", listed.file()));
        let views: Result<Vec<_>, _> = tensors
            .into_iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)))
            .collect();
        let views =
            views.map_err(|error: safetensors::SafeTensorError| Error::invalid(&aside, error.to_string()))?;
        let written = sentir_model::layout::write_tensors(&aside, views);
        let path = directory.join(listed.file());
        let renamed = written
            .map_err(Error::from)
            .and_then(|()| std::fs::rename(&aside, &path).map_err(|source| Error::io(&path, source)));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        renamed
    }
}

/// Bytes of a row's code; none for float32.
pub(crate) fn code_width(manifest: &Manifest) -> Option<usize> {
    match manifest.precision() {
        Precision::Float32 => None,
        Precision::Int8 | Precision::Uint8 => Some(manifest.dimensions),
        Precision::Binary | Precision::Ubinary => Some(manifest.dimensions.div_ceil(8)),
    }
}

/// A segment where it lies.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    pub(crate) rows: usize,
    vectors: Option<SharedBytes>,
    codes: Option<SharedBytes>,
    ids: SharedBytes,
    id_ends: SharedBytes,
    entries: SharedBytes,
    entry_ends: SharedBytes,
}

impl Segment {
    pub(crate) fn open(directory: &Path, listed: &Listed, manifest: &Manifest) -> Result<Self> {
        let path = directory.join(listed.file());
        let weights = Weights::open_file(&path)?;
        let rows = listed.rows;
        let bytes = |name: &str, shape: Option<&[usize]>, size: usize| -> Result<SharedBytes> {
            let view = weights.get(name)?;
            if let Some(shape) = shape {
                view.expect_shape(shape)?;
            }
            if view.dtype.size() != size {
                return Err(Error::invalid(
                    &path,
                    format!("\"{name}\" is of another type: build the index again"),
                ));
            }
            Ok(view.shared_bytes())
        };
        let full = [rows, manifest.dimensions];
        let codes = code_width(manifest).map(|width| bytes("codes", Some(&[rows, width]), 1));
        Ok(Self {
            rows,
            vectors: manifest.full.then(|| bytes("vectors", Some(&full), 4)).transpose()?,
            codes: codes.transpose()?,
            ids: bytes("ids", None, 1)?,
            id_ends: bytes("id_ends", Some(&[rows]), 8)?,
            entries: bytes("entries", None, 1)?,
            entry_ends: bytes("entry_ends", Some(&[rows]), 8)?,
            path,
        })
    }

    /// `[rows, dimensions]`, if they are kept.
    pub(crate) fn vectors(&self) -> Result<Option<&[f32]>> {
        let cast =
            |bytes| bytemuck::try_cast_slice(bytes).map_err(|_| self.damaged("vectors that are not aligned"));
        self.vectors.as_ref().map(|bytes| cast(bytes.as_ref())).transpose()
    }

    /// The compressed vectors, if there are any.
    pub(crate) fn codes(&self, precision: Precision) -> Option<Compressed<'_>> {
        let bytes = self.codes.as_ref()?.as_ref();
        Some(match precision {
            Precision::Float32 => return None,
            Precision::Int8 => Compressed::Int8(bytemuck::cast_slice(bytes)),
            Precision::Uint8 => Compressed::Uint8(bytes),
            Precision::Binary => Compressed::Binary(bytemuck::cast_slice(bytes)),
            Precision::Ubinary => Compressed::Ubinary(bytes),
        })
    }

    pub(crate) fn id(&self, row: usize) -> Result<&str> {
        let bytes = self.text(&self.ids, &self.id_ends, row)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("an id that is no text"))
    }

    fn entry_bytes(&self, row: usize) -> Result<&[u8]> {
        self.text(&self.entries, &self.entry_ends, row)
    }

    pub(crate) fn entry(&self, row: usize) -> Result<Map<String, Value>> {
        serde_json::from_slice(self.entry_bytes(row)?)
            .map_err(|_| self.damaged("an entry that is no JSON object"))
    }

    fn text<'a>(&'a self, texts: &'a SharedBytes, ends: &SharedBytes, row: usize) -> Result<&'a [u8]> {
        let end = |row: usize| {
            let bytes = ends.as_ref().as_chunks::<8>().0.get(row).copied().unwrap_or_default();
            usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let start = if row == 0 { 0 } else { end(row - 1) };
        let end = end(row);
        if start > end {
            return Err(self.damaged("texts that end before they begin"));
        }
        texts.as_ref().get(start..end).ok_or_else(|| self.damaged("texts beyond its end"))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::invalid(&self.path, format!("it is damaged: {what}; build the index again"))
    }
}
