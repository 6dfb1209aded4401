//! Attention itself, for inference and training.
//!
//! A task is some queries of some heads of one sentence. It goes through the queries in blocks, for which scores are held as
//! `[length, block]`: memory grows with the length, not with its square. Scores = K · Qᵀ, result = scoresᵀ · V. What products read is
//! copied first, in the type in which they are computed: rows of `qkv` lie a multiple of 4096 bytes apart in many models, and the cache holds
//! few such lines at once.

use std::marker::PhantomData;
use std::ops::Range;

use super::parts::{Scratch, gather, gather_groups, group_rows, product, softmax};
use super::{AttentionShape, BLOCK, PANEL, WORK, checked_tokens};
use crate::dropout::Dropout;
use crate::gemm::WeightType;
use crate::gemm::operand::{as_words, as_words_mut};
use crate::gemm::tile::{Bf16, F32, Kind};
use crate::simd::matrix::{MATRIX_COLUMNS, MATRIX_ROWS, MATRIX_STEPS, MatrixOperands, MatrixUnit};
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads::{self, Shared};
use crate::transpose::Transpose;

/// softmax(Q Kᵀ / √D) V for each head of each sentence: every token attends to every token of its own sentence.
///
/// Dropout multiplies the probabilities after the softmax, as in PyTorch: query t (a token of the batch) of head h is row
/// `h · tokens + t` of the mask, a key's place in its sentence is the column.
///
/// `kind` is the type of the weights around it. With [`WeightType::F32`], all is computed in f32. With the others, where the machine multiplies
/// bf16 faster, operands of both products are rounded to bf16 (with a matrix unit, those of sentences that are long enough for it); sums and softmax
/// are f32 always, and so is all of it elsewhere.
///
/// `qkv` `[tokens, 3 · heads · D]` holds Q, K and V side by side, head h in columns `h·D..(h + 1)·D` of each; sentence s
/// is tokens `offsets[s]..offsets[s + 1]`; `out` is `[tokens, heads · D]`. Panics if offsets decrease or do not cover all tokens.
pub fn attention(
    qkv: &[f32],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    kind: WeightType,
    out: &mut [f32],
) {
    let isa = isa();
    if kind != WeightType::F32 && isa.has_fast_bf16() {
        attention_on::<Bf16>(isa, qkv, offsets, shape, dropout, out);
    } else {
        attention_on::<F32>(isa, qkv, offsets, shape, dropout, out);
    }
}

pub(super) fn attention_on<K: Kind>(
    isa: Isa,
    qkv: &[f32],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    out: &mut [f32],
) {
    let tokens = checked_tokens(qkv, offsets, shape, out);
    if out.is_empty() {
        return;
    }
    let out = Shared(out.as_mut_ptr());
    let tasks = tasks(offsets, shape);
    threads::parallel(tasks.len(), |i| {
        let Task { sentence, heads, queries } = tasks[i].clone();
        if K::GROUP > 1 && isa.has_matrix_unit() && !suits_unit(sentence.len(), shape) {
            let kind = PhantomData;
            isa.run(Heads::<F32> { qkv, shape, dropout, out, tokens, sentence, heads, queries, kind });
        } else {
            let kind = PhantomData;
            isa.run(Heads::<K> { qkv, shape, dropout, out, tokens, sentence, heads, queries, kind });
        }
    });
}

/// Whether a matrix unit, which takes whole blocks of queries, is the fastest for a sentence.
fn suits_unit(length: usize, shape: AttentionShape) -> bool {
    length >= BLOCK && shape.head_dim.is_multiple_of(2 * MATRIX_STEPS)
}

/// Some heads of some queries of a sentence; the queries are counted from its start.
#[derive(Clone)]
struct Task {
    sentence: Range<usize>,
    heads: Range<usize>,
    queries: Range<usize>,
}

/// Queries of a task at least, unless threads would have nothing to do: each task copies all keys and values, which takes a matrix unit as long as the
/// products of some blocks of queries.
const QUERIES: usize = 8 * BLOCK;

/// Divides the work: several heads of a short sentence, some blocks of queries of one head of a long one.
fn tasks(offsets: &[usize], shape: AttentionShape) -> Vec<Task> {
    let heads = (offsets.len() - 1) * shape.heads;
    let least_queries = if heads < 2 * rayon::current_num_threads() { BLOCK } else { QUERIES };
    let mut tasks = Vec::new();
    for ends in offsets.windows(2) {
        let length = ends[1] - ends[0];
        if length == 0 {
            continue;
        }
        let of_query = (2 * length * shape.head_dim).max(1);
        let heads_at_once = (WORK / (of_query * length)).clamp(1, shape.heads);
        let queries_at_once = (WORK / of_query).max(least_queries).next_multiple_of(BLOCK);
        for head in (0..shape.heads).step_by(heads_at_once) {
            for query in (0..length).step_by(queries_at_once) {
                tasks.push(Task {
                    sentence: ends[0]..ends[1],
                    heads: head..(head + heads_at_once).min(shape.heads),
                    queries: query..(query + queries_at_once).min(length),
                });
            }
        }
    }
    tasks
}

/// A [`Task`], computed in numbers of kind K. `out` is that of all; nobody else writes the rows of these queries in the columns of these heads.
struct Heads<'a, K> {
    qkv: &'a [f32],
    shape: AttentionShape,
    dropout: Dropout,
    out: Shared<f32>,
    tokens: usize,
    sentence: Range<usize>,
    heads: Range<usize>,
    queries: Range<usize>,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Heads<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if K::GROUP > 1
            && let Some(unit) = simd.matrix_unit()
        {
            return self.by_unit(simd, unit);
        }
        let (width, dim, length) = (self.shape.width(), self.shape.head_dim, self.sentence.len());
        // Rows are padded with zeros to whole panels, and, where a word holds several numbers, keys to whole words.
        let padded = dim.next_multiple_of(PANEL);
        let (row, groups) = (padded / K::GROUP, length.div_ceil(K::GROUP));
        let block = BLOCK.min(self.queries.len().next_multiple_of(PANEL));
        let masked = if self.dropout.is_none() { 0 } else { length };
        let total =
            length * row + groups * padded + 2 * block * row + block * (padded + length) + masked * PANEL;
        let mut scratch = Scratch::take();
        let mut room = scratch.room(total);
        let (keys, values) = (room.take(length * row), room.take(groups * padded));
        let [queries, queries_across] = [0; 2].map(|_| room.take(block * row));
        let (results, weights) = (room.take(block * padded), room.take(length * block));
        let factors = room.take(masked * PANEL);
        let scale = 1.0 / (dim as f32).sqrt();

        for head in self.heads.clone() {
            let own = &self.qkv[self.sentence.start * 3 * width + head * dim..];
            gather::<S, K>(simd, &own[width..], 3 * width, dim, 1.0, keys);
            gather_groups::<S, K>(simd, &own[2 * width..], 3 * width, (length, dim), values);
            for first in self.queries.clone().step_by(block) {
                let count = block.min(self.queries.end - first);
                // Beyond `count` there are queries of zeros, whose results nobody reads.
                let columns = count.next_multiple_of(PANEL);
                gather::<S, K>(
                    simd,
                    &own[first * 3 * width..],
                    3 * width,
                    dim,
                    scale,
                    &mut queries[..count * row],
                );
                queries[count * row..columns * row].fill(0.0);
                across(simd, queries, [columns, row], queries_across);

                let weights = &mut weights[..length * columns];
                product::<S, K>(simd, keys, (row, 1), queries_across, [length, columns, row], false, weights);
                let inverse = self.weigh(simd, head, first, columns, factors, weights);
                product::<S, K>(simd, weights, (1, columns), values, [count, padded, groups], false, results);
                self.scatter(simd, first, head * dim, &inverse, &results[..count * padded]);
            }
        }
    }
}

impl<K: Kind> Heads<'_, K> {
    /// All of it by a matrix unit, for sentences that suit it; K is bf16. Its left operand has the numbers of a sum side by side, so the second product is
    /// resultᵀ = Vᵀ · scores.
    #[inline(always)]
    fn by_unit<S: Simd>(&self, simd: S, mut unit: S::Matrix) {
        let (width, dim, length) = (self.shape.width(), self.shape.head_dim, self.sentence.len());
        // Pairs of keys are filled up with zeros to whole steps.
        let (row, groups, pairs) =
            (dim / 2, length.div_ceil(2), length.div_ceil(2).next_multiple_of(MATRIX_STEPS));
        let masked = if self.dropout.is_none() { 0 } else { length };
        let mut scratch = Scratch::take();
        let mut room = scratch
            .room(length * row + 2 * pairs * dim + 3 * BLOCK * dim + 2 * pairs * BLOCK + masked * PANEL);
        let (keys, values, values_across) =
            (room.take(length * row), room.take(pairs * dim), room.take(pairs * dim));
        let [queries, queries_across] = [0; 2].map(|_| room.take(BLOCK * row));
        let [results, results_across] = [0; 2].map(|_| room.take(BLOCK * dim));
        let (weights, factors) = (room.take(2 * pairs * BLOCK), room.take(masked * PANEL));
        let scale = 1.0 / (dim as f32).sqrt();

        for head in self.heads.clone() {
            let own = &self.qkv[self.sentence.start * 3 * width + head * dim..];
            gather::<S, K>(simd, &own[width..], 3 * width, dim, 1.0, keys);
            gather_groups::<S, K>(
                simd,
                &own[2 * width..],
                3 * width,
                (length, dim),
                &mut values[..groups * dim],
            );
            values[groups * dim..].fill(0.0);
            across(simd, values, [pairs, dim], values_across);
            for first in self.queries.clone().step_by(BLOCK) {
                let count = BLOCK.min(self.queries.end - first);
                let from = &own[first * 3 * width..];
                gather::<S, K>(simd, from, 3 * width, dim, scale, &mut queries[..count * row]);
                // Beyond `count` there are queries of zeros, whose results nobody reads.
                queries[count * row..].fill(0.0);
                across(simd, queries, [BLOCK, row], queries_across);

                let scores = &mut weights[..length * BLOCK];
                multiply(&mut unit, keys, queries_across, row, scores);
                let inverse = self.weigh(simd, head, first, BLOCK, factors, scores);
                weights[groups * BLOCK..pairs * BLOCK].fill(0.0);
                multiply(&mut unit, values_across, &weights[..pairs * BLOCK], pairs, results_across);
                across(simd, results_across, [dim, BLOCK], results);
                self.scatter(simd, first, head * dim, &inverse, &results[..count * dim]);
            }
        }
    }

    /// Makes weights of the scores `[length, columns]` of the queries from `first` on: softmax without its division, whose factor per query is
    /// returned; dropout, with room for its factors; and words of kind K.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        simd: S,
        head: usize,
        first: usize,
        columns: usize,
        factors: &mut [f32],
        scores: &mut [f32],
    ) -> [f32; BLOCK] {
        let mut inverse = [0.0; BLOCK];
        for lane in (0..columns).step_by(S::LANES) {
            simd.store(softmax(simd, scores, columns, lane), &mut inverse[lane..]);
        }
        if !self.dropout.is_none() {
            self.mask(simd, head, first, columns, factors, scores);
        }
        group_rows::<S, K>(simd, self.sentence.len(), columns, scores);
        inverse
    }

    /// Multiplies `[length, columns]` weights of the queries from `first` on with their factors.
    #[inline(always)]
    fn mask<S: Simd>(
        &self,
        simd: S,
        head: usize,
        first: usize,
        columns: usize,
        factors: &mut [f32],
        weights: &mut [f32],
    ) {
        for panel in (0..columns).step_by(PANEL) {
            let row = head * self.tokens + self.sentence.start + first + panel;
            self.dropout.transposed_factors(row as u32, factors);
            for (weights, factors) in weights.chunks_exact_mut(columns).zip(factors.chunks_exact(PANEL)) {
                for lane in (0..PANEL).step_by(S::LANES) {
                    let to = &mut weights[panel + lane..];
                    simd.store(simd.mul(simd.load(to), simd.load(&factors[lane..])), to);
                }
            }
        }
    }

    /// Writes padded rows, each times its factor, into the columns of `out` from `column` on, for the queries from `first` on. Columns are those
    /// of one of the heads.
    #[inline(always)]
    fn scatter<S: Simd>(&self, simd: S, first: usize, column: usize, factors: &[f32], rows: &[f32]) {
        let (width, dim) = (self.shape.width(), self.shape.head_dim);
        for (i, row) in rows.chunks_exact(dim.next_multiple_of(PANEL)).enumerate() {
            let at = (self.sentence.start + first + i) * width + column;
            // SAFETY: the token is one of the sentence and the columns are those of a head, so this lies in `out`; it belongs to
            // this task.
            let to = unsafe { std::slice::from_raw_parts_mut(self.out.get().add(at), dim) };
            let factor = simd.splat(factors[i]);
            for at in (0..dim).step_by(S::LANES) {
                let v = simd.mul(simd.load(&row[at..]), factor);
                let to = &mut to[at..];
                if to.len() >= S::LANES { simd.store(v, to) } else { simd.store_part(v, to) }
            }
        }
    }
}

/// The transpose of `[rows, columns]` words.
#[inline(always)]
fn across<S: Simd>(simd: S, from: &[f32], [rows, columns]: [usize; 2], to: &mut [f32]) {
    let (from, to) = (as_words(from), as_words_mut(to));
    Transpose { from, from_row: columns, rows, columns, to, to_row: rows }.run(simd);
}

/// A · B by a matrix unit: A `[rows, steps]` and B `[steps, BLOCK]` words of two bf16, steps whole steps of the unit; to `[rows, BLOCK]`.
#[inline(always)]
fn multiply(unit: &mut impl MatrixUnit, a: &[f32], b: &[f32], steps: usize, to: &mut [f32]) {
    const { assert!(BLOCK == MATRIX_COLUMNS, "a block of queries is what a unit takes") };
    let rows = to.len() / BLOCK;
    assert!(steps.is_multiple_of(MATRIX_STEPS) && rows * steps <= a.len(), "the first operand");
    assert!(steps * BLOCK <= b.len(), "the second operand");
    for (i, to) in to.as_chunks_mut::<BLOCK>().0.chunks_mut(MATRIX_ROWS).enumerate() {
        let (a, b) = (a[i * MATRIX_ROWS * steps..].as_ptr().cast(), b.as_ptr().cast());
        let operands = MatrixOperands { a, a_row: steps, b, b_step: BLOCK, steps };
        // SAFETY: as many rows of A as `to` has here, and all of B, are there for all steps, as was asserted above.
        unsafe { unit.multiply(Bf16::GROUP, to.len(), operands, false, to, &mut ()) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{bits, numbers, offsets, pool};
    use super::*;
    use crate::naive;

    /// What the plain loops give to `tolerance`, on any number of threads, and for each sentence alone.
    fn check<K: Kind>(
        qkv: &[f32],
        lengths: &[usize],
        shape: AttentionShape,
        dropout: Dropout,
        tolerance: f32,
    ) -> Result<(), TestCaseError> {
        let offsets = offsets(lengths);
        let mut expected = vec![0.0; offsets.last().unwrap() * shape.width()];
        naive::attention(qkv, &offsets, shape, dropout, &mut expected);
        for &isa in Isa::available() {
            let [one, two] = [1, 2].map(|threads| {
                let mut out = vec![f32::NAN; expected.len()];
                pool(threads).install(|| attention_on::<K>(isa, qkv, &offsets, shape, dropout, &mut out));
                out
            });
            prop_assert_eq!(bits(&one), bits(&two));
            for (a, e) in one.iter().zip(&expected) {
                prop_assert!((a - e).abs() <= tolerance, "{isa:?}, {lengths:?}, {shape:?}: {a} for {e}");
            }
            // The mask depends on the place in the batch.
            for s in offsets.windows(2).filter(|_| dropout.is_none()) {
                let mut alone = vec![0.0; (s[1] - s[0]) * shape.width()];
                let own = &qkv[s[0] * 3 * shape.width()..s[1] * 3 * shape.width()];
                attention_on::<K>(isa, own, &[0, s[1] - s[0]], shape, Dropout::NONE, &mut alone);
                prop_assert_eq!(&alone, &one[s[0] * shape.width()..s[1] * shape.width()]);
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn equals_the_plain_loops_and_itself_alone(
            lengths in prop::collection::vec(0usize..70, 0..5), heads in 1usize..4, head_dim in 1usize..70,
            probability in prop::sample::select(&[0.0f32, 0.1, 0.5]), seed: u32,
        ) {
            let shape = AttentionShape { heads, head_dim };
            let dropout = Dropout { probability, seed: seed.into(), stream: 7 };
            let qkv = numbers(lengths.iter().sum::<usize>() * 3 * shape.width(), seed);
            check::<F32>(&qkv, &lengths, shape, dropout, 4e-5 / (1.0 - probability))?;
        }

        #[test]
        fn in_bf16_it_equals_the_plain_loops_over_rounded_numbers(
            lengths in prop::collection::vec(0usize..140, 0..5), heads in 1usize..4,
            head_dim in prop_oneof![1usize..70, prop::sample::select(&[32usize, 64])],
            probability in prop::sample::select(&[0.0f32, 0.5]), seed: u32,
        ) {
            let shape = AttentionShape { heads, head_dim };
            let dropout = Dropout { probability, seed: seed.into(), stream: 7 };
            let mut qkv = numbers(lengths.iter().sum::<usize>() * 3 * shape.width(), seed);
            qkv.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xFFFF_0000));
            // Probabilities are rounded (2⁻⁹ of a weighted mean of numbers below 2), and queries once more after they were divided by √D.
            check::<Bf16>(&qkv, &lengths, shape, dropout, 0.015 / (1.0 - probability))?;
        }
    }

    #[test]
    fn long_sentences_in_several_tasks_blocks_and_parts() {
        for (lengths, heads, head_dim) in [(&[1100, 1, 130][..], 2, 32), (&[2050], 1, 64)] {
            let shape = AttentionShape { heads, head_dim };
            let qkv = numbers(lengths.iter().sum::<usize>() * 3 * shape.width(), 7);
            let dropout = Dropout { probability: 0.2, seed: 3, stream: 1 << 33 };
            for dropout in [Dropout::NONE, dropout] {
                check::<F32>(&qkv, lengths, shape, dropout, 4e-5).unwrap();
                check::<Bf16>(&qkv, lengths, shape, dropout, 0.02).unwrap();
            }
        }
    }

    #[test]
    fn nan_stays_in_its_sentence() {
        let shape = AttentionShape { heads: 2, head_dim: 32 };
        let offsets = [0, 20, 31];
        let mut qkv = numbers(31 * 3 * shape.width(), 7);
        qkv[25 * 3 * shape.width() + shape.width()] = f32::NAN;
        for &isa in Isa::available() {
            let mut out = [vec![0.0; 31 * shape.width()], vec![0.0; 31 * shape.width()]];
            attention_on::<F32>(isa, &qkv, &offsets, shape, Dropout::NONE, &mut out[0]);
            attention_on::<Bf16>(isa, &qkv, &offsets, shape, Dropout::NONE, &mut out[1]);
            for out in out {
                // A key of the first head: all queries of its sentence see it.
                for (i, x) in out.iter().enumerate() {
                    let reached = i / shape.width() >= 20 && i % shape.width() < 32;
                    assert_eq!(x.is_nan(), reached, "{isa:?}: number {i} is {x}");
                }
            }
        }
    }
}
