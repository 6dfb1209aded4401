//! y = x / max(‖x‖₂, 1e-12) for each row: `torch.nn.functional.normalize(p=2)`. A row of zeros stays one.

use crate::{Pass, Tensor};

/// What the length of a row is at least taken to be.
pub(crate) const SHORTEST: f64 = 1e-12;

/// Gives every row unit length. Consumes `x` `[rows, width]`.
pub fn unit_length(pass: &mut Pass<'_>, mut x: Tensor) -> Tensor {
    pass.backend().unit_length(&mut x);
    x
}

/// Row by row, in place.
pub(crate) fn naive(x: &mut [f64], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(SHORTEST);
        row.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, backends, golden, narrow, numbers, random, widen};

    #[test]
    fn every_backend_equals_the_naive_loops() {
        for backend in backends() {
            for (rows, width) in [(1, 1), (5, 3), (9, 130)] {
                let mut x = random(rows * width, 1);
                x[..width].fill(0.0);
                let mut expected = widen(&x);
                naive(&mut expected, width);
                let y = unit_length(&mut Pass::inference(backend), backend.upload(&x, width));
                assert_close(&backend.download(&y), &expected, 1e-6, backend.name());
            }
        }
    }

    #[test]
    fn equals_pytorch() {
        let case = &golden()["unit_length"];
        for backend in backends() {
            let x = backend.upload(&narrow(&numbers(&case["x"])), 12);
            let y = unit_length(&mut Pass::inference(backend), x);
            assert_close(&backend.download(&y), &numbers(&case["out"]), 1e-6, backend.name());
        }
    }
}
