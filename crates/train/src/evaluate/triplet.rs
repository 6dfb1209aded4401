//! Is a text nearer to one that belongs to it than to one that does not? `TripletEvaluator` of sentence-transformers 6.2
//! (`triplet.py`).

use std::path::Path;

use sentir_model::{SentenceTransformer, Task};

use super::{Evaluator, Watch, encode, jsonl, named};
use crate::data::Dataset;
use crate::{Error, Result};

/// The share of triplets (anchor, positive, negative) in which the anchor is more similar to the positive than to the
/// negative, by more than a margin: `{name}_cosine_accuracy`. Anchors are encoded as queries, the others as documents.
#[derive(Debug, Clone)]
pub struct Triplet {
    name: String,
    /// Anchors, positives, negatives.
    texts: [Vec<String>; 3],
    margin: f32,
}

impl Triplet {
    /// `triplets` are (anchor, positive, negative); `margin` is by how much the similarities must differ, usually 0.
    ///
    /// # Errors
    /// If there are no triplets or the margin is not finite.
    pub fn new(name: impl Into<String>, triplets: Vec<[String; 3]>, margin: f32) -> Result<Self> {
        if triplets.is_empty() {
            return Err(Error::Argument("an evaluation of triplets needs at least one of them".to_owned()));
        }
        if !margin.is_finite() {
            return Err(Error::Argument(format!("the margin of triplets is {margin}: it must be finite")));
        }
        let mut texts: [Vec<String>; 3] = Default::default();
        for triplet in triplets {
            for (texts, text) in texts.iter_mut().zip(triplet) {
                texts.push(text);
            }
        }
        Ok(Self { name: name.into(), texts, margin })
    }

    /// Reads triplets, a JSON object a line: `{"anchor": "...", "positive": "...", "negative": "..."}`; other keys are ignored.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line, [`Error::Io`], and those of [`Triplet::new`].
    pub fn from_jsonl(name: impl Into<String>, path: &Path, margin: f32) -> Result<Self> {
        let triplet = |line: jsonl::Line| -> Result<[String; 3]> {
            Ok([line.string("anchor")?, line.string("positive")?, line.string("negative")?])
        };
        Self::new(name, jsonl::read(path)?.into_iter().map(triplet).collect::<Result<_>>()?, margin)
    }

    /// Reads triplets from a file of any format that training data may have, with the columns `anchor`, `positive` and `negative`.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row, [`Error::Io`], and those of [`Triplet::new`].
    pub fn from_path(name: impl Into<String>, path: &Path, margin: f32) -> Result<Self> {
        let columns = ["anchor", "positive", "negative"].map(str::to_owned);
        let data = Dataset::read("triplets", &[path.to_owned()], Some(columns.as_slice()))?;
        let texts =
            (0..data.len()).map(|row| [0, 1, 2].map(|column| data.columns[column].texts[row].clone()));
        Self::new(name, texts.collect(), margin)
    }
}

impl Evaluator for Triplet {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        named(&self.name, &format!("{}_accuracy", model.similarity_function()))
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let [anchors, positives, negatives] = &self.texts;
        let side = |texts: &[String], task, what| encode(model, texts, task, [&self.name, what], watch);
        let anchors = side(anchors, Task::Query, "anchor")?;
        let positives = side(positives, Task::Document, "positive")?;
        let negatives = side(negatives, Task::Document, "negative")?;
        let positive = model.similarity_pairwise(&anchors, &positives)?;
        let negative = model.similarity_pairwise(&anchors, &negatives)?;
        let right = positive
            .iter()
            .zip(&negative)
            .filter(|(positive, negative)| **positive > **negative + self.margin);
        Ok(vec![(self.primary_metric(model), right.count() as f64 / positive.len() as f64)])
    }
}
