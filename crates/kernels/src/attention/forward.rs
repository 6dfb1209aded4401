//! Attention itself, for inference and training.
//!
//! A task is 16 queries of one head of one sentence, with scores `[length, 16]`: memory grows with the length, not with its
//! square. Scores = K · Qᵀ with the queries packed as the tile's panel, result = scoresᵀ · V with the values read where
//! they lie.

use super::{AttentionShape, PANEL, STEPS, WORK, checked_tokens, softmax};
use crate::dropout::Dropout;
use crate::gemm::tile::{self, F32, Operands};
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads::{self, Shared};

/// softmax(Q Kᵀ / √D) V for each head of each sentence: every token attends to every token of its own sentence.
///
/// Dropout multiplies the probabilities after the softmax, as in PyTorch: query t (a token of the batch) of head h is row
/// `h · tokens + t` of the mask, a key's place in its sentence is the column.
///
/// `qkv` `[tokens, 3 · heads · D]` holds Q, K and V side by side, head h in columns `h·D..(h + 1)·D` of each; sentence s
/// is tokens `offsets[s]..offsets[s + 1]`; `out` is `[tokens, heads · D]`. Panics if offsets decrease or do not cover all tokens.
pub fn attention(qkv: &[f32], offsets: &[usize], shape: AttentionShape, dropout: Dropout, out: &mut [f32]) {
    attention_on(isa(), qkv, offsets, shape, dropout, out);
}

pub(super) fn attention_on(
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
        let (start, length) = (offsets[sentence], offsets[sentence + 1] - offsets[sentence]);
        for head in heads {
            let queries = queries.clone();
            isa.run(Queries { qkv, shape, dropout, out, tokens, head, start, length, queries });
        }
    });
}

/// Some heads of some queries of a sentence.
#[derive(Clone)]
struct Task {
    sentence: usize,
    heads: std::ops::Range<usize>,
    queries: std::ops::Range<usize>,
}

/// Divides the work: several heads of a short sentence, some queries of one head of a long one.
fn tasks(offsets: &[usize], shape: AttentionShape) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (sentence, ends) in offsets.windows(2).enumerate() {
        let length = ends[1] - ends[0];
        if length == 0 {
            continue;
        }
        let of_query = (2 * length * shape.head_dim).max(1);
        let heads_at_once = (WORK / (of_query * length)).clamp(1, shape.heads);
        let queries_at_once = (WORK / of_query).max(1).next_multiple_of(PANEL);
        for head in (0..shape.heads).step_by(heads_at_once) {
            for query in (0..length).step_by(queries_at_once) {
                tasks.push(Task {
                    sentence,
                    heads: head..(head + heads_at_once).min(shape.heads),
                    queries: query..(query + queries_at_once).min(length),
                });
            }
        }
    }
    tasks
}

/// Some queries (counted from the start of the sentence) of one head of one sentence. `out` is that of all; nobody else
/// writes the rows of these queries in the columns of this head.
struct Queries<'a> {
    qkv: &'a [f32],
    shape: AttentionShape,
    dropout: Dropout,
    out: Shared<f32>,
    tokens: usize,
    head: usize,
    start: usize,
    length: usize,
    queries: std::ops::Range<usize>,
}

impl Kernel for Queries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, dim, length) = (self.shape.width(), self.shape.head_dim, self.length);
        if length == 0 {
            return;
        }
        // Token t has its query at `t * 3 * width` in here, its key `width` and its value `2 * width` later.
        let own = &self.qkv[self.start * 3 * width + self.head * dim..];
        let factor = 1.0 / (dim as f32).sqrt();
        let mut queries = vec![0.0; dim * PANEL];
        let mut scores = vec![0.0; length * PANEL];
        let mut edge = vec![0.0; if dim % PANEL == 0 { 0 } else { length * PANEL }];
        let mut factors = vec![0.0; if self.dropout.is_none() { 0 } else { length * PANEL }];
        let mut sums = [[0.0; tile::PANEL]; tile::MOST_ROWS];
        let whole = dim / PANEL * PANEL;
        if whole < dim {
            for (t, row) in edge.chunks_exact_mut(PANEL).enumerate() {
                row[..dim - whole].copy_from_slice(&own[(3 * t + 2) * width + whole..][..dim - whole]);
            }
        }
        for first in self.queries.clone().step_by(PANEL) {
            let count = PANEL.min(self.queries.end - first);
            for q in 0..PANEL {
                for c in 0..dim {
                    queries[c * PANEL + q] =
                        if q < count { own[(first + q) * 3 * width + c] * factor } else { 0.0 };
                }
            }
            let mut key = 0;
            while key < length {
                let rows = tile::next_rows(length - key, S::TILE_ROWS);
                let operands = Operands {
                    a: own[3 * key * width + width..].as_ptr().cast(),
                    a_row: 3 * width,
                    a_step: 1,
                    b: queries.as_ptr().cast(),
                    b_step: PANEL,
                    zeros: std::ptr::null(),
                    totals: std::ptr::null(),
                    steps: dim,
                };
                // SAFETY: `rows` keys of `dim` numbers begin at `a`; the panel of queries has `dim` steps.
                unsafe { one_panel(simd, rows, operands, &mut sums) };
                for (row, sums) in scores[key * PANEL..].chunks_exact_mut(PANEL).zip(&sums[..rows]) {
                    row.copy_from_slice(&sums[..PANEL]);
                }
                key += rows;
            }
            let mut inverse = [0.0; PANEL];
            for lane in (0..PANEL).step_by(S::LANES) {
                simd.store(softmax(simd, &mut scores, PANEL, lane), &mut inverse[lane..]);
            }
            if !self.dropout.is_none() {
                let row = self.head * self.tokens + self.start + first;
                self.dropout.transposed_factors(row as u32, &mut factors);
                scores.iter_mut().zip(&factors).for_each(|(score, factor)| *score *= factor);
            }
            for column in (0..dim).step_by(PANEL) {
                let (b, b_step) = if column < whole {
                    (own[2 * width + column..].as_ptr(), 3 * width)
                } else {
                    (edge.as_ptr(), PANEL)
                };
                let columns = PANEL.min(dim - column);
                let mut row = 0;
                while row < count {
                    let rows = tile::next_rows(count - row, S::TILE_ROWS);
                    for part in (0..length).step_by(STEPS) {
                        let steps = STEPS.min(length - part);
                        let a = scores[part * PANEL + row..].as_ptr();
                        let b = b.wrapping_add(part * b_step);
                        let operands = Operands {
                            a: a.cast(),
                            a_row: 1,
                            a_step: PANEL,
                            b: b.cast(),
                            b_step,
                            zeros: std::ptr::null(),
                            totals: std::ptr::null(),
                            steps,
                        };
                        // SAFETY: the scores have a row of 16 for each token of the sentence, and row + rows ≤ 16; at `b`
                        // begin 16 numbers for each of them: of the values, or of their padded copy.
                        unsafe { one_panel(simd, rows, operands, &mut sums) };
                        for i in 0..rows {
                            let token = self.start + first + row + i;
                            let at = token * width + self.head * dim + column;
                            // SAFETY: the token is one of the sentence and the columns are those of the head, so this
                            // lies in `out`; it belongs to this task.
                            let out =
                                unsafe { std::slice::from_raw_parts_mut(self.out.get().add(at), columns) };
                            let factor = inverse[row + i];
                            for (out, sum) in out.iter_mut().zip(&sums[i]) {
                                *out = sum * factor + if part == 0 { 0.0 } else { *out };
                            }
                        }
                    }
                    row += rows;
                }
            }
        }
    }
}

/// A tile of 16 columns.
///
/// # Safety
/// That of [`tile::rows`].
#[inline(always)]
unsafe fn one_panel<S: Simd>(simd: S, rows: usize, operands: Operands, sums: &mut tile::Sums) {
    // SAFETY: the caller vouches for the operands.
    unsafe {
        match S::LANES {
            16 => tile::rows::<S, F32, 1>(simd, rows, operands, sums),
            8 => tile::rows::<S, F32, 2>(simd, rows, operands, sums),
            other => panic!("{other} lanes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{bits, numbers, offsets, pool};
    use super::*;
    use crate::naive;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn equals_the_plain_loops_and_itself_alone(
            lengths in prop::collection::vec(0usize..70, 0..5), heads in 1usize..4, head_dim in 1usize..70,
            probability in prop::sample::select(&[0.0f32, 0.1, 0.5]), seed: u32,
        ) {
            let shape = AttentionShape { heads, head_dim };
            let dropout = Dropout { probability, seed: seed.into(), stream: 7 };
            let offsets = offsets(&lengths);
            let tokens = *offsets.last().unwrap();
            let qkv = numbers(tokens * 3 * shape.width(), seed);
            let mut expected = vec![0.0; tokens * shape.width()];
            naive::attention(&qkv, &offsets, shape, dropout, &mut expected);
            for &isa in Isa::available() {
                for threads in [1, 2] {
                    let mut out = vec![f32::NAN; expected.len()];
                    pool(threads).install(|| attention_on(isa, &qkv, &offsets, shape, dropout, &mut out));
                    for (a, e) in out.iter().zip(&expected) {
                        prop_assert!((a - e).abs() <= 4e-5 / (1.0 - probability), "{a} for {e}");
                    }
                    // The mask depends on the place in the batch.
                    if !dropout.is_none() {
                        continue;
                    }
                    for s in offsets.windows(2) {
                        let mut alone = vec![0.0; (s[1] - s[0]) * shape.width()];
                        let own = &qkv[s[0] * 3 * shape.width()..s[1] * 3 * shape.width()];
                        attention_on(isa, own, &[0, s[1] - s[0]], shape, Dropout::NONE, &mut alone);
                        prop_assert_eq!(&alone, &out[s[0] * shape.width()..s[1] * shape.width()]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_long_sentence_is_shared_by_threads_and_nan_stays_in_its_sentence() {
        let shape = AttentionShape { heads: 2, head_dim: 32 };
        let offsets = [0, 1100, 1110];
        let mut qkv = numbers(1110 * 3 * shape.width(), 7);
        qkv[1105 * 3 * shape.width() + shape.width()] = f32::NAN;
        let mut expected = vec![0.0; 1110 * shape.width()];
        naive::attention(&qkv, &offsets, shape, Dropout::NONE, &mut expected);
        for &isa in Isa::available() {
            let outs = [1, 2].map(|threads| {
                let mut out = vec![0.0; expected.len()];
                pool(threads).install(|| attention_on(isa, &qkv, &offsets, shape, Dropout::NONE, &mut out));
                out
            });
            assert_eq!(bits(&outs[0]), bits(&outs[1]));
            for (a, e) in outs[0].iter().zip(&expected) {
                assert!((a - e).abs() <= 4e-5 || a.is_nan() && e.is_nan(), "{a} for {e}");
            }
        }
    }
}
