//! Products of two matrices as they lie in memory: similarities of two sets of vectors.
//!
//! Every number is one chain of multiply-adds, cut into short parts, so a pair of vectors has one product, to the bit: in a matrix of
//! any size, alone, and with its two sides exchanged.

use super::{Epilogue, PackedMatrix, gemm};
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads;

/// The longest part: with 384 dimensions, sums of four parts are off by a quarter of what one sum would be.
pub(super) const CHAIN: usize = 96;
/// From as many rows on, packing the other side is little beside the product.
const MANY: usize = 48;
/// Pairs of a task.
const PAIRS: usize = 256;
/// Pairs whose chains run side by side, to hide the latency of an addition.
const TOGETHER: usize = 8;

/// `out = a bᵀ`: a `[m, k]`, b `[n, k]`, out `[m, n]`.
pub fn gemm_nt(a: &[f32], m: usize, b: &[f32], n: usize, k: usize, out: &mut [f32]) {
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    if out.is_empty() {
        return;
    }
    if m >= MANY || m >= n {
        let packed = PackedMatrix::for_similarity(b, n, k);
        return gemm(a, m, &packed, Epilogue::default(), out);
    }
    let mut turned = vec![0.0; out.len()];
    gemm(b, n, &PackedMatrix::for_similarity(a, m, k), Epilogue::default(), &mut turned);
    for (j, column) in turned.chunks_exact(m).enumerate() {
        column.iter().enumerate().for_each(|(i, x)| out[i * n + j] = *x);
    }
}

/// `out[p] = a[i] · b[j]` for each pair (i, j) of rows of a and b, both `[…, k]`. Panics if there is no such row.
pub fn dots(a: &[f32], b: &[f32], k: usize, pairs: &[(u32, u32)], out: &mut [f32]) {
    dots_on(isa(), a, b, k, pairs, out);
}

pub(crate) fn dots_on(isa: Isa, a: &[f32], b: &[f32], k: usize, pairs: &[(u32, u32)], out: &mut [f32]) {
    assert_eq!(pairs.len(), out.len(), "a product per pair");
    let rows = |x: &[f32]| x.len().checked_div(k).unwrap_or(usize::MAX);
    let (m, n) = (rows(a), rows(b));
    assert!(pairs.iter().all(|&(i, j)| (i as usize) < m && (j as usize) < n), "pairs of {m} and {n} rows");
    threads::pieces(out, PAIRS, |piece, out| {
        isa.run(Dots { a, b, k, pairs: &pairs[piece * PAIRS..][..out.len()], out });
    });
}

struct Dots<'a> {
    a: &'a [f32],
    b: &'a [f32],
    k: usize,
    pairs: &'a [(u32, u32)],
    out: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let k = self.k;
        // As the product cuts them.
        let steps = k.div_ceil(k.div_ceil(CHAIN).max(1));
        for (pairs, out) in self.pairs.chunks(TOGETHER).zip(self.out.chunks_mut(TOGETHER)) {
            let mut rows = [(&self.a[..0], &self.b[..0]); TOGETHER];
            for (rows, &(i, j)) in rows.iter_mut().zip(pairs) {
                *rows = (&self.a[i as usize * k..][..k], &self.b[j as usize * k..][..k]);
            }
            for l in pairs.len()..TOGETHER {
                rows[l] = rows[0];
            }
            let mut totals = [simd.splat(0.0); TOGETHER];
            for first in (0..k).step_by(steps.max(1)) {
                let mut sums = [simd.splat(0.0); TOGETHER];
                for p in first..(first + steps).min(k) {
                    for l in 0..TOGETHER {
                        let (a, b) = rows[l];
                        sums[l] = simd.mul_add(simd.splat(a[p]), simd.splat(b[p]), sums[l]);
                    }
                }
                for l in 0..TOGETHER {
                    totals[l] = if first == 0 { sums[l] } else { simd.add(totals[l], sums[l]) };
                }
            }
            for (out, total) in out.iter_mut().zip(totals) {
                let mut one = [0.0];
                simd.store_part(total, &mut one);
                *out = one[0];
            }
        }
    }
}
