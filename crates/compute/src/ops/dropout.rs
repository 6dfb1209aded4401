//! y = x ∘ M, M being 0 with probability p and 1 / (1 − p) else (<https://jmlr.org/papers/v15/srivastava14a.html>;
//! `torch.nn.Dropout`). Outside of training y = x. x, y: `[rows, width]`; ∂x = ∂y ∘ M.
//!
//! M comes from the counter-based generator of [`sentir_kernels::dropout`], so the gradient draws it once more.

use sentir_kernels::dropout::Dropout;

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor};

/// Drops numbers with the given probability, in training only. Consumes `x`.
pub fn dropout(pass: &mut Pass<'_>, x: Tensor, probability: f32) -> Tensor {
    let mask = pass.mask(probability);
    if mask.is_none() {
        return x;
    }
    let from = pass.node_of(&x);
    let mut y = pass.owned(x);
    pass.backend().dropout(&mut y, mask);
    if pass.records() {
        pass.record(&mut y, from.flows, || Box::new(DropoutStep { from, mask }));
    }
    y
}

struct DropoutStep {
    from: Node,
    mask: Dropout,
}

impl<'a> Step<'a> for DropoutStep {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, mut d: Tensor) {
        walk.pass.backend().dropout(&mut d, self.mask);
        walk.flow(self.from, d);
    }
}

/// Row by row, in place.
pub(crate) fn naive(x: &mut [f64], width: usize, mask: Dropout) {
    let mut factors = vec![0.0; width];
    for (row, x) in x.chunks_exact_mut(width).enumerate() {
        mask.factors(row as u32, &mut factors);
        x.iter_mut().zip(&factors).for_each(|(x, &factor)| *x *= f64::from(factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Network, assert_close, backends, check_gradients, random};
    use crate::tape::Randomness;

    #[test]
    fn nothing_is_dropped_outside_of_training_and_the_share_within() {
        for backend in backends() {
            let x = random(5000, 1);
            let kept = dropout(&mut Pass::inference(backend), backend.upload(&x, 50), 0.4);
            assert_eq!(backend.download(&kept), x);
            let mut pass = Pass::rehearsal(backend, Randomness { seed: 3, stream: 0 });
            let y = dropout(&mut pass, backend.upload(&x, 50), 0.4);
            let y = backend.download(&y);
            let dropped = y.iter().filter(|&&y| y == 0.0).count();
            assert!((1850..2150).contains(&dropped), "{dropped} of 5000 with probability 0.4");
            let scaled: Vec<f64> = x.iter().map(|&x| f64::from(x) / f64::from(1.0 - 0.4f32)).collect();
            for (y, scaled) in y.iter().zip(scaled).filter(|(y, _)| **y != 0.0) {
                assert_close(&[*y], &[scaled], 1e-6, backend.name());
            }
        }
    }

    struct Dropped;

    impl Network for Dropped {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let x = dropout(pass, leaves.remove(0), 0.5);
            // A second mask, another one.
            dropout(pass, x, 0.25)
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(&[(5, 6)], &[], |_, _| Dropped);
    }
}
