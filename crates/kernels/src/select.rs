//! Which scores of a search are worth a look, and distances of rows of bits.

use crate::simd::{Isa, Kernel, Simd, isa};

/// Vectors of scores whose answer is looked at at once.
const TOGETHER: usize = 4;

/// Appends to `found` the places j whose score may reach one of its two floors, that of its place and `floor`: not
/// `scores[j] + slack · widths[j] < min(floors[j], floor)`. A NaN among the scores reaches any floor; floors are not NaN. All of one length.
pub fn reaching(
    scores: &[f32],
    (floors, floor): (&[f32], f32),
    (widths, slack): (&[f32], f32),
    found: &mut Vec<u32>,
) {
    reaching_on(isa(), scores, (floors, floor), (widths, slack), found);
}

pub(crate) fn reaching_on(
    isa: Isa,
    scores: &[f32],
    (floors, floor): (&[f32], f32),
    (widths, slack): (&[f32], f32),
    found: &mut Vec<u32>,
) {
    assert!(scores.len() == floors.len() && scores.len() == widths.len(), "a floor and a width per score");
    isa.run(Reaching { scores, floors, floor, widths, slack, found });
}

struct Reaching<'a> {
    scores: &'a [f32],
    floors: &'a [f32],
    floor: f32,
    widths: &'a [f32],
    slack: f32,
    found: &'a mut Vec<u32>,
}

impl Kernel for Reaching<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
        let (slack, floor) = (simd.splat(self.slack), simd.splat(self.floor));
        let at_once = TOGETHER * S::LANES;
        let mut flags = [0.0f32; 64];
        for first in (0..self.scores.len()).step_by(at_once) {
            let here = first..(first + at_once).min(self.scores.len());
            let mut vectors = [zero; TOGETHER];
            let mut any = zero;
            for v in 0..TOGETHER {
                let from = (here.start + v * S::LANES).min(here.end);
                let to = (from + S::LANES).min(here.end);
                let load = |x: &[f32]| {
                    if to - from == S::LANES { simd.load(&x[from..]) } else { simd.load_part(&x[from..to]) }
                };
                let reach = simd.mul_add(load(self.widths), slack, load(self.scores));
                vectors[v] = simd.select_less(reach, simd.min(load(self.floors), floor), zero, one);
                any = simd.max(vectors[v], any);
            }
            // Nearly always none.
            if simd.largest(any) == 0.0 {
                continue;
            }
            for v in 0..TOGETHER {
                simd.store(vectors[v], &mut flags[v * S::LANES..]);
            }
            let places = flags[..here.len()].iter().zip(here);
            self.found.extend(places.filter(|(flag, _)| **flag > 0.0).map(|(_, at)| at as u32));
        }
    }
}

/// How many bits differ between each row of a `[m, bytes]` and each of b `[n, bytes]`: out `[m, n]`.
pub fn hamming(a: &[u8], b: &[u8], bytes: usize, out: &mut [u32]) {
    hamming_on(isa(), a, b, bytes, out);
}

pub(crate) fn hamming_on(isa: Isa, a: &[u8], b: &[u8], bytes: usize, out: &mut [u32]) {
    assert!(bytes > 0 && a.len().is_multiple_of(bytes) && b.len().is_multiple_of(bytes), "rows of {bytes}");
    assert_eq!(out.len(), (a.len() / bytes) * (b.len() / bytes), "a distance per pair");
    if !out.is_empty() {
        isa.run(Hamming { a, b, bytes, out });
    }
}

struct Hamming<'a> {
    a: &'a [u8],
    b: &'a [u8],
    bytes: usize,
    out: &'a mut [u32],
}

impl Kernel for Hamming<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let bytes = self.bytes;
        let word = |eight: &[u8]| u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let rows = self.a.chunks_exact(bytes).zip(self.out.chunks_exact_mut(self.b.len() / bytes));
        for (a, out) in rows {
            for (b, out) in self.b.chunks_exact(bytes).zip(out) {
                let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
                // Eight bytes at a time: the instruction sets have an instruction that counts.
                let whole: u32 = a.0.iter().zip(b.0).map(|(a, b)| (word(a) ^ word(b)).count_ones()).sum();
                let rest: u32 = a.1.iter().zip(b.1).map(|(a, b)| (a ^ b).count_ones()).sum();
                *out = whole + rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_the_definition_finds(
            scores in prop::collection::vec(prop::sample::select(vec![-1.0f32, 0.0, 0.5, 1.0, f32::NAN]), 0..300),
            floors in prop::collection::vec(prop::sample::select(vec![0.0f32, 0.5, 1.0, 2.0, f32::NEG_INFINITY]), 300),
            floor in prop::sample::select(vec![0.5f32, f32::INFINITY]),
            slack in prop::sample::select(vec![0.0f32, 0.5]),
        ) {
            let floors = &floors[..scores.len()];
            let widths = vec![1.0; scores.len()];
            let below = |j: usize| scores[j] + slack < floors[j].min(floor);
            let expected: Vec<u32> = (0..scores.len()).filter(|&j| !below(j)).map(|j| j as u32).collect();
            for &isa in Isa::available() {
                let mut found = Vec::new();
                reaching_on(isa, &scores, (floors, floor), (&widths, slack), &mut found);
                prop_assert_eq!(&found, &expected, "{:?}", isa);
            }
        }

        #[test]
        fn counts_the_bits(bytes in 1usize..40, a in prop::collection::vec(any::<u8>(), 0..200), b in prop::collection::vec(any::<u8>(), 0..200)) {
            let (a, b) = (&a[..a.len() / bytes * bytes], &b[..b.len() / bytes * bytes]);
            let count = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| (0..8).filter(|i| (a ^ b) >> i & 1 == 1).count() as u32).sum::<u32>();
            let expected: Vec<u32> = a.chunks(bytes).flat_map(|a| b.chunks(bytes).map(move |b| count(a, b))).collect();
            for &isa in Isa::available() {
                let mut out = vec![0; expected.len()];
                hamming_on(isa, a, b, bytes, &mut out);
                prop_assert_eq!(&out, &expected);
            }
        }
    }
}
