//! Vectors equal to those of a teacher: `loss = mean over columns of mean (x − label)²` (`mse.py`, `embed_distill.py`; Reimers
//! and Gurevych 2020, arXiv 2004.09813).

use serde_json::{Value, json};

use super::parameters::Parameters;
use super::{Batch, Config, Gradients, Loss, check_columns, check_labels, error, gradients};
use crate::Result;

/// `MSELoss`: any number of columns; as the label of a row, one vector for all columns (`[batch, width]`), or one per column, one
/// after another (`[batch, columns · width]`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mse;

impl Mse {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let why =
            "a projection to the teacher's width is not supported: teach with vectors of the model's width";
        parameters.only("projection_dim", Value::Null, why)?;
        Ok(Self)
    }
}

impl Loss for Mse {
    fn name(&self) -> &'static str {
        "MSELoss"
    }

    fn config(&self) -> Config {
        vec![("projection_dim", json!(null))]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        check_columns(self, columns, usize::MAX, "at least one text column", 1)?;
        check_labels(self, has_labels, "the teacher's vector as the label")
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let columns = batch.columns.len();
        let labels = batch.labels.ok_or_else(|| error(self, "labels are missing".to_owned()))?;
        if labels.width() != width && labels.width() != columns * width {
            let got = labels.width();
            return Err(error(
                self,
                format!(
                    "labels must be vectors of {width} numbers, or {columns} such vectors; these have {got}"
                ),
            ));
        }
        let share = 1.0 / (columns * rows * width) as f64;
        let (mut value, mut sums) = (0.0, Vec::with_capacity(columns));
        for (index, column) in batch.columns.iter().enumerate() {
            let start = if labels.width() == width { 0 } else { index * width };
            let mut sum = Vec::with_capacity(rows * width);
            for (x, label) in column.iter().zip(labels) {
                for (&x, &label) in x.iter().zip(&label[start..start + width]) {
                    let off = f64::from(x) - f64::from(label);
                    value += off * off * share;
                    sum.push((2.0 * off * share) as f32);
                }
            }
            sums.push(sum);
        }
        gradients(value, sums, width)
    }
}
