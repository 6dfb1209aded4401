//! [`Contrastive`](super::Contrastive) over the hard pairs of the batch alone: pairs with label 0 that are nearer than the
//! farthest with label 1, and pairs with label 1 that are farther than the nearest with label 0.
//!
//! `loss = Σ_{hard, label 1} d² + Σ_{hard, label 0} max(0, margin − d)²`: a sum, not a mean. Where the batch has only one of the
//! labels, the mean distance takes the place of the farthest or nearest (`online_contrastive.py`).

use serde_json::json;

use super::pairs::{Distance, name_of};
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients, zeros};
use crate::Result;

/// `OnlineContrastiveLoss`: two columns, a label per row, 0 or 1 (sentence-transformers ignores pairs with others; here they are
/// an error).
#[derive(Debug, Clone, PartialEq)]
pub struct OnlineContrastive {
    /// Default: cosine.
    pub distance: Distance,
    /// Default: 0.5.
    pub margin: f64,
}

impl Default for OnlineContrastive {
    fn default() -> Self {
        Self { distance: Distance::Cosine, margin: 0.5 }
    }
}

impl OnlineContrastive {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let distance = parameters.choice("distance_metric", &Distance::NAMES)?;
        Ok(Self { distance, margin: parameters.number("margin", 0.5)? })
    }
}

impl Loss for OnlineContrastive {
    fn name(&self) -> &'static str {
        "OnlineContrastiveLoss"
    }

    fn config(&self) -> Config {
        let distance = name_of(&Distance::NAMES, self.distance);
        vec![("distance_metric", json!(distance)), ("margin", json!(self.margin))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, 2, "two text columns", 2)?;
        check_labels(self, has_labels, "0 (different) or 1 (alike) per pair as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [_, width] = batch.shape(self)?;
        let what = "it must be 0 (different) or 1 (alike)";
        let labels = batch.scalars(self, 0.0..=1.0, what)?;
        let labels = labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        if let Some(row) = labels.iter().position(|&label| label != 0.0 && label != 1.0) {
            let label = labels[row];
            return Err(error(self, format!("the label of row {row} of the batch is {label}: {what}")));
        }
        let (pair, constant, slope) = self.distance.pair();
        let numbers = pair.values(&batch.columns[0], &batch.columns[1]);
        let distances: Vec<f64> = numbers.iter().map(|number| constant + slope * number).collect();
        let of =
            |label: f32| distances.iter().zip(labels).filter(move |(_, l)| **l == label).map(|(d, _)| *d);
        let mean = |label: f32| of(label).sum::<f64>() / of(label).count() as f64;
        let nearer_than = of(1.0).reduce(f64::max).unwrap_or_else(|| mean(0.0));
        let farther_than = of(0.0).reduce(f64::min).unwrap_or_else(|| mean(1.0));
        let (mut value, mut factors) = (0.0, vec![0.0; distances.len()]);
        for ((distance, &label), factor) in distances.iter().zip(labels).zip(&mut factors) {
            if distance.is_nan() {
                value = f64::NAN;
            } else if label == 1.0 && *distance > farther_than {
                value += distance * distance;
                *factor = 2.0 * slope * distance;
            } else if label == 0.0 && *distance < nearer_than && *distance < self.margin {
                value += (self.margin - distance).powi(2);
                *factor = -2.0 * slope * (self.margin - distance);
            }
        }
        let mut sums = zeros(batch.columns);
        pair.add_gradients(batch.columns, [0, 1], &factors, &mut sums);
        gradients(value, sums, width)
    }
}
