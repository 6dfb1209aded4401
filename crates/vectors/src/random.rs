//! Random numbers that a seed decides: SplitMix64 (Steele, Lea and Flood 2014).

/// A sequence.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of all 64-bit numbers, any.
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to 1, without 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `count` of the places 0 to `all` − 1, any with the same chance, ascending (selection sampling: Knuth, volume 2, 3.4.2, algorithm S).
    pub(crate) fn sample(&mut self, all: usize, count: usize) -> Vec<usize> {
        let mut wanted = count.min(all);
        let mut chosen = Vec::with_capacity(wanted);
        for place in 0..all {
            if self.part() * ((all - place) as f64) < wanted as f64 {
                chosen.push(place);
                wanted -= 1;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_as_likely() {
        let mut counts = [0; 6];
        for seed in 0..6000 {
            let chosen = Random::new(seed).sample(6, 2);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            chosen.iter().for_each(|&at| counts[at] += 1);
        }
        // 2000 each, with a deviation of 37.
        assert!(counts.iter().all(|&count| (1850..2150).contains(&count)), "{counts:?}");
        assert_eq!(Random::new(1).sample(3, 9), [0, 1, 2]);
    }
}
