//! [`Rows`]: vectors of one width, one after another. No views, no strides, no arithmetic but what every caller of a
//! sentence encoder needs: unit length and fewer dimensions.

use std::fmt;

use sentir_kernels::distance;

use crate::error::{Error, Result};

/// `[rows, width]` float32 numbers, row-major. `width` is at least one; there may be no rows.
#[derive(Clone, PartialEq)]
pub struct Rows {
    values: Vec<f32>,
    width: usize,
}

impl Rows {
    /// Cuts `values` into rows of `width`.
    ///
    /// # Errors
    /// If `width` is zero or `values` are not whole rows.
    pub fn new(values: Vec<f32>, width: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::ZeroWidth);
        }
        if !values.len().is_multiple_of(width) {
            return Err(Error::Ragged { values: values.len(), width });
        }
        Ok(Self { values, width })
    }

    /// No rows of `width`.
    ///
    /// # Panics
    /// If `width` is zero.
    pub fn empty(width: usize) -> Self {
        assert!(width > 0, "rows must have at least one column");
        Self { values: Vec::new(), width }
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers per vector, at least one.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[rows, width]`
    pub fn shape(&self) -> [usize; 2] {
        [self.rows(), self.width]
    }

    /// Whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All numbers, row after row.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Vector `index`.
    ///
    /// # Panics
    /// If there is no such row, as a slice does.
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows(), "row {index} of {}", self.rows());
        &self.values[index * self.width..][..self.width]
    }

    /// The vectors in order, each of `width` numbers.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// All numbers, row after row, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }

    /// Scales each row to length one: `x / max(‖x‖₂, 1e-12)`, so zeros stay zeros.
    ///
    /// Source: `torch.nn.functional.normalize` with its defaults, as `normalize_embeddings` of sentence-transformers
    /// (`util/tensor.py`) calls it. Lengths beyond 1e19, whose squares overflow float32, are not promised to come out as
    /// there (as zeros).
    pub fn normalize(&mut self) {
        distance::normalize_rows(&mut self.values, self.width);
    }

    /// Keeps the first `dimensions` columns; a number at or above the width changes nothing (`truncate_embeddings` of
    /// sentence-transformers, `util/tensor.py`). It does not scale the rest to unit length: call [`Rows::normalize`].
    ///
    /// # Errors
    /// If `dimensions` is zero.
    pub fn truncate_dim(&mut self, dimensions: usize) -> Result<()> {
        if dimensions == 0 {
            return Err(Error::ZeroWidth);
        }
        if dimensions < self.width {
            for row in 0..self.rows() {
                self.values.copy_within(row * self.width..row * self.width + dimensions, row * dimensions);
            }
            self.values.truncate(self.rows() * dimensions);
            self.width = dimensions;
        }
        Ok(())
    }
}

/// The shape, not the numbers.
impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({} x {})", self.rows(), self.width)
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a [f32];
    type IntoIter = std::slice::ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_rows() {
        let rows = Rows::new((0..6_u8).map(f32::from).collect(), 3).unwrap();
        assert_eq!(rows.shape(), [2, 3]);
        assert_eq!(rows.row(1), [3.0, 4.0, 5.0]);
        assert_eq!(rows.iter().map(<[f32]>::len).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(format!("{rows:?}"), "Rows(2 x 3)");
        assert_eq!(rows.into_vec().len(), 6);
        assert_eq!(Rows::empty(3).shape(), [0, 3]);
    }

    #[test]
    fn wrong_shapes_are_errors() {
        assert_eq!(Rows::new(vec![], 0), Err(Error::ZeroWidth));
        assert_eq!(Rows::new(vec![0.0; 7], 3), Err(Error::Ragged { values: 7, width: 3 }));
        assert_eq!(Rows::empty(2).truncate_dim(0), Err(Error::ZeroWidth));
    }

    #[test]
    fn truncates_to_the_first_columns() {
        let mut rows = Rows::new((0..12_u8).map(f32::from).collect(), 4).unwrap();
        rows.truncate_dim(9).unwrap();
        assert_eq!(rows.shape(), [3, 4]);
        rows.truncate_dim(2).unwrap();
        assert_eq!((rows.shape(), rows.as_slice()), ([3, 2], &[0.0, 1.0, 4.0, 5.0, 8.0, 9.0][..]));
        let mut none = Rows::empty(4);
        none.truncate_dim(2).unwrap();
        assert_eq!(none.shape(), [0, 2]);
    }

    #[test]
    fn normalizes_and_leaves_zeros() {
        let mut rows = Rows::new(vec![3.0, 4.0, 0.0, 0.0, -1e-20, 0.0], 2).unwrap();
        rows.normalize();
        let expected = [0.6, 0.8, 0.0, 0.0, -1e-8, 0.0];
        for (got, expected) in rows.as_slice().iter().zip(expected) {
            assert!((got - expected).abs() <= 1e-7 * expected.abs(), "{got} {expected}");
        }
    }
}
