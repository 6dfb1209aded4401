//! [`MultipleNegativesRanking`] in both directions, each with its own softmax, under the name of a class that
//! sentence-transformers has merged into it (`multiple_negatives_symmetric_ranking.py`, `cached_…`).

use super::parameters::Parameters;
use super::{Batch, Cached, Config, Direction, Gradients, Loss, MultipleNegativesRanking, PartitionMode};
use crate::Result;

/// `MultipleNegativesSymmetricRankingLoss`: half the loss of finding the document of a query, and half that of finding the
/// query of a positive. Columns as in [`MultipleNegativesRanking`].
#[derive(Debug, Clone, PartialEq)]
pub struct MultipleNegativesSymmetricRanking(MultipleNegativesRanking);

impl MultipleNegativesSymmetricRanking {
    /// With the similarity, the scale and the mini-batches of `loss`.
    pub fn new(loss: MultipleNegativesRanking) -> Self {
        Self(MultipleNegativesRanking {
            directions: vec![Direction::QueryToDoc, Direction::DocToQuery],
            partition_mode: PartitionMode::PerDirection,
            ..loss
        })
    }

    pub(super) fn from_parameters(parameters: &mut Parameters<'_>, cached: bool) -> Result<Self> {
        Ok(Self::new(MultipleNegativesRanking::base(parameters, cached)?))
    }
}

impl Loss for MultipleNegativesSymmetricRanking {
    fn name(&self) -> &'static str {
        match self.0.cached {
            None => "MultipleNegativesSymmetricRankingLoss",
            Some(_) => "CachedMultipleNegativesSymmetricRankingLoss",
        }
    }

    fn config(&self) -> Config {
        self.0.config()
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        self.0.check(columns, has_labels)
    }

    fn in_batch_negatives(&self) -> bool {
        true
    }

    fn cached(&self) -> Option<Cached> {
        self.0.cached
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        self.0.compute(batch)
    }
}
