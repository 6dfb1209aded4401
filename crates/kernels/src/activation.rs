//! Elementwise activations.

use crate::simd::{Isa, Kernel, Simd, derivatives, isa, math};
use crate::threads;

/// An elementwise function, applied after a product or in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// y = x
    #[default]
    Identity,
    /// y = x/2 · (1 + erf(x/√2)), <https://arxiv.org/abs/1606.08415>; within 1.3e-7 of max(1, |y|) (0 at −∞)
    Gelu,
    /// y = x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    GeluTanh,
    /// y = max(x, 0)
    Relu,
    /// y = x / (1 + e⁻ˣ)
    Silu,
    /// y = tanh x
    Tanh,
    /// y = 1 / (1 + e⁻ˣ)
    Sigmoid,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh, Self::Sigmoid];
}

/// Numbers that one thread takes at least.
const NUMBERS_PER_THREAD: usize = 16 * 1024;

/// Applies `activation` to each number. NaN stays NaN.
pub fn activate(x: &mut [f32], activation: Activation) {
    activate_on(isa(), x, activation);
}

pub(crate) fn activate_on(isa: Isa, x: &mut [f32], activation: Activation) {
    if activation != Activation::Identity {
        threads::pieces(x, NUMBERS_PER_THREAD, |_, x| isa.run(Activate(x, activation)));
    }
}

/// The gradient by x of y = activation(x): `d[i]` becomes `d[i] · activation′(x[i])`. At a kink, PyTorch's choice.
pub fn activation_grad(x: &[f32], activation: Activation, d: &mut [f32]) {
    activation_grad_on(isa(), x, activation, d);
}

pub(crate) fn activation_grad_on(isa: Isa, x: &[f32], activation: Activation, d: &mut [f32]) {
    assert_eq!(x.len(), d.len(), "as many gradients as numbers");
    if activation != Activation::Identity {
        threads::pieces(d, NUMBERS_PER_THREAD, |i, d| {
            isa.run(Derive { x: &x[i * NUMBERS_PER_THREAD..][..d.len()], d, activation });
        });
    }
}

struct Derive<'a> {
    x: &'a [f32],
    d: &'a mut [f32],
    activation: Activation,
}

impl Kernel for Derive<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let slope = |x: S::Vector| derivatives::derivative(simd, x, self.activation);
        let mut chunks = self.d.chunks_exact_mut(S::LANES);
        let mut numbers = self.x.chunks_exact(S::LANES);
        for (d, x) in (&mut chunks).zip(&mut numbers) {
            simd.store(simd.mul(simd.load(d), slope(simd.load(x))), d);
        }
        let (d, x) = (chunks.into_remainder(), numbers.remainder());
        simd.store_part(simd.mul(simd.load_part(d), slope(simd.load_part(x))), d);
    }
}

struct Activate<'a>(&'a mut [f32], Activation);

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut chunks = self.0.chunks_exact_mut(S::LANES);
        for chunk in &mut chunks {
            simd.store(vector(simd, simd.load(chunk), self.1), chunk);
        }
        let rest = chunks.into_remainder();
        simd.store_part(vector(simd, simd.load_part(rest), self.1), rest);
    }
}

/// The activation of a vector.
#[inline(always)]
pub(crate) fn vector<S: Simd>(simd: S, x: S::Vector, activation: Activation) -> S::Vector {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => math::gelu(simd, x),
        Activation::GeluTanh => math::gelu_tanh(simd, x),
        Activation::Relu => simd.max(simd.splat(0.0), x),
        Activation::Silu => {
            let power = math::exp(simd, simd.sub(simd.splat(0.0), x));
            simd.div(x, simd.add(simd.splat(1.0), power))
        }
        Activation::Tanh => math::tanh(simd, x),
        Activation::Sigmoid => math::sigmoid(simd, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive;

    /// −20 … 20 in steps of 1/4096, and numbers of every magnitude.
    fn points() -> Vec<f32> {
        let line = (-81_920..=81_920).map(|i| i as f32 / 4096.0);
        let magnitudes = (-40..=6).flat_map(|i| [1.0, -1.3].map(|x: f32| x * (i as f32).exp2()));
        line.chain(magnitudes).collect()
    }

    #[test]
    fn every_activation_equals_its_formula() {
        for &isa in Isa::available() {
            for (activation, tolerance) in [
                (Activation::Identity, 0.0),
                (Activation::Gelu, 1.3e-7),
                (Activation::GeluTanh, 3e-7),
                (Activation::Relu, 0.0),
                (Activation::Silu, 3e-7),
                (Activation::Tanh, 1.5e-7),
                (Activation::Sigmoid, 1.5e-7),
            ] {
                let mut y = points();
                activate_on(isa, &mut y, activation);
                for (x, y) in points().into_iter().zip(y) {
                    let expected = naive::activate(x.into(), activation);
                    let error = (f64::from(y) - expected).abs() / expected.abs().max(1.0);
                    assert!(error <= tolerance, "{isa:?} {activation:?}({x}) = {y}, should be {expected}");
                }
                let mut special = vec![f32::NAN, f32::INFINITY, 100.0, -100.0];
                activate_on(isa, &mut special, activation);
                assert!(special[0].is_nan(), "{activation:?}");
                let (infinite, large, small) = (special[1], special[2], special[3]);
                match activation {
                    Activation::Tanh => assert_eq!((infinite, large, small), (1.0, 1.0, -1.0)),
                    Activation::Sigmoid => assert!((infinite, large) == (1.0, 1.0) && small < 1e-40),
                    Activation::Identity => {
                        assert_eq!((infinite, large, small), (f32::INFINITY, 100.0, -100.0))
                    }
                    _ => assert!((infinite, large) == (f32::INFINITY, 100.0) && small.abs() < 1e-40),
                }
            }
        }
    }

    #[test]
    fn every_derivative_equals_its_formula() {
        for &isa in Isa::available() {
            for activation in Activation::ALL {
                let mut d = vec![-2.0; points().len()];
                activation_grad_on(isa, &points(), activation, &mut d);
                for (x, d) in points().into_iter().zip(d) {
                    let expected = -2.0 * naive::activation_slope(x.into(), activation);
                    let error = (f64::from(d) - expected).abs();
                    assert!(error <= 2e-6, "{isa:?} {activation:?}'({x}) = {d}, should be {expected}");
                }
                let mut special = vec![1.0; 4];
                activation_grad_on(
                    isa,
                    &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30],
                    activation,
                    &mut special,
                );
                assert!(special[1..].iter().all(|d| d.is_finite()), "{activation:?}: {special:?}");
                assert!(special[0].is_nan() || activation == Activation::Identity, "{activation:?}");
            }
        }
    }

    #[test]
    fn nothing_cancels_in_the_tail_of_gelu() {
        let points: Vec<f32> = (0..=5 * 4096).map(|i| i as f32 / -4096.0).collect();
        for &isa in Isa::available() {
            let mut y = points.clone();
            activate_on(isa, &mut y, Activation::Gelu);
            for (&x, y) in points.iter().zip(y) {
                let expected = naive::activate(x.into(), Activation::Gelu);
                let error = (f64::from(y) - expected).abs();
                assert!(error <= 1e-3 * expected.abs(), "{isa:?}: gelu({x}) = {y}, should be {expected}");
            }
        }
    }

    struct Exp<'a>(&'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for chunk in self.0.chunks_mut(S::LANES) {
                simd.store_part(math::exp(simd, simd.load_part(chunk)), chunk);
            }
        }
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let points: Vec<f32> = (-110_000..=90_000).map(|i| i as f32 / 1000.0).collect();
        for &isa in Isa::available() {
            let mut y = points.clone();
            isa.run(Exp(&mut y));
            for (&x, y) in points.iter().zip(y) {
                let expected = f64::from(x).exp();
                let rounded = expected as f32;
                // Nothing to compare with beyond the largest number.
                let unit = f64::from(f32::EPSILON) * expected.max(f64::from(f32::MIN_POSITIVE));
                let close = y == rounded || (f64::from(y) - expected).abs() <= 2.0 * unit;
                assert!(close, "{isa:?} exp({x}) = {y}, should be {expected}");
            }
            let mut special = [f32::INFINITY, f32::NEG_INFINITY, 0.0, f32::NAN];
            isa.run(Exp(&mut special));
            assert_eq!(special[..3], [f32::INFINITY, 0.0, 1.0]);
            assert!(special[3].is_nan());
        }
    }
}
