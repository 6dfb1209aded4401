//! Embedding tables that stay where they lie.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};
use sentir_kernels::buffer::Bytes;

/// How the numbers of a [`Table`] are stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// A signed byte, times the scale of its row.
    Int8,
}

impl TableType {
    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Int8 => 1,
        }
    }
}

/// An embedding table, `[rows, width]`: rows are converted one by one as they are looked up, so that a table of a
/// gigabyte can stay in a memory-mapped file of which only the rows in use are ever read.
#[derive(Clone)]
pub struct Table {
    rows: usize,
    width: usize,
    pub(crate) storage: TableStorage,
    /// Its number, if it is trained.
    pub(crate) parameter: Option<usize>,
}

#[derive(Clone)]
pub(crate) enum TableStorage {
    /// Where it lies.
    Bytes {
        kind: TableType,
        bytes: Arc<dyn Bytes>,
        /// For int8, of each row; else none.
        scales: Arc<[f32]>,
    },
    /// In memory, because it changes.
    Numbers(Vec<f32>),
}

/// Tables up to this size are read where they are mapped, and so stay in memory; of larger ones, rows are copied from the file. In bytes.
const STAYS: usize = 64 << 20;

impl Table {
    /// A table over `bytes`, or `None` if their number is not that of `rows * width` numbers, or `scales` are not those of the rows: one for each in
    /// int8, else none.
    pub fn new(
        rows: usize,
        width: usize,
        kind: TableType,
        bytes: Arc<dyn Bytes>,
        scales: Vec<f32>,
    ) -> Option<Self> {
        let expected = rows.checked_mul(width)?.checked_mul(kind.size())?;
        let scaled = if kind == TableType::Int8 { rows } else { 0 };
        let fits = width > 0 && (*bytes).as_ref().len() == expected && scales.len() == scaled;
        let storage = TableStorage::Bytes { kind, bytes, scales: scales.into() };
        fits.then_some(Self { rows, width, storage, parameter: None })
    }

    /// A table of its own numbers, to be trained; `None` if they are not rows of `width`.
    pub fn trainable(values: Vec<f32>, width: usize) -> Option<Self> {
        let rows = values.len().checked_div(width)?;
        let storage = TableStorage::Numbers(values);
        (width > 0).then_some(Self { rows, width, storage, parameter: None })
    }

    /// Number of entries: the size of the vocabulary, of the positions, of the token types.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers per entry.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Calls `each(column, value)` for every number of row `index`. Panics if there is no such row.
    pub(crate) fn for_each(&self, index: u32, mut each: impl FnMut(usize, f32)) {
        let index = index as usize;
        assert!(index < self.rows, "row {index} of a table of {}", self.rows);
        let (kind, bytes, scales) = match &self.storage {
            TableStorage::Bytes { kind, bytes, scales } => (kind, bytes, scales),
            TableStorage::Numbers(values) => {
                let row = &values[index * self.width..][..self.width];
                return row.iter().enumerate().for_each(|(j, &value)| each(j, value));
            }
        };
        let bytes_per_row = self.width * kind.size();
        let (all, mut copied) = ((**bytes).as_ref(), Vec::new());
        let row = if all.len() <= STAYS {
            &all[index * bytes_per_row..][..bytes_per_row]
        } else {
            copied.resize(bytes_per_row, 0);
            bytes.copy(index * bytes_per_row, &mut copied);
            &copied[..]
        };
        match kind {
            TableType::F32 => {
                row.as_chunks::<4>().0.iter().enumerate().for_each(|(j, &b)| each(j, f32::from_le_bytes(b)));
            }
            TableType::F16 => {
                let numbers = row.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32());
                numbers.enumerate().for_each(|(j, value)| each(j, value));
            }
            TableType::Bf16 => {
                let numbers = row.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32());
                numbers.enumerate().for_each(|(j, value)| each(j, value));
            }
            TableType::Int8 => {
                let scale = scales[index];
                let numbers = row.iter().map(|&byte| scale * f32::from(byte.cast_signed()));
                numbers.enumerate().for_each(|(j, value)| each(j, value));
            }
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.storage {
            TableStorage::Bytes { kind, .. } => *kind,
            TableStorage::Numbers(_) => TableType::F32,
        };
        write!(f, "Table([{}, {}], {kind:?})", self.rows, self.width)
    }
}
