//! The positive nearer to the anchor than the negative, by a margin:
//! `loss = mean max(0, d(anchor, positive) − d(anchor, negative) + margin)` (`triplet.py`).

use serde_json::json;

use super::pairs::{TripletDistance, name_of};
use super::parameters::{Parameters, whole};
use super::{Batch, Config, Gradients, Loss, check_columns, gradients, zeros};
use crate::Result;

/// `TripletLoss`: columns anchor, positive, negative; labels are not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Triplet {
    /// Default: euclidean.
    pub distance: TripletDistance,
    /// Default: 5.
    pub margin: f64,
}

impl Default for Triplet {
    fn default() -> Self {
        Self { distance: TripletDistance::Euclidean, margin: 5.0 }
    }
}

impl Triplet {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let distance = parameters.choice("distance_metric", &TripletDistance::NAMES)?;
        Ok(Self { distance, margin: parameters.number("triplet_margin", 5.0)? })
    }
}

impl Loss for Triplet {
    fn name(&self) -> &'static str {
        "TripletLoss"
    }

    fn config(&self) -> Config {
        let distance = name_of(&TripletDistance::NAMES, self.distance);
        vec![("distance_metric", json!(distance)), ("triplet_margin", whole(self.margin))]
    }

    fn check(&self, columns: usize, _: bool) -> Result<()> {
        check_columns(self, columns, 3, "three text columns: anchor, positive, negative", 3)
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let [anchor, positive, negative] = [0, 1, 2].map(|column| &batch.columns[column]);
        let (pair, _, slope) = self.distance.pair();
        // The constant of the distance cancels.
        let (near, far) = (pair.values(anchor, positive), pair.values(anchor, negative));
        let over = near.iter().zip(&far).map(|(near, far)| slope * (near - far) + self.margin);
        let (mut value, mut factors) = (0.0, Vec::with_capacity(rows));
        for over in over {
            // Not `f64::max`, which would hide NaN.
            value += if over <= 0.0 { 0.0 } else { over / rows as f64 };
            factors.push(if over <= 0.0 { 0.0 } else { slope / rows as f64 });
        }
        let mut sums = zeros(batch.columns);
        pair.add_gradients(batch.columns, [0, 1], &factors, &mut sums);
        let factors: Vec<f64> = factors.iter().map(|factor| -factor).collect();
        pair.add_gradients(batch.columns, [0, 2], &factors, &mut sums);
        gradients(value, sums, width)
    }
}
