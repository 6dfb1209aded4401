//! The gradient of attention. Nothing but Q, K and V is known from the forward pass: probabilities are computed again.
//!
//! With P = softmax(S), S = Q Kᵀ / √D, the mask M of dropout and ∘ number by number (the chain rule; the same arrangement as
//! in FlashAttention, <https://arxiv.org/abs/2205.14135>, appendix B.2):
//!
//! dV = (P ∘ M)ᵀ dO, dP = (dO Vᵀ) ∘ M, dS = P ∘ (dP − r) with r = the sums of the rows of P ∘ dP,
//! dQ = dS K / √D, dK = dSᵀ Q / √D
//!
//! A task is some heads of one sentence, so that dK and dV have one owner. It goes through the queries in blocks, for which
//! P and dP are held as `[length, block]`: memory grows with the length, not with its square. What products read is copied
//! first: rows of `qkv` lie a multiple of 4096 bytes apart in many models, and the cache holds few such lines at once.

use std::ops::Range;

use super::parts::{Scratch, gather, product, softmax};
use super::{AttentionShape, BLOCK, PANEL, STEPS, WORK, checked_tokens};
use crate::dropout::Dropout;
use crate::gemm::operand::{as_words, as_words_mut};
use crate::gemm::tile::F32;
use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads::{self, Shared};
use crate::transpose::Transpose;

/// The gradient of [`attention`](super::attention) with the same arguments: `d_out` `[tokens, heads · D]` is that of the
/// result, `d_qkv` `[tokens, 3 · heads · D]` becomes that of `qkv`, in its layout. Panics if offsets decrease or do not
/// cover all tokens.
pub fn attention_grad(
    qkv: &[f32],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    attention_grad_on(isa(), qkv, offsets, shape, dropout, d_out, d_qkv);
}

fn attention_grad_on(
    isa: Isa,
    qkv: &[f32],
    offsets: &[usize],
    shape: AttentionShape,
    dropout: Dropout,
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    let tokens = checked_tokens(qkv, offsets, shape, d_out);
    assert_eq!(d_qkv.len(), qkv.len(), "the gradient has the shape of what it is the gradient of");
    if d_qkv.is_empty() {
        return;
    }
    let d_qkv = Shared(d_qkv.as_mut_ptr());
    let tasks = tasks(offsets, shape);
    threads::parallel(tasks.len(), |i| {
        let (sentence, heads) = tasks[i].clone();
        isa.run(Heads { qkv, shape, dropout, d_out, d_qkv, tokens, sentence, heads });
    });
}

/// Tokens of a sentence and some of its heads, for all sentences and heads.
fn tasks(offsets: &[usize], shape: AttentionShape) -> Vec<(Range<usize>, Range<usize>)> {
    let mut tasks = Vec::new();
    for ends in offsets.windows(2) {
        let length = ends[1] - ends[0];
        if length == 0 {
            continue;
        }
        let of_head = (5 * length * length * shape.head_dim).max(1);
        let at_once = (WORK / of_head).clamp(1, shape.heads);
        for head in (0..shape.heads).step_by(at_once) {
            tasks.push((ends[0]..ends[1], head..(head + at_once).min(shape.heads)));
        }
    }
    tasks
}

/// Some heads of one sentence. `d_qkv` is that of all; nobody else writes the rows of this sentence in the columns of these
/// heads.
struct Heads<'a> {
    qkv: &'a [f32],
    shape: AttentionShape,
    dropout: Dropout,
    d_out: &'a [f32],
    d_qkv: Shared<f32>,
    tokens: usize,
    sentence: Range<usize>,
    heads: Range<usize>,
}

impl Kernel for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (width, dim, length) = (self.shape.width(), self.shape.head_dim, self.sentence.len());
        // Rows are padded with zeros to whole panels.
        let padded = dim.next_multiple_of(PANEL);
        let block = BLOCK.min(length.next_multiple_of(PANEL));
        let masked = if self.dropout.is_none() { 0 } else { length };
        let total = 4 * length * padded + 5 * block * padded + 2 * length * block + masked * PANEL;
        let mut scratch = Scratch::take();
        let mut room = scratch.room(total);
        let mut take = |numbers| room.take(numbers);
        let [keys, values, d_keys, d_values] = [0; 4].map(|_| take(length * padded));
        let [queries, d_outs, d_queries, queries_across, d_outs_across] =
            [0; 5].map(|_| take(block * padded));
        let [weights, d_weights] = [0; 2].map(|_| take(length * block));
        let factors = take(masked * PANEL);
        let scale = 1.0 / (dim as f32).sqrt();

        for head in self.heads.clone() {
            let own = &self.qkv[self.sentence.start * 3 * width + head * dim..];
            let own_d_out = &self.d_out[self.sentence.start * width + head * dim..];
            gather::<S, F32>(simd, &own[width..], 3 * width, dim, 1.0, keys);
            gather::<S, F32>(simd, &own[2 * width..], 3 * width, dim, 1.0, values);
            for first in (0..length).step_by(block) {
                let count = block.min(length - first);
                // Beyond `count` there are queries of zeros, whose results nobody reads.
                let columns = count.next_multiple_of(PANEL);
                gather::<S, F32>(
                    simd,
                    &own[first * 3 * width..],
                    3 * width,
                    dim,
                    scale,
                    &mut queries[..count * padded],
                );
                gather::<S, F32>(
                    simd,
                    &own_d_out[first * width..],
                    width,
                    dim,
                    1.0,
                    &mut d_outs[..count * padded],
                );
                for (rows, across) in
                    [(&mut *queries, &mut *queries_across), (&mut *d_outs, &mut *d_outs_across)]
                {
                    rows[count * padded..columns * padded].fill(0.0);
                    Transpose {
                        from: as_words(rows),
                        from_row: padded,
                        rows: columns,
                        columns: dim,
                        to: as_words_mut(across),
                        to_row: columns,
                    }
                    .run(simd);
                }

                let (weights, d_weights) =
                    (&mut weights[..length * columns], &mut d_weights[..length * columns]);
                for (a, b, to) in
                    [(&*keys, &*queries_across, &mut *weights), (&*values, &*d_outs_across, &mut *d_weights)]
                {
                    product::<S, F32>(simd, a, (padded, 1), b, [length, columns, dim], false, to);
                }
                for lane in (0..columns).step_by(S::LANES) {
                    if masked > 0 && lane % PANEL == 0 {
                        let row = head * self.tokens + self.sentence.start + first + lane;
                        self.dropout.transposed_factors(row as u32, factors);
                    }
                    let factors = if masked > 0 { &factors[lane % PANEL..] } else { &[] };
                    softmax_grad(simd, weights, d_weights, columns, lane, factors);
                }
                for (a, b, to) in
                    [(&*weights, &*d_outs, &mut *d_values), (&*d_weights, &*queries, &mut *d_keys)]
                {
                    product::<S, F32>(simd, a, (columns, 1), b, [length, padded, count], first > 0, to);
                }
                product::<S, F32>(
                    simd,
                    d_weights,
                    (1, columns),
                    keys,
                    [count, padded, length],
                    false,
                    d_queries,
                );
                self.scatter(simd, first, head * dim, scale, &d_queries[..count * padded]);
            }
            self.scatter(simd, 0, width + head * dim, 1.0, d_keys);
            self.scatter(simd, 0, 2 * width + head * dim, 1.0, d_values);
        }
    }
}

impl Heads<'_> {
    /// Writes rows times a factor into the columns of `d_qkv` from `column` on, for the tokens from `first` of the sentence
    /// on. Columns are those of one of the heads.
    #[inline(always)]
    fn scatter<S: Simd>(&self, simd: S, first: usize, column: usize, factor: f32, rows: &[f32]) {
        let (width, dim) = (3 * self.shape.width(), self.shape.head_dim);
        let factor = simd.splat(factor);
        for (i, row) in rows.chunks_exact(dim.next_multiple_of(PANEL)).enumerate() {
            let at = (self.sentence.start + first + i) * width + column;
            // SAFETY: the token is one of the sentence and the columns are those of a head, so this lies in `d_qkv`; it
            // belongs to this task.
            let to = unsafe { std::slice::from_raw_parts_mut(self.d_qkv.get().add(at), dim) };
            for at in (0..dim).step_by(S::LANES) {
                let v = simd.mul(simd.load(&row[at..]), factor);
                let to = &mut to[at..];
                if to.len() >= S::LANES { simd.store(v, to) } else { simd.store_part(v, to) }
            }
        }
    }
}

/// For the queries in the columns `lane..lane + LANES` of `[length, columns]`: scores become P ∘ M, and dO Vᵀ becomes dS.
/// The factors of key k are at `16 k`; without any, M is one.
#[inline(always)]
fn softmax_grad<S: Simd>(
    simd: S,
    scores: &mut [f32],
    d_scores: &mut [f32],
    columns: usize,
    lane: usize,
    factors: &[f32],
) {
    let inverse = softmax(simd, scores, columns, lane);
    let mask = |x: S::Vector, key: usize| {
        if factors.is_empty() { x } else { simd.mul(x, simd.load(&factors[key * PANEL..])) }
    };
    let mut total = simd.splat(0.0);
    let parts = scores.chunks_mut(STEPS * columns).zip(d_scores.chunks_mut(STEPS * columns));
    for (part, (scores, d_scores)) in parts.enumerate() {
        let mut sum = simd.splat(0.0);
        let rows = scores.chunks_exact_mut(columns).zip(d_scores.chunks_exact_mut(columns));
        for (i, (score, d_score)) in rows.enumerate() {
            let p = simd.mul(simd.load(&score[lane..]), inverse);
            let d_p = mask(simd.load(&d_score[lane..]), part * STEPS + i);
            sum = simd.mul_add(p, d_p, sum);
            simd.store(p, &mut score[lane..]);
            simd.store(d_p, &mut d_score[lane..]);
        }
        total = simd.add(total, sum);
    }
    let rows = scores.chunks_exact_mut(columns).zip(d_scores.chunks_exact_mut(columns));
    for (key, (score, d_score)) in rows.enumerate() {
        let p = simd.load(&score[lane..]);
        let d_s = simd.mul(p, simd.sub(simd.load(&d_score[lane..]), total));
        simd.store(mask(p, key), &mut score[lane..]);
        simd.store(d_s, &mut d_score[lane..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{bits, numbers, offsets, pool};
    use super::*;
    use crate::naive;

    /// Operands are below 2, so numbers of dO Vᵀ have a deviation of 4/3 √D. A result is a sum of products of these, √D
    /// divided out, with an operand: some 8 at most, weighted with probabilities and divided by 1 − p. f32 loses some 2⁻²⁴ of
    /// it for each root of a number of terms (D, the length) and for each unit of a score, together less than 60.
    fn check(lengths: &[usize], shape: AttentionShape, dropout: Dropout, seed: u32) {
        let (offsets, width) = (offsets(lengths), shape.width());
        let tokens = *offsets.last().unwrap();
        let (qkv, d_out) = (numbers(tokens * 3 * width, seed), numbers(tokens * width, seed ^ 0x5555));
        let mut expected = vec![0.0; qkv.len()];
        naive::attention_grad(&qkv, &offsets, shape, dropout, &d_out, &mut expected);
        let tolerance = 8.0 * 60.0 / (1 << 24) as f32 / (1.0 - dropout.probability);
        for &isa in Isa::available() {
            let [one, two, three] = [1, 2, 3].map(|threads| {
                let mut d_qkv = vec![f32::NAN; qkv.len()];
                pool(threads)
                    .install(|| attention_grad_on(isa, &qkv, &offsets, shape, dropout, &d_out, &mut d_qkv));
                d_qkv
            });
            assert_eq!(bits(&one), bits(&two));
            assert_eq!(bits(&one), bits(&three));
            for (i, (a, e)) in one.iter().zip(&expected).enumerate() {
                assert!(
                    (a - e).abs() <= tolerance,
                    "{isa:?}, {lengths:?}, {shape:?}, number {i}: {a} for {e}"
                );
            }
            // The mask depends on the place in the batch.
            for s in offsets.windows(2).filter(|_| dropout.is_none()) {
                let mut alone = vec![f32::NAN; (s[1] - s[0]) * 3 * width];
                let own = &qkv[s[0] * 3 * width..s[1] * 3 * width];
                let d_out = &d_out[s[0] * width..s[1] * width];
                attention_grad_on(isa, own, &[0, s[1] - s[0]], shape, dropout, d_out, &mut alone);
                assert_eq!(bits(&alone), bits(&one[s[0] * 3 * width..s[1] * 3 * width]));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn equals_the_plain_loops_and_itself_alone(
            lengths in prop::collection::vec(0usize..71, 0..4), heads in 1usize..5, head_dim in 1usize..71,
            probability in prop::sample::select(&[0.0f32, 0.1, 0.5]), seed: u32,
        ) {
            let dropout = Dropout { probability, seed: seed.into(), stream: 7 };
            check(&lengths, AttentionShape { heads, head_dim }, dropout, seed);
        }
    }

    #[test]
    fn long_sentences_in_several_blocks_and_parts() {
        for probability in [0.0, 0.2] {
            let dropout = Dropout { probability, seed: 3, stream: 1 << 33 };
            check(&[300, 2, 0, 1], AttentionShape { heads: 3, head_dim: 33 }, dropout, 1);
            check(&[1, 600], AttentionShape { heads: 2, head_dim: 16 }, dropout, 2);
        }
    }

    #[test]
    fn nan_stays_in_its_sentence_and_head() {
        let (shape, offsets) = (AttentionShape { heads: 2, head_dim: 20 }, [0, 9, 30, 40]);
        let (width, tokens) = (shape.width(), 40);
        let (mut qkv, d_out) = (numbers(tokens * 3 * width, 1), numbers(tokens * width, 2));
        let gradient = |isa, qkv: &[f32]| {
            let mut d_qkv = vec![0.0; qkv.len()];
            attention_grad_on(isa, qkv, &offsets, shape, Dropout::NONE, &d_out, &mut d_qkv);
            d_qkv
        };
        for &isa in Isa::available() {
            let clean = gradient(isa, &qkv);
            // A value of the second head, in the second sentence.
            let at = (12 * 3 + 2) * width + 25;
            let number = std::mem::replace(&mut qkv[at], f32::NAN);
            for (i, (a, b)) in gradient(isa, &qkv).iter().zip(&clean).enumerate() {
                let (token, third, head) = (i / (3 * width), i / width % 3, i % width / shape.head_dim);
                let reached = (9..30).contains(&token) && head == 1 && third < 2;
                assert!(if reached { a.is_nan() } else { a.to_bits() == b.to_bits() }, "{isa:?}: {i}");
            }
            qkv[at] = number;
        }
    }
}
