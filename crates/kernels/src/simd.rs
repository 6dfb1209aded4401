//! Instruction sets: which there are, which one is in use, and the vectors that algorithms are generic over.
//!
//! An algorithm is a [`Kernel`]: a value that holds the operands, with one generic body. [`Isa::run`] compiles this body
//! once per instruction set. The bodies contain no intrinsics; those stand in the instances of [`Simd`], one file each:
//! `avx512.rs`, `avx2.rs`, `neon.rs` and `portable.rs`; and, for units that multiply whole tiles (`matrix.rs`), in `amx.rs`. Another one is another file here and another variant of [`Isa`].

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod derivatives;
pub(crate) mod math;
pub mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::sync::OnceLock;

use matrix::{MatrixUnit, PARTS};

/// A value that proves that an instruction set is there, with the operations on its vectors.
///
/// Products in half or quarter precision work on words of four bytes: two bf16, or four int8, whose products are added up
/// in one lane.
///
/// Everything is `#[inline(always)]`, so that it is compiled inside [`Isa::run`] with the features of the set. Lanes do
/// not influence each other: what a lane computes depends neither on its place nor on the others (but for [`Simd::sum`]).
pub trait Simd: Copy + Send + Sync {
    /// `LANES` numbers.
    type Vector: Copy;

    /// `LANES` words of 32 bits: integers, or the operands of [`Simd::dot_bf16`] and [`Simd::dot_i8`].
    type Words: Copy;

    /// What multiplies whole tiles of words.
    type Matrix: MatrixUnit;

    /// Numbers in a vector: 8 or 16.
    const LANES: usize;

    /// Rows of the largest tile of a matrix product whose accumulators fit into the registers: at most 6.
    const TILE_ROWS: usize;

    /// Vectors side by side in that tile: 2 or 4.
    const TILE_VECTORS: usize;

    /// The unit for products of tiles, ready for use in this thread, if the set has one.
    fn matrix_unit(self) -> Option<Self::Matrix>;

    /// All lanes the same.
    fn splat(self, x: f32) -> Self::Vector;

    /// The first `LANES` numbers; panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::Vector;

    /// At most `LANES` numbers, then zeros.
    fn load_part(self, from: &[f32]) -> Self::Vector;

    /// Writes the first `LANES` numbers; panics if there are fewer.
    fn store(self, v: Self::Vector, to: &mut [f32]);

    /// Writes as many lanes as there is place for.
    fn store_part(self, v: Self::Vector, to: &mut [f32]);

    /// `LANES` numbers from a pointer without alignment.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_from(self, from: *const f32) -> Self::Vector;

    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a − b
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a · b
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a / b
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a · b + c, rounded once where the instruction set has it, else twice.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The smaller; b if one is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The larger; b if one is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// |a|
    fn abs(self, a: Self::Vector) -> Self::Vector;

    /// The magnitude of a with the sign of b.
    fn copy_sign(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Per lane: `yes` where a < b, else `no`.
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;

    /// y · 2ⁿ for an integer n in −151 … 129 and y in 0.5 … 2: rounded once, subnormal or infinite where f32 ends.
    fn times_power_of_two(self, y: Self::Vector, n: Self::Vector) -> Self::Vector;

    /// `LANES` words from a pointer without alignment.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn words_from(self, from: *const u32) -> Self::Words;

    /// Writes the transpose of `LANES` rows of `LANES` words, which are `from_row` words apart, to rows `to_row` words apart.
    ///
    /// # Safety
    /// The rows must be readable and writable.
    unsafe fn transpose(self, from: *const u32, from_row: usize, to: *mut u32, to_row: usize);

    /// Asks for the line of the cache at this address, which need not be readable, before it is needed. It may do nothing.
    fn prefetch<T>(self, at: *const T);

    /// All lanes the same word.
    fn splat_word(self, word: u32) -> Self::Words;

    /// Per lane: sum + a₀ b₀ + a₁ b₁, where a word is two bf16, the first in the lower half. The order in which the three
    /// are added, and whether each is rounded, is the instruction set's.
    fn dot_bf16(self, a: Self::Words, b: Self::Words, sum: Self::Vector) -> Self::Vector;

    /// Per lane: sum + Σ aᵢ bᵢ, exactly, where a word is four unsigned bytes in a and four signed ones in b.
    fn dot_i8(self, a: Self::Words, b: Self::Words, sum: Self::Words) -> Self::Words;

    /// Per lane: sum + a₀ b₀ + a₁ b₁, exactly, where a word is two integers of 16 bits: in a, such as fit into an unsigned byte; in b, into a
    /// signed one.
    fn dot_i16(self, a: Self::Words, b: Self::Words, sum: Self::Words) -> Self::Words;

    /// Each word as a signed integer, rounded to f32.
    fn integers_to_f32(self, words: Self::Words) -> Self::Vector;

    /// Per lane a word of two bf16, `low` in the lower half, both rounded to the nearest, ties to even: the operands of [`Simd::dot_bf16`].
    fn pairs_of_bf16(self, low: Self::Vector, high: Self::Vector) -> Self::Words {
        let (mut lows, mut highs, mut words) = ([0; 16], [0; 16], [0; 16]);
        self.store_bf16(low, &mut lows);
        self.store_bf16(high, &mut highs);
        for (word, (low, high)) in words.iter_mut().zip(lows.into_iter().zip(highs)) {
            *word = u32::from(high) << 16 | u32::from(low);
        }
        // SAFETY: there are sixteen words, and no vector has more lanes.
        unsafe { self.words_from(words.as_ptr()) }
    }

    /// Sixteen pairs of numbers as the parts that [`MatrixUnit::add_split`] takes: each the first bf16 of what is left of the number, `low` in the
    /// lower half of a word.
    fn split(self, low: &[f32; 16], high: &[f32; 16], parts: [&mut [u32; 16]; PARTS]) {
        const UPPER: u32 = 0xFFFF_0000;
        let cut = |x: f32| f32::from_bits(x.to_bits() & UPPER);
        let (mut low, mut high) = (*low, *high);
        for part in parts {
            for (word, (low, high)) in part.iter_mut().zip(low.iter_mut().zip(&mut high)) {
                *word = high.to_bits() & UPPER | low.to_bits() >> 16;
                // Exact: what is left are the lower bits.
                (*low, *high) = (*low - cut(*low), *high - cut(*high));
            }
        }
    }

    /// Writes `LANES` words; panics if there is less place.
    fn store_words(self, words: Self::Words, to: &mut [u32]);

    /// Writes `LANES` numbers as bf16, rounded to the nearest, ties to even; panics if there is less place.
    fn store_bf16(self, v: Self::Vector, to: &mut [u16]);

    /// Writes `LANES` numbers between 0 and 255 as bytes, rounded to the nearest, ties to even; panics if there is less place.
    fn store_bytes(self, v: Self::Vector, to: &mut [u8]);

    /// a · b per lane, the lower 32 bits.
    fn mul_words(self, a: Self::Words, b: Self::Words) -> Self::Words;

    /// a + b per lane, the lower 32 bits.
    fn add_words(self, a: Self::Words, b: Self::Words) -> Self::Words;

    /// The largest of all lanes; no lane is NaN.
    fn largest(self, v: Self::Vector) -> f32;

    /// The sum of all lanes, in one fixed order.
    fn sum(self, v: Self::Vector) -> f32;
}

/// An algorithm with its operands.
pub trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`: without, they would be compiled without the instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512, VNNI, BF16 and AMX for bf16 and int8 (Sapphire Rapids), on Linux: `avx512-amx`. AMX multiplies f32 too, as three bf16 each.
    Avx512Amx,
    /// x86-64 with AVX-512 (F, BW, DQ, VL), VNNI and BF16 (Zen 4, Cooper Lake): `avx512-bf16`. On Intel's, `avx512-vnni` is faster and comes before.
    Avx512Bf16,
    /// x86-64 with AVX-512 and VNNI (Cascade Lake, Ice Lake): `avx512-vnni`.
    Avx512Vnni,
    /// x86-64 with AVX-512 (Skylake-X): `avx512`.
    Avx512,
    /// x86-64 with AVX2, FMA and AVX-VNNI (Alder Lake): `avx2-vnni`.
    Avx2Vnni,
    /// x86-64 with AVX2 and FMA: `avx2`.
    Avx2,
    /// AArch64 with NEON and I8MM (Neoverse V1, Apple M2): `neon-i8mm`.
    NeonI8mm,
    /// AArch64 with NEON and DotProd (Neoverse N1, Cortex-A76, Apple M1): `neon-dotprod`.
    NeonDotprod,
    /// AArch64 with NEON, which all of them have: `neon`.
    Neon,
    /// Plain arrays, whatever the compiler makes of them: `portable`.
    Portable,
}

impl Isa {
    /// All, the best first.
    const ALL: [Self; 10] = [
        Self::Avx512Amx,
        Self::Avx512Bf16,
        Self::Avx512Vnni,
        Self::Avx512,
        Self::Avx2Vnni,
        Self::Avx2,
        Self::NeonI8mm,
        Self::NeonDotprod,
        Self::Neon,
        Self::Portable,
    ];

    /// Those of this machine, the best first.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let all = Self::ALL.into_iter().filter(|isa| isa.is_here());
            // Intel's processors multiply bf16 in vectors at half the speed of f32: there it is better widened, as without the instruction.
            #[cfg(target_arch = "x86_64")]
            if avx512::is_of_intel() {
                let (bf16, others): (Vec<Isa>, Vec<Isa>) = all.partition(|isa| *isa == Self::Avx512Bf16);
                // It has all of `Avx512Vnni`, which is so before it.
                let place = others.iter().position(|isa| *isa == Self::Avx512).unwrap_or(others.len());
                return [&others[..place], &bf16, &others[place..]].concat();
            }
            all.collect()
        })
    }

    /// The name in `SENTIR_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Amx => "avx512-amx",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512 => "avx512",
            Self::Avx2Vnni => "avx2-vnni",
            Self::Avx2 => "avx2",
            Self::NeonI8mm => "neon-i8mm",
            Self::NeonDotprod => "neon-dotprod",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Whether products of int8 are several times as fast as those of f32.
    pub fn has_fast_int8(self) -> bool {
        !matches!(self, Self::Avx512 | Self::Avx2 | Self::Neon | Self::Portable)
    }

    /// Whether products of bf16 are twice as fast as those of f32.
    pub fn has_fast_bf16(self) -> bool {
        matches!(self, Self::Avx512Amx | Self::Avx512Bf16)
    }

    /// Whether products are those of a [`MatrixUnit`].
    pub fn has_matrix_unit(self) -> bool {
        matches!(self, Self::Avx512Amx)
    }

    fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Amx => avx512::Avx512::<{ avx512::AMX }>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => avx512::Avx512::<{ avx512::BF16 }>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512::Avx512::<{ avx512::VNNI }>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::Avx512::<{ avx512::PLAIN }>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni => avx2::Avx2::<true>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::<false>::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => neon::Neon::<{ neon::I8MM }>::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => neon::Neon::<{ neon::DOTPROD }>::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::<{ neon::PLAIN }>::new().is_some(),
            Self::Portable => true,
            _ => false,
        }
    }

    /// Runs a kernel compiled for this instruction set. Panics if this machine lacks it.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        const LACKING: &str = "an instruction set of this machine";
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Amx => avx512::Avx512::<{ avx512::AMX }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => avx512::Avx512::<{ avx512::BF16 }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512::Avx512::<{ avx512::VNNI }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::Avx512::<{ avx512::PLAIN }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni => avx2::Avx2::<true>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::<false>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => neon::Neon::<{ neon::I8MM }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => neon::Neon::<{ neon::DOTPROD }>::new().expect(LACKING).run(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::Neon::<{ neon::PLAIN }>::new().expect(LACKING).run(kernel),
            Self::Portable => kernel.run(portable::Portable),
            _ => panic!("{LACKING}"),
        }
    }
}

/// The instruction set in use: the best of this machine, or the one that the environment variable `SENTIR_ISA` names
/// (see [`Isa`]). Chosen once. A name that cannot be obeyed is ignored here; programs ask [`check_isa`] first.
#[inline]
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| check_isa().unwrap_or(Isa::available()[0]))
}

/// What `SENTIR_ISA` asks for, or the best of this machine if it is not set or empty.
///
/// # Errors
/// If it names an unknown instruction set, or one that this machine lacks. The message says which there are.
pub fn check_isa() -> Result<Isa, String> {
    match std::env::var_os("SENTIR_ISA") {
        Some(name) if !name.is_empty() => parse(&name.to_string_lossy()),
        _ => Ok(Isa::available()[0]),
    }
}

fn parse(name: &str) -> Result<Isa, String> {
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
        let known = Isa::ALL.iter().any(|isa| isa.name() == name);
        let problem = if known { "is not available on this machine" } else { "is no known instruction set" };
        format!("SENTIR_ISA={name} {problem}; use one of: {}, or unset it", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_obeyed_or_explained() {
        for &isa in Isa::available() {
            assert_eq!(parse(isa.name()), Ok(isa));
        }
        let message = parse("avx9").unwrap_err();
        assert!(message.contains("SENTIR_ISA=avx9 is no known instruction set"), "{message}");
        assert!(message.contains("portable"), "{message}");
    }

    #[test]
    fn every_machine_has_the_portable_set() {
        assert_eq!(Isa::available().last(), Some(&Isa::Portable));
        assert!(Isa::available().contains(&isa()));
    }

    struct Lanes;

    impl Kernel for Lanes {
        type Output = usize;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }

    struct Parts<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Parts<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            let v = simd.load_part(self.0);
            simd.store_part(v, self.1);
            simd.sum(v)
        }
    }

    #[test]
    fn parts_of_vectors_touch_nothing_else() {
        let numbers: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        for &isa in Isa::available() {
            for n in 0..=isa.run(Lanes) {
                let mut to = [-1.0; 16];
                let sum = isa.run(Parts(&numbers[..n], &mut to[..n]));
                assert_eq!(sum, numbers[..n].iter().sum::<f32>());
                assert_eq!((&to[..n], &to[n..]), (&numbers[..n], &[-1.0; 16][n..]));
            }
        }
    }

    struct Halves<'a>(&'a [f32], &'a [u32], &'a mut [u16], &'a mut [u8]);

    impl Kernel for Halves<'_> {
        type Output = ([f32; 16], [f32; 16], f32, [f32; 16]);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let v = simd.load(self.0);
            simd.store_bf16(v, self.2);
            let limits = (simd.splat(0.0), simd.splat(255.0));
            simd.store_bytes(simd.min(limits.1, simd.max(limits.0, v)), self.3);
            let mut out = ([0.0; 16], [0.0; 16], simd.largest(v), [0.0; 16]);
            // SAFETY: the tests give sixteen words.
            let words = unsafe { simd.words_from(self.1.as_ptr()) };
            let a = simd.splat_word(0xC080_3F80);
            simd.store(simd.dot_bf16(a, words, simd.splat(0.5)), &mut out.0);
            let a = simd.splat_word(0xFF80_0201);
            let product = simd.mul_words(simd.splat_word(7), simd.splat_word((-4i32).cast_unsigned()));
            let start = simd.add_words(product, simd.splat_word(7));
            let sums = simd.dot_i8(a, words, start);
            simd.store(simd.integers_to_f32(sums), &mut out.1);
            // The same bytes, two by two.
            let mut word = [[0; 16]; 2];
            for (i, from) in self.1.iter().enumerate() {
                let [p, q, r, s] =
                    from.to_le_bytes().map(|byte| u32::from(i16::from(byte.cast_signed()).cast_unsigned()));
                (word[0][i], word[1][i]) = (q << 16 | p, s << 16 | r);
            }
            let mut again = start;
            for (word, a) in word.iter().zip([0x0002_0001, 0x00FF_0080]) {
                // SAFETY: there are sixteen words.
                again = simd.dot_i16(simd.splat_word(a), unsafe { simd.words_from(word.as_ptr()) }, again);
            }
            simd.store(simd.integers_to_f32(again), &mut out.3);
            out
        }
    }

    #[test]
    fn narrow_numbers_are_what_they_are_on_every_instruction_set() {
        let numbers: Vec<f32> =
            [0.5, -0.5, 1.5, 2.5, -128.0, 127.0, 126.6, -127.4, 3.3, 1e-3, -0.0, 7.0, 8.5, -9.5, 100.25, 0.1]
                .into();
        let words: Vec<u32> =
            (0..16u32).map(|i| 0x3F80_4000u32.wrapping_add(i.wrapping_mul(0x0103_0507))).collect();
        for &isa in Isa::available() {
            let (mut halves, mut bytes) = ([0u16; 16], [0u8; 16]);
            let lanes = isa.run(Lanes);
            let (products, sums, largest, again) = isa.run(Halves(&numbers, &words, &mut halves, &mut bytes));
            assert_eq!(largest, 127.0);
            for i in 0..lanes {
                let x = numbers[i];
                assert_eq!(bytes[i], x.round_ties_even() as u8, "{isa:?} {x}");
                // To nearest, ties to even: half a unit of bf16 added, and the bits below cut off.
                let rounded = (x.to_bits() + 0x7FFF + (x.to_bits() >> 16 & 1)) >> 16;
                assert_eq!(u32::from(halves[i]), rounded, "{isa:?} {x}");
                let half = |word: u32, at: u32| f64::from(f32::from_bits(word >> (16 * at) << 16));
                let expected = 0.5 + half(words[i], 0) * 1.0 - half(words[i], 1) * 4.0;
                let error = (f64::from(products[i]) - expected).abs();
                assert!(error <= 1e-6 * expected.abs(), "{isa:?}: {} for {expected}", products[i]);
                let dot: i32 = -21
                    + words[i]
                        .to_le_bytes()
                        .iter()
                        .zip([0x01, 0x02, 0x80, 0xFF])
                        .map(|(&b, a)| i32::from(b.cast_signed()) * a)
                        .sum::<i32>();
                assert_eq!((sums[i], again[i]), (dot as f32, dot as f32), "{isa:?}");
            }
        }
    }
}
