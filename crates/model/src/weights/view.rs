//! One tensor: its type, its shape, and where its numbers lie.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use rayon::prelude::*;
use sentir_kernels::buffer::Bytes;

use super::{Source, shown};
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
    /// The name that safetensors has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
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
        }
    }

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
        f.write_str(self.name())
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

impl Bytes for SharedBytes {
    fn release(&self, range: Range<usize>) {
        if range.start <= range.end && range.end <= self.length {
            self.source.release(self.start + range.start..self.start + range.end);
        }
    }

    fn copy(&self, at: usize, to: &mut [u8]) {
        assert!(to.len() <= self.length && at <= self.length - to.len(), "bytes of this part");
        self.source.copy(self.start + at, to);
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
    path: PathBuf,
    /// Exactly the numbers of the shape, row-major; if there is a layout, all that it may reach.
    bytes: SharedBytes,
    layout: Option<Layout>,
}

/// Where the numbers of a tensor lie that is not row-major: transposed, a part of another one, or repeated.
#[derive(Debug, Clone)]
struct Layout {
    /// The first number.
    offset: usize,
    /// How many numbers further the next one of each dimension is.
    strides: Vec<usize>,
}

impl View {
    /// A tensor whose numbers are `bytes`, as many as the shape needs.
    pub(super) fn row_major(
        path: &Path,
        name: String,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: SharedBytes,
    ) -> Self {
        Self { name, dtype, shape, path: path.to_owned(), bytes, layout: None }
    }

    /// A tensor in a storage, `offset` and `strides` in numbers as PyTorch has them. Fails unless all of it lies there.
    pub(super) fn strided(
        path: &Path,
        name: String,
        dtype: Dtype,
        shape: Vec<usize>,
        storage: &SharedBytes,
        (offset, strides): (usize, Vec<usize>),
    ) -> Result<Self> {
        let size = dtype.size();
        let outside = || {
            let message =
                format!("its shape {shape:?} reaches out of its storage of {} bytes", storage.length);
            Error::tensor(path, shown(&name), message + "; get the file again")
        };
        let elements =
            shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).ok_or_else(outside)?;
        let length = elements.checked_mul(size).ok_or_else(outside)?;
        if length == 0 {
            let bytes = storage.part(0, 0).ok_or_else(outside)?;
            return Ok(Self::row_major(path, name, dtype, shape, bytes));
        }
        let (mut last, mut expected, mut row_major) = (Some(offset), 1, true);
        for (&n, &stride) in shape.iter().zip(&strides).rev() {
            let step = (n - 1).checked_mul(stride);
            last = last.and_then(|last| last.checked_add(step?));
            row_major &= n == 1 || stride == expected;
            expected *= n;
        }
        if last.is_none_or(|last| last >= storage.length / size) {
            return Err(outside());
        }
        if row_major {
            let bytes = offset.checked_mul(size).and_then(|start| storage.part(start, length));
            let bytes = bytes.ok_or_else(outside)?;
            return Ok(Self::row_major(path, name, dtype, shape, bytes));
        }
        let layout = Some(Layout { offset, strides });
        Ok(Self { name, dtype, shape, path: path.to_owned(), bytes: storage.clone(), layout })
    }

    /// Says that the numbers will not be read again soon: those in a mapped file no longer count as memory of the process.
    pub fn release(&self) {
        self.bytes.release(0..self.bytes.length);
    }

    /// Number of numbers.
    pub fn elements(&self) -> usize {
        // Checked when the file was read.
        self.shape.iter().product()
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// Fails unless the tensor has this shape.
    pub fn expect_shape(&self, shape: &[usize]) -> Result<&Self> {
        if self.shape == shape {
            return Ok(self);
        }
        let message = format!("its shape is {:?}, but the configuration needs {shape:?}", self.shape);
        Err(Error::tensor(&self.path, &self.name, message))
    }

    /// The numbers, row-major, little-endian: where they are in the file, or, if they are not in this order there, a copy.
    pub fn shared_bytes(&self) -> SharedBytes {
        let Some(layout) = &self.layout else { return self.bytes.clone() };
        let (all, size) = (self.bytes.as_ref(), self.dtype.size());
        let mut copy = Vec::with_capacity(self.bytes());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.elements() {
            let steps = index.iter().zip(&layout.strides).map(|(i, stride)| i * stride);
            let at = layout.offset + steps.sum::<usize>();
            copy.extend_from_slice(&all[at * size..][..size]);
            // The next index, the last dimension running fastest.
            for (i, &n) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < n {
                    break;
                }
                *i = 0;
            }
        }
        SharedBytes { start: 0, length: copy.len(), source: Arc::new(copy) }
    }

    /// Some rows of it: the first dimension. Panics if they are not there.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        let row = shape[1..].iter().product::<usize>() * self.dtype.size();
        shape[0] = rows.len();
        let bytes = self.shared_bytes().part(rows.start * row, rows.len() * row).expect("rows of the tensor");
        Self { bytes, shape, layout: None, ..self.clone() }
    }

    /// The numbers as f32: wider types are rounded, narrower ones are exact.
    ///
    /// # Errors
    /// If one of them is not finite.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let shared = self.shared_bytes();
        let bytes = shared.as_ref();
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
        let shared = self.shared_bytes();
        let bytes = shared.as_ref();
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
