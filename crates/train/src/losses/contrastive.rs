//! Pairs with label 1 near each other, pairs with label 0 at least a margin apart:
//! `loss = mean ½ (label d² + (1 − label) max(0, margin − d)²)` (`contrastive.py`; Hadsell et al. 2006).

use serde_json::json;

use super::pairs::{Distance, name_of};
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients, zeros};
use crate::Result;

/// `ContrastiveLoss`: two columns, a label per row, 0 or 1; between them, both terms are weighted (as in sentence-transformers,
/// which takes others too; here they are an error, since a distance to be made large has no bound).
#[derive(Debug, Clone, PartialEq)]
pub struct Contrastive {
    /// Default: cosine.
    pub distance: Distance,
    /// Default: 0.5.
    pub margin: f64,
    /// The mean over the batch, or the sum. Default: the mean.
    pub size_average: bool,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { distance: Distance::Cosine, margin: 0.5, size_average: true }
    }
}

impl Contrastive {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let distance = parameters.choice("distance_metric", &Distance::NAMES)?;
        let margin = parameters.number("margin", 0.5)?;
        Ok(Self { distance, margin, size_average: parameters.flag("size_average", true)? })
    }
}

impl Loss for Contrastive {
    fn name(&self) -> &'static str {
        "ContrastiveLoss"
    }

    fn config(&self) -> Config {
        vec![
            ("distance_metric", json!(name_of(&Distance::NAMES, self.distance))),
            ("margin", json!(self.margin)),
            ("size_average", json!(self.size_average)),
        ]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, 2, "two text columns", 2)?;
        check_labels(self, has_labels, "0 (different) or 1 (alike) per pair as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let labels =
            batch.scalars(self, 0.0..=1.0, "it must be 0 (different) or 1 (alike), or between them")?;
        let labels = labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        let (pair, constant, slope) = self.distance.pair();
        let share = if self.size_average { 1.0 / rows as f64 } else { 1.0 };
        let (mut value, mut factors) = (0.0, Vec::with_capacity(rows));
        for (number, &label) in pair.values(&batch.columns[0], &batch.columns[1]).iter().zip(labels) {
            let (distance, label) = (constant + slope * number, f64::from(label));
            let short = if distance >= self.margin { 0.0 } else { self.margin - distance };
            value += 0.5 * share * (label * distance * distance + (1.0 - label) * short * short);
            factors.push(slope * share * (label * distance - (1.0 - label) * short));
        }
        let mut sums = zeros(batch.columns);
        pair.add_gradients(batch.columns, [0, 1], &factors, &mut sums);
        gradients(value, sums, width)
    }
}
