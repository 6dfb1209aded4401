//! A matrix unit as an [`Engine`], for bf16 and int8, and for f32 that is split. What happens to the sums of a tile happens row by row while the unit
//! multiplies the next tile, and so does what prepares its operands: the processor has little else to do then.

use std::marker::PhantomData;
use std::ops::Range;

use super::engine::{Engine, Finish};
use super::operand::as_numbers;
use super::split;
use super::tile::{Int8, Kind, Operands, PANEL};
use crate::lines::LINE;
use crate::simd::Simd;
use crate::simd::matrix::{
    MATRIX_COLUMNS, MATRIX_ROWS, MATRIX_STEPS, MatrixOperands, MatrixUnit, Meanwhile, PARTS,
};

const _: () = assert!(PANEL == MATRIX_COLUMNS, "a unit takes a panel at once");

/// The sums of a tile, words as the unit leaves them.
#[repr(align(64))]
pub(super) struct MatrixTile([[f32; PANEL]; MATRIX_ROWS]);

impl MatrixTile {
    pub(super) const ZERO: Self = Self([[0.0; PANEL]; MATRIX_ROWS]);
}

/// Tiles, the present one and the one before by turns.
struct Tiles<'a, F> {
    sums: &'a mut [MatrixTile; 2],
    present: usize,
    before: Option<Before<F>>,
}

/// A tile whose sums are complete.
struct Before<F> {
    finish: F,
    /// Those that are not finished.
    rows: Range<usize>,
    zeros: *const i32,
    totals: *const i32,
}

impl<F> Tiles<'_, F> {
    /// The sums of the present tile, and what is left to do with those before, which is done after so many moments.
    #[inline(always)]
    fn present<S: Simd>(&mut self, simd: S, moments: usize) -> (&mut [[f32; PANEL]], Rest<'_, S, F>) {
        let [first, second] = &mut *self.sums;
        let (present, before) = if self.present == 0 { (first, second) } else { (second, first) };
        let rows = self.before.as_ref().map_or(0, |before| before.rows.len());
        (
            &mut present.0,
            Rest {
                simd,
                sums: &mut before.0,
                before: &mut self.before,
                due: 0,
                rows,
                moments: moments.max(1),
            },
        )
    }

    /// Makes the present tile the one before.
    #[inline(always)]
    fn next(&mut self, rows: usize, o: Operands<'_>, finish: F) {
        self.present ^= 1;
        self.before = Some(Before { finish, rows: 0..rows, zeros: o.zeros, totals: o.totals });
    }
}

/// Finishes the tile before, row by row.
struct Rest<'a, S, F> {
    simd: S,
    sums: &'a mut [[f32; PANEL]],
    before: &'a mut Option<Before<F>>,
    /// Rows that are due, times moments.
    due: usize,
    rows: usize,
    moments: usize,
}

impl<S: Simd, F: Finish<S>> Rest<'_, S, F> {
    /// As many rows as are due in a moment.
    #[inline(always)]
    fn some<T: Kind>(&mut self) {
        self.due += self.rows;
        while self.due >= self.moments {
            self.due -= self.moments;
            self.next::<T>(1);
        }
    }

    /// All that are left.
    #[inline(always)]
    fn all<T: Kind>(&mut self) {
        self.next::<T>(MATRIX_ROWS);
    }

    /// So many rows, if there are as many.
    #[inline(always)]
    fn next<T: Kind>(&mut self, count: usize) {
        let Some(before) = self.before else { return };
        let rows = before.rows.start..before.rows.end.min(before.rows.start + count);
        if rows.is_empty() {
            return;
        }
        before.rows.start = rows.end;
        if T::GROUP == 4 {
            for (row, sums) in rows.clone().zip(&mut self.sums[rows.clone()]) {
                for at in (0..PANEL).step_by(S::LANES) {
                    let sums = &mut sums[at..at + S::LANES];
                    // SAFETY: so many words are readable, and who began the tile vouched for a zero for each row and a total for each column.
                    let sum = unsafe {
                        let start = Int8::start(self.simd, before.zeros.add(row), before.totals.add(at));
                        self.simd.add_words(start, self.simd.words_from(sums.as_ptr().cast()))
                    };
                    self.simd.store(Int8::finish(self.simd, sum), sums);
                }
            }
        }
        before.finish.rows(self.simd, rows, self.sums);
    }
}

/// What a unit leaves time for.
struct During<'a, 'b, S, T, A, F> {
    /// What prepares operands.
    prepare: A,
    rest: &'a mut Rest<'b, S, F>,
    kind: PhantomData<T>,
}

impl<S: Simd, T: Kind, A: Meanwhile, F: Finish<S>> Meanwhile for During<'_, '_, S, T, A, F> {
    #[inline(always)]
    fn more(&mut self, moment: usize) {
        self.prepare.more(moment);
        if moment == 0 {
            self.rest.some::<T>();
        }
    }
}

/// Asks for what will be needed later, so many lines of the cache in each moment.
struct Ask<S> {
    simd: S,
    at: *const u32,
    lines: usize,
}

impl<S: Simd> Meanwhile for Ask<S> {
    #[inline(always)]
    fn more(&mut self, _: usize) {
        for _ in 0..self.lines {
            self.simd.prefetch(self.at);
            self.at = self.at.wrapping_add(LINE);
        }
    }
}

/// For words of two bf16 or four bytes.
pub(super) struct Matrix<'a, U, F> {
    unit: U,
    tiles: Tiles<'a, F>,
}

impl<'a, U: MatrixUnit, F> Matrix<'a, U, F> {
    #[inline(always)]
    pub(super) fn new(unit: U, sums: &'a mut [MatrixTile; 2]) -> Self {
        Self { unit, tiles: Tiles { sums, present: 0, before: None } }
    }
}

impl<S: Simd, T: Kind, U: MatrixUnit, F: Finish<S>> Engine<S, T, F> for Matrix<'_, U, F> {
    const ROWS: usize = MATRIX_ROWS;
    const STEPS: usize = MATRIX_STEPS;
    const KEEPS: usize = 1;

    #[inline(always)]
    fn width(&self) -> usize {
        PANEL
    }

    #[inline(always)]
    unsafe fn tile(&mut self, simd: S, rows: usize, _: usize, o: Operands<'_>, finish: F) {
        let times = PANEL / U::columns(rows);
        // B is read as fast as memory gives it: what is done meanwhile would delay reads, and the processor sees by itself what comes next.
        let few = times == 1;
        let whole = o.steps - o.steps % MATRIX_STEPS;
        let (sums, mut rest) = self.tiles.present(simd, times * whole / MATRIX_STEPS);
        let operands = MatrixOperands { a: o.a, a_row: o.a_row, b: o.b, b_step: o.b_step, steps: whole };
        // SAFETY: the caller vouches for these rows, columns and steps.
        unsafe {
            if few {
                self.unit.multiply(T::GROUP, rows, operands, false, sums, &mut ());
            } else {
                // What a step asks for in words is in lines what as many steps as a line has words ask for.
                let ask = Ask { simd, at: o.later.as_ptr(), lines: o.later_step.div_ceil(times) };
                let mut during = During { prepare: ask, rest: &mut rest, kind: PhantomData::<T> };
                self.unit.multiply(T::GROUP, rows, operands, false, sums, &mut during);
            }
        }
        if whole < o.steps {
            #[repr(align(64))]
            struct Last([[u32; PANEL]; MATRIX_STEPS]);
            let mut b = Last([[0; PANEL]; MATRIX_STEPS]);
            for (step, b) in (whole..o.steps).zip(&mut b.0) {
                // SAFETY: the caller vouches for all columns of this step; nobody else knows the copy.
                unsafe { std::ptr::copy_nonoverlapping(o.b.add(step * o.b_step), b.as_mut_ptr(), PANEL) };
            }
            let operands = MatrixOperands {
                a: o.a.wrapping_add(whole),
                b: b.0.as_ptr().cast(),
                b_step: PANEL,
                steps: MATRIX_STEPS,
                ..operands
            };
            // SAFETY: the caller vouches for A up to a multiple of these steps; B is the copy.
            unsafe { self.unit.multiply(T::GROUP, rows, operands, true, sums, &mut ()) };
        }
        rest.all::<T>();
        self.tiles.next(rows, o, finish);
        if few {
            self.tiles.present(simd, 0).1.all::<T>();
        }
    }

    #[inline(always)]
    fn end(&mut self, simd: S) {
        self.tiles.present(simd, 0).1.all::<T>();
    }
}

/// For f32 that is split: A before, B here, while the columns before it are multiplied. `steps` of [`Operands`] are those of f32.
pub(super) struct Split<'a, U, F> {
    unit: U,
    tiles: Tiles<'a, F>,
    columns: &'a mut split::Columns,
    /// How many tiles there are.
    count: usize,
    /// Steps that are split before they are multiplied. For a single tile few, so that they stay in the level-1 cache; for others all, once for all tiles.
    steps: usize,
}

impl<'a, U: MatrixUnit, F> Split<'a, U, F> {
    /// For so many rows, with memory that it may have had before.
    #[inline(always)]
    pub(super) fn new(
        unit: U,
        rows: usize,
        columns: &'a mut split::Columns,
        sums: &'a mut [MatrixTile; 2],
    ) -> Self {
        columns.forget();
        let steps = if rows <= MATRIX_ROWS / 2 { split::NUMBERS } else { usize::MAX };
        let tiles = Tiles { sums, present: 0, before: None };
        Self { unit, tiles, columns, count: rows.div_ceil(MATRIX_ROWS), steps }
    }
}

impl<S: Simd, T: Kind, U: MatrixUnit, F: Finish<S>> Engine<S, T, F> for Split<'_, U, F> {
    const ROWS: usize = MATRIX_ROWS;
    const STEPS: usize = split::NUMBERS;
    const KEEPS: usize = 1;

    #[inline(always)]
    fn width(&self) -> usize {
        PANEL
    }

    #[inline(always)]
    fn forms_columns(&self) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn tile(&mut self, simd: S, rows: usize, _: usize, o: Operands<'_>, finish: F) {
        let times = PANEL / U::columns(rows);
        let (sums, mut rest) = self.tiles.present(simd, times * o.steps / split::NUMBERS);
        // SAFETY: the caller vouches for these steps and all columns.
        let panel = as_numbers(unsafe { std::slice::from_raw_parts(o.b, o.steps * PANEL) });
        let (next, later) = (as_numbers(o.next), as_numbers(o.later));
        let length = self.steps.min(o.steps.max(1)) * PANEL;
        let first_of = |panel: &'_ [f32]| panel.len().min(length);
        for column in (0..PANEL).step_by(U::columns(rows)) {
            self.unit.begin_split(rows);
            for (i, block) in panel.chunks(length).enumerate() {
                let others = &panel[i * length + block.len()..];
                let next = if others.is_empty() { next } else { others };
                let later = &later[..first_of(later)];
                let (b, ahead) = self.columns.of(simd, block, &next[..first_of(next)], later, self.count);
                let operands = MatrixOperands {
                    a: o.a.wrapping_add(split::words(i * length / PANEL)),
                    a_row: o.a_row,
                    b: b[column..].as_ptr(),
                    b_step: PARTS * PANEL,
                    steps: (block.len() / PANEL).div_ceil(split::NUMBERS) * MATRIX_STEPS,
                };
                let mut during = During { prepare: ahead, rest: &mut rest, kind: PhantomData::<T> };
                // SAFETY: the caller vouches for these rows of A, up to whole steps; B has been made for them.
                unsafe { self.unit.add_split(operands, &mut during) };
            }
            self.unit.end_split(column, sums);
        }
        rest.all::<T>();
        self.tiles.next(rows, o, finish);
    }

    #[inline(always)]
    fn end(&mut self, simd: S) {
        self.tiles.present(simd, 0).1.all::<T>();
    }
}
