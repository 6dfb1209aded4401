//! Is the nearest of all translations the right one? `TranslationEvaluator` of sentence-transformers 6.2 (`translation.py`), and bitext mining as
//! MTEB defines it (`BitextMiningEvaluator`).

use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::top_k::{SearchOptions, search};
use sentir_vectors::{Rows, Similarity};

use super::{Evaluator, Watch, encode, named};
use crate::data::Dataset;
use crate::{Error, Result};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TranslationMetrics {
    /// Of sentence-transformers: `src2trg_accuracy`, `trg2src_accuracy` and, by which models are compared, `mean_accuracy`. A text that is there
    /// twice is right wherever it stands.
    #[default]
    Accuracy,
    /// Of MTEB, from source to target: `f1`, by which models are compared, `accuracy`, `precision` and `recall`; means over the pairs, where a target
    /// that is found for several sources is precise for one of them.
    Bitext,
}

/// Pairs of texts and their translations, each looked for among all by the cosine.
#[derive(Debug, Clone)]
pub struct Translation {
    name: String,
    source: Vec<String>,
    target: Vec<String>,
    metrics: TranslationMetrics,
}

impl Translation {
    /// `pairs` are (source, target).
    ///
    /// # Errors
    /// If there are no pairs.
    pub fn new(
        name: impl Into<String>,
        pairs: Vec<(String, String)>,
        metrics: TranslationMetrics,
    ) -> Result<Self> {
        if pairs.is_empty() {
            return Err(Error::Argument("an evaluation of translations needs at least one pair".to_owned()));
        }
        let (source, target) = pairs.into_iter().unzip();
        Ok(Self { name: name.into(), source, target, metrics })
    }

    /// Reads pairs from a file of any format that training data may have, given the names of the two columns.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row, [`Error::Io`], and those of [`Translation::new`].
    pub fn from_path(
        name: impl Into<String>,
        path: &Path,
        columns: &[String; 2],
        metrics: TranslationMetrics,
    ) -> Result<Self> {
        let data = Dataset::read("translations", &[path.to_owned()], Some(columns.as_slice()))?;
        let [source, target] = data.columns.as_slice() else {
            let message = "two columns of texts are needed".to_owned();
            return Err(Error::Data { path: path.to_owned(), row: None, message });
        };
        let pairs = source.texts.iter().cloned().zip(target.texts.iter().cloned());
        Self::new(name, pairs.collect(), metrics)
    }
}

impl Evaluator for Translation {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(
            &self.name,
            match self.metrics {
                TranslationMetrics::Accuracy => "mean_accuracy",
                TranslationMetrics::Bitext => "f1",
            },
        )
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let side = |texts: &[String], what| encode(model, texts, Task::Any, [&self.name, what], watch);
        let source = side(&self.source, "source text")?;
        let target = side(&self.target, "target text")?;
        let count = self.source.len() as f64;
        let share = |nearest: &[usize], texts: &[String]| {
            let right = nearest.iter().enumerate().filter(|&(row, &found)| texts[row] == texts[found]);
            right.count() as f64 / count
        };
        let metric = |metric: &str, value: f64| (named(&self.name, metric), value);
        let there = nearest(&source, &target)?;
        Ok(match self.metrics {
            TranslationMetrics::Accuracy => {
                let back = nearest(&target, &source)?;
                let (there, back) = (share(&there, &self.target), share(&back, &self.source));
                vec![
                    metric("src2trg_accuracy", there),
                    metric("trg2src_accuracy", back),
                    metric("mean_accuracy", (there + back) / 2.0),
                ]
            }
            TranslationMetrics::Bitext => {
                let mut found = vec![0.0; there.len()];
                there.iter().for_each(|&row| found[row] += 1.0);
                let (mut right, mut precise, mut f1) = (0.0, 0.0, 0.0);
                for (row, _) in there.iter().enumerate().filter(|&(row, &found)| row == found) {
                    let precision = 1.0 / found[row];
                    right += 1.0;
                    precise += precision;
                    f1 += 2.0 * precision / (precision + 1.0);
                }
                vec![
                    metric("f1", f1 / count),
                    metric("accuracy", right / count),
                    metric("precision", precise / count),
                    metric("recall", right / count),
                ]
            }
        })
    }
}

/// For each row the nearest of the others, the first of equals.
fn nearest(rows: &Rows, others: &Rows) -> Result<Vec<usize>> {
    let options = SearchOptions { similarity: Similarity::Cosine, top_k: 1 };
    let hits = search(rows, others, &options)?;
    Ok(hits.iter().map(|hits| hits.first().map_or(0, |hit| hit.index)).collect())
}
