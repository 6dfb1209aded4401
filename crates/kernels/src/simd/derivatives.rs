//! Derivatives of the elementary functions, vector by vector. Coefficients: `coefficients.py` of this crate. NaN gives NaN.

use super::Simd;
use super::math::{exp, lower_tail, sigmoid, tanh};
use crate::activation::Activation;

/// f′(x) of an activation.
#[inline(always)]
pub(crate) fn derivative<S: Simd>(simd: S, x: S::Vector, activation: Activation) -> S::Vector {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    // Beyond 100 nothing changes any more, and infinity would meet zero. NaN is the second operand, and so stays.
    let x = simd.min(simd.splat(100.0), simd.max(simd.splat(-100.0), x));
    match activation {
        Activation::Identity => one,
        Activation::Gelu => gelu(simd, x),
        Activation::GeluTanh => gelu_tanh(simd, x),
        // PyTorch's choice at 0 is 0.
        Activation::Relu => simd.select_less(zero, x, one, simd.mul(x, zero)),
        Activation::Silu => {
            let s = sigmoid(simd, x);
            simd.mul(s, simd.mul_add(x, simd.sub(one, s), one))
        }
        Activation::Tanh => {
            let y = tanh(simd, x);
            simd.sub(one, simd.mul(y, y))
        }
        Activation::Sigmoid => {
            let s = sigmoid(simd, x);
            simd.mul(s, simd.sub(one, s))
        }
    }
}

/// Φ(x) + x φ(x), φ and Φ being density and distribution of the standard normal. With n = −|x|, Φ(x) is Φ(n) or 1 − Φ(n).
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    /// 1/√(2π)
    const DENSITY: f32 = 0.398_942_3;
    // At −8 both terms are 0 in f32 beside anything.
    let n = simd.max(simd.splat(-8.0), simd.copy_sign(x, simd.splat(-1.0)));
    let tail = lower_tail(simd, n);
    let distribution = simd.select_less(x, simd.splat(0.0), tail, simd.sub(simd.splat(1.0), tail));
    let gauss = exp(simd, simd.mul(n, simd.mul(n, simd.splat(-0.5))));
    simd.mul_add(simd.copy_sign(n, x), simd.mul(gauss, simd.splat(DENSITY)), distribution)
}

/// With z = √(2/π) (x + 0.044715 x³) and s = 1 / (1 + e^(−2z)): s + x · 2 s (1 − s) · z′.
#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    // Beyond 10, s is 0 or 1 in f32, and the power would overflow.
    let x = simd.min(simd.splat(10.0), simd.max(simd.splat(-10.0), x));
    let square = simd.mul(x, x);
    // 2 √(2/π)
    let twice = simd.splat(1.595_769);
    let inner = simd.mul_add(square, simd.splat(0.044_715), one);
    let power = exp(simd, simd.mul(simd.mul(x, simd.splat(-1.595_769)), inner));
    let s = simd.div(one, simd.add(one, power));
    let slope = simd.mul(twice, simd.mul_add(square, simd.splat(3.0 * 0.044_715), one));
    // 1 − s = s e^(−2z), where nothing cancels.
    simd.mul_add(simd.mul(simd.mul(x, s), simd.mul(s, power)), slope, s)
}
