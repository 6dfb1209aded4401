//! Dropout (<https://jmlr.org/papers/v15/srivastava14a.html>; `torch.nn.Dropout`) from a counter-based generator.
//!
//! Whether a number is kept depends on a seed, a stream and the number's row and column alone: nothing is stored for the
//! backward pass, which computes the same mask again, and threads do not matter. The generator is Philox4x32-10 (Salmon et
//! al., "Parallel random numbers: as easy as 1, 2, 3", <https://doi.org/10.1145/2063384.2063405>).

use crate::simd::{Isa, Kernel, Simd, isa};
use crate::threads;

/// One mask over a matrix of any size: what it keeps is multiplied by 1 / (1 − p), the rest becomes 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// p: how probable it is that a number is dropped, from 0 (nothing is) to below 1.
    pub probability: f32,
    /// Of the whole run.
    pub seed: u64,
    /// Which of the run's masks this is; no two places of a network at a step share one.
    pub stream: u64,
}

/// Rows that one thread takes at least.
const NUMBERS_PER_THREAD: usize = 16 * 1024;

/// Rows whose factors are computed side by side.
pub(crate) const PANEL: usize = 16;

impl Dropout {
    /// No mask at all.
    pub const NONE: Self = Self { probability: 0.0, seed: 0, stream: 0 };

    /// Whether it drops nothing.
    pub fn is_none(self) -> bool {
        self.probability <= 0.0
    }

    /// What the numbers of a row are multiplied with: `factors[j]` for column j.
    #[inline(always)]
    pub fn factors(self, row: u32, factors: &mut [f32]) {
        let (limit, kept) = self.limit_and_factor();
        let key = halves(self.seed);
        let stream = halves(self.stream);
        for (block, factors) in factors.chunks_mut(4).enumerate() {
            let words = philox([block as u32, row, stream[0], stream[1]], key);
            for (factor, word) in factors.iter_mut().zip(words) {
                *factor = if word < limit { 0.0 } else { kept };
            }
        }
    }

    /// [`Dropout::factors`] of the 16 rows from `first` on, transposed: `factors[j * 16 + i]` for column j of row `first + i`.
    #[inline(always)]
    pub(crate) fn transposed_factors(self, first: u32, factors: &mut [f32]) {
        let (limit, kept) = self.limit_and_factor();
        let key = halves(self.seed);
        let stream = halves(self.stream);
        for (block, factors) in factors.chunks_mut(4 * PANEL).enumerate() {
            let mut columns = [[0.0; PANEL]; 4];
            // A loop over rows that do the same: the compiler makes vectors of it.
            for i in 0..PANEL {
                let counter = [block as u32, first.wrapping_add(i as u32), stream[0], stream[1]];
                let words = philox(counter, key);
                for (column, word) in columns.iter_mut().zip(words) {
                    column[i] = if word < limit { 0.0 } else { kept };
                }
            }
            factors.copy_from_slice(&columns.as_flattened()[..factors.len()]);
        }
    }

    /// A word below the limit is dropped; a number that is kept is multiplied by the factor.
    fn limit_and_factor(self) -> (u32, f32) {
        // p · 2³², which f64 holds exactly.
        let limit = (f64::from(self.probability) * 4_294_967_296.0) as u32;
        (limit, 1.0 / (1.0 - self.probability))
    }
}

/// x `[rows, width]` becomes what the mask leaves of it. The gradient goes through the same function.
pub fn dropout(x: &mut [f32], width: usize, dropout: Dropout) {
    dropout_on(isa(), x, width, dropout);
}

pub(crate) fn dropout_on(isa: Isa, x: &mut [f32], width: usize, dropout: Dropout) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} numbers are not rows of {width}", x.len());
    if dropout.is_none() {
        return;
    }
    let rows = NUMBERS_PER_THREAD.div_ceil(width);
    threads::pieces(x, rows * width, |i, x| isa.run(Rows { x, width, first: i * rows, dropout }));
}

struct Rows<'a> {
    x: &'a mut [f32],
    width: usize,
    first: usize,
    dropout: Dropout,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut factors = vec![0.0; self.width];
        for (i, row) in self.x.chunks_exact_mut(self.width).enumerate() {
            self.dropout.factors((self.first + i) as u32, &mut factors);
            row.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
        }
    }
}

/// The lower and the upper half.
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// Philox4x32-10: four random words for a counter and a key.
#[inline(always)]
pub(crate) fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let first = halves(u64::from(counter[0]) * 0xD251_1F53);
        let second = halves(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [second[1] ^ counter[1] ^ key[0], second[0], first[1] ^ counter[3] ^ key[1], first[0]];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123's `kat_vectors`.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        let counter = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344];
        let answer = [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1];
        assert_eq!(philox(counter, [0xA409_3822, 0x299F_31D0]), answer);
    }

    #[test]
    fn the_share_that_is_dropped_is_the_probability_and_the_mean_stays() {
        for probability in [0.1f32, 0.5] {
            let dropout = Dropout { probability, seed: 7, stream: 3 };
            let mut x = vec![1.0f32; 1_000_000];
            super::dropout(&mut x, 1000, dropout);
            let dropped = x.iter().filter(|&&x| x == 0.0).count() as f64 / x.len() as f64;
            // Five standard deviations of a share of a million.
            let deviation = 5.0 * (f64::from(probability) * f64::from(1.0 - probability) / 1e6).sqrt();
            assert!((dropped - f64::from(probability)).abs() < deviation, "{dropped}");
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
            assert!((mean - 1.0).abs() < deviation / f64::from(1.0 - probability), "{mean}");
        }
    }

    #[test]
    fn masks_differ_between_rows_streams_and_seeds_and_are_the_same_on_every_instruction_set() {
        let mask = |isa, seed, stream| {
            let mut x = vec![1.0f32; 40 * 999];
            dropout_on(isa, &mut x, 999, Dropout { probability: 0.3, seed, stream });
            x
        };
        let one = mask(isa(), 1, 1);
        for &isa in Isa::available() {
            assert_eq!(mask(isa, 1, 1), one);
        }
        // Two independent masks agree in 0.7² + 0.3² = 58 % of the places.
        let differ = |other: &[f32]| {
            let same = one.iter().zip(other).filter(|(a, b)| a == b).count() as f64 / one.len() as f64;
            assert!((same - 0.58).abs() < 0.02, "{same}");
        };
        differ(&mask(isa(), 1, 2));
        differ(&mask(isa(), 2, 1));
        let mut shifted = one.clone();
        shifted.rotate_left(999);
        differ(&shifted);
    }

    #[test]
    fn the_mask_of_a_row_is_its_factors() {
        let dropout = Dropout { probability: 0.25, seed: 11, stream: 5 };
        let mut x = vec![2.0f32; 300 * 77];
        super::dropout(&mut x, 77, dropout);
        let mut factors = [0.0; 77];
        for (row, x) in x.chunks_exact(77).enumerate() {
            dropout.factors(row as u32, &mut factors);
            assert!(x.iter().zip(factors).all(|(&x, factor)| x == 2.0 * factor));
        }
    }

    #[test]
    fn transposed_factors_are_the_factors_of_each_row() {
        let dropout = Dropout { probability: 0.4, seed: 1 << 40 | 3, stream: 1 << 50 | 9 };
        for first in [0, 1234, u32::MAX - 5] {
            for width in [0, 1, 4, 7, 130] {
                let mut transposed = vec![f32::NAN; width * PANEL];
                dropout.transposed_factors(first, &mut transposed);
                for i in 0..PANEL {
                    let mut factors = vec![0.0; width];
                    dropout.factors(first.wrapping_add(i as u32), &mut factors);
                    let column: Vec<f32> = (0..width).map(|j| transposed[j * PANEL + i]).collect();
                    assert_eq!(factors, column);
                }
            }
        }
    }
}
