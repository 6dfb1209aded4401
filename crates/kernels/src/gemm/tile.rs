//! The innermost loop of products and of attention: a small tile of A · B, kept in registers.

use crate::simd::Simd;

/// Columns of a panel: the numbers of B that stand side by side for one step.
pub(crate) const PANEL: usize = 16;

/// Where a tile finds its operands: A(row, step) at `a + row * a_row + step * a_step`, and B's vector v of `LANES` columns
/// at `b + step * b_step + (columns before v in its panel)`, the second panel `b_panel` after the first.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) b: *const f32,
    pub(crate) b_step: usize,
    pub(crate) b_panel: usize,
    pub(crate) steps: usize,
}

/// Σ over steps of A(row, step) · B(step, column), for M rows and N vectors of columns, each sum in the order of steps;
/// row i of the result is `to[i]`.
///
/// # Safety
/// What `Operands` describes for M rows, N vectors and all steps must be readable.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    o: Operands,
    to: &mut [[f32; 2 * PANEL]; 6],
) {
    let per_panel = PANEL / S::LANES;
    let mut sums = [[simd.splat(0.0); N]; M];
    for step in 0..o.steps {
        let mut b = [simd.splat(0.0); N];
        for v in 0..N {
            // SAFETY: the caller vouches for vector v of this step.
            b[v] = unsafe {
                simd.load_from(
                    o.b.add(step * o.b_step + v / per_panel * o.b_panel + v % per_panel * S::LANES),
                )
            };
        }
        for i in 0..M {
            // SAFETY: the caller vouches for row i of this step.
            let a = simd.splat(unsafe { *o.a.add(i * o.a_row + step * o.a_step) });
            for v in 0..N {
                sums[i][v] = simd.mul_add(a, b[v], sums[i][v]);
            }
        }
    }
    for i in 0..M {
        for v in 0..N {
            simd.store(sums[i][v], &mut to[i][v * S::LANES..]);
        }
    }
}

/// Rows of the next tile of `left`: as many as fit, but the last two tiles are about equal, because a tile of one or two
/// rows waits for its sums.
#[inline(always)]
pub(crate) fn next_rows(left: usize, most: usize) -> usize {
    if left <= most {
        left
    } else if left < most + 4 {
        left.div_ceil(2).min(most)
    } else {
        most
    }
}

/// [`tile`] for `rows` rows in one panel.
///
/// # Safety
/// That of [`tile`] for `rows` rows, at most 6, and the two vectors of a panel.
#[inline(always)]
pub(crate) unsafe fn one_panel<S: Simd>(simd: S, rows: usize, o: Operands, to: &mut [[f32; 2 * PANEL]; 6]) {
    const { assert!(2 * S::LANES == PANEL) };
    // SAFETY: the caller vouches for the operands of this number of rows.
    unsafe {
        match rows {
            1 => tile::<S, 1, 2>(simd, o, to),
            2 => tile::<S, 2, 2>(simd, o, to),
            3 => tile::<S, 3, 2>(simd, o, to),
            4 if S::TILE_ROWS >= 4 => tile::<S, 4, 2>(simd, o, to),
            5 if S::TILE_ROWS >= 5 => tile::<S, 5, 2>(simd, o, to),
            6 if S::TILE_ROWS >= 6 => tile::<S, 6, 2>(simd, o, to),
            _ => panic!("a tile of {rows} rows"),
        }
    }
}
