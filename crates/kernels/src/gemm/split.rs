//! f32 as three bf16 for a unit that multiplies tiles of bf16 many times as fast as vectors multiply f32: how numbers are split. What is multiplied
//! with what stands at [`MatrixUnit::add_split`].
//!
//! A number of 24 bits is the sum of its first, its second and its third eight, x = x₁ + x₂ + x₃, each of which is a bf16. Of the nine products of
//! x₁ + x₂ + x₃ and y₁ + y₂ + y₃, the six of x₁ y₁, x₁ y₂, x₂ y₁, x₁ y₃, x₂ y₂ and x₃ y₁ are computed, without rounding, and summed in f32; the others
//! together are below 2⁻²¹ of the product and 2⁻²⁴ on average, and f32 rounds at 2⁻²⁴ (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16
//! Artificial Intelligence Datatype For Higher-Precision Computations"). Parts below 2⁻¹²⁶ count as zero.
//!
//! [`MatrixUnit::add_split`]: crate::simd::matrix::MatrixUnit::add_split

use super::operand::as_words;
use super::tile::PANEL;
use crate::lines::{LINE, Lines};
use crate::simd::matrix::{MATRIX_STEPS, PARTS};
use crate::simd::{Kernel, Simd};

/// Numbers of k that one product of tiles takes: a word holds number i in its lower half and number i + 16 in its upper.
pub(super) const NUMBERS: usize = 2 * MATRIX_STEPS;

/// Words of a row of `k` numbers: for each [`NUMBERS`] of them the first parts, the second and the third.
pub(super) fn words(k: usize) -> usize {
    k.div_ceil(NUMBERS) * MATRIX_STEPS * PARTS
}

/// The parts of two numbers, the first in the lower halves.
#[inline(always)]
fn split(low: f32, high: f32) -> [u32; PARTS] {
    const UPPER: u32 = 0xFFFF_0000;
    let cut = |x: f32| f32::from_bits(x.to_bits() & UPPER);
    let (mut low, mut high) = (low, high);
    let mut parts = [0; PARTS];
    for part in &mut parts {
        *part = high.to_bits() & UPPER | low.to_bits() >> 16;
        // Exact: what is left are the lower bits.
        (low, high) = (low - cut(low), high - cut(high));
    }
    parts
}

/// The parts of pairs of numbers: all first parts, all second, all third.
#[inline(always)]
fn split_pairs(low: &[u32], high: &[u32], to: &mut [u32]) {
    let width = low.len();
    let (first, rest) = to.split_at_mut(width);
    let (second, third) = rest.split_at_mut(width);
    let to =
        first.chunks_exact_mut(LINE).zip(second.chunks_exact_mut(LINE)).zip(third.chunks_exact_mut(LINE));
    for (((first, second), third), (low, high)) in to.zip(low.chunks_exact(LINE).zip(high.chunks_exact(LINE)))
    {
        // A loop that the compiler makes vectors of.
        for i in 0..LINE {
            [first[i], second[i], third[i]] = split(f32::from_bits(low[i]), f32::from_bits(high[i]));
        }
    }
}

/// The left operand: rows of k numbers become rows of `row` words, for each [`NUMBERS`] of them as [`split_pairs`].
pub(super) struct SplitRows<'a> {
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    pub(super) words: &'a mut [u32],
    pub(super) row: usize,
}

impl Kernel for SplitRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, words) in self.x.chunks_exact(self.k).zip(self.words.chunks_exact_mut(self.row)) {
            for (x, to) in as_words(x).chunks(NUMBERS).zip(words.chunks_exact_mut(PARTS * MATRIX_STEPS)) {
                let mut whole = [0; NUMBERS];
                let x = if x.len() == NUMBERS {
                    x
                } else {
                    whole[..x.len()].copy_from_slice(x);
                    &whole
                };
                split_pairs(&x[..MATRIX_STEPS], &x[MATRIX_STEPS..], to);
            }
        }
    }
}

/// Some columns of the steps of a panel, f32, as `to`: of each [`NUMBERS`] steps become [`MATRIX_STEPS`] rows, each as [`split_pairs`]. Meanwhile, it
/// asks for the lines from `later` on, which need not be readable, one for each two that it reads.
#[inline(always)]
pub(super) fn split_columns<'a, S: Simd>(
    simd: S,
    panel: &[u32],
    columns: std::ops::Range<usize>,
    later: *const u32,
    to: &'a mut Lines,
) -> &'a [u32] {
    const BLOCK: usize = NUMBERS * PANEL;
    let row = PARTS * columns.len();
    let to = to.words(panel.len().div_ceil(BLOCK) * MATRIX_STEPS * row);
    let whole = panel.len() / BLOCK * BLOCK;
    let mut last = [0; BLOCK];
    last[..panel.len() - whole].copy_from_slice(&panel[whole..]);
    let mut later = later;
    for (block, to) in to.chunks_exact_mut(MATRIX_STEPS * row).enumerate() {
        let from = panel[..whole].get(block * BLOCK..).filter(|from| !from.is_empty()).unwrap_or(&last);
        let (low, high) = from[..BLOCK].split_at(MATRIX_STEPS * PANEL);
        for ((low, high), to) in
            low.chunks_exact(PANEL).zip(high.chunks_exact(PANEL)).zip(to.chunks_exact_mut(row))
        {
            split_pairs(&low[columns.clone()], &high[columns.clone()], to);
            for _ in 0..columns.len() / LINE {
                simd.prefetch(later);
                later = later.wrapping_add(LINE);
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_number_are_bf16_and_add_up_to_it(x: f32, y: f32) {
            prop_assume!(x.is_finite() && y.is_finite());
            let parts = split(x, y);
            for (at, number) in [(16, x), (0, y)] {
                let sum: f64 = parts.iter().map(|word| f64::from(f32::from_bits(word << at & 0xFFFF_0000))).sum();
                // Of the smallest numbers bits are lost that the unit takes for zero anyway.
                let lost = (sum - f64::from(number)).abs();
                prop_assert!(lost == 0.0 || lost < f64::from(f32::MIN_POSITIVE), "{number}: {sum}");
            }
        }
    }
}
