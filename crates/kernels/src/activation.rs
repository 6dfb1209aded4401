//! Elementwise activations.

/// An elementwise function after a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// y = x
    #[default]
    Identity,
    /// y = x/2 · (1 + erf(x/√2))
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

/// Applies `activation` to each number.
pub fn activate(x: &mut [f32], activation: Activation) {
    x.iter_mut().for_each(|x| *x = crate::naive::activate((*x).into(), activation) as f32);
}
