//! x86-64 with AVX-512, without or with its instructions for int8 and bf16: sixteen lanes, thirty-two registers.

use std::arch::x86_64::*;

use super::amx::{self, Amx};
use super::matrix::PARTS;
use super::{Kernel, Simd};

/// F, BW, DQ and VL alone.
pub(super) const PLAIN: u8 = 0;
/// VNNI too.
pub(super) const VNNI: u8 = 1;
/// VNNI and BF16 too.
pub(super) const BF16: u8 = 2;
/// These and AMX, for products of whole tiles.
pub(super) const AMX: u8 = 3;

/// Whether Intel made the processor.
pub(super) fn is_of_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// Proof that the machine has AVX-512 with these extensions: [`Avx512::new`] is the only way to one.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const WITH: u8>(());

impl<const WITH: u8> Avx512<WITH> {
    #[inline]
    pub(super) fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
            && (WITH < VNNI || is_x86_feature_detected!("avx512vnni"))
            && (WITH < BF16 || is_x86_feature_detected!("avx512bf16"))
            && (WITH < AMX || amx::is_here());
        has.then_some(Self(()))
    }

    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
        fn plain<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni")]
        fn vnni<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,avx512vnni,avx512bf16")]
        fn bf16<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists, so the machine has what it stands for.
        unsafe {
            match WITH {
                PLAIN => plain(kernel, self),
                VNNI => vnni(kernel, self),
                _ => bf16(kernel, self),
            }
        }
    }
}

/// A mask of the first n lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// Each number as bf16 in the lower half of a word, without the instruction for it.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn bf16_words(v: __m512) -> __m512i {
    // SAFETY: the caller vouches for AVX-512.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
        // A NaN stays one, whatever rounding would make of its bits.
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(is_nan, rounded, quiet))
    }
}

impl<const WITH: u8> Simd for Avx512<WITH> {
    type Vector = __m512;
    type Words = __m512i;
    type Matrix = Amx;

    const LANES: usize = 16;

    /// 6 × 4 accumulators, four vectors of the weight and one broadcast: twenty-nine registers of thirty-two.
    const TILE_ROWS: usize = 6;

    const TILE_VECTORS: usize = 4;

    #[inline(always)]
    fn matrix_unit(self) -> Option<Amx> {
        (WITH >= AMX).then(Amx::new)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        // SAFETY: sixteen numbers are readable; `self` proves AVX-512.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> __m512 {
        // SAFETY: lanes beyond the slice are masked, and masked lanes are not read; `self` proves AVX-512.
        unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: sixteen numbers are writable; `self` proves AVX-512.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_part(self, v: __m512, to: &mut [f32]) {
        // SAFETY: lanes beyond the slice are masked, and masked lanes are not written; `self` proves AVX-512.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for sixteen readable numbers; `self` proves AVX-512.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn copy_sign(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let sign = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, b))
        }
    }

    #[inline(always)]
    fn select_less(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    fn times_power_of_two(self, y: __m512, n: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_scalef_ps(y, n) }
    }

    #[inline(always)]
    unsafe fn words_from(self, from: *const u32) -> __m512i {
        // SAFETY: the caller vouches for sixteen readable words; `self` proves AVX-512.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, from_row: usize, to: *mut u32, to_row: usize) {
        // SAFETY: the caller vouches for sixteen rows of sixteen words on both sides; `self` proves AVX-512.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for i in 0..16 {
                rows[i] = _mm512_loadu_si512(from.add(i * from_row).cast());
            }
            // Of each four rows, a quarter of the columns in each quarter of a vector.
            let mut fours = rows;
            for i in [0, 4, 8, 12] {
                let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
                let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
                fours[i] = _mm512_unpacklo_epi64(ab, cd);
                fours[i + 1] = _mm512_unpackhi_epi64(ab, cd);
                let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
                fours[i + 2] = _mm512_unpacklo_epi64(ab, cd);
                fours[i + 3] = _mm512_unpackhi_epi64(ab, cd);
            }
            // Then the quarters of all four: even ones are columns i and i + 8, odd ones i + 4 and i + 12.
            for i in 0..4 {
                let (above, below) = ([fours[i], fours[i + 4]], [fours[i + 8], fours[i + 12]]);
                let even = [above, below].map(|[a, b]| _mm512_shuffle_i32x4::<0x88>(a, b));
                let odd = [above, below].map(|[a, b]| _mm512_shuffle_i32x4::<0xDD>(a, b));
                let store =
                    |column: usize, v: __m512i| _mm512_storeu_si512(to.add(column * to_row).cast(), v);
                store(i, _mm512_shuffle_i32x4::<0x88>(even[0], even[1]));
                store(i + 4, _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]));
                store(i + 8, _mm512_shuffle_i32x4::<0xDD>(even[0], even[1]));
                store(i + 12, _mm512_shuffle_i32x4::<0xDD>(odd[0], odd[1]));
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: an address that cannot be read is ignored; every x86-64 has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512, and BF16 where that is used; words and pairs of bf16 are the same 64 bytes.
        unsafe {
            if WITH >= BF16 {
                let pairs = |words| std::mem::transmute::<__m512i, __m512bh>(words);
                return _mm512_dpbf16_ps(sum, pairs(a), pairs(b));
            }
            let low = |words| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
            let high = |words| {
                _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(0xFFFF_0000u32.cast_signed())))
            };
            _mm512_fmadd_ps(high(a), high(b), _mm512_fmadd_ps(low(a), low(b), sum))
        }
    }

    #[inline(always)]
    fn dot_i8(self, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512, and VNNI where that is used.
        unsafe {
            if WITH >= VNNI {
                return _mm512_dpbusd_epi32(sum, a, b);
            }
            // Bytes as pairs of 16 bits; the one instruction for bytes (VPMADDUBSW) saturates.
            let (a0, a1) = (_mm512_and_si512(a, _mm512_set1_epi16(0xFF)), _mm512_srli_epi16::<8>(a));
            let b0 = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b));
            let b1 = _mm512_srai_epi16::<8>(b);
            self.dot_i16(a1, b1, self.dot_i16(a0, b0, sum))
        }
    }

    #[inline(always)]
    fn dot_i16(self, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn integers_to_f32(self, words: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(words) }
    }

    #[inline(always)]
    fn split(self, low: &[f32; 16], high: &[f32; 16], parts: [&mut [u32; 16]; PARTS]) {
        /// a | b & c, bit by bit.
        const OR_AND: i32 = 0xF8;
        let (mut low, mut high) = (self.load(low), self.load(high));
        for (i, part) in parts.into_iter().enumerate() {
            // SAFETY: `self` proves AVX-512.
            let word = unsafe {
                let upper = _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed());
                let (l, h) = (_mm512_castps_si512(low), _mm512_castps_si512(high));
                if i + 1 < PARTS {
                    low = _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_and_si512(l, upper)));
                    high = _mm512_sub_ps(high, _mm512_castsi512_ps(_mm512_and_si512(h, upper)));
                }
                _mm512_ternarylogic_epi32::<OR_AND>(_mm512_srli_epi32::<16>(l), h, upper)
            };
            self.store_words(word, part);
        }
    }

    #[inline(always)]
    fn pairs_of_bf16(self, low: __m512, high: __m512) -> __m512i {
        // SAFETY: `self` proves AVX-512, and BF16 where that is used; sixteen bf16 are the same 32 bytes as sixteen halves.
        unsafe {
            let halves = |v: __m512| {
                if WITH >= BF16 {
                    _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)))
                } else {
                    bf16_words(v)
                }
            };
            _mm512_or_si512(halves(low), _mm512_slli_epi32::<16>(halves(high)))
        }
    }

    #[inline(always)]
    fn store_words(self, words: __m512i, to: &mut [u32]) {
        let to = &mut to[..16];
        // SAFETY: sixteen words are writable; `self` proves AVX-512.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), words) }
    }

    #[inline(always)]
    fn store_bf16(self, v: __m512, to: &mut [u16]) {
        let to = &mut to[..16];
        // SAFETY: sixteen halves are writable; `self` proves AVX-512, and BF16 where that is used.
        unsafe {
            let halves: __m256i = if WITH >= BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))
            } else {
                _mm512_cvtepi32_epi16(bf16_words(v))
            };
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn store_bytes(self, v: __m512, to: &mut [u8]) {
        let to = &mut to[..16];
        // SAFETY: sixteen bytes are writable; `self` proves AVX-512.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }

    #[inline(always)]
    fn mul_words(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn add_words(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}
