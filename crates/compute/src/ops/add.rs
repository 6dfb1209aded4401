//! y = x + y, elementwise; both `[rows, width]`. The residual connection of a `Dense` module.

use crate::{Pass, Tensor};

/// The sum of two tensors of one shape. Consumes the first.
pub fn add(pass: &mut Pass<'_>, mut x: Tensor, y: &Tensor) -> Tensor {
    assert_eq!((x.rows(), x.width()), (y.rows(), y.width()), "two tensors to be added have different shapes");
    pass.backend().add(&mut x, y);
    x
}

/// `x[i] += y[i]`
pub(crate) fn naive(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, backends, random};

    #[test]
    fn every_backend_adds() {
        for backend in backends() {
            for (rows, width) in [(1, 1), (3, 7), (33, 19)] {
                let (x, y) = (random(rows * width, 1), random(rows * width, 2));
                let mut pass = Pass::inference(backend);
                let sum = add(&mut pass, backend.upload(&x, width), &backend.upload(&y, width));
                let mut expected: Vec<f64> = x.iter().map(|&x| x.into()).collect();
                naive(&mut expected, &y.iter().map(|&y| y.into()).collect::<Vec<_>>());
                assert_close(&backend.download(&sum), &expected, 1e-6, backend.name());
            }
        }
    }
}
