//! The left operand of a product in the type of the weight: converted or quantised row by row, in one pass before it.

use std::cell::RefCell;

use super::WeightType;
use crate::simd::{Isa, Kernel, Simd};
use crate::threads;

/// Numbers that one thread converts at least.
const NUMBERS_PER_THREAD: usize = 32 * 1024;

/// Rows of words. For int8, number = (byte − 128) · scale of its row.
pub(super) struct Operand<'a> {
    pub(super) words: &'a [u32],
    /// Words from one row to the next.
    pub(super) row: usize,
    /// A scale per row; empty but for int8.
    pub(super) scales: &'a [f32],
}

#[derive(Default)]
struct Scratch {
    words: Vec<u32>,
    scales: Vec<f32>,
}

thread_local! {
    /// Kept from one product to the next: fresh memory would be cleared by the system page by page.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Calls `use_it` with x `[m, k]` in the type `to`. Each row depends on itself alone.
pub(super) fn with<R>(
    isa: Isa,
    to: WeightType,
    x: &[f32],
    m: usize,
    k: usize,
    use_it: impl FnOnce(Operand<'_>) -> R,
) -> R {
    if to == WeightType::F32 {
        return use_it(Operand { words: as_words(x), row: k, scales: &[] });
    }
    // Taken out, so that a product inside of another would only lack the memory.
    let mut scratch = SCRATCH.take();
    // Whole vectors of numbers; what is beyond k meets zeros of the weight.
    let row = k.next_multiple_of(16) / to.group();
    scratch.words.resize(m * row, 0);
    scratch.scales.resize(if to == WeightType::Int8 { m } else { 0 }, 0.0);
    let rows = (NUMBERS_PER_THREAD / k.max(1)).max(1);
    let scales = threads::Shared(scratch.scales.as_mut_ptr());
    threads::pieces(&mut scratch.words, (rows * row).max(1), |i, words| {
        let first = i * rows;
        let x = &x[first * k..][..words.len() / row * k];
        match to {
            WeightType::Bf16 => isa.run(Halve { x, k, words, row }),
            _ => {
                // SAFETY: the scales of these rows, which no other piece has.
                let scales =
                    unsafe { std::slice::from_raw_parts_mut(scales.get().add(first), words.len() / row) };
                isa.run(Quantise { x, k, words, row, scales });
            }
        }
    });
    let result = use_it(Operand { words: &scratch.words, row, scales: &scratch.scales });
    SCRATCH.set(scratch);
    result
}

fn as_words(x: &[f32]) -> &[u32] {
    // SAFETY: both types have four bytes and the same alignment, and every bit pattern is valid for u32.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

fn as_halves(words: &mut [u32]) -> &mut [u16] {
    // SAFETY: a word is two halves of weaker alignment; every bit pattern is valid for both.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 2) }
}

fn as_bytes(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: a word is four bytes; every bit pattern is valid for both.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 4) }
}

/// f32 to bf16, rounded to the nearest.
struct Halve<'a> {
    x: &'a [f32],
    k: usize,
    words: &'a mut [u32],
    row: usize,
}

impl Kernel for Halve<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let whole = self.k / S::LANES * S::LANES;
        for (x, words) in self.x.chunks_exact(self.k).zip(self.words.chunks_exact_mut(self.row)) {
            let to = as_halves(words);
            for at in (0..whole).step_by(S::LANES) {
                simd.store_bf16(simd.load(&x[at..]), &mut to[at..]);
            }
            if whole < self.k {
                to[whole..].fill(0);
                simd.store_bf16(simd.load_part(&x[whole..]), &mut to[whole..]);
            }
        }
    }
}

/// f32 to bytes, one scale a row: the largest magnitude becomes 127.
struct Quantise<'a> {
    x: &'a [f32],
    k: usize,
    words: &'a mut [u32],
    row: usize,
    scales: &'a mut [f32],
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let whole = self.k / S::LANES * S::LANES;
        let rows = self.x.chunks_exact(self.k).zip(self.words.chunks_exact_mut(self.row));
        for ((x, words), scale) in rows.zip(self.scales) {
            let zero = simd.splat(0.0);
            let (mut largest, mut spoiled) = (zero, zero);
            for at in (0..self.k).step_by(S::LANES) {
                let v = if at < whole { simd.load(&x[at..]) } else { simd.load_part(&x[at..]) };
                largest = simd.max(simd.abs(v), largest);
                // 0, but NaN from NaN and from infinity.
                spoiled = simd.mul_add(v, zero, spoiled);
            }
            let largest = simd.largest(largest);
            // What is not finite makes the whole row NaN, so that it cannot pass for a number.
            *scale = largest / 127.0 + simd.sum(spoiled);
            let inverse = if largest > 0.0 && scale.is_finite() { 127.0 / largest } else { 0.0 };
            // Of a row of almost nothing, the inverse would be infinite.
            let inverse = simd.splat(if inverse.is_finite() { inverse } else { 0.0 });
            let to = as_bytes(words);
            // At most a rounding beyond 127, which is rounded back.
            let quantised = |v| simd.mul(v, inverse);
            for at in (0..whole).step_by(S::LANES) {
                simd.store_offset_bytes(quantised(simd.load(&x[at..])), &mut to[at..]);
            }
            if whole < self.k {
                to[whole..].fill(128);
                simd.store_offset_bytes(quantised(simd.load_part(&x[whole..])), &mut to[whole..]);
            }
        }
    }
}
