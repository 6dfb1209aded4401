//! Several evaluators as one, as `SequentialEvaluator` of sentence-transformers; here the first says which model is better.

use sentir_model::SentenceTransformer;

use super::{Evaluator, Watch};
use crate::{Error, Result};

/// Measures with one after the other.
#[derive(Debug)]
pub struct Several<'a>(Vec<Box<dyn Evaluator + 'a>>);

impl<'a> Several<'a> {
    /// At least one.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(evaluators: Vec<Box<dyn Evaluator + 'a>>) -> Result<Self> {
        if evaluators.is_empty() {
            return Err(Error::Argument("there is no evaluator".to_owned()));
        }
        Ok(Self(evaluators))
    }
}

impl Evaluator for Several<'_> {
    fn name(&self) -> &str {
        self.0[0].name()
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        self.0[0].primary_metric(model)
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let mut all = Vec::new();
        for evaluator in &self.0 {
            all.extend(evaluator.evaluate(model, watch)?);
        }
        Ok(all)
    }
}
