//! Do vectors of one class lie together? Clustering as MTEB defines it, in sets (`abstasks/clustering_legacy.py`) or by draws from one
//! (`abstasks/clustering.py`); here k-means runs to its end, where MTEB's sees small batches.

use std::collections::BTreeSet;
use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::Rows;
use sentir_vectors::cluster::kmeans::{KMeansOptions, kmeans};
use sentir_vectors::metrics::clustering::agreement;

use super::{Evaluator, Watch, encode, jsonl, named};
use crate::order::Mt19937;
use crate::{Error, Result};

/// `{name}_v_measure`: the V-measure of k-means, with as many clusters as there are classes, against the classes; `v_measure_std` is its standard
/// deviation. Means over the sets, where there are several; of one set, over [`Clustering::EXPERIMENTS`] draws of [`Clustering::DRAWN`] texts with
/// replacement.
#[derive(Debug, Clone)]
pub struct Clustering {
    name: String,
    sets: Vec<Set>,
    /// Whether texts are drawn.
    drawn: bool,
}

#[derive(Debug, Clone)]
struct Set {
    texts: Vec<String>,
    labels: Vec<usize>,
    classes: usize,
}

impl Set {
    fn new(texts: Vec<String>, names: &[String]) -> Result<Self> {
        if texts.is_empty() || texts.len() != names.len() {
            let message = format!("{} texts and {} classes make no set to group", texts.len(), names.len());
            return Err(Error::Argument(message));
        }
        let all: Vec<&String> = names.iter().collect::<BTreeSet<_>>().into_iter().collect();
        let labels = names.iter().map(|name| all.partition_point(|other| *other < name)).collect();
        Ok(Self { texts, labels, classes: all.len() })
    }
}

impl Clustering {
    /// Draws from one set.
    pub const EXPERIMENTS: usize = 10;
    /// Texts of a draw.
    pub const DRAWN: usize = 16_384;
    const SEED: u64 = 42;

    /// One set: texts and their classes.
    ///
    /// # Errors
    /// If there are no texts, or not a class for each.
    pub fn new(name: impl Into<String>, texts: Vec<String>, classes: &[String]) -> Result<Self> {
        Ok(Self { name: name.into(), sets: vec![Set::new(texts, classes)?], drawn: true })
    }

    /// Reads sets, one a line: `{"sentences": ["...", ...], "labels": ["...", ...]}`; labels are strings or whole numbers.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line, [`Error::Io`].
    pub fn from_jsonl(name: impl Into<String>, path: &Path) -> Result<Self> {
        let mut sets = Vec::new();
        for line in jsonl::read(path)? {
            let (texts, labels) = (line.strings("sentences")?, line.ids("labels")?);
            sets.push(Set::new(texts, &labels).map_err(|error| line.error(error.to_string()))?);
        }
        if sets.is_empty() {
            let message = "there are no sets; write {\"sentences\": [...], \"labels\": [...]}".to_owned();
            return Err(Error::Data { path: path.to_owned(), row: None, message });
        }
        Ok(Self { name: name.into(), sets, drawn: false })
    }
}

impl Evaluator for Clustering {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, "v_measure")
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let mut scores = Vec::new();
        for (done, set) in self.sets.iter().enumerate() {
            // All in one cluster, whatever the vectors are.
            if set.classes == 1 {
                scores.push(1.0);
                continue;
            }
            let rows = encode(model, &set.texts, Task::Any, [&self.name, "text"], watch)?;
            if !self.drawn {
                watch.tell([&self.name, "set"], done, self.sets.len());
                scores.push(v_measure(&rows, &set.labels, set.classes, watch)?);
                continue;
            }
            let mut random = Mt19937::new(Self::SEED);
            for experiment in 0..Self::EXPERIMENTS {
                watch.tell([&self.name, "experiment"], experiment, Self::EXPERIMENTS);
                let drawn: Vec<usize> =
                    (0..Self::DRAWN).map(|_| random.next_u32() as usize % set.texts.len()).collect();
                let values = drawn.iter().flat_map(|&row| rows.row(row)).copied().collect();
                let labels: Vec<usize> = drawn.iter().map(|&row| set.labels[row]).collect();
                scores.push(v_measure(&Rows::new(values, rows.width())?, &labels, set.classes, watch)?);
            }
        }
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
        Ok(vec![(named(&self.name, "v_measure"), mean), (named(&self.name, "v_measure_std"), deviation)])
    }
}

fn v_measure(rows: &Rows, labels: &[usize], classes: usize, watch: Watch<'_>) -> Result<f64> {
    let options = KMeansOptions { n_clusters: classes.min(rows.rows()), ..KMeansOptions::default() };
    match kmeans(rows, &options, &mut |_| !watch.is_over()) {
        Ok(found) => Ok(agreement(labels, &found.labels)?.v_measure),
        Err(sentir_vectors::Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => Err(error.into()),
    }
}
