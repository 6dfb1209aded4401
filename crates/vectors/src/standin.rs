//! Temporary.
#![allow(missing_docs, unreachable_pub)]
pub mod distance {
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }
    pub fn squared_euclidean(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }
    pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    }
    pub fn normalize_rows(v: &mut [f32], w: usize) {
        for r in v.chunks_exact_mut(w) {
            let n = dot(r, r).sqrt().max(1e-12);
            r.iter_mut().for_each(|x| *x /= n);
        }
    }
}
pub mod gemm {
    pub fn gemm_nt(a: &[f32], m: usize, b: &[f32], n: usize, k: usize, out: &mut [f32]) {
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = super::distance::dot(&a[i * k..][..k], &b[j * k..][..k]);
            }
        }
    }
}
