//! Products with a weight that was packed once, bias, activation and residual included.

use rayon::prelude::*;

use super::Shared;
use super::tile::{self, Operands, PANEL};
use crate::activation::{self, Activation};
use crate::simd::{Isa, Kernel, Simd, isa};

/// A weight `[outputs, inputs]` in the order in which a product reads it: panels of 16 outputs, within a panel input by
/// input, the last panel filled up with zeros.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<f32>,
}

impl PackedMatrix {
    /// Packs a row-major weight `[n, k]`.
    pub fn pack(weight: &[f32], n: usize, k: usize) -> Self {
        assert_eq!(Some(weight.len()), n.checked_mul(k), "a weight of [{n}, {k}]");
        let mut panels = vec![0.0; n.div_ceil(PANEL) * k * PANEL];
        if k > 0 {
            panels.par_chunks_exact_mut(k * PANEL).zip(weight.par_chunks(PANEL * k)).for_each(
                |(panel, rows)| {
                    // Blocks of inputs, so that the lines being written stay in the cache.
                    for first in (0..k).step_by(PANEL) {
                        let last = (first + PANEL).min(k);
                        for (j, row) in rows.chunks_exact(k).enumerate() {
                            for p in first..last {
                                panel[p * PANEL + j] = row[p];
                            }
                        }
                    }
                },
            );
        }
        Self { outputs: n, inputs: k, panels }
    }

    /// n: the width of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// k: the width of the operand.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// What happens to a product before it is written: `activation(product + bias) + residual`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, added to each row. Default: none.
    pub bias: Option<&'a [f32]>,
    /// Applied after the bias. Default: identity.
    pub activation: Activation,
    /// `[m, n]`, added after the activation. Default: none.
    pub residual: Option<&'a [f32]>,
}

/// Longest part of k: a part of a panel (32 KiB) and of the rows beside it stay in the level-2 cache.
const STEPS: usize = 512;
/// Most rows of a task.
const ROWS: usize = 96;
/// Most columns of a task.
const COLUMNS: usize = 192;
/// Multiply-adds of a task at least (some ten microseconds), if there are threads to feed.
const WORK: usize = 1 << 19;

/// `out = activation(x wᵀ + bias) + residual`, x `[m, inputs]`, out `[m, outputs]`.
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
    let (n, k) = (weight.outputs, weight.inputs);
    assert_eq!(Some(x.len()), m.checked_mul(k), "an operand of [{m}, {k}]");
    assert_eq!(Some(out.len()), m.checked_mul(n), "a result of [{m}, {n}]");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == n), "a bias of [{n}]");
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == m * n), "a residual of [{m}, {n}]");
    if out.is_empty() {
        return;
    }
    let threads = rayon::current_num_threads();
    let rows = m.div_ceil(m.div_ceil(ROWS)).next_multiple_of(6);
    let row_blocks = m.div_ceil(rows);
    // Enough tasks for every thread, none too small, columns in whole panels.
    let smallest = (WORK / (rows.min(m) * k.max(1))).max(1);
    let wanted = n.div_ceil((4 * threads).div_ceil(row_blocks));
    let columns =
        if threads == 1 { COLUMNS } else { wanted.max(smallest).min(COLUMNS) }.next_multiple_of(2 * PANEL);
    let column_blocks = n.div_ceil(columns);
    let shared = Shared(out.as_mut_ptr());
    // Neighboring tasks share columns: this part of the weight is read from memory once.
    let task = |index: usize| {
        let (row, column) = (index % row_blocks * rows, index / row_blocks * columns);
        let block = Block {
            x,
            weight,
            epilogue,
            out: shared,
            rows: row..(row + rows).min(m),
            columns: column..(column + columns).min(n),
        };
        isa.run(block);
    };
    let tasks = row_blocks * column_blocks;
    if threads == 1 || tasks == 1 || m * n * k < 2 * WORK {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Some rows and columns of the result. `out` is all of it; nobody else touches these rows and columns meanwhile.
struct Block<'a> {
    x: &'a [f32],
    weight: &'a PackedMatrix,
    epilogue: Epilogue<'a>,
    out: Shared,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (n, k) = (self.weight.outputs, self.weight.inputs);
        let parts = k.div_ceil(STEPS).max(1);
        let steps = k.div_ceil(parts);
        let mut sums = [[0.0; 2 * PANEL]; 6];
        for part in 0..parts {
            let (first, last) = ((part * steps).min(k), ((part + 1) * steps).min(k));
            // With few rows, two panels at once: there would be too few independent sums in one.
            let panels = if self.rows.len() <= 2 { 2 } else { 1 };
            for column in self.columns.clone().step_by(panels * PANEL) {
                let width = (panels * PANEL).min(self.columns.end - column);
                let mut row = self.rows.start;
                while row < self.rows.end {
                    let rows = tile::next_rows(self.rows.end - row, S::TILE_ROWS);
                    let operands = Operands {
                        a: self.x[row * k + first..].as_ptr(),
                        a_row: k,
                        a_step: 1,
                        b: self.weight.panels[column / PANEL * k * PANEL + first * PANEL..].as_ptr(),
                        b_step: PANEL,
                        b_panel: k * PANEL,
                        steps: last - first,
                    };
                    // SAFETY: `rows` rows of x begin at `row`, as `gemm_on` checked; the weight has a panel of k steps
                    // for each 16 columns begun, hence two if `width` exceeds one.
                    unsafe {
                        match rows {
                            1 if width > PANEL => tile::tile::<S, 1, 4>(simd, operands, &mut sums),
                            2 if width > PANEL => tile::tile::<S, 2, 4>(simd, operands, &mut sums),
                            _ => tile::one_panel(simd, rows, operands, &mut sums),
                        }
                    }
                    for i in 0..rows {
                        let at = (row + i) * n + column;
                        // SAFETY: row + i < m and column + width ≤ n, so this lies in `out`; it belongs to this block.
                        let out = unsafe { std::slice::from_raw_parts_mut(self.out.0.add(at), width) };
                        self.finish(simd, &mut sums[i][..width], at, column, part, part + 1 == parts, out);
                    }
                    row += rows;
                }
            }
        }
    }
}

impl Block<'_> {
    /// Adds one row of a tile to what the earlier parts of k left in `out`; after the last, applies the epilogue.
    #[inline(always)]
    fn finish<S: Simd>(
        &self,
        simd: S,
        sums: &mut [f32],
        at: usize,
        column: usize,
        part: usize,
        is_last: bool,
        out: &mut [f32],
    ) {
        let width = out.len();
        for first in (0..width).step_by(S::LANES) {
            let here = first..(first + S::LANES).min(width);
            let whole = here.len() == S::LANES;
            let load = |from: &[f32]| if whole { simd.load(from) } else { simd.load_part(from) };
            let mut y = load(&sums[here.clone()]);
            if part > 0 {
                y = simd.add(load(&out[here.clone()]), y);
            }
            if is_last {
                if let Some(bias) = self.epilogue.bias {
                    y = simd.add(y, load(&bias[column..][here.clone()]));
                }
                y = activation::vector(simd, y, self.epilogue.activation);
                if let Some(residual) = self.epilogue.residual {
                    y = simd.add(y, load(&residual[at..][here.clone()]));
                }
            }
            if whole { simd.store(y, &mut out[here]) } else { simd.store_part(y, &mut out[here]) }
        }
    }
}
