//! Products and distances of two vectors.

use crate::naive;

/// `Σ a·b`
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    naive::dot(a, b)
}

/// `Σ a²`
pub fn squared_norm(a: &[f32]) -> f32 {
    naive::dot(a, a)
}

/// `Σ (a − b)²`
pub fn squared_euclidean(a: &[f32], b: &[f32]) -> f32 {
    naive::squared_euclidean(a, b)
}

/// `Σ |a − b|`
pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    naive::manhattan(a, b)
}

/// Each row divided by max(its length, 1e-12).
pub fn normalize_rows(x: &mut [f32], width: usize) {
    naive::normalize_rows(x, width);
}
