//! Products and distances of two vectors, and rows of unit length.

use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads;

/// Numbers that one thread normalizes at least.
const NUMBERS_PER_THREAD: usize = 32 * 1024;

/// `Σ a·b`
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    pairs_on(isa(), a, b, Term::Product)
}

/// `Σ a²`
pub fn squared_norm(a: &[f32]) -> f32 {
    dot(a, a)
}

/// `Σ (a − b)²`, from the differences: exact for neighbors too.
pub fn squared_euclidean(a: &[f32], b: &[f32]) -> f32 {
    pairs_on(isa(), a, b, Term::SquaredDifference)
}

/// `Σ |a − b|`
pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    pairs_on(isa(), a, b, Term::Difference)
}

/// Each row divided by max(‖row‖₂, 1e-12), as `torch.nn.functional.normalize`; a row of zeros stays one.
pub fn normalize_rows(x: &mut [f32], width: usize) {
    normalize_rows_on(isa(), x, width);
}

pub(crate) fn normalize_rows_on(isa: Isa, x: &mut [f32], width: usize) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    threads::pieces(x, NUMBERS_PER_THREAD.div_ceil(width) * width, |_, rows| {
        for row in rows.chunks_exact_mut(width) {
            let length = pairs_on(isa, row, row, Term::Product).sqrt();
            // Not `f32::max`, which would hide NaN.
            let length = if length < 1e-12 { 1e-12 } else { length };
            row.iter_mut().for_each(|x| *x /= length);
        }
    });
}

/// The gradient of [`normalize_rows`]: `d` from the derivative by the result to that by x, `(d − y (y · d)) / ‖x‖` with
/// y = x / ‖x‖; for a row of a length below 1e-12, `d / 1e-12`.
pub fn normalize_rows_grad(x: &[f32], width: usize, d: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    assert_eq!(x.len(), d.len(), "as many gradients as numbers");
    for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let squared = dot(x, x);
        let length = squared.sqrt();
        if length < 1e-12 {
            d.iter_mut().for_each(|d| *d /= 1e-12);
        } else {
            let along = dot(x, d) / squared;
            d.iter_mut().zip(x).for_each(|(d, x)| *d = (*d - x * along) / length);
        }
    }
}

/// What is summed.
#[derive(Clone, Copy)]
enum Term {
    Product,
    SquaredDifference,
    Difference,
}

fn pairs_on(isa: Isa, a: &[f32], b: &[f32], term: Term) -> f32 {
    assert_eq!(a.len(), b.len(), "two vectors of different lengths");
    isa.run(Pairs { a, b, term })
}

struct Pairs<'a> {
    a: &'a [f32],
    b: &'a [f32],
    term: Term,
}

impl Kernel for Pairs<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        // One loop for each term: the choice stands outside.
        match self.term {
            Term::Product => sum(simd, self.a, self.b, Term::Product),
            Term::SquaredDifference => sum(simd, self.a, self.b, Term::SquaredDifference),
            Term::Difference => sum(simd, self.a, self.b, Term::Difference),
        }
    }
}

/// The sum plus the term of one pair of vectors.
#[inline(always)]
fn plus<S: Simd>(simd: S, sum: S::Vector, a: S::Vector, b: S::Vector, term: Term) -> S::Vector {
    match term {
        Term::Product => simd.mul_add(a, b, sum),
        Term::SquaredDifference => simd.mul_add(simd.sub(a, b), simd.sub(a, b), sum),
        Term::Difference => simd.add(sum, simd.abs(simd.sub(a, b))),
    }
}

/// Four chains, which hide the latency of the addition; the order depends on the length alone.
#[inline(always)]
fn sum<S: Simd>(simd: S, a: &[f32], b: &[f32], term: Term) -> f32 {
    let mut sums = [simd.splat(0.0); 4];
    let (mut a, mut b) = (a.chunks_exact(4 * S::LANES), b.chunks_exact(4 * S::LANES));
    for (a, b) in (&mut a).zip(&mut b) {
        for v in 0..4 {
            sums[v] = plus(simd, sums[v], simd.load(&a[v * S::LANES..]), simd.load(&b[v * S::LANES..]), term);
        }
    }
    for (a, b) in a.remainder().chunks(S::LANES).zip(b.remainder().chunks(S::LANES)) {
        sums[0] = plus(simd, sums[0], simd.load_part(a), simd.load_part(b), term);
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::naive;

    proptest! {
        #[test]
        fn equals_the_plain_loops(
            pairs in prop::collection::vec((-4.0f32..4.0, -4.0f32..4.0), 0..300), width in 1usize..50,
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let rows = a.len() / width * width;
            for &isa in Isa::available() {
                for (term, expected) in [
                    (Term::Product, naive::dot(&a, &b)),
                    (Term::SquaredDifference, naive::squared_euclidean(&a, &b)),
                    (Term::Difference, naive::manhattan(&a, &b)),
                ] {
                    let y = pairs_on(isa, &a, &b, term);
                    let tolerance = f32::EPSILON * (a.len() as f32 + 4.0) * 64.0;
                    prop_assert!((y - expected).abs() <= tolerance, "{y} for {expected}");
                }
                let (mut x, mut expected) = (a[..rows].to_vec(), a[..rows].to_vec());
                x.iter_mut().zip(&mut expected).take(width).for_each(|(x, e)| (*x, *e) = (0.0, 0.0));
                normalize_rows_on(isa, &mut x, width);
                naive::normalize_rows(&mut expected, width);
                prop_assert!(x.iter().zip(&expected).all(|(x, e)| (x - e).abs() <= 1e-6));
            }
        }
    }
}
