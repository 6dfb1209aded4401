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

/// Rows of bits as [`hamming`] takes them on one side: word by word, the first words of all rows first.
#[derive(Debug)]
pub struct BitColumns {
    words: Vec<u64>,
    rows: usize,
    bytes: usize,
}

/// Rows that are counted side by side.
const ROWS: usize = 64;

impl BitColumns {
    /// Of rows of `bytes` bytes. Panics if they are not whole.
    pub fn new(rows: &[u8], bytes: usize) -> Self {
        assert!(bytes > 0 && rows.len().is_multiple_of(bytes), "rows of {bytes} bytes");
        let (count, words) = (rows.len() / bytes, bytes.div_ceil(8));
        let mut own = vec![0; words * count.next_multiple_of(ROWS)];
        for (row, bytes) in rows.chunks_exact(bytes).enumerate() {
            for (at, eight) in bytes.chunks(8).enumerate() {
                own[row / ROWS * ROWS * words + at * ROWS + row % ROWS] = word(eight);
            }
        }
        Self { words: own, rows: count, bytes }
    }
}

/// At most eight bytes, the missing ones 0.
fn word(eight: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..eight.len()].copy_from_slice(eight);
    u64::from_le_bytes(bytes)
}

/// How many bits differ between each row of `a` `[m, bytes]` and each of `b` `[n, bytes]`, negated: out `[m, n]`. Counts above 2²⁴ are rounded.
pub fn hamming(a: &[u8], b: &BitColumns, out: &mut [f32]) {
    hamming_on(isa(), a, b, out);
}

pub(crate) fn hamming_on(isa: Isa, a: &[u8], b: &BitColumns, out: &mut [f32]) {
    assert!(a.len().is_multiple_of(b.bytes), "rows of {} bytes", b.bytes);
    assert_eq!(out.len(), a.len() / b.bytes * b.rows, "a distance per pair");
    if out.is_empty() {
        return;
    }
    let kernel = Hamming { a, b, out };
    // Counting has an instruction of its own, which not all that have AVX-512 have.
    #[cfg(target_arch = "x86_64")]
    if matches!(isa, Isa::Avx512Amx | Isa::Avx512Bf16 | Isa::Avx512Vnni | Isa::Avx512)
        && std::arch::is_x86_feature_detected!("avx512vpopcntdq")
        && std::arch::is_x86_feature_detected!("avx512f")
    {
        #[target_feature(enable = "avx512f,avx512vpopcntdq")]
        fn counted(kernel: Hamming<'_>) {
            kernel.count();
        }
        // SAFETY: both features were just found.
        return unsafe { counted(kernel) };
    }
    isa.run(kernel);
}

struct Hamming<'a> {
    a: &'a [u8],
    b: &'a BitColumns,
    out: &'a mut [f32],
}

impl Hamming<'_> {
    /// The inner loop runs over rows side by side, so that the compiler makes vectors of it.
    #[inline(always)]
    fn count(self) {
        let words = self.b.bytes.div_ceil(8);
        let mut row = vec![0; words];
        for (a, out) in self.a.chunks_exact(self.b.bytes).zip(self.out.chunks_exact_mut(self.b.rows)) {
            row.iter_mut().zip(a.chunks(8)).for_each(|(to, eight)| *to = word(eight));
            for (block, out) in self.b.words.chunks_exact(words * ROWS).zip(out.chunks_mut(ROWS)) {
                let mut sums = [0u64; ROWS];
                for (x, block) in row.iter().zip(block.as_chunks::<ROWS>().0) {
                    for j in 0..ROWS {
                        sums[j] += u64::from((x ^ block[j]).count_ones());
                    }
                }
                out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = 0.0 - *sum as f32);
            }
        }
    }
}

impl Kernel for Hamming<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.count();
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
        fn counts_the_bits(bytes in 1usize..40, a in prop::collection::vec(any::<u8>(), 0..200), b in prop::collection::vec(any::<u8>(), 0..900)) {
            let (a, b) = (&a[..a.len() / bytes * bytes], &b[..b.len() / bytes * bytes]);
            let count = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| (0..8).filter(|i| (a ^ b) >> i & 1 == 1).count() as u32).sum::<u32>();
            let pairs = a.chunks(bytes).flat_map(|a| b.chunks(bytes).map(move |b| -(count(a, b) as f32)));
            let expected: Vec<f32> = pairs.collect();
            let columns = BitColumns::new(b, bytes);
            for &isa in Isa::available() {
                let mut out = vec![f32::NAN; expected.len()];
                hamming_on(isa, a, &columns, &mut out);
                prop_assert_eq!(&out, &expected);
            }
        }
    }
}
