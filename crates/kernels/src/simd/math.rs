//! Elementary functions of vectors. Coefficients: `coefficients.py` of this crate. NaN gives NaN.

use super::Simd;

/// 1.5 · 2²³: a number of small magnitude that is added to it is rounded to an integer, which stands in the lowest bits.
pub(crate) const SHIFT: f32 = 12_582_912.0;

/// A polynomial with ascending coefficients, by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::Vector, coefficients: [f32; N]) -> S::Vector {
    let mut y = simd.splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        y = simd.mul_add(y, x, simd.splat(coefficients[i]));
    }
    y
}

/// eˣ to 2 ulp; 0 and ∞ where f32 ends, subnormal numbers in between.
///
/// x = n ln 2 + r with integer n and |r| ≤ ln 2 / 2 (ln 2 in two parts, Cody and Waite), eˣ = 2ⁿ eʳ.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // NaN is the second operand, and so stays. Beyond these bounds the result is 0 or ∞ anyway.
    let x = simd.min(simd.splat(89.0), simd.max(simd.splat(-104.0), x));
    let shift = simd.splat(SHIFT);
    let n = simd.sub(simd.mul_add(x, simd.splat(std::f32::consts::LOG2_E), shift), shift);
    let r = simd.mul_add(n, simd.splat(-355.0 / 512.0), x);
    let r = simd.mul_add(n, simd.splat(2.121_944_4e-4), r);
    let tail = [4.999_999_3e-1, 1.666_652e-1, 4.166_838_7e-2, 8.368_71e-3, 1.381_461_3e-3];
    let tail = polynomial(simd, r, tail);
    let y = simd.add(simd.mul_add(tail, simd.mul(r, r), r), simd.splat(1.0));
    simd.times_power_of_two(y, n)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))))
}

/// tanh x: an odd polynomial near zero, 1 − 2 / (e^(2|x|) + 1) beyond.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    let square = simd.mul(x, x);
    let tail = [-3.333_328e-1, 1.333_144_2e-1, -5.373_971_5e-2, 2.063_908_7e-2, -5.704_987e-3];
    let tail = simd.mul(polynomial(simd, square, tail), square);
    let near = simd.mul_add(x, tail, x);
    let magnitude = simd.abs(x);
    let power = exp(simd, simd.add(magnitude, magnitude));
    let far = simd.sub(one, simd.div(simd.splat(2.0), simd.add(power, one)));
    simd.select_less(magnitude, simd.splat(0.625), near, simd.copy_sign(far, x))
}

/// Φ(n), the standard normal distribution, for n in −8 … 0: p(n)⁸ for a polynomial p that is 0 at −8.
///
/// The eighth power would multiply the error of rounding p by eight. As 1 + y, y near zero where it matters, it does not:
/// (1 + y)² = 1 + (y² + 2y).
#[inline(always)]
pub(super) fn lower_tail<S: Simd>(simd: S, n: S::Vector) -> S::Vector {
    let y = [
        -8.299_6e-2,
        9.145_728e-2,
        -3.192_867_4e-2,
        6.707_146_4e-4,
        1.502_982_7e-3,
        -3.516_000_6e-5,
        -6.056_265_4e-5,
        -7.535_717e-6,
        -3.000_648_4e-7,
    ];
    let y = polynomial(simd, n, y);
    let y = simd.mul_add(y, y, simd.add(y, y));
    let y = simd.mul_add(y, y, simd.add(y, y));
    let p = simd.add(simd.splat(1.0), y);
    simd.mul(p, p)
}

/// x Φ(x) = max(x, 0) + n Φ(n) with n = −|x|. At −8, n Φ(n) is 0 in f32 beside anything. Nothing cancels for negative x. At
/// −∞ it is the limit, 0.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let n = simd.max(simd.splat(-8.0), simd.copy_sign(x, simd.splat(-1.0)));
    simd.mul_add(n, lower_tail(simd, n), simd.max(simd.splat(0.0), x))
}

/// x/2 (1 + tanh z) = x / (1 + e^(−2z)), z = √(2/π) (x + 0.044715 x³)
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // −2 √(2/π)
    let inner = simd.mul_add(simd.mul(x, x), simd.splat(0.044_715), simd.splat(1.0));
    let power = exp(simd, simd.mul(simd.mul(x, simd.splat(-1.595_769)), inner));
    simd.div(x, simd.add(simd.splat(1.0), power))
}
