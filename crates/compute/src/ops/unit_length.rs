//! y = x / max(‖x‖₂, 1e-12) for each row: `torch.nn.functional.normalize(p=2)`. A row of zeros stays one.
//!
//! With n = ‖x‖: ∂x = (∂y − y (y · ∂y)) / n where n > 1e-12, and ∂y / 1e-12 where it is not.

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor};

/// What the length of a row is at least taken to be.
pub(crate) const SHORTEST: f64 = 1e-12;

/// Gives every row unit length. Consumes `x` `[rows, width]`.
pub fn unit_length(pass: &mut Pass<'_>, x: Tensor) -> Tensor {
    let from = pass.node_of(&x);
    let mut y = pass.owned(x);
    if !pass.records() {
        pass.backend().unit_length(&mut y);
        return y;
    }
    let x = pass.copy(&y);
    pass.backend().unit_length(&mut y);
    pass.record(&mut y, from.flows, || Box::new(UnitStep { from, x }));
    y
}

struct UnitStep {
    from: Node,
    x: Tensor,
}

impl<'a> Step<'a> for UnitStep {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, mut d: Tensor) {
        walk.pass.backend().unit_length_grad(&self.x, &mut d);
        walk.pass.free(self.x);
        walk.flow(self.from, d);
    }
}

/// Row by row, in place.
pub(crate) fn naive(x: &mut [f64], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(SHORTEST);
        row.iter_mut().for_each(|x| *x /= length);
    }
}

/// `d` from ∂y to ∂x, row by row.
pub(crate) fn naive_grad(x: &[f64], width: usize, d: &mut [f64]) {
    for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > SHORTEST {
            let along = x.iter().zip(&*d).map(|(x, d)| x * d).sum::<f64>() / (length * length);
            d.iter_mut().zip(x).for_each(|(d, x)| *d = (*d - x * along) / length);
        } else {
            d.iter_mut().for_each(|d| *d /= SHORTEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{
        Network, assert_close, backends, check_gradients, golden, narrow, numbers, random, widen,
    };

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

    struct Unit;

    impl Network for Unit {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            unit_length(pass, leaves.remove(0))
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(&[(4, 7)], &[], |_, _| Unit);
    }
}
