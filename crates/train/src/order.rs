//! The random numbers that order data: the Mersenne Twister as PyTorch's CPU generator runs it, and its `randperm`.
//!
//! Not the numbers of dropout, and not the batches: [`crate::samplers`] cuts permutations into those.

use std::fmt;

/// The length of the state, in words.
const WORDS: usize = 624;
/// How far the recurrence reaches.
const REACH: usize = 397;

/// The seed of a `torch.Generator()` that nobody seeded (`c10/core/GeneratorImpl.h`, `default_rng_seed_val`).
pub const UNSEEDED: u64 = 67_280_421_310_721;

/// MT19937, the outputs of 32 bits.
///
/// Source: Matsumoto and Nishimura, "Mersenne Twister" (ACM TOMACS 8, 1998), with the initialisation of 2002 (`init_genrand`);
/// PyTorch has the same in `ATen/core/MT19937RNGEngine.h`.
#[derive(Clone)]
pub struct Mt19937 {
    state: Box<[u32; WORDS]>,
    next: usize,
}

impl fmt::Debug for Mt19937 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mt19937").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Mt19937 {
    /// The generator after `torch.Generator().manual_seed(seed)`. Only the lower 32 bits of a seed count, as there.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = Box::new([seed as u32; WORDS]);
        for i in 1..WORDS {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: WORDS }
    }

    /// Begins again, as `manual_seed`.
    pub fn reseed(&mut self, seed: u64) {
        *self = Self::new(seed);
    }

    /// The next word.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.turn();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn turn(&mut self) {
        for i in 0..WORDS {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let twisted = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + REACH) % WORDS] ^ (y >> 1) ^ twisted;
        }
        self.next = 0;
    }
}

/// A permutation of `0..n`: `torch.randperm(n, generator=generator)`.
///
/// Fisher and Yates forwards: place `i` changes with place `i + word mod (n - i)`; the last place takes no word
/// (`ATen/native/TensorFactories.cpp`, `randperm_cpu`). PyTorch draws 64 bits a place from n = 2³² / 20 ≈ 215 million on, which is more rows
/// than fit here; the two differ there.
///
/// # Panics
/// If `n` does not fit into 32 bits.
#[must_use]
pub fn randperm(n: usize, generator: &mut Mt19937) -> Vec<u32> {
    let count = u32::try_from(n).expect("rows are counted in 32 bits");
    let mut rows: Vec<u32> = (0..count).collect();
    for i in 0..count.saturating_sub(1) {
        let other = i + generator.next_u32() % (count - i);
        rows.swap(i as usize, other as usize);
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::golden;

    fn permutation(value: &Value) -> Vec<u32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn the_words_are_those_of_the_paper() {
        // The authors' mt19937ar.out and the C++ standard (rand.predef): the 10000th word from seed 5489.
        let mut generator = Mt19937::new(5489);
        let last = (0..10_000).map(|_| generator.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn permutations_are_those_of_torch() {
        let golden = golden::read("order.json");
        let long = permutation(&golden["seed 42, n 4792"]);
        assert_eq!(&long[..6], [1478, 2325, 3478, 3238, 3046, 1490]);
        assert_eq!(randperm(4792, &mut Mt19937::new(42)), long);
        let cases = golden["permutations"].as_array().unwrap();
        assert!(cases.len() > 30);
        for case in cases {
            let mut generator = Mt19937::new(case["seed"].as_u64().unwrap());
            for expected in case["permutations"].as_array().unwrap() {
                let n = case["n"].as_u64().unwrap() as usize;
                assert_eq!(
                    randperm(n, &mut generator),
                    permutation(expected),
                    "seed {}, n {n}",
                    case["seed"]
                );
            }
        }
        assert!(randperm(0, &mut Mt19937::new(1)).is_empty());
    }

    #[test]
    fn a_seed_begins_again() {
        let mut generator = Mt19937::new(7);
        let first = randperm(50, &mut generator);
        assert_ne!(randperm(50, &mut generator), first);
        generator.reseed(7);
        assert_eq!(randperm(50, &mut generator), first);
    }
}
