//! Losses: vectors of a batch in, a number and the gradient of each vector out. They know neither texts nor networks.
//!
//! One loss, one file: formula with source, value and gradient beside each other. All are held to finite differences and to
//! values and gradients recorded from sentence-transformers 6.2 (`golden/make_losses.py`). [`from_name`] makes a loss from a
//! name and parameters; [`catalogue`] lists them. Sources are paths below `sentence_transformers/sentence_transformer/losses`.

mod angle;
mod contrastive;
mod cosent;
mod cosine_similarity;
mod gist;
mod margin_mse;
mod matryoshka;
mod mse;
mod multiple_negatives_ranking;
mod multiple_negatives_symmetric_ranking;
mod online_contrastive;
mod pairs;
mod parameters;
mod registry;
mod softmax;
#[cfg(test)]
mod tests;
mod triplet;

use std::fmt::Debug;

use sentir_vectors::Rows;
use serde_json::Value;

use crate::{Error, Result};
pub use angle::Angle;
pub use contrastive::Contrastive;
pub use cosent::CoSent;
pub use cosine_similarity::CosineSimilarity;
pub use gist::{Gist, MarginStrategy};
pub use margin_mse::MarginMse;
pub use matryoshka::Matryoshka;
pub use mse::Mse;
pub use multiple_negatives_ranking::{
    Direction, HardnessMode, MultipleNegativesRanking, PartitionMode, RankingSimilarity,
};
pub use multiple_negatives_symmetric_ranking::MultipleNegativesSymmetricRanking;
pub use online_contrastive::OnlineContrastive;
pub use pairs::{Distance, PairSimilarity, TripletDistance};
pub use registry::{Description, catalogue, from_name};
pub use triplet::Triplet;

/// The vectors of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The vectors of each text column, in the order of the columns: all `[batch, width]`.
    pub columns: &'a [Rows],
    /// The labels, if the data has them: `[batch, 1]`, or wider where the label is a vector.
    pub labels: Option<&'a Rows>,
    /// The vectors that a guide model gives the same texts ([`Loss::guide`]): as many columns and rows, any width.
    pub guide: Option<&'a [Rows]>,
}

/// The value of a loss and its derivative.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// The loss, a mean over the batch unless the loss says otherwise.
    pub value: f64,
    /// ∂ value / ∂ columns: the same shapes as [`Batch::columns`].
    pub columns: Vec<Rows>,
}

/// How the cached form of a loss cuts a batch for the network (GradCache, arXiv 2101.06983). The loss is the same function
/// of the vectors; only the trainer reads this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached {
    /// Texts at a time (`mini_batch_size`, default 32); what 6.2 uses unless the next is set.
    pub texts: usize,
    /// Tokens at a time (`mini_batch_num_tokens`, default none).
    pub tokens: Option<usize>,
}

/// The parameters of a loss by name, in the order of sentence-transformers.
pub type Config = Vec<(&'static str, Value)>;

/// A function of the vectors of a batch that training makes smaller.
pub trait Loss: Debug + Send + Sync {
    /// The name of the class in sentence-transformers: `MultipleNegativesRankingLoss`.
    fn name(&self) -> &'static str;

    /// The parameters, as the `get_config_dict` of that class gives them, in its order.
    fn config(&self) -> Config;

    /// Checks the number of columns and the labels before the first step.
    ///
    /// # Errors
    /// If the loss cannot be computed from such data; the message says what it needs.
    fn check(&self, columns: usize, has_labels: bool) -> Result<()>;

    /// The model (a directory or a name) whose vectors must be in [`Batch::guide`], if there must be any.
    fn guide(&self) -> Option<&str> {
        None
    }

    /// The mini-batches of the network, if this is the cached form of a loss.
    fn cached(&self) -> Option<Cached> {
        None
    }

    /// Whether other rows of the batch are negatives of a row, so that a text that comes up twice in a batch is a wrong one.
    fn in_batch_negatives(&self) -> bool {
        false
    }

    /// The value and the gradients. A single row is a batch, too, as in sentence-transformers: without other rows and hard
    /// negatives, losses that compare rows are 0.
    ///
    /// # Errors
    /// If the vectors or labels do not fit together, or a label is out of range. Vectors with NaN or infinity are none: they
    /// give a value that is not finite.
    fn compute(&self, batch: Batch<'_>) -> Result<Gradients>;
}

impl<'a> Batch<'a> {
    /// `[batch, width]`, after the checks that every loss needs.
    fn shape(&self, loss: &dyn Loss) -> Result<[usize; 2]> {
        loss.check(self.columns.len(), self.labels.is_some())?;
        let shape = same_shape(loss, "column", self.columns)?;
        if let Some(labels) = self.labels {
            if labels.rows() != shape[0] {
                return Err(error(loss, format!("{} labels for {} rows", labels.rows(), shape[0])));
            }
            if let Some(row) = labels.iter().position(|row| row.iter().any(|label| !label.is_finite())) {
                return Err(error(
                    loss,
                    format!("the label of row {row} of the batch is not a finite number"),
                ));
            }
        }
        Ok(shape)
    }

    /// One label per row, none if there are no labels; each is in `range`, whose meaning `what` says.
    fn scalars(
        &self,
        loss: &dyn Loss,
        range: std::ops::RangeInclusive<f32>,
        what: &str,
    ) -> Result<Option<&'a [f32]>> {
        let Some(labels) = self.labels else { return Ok(None) };
        if labels.width() != 1 {
            return Err(error(
                loss,
                format!("one label per row is needed, but they are lists of {}", labels.width()),
            ));
        }
        match labels.as_slice().iter().enumerate().find(|(_, label)| !range.contains(label)) {
            Some((row, label)) => {
                Err(error(loss, format!("the label of row {row} of the batch is {label}: {what}")))
            }
            None => Ok(Some(labels.as_slice())),
        }
    }
}

/// The shape that all of `columns` have.
fn same_shape(loss: &dyn Loss, what: &str, columns: &[Rows]) -> Result<[usize; 2]> {
    let shape = columns.first().map_or([0, 1], Rows::shape);
    if shape[0] == 0 {
        return Err(error(loss, "the batch has no rows".to_owned()));
    }
    if let Some(other) = columns.iter().position(|column| column.shape() != shape) {
        let [rows, width] = columns[other].shape();
        let of = format!(
            "vectors of {what} {other} are {rows} x {width}, those of {what} 0 {} x {}",
            shape[0], shape[1]
        );
        return Err(error(loss, of));
    }
    Ok(shape)
}

/// That the number of columns is at least and at most so much; `roles` says what they stand for.
fn check_columns(loss: &dyn Loss, columns: usize, most: usize, roles: &str, least: usize) -> Result<()> {
    if (least..=most).contains(&columns) {
        Ok(())
    } else {
        let got = if columns == 1 { "1 text column".to_owned() } else { format!("{columns} text columns") };
        Err(error(loss, format!("it needs {roles}, but the data has {got}")))
    }
}

/// That there are labels; `what` says which.
fn check_labels(loss: &dyn Loss, has_labels: bool, what: &str) -> Result<()> {
    if has_labels {
        Ok(())
    } else {
        Err(error(
            loss,
            format!(
                "it needs {what}, but the data has no column \"label\", \"labels\", \"score\" or \"scores\""
            ),
        ))
    }
}

fn error(loss: &dyn Loss, message: String) -> Error {
    Error::Argument(format!("{}: {message}", loss.name()))
}

/// Gradients from sums of the shape of the columns.
fn gradients(value: f64, sums: Vec<Vec<f32>>, width: usize) -> Result<Gradients> {
    let columns = sums.into_iter().map(|sum| Ok(Rows::new(sum, width)?)).collect::<Result<_>>()?;
    Ok(Gradients { value, columns })
}

/// Zeros of the shape of each column.
fn zeros(columns: &[Rows]) -> Vec<Vec<f32>> {
    columns.iter().map(|column| vec![0.0; column.as_slice().len()]).collect()
}
