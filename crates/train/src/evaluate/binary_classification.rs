//! Do the similarities of pairs tell which say the same? `BinaryClassificationEvaluator` of sentence-transformers 6.2
//! (`binary_classification.py`).

use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::Similarity;
use sentir_vectors::metrics::binary::{average_precision, best_accuracy, best_f1, matthews_correlation};

use super::{Evaluator, Watch, encode, named};
use crate::data::Dataset;
use crate::{Error, Result};

/// Pairs that say the same or do not, divided by a threshold of the model's similarity (of the distance, for the two that are distances):
/// `{name}_cosine_accuracy`, `accuracy_threshold`, `f1`, `f1_threshold`, `precision`, `recall` (both at the threshold of F1), `ap` (average
/// precision, by which models are compared) and `mcc` (Matthews).
#[derive(Debug, Clone)]
pub struct BinaryClassification {
    name: String,
    sentences1: Vec<String>,
    sentences2: Vec<String>,
    labels: Vec<bool>,
}

impl BinaryClassification {
    /// `pairs` are two texts and whether they say the same.
    ///
    /// # Errors
    /// If there are no pairs.
    pub fn new(name: impl Into<String>, pairs: Vec<(String, String, bool)>) -> Result<Self> {
        if pairs.is_empty() {
            return Err(Error::Argument("an evaluation of pairs needs at least one of them".to_owned()));
        }
        let mut own = Self { name: name.into(), sentences1: vec![], sentences2: vec![], labels: vec![] };
        for (sentence1, sentence2, label) in pairs {
            own.sentences1.push(sentence1);
            own.sentences2.push(sentence2);
            own.labels.push(label);
        }
        Ok(own)
    }

    /// Reads pairs from a file of any format that training data may have, given the names of the columns: two of texts, one of the label, 0 or
    /// 1.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row, [`Error::Io`], and those of [`BinaryClassification::new`].
    pub fn from_path(name: impl Into<String>, path: &Path, columns: &[String; 3]) -> Result<Self> {
        let data = Dataset::read("pairs", &[path.to_owned()], Some(columns.as_slice()))?;
        let wrong = |row, message| Error::Data { path: path.to_owned(), row, message };
        let (Some(labels), [first, second]) = (&data.labels, data.columns.as_slice()) else {
            return Err(wrong(None, format!("\"{}\" holds texts where labels, 0 or 1, must be", columns[2])));
        };
        let mut pairs = Vec::with_capacity(data.len());
        for (row, label) in labels.values().iter().enumerate() {
            if ![0.0, 1.0].contains(label) {
                let message = format!("the label is {label}: it must be 1 (the same) or 0 (not the same)");
                return Err(wrong(Some(row + 1), message));
            }
            pairs.push((first.texts[row].clone(), second.texts[row].clone(), *label == 1.0));
        }
        Self::new(name, pairs)
    }
}

impl Evaluator for BinaryClassification {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        named(&self.name, &format!("{}_ap", model.similarity_function()))
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let side = |texts: &[String], what| encode(model, texts, Task::Any, [&self.name, what], watch);
        let left = side(&self.sentences1, "first text of pair")?;
        let right = side(&self.sentences2, "second text of pair")?;
        let similarity = model.similarity_function();
        let higher = matches!(similarity, Similarity::Cosine | Similarity::Dot);
        // Distances as such, not negated.
        let scores: Vec<f32> = model
            .similarity_pairwise(&left, &right)?
            .into_iter()
            .map(|score| if higher { score } else { 0.0 - score })
            .collect();
        let accuracy = best_accuracy(&scores, &self.labels, higher)?;
        let f1 = best_f1(&scores, &self.labels, higher)?;
        let found = |score: &f32| if higher { *score >= f1.threshold } else { *score <= f1.threshold };
        let mcc = matthews_correlation(&self.labels, &scores.iter().map(found).collect::<Vec<_>>())?;
        let ranked: Vec<f64> =
            scores.iter().map(|&score| if higher { f64::from(score) } else { -f64::from(score) }).collect();
        let ap = average_precision(&ranked, &self.labels)?;
        let metric = |metric: &str, value: f64| (named(&self.name, &format!("{similarity}_{metric}")), value);
        Ok(vec![
            metric("accuracy", accuracy.value),
            metric("accuracy_threshold", f64::from(accuracy.threshold)),
            metric("f1", f1.value),
            metric("f1_threshold", f64::from(f1.threshold)),
            metric("precision", f1.precision),
            metric("recall", f1.recall),
            metric("ap", ap),
            metric("mcc", mcc),
        ])
    }
}
