//! One tensor: its type, its shape, and where its numbers lie.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use half::{bf16, f16};
use rayon::prelude::*;

use super::Source;
use crate::{Error, Result};

/// The type of the numbers of a tensor, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// The names of safetensors.
impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        })
    }
}

/// Bytes of a file that stay where they are for as long as someone holds them.
#[derive(Clone)]
pub struct SharedBytes {
    source: Source,
    start: usize,
    length: usize,
}

impl SharedBytes {
    /// `length` bytes of the source, which must be there.
    pub(super) fn new(source: &Source, start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        ((**source).as_ref().len() >= end).then(|| Self { source: Arc::clone(source), start, length })
    }

    /// A part of these bytes, which must be there.
    pub(super) fn part(&self, start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        (end <= self.length).then(|| Self {
            source: Arc::clone(&self.source),
            start: self.start + start,
            length,
        })
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &(*self.source).as_ref()[self.start..self.start + self.length]
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.length, self.start)
    }
}

/// A tensor of a weights file.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name in the file.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape; a scalar has none.
    pub shape: Vec<usize>,
    pub(super) path: PathBuf,
    /// Row-major, exactly the numbers of the shape.
    pub(super) bytes: SharedBytes,
}

impl View {
    /// Number of numbers.
    pub fn elements(&self) -> usize {
        // Checked when the file was read: there are so many bytes.
        self.bytes.length / self.dtype.size()
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.length
    }

    /// Fails unless the tensor has this shape.
    pub fn expect_shape(&self, shape: &[usize]) -> Result<&Self> {
        if self.shape == shape {
            return Ok(self);
        }
        let message = format!("its shape is {:?}, but the configuration needs {shape:?}", self.shape);
        Err(Error::tensor(&self.path, &self.name, message))
    }

    /// The bytes where they are, row-major, little-endian.
    pub fn shared_bytes(&self) -> SharedBytes {
        self.bytes.clone()
    }

    /// The numbers as f32: wider types are rounded, narrower ones are exact.
    ///
    /// # Errors
    /// If one of them is not finite.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let bytes = self.bytes.as_ref();
        let values: Vec<f32> = match self.dtype {
            Dtype::F32 => convert(bytes, f32::from_le_bytes),
            Dtype::F64 => convert(bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F16 => convert(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => convert(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::I8 => convert(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Dtype::U8 => convert(bytes, |b: [u8; 1]| f32::from(b[0])),
            Dtype::I16 => convert(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I64 | Dtype::I32 | Dtype::Bool => {
                let message = format!("its type is {}, but numbers with a fraction are needed", self.dtype);
                return Err(Error::tensor(&self.path, &self.name, message));
            }
        };
        // A sum is not finite if one of its terms is not; only then is it worth a look which.
        if !values.par_chunks(1 << 16).all(|chunk| chunk.iter().all(|x| x.is_finite())) {
            let index = values.iter().position(|x| !x.is_finite()).unwrap_or_default();
            let message =
                format!("number {index} is {}: the weights are damaged; get the file again", values[index]);
            return Err(Error::tensor(&self.path, &self.name, message));
        }
        Ok(values)
    }

    /// The numbers as integers.
    ///
    /// # Errors
    /// If they are not.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let bytes = self.bytes.as_ref();
        Ok(match self.dtype {
            Dtype::I64 => convert(bytes, i64::from_le_bytes),
            Dtype::I32 => convert(bytes, |b| i32::from_le_bytes(b).into()),
            Dtype::I16 => convert(bytes, |b| i16::from_le_bytes(b).into()),
            Dtype::I8 => convert(bytes, |b| i8::from_le_bytes(b).into()),
            Dtype::U8 => convert(bytes, |b: [u8; 1]| b[0].into()),
            other => {
                return Err(Error::tensor(
                    &self.path,
                    &self.name,
                    format!("its type is {other}, but integers are needed"),
                ));
            }
        })
    }
}

fn convert<const SIZE: usize, T>(bytes: &[u8], one: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks::<SIZE>().0.iter().map(|&bytes| one(bytes)).collect()
}
