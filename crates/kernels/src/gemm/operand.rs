//! The left operand of a product in the type of the weight: converted or quantised row by row, in one pass before it.

use std::cell::RefCell;

use super::engine::{Division, Form};
use super::split::SplitRows;
use super::widen::{WidenRows, widens};
use super::{PackedMatrix, WeightType};
use crate::lines::Lines;
use crate::simd::{Isa, Kernel, Simd};
use crate::threads;

/// Numbers that one thread converts at least.
const NUMBERS_PER_THREAD: usize = 8 * 1024;

/// Rows of words. For int8, number = (byte − zero) · scale, both of its row.
pub(super) struct Operand<'a> {
    pub(super) words: &'a [u32],
    /// Words from one row to the next.
    pub(super) row: usize,
    /// A scale per row; empty but for int8.
    pub(super) scales: &'a [f32],
    /// The byte that stands for zero, per row; empty but for int8.
    pub(super) zeros: &'a [i32],
    /// What the words of the type have become.
    pub(super) form: Form,
}

#[derive(Default)]
struct Scratch {
    words: Lines,
    wide: Lines,
    scales: Vec<f32>,
    zeros: Vec<i32>,
}

impl Scratch {
    /// Calls `use_it` with m rows of it, which have `row` words each or, if they are wide, twice as many. Then, it is kept.
    fn used<R>(self, m: usize, row: usize, form: Form, use_it: impl FnOnce(Operand<'_>) -> R) -> R {
        let (words, row) = if form == Form::Wide { (&self.wide, 2 * row) } else { (&self.words, row) };
        let (scales, zeros) = (&self.scales, &self.zeros);
        let result = use_it(Operand { words: &words.all()[..m * row], row, scales, zeros, form });
        SCRATCH.set(self);
        result
    }
}

thread_local! {
    /// Kept from one product to the next: fresh memory would be cleared by the system page by page.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Calls `use_it` with x `[m, k]` for a product with this weight. Each row depends on itself alone.
pub(super) fn with<R>(
    isa: Isa,
    weight: &PackedMatrix,
    x: &[f32],
    m: usize,
    use_it: impl FnOnce(Operand<'_>) -> R,
) -> R {
    let (to, k) = (weight.kind(), weight.inputs());
    let form = match to {
        _ if isa.has_matrix_unit() && weight.splits() => Form::Split,
        _ if widens(isa, to, m) => Form::Wide,
        _ => Form::Same,
    };
    if to == WeightType::F32 && form == Form::Same {
        return use_it(Operand { words: as_words(x), row: k, scales: &[], zeros: &[], form });
    }
    // Taken out, so that a product inside of another would only lack the memory.
    let mut scratch = SCRATCH.take();
    // Whole vectors of numbers; what is beyond k is zero, and meets zeros of the weight.
    let row = if form == Form::Split { form.words(k) } else { k.next_multiple_of(16) / to.group() };
    let row = Division::of(isa, to.group(), form).row(row);
    let words = scratch.words.words(m * row);
    let wide = form == Form::Wide;
    let wider = threads::Shared(scratch.wide.words(if wide { 2 * m * row } else { 0 }).as_mut_ptr());
    let scaled = if to == WeightType::Int8 { m } else { 0 };
    scratch.scales.resize(scaled, 0.0);
    scratch.zeros.resize(scaled, 0);
    let rows = (NUMBERS_PER_THREAD / k.max(1)).max(1);
    let (scales, zeros) =
        (threads::Shared(scratch.scales.as_mut_ptr()), threads::Shared(scratch.zeros.as_mut_ptr()));
    threads::pieces(words, (rows * row).max(1), |i, words| {
        let first = i * rows;
        let x = &x[first * k..][..words.len() / row * k];
        match to {
            WeightType::F32 => isa.run(SplitRows { x, k, words: &mut *words, row }),
            WeightType::Bf16 => isa.run(Halve { x, k, words: &mut *words, row }),
            WeightType::Int8 => {
                let count = words.len() / row;
                // SAFETY: the scales and zeros of these rows, which no other piece has.
                let (scales, zeros) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(scales.get().add(first), count),
                        std::slice::from_raw_parts_mut(zeros.get().add(first), count),
                    )
                };
                isa.run(Quantise { x, k, words: &mut *words, row, scales, zeros });
            }
        }
        if wide {
            // SAFETY: two words for each of these, which no other piece has.
            let to_words =
                unsafe { std::slice::from_raw_parts_mut(wider.get().add(2 * first * row), 2 * words.len()) };
            isa.run(WidenRows { kind: to, words, to: to_words });
        }
    });
    scratch.used(m, row, form, use_it)
}

/// Rows of bytes as an operand of int8.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// −128 to 127.
    Signed(&'a [i8]),
    /// 0 to 255.
    Unsigned(&'a [u8]),
}

impl Bytes<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Signed(x) => x.len(),
            Self::Unsigned(x) => x.len(),
        }
    }
}

/// Calls `use_it` with x `[m, k]`, as it is.
pub(super) fn with_bytes<R>(
    isa: Isa,
    x: Bytes<'_>,
    m: usize,
    k: usize,
    use_it: impl FnOnce(Operand<'_>) -> R,
) -> R {
    let mut scratch = SCRATCH.take();
    let form = if widens(isa, WeightType::Int8, m) { Form::Wide } else { Form::Same };
    let row = Division::of(isa, 4, form).row(k.div_ceil(4));
    // Bytes beyond k meet zeros of the weight, and sums of integers are exact.
    let words = scratch.words.words(m * row);
    scratch.scales.clear();
    scratch.scales.resize(m, 1.0);
    scratch.zeros.clear();
    let zero = if matches!(x, Bytes::Signed(_)) { 128 } else { 0 };
    scratch.zeros.resize(m, zero);
    if k > 0 {
        for (i, words) in words.chunks_exact_mut(row).enumerate() {
            let to = &mut as_bytes(words)[..k];
            match x {
                // The tile multiplies unsigned bytes; 128 more is the highest bit flipped.
                Bytes::Signed(x) => {
                    to.iter_mut().zip(&x[i * k..]).for_each(|(to, x)| *to = x.cast_unsigned() ^ 0x80)
                }
                Bytes::Unsigned(x) => to.copy_from_slice(&x[i * k..][..k]),
            }
        }
    }
    if form == Form::Wide {
        let to = scratch.wide.words(2 * m * row);
        isa.run(WidenRows { kind: WeightType::Int8, words, to });
    }
    scratch.used(m, row, form, use_it)
}

pub(crate) fn as_words(x: &[f32]) -> &[u32] {
    // SAFETY: both types have four bytes and the same alignment, and every bit pattern is valid for u32.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

pub(crate) fn as_numbers(words: &[u32]) -> &[f32] {
    // SAFETY: both types have four bytes and the same alignment, and every bit pattern is valid for f32.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

pub(crate) fn as_words_mut(x: &mut [f32]) -> &mut [u32] {
    // SAFETY: both types have four bytes and the same alignment, and every bit pattern is valid for both.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}

pub(crate) fn as_halves(words: &mut [u32]) -> &mut [u16] {
    // SAFETY: a word is two halves of weaker alignment; every bit pattern is valid for both.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 2) }
}

pub(crate) fn as_bytes(words: &mut [u32]) -> &mut [u8] {
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
            to[whole..].fill(0);
            if whole < self.k {
                simd.store_bf16(simd.load_part(&x[whole..]), &mut to[whole..]);
            }
        }
    }
}

/// f32 to bytes, one scale and one zero a row: 255 steps from the smallest number to the largest, zero among them. What comes
/// out of GELU is nearly one-sided, and has twice the resolution that way.
struct Quantise<'a> {
    x: &'a [f32],
    k: usize,
    words: &'a mut [u32],
    row: usize,
    scales: &'a mut [f32],
    zeros: &'a mut [i32],
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let whole = self.k / S::LANES * S::LANES;
        let rows = self.x.chunks_exact(self.k).zip(self.words.chunks_exact_mut(self.row));
        let (nothing, most) = (simd.splat(0.0), simd.splat(255.0));
        for ((x, words), (scale, zero)) in rows.zip(self.scales.iter_mut().zip(self.zeros)) {
            let (mut largest, mut smallest, mut spoiled) = (nothing, nothing, nothing);
            for at in (0..self.k).step_by(S::LANES) {
                let v = if at < whole { simd.load(&x[at..]) } else { simd.load_part(&x[at..]) };
                largest = simd.max(v, largest);
                smallest = simd.min(v, smallest);
                // 0, but NaN from NaN and from infinity.
                spoiled = simd.mul_add(v, nothing, spoiled);
            }
            let smallest = -simd.largest(simd.sub(nothing, smallest));
            let range = simd.largest(largest) - smallest;
            let inverse = 255.0 / range;
            // Of a row of almost nothing, or of infinities, the inverse is of no use.
            let inverse = if range > 0.0 && inverse.is_finite() { inverse } else { 0.0 };
            // What is not finite makes the whole row NaN, so that it cannot pass for a number.
            *scale = range / 255.0 + simd.sum(spoiled);
            let offset = (-smallest * inverse).round_ties_even();
            *zero = offset as i32;
            let (inverse, offset) = (simd.splat(inverse), simd.splat(offset));
            let to = as_bytes(words);
            let quantised = |v| simd.min(most, simd.max(nothing, simd.mul_add(v, inverse, offset)));
            for at in (0..whole).step_by(S::LANES) {
                simd.store_bytes(quantised(simd.load(&x[at..])), &mut to[at..]);
            }
            to[whole..].fill(0);
            if whole < self.k {
                simd.store_bytes(quantised(simd.load_part(&x[whole..])), &mut to[whole..]);
            }
        }
    }
}
