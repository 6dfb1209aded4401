//! [`CoSent`](super::CoSent) with the similarity of angles in complex space (`angle.py`; Li and Li 2024, arXiv 2309.12871).

use serde_json::json;

use super::cosent::pairs;
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, PairSimilarity, check_columns, check_labels};
use crate::Result;

/// `AnglELoss`: two columns and a label per row, as in CoSENT; or anchor, positive and negatives, where the positive pairs have
/// the label of the row (1 without labels) and the negative ones 1 − label.
#[derive(Debug, Clone, PartialEq)]
pub struct Angle {
    /// Factor of similarities. Default: 20.
    pub scale: f64,
}

impl Default for Angle {
    fn default() -> Self {
        Self { scale: 20.0 }
    }
}

impl Angle {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let scale = parameters.number("scale", 20.0)?;
        parameters.choice("similarity_fct", &[("pairwise_angle_sim", ())])?;
        Ok(Self { scale })
    }
}

impl Loss for Angle {
    fn name(&self) -> &'static str {
        "AnglELoss"
    }

    fn config(&self) -> Config {
        vec![("scale", json!(self.scale)), ("similarity_fct", json!("pairwise_angle_sim"))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, usize::MAX, "two text columns, or anchor, positive and negatives", 2)?;
        check_labels(self, has_labels || columns > 2, "a similarity score per pair as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let labels = batch.scalars(self, f32::MIN..=f32::MAX, "")?;
        let mut all = labels.map_or_else(|| vec![1.0; rows], <[f32]>::to_vec);
        let negative: Vec<f32> = all.iter().map(|label| 1.0 - label).collect();
        (2..batch.columns.len()).for_each(|_| all.extend(&negative));
        let (pair, sign) = PairSimilarity::Angle.pair();
        pairs(batch, (pair, sign * self.scale), &all, width)
    }
}
