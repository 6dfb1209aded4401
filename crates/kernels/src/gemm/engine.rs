//! What computes a tile of the result from a panel: vectors (`tile.rs`), or a matrix unit (`matrix.rs`), where the instruction set has one for the type.

use std::ops::Range;

use super::split;
use super::tile::{self, Kind, MOST_ROWS, Operands, PANEL, Sums};
use crate::lines::LINE;
use crate::simd::matrix::{MATRIX_ROWS, MATRIX_STEPS};
use crate::simd::{Isa, Simd};

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

/// What happens to the sums of a tile when they are complete.
pub(super) trait Finish<S: Simd> {
    /// For these rows of the tile, each once; integers are f32 before.
    fn rows(&self, simd: S, rows: Range<usize>, sums: &[[f32; PANEL]]);
}

/// Computes tiles one after another, in memory of its own.
pub(super) trait Engine<S: Simd, T: Kind, F: Finish<S>> {
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

    /// The sums of `rows` rows, the first `columns` of each: A · B. Unless they are kept, `finish` follows, perhaps later, but tile after tile.
    ///
    /// # Safety
    /// What `Operands` describes must be readable for these rows, and in B for all columns of a tile; A a step after another, and up to a
    /// multiple of `STEPS`, with zeros where a word is two bf16; zeros and totals until [`Engine::end`].
    unsafe fn tile(&mut self, simd: S, rows: usize, columns: usize, o: Operands<'_>, finish: F);

    /// Finishes all that is not finished.
    fn end(&mut self, simd: S);
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

impl<S: Simd, T: Kind, F: Finish<S>> Engine<S, T, F> for Vectors<'_> {
    const ROWS: usize = S::TILE_ROWS;
    const STEPS: usize = 1;
    const KEEPS: usize = KEEPS;

    #[inline(always)]
    fn width(&self) -> usize {
        if self.few { 4 * S::LANES } else { tile::width::<S>() }
    }

    #[inline(always)]
    unsafe fn tile(&mut self, simd: S, rows: usize, columns: usize, o: Operands<'_>, finish: F) {
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
        if !o.turn.keeps {
            finish.rows(simd, 0..rows, &sums.0);
        }
    }

    #[inline(always)]
    fn end(&mut self, _: S) {}
}
