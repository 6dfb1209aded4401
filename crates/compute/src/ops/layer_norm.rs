//! y = (x − mean(x)) / √(var(x) + ε) · scale + shift over each row, with the biased variance
//! (<https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm`). x, y: `[rows, width]`; scale, shift: `[width]`.
//!
//! With a residual, x is x + residual: an encoder that normalizes after each branch never needs the sum itself.
//!
//! With x̂ = (x − mean) / √(var + ε) and g = ∂y · scale: ∂x = (g − mean(g) − x̂ mean(g x̂)) / √(var + ε), ∂scale = Σ ∂y x̂,
//! ∂shift = Σ ∂y, both over rows; the residual has the gradient of x.

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor};

/// The parameters of one normalization.
#[derive(Debug)]
pub struct Norm {
    /// `[1, width]`
    pub scale: Tensor,
    /// `[1, width]`
    pub shift: Tensor,
    /// ε, added to the variance.
    pub epsilon: f64,
}

/// Normalizes `x + residual` (or `x`) and gives it scale and shift. Consumes `x`.
pub fn layer_norm<'a>(pass: &mut Pass<'a>, x: Tensor, residual: Option<&Tensor>, norm: &'a Norm) -> Tensor {
    assert_eq!(x.width(), norm.scale.width(), "the norm is for another width");
    if let Some(residual) = residual {
        assert_eq!(
            (residual.rows(), residual.width()),
            (x.rows(), x.width()),
            "the residual has another shape"
        );
    }
    let backend = pass.backend();
    let from = pass.node_of(&x);
    let residual_from = residual.map(|residual| pass.node_of(residual));
    let mut x = pass.owned(x);
    if !pass.records() {
        backend.layer_norm(&mut x, residual, &norm.scale, &norm.shift, norm.epsilon);
        return x;
    }
    if let Some(residual) = residual {
        backend.add(&mut x, residual);
    }
    let mut out = pass.copy(&x);
    backend.layer_norm(&mut out, None, &norm.scale, &norm.shift, norm.epsilon);
    let trained = norm.scale.parameter.is_some() || norm.shift.parameter.is_some();
    let flows = trained || from.flows || residual_from.is_some_and(|node| node.flows);
    pass.record(&mut out, flows, || Box::new(NormStep { from, residual_from, sum: x, norm }));
    out
}

struct NormStep<'a> {
    from: Node,
    residual_from: Option<Node>,
    /// What was normalized.
    sum: Tensor,
    norm: &'a Norm,
}

impl<'a> Step<'a> for NormStep<'a> {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, mut d: Tensor) {
        let (backend, norm, width) = (walk.pass.backend(), self.norm, self.sum.width());
        let (mut d_scale, mut d_shift) = (backend.tensor(1, width), backend.tensor(1, width));
        backend.layer_norm_grad(&self.sum, &norm.scale, norm.epsilon, &mut d, &mut d_scale, &mut d_shift);
        for (parameter, d) in [(norm.scale.parameter, d_scale), (norm.shift.parameter, d_shift)] {
            if let Some(id) = parameter {
                backend.add(walk.gradients.dense(id, backend, 1, width), &d);
            }
        }
        walk.pass.free(self.sum);
        if let Some(residual) = self.residual_from {
            let other = walk.pass.copy(&d);
            walk.flow(residual, other);
        }
        walk.flow(self.from, d);
    }
}

/// Two passes over each row, in place.
pub(crate) fn naive(x: &mut [f64], residual: Option<&[f64]>, scale: &[f64], shift: &[f64], epsilon: f64) {
    let width = scale.len();
    if let Some(residual) = residual {
        super::naive_add(x, residual);
    }
    for row in x.chunks_exact_mut(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for j in 0..width {
            row[j] = (row[j] - mean) / (variance + epsilon).sqrt() * scale[j] + shift[j];
        }
    }
}

/// `d` from ∂y to ∂x; ∂scale and ∂shift are added.
pub(crate) fn naive_grad(
    x: &[f64],
    scale: &[f64],
    epsilon: f64,
    d: &mut [f64],
    d_scale: &mut [f64],
    d_shift: &mut [f64],
) {
    let (width, n) = (scale.len(), scale.len() as f64);
    for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean = x.iter().sum::<f64>() / n;
        let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + epsilon).sqrt();
        let normal: Vec<f64> = x.iter().map(|x| (x - mean) / deviation).collect();
        let g: Vec<f64> = d.iter().zip(scale).map(|(d, scale)| d * scale).collect();
        let mean_g = g.iter().sum::<f64>() / n;
        let mean_gx = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / n;
        for j in 0..width {
            d_scale[j] += d[j] * normal[j];
            d_shift[j] += d[j];
            d[j] = (g[j] - mean_g - normal[j] * mean_gx) / deviation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;
    use crate::gradients::ParameterMut;
    use crate::ops::testing::{
        Network, assert_close, backends, check_gradients, golden, narrow, numbers, random, widen,
    };

    fn run(
        backend: &dyn crate::Backend,
        x: &[f32],
        residual: Option<&[f32]>,
        scale: &[f32],
        shift: &[f32],
    ) -> Vec<f32> {
        let width = scale.len();
        let norm =
            Norm { scale: backend.upload(scale, width), shift: backend.upload(shift, width), epsilon: 1e-5 };
        let residual = residual.map(|residual| backend.upload(residual, width));
        let mut pass = Pass::inference(backend);
        let y = layer_norm(&mut pass, backend.upload(x, width), residual.as_ref(), &norm);
        backend.download(&y)
    }

    #[test]
    fn every_backend_equals_the_naive_loops() {
        for backend in backends() {
            for (rows, width) in [(1, 1), (3, 7), (17, 65), (4, 384)] {
                let (x, residual) = (random(rows * width, 1), random(rows * width, 2));
                let (scale, shift) = (random(width, 3), random(width, 4));
                for residual in [None, Some(&*residual)] {
                    let mut expected = widen(&x);
                    naive(
                        &mut expected,
                        residual.map(widen).as_deref(),
                        &widen(&scale),
                        &widen(&shift),
                        1e-5,
                    );
                    let y = run(backend, &x, residual, &scale, &shift);
                    assert_close(&y, &expected, 5e-6, backend.name());
                }
            }
        }
    }

    #[test]
    fn equals_pytorch() {
        let case = &golden()["layer_norm"];
        let get = |name: &str| narrow(&numbers(&case[name]));
        for backend in backends() {
            let y = run(backend, &get("x"), Some(&get("residual")), &get("scale"), &get("shift"));
            assert_close(&y, &numbers(&case["out"]), 2e-6, backend.name());
        }
    }

    struct Normalized(Norm);

    impl Network for Normalized {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let x = leaves.remove(0);
            let residual = leaves.pop();
            let y = layer_norm(pass, x, residual.as_ref(), &self.0);
            residual.into_iter().for_each(|residual| pass.free(residual));
            y
        }

        fn parameters(&mut self) -> Vec<ParameterMut<'_>> {
            vec![ParameterMut::Vector(&mut self.0.scale), ParameterMut::Vector(&mut self.0.shift)]
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let build = |backend: &dyn Backend, values: &[Vec<f32>]| {
            let vector = |i: usize| backend.upload(&values[i], 6);
            Normalized(Norm { scale: vector(0), shift: vector(1), epsilon: 1e-3 })
        };
        check_gradients(&[(5, 6)], &[(1, 6), (1, 6)], build);
        check_gradients(&[(5, 6), (5, 6)], &[(1, 6), (1, 6)], build);
    }
}
