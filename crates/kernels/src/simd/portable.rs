//! Any machine: arrays of eight numbers and loops, which the compiler turns into what the target always has (SSE2, NEON).

use super::Simd;
use super::math::SHIFT;
use super::matrix::NoMatrixUnit;

#[derive(Clone, Copy)]
pub(super) struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl Simd for Portable {
    type Vector = [f32; LANES];
    type Words = [u32; LANES];
    type Matrix = NoMatrixUnit;

    const LANES: usize = LANES;

    /// Of 32 registers of four lanes, 6 × 4 are accumulators; of the 16 of SSE2, 2 × 4: with 3 × 4, operands do not fit beside.
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 2 };

    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn matrix_unit(self) -> Option<NoMatrixUnit> {
        None
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        *from.first_chunk().expect("a whole vector")
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::Vector {
        let mut v = [0.0; LANES];
        v.iter_mut().zip(from).for_each(|(v, from)| *v = *from);
        v
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut [f32]) {
        *to.first_chunk_mut().expect("a whole vector") = v;
    }

    #[inline(always)]
    fn store_part(self, v: Self::Vector, to: &mut [f32]) {
        to.iter_mut().zip(v).for_each(|(to, v)| *to = v);
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for eight readable numbers; the read asks for no alignment beyond that of a number.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        #[cfg(target_arch = "x86_64")]
        return sse2::mul_add(a, b, c);
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut out = c;
            for i in 0..LANES {
                // Without the instruction, `f32::mul_add` is a call of a function of the C library.
                let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
                out[i] = if fused { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
            }
            out
        }
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn abs(self, a: Self::Vector) -> Self::Vector {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn copy_sign(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        let mut out = no;
        for i in 0..LANES {
            out[i] = if a[i] < b[i] { yes[i] } else { no[i] };
        }
        out
    }

    #[inline(always)]
    fn times_power_of_two(self, y: Self::Vector, n: Self::Vector) -> Self::Vector {
        // In two factors, since n goes beyond the exponents of f32.
        let power = |n: i32| f32::from_bits((n + 127).cast_unsigned() << 23);
        zip(y, n, |y, n| {
            // A conversion would look after what is no integer.
            let n = (n + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()).cast_signed();
            y * power(n >> 1) * power(n - (n >> 1))
        })
    }

    #[inline(always)]
    unsafe fn words_from(self, from: *const u32) -> Self::Words {
        // SAFETY: the caller vouches for eight readable words; the read asks for no alignment beyond that of a word.
        unsafe { from.cast::<Self::Words>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, from_row: usize, to: *mut u32, to_row: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                // SAFETY: the caller vouches for eight rows of eight words on both sides.
                unsafe { *to.add(j * to_row + i) = *from.add(i * from_row + j) };
            }
        }
    }

    /// What the machine foresees by itself is enough.
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn splat_word(self, word: u32) -> Self::Words {
        [word; LANES]
    }

    #[inline(always)]
    fn dot_bf16(self, a: Self::Words, b: Self::Words, sum: Self::Vector) -> Self::Vector {
        #[cfg(target_arch = "x86_64")]
        return sse2::dot_bf16(a, b, sum);
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut out = sum;
            for i in 0..LANES {
                let low = |word: u32| f32::from_bits(word << 16);
                let high = |word: u32| f32::from_bits(word & 0xFFFF_0000);
                out[i] = sum[i] + low(a[i]) * low(b[i]) + high(a[i]) * high(b[i]);
            }
            out
        }
    }

    #[inline(always)]
    fn dot_i8(self, a: Self::Words, b: Self::Words, sum: Self::Words) -> Self::Words {
        #[cfg(target_arch = "x86_64")]
        return sse2::dot_i8(a, b, sum);
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut out = sum;
            for i in 0..LANES {
                let (a, b) = (a[i].cast_signed(), b[i].cast_signed());
                // Factors of 32 bits that fit into 16: compilers know what to do with them, other than with bytes.
                let product = |at: u32| (a >> at & 0xFF).wrapping_mul(b << (24 - at) >> 24);
                let products = [0, 8, 16, 24].map(product).into_iter().fold(0, i32::wrapping_add);
                out[i] = sum[i].wrapping_add(products.cast_unsigned());
            }
            out
        }
    }

    #[inline(always)]
    fn dot_i16(self, a: Self::Words, b: Self::Words, sum: Self::Words) -> Self::Words {
        #[cfg(target_arch = "x86_64")]
        return sse2::dot_i16(a, b, sum);
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut out = sum;
            for i in 0..LANES {
                let (a, b) = (a[i].cast_signed(), b[i].cast_signed());
                let products =
                    (a & 0xFFFF).wrapping_mul(b << 16 >> 16).wrapping_add((a >> 16).wrapping_mul(b >> 16));
                out[i] = sum[i].wrapping_add(products.cast_unsigned());
            }
            out
        }
    }

    #[inline(always)]
    fn integers_to_f32(self, words: Self::Words) -> Self::Vector {
        words.map(|word| word.cast_signed() as f32)
    }

    #[inline(always)]
    fn store_words(self, words: Self::Words, to: &mut [u32]) {
        to[..LANES].copy_from_slice(&words);
    }

    #[inline(always)]
    fn store_bf16(self, v: Self::Vector, to: &mut [u16]) {
        for (to, v) in to[..LANES].iter_mut().zip(v) {
            let bits = v.to_bits();
            // A NaN stays one, whatever rounding would make of its bits.
            let rounded = if v.is_nan() { bits | 0x40_0000 } else { bits + 0x7FFF + (bits >> 16 & 1) };
            *to = (rounded >> 16) as u16;
        }
    }

    #[inline(always)]
    fn store_bytes(self, v: Self::Vector, to: &mut [u8]) {
        to[..LANES].iter_mut().zip(v).for_each(|(to, v)| *to = (v + SHIFT).to_bits() as u8);
    }

    #[inline(always)]
    fn mul_words(self, a: Self::Words, b: Self::Words) -> Self::Words {
        let mut out = a;
        for i in 0..LANES {
            out[i] = a[i].wrapping_mul(b[i]);
        }
        out
    }

    #[inline(always)]
    fn add_words(self, a: Self::Words, b: Self::Words) -> Self::Words {
        let mut out = a;
        for i in 0..LANES {
            out[i] = a[i].wrapping_add(b[i]);
        }
        out
    }

    #[inline(always)]
    fn largest(self, v: Self::Vector) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn sum(self, v: Self::Vector) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}

/// What compilers do not find by themselves, or not as well.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::*;

    use super::LANES;

    #[inline(always)]
    fn halves(words: [u32; LANES]) -> [__m128i; 2] {
        // SAFETY: eight words and two vectors are the same 32 bytes, of which every pattern is valid.
        unsafe { std::mem::transmute(words) }
    }

    #[inline(always)]
    fn vectors(numbers: [f32; LANES]) -> [__m128; 2] {
        // SAFETY: eight numbers and two vectors are the same 32 bytes, of which every pattern is valid.
        unsafe { std::mem::transmute(numbers) }
    }

    #[inline(always)]
    fn numbers(vectors: [__m128; 2]) -> [f32; LANES] {
        // SAFETY: as in `vectors`.
        unsafe { std::mem::transmute(vectors) }
    }

    /// The compiler, left alone with the sums of a tile, makes vectors of numbers that do not stand side by side.
    #[inline(always)]
    pub(super) fn mul_add(a: [f32; LANES], b: [f32; LANES], sum: [f32; LANES]) -> [f32; LANES] {
        let (a, b, mut sum) = (vectors(a), vectors(b), vectors(sum));
        for i in 0..2 {
            #[cfg(target_feature = "fma")]
            // SAFETY: the target has FMA.
            let one = unsafe { _mm_fmadd_ps(a[i], b[i], sum[i]) };
            #[cfg(not(target_feature = "fma"))]
            // SAFETY: SSE2 is a part of x86-64.
            let one = unsafe { _mm_add_ps(sum[i], _mm_mul_ps(a[i], b[i])) };
            sum[i] = one;
        }
        numbers(sum)
    }

    #[inline(always)]
    pub(super) fn dot_bf16(a: [u32; LANES], b: [u32; LANES], sum: [f32; LANES]) -> [f32; LANES] {
        let (a, b, mut sum) = (halves(a), halves(b), vectors(sum));
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            let low = |words| _mm_castsi128_ps(_mm_slli_epi32::<16>(words));
            let high =
                |words| _mm_castsi128_ps(_mm_and_si128(words, _mm_set1_epi32(0xFFFF_0000u32.cast_signed())));
            for i in 0..2 {
                sum[i] = _mm_add_ps(sum[i], _mm_mul_ps(low(a[i]), low(b[i])));
                sum[i] = _mm_add_ps(sum[i], _mm_mul_ps(high(a[i]), high(b[i])));
            }
        }
        numbers(sum)
    }

    #[inline(always)]
    pub(super) fn dot_i8(a: [u32; LANES], b: [u32; LANES], sum: [u32; LANES]) -> [u32; LANES] {
        // SAFETY: eight words and two vectors are the same 32 bytes, of which every pattern is valid; SSE2 is a part of x86-64.
        unsafe {
            let (a, b, mut sum) = (halves(a), halves(b), halves(sum));
            for i in 0..2 {
                // Bytes as pairs of 16 bits.
                let (a0, a1) = (_mm_and_si128(a[i], _mm_set1_epi16(0xFF)), _mm_srli_epi16::<8>(a[i]));
                let b0 = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(b[i]));
                let b1 = _mm_srai_epi16::<8>(b[i]);
                let products = _mm_add_epi32(_mm_madd_epi16(a0, b0), _mm_madd_epi16(a1, b1));
                sum[i] = _mm_add_epi32(sum[i], products);
            }
            std::mem::transmute::<[__m128i; 2], [u32; LANES]>(sum)
        }
    }

    #[inline(always)]
    pub(super) fn dot_i16(a: [u32; LANES], b: [u32; LANES], sum: [u32; LANES]) -> [u32; LANES] {
        // SAFETY: eight words and two vectors are the same 32 bytes, of which every pattern is valid; SSE2 is a part of x86-64.
        unsafe {
            let (a, b, mut sum) = (halves(a), halves(b), halves(sum));
            for i in 0..2 {
                sum[i] = _mm_add_epi32(sum[i], _mm_madd_epi16(a[i], b[i]));
            }
            std::mem::transmute::<[__m128i; 2], [u32; LANES]>(sum)
        }
    }
}
