//! y = (x − mean(x)) / √(var(x) + ε) · scale + shift over each row, with the biased variance
//! (<https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm`). x, y: `[rows, width]`; scale, shift: `[width]`.
//!
//! With a residual, x is x + residual: an encoder that normalizes after each branch never needs the sum itself.

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
pub fn layer_norm(pass: &mut Pass<'_>, mut x: Tensor, residual: Option<&Tensor>, norm: &Norm) -> Tensor {
    assert_eq!(x.width(), norm.scale.width(), "the norm is for another width");
    if let Some(residual) = residual {
        assert_eq!(
            (residual.rows(), residual.width()),
            (x.rows(), x.width()),
            "the residual has another shape"
        );
    }
    pass.backend().layer_norm(&mut x, residual, &norm.scale, &norm.shift, norm.epsilon);
    x
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, backends, golden, narrow, numbers, random, widen};

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
}
