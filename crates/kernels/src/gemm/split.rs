//! f32 as three bf16 for a unit that multiplies tiles of bf16 many times as fast as vectors multiply f32: how numbers are split. What is multiplied
//! with what stands at [`MatrixUnit::add_split`].
//!
//! A number of 24 bits is the sum of its first, its second and its third eight, x = x₁ + x₂ + x₃, each of which is a bf16. Of the nine products of
//! x₁ + x₂ + x₃ and y₁ + y₂ + y₃, the six of x₁ y₁, x₁ y₂, x₂ y₁, x₁ y₃, x₂ y₂ and x₃ y₁ are computed, without rounding, and summed in f32; the others
//! together are below 2⁻²¹ of the product and 2⁻²⁴ on average, and f32 rounds at 2⁻²⁴ (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16
//! Artificial Intelligence Datatype For Higher-Precision Computations"). Parts below 2⁻¹²⁶ count as zero.
//!
//! [`MatrixUnit::add_split`]: crate::simd::matrix::MatrixUnit::add_split

use super::tile::PANEL;
use crate::lines::{LINE, Lines};
use crate::simd::matrix::{MATRIX_STEPS, MOMENTS, Meanwhile, PARTS};
use crate::simd::{Kernel, Simd};

/// Numbers of k that one product of tiles takes: a word holds number i in its lower half and number i + 16 in its upper.
pub(super) const NUMBERS: usize = 2 * MATRIX_STEPS;

/// Words of a row of `k` numbers: for each [`NUMBERS`] of them the first parts, the second and the third.
pub(super) fn words(k: usize) -> usize {
    k.div_ceil(NUMBERS) * MATRIX_STEPS * PARTS
}

/// The left operand: rows of k numbers become rows of `row` words, for each [`NUMBERS`] of them as [`Simd::split`].
pub(super) struct SplitRows<'a> {
    pub(super) x: &'a [f32],
    pub(super) k: usize,
    pub(super) words: &'a mut [u32],
    pub(super) row: usize,
}

impl Kernel for SplitRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, words) in self.x.chunks_exact(self.k).zip(self.words.chunks_exact_mut(self.row)) {
            for (x, to) in x.chunks(NUMBERS).zip(words.as_chunks_mut().0.as_chunks_mut().0) {
                let mut whole = [0.0; NUMBERS];
                whole[..x.len()].copy_from_slice(x);
                let [low, high] = whole.as_chunks().0 else { unreachable!("two lines") };
                simd.split(low, high, to.each_mut());
            }
        }
    }
}

/// The columns of a panel as a unit multiplies them, and those that it needs next, which are made while it multiplies. Each [`NUMBERS`] steps of a panel
/// are [`MATRIX_STEPS`] rows, each of them the first parts of all columns, the second and the third.
#[derive(Default)]
pub(super) struct Columns {
    /// The present ones, the next ones: by turns.
    forms: [Lines; 2],
    present: usize,
    /// The addresses of the panels whose columns they are; 0: of none.
    panels: [usize; 2],
    /// How many pairs of lines of the next ones are done, and how much is due of one more.
    done: usize,
    due: usize,
}

/// Numbers of a panel that are split at once, and pairs of lines in them.
const BLOCK: usize = NUMBERS * PANEL;
const PAIRS: usize = BLOCK / LINE / 2;

impl Columns {
    /// Forgets what it holds: addresses mean something only as long as the weight is there.
    pub(super) fn forget(&mut self) {
        *self = Self { forms: std::mem::take(&mut self.forms), ..Self::default() };
    }

    /// The columns of `panel`, and what makes those of `next` meanwhile, or if there are none, asks for `later`. It is done after `tiles` tiles of as
    /// many steps as `panel` has.
    #[inline(always)]
    pub(super) fn of<'a, S: Simd>(
        &'a mut self,
        simd: S,
        panel: &[f32],
        next: &'a [f32],
        later: &'a [f32],
        tiles: usize,
    ) -> (&'a [u32], Ahead<'a, S>) {
        let address = |panel: &[f32]| panel.as_ptr() as usize;
        if self.panels[self.present] != address(panel) {
            self.present ^= 1;
            if self.panels[self.present] != address(panel) {
                self.done = 0;
            }
            let to = self.forms[self.present].words(words(panel.len() / PANEL) * PANEL);
            for pair in self.done..panel.len().div_ceil(BLOCK) * PAIRS {
                split_pair(simd, panel, pair, to);
            }
            (self.done, self.due) = (0, 0);
            self.panels[self.present] = address(panel);
            self.panels[self.present ^ 1] = address(next);
        }
        let [first, second] = &mut self.forms;
        let (present, ahead) = if self.present == 0 { (first, second) } else { (second, first) };
        // Cut to its length: units read it without asking whether it is there.
        let present = &present.all()[..words(panel.len() / PANEL) * PANEL];
        let (panel, to) = if next.is_empty() {
            (later, &mut [][..])
        } else {
            (next, ahead.words(words(next.len() / PANEL) * PANEL))
        };
        let (done, due) = (&mut self.done, &mut self.due);
        (present, Ahead { simd, panel, to, done, due, whole: MOMENTS * tiles })
    }
}

/// Splits what comes next piece by piece, or if it has no place for it, only asks for it.
pub(super) struct Ahead<'a, S> {
    simd: S,
    panel: &'a [f32],
    to: &'a mut [u32],
    done: &'a mut usize,
    due: &'a mut usize,
    /// Moments in which as many steps are multiplied as are split for [`PAIRS`].
    whole: usize,
}

impl<S: Simd> Meanwhile for Ahead<'_, S> {
    #[inline(always)]
    fn more(&mut self, _: usize) {
        *self.due += PAIRS;
        while *self.due >= self.whole {
            *self.due -= self.whole;
            if *self.done >= self.panel.len().div_ceil(BLOCK) * PAIRS {
                return;
            }
            if self.to.is_empty() {
                let at = self.panel.as_ptr().wrapping_add(*self.done * 2 * LINE);
                self.simd.prefetch(at);
                self.simd.prefetch(at.wrapping_add(LINE));
            } else {
                split_pair(self.simd, self.panel, *self.done, self.to);
            }
            *self.done += 1;
        }
    }
}

/// Splits two lines of a panel, and asks for those one block further.
#[inline(always)]
fn split_pair<S: Simd>(simd: S, panel: &[f32], pair: usize, to: &mut [u32]) {
    const ROW: usize = PANEL / LINE;
    const ZERO: [f32; LINE] = [0.0; LINE];
    let (block, row, column) = (pair / PAIRS, pair % PAIRS / ROW, pair % ROW);
    let line = |row: usize| {
        let at = block * BLOCK + row * PANEL + column * LINE;
        simd.prefetch(panel.as_ptr().wrapping_add(at + BLOCK));
        panel.get(at..).and_then(|panel| panel.first_chunk()).unwrap_or(&ZERO)
    };
    let to = &mut to[(block * MATRIX_STEPS + row) * PARTS * PANEL..][..PARTS * PANEL];
    let parts = to.as_chunks_mut::<PANEL>().0;
    let [first, second, third] = parts else { unreachable!("a row has three parts") };
    let parts = [first, second, third].map(|part| &mut part.as_chunks_mut().0[column]);
    simd.split(line(row), line(row + MATRIX_STEPS), parts);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::Isa;

    /// Sixteen times the same two numbers.
    struct Split(f32, f32);

    impl Kernel for Split {
        type Output = [u32; PARTS];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [u32; PARTS] {
            let mut parts = [[0; LINE]; PARTS];
            simd.split(&[self.0; LINE], &[self.1; LINE], parts.each_mut());
            assert!(parts.iter().all(|part| part.iter().all(|word| *word == part[0])), "lanes differ");
            parts.map(|part| part[0])
        }
    }

    proptest! {
        #[test]
        fn the_parts_of_a_number_are_bf16_and_add_up_to_it(x: f32, y: f32) {
            prop_assume!(x.is_finite() && y.is_finite());
            let each = Isa::available().iter().map(|isa| isa.run(Split(x, y)));
            let parts = each.reduce(|parts, others| { assert_eq!(parts, others); parts }).expect("portable");
            for (at, number) in [(16, x), (0, y)] {
                let sum: f64 = parts.iter().map(|word| f64::from(f32::from_bits(word << at & 0xFFFF_0000))).sum();
                // Of the smallest numbers bits are lost that the unit takes for zero anyway.
                let lost = (sum - f64::from(number)).abs();
                prop_assert!(lost == 0.0 || lost < f64::from(f32::MIN_POSITIVE), "{number}: {sum}");
            }
        }
    }
}
