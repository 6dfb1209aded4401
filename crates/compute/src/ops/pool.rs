//! From hidden states to one vector a sentence: `[tokens, width]` → `[sentences, modes · width]`.
//!
//! Let h₁ … h_L be the states of a sentence, of which the first `skip` belong to a prompt that is left out
//! (`include_prompt: false`); P = {t : t > skip}, n = |P|:
//!
//! | mode | vector | if the prompt is the whole sentence (n = 0) |
//! |---|---|---|
//! | `Cls` | the first state of P | h₁ |
//! | `Max` | the largest of each component over P | −∞ |
//! | `Mean` | Σ_P h / n | 0 |
//! | `MeanSqrtLen` | Σ_P h / √n | 0 |
//! | `WeightedMean` | Σ_P t·h_t / Σ_P t, t counted from 1 at the start of the sentence, prompt included | 0 |
//! | `LastToken` | the last state of P | 0 |
//!
//! Source: `Pooling._forward_padded` in sentence-transformers 6.2, `sentence_transformer/modules/pooling.py`.
//!
//! The gradient goes back to the states with the factors that they have above: for `Max` to the first of the largest, for
//! `Cls` and `LastToken` to that state, for the others to each state of P. Where the vector is a constant, there is none.

use crate::tape::{Backward, Node, Step};
use crate::{Pass, Tensor};

/// How the states of a sentence become one vector; the names are sentence-transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolingMode {
    /// `cls`
    Cls,
    /// `max`
    Max,
    /// `mean`
    Mean,
    /// `mean_sqrt_len_tokens`
    MeanSqrtLen,
    /// `weightedmean`
    WeightedMean,
    /// `lasttoken`
    LastToken,
}

/// Pools by each of the modes and puts the vectors side by side. `offsets` has one entry more than there are sentences,
/// `skip` one a sentence, none larger than the sentence.
pub fn pool(
    pass: &mut Pass<'_>,
    hidden: &Tensor,
    offsets: &[usize],
    skip: &[usize],
    modes: &[PoolingMode],
) -> Tensor {
    let sentences = offsets.len() - 1;
    assert_eq!(skip.len(), sentences, "one number of skipped tokens a sentence");
    assert_eq!(offsets.last(), Some(&hidden.rows()), "the last sentence ends with the last token");
    let mut out = pass.tensor(sentences, modes.len() * hidden.width());
    for (i, &mode) in modes.iter().enumerate() {
        pass.backend().pool(hidden, offsets, skip, mode, i * hidden.width(), &mut out);
    }
    if pass.records() {
        let from = pass.node_of(hidden);
        let kept = (from.flows && modes.contains(&PoolingMode::Max)).then(|| pass.keep(hidden));
        pass.record(&mut out, from.flows, || {
            let (offsets, skip, modes) = (offsets.to_vec(), skip.to_vec(), modes.to_vec());
            Box::new(PoolStep { from, kept, offsets, skip, modes })
        });
    }
    out
}

struct PoolStep {
    from: Node,
    /// The states, if a gradient depends on them.
    kept: Option<Node>,
    offsets: Vec<usize>,
    skip: Vec<usize>,
    modes: Vec<PoolingMode>,
}

impl<'a> Step<'a> for PoolStep {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor) {
        let Self { from, kept, offsets, skip, modes } = *self;
        let hidden = kept.map(|node| (node, walk.take(node)));
        let width = d.width() / modes.len();
        let mut d_hidden = walk.pass.tensor(*offsets.last().expect("offsets are never empty"), width);
        d_hidden.clear();
        for (i, &mode) in modes.iter().enumerate() {
            let states = hidden.as_ref().map(|(_, hidden)| hidden);
            walk.pass.backend().pool_grad(&d, i * width, &offsets, &skip, mode, states, &mut d_hidden);
        }
        if let Some((node, hidden)) = hidden {
            walk.put_back(node, hidden);
        }
        walk.pass.free(d);
        walk.flow(from, d_hidden);
    }
}

/// One sentence: `hidden` are its own states, `[length, width]`, `out` is `[width]`.
pub(crate) fn naive(hidden: &[f64], width: usize, skip: usize, mode: PoolingMode, out: &mut [f64]) {
    let states: Vec<&[f64]> = hidden.chunks_exact(width).collect();
    let counted = &states[skip..];
    let n = counted.len() as f64;
    for j in 0..width {
        let sum: f64 = counted.iter().map(|state| state[j]).sum();
        out[j] = match mode {
            PoolingMode::Cls => counted.first().or(states.first()).map_or(0.0, |state| state[j]),
            PoolingMode::LastToken => counted.last().map_or(0.0, |state| state[j]),
            PoolingMode::Max => counted.iter().map(|state| state[j]).fold(f64::NEG_INFINITY, f64::max),
            _ if counted.is_empty() => 0.0,
            PoolingMode::Mean => sum / n,
            PoolingMode::MeanSqrtLen => sum / n.sqrt(),
            PoolingMode::WeightedMean => {
                let weights = (skip + 1..).map(|t| t as f64);
                let weighted: f64 = counted.iter().zip(weights.clone()).map(|(state, t)| t * state[j]).sum();
                weighted / weights.take(counted.len()).sum::<f64>()
            }
        };
    }
}

/// How the gradient of one sentence's vector reaches its states: calls `each(state, factor)` for those that it reaches
/// whole. Not for [`PoolingMode::Max`], where it depends on the component.
pub(crate) fn factors(length: usize, skip: usize, mode: PoolingMode, mut each: impl FnMut(usize, f64)) {
    let n = (length - skip) as f64;
    match mode {
        PoolingMode::Cls if length > 0 => each(if skip < length { skip } else { 0 }, 1.0),
        PoolingMode::LastToken if skip < length => each(length - 1, 1.0),
        PoolingMode::Mean => (skip..length).for_each(|t| each(t, 1.0 / n)),
        PoolingMode::MeanSqrtLen => (skip..length).for_each(|t| each(t, 1.0 / n.sqrt())),
        PoolingMode::WeightedMean => {
            let all = (skip + 1..=length).sum::<usize>() as f64;
            (skip..length).for_each(|t| each(t, (t + 1) as f64 / all));
        }
        PoolingMode::Cls | PoolingMode::LastToken | PoolingMode::Max => {}
    }
}

/// One sentence: adds the derivative by its states, `[length, width]`, to `d_hidden`. `hidden` is looked at for `Max` only.
pub(crate) fn naive_grad(
    d: &[f64],
    skip: usize,
    mode: PoolingMode,
    hidden: Option<&[f64]>,
    d_hidden: &mut [f64],
) {
    let width = d.len();
    let length = d_hidden.len() / width;
    factors(length, skip, mode, |t, factor| {
        (0..width).for_each(|j| d_hidden[t * width + j] += factor * d[j]);
    });
    if let (PoolingMode::Max, Some(hidden)) = (mode, hidden) {
        for j in 0..width {
            let state = |t: usize| hidden[t * width + j];
            let larger = |best: usize, t: usize| if state(t) > state(best) { t } else { best };
            if let Some(t) = (skip..length).reduce(larger) {
                d_hidden[t * width + j] += d[j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{
        Network, assert_close, backends, check_gradients, golden, narrow, numbers, random, usizes, widen,
    };

    const MODES: [(PoolingMode, &str); 6] = [
        (PoolingMode::Cls, "cls"),
        (PoolingMode::Max, "max"),
        (PoolingMode::Mean, "mean"),
        (PoolingMode::MeanSqrtLen, "mean_sqrt_len_tokens"),
        (PoolingMode::WeightedMean, "weightedmean"),
        (PoolingMode::LastToken, "lasttoken"),
    ];

    #[test]
    fn every_backend_equals_the_naive_loops() {
        let (width, offsets, skip) = (11, [0, 1, 4, 4 + 70, 4 + 70 + 3], [0, 2, 5, 3]);
        let hidden = random(offsets[4] * width, 1);
        let modes: Vec<PoolingMode> = MODES.iter().map(|(mode, _)| *mode).collect();
        let mut expected = vec![0.0; 4 * 6 * width];
        for (s, out) in expected.chunks_exact_mut(6 * width).enumerate() {
            let own = widen(&hidden[offsets[s] * width..offsets[s + 1] * width]);
            for (i, &mode) in modes.iter().enumerate() {
                naive(&own, width, skip[s], mode, &mut out[i * width..][..width]);
            }
        }
        for backend in backends() {
            let hidden = backend.upload(&hidden, width);
            let out = pool(&mut Pass::inference(backend), &hidden, &offsets, &skip, &modes);
            assert_close(&backend.download(&out), &expected, 2e-6, backend.name());
        }
    }

    #[test]
    fn equals_sentence_transformers() {
        let case = &golden()["pool"];
        let offsets = usizes(&case["offsets"]);
        for skipped in case["skipped"].as_array().unwrap() {
            let skip = vec![skipped["prompt_length"].as_u64().unwrap() as usize; offsets.len() - 1];
            for (mode, name) in MODES {
                for backend in backends() {
                    let hidden = backend.upload(&narrow(&numbers(&case["hidden"])), 8);
                    let out = pool(&mut Pass::inference(backend), &hidden, &offsets, &skip, &[mode]);
                    assert_close(&backend.download(&out), &numbers(&skipped[name]), 1e-6, name);
                }
            }
        }
    }

    struct Pooled(Vec<usize>, Vec<PoolingMode>);

    impl Network for Pooled {
        fn run<'a>(&'a self, pass: &mut Pass<'a>, mut leaves: Vec<Tensor>) -> Tensor {
            let hidden = leaves.remove(0);
            let out = pool(pass, &hidden, &[0, 1, 4, 9], &self.0, &self.1);
            pass.free(hidden);
            out
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let all = MODES.map(|(mode, _)| mode).to_vec();
        check_gradients(&[(9, 3)], &[], |_, _| Pooled(vec![0, 0, 0], all.clone()));
        check_gradients(&[(9, 3)], &[], |_, _| Pooled(vec![0, 1, 4], all.clone()));
        // The prompt is all of a sentence: its largest would be −∞.
        let finite = all.iter().copied().filter(|&mode| mode != PoolingMode::Max).collect::<Vec<_>>();
        check_gradients(&[(9, 3)], &[], |_, _| Pooled(vec![1, 3, 0], finite.clone()));
    }
}
