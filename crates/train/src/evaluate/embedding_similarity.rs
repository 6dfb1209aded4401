//! Do similar vectors mean what people find similar? `EmbeddingSimilarityEvaluator` of sentence-transformers 6.2
//! (`embedding_similarity.py`).

use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::metrics::correlation::{pearson, spearman};

use super::{Evaluator, Watch, encode, jsonl, named};
use crate::data::Dataset;
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

    /// Reads pairs from a file of any format that training data may have, given the names of the columns: two of texts, one of the
    /// score. A .csv or .tsv may have no header, as the STS benchmark has none: then these are its first three columns.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row, [`Error::Io`], and those of [`EmbeddingSimilarity::new`].
    pub fn from_path(name: impl Into<String>, path: &Path, columns: &[String; 3]) -> Result<Self> {
        if let Some(pairs) = without_header(path)? {
            return Self::new(name, pairs);
        }
        let data = Dataset::read("pairs", &[path.to_owned()], Some(columns.as_slice()))?;
        let (Some(labels), [first, second]) = (&data.labels, data.columns.as_slice()) else {
            let message = format!("\"{}\" holds texts where scores must be", columns[2]);
            return Err(Error::Data { path: path.to_owned(), row: None, message });
        };
        let texts = first.texts.iter().zip(&second.texts);
        let pair = |((sentence1, sentence2), score): ((&String, &String), &f64)| ScoredPair {
            sentence1: sentence1.clone(),
            sentence2: sentence2.clone(),
            score: *score,
        };
        Self::new(name, texts.zip(labels.values()).map(pair).collect())
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

/// The rows of a .csv or .tsv whose first row is no header, which shows in a number as its third cell.
fn without_header(path: &Path) -> Result<Option<Vec<ScoredPair>>> {
    let delimiter = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => b',',
        Some("tsv") => b'\t',
        _ => return Ok(None),
    };
    let file = std::fs::File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_reader(file);
    let wrong = |row: usize, message: String| Error::Data { path: path.to_owned(), row: Some(row), message };
    let mut pairs = Vec::new();
    for (row, record) in (1..).zip(reader.into_records()) {
        let record = record.map_err(|error| wrong(row, error.to_string()))?;
        let score = record.get(2).map(|cell| cell.trim().parse::<f64>());
        match (row, score) {
            (1, None | Some(Err(_))) => return Ok(None),
            (_, Some(Ok(score))) if score.is_finite() => pairs.push(ScoredPair {
                sentence1: record[0].to_owned(),
                sentence2: record[1].to_owned(),
                score,
            }),
            (_, None) => {
                let message = format!("{} cells; a pair has three: two texts and a score", record.len());
                return Err(wrong(row, message));
            }
            (_, Some(_)) => {
                let message =
                    format!("the score \"{}\" is not a finite number; correct or remove the row", &record[2]);
                return Err(wrong(row, message));
            }
        }
    }
    Ok((!pairs.is_empty()).then_some(pairs))
}

impl Evaluator for EmbeddingSimilarity {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        named(&self.name, &format!("spearman_{}", model.similarity_function()))
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let side = |texts: &[String], what| encode(model, texts, Task::Any, [&self.name, what], watch);
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
