//! Rows as points of a plane, to look at: the two directions in which they vary most (principal components; Pearson 1901).

use super::check;
use crate::error::Result;
use crate::products::{Right, transpose};
use crate::rows::Rows;

/// The rows `[n, width]` along their two principal components, `[n, 2]`, as `PCA(2)` of scikit-learn 1.9 has them: centered, and of each component the
/// largest weight is positive. Of one column, the second component is 0.
///
/// # Errors
/// If there are fewer than two rows, or a row is not finite.
pub fn principal_components(rows: &Rows) -> Result<Rows> {
    check(rows, 2)?;
    let (count, width) = (rows.rows(), rows.width());
    let mut means = vec![0.0f64; width];
    rows.iter().for_each(|row| means.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x)));
    means.iter_mut().for_each(|mean| *mean /= count as f64);
    let centered =
        rows.as_slice().iter().enumerate().map(|(at, x)| (f64::from(*x) - means[at % width]) as f32);
    let centered: Vec<f32> = centered.collect();
    let product = Right::new(&centered, width).product(&transpose(&centered, width));
    let mut covariance: Vec<f64> = product.into_iter().map(f64::from).collect();
    let mut points = vec![0.0; count * 2];
    for component in 0..2.min(width) {
        let (value, mut direction) = largest(&covariance, width);
        let heaviest = (0..width)
            .fold(0, |best, at| if direction[at].abs() > direction[best].abs() { at } else { best });
        if direction[heaviest] < 0.0 {
            direction.iter_mut().for_each(|x| *x = -*x);
        }
        for (point, row) in points.chunks_exact_mut(2).zip(centered.chunks_exact(width)) {
            point[component] = row.iter().zip(&direction).map(|(x, d)| f64::from(*x) * d).sum::<f64>() as f32;
        }
        // What is left is across this direction.
        for i in 0..width {
            for j in 0..width {
                covariance[i * width + j] -= value * direction[i] * direction[j];
            }
        }
    }
    Rows::new(points, 2)
}

/// The largest eigenvalue of a symmetric matrix without negative ones, and its vector, by powers.
fn largest(matrix: &[f64], width: usize) -> (f64, Vec<f64>) {
    // No direction of real data is across this one.
    let mut vector: Vec<f64> = (0..width).map(|i| 1.0 + 0.37 * ((i * 7919 % 101) as f64 / 101.0)).collect();
    let mut value = 0.0;
    for _ in 0..1000 {
        let next: Vec<f64> =
            matrix.chunks_exact(width).map(|row| row.iter().zip(&vector).map(|(a, x)| a * x).sum()).collect();
        let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length == 0.0 {
            return (0.0, vec![0.0; width]);
        }
        let moved: f64 = next.iter().zip(&vector).map(|(a, b)| (a / length - b).powi(2)).sum();
        vector = next.into_iter().map(|x| x / length).collect();
        value = length;
        if moved < 1e-20 {
            break;
        }
    }
    (value, vector)
}
