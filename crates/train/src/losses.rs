//! Losses: vectors of a batch in, a number and the gradient of each vector out. They know neither texts nor networks.
//!
//! One loss, one file: formula with source, value and gradient beside each other, tests (finite differences; values and
//! gradients recorded from sentence-transformers 6.2).

mod multiple_negatives_ranking;

use std::fmt::Debug;

use sentir_vectors::Rows;
use serde_json::{Map, Value};

use crate::Result;
use crate::step::MiniBatch;
pub use multiple_negatives_ranking::MultipleNegativesRanking;

/// The vectors of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The vectors of each text column, in the order of the columns: all `[batch, width]`.
    pub columns: &'a [Rows],
    /// The labels, if the data has them: `[batch, 1]`, or wider where the label is a vector.
    pub labels: Option<&'a Rows>,
    /// The vectors that a guide model gives the same texts ([`Loss::needs_guide`]).
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

/// A function of the vectors of a batch that training makes smaller.
pub trait Loss: Debug + Send + Sync {
    /// The name of the class in sentence-transformers: `MultipleNegativesRankingLoss`.
    fn name(&self) -> &'static str;

    /// The parameters, as the `get_config_dict` of that class gives them, in its order.
    fn config(&self) -> Map<String, Value>;

    /// Checks the number of columns and the labels before the first step.
    ///
    /// # Errors
    /// If the loss cannot be computed from such data; the message says what it needs.
    fn check(&self, columns: usize, has_labels: bool) -> Result<()>;

    /// Whether [`Batch::guide`] must be there.
    fn needs_guide(&self) -> bool {
        false
    }

    /// How a batch is cut for the network: cached losses say so.
    fn mini_batch(&self) -> MiniBatch {
        MiniBatch::Whole
    }

    /// The value and the gradients.
    ///
    /// # Errors
    /// If the vectors or labels do not fit together.
    fn compute(&self, batch: Batch<'_>) -> Result<Gradients>;
}
