//! Cosines equal to labels: `loss = mean (cos_i − label_i)²`, cosine with lengths of at least 1e-8 (`cosine_similarity.py`).

use serde_json::json;

use super::pairs::Pair;
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients, zeros};
use crate::Result;

/// The one function of cosine and label, by its full name.
const LOSS: &str = "torch.nn.modules.loss.MSELoss";
/// The one function of the cosine.
const TRANSFORMATION: &str = "torch.nn.modules.linear.Identity";

/// `CosineSimilarityLoss`: two columns, a label per row in [−1, 1] (sentence-transformers takes others, which no cosine can
/// reach; here they are an error).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CosineSimilarity;

impl CosineSimilarity {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        parameters.choice("loss_fct", &[(LOSS, ())])?;
        parameters.choice("cos_score_transformation", &[(TRANSFORMATION, ())])?;
        Ok(Self)
    }
}

impl Loss for CosineSimilarity {
    fn name(&self) -> &'static str {
        "CosineSimilarityLoss"
    }

    fn config(&self) -> Config {
        vec![("loss_fct", json!(LOSS)), ("cos_score_transformation", json!(TRANSFORMATION))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, 2, "two text columns", 2)?;
        check_labels(self, has_labels, "a cosine per pair, -1 to 1, as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let what = "cosines are between -1 and 1, so divide all labels by the largest";
        // Room for the rounding of whoever wrote the labels.
        let labels = batch.scalars(self, -1.000_001..=1.000_001, what)?;
        let labels = labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        let pair = Pair::Cosine(1e-8);
        let cosines = pair.values(&batch.columns[0], &batch.columns[1]);
        let off: Vec<f64> =
            cosines.iter().zip(labels).map(|(cosine, &label)| cosine - f64::from(label)).collect();
        let value = off.iter().map(|off| off * off).sum::<f64>() / rows as f64;
        let factors: Vec<f64> = off.iter().map(|off| 2.0 * off / rows as f64).collect();
        let mut sums = zeros(batch.columns);
        pair.add_gradients(batch.columns, [0, 1], &factors, &mut sums);
        gradients(value, sums, width)
    }
}
