//! A buffer of numbers with a shape, as one backend stores it. No strides, no views, no arithmetic: that is `ops`.

use crate::aligned::Aligned;
use crate::tape::Node;

/// `[rows, width]` numbers, row-major, in the storage of the backend that made it.
///
/// A tensor is opened only by the backend that made it; handing it to another one is a programming error and panics.
#[derive(Debug, Clone)]
pub struct Tensor {
    rows: usize,
    width: usize,
    pub(crate) storage: Storage,
    /// Its place in a training pass.
    pub(crate) node: Option<Node>,
    /// Its number, if it is a parameter that is trained.
    pub(crate) parameter: Option<usize>,
}

/// What the backends keep their numbers in.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// [`crate::Cpu`]
    F32(Aligned),
    /// [`crate::Reference`]
    F64(Vec<f64>),
}

impl Tensor {
    /// A tensor over `values`, whose length decides the number of rows.
    pub(crate) fn new(width: usize, storage: Storage) -> Self {
        let len = match &storage {
            Storage::F32(values) => values.len(),
            Storage::F64(values) => values.len(),
        };
        assert!(width > 0 && len % width == 0, "{len} numbers are not rows of {width}");
        Self { rows: len / width, width, storage, node: None, parameter: None }
    }

    /// Number of rows: tokens or sentences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The same buffer with another shape; what was in it is no longer meaningful.
    pub(crate) fn reshape(&mut self, rows: usize, width: usize) {
        (self.rows, self.width) = (rows, width);
        (self.node, self.parameter) = (None, None);
        match &mut self.storage {
            Storage::F32(values) => values.reuse(rows * width),
            Storage::F64(values) => values.resize(rows * width, 0.0),
        }
    }

    /// More rows, of zeros.
    pub(crate) fn grow(&mut self, rows: usize) {
        assert!(rows >= self.rows, "a tensor of {} rows does not grow to {rows}", self.rows);
        self.rows = rows;
        match &mut self.storage {
            Storage::F32(values) => values.resize(rows * self.width),
            Storage::F64(values) => values.resize(rows * self.width, 0.0),
        }
    }

    /// All numbers become 0.
    pub(crate) fn clear(&mut self) {
        match &mut self.storage {
            Storage::F32(values) => values.fill(0.0),
            Storage::F64(values) => values.fill(0.0),
        }
    }

    /// The numbers of another tensor of the same shape.
    pub(crate) fn copy_from(&mut self, from: &Self) {
        match (&mut self.storage, &from.storage) {
            (Storage::F32(to), Storage::F32(from)) => to.copy_from_slice(from),
            (Storage::F64(to), Storage::F64(from)) => to.copy_from_slice(from),
            _ => panic!("{FOREIGN}"),
        }
    }

    /// How many numbers fit without another allocation.
    pub(crate) fn capacity(&self) -> usize {
        match &self.storage {
            Storage::F32(values) => values.capacity(),
            Storage::F64(values) => values.capacity(),
        }
    }

    /// Gives back the room beyond its numbers, if that is a fifth of the buffer or more.
    pub(crate) fn shrink(&mut self) {
        let needed = self.rows * self.width;
        if needed * 5 <= self.capacity() * 4 {
            match &mut self.storage {
                Storage::F32(values) => values.shrink_to(needed),
                Storage::F64(values) => values.shrink_to(needed),
            }
        }
    }

    pub(crate) fn f32(&self) -> &[f32] {
        match &self.storage {
            Storage::F32(values) => values,
            Storage::F64(_) => panic!("{FOREIGN}"),
        }
    }

    pub(crate) fn f32_mut(&mut self) -> &mut [f32] {
        match &mut self.storage {
            Storage::F32(values) => values,
            Storage::F64(_) => panic!("{FOREIGN}"),
        }
    }

    pub(crate) fn f64(&self) -> &[f64] {
        match &self.storage {
            Storage::F64(values) => values,
            Storage::F32(_) => panic!("{FOREIGN}"),
        }
    }

    pub(crate) fn f64_mut(&mut self) -> &mut [f64] {
        match &mut self.storage {
            Storage::F64(values) => values,
            Storage::F32(_) => panic!("{FOREIGN}"),
        }
    }
}

const FOREIGN: &str = "a tensor of one backend was handed to another";
