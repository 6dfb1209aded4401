//! Differences of similarities equal to those of a teacher:
//! `loss = mean (s(query, positive) − s(query, negative_j) − margin_j)²` over rows and negatives (`margin_mse.py`; Hofstätter et
//! al. 2020, arXiv 2010.02666).

use serde_json::json;

use super::pairs::PairSimilarity;
use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients, zeros};
use crate::Result;

/// `MarginMSELoss`: columns query, positive, n ≥ 1 negatives; as the label of a row the n margins, or the n + 1 scores of the
/// positive and the negatives.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginMse {
    /// Default: the dot product.
    pub similarity: PairSimilarity,
}

impl Default for MarginMse {
    fn default() -> Self {
        Self { similarity: PairSimilarity::Dot }
    }
}

impl MarginMse {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let mut names = PairSimilarity::NAMES;
        // The default comes first.
        names.swap(0, 1);
        Ok(Self { similarity: parameters.choice("similarity_fct", &names)? })
    }
}

impl Loss for MarginMse {
    fn name(&self) -> &'static str {
        "MarginMSELoss"
    }

    fn config(&self) -> Config {
        vec![("similarity_fct", json!(self.similarity.name()))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(
            self,
            columns,
            usize::MAX,
            "at least three text columns: query, positive, negatives",
            3,
        )?;
        check_labels(self, has_labels, "the teacher's margins, or its scores, as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let labels = batch.labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        let negatives = batch.columns.len() - 2;
        let margin = |row: usize, negative: usize| -> Result<f64> {
            let label = labels.row(row);
            match label.len() {
                // As in sentence-transformers, scores are thought of first.
                n if n == negatives + 1 => Ok(f64::from(label[0]) - f64::from(label[negative + 1])),
                n if n == negatives => Ok(f64::from(label[negative])),
                n => Err(error(
                    self,
                    format!(
                        "with {negatives} negative columns, the label of a row is {negatives} margins or {} scores, not \
                         {n} numbers",
                        negatives + 1
                    ),
                )),
            }
        };
        let (pair, sign) = self.similarity.pair();
        let near = pair.values(&batch.columns[0], &batch.columns[1]);
        let share = 1.0 / (rows * negatives) as f64;
        let (mut value, mut to_positive) = (0.0, vec![0.0; rows]);
        let mut sums = zeros(batch.columns);
        for negative in 0..negatives {
            let far = pair.values(&batch.columns[0], &batch.columns[negative + 2]);
            let mut factors = Vec::with_capacity(rows);
            for row in 0..rows {
                let off = sign * (near[row] - far[row]) - margin(row, negative)?;
                value += off * off * share;
                to_positive[row] += 2.0 * off * share * sign;
                factors.push(-2.0 * off * share * sign);
            }
            pair.add_gradients(batch.columns, [0, negative + 2], &factors, &mut sums);
        }
        pair.add_gradients(batch.columns, [0, 1], &to_positive, &mut sums);
        gradients(value, sums, width)
    }
}
