//! Products of whole matrices on all threads: what gradients of similarities consist of.
//!
//! Every number is a sum in an order that the sizes alone decide, so results do not depend on the number of threads.

use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, gemm};

/// The right operand of a product, in the order in which a product reads it. Worth its making if the left operand has some
/// ten rows or more.
#[derive(Debug)]
pub struct Right(PackedMatrix);

impl Right {
    /// For `x · matrix`, matrix `[k, n]` row-major with rows of `n` numbers.
    ///
    /// # Panics
    /// If `n` is zero or `matrix` is not whole rows.
    pub fn new(matrix: &[f32], n: usize) -> Self {
        let k = matrix.len() / n;
        Self(PackedMatrix::pack(&transpose(matrix, n), n, k, WeightType::F32))
    }

    /// For `x · matrixᵀ`, matrix `[n, k]` row-major with rows of `k` numbers: products of each row of x with each of `matrix`.
    ///
    /// # Panics
    /// If `k` is zero or `matrix` is not whole rows.
    pub fn transposed(matrix: &[f32], k: usize) -> Self {
        Self(PackedMatrix::pack(matrix, matrix.len() / k, k, WeightType::F32))
    }

    /// The product: x `[m, k]`, the result `[m, n]`, both row-major.
    ///
    /// # Panics
    /// If `x` is not whole rows of `k`.
    pub fn product(&self, x: &[f32]) -> Vec<f32> {
        let m = x.len() / self.0.inputs().max(1);
        let mut out = vec![0.0; m * self.0.outputs()];
        gemm(x, m, &self.0, Epilogue::default(), &mut out);
        out
    }
}

/// `matrix` `[rows, width]` as `[width, rows]`, both row-major.
///
/// # Panics
/// If `width` is zero or `matrix` is not whole rows.
pub fn transpose(matrix: &[f32], width: usize) -> Vec<f32> {
    /// Rows and columns that are moved together: two such squares stay in the level-1 cache.
    const SIDE: usize = 32;
    assert!(matrix.len().is_multiple_of(width), "{} numbers are not rows of {width}", matrix.len());
    let rows = matrix.len() / width;
    let mut out = vec![0.0; matrix.len()];
    for row in (0..rows).step_by(SIDE) {
        for column in (0..width).step_by(SIDE) {
            for j in column..(column + SIDE).min(width) {
                for i in row..(row + SIDE).min(rows) {
                    out[j * rows + i] = matrix[i * width + j];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_the_plain_loops(
            (m, n, k) in (1usize..70, 1usize..70, 1usize..70),
            numbers in prop::collection::vec(-4.0f32..4.0, 70 * 140),
        ) {
            let (a, b) = (&numbers[..m * k], &numbers[70 * 70..][..n * k]);
            let turned = transpose(b, k);
            prop_assert!((0..n * k).all(|i| turned[i % k * n + i / k] == b[i]));
            for out in [Right::transposed(b, k).product(a), Right::new(&turned, n).product(a)] {
                prop_assert_eq!(out.len(), m * n);
                for i in 0..m {
                    for j in 0..n {
                        let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[j * k + p]));
                        let (sum, size) = terms.fold((0.0, 1.0), |(s, z), t| (s + t, z + t.abs()));
                        prop_assert!((f64::from(out[i * n + j]) - sum).abs() <= 1e-6 * size);
                    }
                }
            }
        }
    }
}
