//! AArch64 with NEON, without or with its instructions for int8: eight lanes in two registers each, thirty-two registers.
//!
//! bf16 is widened to f32: the intrinsics of its own instructions (BFDOT, BFMLALB, BFCVT) are not stable.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::matrix::NoMatrixUnit;
use super::portable::Portable;
use super::{Kernel, Simd};

/// NEON alone.
pub(super) const PLAIN: u8 = 0;
/// UDOT too.
pub(super) const DOTPROD: u8 = 1;
/// USDOT too.
pub(super) const I8MM: u8 = 2;

/// Proof that the machine has NEON with this extension: [`Neon::new`] is the only way to one.
#[derive(Clone, Copy)]
pub(super) struct Neon<const WITH: u8>(());

impl<const WITH: u8> Neon<WITH> {
    #[inline]
    pub(super) fn new() -> Option<Self> {
        let has = is_aarch64_feature_detected!("neon")
            && (WITH != DOTPROD || is_aarch64_feature_detected!("dotprod"))
            && (WITH != I8MM || is_aarch64_feature_detected!("i8mm"));
        has.then_some(Self(()))
    }

    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn plain<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "neon,dotprod")]
        fn dotprod<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "neon,i8mm")]
        fn i8mm<K: Kernel>(kernel: K, simd: impl Simd) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists, so the machine has what it stands for.
        unsafe {
            match WITH {
                PLAIN => plain(kernel, self),
                DOTPROD => dotprod(kernel, self),
                _ => i8mm(kernel, self),
            }
        }
    }
}

/// Per lane: sum + Σ aᵢ bᵢ over four unsigned bytes of each. Its intrinsic, `vdotq_u32`, is stable from Rust 1.98 on only.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn udot(mut sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    // SAFETY: the instruction touches these three registers and nothing else; who may call this has it.
    unsafe {
        asm!("udot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// Per lane: sum + Σ aᵢ bᵢ over four bytes, unsigned in a and signed in b. Its intrinsic, `vusdotq_s32`, is not stable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usdot(mut sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    // SAFETY: the instruction touches these three registers and nothing else; who may call this has it.
    unsafe {
        asm!("usdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

type Vector = float32x4x2_t;
type Words = uint32x4x2_t;

/// Both halves of two vectors, one after the other.
#[inline(always)]
fn zip(a: Vector, b: Vector, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Vector {
    float32x4x2_t(f(a.0, b.0), f(a.1, b.1))
}

/// Both halves of words as numbers.
#[inline(always)]
fn numbers(words: Words, f: impl Fn(uint32x4_t) -> float32x4_t) -> Vector {
    float32x4x2_t(f(words.0), f(words.1))
}

impl<const WITH: u8> Simd for Neon<WITH> {
    type Vector = Vector;
    type Words = Words;
    type Matrix = NoMatrixUnit;

    const LANES: usize = 8;

    /// 6 × 2 accumulators, two vectors of the weight, each in two registers, and one broadcast: twenty-nine of thirty-two.
    const TILE_ROWS: usize = 6;

    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn matrix_unit(self) -> Option<NoMatrixUnit> {
        None
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Vector {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Vector {
        let from = &from[..8];
        // SAFETY: eight numbers are readable.
        unsafe { self.load_from(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Vector {
        // NEON has no masks.
        self.load(&Portable.load_part(from))
    }

    #[inline(always)]
    fn store(self, v: Vector, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: eight numbers are writable; `self` proves NEON.
        unsafe {
            vst1q_f32(to.as_mut_ptr(), v.0);
            vst1q_f32(to.as_mut_ptr().add(4), v.1);
        }
    }

    #[inline(always)]
    fn store_part(self, v: Vector, to: &mut [f32]) {
        let mut lanes = [0.0; 8];
        self.store(v, &mut lanes);
        Portable.store_part(lanes, to);
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> Vector {
        // SAFETY: the caller vouches for eight readable numbers; `self` proves NEON.
        unsafe { float32x4x2_t(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn min(self, a: Vector, b: Vector) -> Vector {
        // FMIN would give NaN if either is.
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        // FMAX would give NaN if either is.
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }

    #[inline(always)]
    fn abs(self, a: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vabsq_f32(a.0), vabsq_f32(a.1)) }
    }

    #[inline(always)]
    fn copy_sign(self, a: Vector, b: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        zip(a, b, |a, b| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b, a) })
    }

    #[inline(always)]
    fn select_less(self, a: Vector, b: Vector, yes: Vector, no: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        unsafe {
            float32x4x2_t(
                vbslq_f32(vcltq_f32(a.0, b.0), yes.0, no.0),
                vbslq_f32(vcltq_f32(a.1, b.1), yes.1, no.1),
            )
        }
    }

    #[inline(always)]
    fn times_power_of_two(self, y: Vector, n: Vector) -> Vector {
        // In two factors, since n goes beyond the exponents of f32.
        // SAFETY: `self` proves NEON.
        zip(y, n, |y, n| unsafe {
            let power = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
            let n = vcvtq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            vmulq_f32(vmulq_f32(y, power(half)), power(vsubq_s32(n, half)))
        })
    }

    #[inline(always)]
    unsafe fn words_from(self, from: *const u32) -> Words {
        // SAFETY: the caller vouches for eight readable words; `self` proves NEON.
        unsafe { uint32x4x2_t(vld1q_u32(from), vld1q_u32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, from_row: usize, to: *mut u32, to_row: usize) {
        // Four blocks of four rows and four columns.
        for (row, column) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            // SAFETY: the caller vouches for eight rows of eight words on both sides; `self` proves NEON.
            unsafe {
                let load = |i: usize| vld1q_u32(from.add((row + i) * from_row + column));
                let (even, odd) = (vtrnq_u32(load(0), load(1)), vtrnq_u32(load(2), load(3)));
                let low = |a, b| vcombine_u32(vget_low_u32(a), vget_low_u32(b));
                let high = |a, b| vcombine_u32(vget_high_u32(a), vget_high_u32(b));
                let columns =
                    [low(even.0, odd.0), low(even.1, odd.1), high(even.0, odd.0), high(even.1, odd.1)];
                for (i, own) in columns.into_iter().enumerate() {
                    vst1q_u32(to.add((column + i) * to_row + row), own);
                }
            }
        }
    }

    /// What the machine foresees by itself is enough.
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn splat_word(self, word: u32) -> Words {
        // SAFETY: `self` proves NEON.
        unsafe { uint32x4x2_t(vdupq_n_u32(word), vdupq_n_u32(word)) }
    }

    #[inline(always)]
    fn dot_bf16(self, a: Words, b: Words, sum: Vector) -> Vector {
        // SAFETY: `self` proves NEON.
        let low = |words| numbers(words, |half| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(half)) });
        let high = |words| {
            // SAFETY: `self` proves NEON.
            numbers(words, |half| unsafe { vreinterpretq_f32_u32(vandq_u32(half, vdupq_n_u32(0xFFFF_0000))) })
        };
        self.mul_add(high(a), high(b), self.mul_add(low(a), low(b), sum))
    }

    #[inline(always)]
    fn dot_i8(self, a: Words, b: Words, sum: Words) -> Words {
        // SAFETY: `self` proves NEON, and UDOT or USDOT where that is used.
        let dot = |a, b, sum| unsafe {
            let (a, b) = (vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b));
            match WITH {
                I8MM => usdot(sum, a, b),
                // There is no product of unsigned and signed bytes, so those of b are raised by 128. What is too much by
                // that, 128 Σ a, is the same for all vectors of a tile that share a.
                DOTPROD => {
                    let raise = vdupq_n_u8(128);
                    let much = udot(vdupq_n_u32(0), a, raise);
                    vsubq_u32(udot(sum, a, veorq_u8(b, raise)), much)
                }
                // Bytes as pairs of 16 bits, which hold each product; sums of neighbors have 32.
                _ => {
                    let (a, b) = (vreinterpretq_u16_u8(a), vreinterpretq_s16_u8(b));
                    let a0 = vreinterpretq_s16_u16(vandq_u16(a, vdupq_n_u16(0xFF)));
                    let a1 = vreinterpretq_s16_u16(vshrq_n_u16::<8>(a));
                    let b0 = vshrq_n_s16::<8>(vshlq_n_s16::<8>(b));
                    let b1 = vshrq_n_s16::<8>(b);
                    let sum = vpadalq_s16(vreinterpretq_s32_u32(sum), vmulq_s16(a0, b0));
                    vreinterpretq_u32_s32(vpadalq_s16(sum, vmulq_s16(a1, b1)))
                }
            }
        };
        uint32x4x2_t(dot(a.0, b.0, sum.0), dot(a.1, b.1, sum.1))
    }

    #[inline(always)]
    fn dot_i16(self, a: Words, b: Words, sum: Words) -> Words {
        // SAFETY: `self` proves NEON. Each product fits into 16 bits; sums of neighbors have 32.
        let dot = |a, b, sum| unsafe {
            let products = vmulq_s16(vreinterpretq_s16_u32(a), vreinterpretq_s16_u32(b));
            vreinterpretq_u32_s32(vpadalq_s16(vreinterpretq_s32_u32(sum), products))
        };
        uint32x4x2_t(dot(a.0, b.0, sum.0), dot(a.1, b.1, sum.1))
    }

    #[inline(always)]
    fn integers_to_f32(self, words: Words) -> Vector {
        // SAFETY: `self` proves NEON.
        numbers(words, |half| unsafe { vcvtq_f32_s32(vreinterpretq_s32_u32(half)) })
    }

    #[inline(always)]
    fn store_words(self, words: Words, to: &mut [u32]) {
        let (low, high) = to[..8].split_at_mut(4);
        // SAFETY: four words are writable at each; `self` proves NEON.
        unsafe {
            vst1q_u32(low.as_mut_ptr(), words.0);
            vst1q_u32(high.as_mut_ptr(), words.1);
        }
    }

    #[inline(always)]
    fn store_bf16(self, v: Vector, to: &mut [u16]) {
        let to = &mut to[..8];
        // SAFETY: eight halves are writable; `self` proves NEON.
        unsafe {
            let upper = |v| {
                let bits = vreinterpretq_u32_f32(v);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
                // A NaN stays one, whatever rounding would make of its bits.
                let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
                vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(v, v), rounded, quiet))
            };
            vst1q_u16(to.as_mut_ptr(), vcombine_u16(upper(v.0), upper(v.1)));
        }
    }

    #[inline(always)]
    fn store_bytes(self, v: Vector, to: &mut [u8]) {
        let to = &mut to[..8];
        // SAFETY: eight bytes are writable; `self` proves NEON.
        unsafe {
            let halves = |v| vmovn_u32(vcvtnq_u32_f32(v));
            vst1_u8(to.as_mut_ptr(), vmovn_u16(vcombine_u16(halves(v.0), halves(v.1))));
        }
    }

    #[inline(always)]
    fn mul_words(self, a: Words, b: Words) -> Words {
        // SAFETY: `self` proves NEON.
        unsafe { uint32x4x2_t(vmulq_u32(a.0, b.0), vmulq_u32(a.1, b.1)) }
    }

    #[inline(always)]
    fn add_words(self, a: Words, b: Words) -> Words {
        // SAFETY: `self` proves NEON.
        unsafe { uint32x4x2_t(vaddq_u32(a.0, b.0), vaddq_u32(a.1, b.1)) }
    }

    #[inline(always)]
    fn largest(self, v: Vector) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe { vmaxvq_f32(vmaxq_f32(v.0, v.1)) }
    }

    #[inline(always)]
    fn sum(self, v: Vector) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe {
            let four = vaddq_f32(v.0, v.1);
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }
}
