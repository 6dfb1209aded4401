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
        let whole = width / S::LANES * S::LANES;
        for (i, row) in self.x.chunks_exact_mut(width).enumerate() {
            if let Some(residual) = self.residual {
                row.iter_mut().zip(&residual[i * width..]).for_each(|(x, residual)| *x += residual);
            }
            let mean = sum(simd, row, 0.0, |_, x, _| x) / width as f32;
            let variance = sum(simd, row, mean, |simd, x, mean| {
                let distance = simd.sub(x, mean);
                simd.mul(distance, distance)
            }) / width as f32;
            let factor = 1.0 / (variance + self.epsilon).sqrt();
            let normal = |x: S::Vector, scale: S::Vector, shift: S::Vector| {
                let y = simd.mul(simd.sub(x, simd.splat(mean)), simd.splat(factor));
                simd.mul_add(y, scale, shift)
            };
            for j in (0..whole).step_by(S::LANES) {
                let y =
                    normal(simd.load(&row[j..]), simd.load(&self.scale[j..]), simd.load(&self.shift[j..]));
                simd.store(y, &mut row[j..]);
            }
            let rest = whole..width;
            let scale = simd.load_part(&self.scale[rest.clone()]);
            let y =
                normal(simd.load_part(&row[rest.clone()]), scale, simd.load_part(&self.shift[rest.clone()]));
            simd.store_part(y, &mut row[rest]);
        }
    }
}

/// Σ f(x, center) over a row. In four chains, which hide the latency of the addition; the order depends on the width alone.
#[inline(always)]
fn sum<S: Simd>(simd: S, row: &[f32], center: f32, f: impl Fn(S, S::Vector, S::Vector) -> S::Vector) -> f32 {
    let center = simd.splat(center);
    let mut sums = [simd.splat(0.0); 4];
    let mut chunks = row.chunks_exact(4 * S::LANES);
    for chunk in &mut chunks {
        for v in 0..4 {
            sums[v] = simd.add(sums[v], f(simd, simd.load(&chunk[v * S::LANES..]), center));
        }
    }
    let mut rest = 0.0;
    let mut vectors = chunks.remainder().chunks_exact(S::LANES);
    for vector in &mut vectors {
        sums[0] = simd.add(sums[0], f(simd, simd.load(vector), center));
    }
    for &x in vectors.remainder() {
        let mut one = [0.0; 16];
        simd.store(f(simd, simd.splat(x), center), &mut one);
        rest += one[0];
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))) + rest
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
