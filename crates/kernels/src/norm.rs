//! Layer normalization (<https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm`).

use crate::elementwise;
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads::{self, Shared};

/// Numbers that one thread takes at least.
const NUMBERS_PER_THREAD: usize = 8 * 1024;

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

/// Rows whose contributions to the gradients of scale and shift are summed first; these sums are added in order. Fixed, so
/// that the number of threads does not show.
const ROWS_TOGETHER: usize = 32;

/// The gradients of y = layer_norm(x) (without a residual), x being what was normalized, `[rows, width]`.
///
/// With x̂ = (x − mean) / √(var + ε) and g = ∂y · scale: ∂x = (g − mean(g) − x̂ mean(g x̂)) / √(var + ε), ∂scale = Σ ∂y x̂,
/// ∂shift = Σ ∂y, both over rows. `d` holds ∂y and becomes ∂x; ∂scale and ∂shift are added to `d_scale` and `d_shift`.
pub fn layer_norm_grad(
    x: &[f32],
    scale: &[f32],
    epsilon: f32,
    d: &mut [f32],
    d_scale: &mut [f32],
    d_shift: &mut [f32],
) {
    layer_norm_grad_on(isa(), x, scale, epsilon, d, d_scale, d_shift);
}

pub(crate) fn layer_norm_grad_on(
    isa: Isa,
    x: &[f32],
    scale: &[f32],
    epsilon: f32,
    d: &mut [f32],
    d_scale: &mut [f32],
    d_shift: &mut [f32],
) {
    let width = scale.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    assert_eq!(x.len(), d.len(), "as many gradients as numbers");
    assert_eq!((d_scale.len(), d_shift.len()), (width, width), "as many shifts as scales");
    let block = ROWS_TOGETHER * width;
    let mut sums = vec![0.0; x.len().div_ceil(block) * 2 * width];
    let all = Shared(d.as_mut_ptr());
    threads::pieces(&mut sums, 2 * width, |i, sums| {
        let rows = i * block..((i + 1) * block).min(x.len());
        // SAFETY: blocks do not overlap, lie within `d`, and each is handed out once.
        let d = unsafe { std::slice::from_raw_parts_mut(all.get().add(rows.start), rows.len()) };
        isa.run(RowsGrad { x: &x[rows], scale, epsilon, d, sums });
    });
    for sums in sums.chunks_exact(2 * width) {
        elementwise::add(d_scale, &sums[..width]);
        elementwise::add(d_shift, &sums[width..]);
    }
}

struct RowsGrad<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    d: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for RowsGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.scale.len();
        let n = width as f32;
        let load = |from: &[f32], at: usize| match from.len() - at {
            left if left >= S::LANES => simd.load(&from[at..]),
            _ => simd.load_part(&from[at..]),
        };
        let store = |v, to: &mut [f32], at: usize| match to.len() - at {
            left if left >= S::LANES => simd.store(v, &mut to[at..]),
            _ => simd.store_part(v, &mut to[at..]),
        };
        let (d_scale, d_shift) = self.sums.split_at_mut(width);
        for (x, d) in self.x.chunks_exact(width).zip(self.d.chunks_exact_mut(width)) {
            let mean = sum(simd, x, 0.0, |sum, x, _| simd.add(sum, x)) / n;
            let variance = sum(simd, x, mean, |sum, x, mean| {
                let distance = simd.sub(x, mean);
                simd.mul_add(distance, distance, sum)
            }) / n;
            let factor = simd.splat(1.0 / (variance + self.epsilon).sqrt());
            let mean = simd.splat(mean);
            let (mut g_sum, mut gx_sum) = (simd.splat(0.0), simd.splat(0.0));
            for j in (0..width).step_by(S::LANES) {
                let normal = simd.mul(simd.sub(load(x, j), mean), factor);
                let d = load(d, j);
                let g = simd.mul(d, load(self.scale, j));
                g_sum = simd.add(g_sum, g);
                gx_sum = simd.mul_add(g, normal, gx_sum);
                store(simd.mul_add(d, normal, load(d_scale, j)), d_scale, j);
                store(simd.add(d, load(d_shift, j)), d_shift, j);
            }
            let (mean_g, mean_gx) = (simd.splat(simd.sum(g_sum) / n), simd.splat(simd.sum(gx_sum) / n));
            for j in (0..width).step_by(S::LANES) {
                let normal = simd.mul(simd.sub(load(x, j), mean), factor);
                let g = simd.mul(load(d, j), load(self.scale, j));
                let rest = simd.sub(simd.sub(g, mean_g), simd.mul(normal, mean_gx));
                store(simd.mul(factor, rest), d, j);
            }
        }
    }
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

    proptest! {
        #[test]
        fn gradients_equal_the_plain_loops(
            rows in 0usize..70, width in 4usize..400, values in prop::collection::vec(-3.0f32..3.0, 997),
        ) {
            let take = |n: usize, from: usize| values.iter().cycle().skip(from).take(n).copied().collect::<Vec<_>>();
            let (x, d, scale) = (take(rows * width, 0), take(rows * width, 5), take(width, 11));
            let start = (take(width, 13), take(width, 17));
            let (mut d_x, mut d_start) = (d.clone(), start.clone());
            naive::layer_norm_grad(&x, &scale, 1e-5, &mut d_x, &mut d_start.0, &mut d_start.1);
            for &isa in Isa::available() {
                let (mut d, mut sums) = (d.clone(), start.clone());
                layer_norm_grad_on(isa, &x, &scale, 1e-5, &mut d, &mut sums.0, &mut sums.1);
                let close = |y: &[f32], e: &[f32], tolerance: f32| y.iter().zip(e).all(|(y, e)| (y - e).abs() <= tolerance);
                prop_assert!(close(&d, &d_x, 3e-5), "{isa:?}");
                prop_assert!(close(&sums.0, &d_start.0, 3e-4) && close(&sums.1, &d_start.1, 3e-4), "{isa:?}");
            }
        }
    }
}
