//! Evaluators: a model in, named numbers out, under the names and with the values of sentence-transformers 6.2
//! (`sentence_transformer/evaluation`). They encode as users do, so that what they measure is what users get; a model that is
//! loaded for training serves as well, more slowly.
//!
//! Not here: when a model is evaluated, and what is done with the numbers.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use sentir_model::{EncodeOptions, SentenceTransformer, Task};
use sentir_vectors::Rows;

use crate::{Error, Result};

mod binary_classification;
mod classification;
mod clustering;
mod embedding_similarity;
mod information_retrieval;
mod jsonl;
mod label_accuracy;
mod loss;
mod mse;
mod paraphrase_mining;
mod reranking;
mod several;
mod translation;
mod triplet;

pub use binary_classification::BinaryClassification;
pub use classification::Classification;
pub use clustering::Clustering;
pub use embedding_similarity::{EmbeddingSimilarity, ScoredPair};
pub use information_retrieval::{Fields, InformationRetrieval, Query};
pub use label_accuracy::LabelAccuracy;
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
    /// If a text cannot be encoded; [`Error::Interrupted`] if `watch` says so.
    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>>;

    /// Whether it can measure a model that is being trained. By default it can.
    ///
    /// # Errors
    /// If it cannot, with the reason.
    fn check_training(&self) -> Result<()> {
        Ok(())
    }
}

/// Who looks on while a model is evaluated. By default nobody does.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a> {
    /// Soon after it became true, the evaluation ends with [`Error::Interrupted`].
    pub interrupt: Option<&'a AtomicBool>,
    /// Told how far it is.
    pub progress: Option<&'a Progress<'a>>,
}

/// Told the name of an evaluator and what it looks at, how much of that is done, and how much there is.
pub type Progress<'a> = dyn Fn([&str; 2], usize, usize) + Sync + 'a;

impl Watch<'_> {
    /// Whether the evaluation is to end.
    fn is_over(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| interrupt.load(Ordering::Relaxed))
    }

    fn tell(&self, what: [&str; 2], done: usize, total: usize) {
        if let Some(progress) = self.progress {
            progress(what, done, total);
        }
    }
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
    watch: Watch<'_>,
) -> Result<Rows> {
    let progress = |done: usize, total: usize| watch.tell([name, what], done, total);
    let options =
        EncodeOptions { interrupt: watch.interrupt, progress: Some(&progress), ..EncodeOptions::default() };
    match model.encode_task(texts, task, &options) {
        Ok(encoded) => Ok(encoded.embeddings),
        Err(sentir_model::Error::Text { index, message }) => {
            let of = if name.is_empty() { String::new() } else { format!(" of {name}") };
            Err(Error::Argument(format!("evaluation{of}: {what} {}: {message}", index + 1)))
        }
        Err(error) => Err(error.into()),
    }
}
