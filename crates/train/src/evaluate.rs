//! Evaluators: a model in, named numbers out, under the names and with the values of sentence-transformers 6.2
//! (`sentence_transformer/evaluation`). They encode as users do, so that what they measure is what users get; a model that is
//! loaded for training serves as well, more slowly.
//!
//! Not here: when a model is evaluated, and what is done with the numbers.

use std::fmt::Debug;
use std::sync::atomic::AtomicBool;

use sentir_model::{EncodeOptions, SentenceTransformer, Task};
use sentir_vectors::Rows;

use crate::{Error, Result};

mod binary_classification;
mod embedding_similarity;
mod information_retrieval;
mod jsonl;
mod loss;
mod mse;
mod paraphrase_mining;
mod reranking;
mod several;
mod translation;
mod triplet;

pub use binary_classification::BinaryClassification;
pub use embedding_similarity::{EmbeddingSimilarity, ScoredPair};
pub use information_retrieval::{Fields, InformationRetrieval, Query};
pub use loss::EvalLoss;
pub use mse::Mse;
pub use paraphrase_mining::ParaphraseMining;
pub use reranking::{Reranking, RerankingSample};
pub use several::Several;
pub use translation::{Translation, TranslationMetrics};
pub use triplet::Triplet;

/// Something that judges a model.
pub trait Evaluator: Debug + Send + Sync {
    /// What all names of its metrics begin with, followed by `_`; nothing if empty.
    fn name(&self) -> &str;

    /// The name of the one metric that says which of two models is better; the higher, the better, but for what ends in `loss`. It is
    /// among those that [`Evaluator::evaluate`] returns, and depends on the model's similarity function.
    fn primary_metric(&self, model: &SentenceTransformer) -> String;

    /// All metrics, (name, value), in the order of sentence-transformers.
    ///
    /// # Errors
    /// If a text cannot be encoded; [`Error::Interrupted`] soon after `interrupt` became true.
    fn evaluate(
        &self,
        model: &SentenceTransformer,
        interrupt: Option<&AtomicBool>,
    ) -> Result<Vec<(String, f64)>>;
}

/// `metric` with the name of its evaluator before it.
fn named(name: &str, metric: &str) -> String {
    if name.is_empty() { metric.to_owned() } else { format!("{name}_{metric}") }
}

/// The vectors of some texts of the evaluator `name`; `what` they are is said in errors.
fn encode<Text: AsRef<str> + Sync>(
    model: &SentenceTransformer,
    texts: &[Text],
    task: Task,
    [name, what]: [&str; 2],
    interrupt: Option<&AtomicBool>,
) -> Result<Rows> {
    let options = EncodeOptions { interrupt, ..EncodeOptions::default() };
    match model.encode_task(texts, task, &options) {
        Ok(encoded) => Ok(encoded.embeddings),
        Err(sentir_model::Error::Text { index, message }) => {
            let of = if name.is_empty() { String::new() } else { format!(" of {name}") };
            Err(Error::Argument(format!("evaluation{of}: {what} {}: {message}", index + 1)))
        }
        Err(error) => Err(error.into()),
    }
}
