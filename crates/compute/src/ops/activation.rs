//! Elementwise activations, the last step of [`super::linear`]:
//!
//! | name | y |
//! |---|---|
//! | `Gelu` | x/2 · (1 + erf(x/√2)), <https://arxiv.org/abs/1606.08415>; `torch.nn.functional.gelu(approximate="none")` |
//! | `GeluTanh` | x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))); `gelu_new`, `gelu_pytorch_tanh` |
//! | `Relu` | max(x, 0) |
//! | `Silu` | x / (1 + e⁻ˣ) |
//! | `Tanh`, `Sigmoid`, `Identity` | as their names say |
//!
//! There is no function of its own to call: activations are fused into the product before them.

use crate::Activation;

/// `y = activation(x)` for one number.
pub(crate) fn naive(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            x / 2.0 * (1.0 + inner.tanh())
        }
        // `f64::max` would turn NaN into zero.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// `activation′(x)` for one number; at the kink of ReLU 0, as PyTorch has it.
pub(crate) fn naive_slope(x: f64, activation: Activation) -> f64 {
    let s = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Identity => 1.0,
        // Φ(x) + x φ(x)
        Activation::Gelu => {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0 + x * density
        }
        Activation::GeluTanh => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let t = (factor * (x + 0.044_715 * x * x * x)).tanh();
            (1.0 + t) / 2.0 + x / 2.0 * (1.0 - t * t) * factor * (1.0 + 3.0 * 0.044_715 * x * x)
        }
        Activation::Relu => f64::from(x > 0.0),
        Activation::Silu => s * (1.0 + x * (1.0 - s)),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Sigmoid => s * (1.0 - s),
    }
}

/// erf(x) = 2/√π ∫₀ˣ e^(−t²) dt, to about 1e-15: its Maclaurin series near zero, the continued fraction of erfc beyond
/// (Abramowitz & Stegun 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let z = x.abs();
    if x.is_nan() {
        return x;
    }
    if z > 6.0 {
        return x.signum();
    }
    let magnitude = if z < 2.5 {
        // erf z = 2/√π e^(−z²) Σ 2ⁿ z^(2n+1) / (1·3·…·(2n+1)): all terms positive, nothing cancels.
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * z * z / (2.0 * n + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum
    } else {
        // erfc z = e^(−z²)/√π · 1/(z + (1/2)/(z + (2/2)/(z + (3/2)/(z + …)))), from the inside out.
        let mut tail = z;
        for k in (1..=120).rev() {
            tail = z + f64::from(k) / 2.0 / tail;
        }
        1.0 - (-z * z).exp() / std::f64::consts::PI.sqrt() / tail
    };
    magnitude.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{golden, numbers};

    #[test]
    fn erf_is_that_of_the_tables() {
        // Abramowitz & Stegun, table 7.1 and 7.3.
        let table = [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
        ];
        for (x, y) in table {
            assert!((erf(x) - y).abs() < 1e-14, "erf({x}) = {}, should be {y}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(2.5 - 1e-9) - erf(2.5 + 1e-9)).abs() < 1e-9, "the two forms meet");
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn equals_pytorch() {
        for (name, activation) in [
            ("gelu", Activation::Gelu),
            ("gelu_tanh", Activation::GeluTanh),
            ("relu", Activation::Relu),
            ("silu", Activation::Silu),
            ("tanh", Activation::Tanh),
            ("sigmoid", Activation::Sigmoid),
        ] {
            let case = &golden()["activation"];
            for (x, expected) in numbers(&case["x"]).into_iter().zip(numbers(&case[name])) {
                let y = naive(x, activation);
                assert!(
                    (y - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                    "{name}({x}) = {y}, PyTorch: {expected}"
                );
            }
        }
    }
}
