//! y = x + y, elementwise; both `[rows, width]`. The residual connection of a `Dense` module.
//!
//! ∂x and ∂y are both the derivative by the sum.

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor};

/// The sum of two tensors of one shape. Consumes the first.
pub fn add(pass: &mut Pass<'_>, x: Tensor, y: &Tensor) -> Tensor {
    assert_eq!((x.rows(), x.width()), (y.rows(), y.width()), "two tensors to be added have different shapes");
    let from = [pass.node_of(&x), pass.node_of(y)];
    let mut sum = pass.owned(x);
    pass.backend().add(&mut sum, y);
    if pass.records() {
        pass.record(&mut sum, from[0].flows || from[1].flows, || Box::new(AddStep { from }));
    }
    sum
}

struct AddStep {
    from: [Node; 2],
}

impl<'a> Step<'a> for AddStep {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor) {
        let other = walk.pass.copy(&d);
        walk.flow(self.from[0], other);
        walk.flow(self.from[1], d);
    }
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
    use crate::ops::testing::{Network, assert_close, backends, check_gradients, random};

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

    struct Twice;

    impl Network for Twice {
        /// x is used three times: x + y + x.
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let (x, y) = (leaves.remove(0), leaves.remove(0));
            let sum = add(pass, y, &x);
            let sum = add(pass, sum, &x);
            pass.free(x);
            sum
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(&[(3, 4), (3, 4)], &[], |_, _| Twice);
    }
}
