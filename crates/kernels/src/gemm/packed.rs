//! Weights in the order in which a product reads them.

use super::WeightType;
use super::operand::{as_bytes, as_halves, as_words};
use super::tile::PANEL;
use crate::buffer::Buffer;
use crate::simd::math::SHIFT;
use crate::simd::{Kernel, Simd, isa};
use crate::threads;
use crate::transpose::Transpose;

/// A weight `[outputs, inputs]`, packed once.
///
/// Panels of 64 outputs; within a panel step by step, a step being 1, 2 or 4 inputs (f32, bf16, int8) of each of the 64
/// outputs: the words of a step lie side by side, one per output, its inputs in ascending order from the lowest byte. The
/// last step and the last panel are filled up with zeros. The layout is the same for all instruction sets.
///
/// int8 is symmetric per output: weight = integer · scale, the largest magnitude is 127.
#[derive(Debug)]
pub struct PackedMatrix {
    kind: WeightType,
    outputs: usize,
    inputs: usize,
    panels: Buffer,
    /// For int8, a scale per output, whole panels.
    scales: Vec<f32>,
    /// For int8, Σ (integers) per output: the byte that stands for zero in the left operand, times this, is taken out of each
    /// sum. Whole panels.
    totals: Vec<i32>,
    /// The longest chain of a sum in f32, in steps.
    chain: usize,
    /// The least numbers that a weight has if it is split for a matrix unit.
    least_split: usize,
}

/// A weight `[outputs, inputs]` as it lies in memory: row-major, or, if `transposed`, column after column.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a> {
    pub(super) values: &'a [f32],
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) transposed: bool,
}

impl Default for PackedMatrix {
    /// Of no outputs: memory for `repack`.
    fn default() -> Self {
        let panels = Buffer::zeros(0);
        Self {
            kind: WeightType::F32,
            outputs: 0,
            inputs: 0,
            panels,
            scales: Vec::new(),
            totals: Vec::new(),
            chain: CHAIN,
            least_split: LEAST_SPLIT,
        }
    }
}

/// Longest chain of a sum in f32, in steps; longer sums are cut into equal parts, which are added in order. A part of a panel (128 KiB)
/// and of the rows beside it stay in the level-2 cache.
const CHAIN: usize = 512;

/// Of 4 MiB on, a weight comes from memory, and splitting it costs a single sentence nothing. What lies in a cache is split for few rows in more time
/// than it is multiplied by vectors, and the number of rows may not choose: it would show in the last bits.
const LEAST_SPLIT: usize = 1 << 20;

/// The most inputs of an int8 weight: more could overflow 32 bits.
const MOST_INT8_INPUTS: usize = 1 << 16;

impl PackedMatrix {
    /// Packs a row-major weight `[n, k]`. Panics for int8 with more than 65,536 inputs.
    pub fn pack(weight: &[f32], n: usize, k: usize, kind: WeightType) -> Self {
        if kind != WeightType::Int8 {
            let mut packed = Self::default();
            packed.repack(Plain { values: weight, outputs: n, inputs: k, transposed: false }, kind);
            return packed;
        }
        assert_eq!(Some(weight.len()), n.checked_mul(k), "a weight of [{n}, {k}]");
        assert!(k <= MOST_INT8_INPUTS, "{k} inputs are too many for int8");
        let panel = k.div_ceil(kind.group()) * PANEL;
        let count = n.div_ceil(PANEL);
        let mut panels = Buffer::zeros(count * panel);
        let rows = |i: usize| &weight[i * PANEL * k..((i + 1) * PANEL).min(n) * k];
        let (mut scales, mut totals) = (vec![0.0; count * PANEL], vec![0; count * PANEL]);
        let isa = isa();
        threads::pieces(&mut scales, PANEL, |i, scales| {
            for (row, scale) in rows(i).chunks_exact(k.max(1)).zip(scales) {
                *scale = row.iter().fold(0.0f32, |largest, w| largest.max(w.abs())) / 127.0;
            }
        });
        if panel > 0 {
            threads::pieces(panels.words_mut(), panel, |i, panel| {
                isa.run(FillRows {
                    rows: rows(i),
                    k,
                    group: kind.group(),
                    scales: &scales[i * PANEL..],
                    panel,
                });
            });
            let words = panels.words();
            threads::pieces(&mut totals, PANEL, |i, totals| {
                for step in words[i * panel..][..panel].chunks_exact(PANEL) {
                    for (total, word) in totals.iter_mut().zip(step) {
                        let bytes = word.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
                        *total += bytes.iter().sum::<i32>();
                    }
                }
            });
        }
        Self { kind, outputs: n, inputs: k, panels, scales, totals, chain: CHAIN, least_split: LEAST_SPLIT }
    }

    /// [`PackedMatrix::pack`] in f32 for [`super::dots`]: products are those, to the bit. Their chains are short, so that scores are
    /// nearly as exact as f32 can hold them.
    pub fn for_similarity(rows: &[f32], n: usize, k: usize) -> Self {
        Self { chain: super::plain::CHAIN, ..Self::pack(rows, n, k, WeightType::F32) }
    }

    /// Whether a matrix unit takes this weight of f32 in parts (`split.rs`). Not for similarity, which has the bits of [`super::dots`].
    pub(super) fn splits(&self) -> bool {
        self.kind == WeightType::F32 && self.chain == CHAIN && self.outputs * self.inputs >= self.least_split
    }

    /// Also if it is small.
    #[cfg(test)]
    pub(super) fn split_if_small(self) -> Self {
        Self { least_split: 0, ..self }
    }

    /// How many parts a sum is cut into.
    pub(super) fn parts(&self) -> usize {
        match self.kind {
            // Sums of integers need none: they are exact.
            WeightType::Int8 => 1,
            kind => self.inputs.div_ceil(kind.group()).div_ceil(self.chain).max(1),
        }
    }

    /// Packs integers `[n, k]` as they are, with a scale of one. Panics with more than 65,536 inputs.
    pub fn from_int8(weight: &[i8], n: usize, k: usize) -> Self {
        assert_eq!(Some(weight.len()), n.checked_mul(k), "a weight of [{n}, {k}]");
        assert!(k <= MOST_INT8_INPUTS, "{k} inputs are more than the {MOST_INT8_INPUTS} of an int8 weight");
        let steps = k.div_ceil(4);
        let columns = n.div_ceil(PANEL) * PANEL;
        let mut panels = Buffer::zeros(columns * steps);
        let mut totals = vec![0; columns];
        for (row, weight) in weight.chunks_exact(k.max(1)).enumerate() {
            let panel = &mut panels.words_mut()[row / PANEL * PANEL * steps..][..PANEL * steps];
            for (step, group) in weight.chunks(4).enumerate() {
                let mut bytes = [0; 4];
                bytes.iter_mut().zip(group).for_each(|(byte, w)| *byte = w.cast_unsigned());
                panel[step * PANEL + row % PANEL] = u32::from_le_bytes(bytes);
            }
            totals[row] = weight.iter().map(|&w| i32::from(w)).sum();
        }
        Self {
            kind: WeightType::Int8,
            outputs: n,
            inputs: k,
            panels,
            scales: vec![1.0; columns],
            totals,
            chain: CHAIN,
            least_split: LEAST_SPLIT,
        }
    }

    /// Packs another matrix into the memory of this one: for a weight that changes from product to product. Panics for
    /// int8, whose weights do not change.
    pub(super) fn repack(&mut self, matrix: Plain<'_>, kind: WeightType) {
        assert!(kind != WeightType::Int8, "int8 weights do not change");
        let Plain { values, outputs: n, inputs: k, transposed } = matrix;
        assert_eq!(Some(values.len()), n.checked_mul(k), "a weight of [{n}, {k}]");
        let panel = k.div_ceil(kind.group()) * PANEL;
        let words = n.div_ceil(PANEL) * panel;
        if self.panels.words().len() < words {
            self.panels = Buffer::zeros(words);
        }
        (self.kind, self.outputs, self.inputs) = (kind, n, k);
        if words == 0 {
            return;
        }
        let isa = isa();
        threads::pieces(&mut self.panels.words_mut()[..words], panel, |i, panel| {
            let columns = i * PANEL..((i + 1) * PANEL).min(n);
            match (transposed, kind) {
                (true, _) => isa.run(FillTransposed { values, n, columns, group: kind.group(), panel }),
                (false, _) => {
                    let rows = &values[columns.start * k..columns.end * k];
                    isa.run(FillRows { rows, k, group: kind.group(), scales: &[], panel });
                }
            }
        });
    }

    /// A weight that was packed before, from its parts. `scales` are those of [`PackedMatrix::scales`].
    ///
    /// # Errors
    /// If the parts do not have the sizes that the weight needs, or a scale is not a finite number.
    pub fn from_parts(
        kind: WeightType,
        n: usize,
        k: usize,
        panels: Buffer,
        scales: Vec<f32>,
        totals: Vec<i32>,
    ) -> Result<Self, String> {
        let columns = n.div_ceil(PANEL).checked_mul(PANEL);
        let words = columns.and_then(|columns| columns.checked_mul(k.div_ceil(kind.group())));
        if words != Some(panels.words().len()) {
            return Err(format!(
                "{} words are not a packed {kind} weight of [{n}, {k}]",
                panels.words().len()
            ));
        }
        let expected = if kind == WeightType::Int8 { columns.unwrap_or(0) } else { 0 };
        for (what, found) in [("scales", scales.len()), ("totals", totals.len())] {
            if found != expected {
                return Err(format!(
                    "{found} {what} are not the {expected} of a packed {kind} weight of [{n}, {k}]"
                ));
            }
        }
        if kind == WeightType::Int8 && k > MOST_INT8_INPUTS {
            return Err(format!("{k} inputs are more than the {MOST_INT8_INPUTS} of an int8 weight"));
        }
        if let Some(scale) = scales.iter().find(|scale| !scale.is_finite()) {
            return Err(format!("a scale is {scale}"));
        }
        Ok(Self {
            kind,
            outputs: n,
            inputs: k,
            panels,
            scales,
            totals,
            chain: CHAIN,
            least_split: LEAST_SPLIT,
        })
    }

    /// The type of the numbers.
    pub fn kind(&self) -> WeightType {
        self.kind
    }

    /// n: the width of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// k: the width of the operand.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The numbers of one row of the weight, `[inputs]`, as they are packed. Panics if there is no such row.
    pub fn row(&self, row: usize) -> Vec<f32> {
        assert!(row < self.outputs, "row {row} of {}", self.outputs);
        let steps = self.inputs.div_ceil(self.kind.group());
        let words = &self.words()[row / PANEL * PANEL * steps..][..PANEL * steps];
        let mut numbers = Vec::with_capacity(steps * self.kind.group());
        for &word in words[row % PANEL..].iter().step_by(PANEL) {
            match self.kind {
                WeightType::F32 => numbers.push(f32::from_bits(word)),
                WeightType::Bf16 => {
                    numbers.extend([f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000)])
                }
                WeightType::Int8 => {
                    let scale = self.scales[row];
                    numbers.extend(word.to_le_bytes().map(|byte| f32::from(byte.cast_signed()) * scale));
                }
            }
        }
        numbers.truncate(self.inputs);
        numbers
    }

    /// Says that a product begins ([`Buffer::used`]).
    pub(super) fn used(&self) {
        self.panels.used();
    }

    /// The packed words, panel after panel.
    pub fn words(&self) -> &[u32] {
        self.panels.words()
    }

    /// For int8, a scale per output, filled up to whole panels; else empty.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// For int8, Σ (integers) per output, filled up to whole panels; else empty.
    pub fn totals(&self) -> &[i32] {
        &self.totals
    }
}

/// Fills one panel from at most 64 rows of k numbers, for int8 with the scales of these rows.
///
/// Numbers are rounded in the same way on every machine, down to the smallest: the words may go into a file.
struct FillRows<'a> {
    rows: &'a [f32],
    k: usize,
    group: usize,
    scales: &'a [f32],
    panel: &'a mut [u32],
}

impl Kernel for FillRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Steps at a time: a line of the cache from each row.
        const STEPS: usize = 16;
        let mut words = [0; PANEL * STEPS];
        for (block, panel) in self.panel.chunks_mut(STEPS * PANEL).enumerate() {
            let first = block * STEPS * self.group;
            let numbers = first..(first + STEPS * self.group).min(self.k);
            for (j, row) in self.rows.chunks_exact(self.k).enumerate() {
                let (from, words) = (&row[numbers.clone()], &mut words[j * STEPS..][..STEPS]);
                // What is left of an earlier block.
                if numbers.len() < STEPS * self.group {
                    words.fill(0);
                }
                // Loops that the compiler makes vectors of.
                match self.group {
                    1 => words[..from.len()].copy_from_slice(as_words(from)),
                    2 => as_halves(words).iter_mut().zip(from).for_each(|(to, &x)| *to = bf16(x)),
                    _ => {
                        let scale = self.scales[j];
                        as_bytes(words).iter_mut().zip(from).for_each(|(to, &x)| *to = int8(x, scale));
                    }
                }
            }
            let columns = panel.len() / PANEL;
            let (rows, from_row) = (PANEL, STEPS);
            Transpose { from: &words, from_row, rows, columns, to: panel, to_row: PANEL }.run(simd);
        }
    }
}

/// Fills one panel, the columns `columns` of `values` `[inputs, n]`: what lies side by side stays side by side.
struct FillTransposed<'a> {
    values: &'a [f32],
    n: usize,
    columns: std::ops::Range<usize>,
    group: usize,
    panel: &'a mut [u32],
}

impl Kernel for FillTransposed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row = |i: usize| self.values.get(i * self.n..).unwrap_or_default().get(self.columns.clone());
        for (step, words) in self.panel.chunks_exact_mut(PANEL).enumerate() {
            let first = row(step * self.group).unwrap_or_default();
            match (self.group, row(step * 2 + 1)) {
                (1, _) => words.iter_mut().zip(first).for_each(|(word, x)| *word = x.to_bits()),
                (_, Some(second)) => {
                    for (word, (&low, &high)) in words.iter_mut().zip(first.iter().zip(second)) {
                        *word = u32::from(bf16(high)) << 16 | u32::from(bf16(low));
                    }
                }
                (_, None) => words.iter_mut().zip(first).for_each(|(word, &low)| *word = bf16(low).into()),
            }
        }
    }
}

/// x / scale to the nearest integer, ties to even, as its byte; zero for a scale of zero, and for what is not finite.
#[inline(always)]
fn int8(x: f32, scale: f32) -> u8 {
    let quotient = if scale > 0.0 && x.is_finite() { x / scale } else { 0.0 };
    // Beyond, where the scale is so small that it is rounded itself.
    (quotient.clamp(-128.0, 127.0) + SHIFT).to_bits() as u8
}

/// To the nearest, ties to even.
#[inline(always)]
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = if x.is_nan() { bits | 0x40_0000 } else { bits + 0x7FFF + (bits >> 16 & 1) };
    (rounded >> 16) as u16
}
