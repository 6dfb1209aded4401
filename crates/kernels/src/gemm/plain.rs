//! Products of two matrices as they lie in memory: similarities of two sets of vectors.

use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads;

/// Rows of a that a task compares with all of b.
const ROWS: usize = 48;
/// Multiply-adds below which the work stays on the calling thread.
const WORK: usize = 1 << 20;

/// `out = a bᵀ`: a `[m, k]`, b `[n, k]`, out `[m, n]`.
pub fn gemm_nt(a: &[f32], m: usize, b: &[f32], n: usize, k: usize, out: &mut [f32]) {
    gemm_nt_on(isa(), a, m, b, n, k, out);
}

pub(crate) fn gemm_nt_on(isa: Isa, a: &[f32], m: usize, b: &[f32], n: usize, k: usize, out: &mut [f32]) {
    assert_eq!(Some(a.len()), m.checked_mul(k), "an operand of [{m}, {k}]");
    assert_eq!(Some(b.len()), n.checked_mul(k), "an operand of [{n}, {k}]");
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    if out.is_empty() {
        return;
    }
    if k == 0 {
        return out.fill(0.0);
    }
    let rows = m.div_ceil(m.div_ceil(ROWS).max(rayon::current_num_threads())).max(1);
    let rows = if m * n * k < WORK { m } else { rows };
    threads::pieces(out, rows * n, |i, out| {
        let a = &a[i * rows * k..][..out.len() / n * k];
        isa.run(Dots { a, b, n, k, out });
    });
}

struct Dots<'a> {
    a: &'a [f32],
    b: &'a [f32],
    n: usize,
    k: usize,
    out: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (n, k) = (self.n, self.k);
        for j in (0..n).step_by(4) {
            for i in (0..self.out.len() / n).step_by(3) {
                let a = &self.a[i * k..];
                let b = &self.b[j * k..];
                let out = &mut self.out[i * n + j..];
                // The edges take one pair at a time, in the same order.
                if a.len() >= 3 * k && b.len() >= 4 * k {
                    dots::<S, 3, 4>(simd, a, b, k, out, n);
                } else if b.len() >= 4 * k {
                    (0..a.len() / k)
                        .for_each(|i| dots::<S, 1, 4>(simd, &a[i * k..], b, k, &mut out[i * n..], n));
                } else {
                    for i in 0..(a.len() / k).min(3) {
                        for j in 0..b.len() / k {
                            dots::<S, 1, 1>(simd, &a[i * k..], &b[j * k..], k, &mut out[i * n + j..], n);
                        }
                    }
                }
            }
        }
    }
}

/// The products of the first M rows of a with the first N of b: one sum per lane, the lanes added at the end.
#[inline(always)]
fn dots<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    k: usize,
    out: &mut [f32],
    n: usize,
) {
    let (a, b) = (&a[..M * k], &b[..N * k]);
    let mut sums = [[simd.splat(0.0); N]; M];
    let whole = k / S::LANES * S::LANES;
    let mut p = 0;
    while p < whole {
        let mut y = [simd.splat(0.0); N];
        for j in 0..N {
            // SAFETY: p + LANES ≤ k, and b has N rows of k.
            y[j] = unsafe { simd.load_from(b.as_ptr().add(j * k + p)) };
        }
        for i in 0..M {
            // SAFETY: as above, for the M rows of a.
            let x = unsafe { simd.load_from(a.as_ptr().add(i * k + p)) };
            for j in 0..N {
                sums[i][j] = simd.mul_add(x, y[j], sums[i][j]);
            }
        }
        p += S::LANES;
    }
    for i in 0..M {
        for j in 0..N {
            let x = simd.load_part(&a[i * k + whole..(i + 1) * k]);
            let y = simd.load_part(&b[j * k + whole..(j + 1) * k]);
            out[i * n + j] = simd.sum(simd.mul_add(x, y, sums[i][j]));
        }
    }
}
