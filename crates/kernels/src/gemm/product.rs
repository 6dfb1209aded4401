//! Products with a packed weight, bias, activation and residual included.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::WeightType;
use super::engine::{Division, Engine, Finish, Form, KEEPS, Vectors};
use super::matrix::{Matrix, MatrixTile, Split};
use super::operand::{self, Bytes, Operand};
use super::packed::PackedMatrix;
use super::split;
use super::tile::{self, Bf16, Expected, F32, Int8, Int16, Kind, Operands, PANEL, Sums, Turn};
use super::widen::widen_columns;
use crate::activation::{self, Activation};
use crate::lines::Lines;
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads::{self, Shared};

/// What happens to a product before it is written: `activation(product + bias) + residual`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, added to each row. Default: none.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias. Default: identity.
    pub activation: Activation,
    /// `[m, n]`, added after the activation. Default: none.
    pub residual: Option<&'a [f32]>,
    /// Whether the product is added to what `out` holds, before all else. Default: no, it is overwritten.
    pub accumulate: bool,
}

/// Steps of tiles (of 64 columns and as many rows as they have at most) that a task has at least, if there are threads to feed: some microseconds.
const WORK: usize = 1 << 9;

/// Words of a panel with which few tiles take turns (16 KiB): beside rows and sums, they stay in the level-1 cache, and what is asked for from memory
/// does not wait behind lines of the panel that each tile reads again from level 2.
const TURN: usize = 1 << 12;

/// `out = activation(x wᵀ + bias) + residual`, x `[m, inputs]`, out `[m, outputs]`.
///
/// In bf16, x is rounded too and products of pairs are summed in f32. In int8, each row of x is quantised (255 steps from its
/// smallest number to its largest, zero among them), and sums are exact. A row with a number that is not finite gives no finite numbers.
/// In f32, a unit for tiles of bf16 takes each number as the sum of three of them: results are as exact, and have other last bits than those of vectors.
pub fn gemm(x: &[f32], m: usize, weight: &PackedMatrix, epilogue: Epilogue<'_>, out: &mut [f32]) {
    gemm_on(isa(), x, m, weight, epilogue, out);
}

pub(crate) fn gemm_on(
    isa: Isa,
    x: &[f32],
    m: usize,
    weight: &PackedMatrix,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let (n, k) = (weight.outputs(), weight.inputs());
    assert_eq!(Some(x.len()), m.checked_mul(k), "an operand of [{m}, {k}]");
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "a bias of [{n}]");
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == m * n), "a residual of [{m}, {n}]");
    if out.is_empty() {
        return;
    }
    let out = Shared(out.as_mut_ptr());
    operand::with(isa, weight, x, m, |x| {
        multiply(isa, Product { x: &x, m, weight, epilogue, out });
    });
}

/// `out = x wᵀ` with a weight of int8, as [`gemm`], and in `steps` `[m]` the step in which each row of x was quantised: its numbers are off by
/// half of it at most. NaN for a row that is not finite, infinity for one whose step is too small to divide by.
pub fn gemm_with_steps(x: &[f32], m: usize, weight: &PackedMatrix, out: &mut [f32], steps: &mut [f32]) {
    assert!(weight.kind() == WeightType::Int8, "only int8 has steps");
    let (isa, n, k) = (isa(), weight.outputs(), weight.inputs());
    assert_eq!(Some(x.len()), m.checked_mul(k), "an operand of [{m}, {k}]");
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    assert_eq!(steps.len(), m, "a step per row");
    let out = Shared(out.as_mut_ptr());
    operand::with(isa, weight, x, m, |x| {
        for (step, &scale) in steps.iter_mut().zip(x.scales) {
            *step = if scale > 0.0 && scale < f32::MIN_POSITIVE { f32::INFINITY } else { scale };
        }
        if m > 0 && n > 0 {
            multiply(isa, Product { x: &x, m, weight, epilogue: Epilogue::default(), out });
        }
    });
}

/// `out = Σ x · w` over bytes: x `[m, inputs]`, out `[m, outputs]`. `weight` is int8 ([`PackedMatrix::from_int8`]); sums are exact, and
/// rounded to f32 at the end, which changes nothing below 2²⁴.
pub fn gemm_bytes(x: Bytes<'_>, m: usize, weight: &PackedMatrix, out: &mut [f32]) {
    gemm_bytes_on(isa(), x, m, weight, out);
}

pub(crate) fn gemm_bytes_on(isa: Isa, x: Bytes<'_>, m: usize, weight: &PackedMatrix, out: &mut [f32]) {
    let (n, k) = (weight.outputs(), weight.inputs());
    assert!(weight.kind() == WeightType::Int8, "bytes are multiplied with int8");
    assert_eq!(Some(x.len()), m.checked_mul(k), "an operand of [{m}, {k}]");
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    if out.is_empty() {
        return;
    }
    let out = Shared(out.as_mut_ptr());
    operand::with_bytes(isa, x, m, k, |x| {
        multiply(isa, Product { x: &x, m, weight, epilogue: Epilogue::default(), out });
    });
}

/// A product whose left operand is ready. `out` is all of the result, and not empty.
#[derive(Clone, Copy)]
struct Product<'a> {
    x: &'a Operand<'a>,
    m: usize,
    weight: &'a PackedMatrix,
    epilogue: Epilogue<'a>,
    out: Shared<f32>,
}

fn multiply(isa: Isa, product: Product<'_>) {
    product.weight.used();
    match (product.weight.kind(), product.x.form) {
        (WeightType::F32, _) => blocks::<F32, F32>(isa, product),
        (WeightType::Bf16, Form::Wide) => blocks::<Bf16, F32>(isa, product),
        (WeightType::Bf16, _) => blocks::<Bf16, Bf16>(isa, product),
        (WeightType::Int8, Form::Wide) => blocks::<Int8, Int16>(isa, product),
        (WeightType::Int8, _) => blocks::<Int8, Int8>(isa, product),
    }
}

/// Divides the result into tasks. K is the kind of the weight, T that of the operand and of tiles.
fn blocks<K: Kind, T: Kind>(isa: Isa, product: Product<'_>) {
    let Product { m, weight, .. } = product;
    let (n, steps) = (weight.outputs(), weight.inputs().div_ceil(K::GROUP));
    // Blocks of rows, in whole tiles, as many for each thread if there are enough; a thread keeps its rows from one product to the next.
    let threads = rayon::current_num_threads();
    let division = Division::of(isa, T::GROUP, product.x.form);
    let tiles = m.div_ceil(division.tile);
    let blocks = m.div_ceil(division.block);
    let blocks = if blocks >= threads { blocks.next_multiple_of(threads).min(tiles) } else { blocks };
    let sets = threads.min(blocks);
    let first_row = |block: usize| (block * tiles / blocks * division.tile).min(m);
    let panels = n.div_ceil(PANEL);
    // Not so many that threads have less than two tasks each.
    let fair = (panels * blocks / (2 * threads)).max(1);
    let least = if weight.parts() > 1 { division.panels.min(fair) } else { 1 };
    let panels_at_once = (WORK / (tiles.div_ceil(blocks) * steps.max(1))).max(least).min(panels);
    let columns = panels.div_ceil(panels_at_once);
    // Tasks by sets of blocks, then panels, then the blocks of the set, which share a panel: it is read from memory once.
    let place = |index: usize| {
        let (mut set, mut at) = (0, index);
        loop {
            let own = (set * blocks / sets)..((set + 1) * blocks / sets);
            if at < own.len() * columns {
                return (own.start + at % own.len(), at / own.len() * panels_at_once);
            }
            at -= own.len() * columns;
            set += 1;
        }
    };
    threads::parallel(blocks * columns, |index| {
        let (block, panel) = place(index);
        let next = if index + 1 < blocks * columns { place(index + 1).1 } else { panel };
        isa.run(Block::<K, T> {
            product,
            rows: first_row(block)..first_row(block + 1),
            columns: panel * PANEL..((panel + panels_at_once) * PANEL).min(n),
            next: (next != panel).then_some(next),
            kinds: std::marker::PhantomData,
        });
    });
}

thread_local! {
    /// Kept from one task to the next.
    static COLUMNS: RefCell<Lines> = RefCell::default();
    static SPLIT: RefCell<split::Columns> = RefCell::default();
    /// Kept too: to clear them for each task would show in small products.
    static SUMS: Cell<Option<Box<[Sums; KEEPS]>>> = const { Cell::new(None) };
    static TILES: Cell<Option<Box<[MatrixTile; 2]>>> = const { Cell::new(None) };
}

/// Some rows and columns of the result, the columns from the start of a panel. Nobody else touches these rows and columns meanwhile.
struct Block<'a, K, T> {
    product: Product<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The panel that this thread probably needs after these.
    next: Option<usize>,
    kinds: std::marker::PhantomData<(K, T)>,
}

/// Some columns of a panel, and a part of k, with which all rows of a [`Block`] are multiplied.
struct Part<'a> {
    /// As many as a tile has, or fewer at the end.
    columns: Range<usize>,
    /// Words of each row of x before it.
    first: usize,
    steps: usize,
    b: &'a [u32],
    b_step: usize,
    /// The columns that come next, if the engine forms them.
    next: &'a [u32],
    /// What to ask for meanwhile.
    later: &'a [u32],
    /// Whether it is added to what is there.
    adds: bool,
    /// Whether the epilogue follows.
    is_last: bool,
}

impl<K: Kind, T: Kind> Kernel for Block<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if let Some(unit) = simd.matrix_unit()
            && K::GROUP == T::GROUP
            && (K::GROUP > 1 || self.product.x.form == Form::Split)
        {
            let mut tiles = TILES.take().unwrap_or_else(|| Box::new([MatrixTile::ZERO; 2]));
            if K::GROUP > 1 {
                // Words as they lie in the weight.
                self.tiles(simd, Matrix::new(unit, &mut tiles));
            } else {
                let mut columns = SPLIT.take();
                self.tiles(simd, Split::new(unit, self.rows.len(), &mut columns, &mut tiles));
                SPLIT.set(columns);
            }
            TILES.set(Some(tiles));
            return;
        }
        let mut sums = SUMS.take().unwrap_or_else(|| Box::new([Sums::ZERO; KEEPS]));
        self.tiles(simd, Vectors::new(simd, self.rows.len(), &mut sums));
        SUMS.set(Some(sums));
    }
}

impl<K: Kind, T: Kind> Block<'_, K, T> {
    /// All of it, part by part.
    #[inline(always)]
    fn tiles<'a, S: Simd, E: Engine<S, T, Write<'a, K, T>>>(&'a self, simd: S, mut engine: E) {
        let all = self.product.weight.inputs().div_ceil(K::GROUP);
        let parts = self.product.weight.parts();
        let steps = all.div_ceil(parts).next_multiple_of(E::STEPS);
        let width = engine.width();
        let form = self.product.x.form;
        let widens = form == Form::Wide;
        let mut wide = if widens { COLUMNS.take() } else { Lines::default() };
        for part in 0..parts {
            let (first, last) = ((part * steps).min(all), ((part + 1) * steps).min(all));
            for column in self.columns.clone().step_by(width) {
                let panel = &self.product.weight.words()[column / PANEL * all * PANEL..][..last * PANEL];
                let panel = panel.get(first * PANEL + column % PANEL..).unwrap_or_default();
                let (next, later) = self.later(column, part, parts, steps);
                let (next, later) = if engine.forms_columns() {
                    (next, later)
                } else {
                    (&[][..], if next.is_empty() { later } else { next })
                };
                let (b, b_step) = if widens {
                    (widen_columns(simd, self.product.weight.kind(), panel, width, &mut wide), width)
                } else {
                    (panel, PANEL)
                };
                let steps = if widens { form.words(last - first) } else { last - first };
                let columns = column..self.columns.end.min(column + width);
                let (adds, is_last) = (part > 0 || self.product.epilogue.accumulate, part + 1 == parts);
                let first = form.words(first);
                let part = Part { columns, first, steps, b, b_step, next, later, adds, is_last };
                self.rows(simd, &mut engine, part);
            }
        }
        engine.end(simd);
        if widens {
            COLUMNS.set(wide);
        }
    }

    /// All rows, tile by tile, for a part of some columns.
    #[inline(always)]
    fn rows<'a, S: Simd, E: Engine<S, T, Write<'a, K, T>>>(
        &'a self,
        simd: S,
        engine: &mut E,
        part: Part<'_>,
    ) {
        let Operand { words, row: a_row, zeros, .. } = self.product.x;
        let Part { columns, steps, b_step, mut later, .. } = part;
        let tiles = self.rows.len().div_ceil(E::ROWS);
        // What forms columns divides it by itself.
        let later_step =
            if engine.forms_columns() { 0 } else { later.len().div_ceil(tiles * steps.max(1)).min(PANEL) };
        let width = engine.width();
        let takes_turns = (2..=E::KEEPS).contains(&tiles) && steps * width > 2 * TURN;
        let turn = if takes_turns { TURN / width } else { steps.max(1) };
        for begin in (0..steps.max(1)).step_by(turn) {
            let end = steps.min(begin + turn);
            let (mut row, mut place) = (self.rows.start, 0);
            while row < self.rows.end {
                let rows = tile::next_rows(self.rows.end - row, E::ROWS);
                let operands = Operands {
                    a: words[row * a_row + part.first + begin..].as_ptr(),
                    a_row: *a_row,
                    a_step: 1,
                    b: part.b[begin * b_step..].as_ptr(),
                    b_step,
                    zeros: zeros.as_ptr().wrapping_add(row),
                    totals: self.product.weight.totals().as_ptr().wrapping_add(columns.start),
                    steps: end - begin,
                    next: part.next,
                    turn: Turn { resumes: begin > 0, keeps: end < steps, place },
                    later,
                    later_step: if later.is_empty() { 0 } else { later_step },
                    expected: Some(self.expected(row, columns.start)),
                };
                later = &later[later.len().min(operands.steps * later_step)..];
                let write = Write {
                    block: self,
                    row,
                    columns: columns.clone(),
                    adds: part.adds,
                    is_last: part.is_last,
                };
                // SAFETY: `rows` rows of x begin at `row` and have the words of all parts in this form at least, for a matrix unit filled up to a
                // multiple of its steps; for each of `steps` steps, `b` has `b_step` words, of which a panel has 64 and columns in another form the
                // width of a tile at least, and the columns of a tile do not go beyond their panel; for int8, there is a zero for each row and a
                // total for each column of each panel, as long as the product lasts.
                unsafe { engine.tile(simd, rows, columns.len(), operands, write) };
                row += rows;
                place += usize::from(takes_turns);
            }
        }
    }

    /// What [`Write`] reads and writes for a tile that begins here.
    #[inline(always)]
    fn expected(&self, row: usize, column: usize) -> Expected {
        let n = self.product.weight.outputs();
        let out = self.product.out.get().cast_const();
        let other = self.product.epilogue.residual.map_or(out, <[f32]>::as_ptr);
        let places = [out, other].map(|place| place.wrapping_add(row * n + column));
        Expected { places, row: n }
    }

    /// The words of the weight that are needed after part `part` of the panel of this column: of the next panel, or the next part; or if these were the
    /// last, of the next task. None at other columns than the first of a panel: once is enough.
    fn later(&self, column: usize, part: usize, parts: usize, steps: usize) -> (&[u32], &[u32]) {
        let all = self.product.weight.inputs().div_ceil(K::GROUP);
        let words = |panel: usize, part: usize| {
            let (first, last) = ((part * steps).min(all), ((part + 1) * steps).min(all));
            &self.product.weight.words()[(panel * all + first) * PANEL..(panel * all + last) * PANEL]
        };
        match self.next {
            _ if !column.is_multiple_of(PANEL) => (&[], &[]),
            _ if column + PANEL < self.columns.end => (words(column / PANEL + 1, part), &[]),
            _ if part + 1 < parts => (words(self.columns.start / PANEL, part + 1), &[]),
            Some(next) => (&[], words(next, 0)),
            None => (&[], &[]),
        }
    }
}

/// Adds a tile to what the earlier parts of k, or earlier products, left in `out`; after the last part, applies the epilogue.
struct Write<'a, K, T> {
    block: &'a Block<'a, K, T>,
    /// The first row of the tile.
    row: usize,
    columns: Range<usize>,
    adds: bool,
    is_last: bool,
}

impl<K: Kind, T: Kind, S: Simd> Finish<S> for Write<'_, K, T> {
    #[inline(always)]
    fn rows(&self, simd: S, rows: Range<usize>, sums: &[[f32; PANEL]]) {
        let Epilogue { bias, activation, residual, .. } = self.block.product.epilogue;
        let bias = bias.filter(|_| self.is_last);
        let residual = residual.filter(|_| self.is_last);
        let activation = if self.is_last { activation } else { Activation::Identity };
        let last = Epilogue { bias, activation, residual, accumulate: self.adds };
        // What nearly all tiles are is a loop of its own: it asks nothing for each vector.
        if bias.is_some() && residual.is_none() && !self.adds && self.columns.len() == tile::width::<S>() {
            self.write::<S, true>(simd, rows, sums, last);
        } else {
            self.write::<S, false>(simd, rows, sums, last);
        }
    }
}

impl<K: Kind, T: Kind> Write<'_, K, T> {
    /// Writes the sums of a tile, scaled, after `last`. `PLAIN`: there are whole vectors, and nothing but a bias and an activation. No closures, which the
    /// compiler may choose not to inline: by themselves they would not be compiled for the instruction set, and five times as slow.
    #[inline(always)]
    fn write<S: Simd, const PLAIN: bool>(
        &self,
        simd: S,
        rows: Range<usize>,
        sums: &[[f32; PANEL]],
        last: Epilogue<'_>,
    ) {
        let (product, columns) = (self.block.product, &self.columns);
        let n = product.weight.outputs();
        for (row, sums) in (self.row + rows.start..).zip(&sums[rows]) {
            let own = simd.splat(if K::GROUP == 4 { product.x.scales[row] } else { 1.0 });
            for column in columns.clone().step_by(S::LANES) {
                let at = row * n + column;
                let width = if PLAIN { S::LANES } else { S::LANES.min(columns.end - column) };
                // SAFETY: row < m and column + width ≤ n, so this lies in `out`; it belongs to this block.
                let out = unsafe { std::slice::from_raw_parts_mut(product.out.get().add(at), width) };
                let mut y = simd.load(&sums[column - columns.start..]);
                if K::GROUP == 4 {
                    // There are scales for whole panels.
                    y = simd.mul(y, simd.mul(simd.load(&product.weight.scales()[column..]), own));
                }
                if !PLAIN && last.accumulate {
                    y = simd.add(load(simd, out, width), y);
                }
                if let Some(bias) = last.bias {
                    y = simd.add(y, load(simd, &bias[column..], width));
                }
                y = activation::vector(simd, y, last.activation);
                if !PLAIN && let Some(residual) = last.residual {
                    y = simd.add(y, load(simd, &residual[at..], width));
                }
                if width == S::LANES { simd.store(y, out) } else { simd.store_part(y, out) }
            }
        }
    }
}

/// The first `width` numbers, at most a vector.
#[inline(always)]
fn load<S: Simd>(simd: S, from: &[f32], width: usize) -> S::Vector {
    if width == S::LANES { simd.load(from) } else { simd.load_part(&from[..width]) }
}
