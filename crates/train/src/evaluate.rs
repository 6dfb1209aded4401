//! placeholder
use std::fmt::Debug;
use std::sync::atomic::AtomicBool;

use sentir_model::SentenceTransformer;

use crate::Result;

/// placeholder
pub trait Evaluator: Debug + Send + Sync {
    /// name
    fn name(&self) -> &str;
    /// primary
    fn primary_metric(&self) -> String;
    /// evaluate
    fn evaluate(
        &self,
        model: &SentenceTransformer,
        interrupt: Option<&AtomicBool>,
    ) -> Result<Vec<(String, f64)>>;
}
