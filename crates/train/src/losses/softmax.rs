//! All similarities of some columns with others, a block of rows at a time, and what a loss of each row makes of them: the
//! frame of losses with negatives from the batch. Memory is that of a block, not of the square of the batch.

use std::ops::Range;

use rayon::prelude::*;
use sentir_vectors::Rows;
use sentir_vectors::products::{Right, transpose};

use super::pairs::length;
use crate::Result;

/// Rows whose similarities are computed together.
const BLOCK: usize = 512;

/// Which columns are compared: row i of the first with every row of the second.
pub(super) type Comparison = [usize; 2];

/// The vectors of the columns, ready to be compared.
pub(super) struct Columns {
    vectors: Vec<Rows>,
    /// Of each comparison.
    rights: Vec<Right>,
    comparisons: Vec<Comparison>,
}

impl Columns {
    /// With `least`, vectors are made unit vectors, `x / max(‖x‖, least)`, and similarities are cosines; else dot products.
    pub(super) fn new(columns: &[Rows], least: Option<f64>, comparisons: &[Comparison]) -> Result<Self> {
        let vectors = match least {
            Some(least) => columns.iter().map(|column| unit(column, least)).collect::<Result<Vec<Rows>>>()?,
            None => columns.to_vec(),
        };
        let right =
            |&[_, right]: &Comparison| Right::transposed(vectors[right].as_slice(), vectors[right].width());
        Ok(Self {
            rights: comparisons.iter().map(right).collect(),
            vectors,
            comparisons: comparisons.to_vec(),
        })
    }

    fn some(&self, column: usize, rows: &Range<usize>) -> &[f32] {
        let width = self.vectors[column].width();
        &self.vectors[column].as_slice()[rows.start * width..rows.end * width]
    }

    /// `[rows, batch]` for each comparison.
    fn similarities(&self, rows: &Range<usize>) -> Vec<Vec<f32>> {
        let left = self.comparisons.iter().map(|&[left, _]| self.some(left, rows));
        left.zip(&self.rights).map(|(left, right)| right.product(left)).collect()
    }

    /// Calls `row(i, similarities of row i)` for each row i of `columns` on all threads. It returns the loss of the row and
    /// leaves the derivative of the loss by each similarity in its place; the similarities are one slice of `batch` numbers
    /// per comparison. `guide` has similarities of its own, of the same comparisons. Returns the sum of the losses and the
    /// sums of the derivatives by the vectors of each column.
    pub(super) fn sum(
        columns: &[Rows],
        least: Option<f64>,
        comparisons: &[Comparison],
        guide: Option<&Self>,
        row: impl Fn(usize, &mut [&mut [f32]], &[&mut [f32]]) -> f64 + Sync,
    ) -> Result<(f64, Vec<Vec<f32>>)> {
        let this = Self::new(columns, least, comparisons)?;
        let [batch, width] = columns[0].shape();
        // For derivatives by the vectors on the left: each column that stands on the right, once.
        let rights: Vec<Option<Right>> = (0..columns.len())
            .map(|column| {
                let used = comparisons.iter().any(|&[_, right]| right == column);
                used.then(|| Right::new(this.vectors[column].as_slice(), width))
            })
            .collect();
        let mut sums = super::zeros(columns);
        let mut value = 0.0;
        for start in (0..batch).step_by(BLOCK) {
            let rows = start..(start + BLOCK).min(batch);
            let mut similarities = this.similarities(&rows);
            let mut guides = guide.map_or_else(Vec::new, |guide| guide.similarities(&rows));
            let losses: Vec<f64> = by_row(&mut similarities, rows.len(), batch)
                .into_par_iter()
                .zip(by_row(&mut guides, rows.len(), batch))
                .enumerate()
                .map(|(i, (mut similarities, guides))| row(start + i, &mut similarities, &guides))
                .collect();
            value += losses.iter().sum::<f64>();
            let lefts: Vec<Right> =
                (0..columns.len().min(2)).map(|column| Right::new(this.some(column, &rows), width)).collect();
            for (&[left, right], derivatives) in comparisons.iter().zip(&similarities) {
                if let Some(vectors) = &rights[right] {
                    add(&mut sums[left][rows.start * width..rows.end * width], &vectors.product(derivatives));
                }
                add(&mut sums[right], &lefts[left].product(&transpose(derivatives, batch)));
            }
        }
        if let Some(least) = least {
            for (column, sum) in columns.iter().zip(&mut sums) {
                through_unit(column, least, sum);
            }
        }
        Ok((value, sums))
    }
}

/// The slices of each row, one per matrix `[rows, batch]`.
fn by_row(matrices: &mut [Vec<f32>], rows: usize, batch: usize) -> Vec<Vec<&mut [f32]>> {
    let mut all: Vec<Vec<&mut [f32]>> = (0..rows).map(|_| Vec::with_capacity(matrices.len())).collect();
    for matrix in matrices {
        all.iter_mut().zip(matrix.chunks_exact_mut(batch)).for_each(|(row, part)| row.push(part));
    }
    all
}

fn add(sums: &mut [f32], terms: &[f32]) {
    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
}

/// `x / max(‖x‖, least)` for each row.
pub(super) fn unit(rows: &Rows, least: f64) -> Result<Rows> {
    let mut values = rows.as_slice().to_vec();
    values.par_chunks_exact_mut(rows.width()).for_each(|x| {
        let (length, _) = length(x, least);
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    });
    Ok(Rows::new(values, rows.width())?)
}

/// Turns the derivative by the unit vector x̂ of each row, `d`, into that by x: `(d − x̂ (x̂·d)) / ‖x‖`, or `d / least` where x
/// is shorter than that.
pub(super) fn through_unit(rows: &Rows, least: f64, derivatives: &mut [f32]) {
    let width = rows.width();
    derivatives.par_chunks_exact_mut(width).zip(rows.as_slice().par_chunks_exact(width)).for_each(
        |(d, x)| {
            let (length, depends) = length(x, least);
            let along: f64 = x.iter().zip(&*d).map(|(&x, &d)| f64::from(x) * f64::from(d)).sum();
            let along = if depends { along / length / length } else { 0.0 };
            d.iter_mut()
                .zip(x)
                .for_each(|(d, &x)| *d = ((f64::from(*d) - f64::from(x) * along) / length) as f32);
        },
    );
}

/// `ln Σ exp x`, without overflow. Minus infinity is a term that is left out; of nothing but such terms, minus infinity.
pub(super) fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        // Also if all are NaN, which must stay.
        return terms.sum::<f64>();
    }
    most + terms.map(|term| (term - most).exp()).sum::<f64>().ln()
}
