//! x86-64 with AVX2 and FMA, and AVX-VNNI where it is: eight lanes, sixteen registers.

use std::arch::x86_64::*;

use super::matrix::NoMatrixUnit;
use super::{Kernel, Simd};

/// Proof that the machine has AVX2 and FMA, and AVX-VNNI if so said: [`Avx2::new`] is the only way to one.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    #[inline]
    pub(super) fn new() -> Option<Self> {
        let vnni = !VNNI || is_x86_feature_detected!("avxvnni");
        (vnni && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn plain<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx2,fma,avxvnni")]
        fn vnni<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists, so the machine has what it stands for.
        unsafe { if VNNI { vnni(kernel, self) } else { plain(kernel, self) } }
    }
}

/// `MASKS[8 - n..][..8]` has n lanes set.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
fn first(n: usize) -> __m256i {
    let mask = &MASKS[8 - n.min(8)..][..8];
    // SAFETY: eight integers are readable there; the machine has AVX2, since only methods of `Avx2` call this.
    unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type Vector = __m256;
    type Words = __m256i;
    type Matrix = NoMatrixUnit;

    const LANES: usize = 8;

    /// 6 × 2 accumulators, two vectors of the weight and one broadcast: fifteen registers of sixteen.
    const TILE_ROWS: usize = 6;

    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn matrix_unit(self) -> Option<NoMatrixUnit> {
        None
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        // SAFETY: eight numbers are readable; `self` proves AVX.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> __m256 {
        // SAFETY: lanes beyond the slice are masked, and masked lanes are not read; `self` proves AVX.
        unsafe { _mm256_maskload_ps(from.as_ptr(), first(from.len())) }
    }

    #[inline(always)]
    fn store(self, v: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: eight numbers are writable; `self` proves AVX.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_part(self, v: __m256, to: &mut [f32]) {
        // SAFETY: lanes beyond the slice are masked, and masked lanes are not written; `self` proves AVX.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), first(to.len()), v) }
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for eight readable numbers; `self` proves AVX.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }

    #[inline(always)]
    fn copy_sign(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }

    #[inline(always)]
    fn select_less(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn times_power_of_two(self, y: __m256, n: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            // In two factors, since n goes beyond the exponents of f32.
            let power = |n: __m256i| {
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
            };
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            _mm256_mul_ps(_mm256_mul_ps(y, power(half)), power(_mm256_sub_epi32(n, half)))
        }
    }

    #[inline(always)]
    unsafe fn words_from(self, from: *const u32) -> __m256i {
        // SAFETY: the caller vouches for eight readable words; `self` proves AVX.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, from_row: usize, to: *mut u32, to_row: usize) {
        // SAFETY: the caller vouches for eight rows of eight words on both sides; `self` proves AVX2.
        unsafe {
            let mut rows = [_mm256_setzero_si256(); 8];
            for i in 0..8 {
                rows[i] = _mm256_loadu_si256(from.add(i * from_row).cast());
            }
            // Of each four rows, columns 0 to 3 in the lower halves and 4 to 7 in the upper ones.
            let mut fours = rows;
            for i in [0, 4] {
                let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
                let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                fours[i] = _mm256_unpacklo_epi64(ab, cd);
                fours[i + 1] = _mm256_unpackhi_epi64(ab, cd);
                let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                fours[i + 2] = _mm256_unpacklo_epi64(ab, cd);
                fours[i + 3] = _mm256_unpackhi_epi64(ab, cd);
            }
            for i in 0..4 {
                let (above, below) = (fours[i], fours[i + 4]);
                let columns = [
                    _mm256_permute2x128_si256::<0x20>(above, below),
                    _mm256_permute2x128_si256::<0x31>(above, below),
                ];
                _mm256_storeu_si256(to.add(i * to_row).cast(), columns[0]);
                _mm256_storeu_si256(to.add((i + 4) * to_row).cast(), columns[1]);
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: an address that cannot be read is ignored; every x86-64 has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> __m256i {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m256i, b: __m256i, sum: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe {
            let low = |words| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
            let high = |words| {
                _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF_0000u32.cast_signed())))
            };
            _mm256_fmadd_ps(high(a), high(b), _mm256_fmadd_ps(low(a), low(b), sum))
        }
    }

    #[inline(always)]
    fn dot_i8(self, a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where that is used.
        unsafe {
            if VNNI {
                return _mm256_dpbusd_avx_epi32(sum, a, b);
            }
            // Bytes as pairs of 16 bits; the one instruction for bytes (VPMADDUBSW) saturates.
            let (a0, a1) = (_mm256_and_si256(a, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(a));
            let b0 = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
            let b1 = _mm256_srai_epi16::<8>(b);
            self.dot_i16(a1, b1, self.dot_i16(a0, b0, sum))
        }
    }

    #[inline(always)]
    fn dot_i16(self, a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn integers_to_f32(self, words: __m256i) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_cvtepi32_ps(words) }
    }

    #[inline(always)]
    fn store_words(self, words: __m256i, to: &mut [u32]) {
        let to = &mut to[..8];
        // SAFETY: eight words are writable; `self` proves AVX2.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), words) }
    }

    #[inline(always)]
    fn store_bf16(self, v: __m256, to: &mut [u16]) {
        let to = &mut to[..8];
        // SAFETY: eight halves are writable; `self` proves AVX2.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
            // A NaN stays one, whatever rounding would make of its bits.
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(upper, upper));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
        }
    }

    #[inline(always)]
    fn store_bytes(self, v: __m256, to: &mut [u8]) {
        let to = &mut to[..8];
        // SAFETY: eight bytes are writable; `self` proves AVX2.
        unsafe {
            let integers = _mm256_cvtps_epi32(v);
            let halves =
                _mm_packus_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(halves, halves));
        }
    }

    #[inline(always)]
    fn mul_words(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn add_words(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        // SAFETY: `self` proves AVX.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        // SAFETY: `self` proves AVX.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}
