//! Several evaluators as one, as `SequentialEvaluator` of sentence-transformers; here the first says which model is better.

use std::sync::OnceLock;

use sentir_model::SentenceTransformer;

use super::{Evaluator, Watch};
use crate::{Error, Result};

/// Measures with one after the other.
#[derive(Debug)]
pub struct Several<'a> {
    evaluators: Vec<Box<dyn Evaluator + 'a>>,
    /// The names of the metrics of each: the same each time.
    metrics: OnceLock<Vec<Vec<String>>>,
}

impl<'a> Several<'a> {
    /// At least one.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(evaluators: Vec<Box<dyn Evaluator + 'a>>) -> Result<Self> {
        if evaluators.is_empty() {
            return Err(Error::Argument("there is no evaluator".to_owned()));
        }
        Ok(Self { evaluators, metrics: OnceLock::new() })
    }

    /// Each of them, with the names of the metrics that it gave; none if nothing was measured yet.
    pub fn parts(&self) -> impl Iterator<Item = (&dyn Evaluator, &[String])> {
        let metrics = self.metrics.get().map_or(&[][..], Vec::as_slice);
        let own = |at: usize| metrics.get(at).map_or(&[][..], Vec::as_slice);
        self.evaluators
            .iter()
            .enumerate()
            .map(move |(at, evaluator)| (evaluator.as_ref() as &dyn Evaluator, own(at)))
    }
}

impl Evaluator for Several<'_> {
    fn name(&self) -> &str {
        self.evaluators[0].name()
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        self.evaluators[0].primary_metric(model)
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let found = self.evaluators.iter().map(|evaluator| evaluator.evaluate(model, watch));
        let found = found.collect::<Result<Vec<Vec<(String, f64)>>>>()?;
        self.metrics.get_or_init(|| {
            found.iter().map(|own| own.iter().map(|(name, _)| name.clone()).collect()).collect()
        });
        Ok(found.into_iter().flatten().collect())
    }

    fn check_training(&self) -> Result<()> {
        self.evaluators.iter().try_for_each(|evaluator| evaluator.check_training())
    }
}
