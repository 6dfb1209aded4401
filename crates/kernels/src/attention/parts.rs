//! What both directions of attention are made of: copies of the rows of a head, products of them, softmax. It knows neither sentences nor
//! tasks.

use std::cell::RefCell;

use super::{PANEL, STEPS};
use crate::gemm::operand::{as_halves, as_words_mut};
use crate::gemm::tile::{self, Kind, Operands};
use crate::lines::Lines;
use crate::simd::{Simd, math};

thread_local! {
    /// Kept from one task to the next: fresh memory would be cleared by the system page by page.
    static KEPT: RefCell<Lines> = RefCell::default();
}

/// Memory of this thread for one task.
pub(super) struct Scratch(Lines);

impl Scratch {
    /// It is taken from the thread, so that a task inside of another would only lack what is kept.
    pub(super) fn take() -> Self {
        Self(KEPT.take())
    }

    /// Room for so many numbers, whatever is in there.
    pub(super) fn room(&mut self, numbers: usize) -> Room<'_> {
        Room(self.0.numbers(numbers))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.0));
    }
}

/// What is left of the memory of a task.
pub(super) struct Room<'a>(&'a mut [f32]);

impl<'a> Room<'a> {
    pub(super) fn take(&mut self, numbers: usize) -> &'a mut [f32] {
        let (taken, left) = std::mem::take(&mut self.0).split_at_mut(numbers);
        self.0 = left;
        taken
    }
}

/// Copies numbers 0..dim of rows that lie `row` apart, times a factor, into rows of words that are padded with zeros to whole panels.
#[inline(always)]
pub(super) fn gather<S: Simd, K: Kind>(
    simd: S,
    from: &[f32],
    row: usize,
    dim: usize,
    factor: f32,
    to: &mut [f32],
) {
    let (padded, factor) = (dim.next_multiple_of(PANEL), simd.splat(factor));
    for (i, to) in to.chunks_exact_mut(padded / K::GROUP).enumerate() {
        let from = &from[i * row..][..dim];
        for at in (0..padded).step_by(S::LANES) {
            let v = simd.mul(part(simd, from, at), factor);
            let to = &mut to[at / K::GROUP..];
            if K::GROUP == 1 { simd.store(v, to) } else { simd.store_bf16(v, as_halves(as_words_mut(to))) }
        }
    }
}

/// [`gather`] with the rows of a group in one word each: row j of the result has numbers of the rows `GROUP · j` and following, zeros beyond the
/// last of `rows`.
#[inline(always)]
pub(super) fn gather_groups<S: Simd, K: Kind>(
    simd: S,
    from: &[f32],
    row: usize,
    (rows, dim): (usize, usize),
    to: &mut [f32],
) {
    if K::GROUP == 1 {
        return gather::<S, K>(simd, from, row, dim, 1.0, to);
    }
    let padded = dim.next_multiple_of(PANEL);
    for (i, to) in to.chunks_exact_mut(padded).enumerate() {
        let low = &from[2 * i * row..][..dim];
        let high = if 2 * i + 1 < rows { &from[(2 * i + 1) * row..][..dim] } else { &[] };
        for at in (0..padded).step_by(S::LANES) {
            let (low, high) = (part(simd, low, at), part(simd, high, at));
            simd.store_words(simd.pairs_of_bf16(low, high), as_words_mut(&mut to[at..]));
        }
    }
}

/// The numbers from `at` on, then zeros.
#[inline(always)]
fn part<S: Simd>(simd: S, from: &[f32], at: usize) -> S::Vector {
    let from = &from[at.min(from.len())..];
    if from.len() >= S::LANES { simd.load(from) } else { simd.load_part(from) }
}

/// Rows of numbers `[rows, columns]` as words, the rows of a group in one: as [`gather_groups`], but in place.
#[inline(always)]
pub(super) fn group_rows<S: Simd, K: Kind>(simd: S, rows: usize, columns: usize, numbers: &mut [f32]) {
    if K::GROUP == 1 {
        return;
    }
    for i in 0..rows.div_ceil(2) {
        for at in (0..columns).step_by(S::LANES) {
            let low = simd.load(&numbers[2 * i * columns + at..]);
            let is_there = 2 * i + 1 < rows;
            let high =
                if is_there { simd.load(&numbers[(2 * i + 1) * columns + at..]) } else { simd.splat(0.0) };
            // Row i lies before what is still to be read, or is what was just read.
            simd.store_words(
                simd.pairs_of_bf16(low, high),
                as_words_mut(&mut numbers[i * columns + at..][..S::LANES]),
            );
        }
    }
}

/// A · B, or what is in `to` plus A · B: A(row, step) is `a[row * a_row + step * a_step]`, B `[steps, columns]`, `to`
/// `[rows, columns]`; columns are whole panels. Each sum has one order, whatever the numbers of rows and columns.
#[inline(always)]
pub(super) fn product<S: Simd, K: Kind>(
    simd: S,
    a: &[f32],
    (a_row, a_step): (usize, usize),
    b: &[f32],
    [rows, columns, steps]: [usize; 3],
    add: bool,
    to: &mut [f32],
) {
    assert!(
        rows > 0 && steps > 0 && columns.is_multiple_of(PANEL),
        "[{rows}, {steps}] · [{steps}, {columns}]"
    );
    assert!((rows - 1) * a_row + (steps - 1) * a_step < a.len(), "the first operand");
    assert!(steps * columns <= b.len(), "the second operand");
    let to = &mut to[..rows * columns];
    let mut sums = tile::Sums::ZERO;
    let mut column = 0;
    while column < columns {
        let panels = match (columns - column) / PANEL {
            _ if S::LANES < PANEL => 1,
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        for part in (0..steps).step_by(STEPS) {
            let mut row = 0;
            while row < rows {
                let count = tile::next_rows(rows - row, S::TILE_ROWS);
                let operands = Operands {
                    a: a[row * a_row + part * a_step..].as_ptr().cast(),
                    a_row,
                    a_step,
                    b: b[part * columns + column..].as_ptr().cast(),
                    b_step: columns,
                    zeros: std::ptr::null(),
                    totals: std::ptr::null(),
                    steps: STEPS.min(steps - part),
                    later: &[],
                    later_step: 0,
                    expected: None,
                    next: &[],
                    turn: tile::Turn::default(),
                };
                // SAFETY: row + count ≤ rows, part + steps of this part ≤ steps and column + columns of this tile ≤ columns,
                // for which the operands are long enough, as was asserted above.
                unsafe {
                    match (S::LANES, panels) {
                        (16, 1) => tile::rows::<S, K, 1>(simd, count, operands, &mut sums),
                        (16, 2) => tile::rows::<S, K, 2>(simd, count, operands, &mut sums),
                        (16, 4) => tile::rows::<S, K, 4>(simd, count, operands, &mut sums),
                        (8, 1) => tile::rows::<S, K, 2>(simd, count, operands, &mut sums),
                        other => panic!("{other:?} lanes and panels"),
                    }
                }
                // Loops over indices: iterators over pairs of chunks are calls here, with a division each.
                for (i, sums) in sums.0[..count].iter().enumerate() {
                    let to = &mut to[(row + i) * columns + column..][..panels * PANEL];
                    for at in (0..panels * PANEL).step_by(S::LANES) {
                        let sum = simd.load(&sums[at..]);
                        let sum = if add || part > 0 { simd.add(simd.load(&to[at..]), sum) } else { sum };
                        simd.store(sum, &mut to[at..]);
                    }
                }
                row += count;
            }
        }
        column += panels * PANEL;
    }
}

/// Replaces the scores of the queries in the columns `lane..lane + LANES` of `[length, columns]` by e^(score − largest) and
/// returns 1 / (their sum) per query.
#[inline(always)]
pub(super) fn softmax<S: Simd>(simd: S, scores: &mut [f32], columns: usize, lane: usize) -> S::Vector {
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for row in scores.chunks_exact(columns) {
        largest = simd.max(largest, simd.load(&row[lane..]));
    }
    let mut total = simd.splat(0.0);
    for part in scores.chunks_mut(STEPS * columns) {
        let mut sum = simd.splat(0.0);
        for row in part.chunks_exact_mut(columns) {
            let power = math::exp(simd, simd.sub(simd.load(&row[lane..]), largest));
            simd.store(power, &mut row[lane..]);
            sum = simd.add(sum, power);
        }
        total = simd.add(total, sum);
    }
    simd.div(simd.splat(1.0), total)
}
