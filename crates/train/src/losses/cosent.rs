//! Pairs in the order of their labels: a pair with a higher label should be more similar than one with a lower label.
//!
//! `loss = log(1 + Σ_{label_i < label_j} exp(s_i − s_j))`, s = scale · similarity of the pair (`cosent.py`; Su 2022,
//! <https://penghao-bdsc.github.io/papers/CoSENT_TASLP2024.pdf>). In n log n by running sums over the sorted labels.

use serde_json::json;

use super::pairs::{Pair, PairSimilarity};
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients, zeros};
use crate::Result;

/// `CoSENTLoss`: two columns, a label per row, any numbers; only their order counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CoSent {
    /// Factor of similarities. Default: 20.
    pub scale: f64,
    /// Default: cosine.
    pub similarity: PairSimilarity,
}

impl Default for CoSent {
    fn default() -> Self {
        Self { scale: 20.0, similarity: PairSimilarity::Cosine }
    }
}

impl CoSent {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let scale = parameters.number("scale", 20.0)?;
        Ok(Self { scale, similarity: parameters.choice("similarity_fct", &PairSimilarity::NAMES)? })
    }
}

/// The loss of scores and labels, and its derivative by each score.
pub(super) fn ordered(scores: &[f64], labels: &[f32]) -> (f64, Vec<f64>) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| labels[i].total_cmp(&labels[j]));
    // For each score, ln Σ exp(s) over those with a lower label (sign 1), or ln Σ exp(−s) over those with a higher one (−1).
    let beyond = |order: &mut dyn Iterator<Item = usize>, sign: f64| {
        let mut sums = vec![f64::NEG_INFINITY; scores.len()];
        let (mut before, mut all, mut label) = (f64::NEG_INFINITY, f64::NEG_INFINITY, None);
        for i in order {
            if label != Some(labels[i]) {
                (before, label) = (all, Some(labels[i]));
            }
            sums[i] = before;
            all = log_add(all, sign * scores[i]);
        }
        sums
    };
    let lower = beyond(&mut order.iter().copied(), 1.0);
    let higher = beyond(&mut order.iter().rev().copied(), -1.0);
    let loss = order.iter().fold(0.0, |sum, &i| log_add(sum, scores[i] + higher[i]));
    let derivative = |i: usize| (scores[i] + higher[i] - loss).exp() - (lower[i] - scores[i] - loss).exp();
    (loss, (0..scores.len()).map(derivative).collect())
}

/// `ln(exp a + exp b)`; NaN if one is.
fn log_add(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}

/// The loss of pairs of rows: of column 0 with each of the others, one after another, with the labels of all of them.
pub(super) fn pairs(
    batch: Batch<'_>,
    (pair, factor): (Pair, f64),
    labels: &[f32],
    width: usize,
) -> Result<Gradients> {
    let others = 1..batch.columns.len();
    let values = others.clone().flat_map(|other| pair.values(&batch.columns[0], &batch.columns[other]));
    let scores: Vec<f64> = values.map(|value| value * factor).collect();
    let (value, derivatives) = ordered(&scores, labels);
    let factors: Vec<f64> = derivatives.iter().map(|derivative| derivative * factor).collect();
    let mut sums = zeros(batch.columns);
    for (other, factors) in others.zip(factors.chunks_exact(batch.columns[0].rows())) {
        pair.add_gradients(batch.columns, [0, other], factors, &mut sums);
    }
    gradients(value, sums, width)
}

impl Loss for CoSent {
    fn name(&self) -> &'static str {
        "CoSENTLoss"
    }

    fn config(&self) -> Config {
        vec![("scale", json!(self.scale)), ("similarity_fct", json!(self.similarity.name()))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, 2, "two text columns", 2)?;
        check_labels(self, has_labels, "a similarity score per pair as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [_, width] = batch.shape(self)?;
        let labels = batch.scalars(self, f32::MIN..=f32::MAX, "")?;
        let labels = labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        let (pair, sign) = self.similarity.pair();
        pairs(batch, (pair, sign * self.scale), labels, width)
    }
}
