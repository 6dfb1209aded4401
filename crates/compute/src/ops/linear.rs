//! y = activation(x Wᵀ + bias): x `[rows, inputs]`, W `[outputs, inputs]`, bias `[outputs]`, y `[rows, outputs]`
//! (`torch.nn.Linear`, then an activation).
//!
//! With z = x Wᵀ + bias: ∂z = ∂y · activation′(z), ∂x = ∂z W, ∂W = ∂zᵀ x, ∂bias = Σ over rows of ∂z.

use crate::tape::{Backward, Node, Step};
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
pub fn linear<'a>(pass: &mut Pass<'a>, x: &Tensor, layer: &'a Linear, activation: Activation) -> Tensor {
    assert_eq!(x.width(), layer.weight.inputs(), "the layer is for another width");
    let mut out = pass.tensor(x.rows(), layer.weight.outputs());
    if !pass.records() {
        pass.backend().linear(x, &layer.weight, layer.bias.as_ref(), activation, &mut out);
        return out;
    }
    let from = pass.node_of(x);
    let bias_trained = layer.bias.as_ref().is_some_and(|bias| bias.parameter.is_some());
    let flows = from.flows || layer.weight.parameter.is_some() || bias_trained;
    // ∂z needs z, which the activation would hide.
    pass.backend().linear(x, &layer.weight, layer.bias.as_ref(), Activation::Identity, &mut out);
    let mut before = None;
    if activation != Activation::Identity {
        before = flows.then(|| pass.copy(&out));
        pass.backend().activate(&mut out, activation);
    }
    let kept = layer.weight.parameter.map(|_| pass.keep(x));
    pass.record(&mut out, flows, || Box::new(LinearStep { from, kept, before, layer, activation }));
    out
}

struct LinearStep<'a> {
    from: Node,
    /// x, if the weight is trained.
    kept: Option<Node>,
    /// z, if there is an activation.
    before: Option<Tensor>,
    layer: &'a Linear,
    activation: Activation,
}

impl<'a> Step<'a> for LinearStep<'a> {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, mut d: Tensor) {
        let backend = walk.pass.backend();
        if let Some(before) = self.before {
            backend.activation_grad(&before, self.activation, &mut d);
            walk.pass.free(before);
        }
        let weight = &self.layer.weight;
        if let (Some(id), Some(kept)) = (weight.parameter, self.kept) {
            let x = walk.take(kept);
            walk.gradients.matrix(id, backend, [weight.outputs(), weight.inputs()], |d_weight| {
                backend.linear_weight_grad(&x, &d, weight, d_weight);
            });
            walk.put_back(kept, x);
        }
        if let Some(id) = self.layer.bias.as_ref().and_then(|bias| bias.parameter) {
            backend.sum_rows(&d, walk.gradients.dense(id, backend, 1, weight.outputs()));
        }
        if self.from.flows {
            let mut d_x = walk.pass.tensor(d.rows(), weight.inputs());
            backend.linear_input_grad(&d, weight, &mut d_x);
            walk.flow(self.from, d_x);
        }
        walk.pass.free(d);
    }
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

/// `d_x = d weight`
pub(crate) fn naive_input_grad(d: &[f64], weight: &[f64], inputs: usize, d_x: &mut [f64]) {
    let outputs = weight.len() / inputs;
    for (d, d_x) in d.chunks_exact(outputs).zip(d_x.chunks_exact_mut(inputs)) {
        for j in 0..inputs {
            d_x[j] = (0..outputs).map(|i| d[i] * weight[i * inputs + j]).sum();
        }
    }
}

/// `d_weight += dᵀ x`
pub(crate) fn naive_weight_grad(x: &[f64], d: &[f64], inputs: usize, d_weight: &mut [f64]) {
    let outputs = d_weight.len() / inputs;
    for (x, d) in x.chunks_exact(inputs).zip(d.chunks_exact(outputs)) {
        for (i, d_weight) in d_weight.chunks_exact_mut(inputs).enumerate() {
            d_weight.iter_mut().zip(x).for_each(|(d_weight, x)| *d_weight += d[i] * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightType;
    use crate::gradients::ParameterMut;
    use crate::ops::testing::{
        Network, assert_close, backends, check_gradients, golden, narrow, numbers, random, widen,
    };

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
                for activation in Activation::ALL {
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

    struct Layer(Linear, Activation);

    impl Network for Layer {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let x = leaves.remove(0);
            let y = linear(pass, &x, &self.0, self.1);
            pass.free(x);
            y
        }

        fn parameters(&mut self) -> Vec<ParameterMut<'_>> {
            let bias = self.0.bias.as_mut().map(ParameterMut::Vector);
            std::iter::once(ParameterMut::Weight(&mut self.0.weight)).chain(bias).collect()
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for activation in Activation::ALL {
            check_gradients(&[(7, 5)], &[(4, 5), (1, 4)], |backend, values| {
                let weight = backend.trainable(values[0].clone(), 4, 5, WeightType::F32);
                Layer(Linear { weight, bias: Some(backend.upload(&values[1], 4)) }, activation)
            });
        }
        check_gradients(&[(3, 5)], &[(4, 5)], |backend, values| {
            let weight = backend.trainable(values[0].clone(), 4, 5, WeightType::F32);
            Layer(Linear { weight, bias: None }, Activation::Gelu)
        });
    }
}
