//! y = activation(x Wᵀ + bias): x `[rows, inputs]`, W `[outputs, inputs]`, bias `[outputs]`, y `[rows, outputs]`
//! (`torch.nn.Linear`, then an activation).

use crate::{Activation, Pass, Tensor, Weight};

/// The parameters of one linear layer.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Weight,
    /// `[1, outputs]`
    pub bias: Option<Tensor>,
}

/// Multiplies, adds the bias and applies the activation.
pub fn linear(pass: &mut Pass<'_>, x: &Tensor, layer: &Linear, activation: Activation) -> Tensor {
    assert_eq!(x.width(), layer.weight.inputs(), "the layer is for another width");
    let mut out = pass.tensor(x.rows(), layer.weight.outputs());
    pass.backend().linear(x, &layer.weight, layer.bias.as_ref(), activation, &mut out);
    out
}

/// One sum per output.
pub(crate) fn naive(
    x: &[f64],
    weight: &[f64],
    inputs: usize,
    bias: Option<&[f64]>,
    activation: Activation,
    out: &mut [f64],
) {
    let outputs = weight.len() / inputs;
    for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs)) {
        for (j, w) in weight.chunks_exact(inputs).enumerate() {
            let sum: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            out[j] = super::naive_activation(sum + bias.map_or(0.0, |bias| bias[j]), activation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightType;
    use crate::ops::testing::{assert_close, backends, golden, narrow, numbers, random, widen};

    const ACTIVATIONS: [Activation; 7] = [
        Activation::Identity,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
    ];

    fn run(
        backend: &dyn crate::Backend,
        x: &[f32],
        w: &[f32],
        inputs: usize,
        bias: Option<&[f32]>,
        a: Activation,
    ) -> Vec<f32> {
        let outputs = w.len() / inputs;
        let bias = bias.map(|bias| backend.upload(bias, outputs));
        let layer = Linear { weight: backend.prepare(w, outputs, inputs, WeightType::F32), bias };
        let mut pass = Pass::inference(backend);
        let y = linear(&mut pass, &backend.upload(x, inputs), &layer, a);
        backend.download(&y)
    }

    #[test]
    fn every_backend_equals_the_naive_loops() {
        for backend in backends() {
            for (rows, inputs, outputs) in [(1, 1, 1), (2, 3, 5), (7, 33, 17), (13, 64, 96)] {
                let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
                let bias = random(outputs, 3);
                for activation in ACTIVATIONS {
                    for bias in [None, Some(&*bias)] {
                        let mut expected = vec![0.0; rows * outputs];
                        let bias64 = bias.map(widen);
                        naive(&widen(&x), &widen(&w), inputs, bias64.as_deref(), activation, &mut expected);
                        let y = run(backend, &x, &w, inputs, bias, activation);
                        assert_close(&y, &expected, 1e-5, backend.name());
                    }
                }
            }
        }
    }

    #[test]
    fn equals_pytorch() {
        let case = &golden()["linear"];
        let get = |name: &str| narrow(&numbers(&case[name]));
        for backend in backends() {
            let y = run(backend, &get("x"), &get("weight"), 24, Some(&get("bias")), Activation::Gelu);
            assert_close(&y, &numbers(&case["gelu"]), 2e-6, backend.name());
        }
    }
}
