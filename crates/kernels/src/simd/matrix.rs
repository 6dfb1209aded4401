//! Units that multiply whole tiles of words: what they do, and the set of none. The one instance is in `amx.rs`.

/// Rows of A that a unit takes at once at most.
pub const MATRIX_ROWS: usize = 32;
/// Columns of B that it takes at once.
pub const MATRIX_COLUMNS: usize = 64;
/// Words of a row of A, and rows of B, in one product of tiles: steps are a multiple of it.
pub const MATRIX_STEPS: usize = 16;
/// bf16 that an f32 is split into.
pub const PARTS: usize = 3;

/// Operands of [`MatrixUnit`], in words: A(row, step) at `a + row * a_row + step`, B(step, column) at `b + step * b_step + column`.
#[derive(Debug, Clone, Copy)]
pub struct MatrixOperands {
    /// The first word of A.
    pub a: *const u32,
    /// Words from one row of A to the next.
    pub a_row: usize,
    /// The first word of B.
    pub b: *const u32,
    /// Words from one row of B to the next.
    pub b_step: usize,
    /// Words of a row of A: a multiple of [`MATRIX_STEPS`].
    pub steps: usize,
}

/// What is done between products of tiles: they take the place of hardly anything else in the processor.
pub trait Meanwhile {
    /// The next piece of it. Moments are numbered from 0 for each [`MATRIX_STEPS`] of the columns that are multiplied at once.
    fn more(&mut self, moment: usize);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn more(&mut self, _: usize) {}
}

/// How many moments [`MatrixUnit::add_split`] has for [`MATRIX_STEPS`] of all columns.
pub const MOMENTS: usize = 12;

/// Sums of a tile, row by row: words that are f32 or integers.
pub type MatrixSums = [[f32; MATRIX_COLUMNS]];

/// Multiplies tiles of words, which are two bf16 or four int8 as in [`super::Simd`], and f32 as bf16 that add up to it. It belongs to one thread.
///
/// A sum has one order, whatever the number of rows: from the first word to the last by [`MATRIX_STEPS`].
pub trait MatrixUnit {
    /// `sums = A · B`, or if `add` what is in there + A · B, for rows 1 to [`MATRIX_ROWS`] and all columns. Words are groups of two bf16, sums f32:
    /// subnormal numbers count as zero, and within a tile the first and the second numbers of words are summed apart. Or they are groups of four bytes,
    /// unsigned in A and signed in B, sums integers of 32 bits, exact. Panics at other groups, and if `sums` has fewer rows.
    ///
    /// Columns are multiplied all at once, or of more rows than fit then ([`MatrixUnit::columns`]), one half after the other; `meanwhile` has one
    /// moment for [`MATRIX_STEPS`] of them.
    ///
    /// # Safety
    /// A must be readable for all rows and steps, B for all steps and columns.
    unsafe fn multiply(
        &mut self,
        group: usize,
        rows: usize,
        o: MatrixOperands,
        add: bool,
        sums: &mut MatrixSums,
        meanwhile: &mut impl Meanwhile,
    );

    /// Columns that are multiplied at once with so many rows: all, or half of them.
    fn columns(rows: usize) -> usize;

    /// Sets sums of f32 that are split to zero, which stay in the unit until [`MatrixUnit::end_split`], for rows 1 to [`MATRIX_ROWS`] and
    /// [`MatrixUnit::columns`].
    fn begin_split(&mut self, rows: usize);

    /// Adds A · B, for the rows of the last [`MatrixUnit::begin_split`] and its columns. A number is the sum of [`PARTS`] bf16, the first the
    /// largest: of the products of their parts, the six of the first with all, of the second with the first and the second, and of the third with the
    /// first. For each [`MATRIX_STEPS`] steps, the words of the first parts of a row of A are followed by those of the second and of the third; so
    /// they are in a row of B, each a third of `b_step`. `meanwhile` has [`MOMENTS`] for [`MATRIX_STEPS`] of all columns. Else as
    /// [`MatrixUnit::multiply`] of bf16.
    ///
    /// # Safety
    /// A must be readable for all rows and [`PARTS`] times the steps, B for all steps and columns, and their parts.
    unsafe fn add_split(&mut self, o: MatrixOperands, meanwhile: &mut impl Meanwhile);

    /// Writes the sums from `column` on. Panics if `sums` has fewer rows, or there are not so many columns.
    fn end_split(&mut self, column: usize, sums: &mut MatrixSums);
}

/// The unit of an instruction set that has none.
#[derive(Debug)]
pub enum NoMatrixUnit {}

impl MatrixUnit for NoMatrixUnit {
    unsafe fn multiply(
        &mut self,
        _: usize,
        _: usize,
        _: MatrixOperands,
        _: bool,
        _: &mut MatrixSums,
        _: &mut impl Meanwhile,
    ) {
        match *self {}
    }

    fn columns(_: usize) -> usize {
        MATRIX_COLUMNS
    }

    fn begin_split(&mut self, _: usize) {
        match *self {}
    }

    unsafe fn add_split(&mut self, _: MatrixOperands, _: &mut impl Meanwhile) {
        match *self {}
    }

    fn end_split(&mut self, _: usize, _: &mut MatrixSums) {
        match *self {}
    }
}
