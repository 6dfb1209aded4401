//! What computes a tile of the result from a panel: vectors (`tile.rs`), or a matrix unit, where the instruction set has one for the type.

use super::operand::{as_numbers, as_words_mut};
use super::split;
use super::tile::{self, Int8, Kind, MOST_ROWS, Operands, PANEL, Sums};
use crate::lines::LINE;
use crate::simd::matrix::{MATRIX_COLUMNS, MATRIX_ROWS, MATRIX_STEPS, MatrixOperands, MatrixUnit, PARTS};
use crate::simd::{Isa, Simd};

const _: () = assert!(PANEL == MATRIX_COLUMNS, "a unit takes a panel at once");

/// What the words of a weight become before they are multiplied, and those of the other operand with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing else.
    Same,
    /// Two words each (`widen.rs`).
    Wide,
    /// Three bf16 each (`split.rs`).
    Split,
}

impl Form {
    /// Words of so many steps.
    pub(super) fn words(self, steps: usize) -> usize {
        match self {
            Self::Same => steps,
            Self::Wide => 2 * steps,
            Self::Split => split::words(steps),
        }
    }
}

/// How a product of this many numbers a word is divided.
#[derive(Clone, Copy)]
pub(super) struct Division {
    /// Rows of the largest tile, which blocks of rows consist of.
    pub(super) tile: usize,
    /// Most rows of a task.
    pub(super) block: usize,
    /// Least panels of a task, if sums are cut into parts: so often the rows of a part are found in the cache.
    pub(super) panels: usize,
    /// Whether rows of the left operand are whole lines of the cache, which are whole steps of a matrix unit.
    lines: bool,
}

impl Division {
    /// That of what [`Engine`] the instruction set has for words of this form and so many numbers.
    pub(super) fn of(isa: Isa, group: usize, form: Form) -> Self {
        if isa.has_matrix_unit() && (group > 1 || form == Form::Split) {
            // A panel from memory is multiplied so fast that it wants many rows.
            Self { tile: MATRIX_ROWS, block: 12 * MATRIX_ROWS, panels: 8, lines: true }
        } else {
            Self { tile: MOST_ROWS, block: 96, panels: 4, lines: false }
        }
    }

    /// Words from one row of the left operand to the next, if it has so many.
    pub(super) fn row(self, words: usize) -> usize {
        const { assert!(MATRIX_STEPS == LINE) };
        // An even number of lines apart, rows would lie in few sets of the cache, from which a tile takes a line of each of its rows.
        if self.lines && words > 0 { (words.div_ceil(LINE) | 1) * LINE } else { words }
    }
}

/// Computes tiles one after another, in memory of its own.
pub(super) trait Engine<S: Simd, T: Kind> {
    /// Most rows of a tile.
    const ROWS: usize;
    /// Steps of a part of k are a multiple of this.
    const STEPS: usize;
    /// Tiles whose sums it can keep and resume; one that cannot has 1.
    const KEEPS: usize;

    /// Columns of a tile.
    fn width(&self) -> usize;

    /// Whether it brings the columns into the [`Form`] of the product itself, so that B are the words of the weight.
    #[inline(always)]
    fn forms_columns(&self) -> bool {
        false
    }

    /// The sums of `rows` rows, the first `columns` of each: A · B, for integers as f32 (unless they are kept, in one of `KEEPS` places).
    ///
    /// # Safety
    /// What `Operands` describes must be readable for these rows, and in B for all columns of a tile; A a step after another, and up to a
    /// multiple of `STEPS`, with zeros where a word is two bf16.
    unsafe fn tile(&mut self, simd: S, rows: usize, columns: usize, o: Operands<'_>) -> &[[f32; PANEL]];
}

/// Tiles whose sums [`Vectors`] keep.
pub(super) const KEEPS: usize = 4;

/// Vectors.
pub(super) struct Vectors<'a> {
    /// With few rows, more columns at once than the largest tile has: there would be too few independent sums.
    few: bool,
    sums: &'a mut [Sums; KEEPS],
}

impl<'a> Vectors<'a> {
    #[inline(always)]
    pub(super) fn new<S: Simd>(_: S, rows: usize, sums: &'a mut [Sums; KEEPS]) -> Self {
        Self { few: rows <= 2 && tile::width::<S>() < PANEL, sums }
    }
}

impl<S: Simd, T: Kind> Engine<S, T> for Vectors<'_> {
    const ROWS: usize = S::TILE_ROWS;
    const STEPS: usize = 1;
    const KEEPS: usize = KEEPS;

    #[inline(always)]
    fn width(&self) -> usize {
        if self.few { 4 * S::LANES } else { tile::width::<S>() }
    }

    #[inline(always)]
    unsafe fn tile(&mut self, simd: S, rows: usize, columns: usize, o: Operands<'_>) -> &[[f32; PANEL]] {
        let sums = &mut self.sums[o.turn.place];
        // SAFETY: the caller vouches for the operands.
        unsafe {
            if columns <= S::LANES {
                tile::rows::<S, T, 1>(simd, rows, o, sums);
            } else if self.few {
                tile::rows::<S, T, 4>(simd, rows, o, sums);
            } else {
                tile::widest::<S, T>(simd, rows, o, sums);
            }
        }
        &sums.0
    }
}

/// A matrix unit, for words of two bf16 or four bytes.
pub(super) struct Matrix<U> {
    unit: U,
    sums: Aligned<[[f32; PANEL]; MATRIX_ROWS]>,
}

#[repr(align(64))]
struct Aligned<X>(X);

impl<U: MatrixUnit> Matrix<U> {
    #[inline(always)]
    pub(super) fn new(unit: U) -> Self {
        Self { unit, sums: Aligned([[0.0; PANEL]; MATRIX_ROWS]) }
    }

    /// Sums += A · B, or = without `add`.
    ///
    /// # Safety
    /// As [`MatrixUnit::multiply_bf16`].
    #[inline(always)]
    unsafe fn multiply<T: Kind>(&mut self, rows: usize, o: MatrixOperands, add: bool) {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            if T::GROUP == 4 {
                self.unit.multiply_i8(rows, o, add, &mut self.sums.0);
            } else {
                self.unit.multiply_bf16(rows, o, add, &mut self.sums.0);
            }
        }
    }
}

/// Operands for a unit, of so many steps of its own.
#[inline(always)]
fn matrix_operands(o: Operands<'_>, steps: usize) -> MatrixOperands {
    // What a step asks for in words is in lines what as many steps as a line has words ask for.
    let later = (o.later.as_ptr(), o.later_step);
    MatrixOperands { a: o.a, a_row: o.a_row, b: o.b, b_step: o.b_step, steps, later }
}

impl<S: Simd, T: Kind, U: MatrixUnit> Engine<S, T> for Matrix<U> {
    const ROWS: usize = MATRIX_ROWS;
    const STEPS: usize = MATRIX_STEPS;
    const KEEPS: usize = 1;

    #[inline(always)]
    fn width(&self) -> usize {
        PANEL
    }

    #[inline(always)]
    unsafe fn tile(&mut self, simd: S, rows: usize, _: usize, o: Operands<'_>) -> &[[f32; PANEL]] {
        let integers = T::GROUP == 4;
        if integers {
            for (i, sums) in self.sums.0[..rows].iter_mut().enumerate() {
                for at in (0..PANEL).step_by(S::LANES) {
                    // SAFETY: the caller vouches for a zero for each row and a total for each column.
                    let start = unsafe { Int8::start(simd, o.zeros.add(i), o.totals.add(at)) };
                    simd.store_words(start, as_words_mut(&mut sums[at..]));
                }
            }
        }
        let whole = o.steps - o.steps % MATRIX_STEPS;
        let operands = matrix_operands(o, whole);
        // SAFETY: the caller vouches for these rows, columns and steps.
        unsafe { self.multiply::<T>(rows, operands, integers) };
        if whole < o.steps {
            let mut b = Aligned([[0; PANEL]; MATRIX_STEPS]);
            for (step, b) in (whole..o.steps).zip(&mut b.0) {
                // SAFETY: the caller vouches for all columns of this step; nobody else knows the copy.
                unsafe { std::ptr::copy_nonoverlapping(o.b.add(step * o.b_step), b.as_mut_ptr(), PANEL) };
            }
            let operands = MatrixOperands {
                a: o.a.wrapping_add(whole),
                b: b.0.as_ptr().cast(),
                b_step: PANEL,
                steps: MATRIX_STEPS,
                later: (o.b, 0),
                ..operands
            };
            // SAFETY: the caller vouches for A up to a multiple of these steps; B is the copy.
            unsafe { self.multiply::<T>(rows, operands, true) };
        }
        if integers {
            for sums in &mut self.sums.0[..rows] {
                for at in (0..PANEL).step_by(S::LANES) {
                    let sums = &mut sums[at..at + S::LANES];
                    // SAFETY: so many words are readable.
                    let words = unsafe { simd.words_from(sums.as_ptr().cast()) };
                    simd.store(Int8::finish(simd, words), sums);
                }
            }
        }
        &self.sums.0
    }
}

/// A matrix unit, for f32 that is split: A before, B here, while the columns before it are multiplied. `steps` of [`Operands`] are those of f32.
pub(super) struct Split<'a, U> {
    matrix: Matrix<U>,
    columns: &'a mut split::Columns,
    tiles: usize,
    /// Steps that are split before they are multiplied. For a single tile few, so that they stay in the level-1 cache; for others all, once for all tiles.
    steps: usize,
}

impl<'a, U: MatrixUnit> Split<'a, U> {
    /// For so many rows, with memory that it may have had before.
    #[inline(always)]
    pub(super) fn new(unit: U, rows: usize, columns: &'a mut split::Columns) -> Self {
        columns.forget();
        let steps = if rows <= MATRIX_ROWS / 2 { split::NUMBERS } else { usize::MAX };
        Self { matrix: Matrix::new(unit), columns, tiles: rows.div_ceil(MATRIX_ROWS), steps }
    }
}

impl<S: Simd, T: Kind, U: MatrixUnit> Engine<S, T> for Split<'_, U> {
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
    unsafe fn tile(&mut self, simd: S, rows: usize, _: usize, o: Operands<'_>) -> &[[f32; PANEL]] {
        let (unit, sums) = (&mut self.matrix.unit, &mut self.matrix.sums.0);
        // SAFETY: the caller vouches for these steps and all columns.
        let panel = as_numbers(unsafe { std::slice::from_raw_parts(o.b, o.steps * PANEL) });
        let (next, later) = (as_numbers(o.next), as_numbers(o.later));
        let length = self.steps.min(o.steps.max(1)) * PANEL;
        let first_of = |panel: &'_ [f32]| panel.len().min(length);
        let mut column = 0;
        while column < PANEL {
            let columns = unit.begin_split(rows);
            for (i, block) in panel.chunks(length).enumerate() {
                let rest = &panel[i * length + block.len()..];
                let next = if rest.is_empty() { next } else { rest };
                let later = &later[..first_of(later)];
                let (b, mut ahead) = self.columns.of(simd, block, &next[..first_of(next)], later, self.tiles);
                let operands = MatrixOperands {
                    a: o.a.wrapping_add(split::words(i * length / PANEL)),
                    a_row: o.a_row,
                    b: b[column..].as_ptr(),
                    b_step: PARTS * PANEL,
                    steps: (block.len() / PANEL).div_ceil(split::NUMBERS) * MATRIX_STEPS,
                    later: (o.b, 0),
                };
                // SAFETY: the caller vouches for these rows of A, up to whole steps; B has been made for them.
                unsafe { unit.add_split(operands, &mut ahead) };
            }
            unit.end_split(column, sums);
            column += columns;
        }
        sums
    }
}
