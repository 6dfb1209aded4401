//! Do similar vectors mean what people find similar? `EmbeddingSimilarityEvaluator` of sentence-transformers 6.2
//! (`embedding_similarity.py`).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::metrics::correlation::{pearson, spearman};

use super::{Evaluator, encode, jsonl, named};
use crate::{Error, Result};

/// Two texts and how alike people find them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPair {
    /// One text.
    pub sentence1: String,
    /// The other.
    pub sentence2: String,
    /// Higher is more alike, on any scale; finite.
    pub score: f64,
}

/// The correlation of people's scores with the model's similarity of the pairs: `{name}_pearson_cosine` and, by which models
/// are compared, `{name}_spearman_cosine`. NaN if all pairs are equally similar to the model.
#[derive(Debug, Clone)]
pub struct EmbeddingSimilarity {
    name: String,
    sentences1: Vec<String>,
    sentences2: Vec<String>,
    scores: Vec<f64>,
}

impl EmbeddingSimilarity {
    /// An evaluator of these pairs.
    ///
    /// # Errors
    /// If there are fewer than two pairs, a score is not finite, or all scores are the same.
    pub fn new(name: impl Into<String>, pairs: Vec<ScoredPair>) -> Result<Self> {
        if pairs.len() < 2 {
            let message = format!("a correlation needs at least 2 pairs of texts; got {}", pairs.len());
            return Err(Error::Argument(message));
        }
        if let Some(at) = pairs.iter().position(|pair| !pair.score.is_finite()) {
            return Err(Error::Argument(format!("pair {}: its score is not a finite number", at + 1)));
        }
        if pairs.iter().all(|pair| pair.score == pairs[0].score) {
            let message = "all pairs have the same score, with which nothing can be correlated: add others";
            return Err(Error::Argument(message.to_owned()));
        }
        let (mut sentences1, mut sentences2, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for pair in pairs {
            sentences1.push(pair.sentence1);
            sentences2.push(pair.sentence2);
            scores.push(pair.score);
        }
        Ok(Self { name: name.into(), sentences1, sentences2, scores })
    }

    /// Reads pairs, a JSON object a line: `{"sentence1": "...", "sentence2": "...", "score": 0.8}`; other keys are ignored.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line, [`Error::Io`], and those of [`EmbeddingSimilarity::new`].
    pub fn from_jsonl(name: impl Into<String>, path: &Path) -> Result<Self> {
        let pair = |line: jsonl::Line| -> Result<ScoredPair> {
            Ok(ScoredPair {
                sentence1: line.string("sentence1")?,
                sentence2: line.string("sentence2")?,
                score: line.number("score")?,
            })
        };
        Self::new(name, jsonl::read(path)?.into_iter().map(pair).collect::<Result<_>>()?)
    }
}

impl Evaluator for EmbeddingSimilarity {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        named(&self.name, &format!("spearman_{}", model.similarity_function()))
    }

    fn evaluate(
        &self,
        model: &SentenceTransformer,
        interrupt: Option<&AtomicBool>,
    ) -> Result<Vec<(String, f64)>> {
        let side = |texts: &[String], what| encode(model, texts, Task::Any, [&self.name, what], interrupt);
        let left = side(&self.sentences1, "first text of pair")?;
        let right = side(&self.sentences2, "second text of pair")?;
        let similarities: Vec<f64> =
            model.similarity_pairwise(&left, &right)?.into_iter().map(f64::from).collect();
        let similarity = model.similarity_function();
        let name = |metric: &str| named(&self.name, &format!("{metric}_{similarity}"));
        Ok(vec![
            (name("pearson"), pearson(&self.scores, &similarities)?),
            (name("spearman"), spearman(&self.scores, &similarities)?),
        ])
    }
}
