//! Layer normalization (<https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm`).

use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads;

/// Numbers that one thread takes at least.
const NUMBERS_PER_THREAD: usize = 32 * 1024;

/// x = (y − mean(y)) / √(var(y) + ε) · scale + shift with y = x + residual, over each row, with the biased variance in a
/// second pass. x and residual `[rows, width]`; scale and shift `[width]`.
pub fn layer_norm(x: &mut [f32], residual: Option<&[f32]>, scale: &[f32], shift: &[f32], epsilon: f32) {
    layer_norm_on(isa(), x, residual, scale, shift, epsilon);
}

pub(crate) fn layer_norm_on(
    isa: Isa,
    x: &mut [f32],
    residual: Option<&[f32]>,
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
) {
    let width = scale.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    assert_eq!(shift.len(), width, "as many shifts as scales");
    assert!(residual.is_none_or(|residual| residual.len() == x.len()), "the residual has the shape of x");
    let rows = NUMBERS_PER_THREAD.div_ceil(width) * width;
    threads::pieces(x, rows, |i, x| {
        let residual = residual.map(|residual| &residual[i * rows..][..x.len()]);
        isa.run(Rows { x, residual, scale, shift, epsilon });
    });
}

struct Rows<'a> {
    x: &'a mut [f32],
    residual: Option<&'a [f32]>,
    scale: &'a [f32],
    shift: &'a [f32],
    epsilon: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.scale.len();
        for (i, row) in self.x.chunks_exact_mut(width).enumerate() {
            let total = match self.residual {
                Some(residual) => add_and_sum(simd, row, &residual[i * width..][..width]),
                None => sum(simd, row, 0.0, |sum, x, _| simd.add(sum, x)),
            };
            let mean = total / width as f32;
            let variance = sum(simd, row, mean, |sum, x, mean| {
                let distance = simd.sub(x, mean);
                simd.mul_add(distance, distance, sum)
            }) / width as f32;
            let (mean, factor) = (simd.splat(mean), simd.splat(1.0 / (variance + self.epsilon).sqrt()));
            let normal = |x: S::Vector, scale: S::Vector, shift: S::Vector| {
                simd.mul_add(simd.mul(simd.sub(x, mean), factor), scale, shift)
            };
            let mut vectors = row.chunks_exact_mut(S::LANES);
            let (scales, shifts) = (self.scale.chunks_exact(S::LANES), self.shift.chunks_exact(S::LANES));
            let (scale, shift) = (simd.load_part(scales.remainder()), simd.load_part(shifts.remainder()));
            for ((x, scale), shift) in (&mut vectors).zip(scales).zip(shifts) {
                simd.store(normal(simd.load(x), simd.load(scale), simd.load(shift)), x);
            }
            let rest = vectors.into_remainder();
            simd.store_part(normal(simd.load_part(rest), scale, shift), rest);
        }
    }
}

// Sums run in four chains, which hide the latency of the addition; their order depends on the width alone.

/// A sum over a row, to which `f(sum, x, center)` adds a vector; lanes beyond the row have x = center = 0.
#[inline(always)]
fn sum<S: Simd>(
    simd: S,
    row: &[f32],
    center: f32,
    f: impl Fn(S::Vector, S::Vector, S::Vector) -> S::Vector,
) -> f32 {
    let centers = simd.splat(center);
    let mut sums = [simd.splat(0.0); 4];
    let mut blocks = row.chunks_exact(4 * S::LANES);
    for block in &mut blocks {
        for v in 0..4 {
            sums[v] = f(sums[v], simd.load(&block[v * S::LANES..]), centers);
        }
    }
    let mut vectors = blocks.remainder().chunks_exact(S::LANES);
    for vector in &mut vectors {
        sums[0] = f(sums[0], simd.load(vector), centers);
    }
    let rest = vectors.remainder();
    if !rest.is_empty() {
        sums[0] = f(sums[0], simd.load_part(rest), simd.load_part(&[center; 16][..rest.len()]));
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

/// Adds `residual` to a row and returns the sum of the result.
#[inline(always)]
fn add_and_sum<S: Simd>(simd: S, row: &mut [f32], residual: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); 4];
    let (mut blocks, mut others) = (row.chunks_exact_mut(4 * S::LANES), residual.chunks_exact(4 * S::LANES));
    for (block, other) in (&mut blocks).zip(&mut others) {
        for v in 0..4 {
            let at = v * S::LANES;
            let y = simd.add(simd.load(&block[at..]), simd.load(&other[at..]));
            simd.store(y, &mut block[at..]);
            sums[v] = simd.add(sums[v], y);
        }
    }
    let rest = blocks.into_remainder().chunks_mut(S::LANES);
    for (x, residual) in rest.zip(others.remainder().chunks(S::LANES)) {
        let y = simd.add(simd.load_part(x), simd.load_part(residual));
        simd.store_part(y, x);
        sums[0] = simd.add(sums[0], y);
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
        fn equals_the_plain_loops_and_itself_alone(
            rows in 0usize..40, width in 1usize..1100, with_residual: bool, values in prop::collection::vec(-3.0f32..3.0, 997),
        ) {
            let take = |n: usize, from: usize| values.iter().cycle().skip(from).take(n).copied().collect::<Vec<_>>();
            let (x, residual, scale, shift) =
                (take(rows * width, 0), take(rows * width, 5), take(width, 11), take(width, 17));
            let residual = with_residual.then_some(&*residual);
            let mut expected = x.clone();
            naive::layer_norm(&mut expected, residual, &scale, &shift, 1e-5);
            for &isa in Isa::available() {
                let mut y = x.clone();
                layer_norm_on(isa, &mut y, residual, &scale, &shift, 1e-5);
                for (a, e) in y.iter().zip(&expected) {
                    prop_assert!((a - e).abs() <= 1e-5 * e.abs().max(1.0) || width < 4, "{a} for {e}");
                }
                if rows > 0 {
                    let last = (rows - 1) * width;
                    let mut one = x[last..].to_vec();
                    layer_norm_on(isa, &mut one, residual.map(|r| &r[last..]), &scale, &shift, 1e-5);
                    prop_assert_eq!(&one, &y[last..]);
                }
            }
        }
    }
}
