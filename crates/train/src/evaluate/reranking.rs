//! Are texts that answer ranked above texts that do not? `RerankingEvaluator` of sentence-transformers 6.2 (`reranking.py`).

use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::metrics::binary::{average_precision, ndcg_at};
use sentir_vectors::{Rows, Similarity, similarity};

use super::{Evaluator, Watch, encode, jsonl, named};
use crate::{Error, Result};

/// A question, texts that answer it, and texts that do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerankingSample {
    /// The question.
    pub query: String,
    /// What answers it.
    pub positive: Vec<String>,
    /// What does not.
    pub negative: Vec<String>,
}

/// Orders the texts of each question by the cosine: `{name}_map`, `{name}_mrr@k` and, by which models are compared, `{name}_ndcg@k`. Questions
/// without an answer or without other texts are left out. Of equal scores, answers come first in MRR, as they stand first.
#[derive(Debug, Clone)]
pub struct Reranking {
    name: String,
    samples: Vec<RerankingSample>,
    at_k: usize,
}

impl Reranking {
    /// `at_k` is usually 10.
    ///
    /// # Errors
    /// If no sample has both kinds of texts, or `at_k` is zero.
    pub fn new(name: impl Into<String>, samples: Vec<RerankingSample>, at_k: usize) -> Result<Self> {
        let whole = |own: &RerankingSample| !own.positive.is_empty() && !own.negative.is_empty();
        let samples: Vec<RerankingSample> = samples.into_iter().filter(whole).collect();
        if samples.is_empty() || at_k == 0 {
            let message = "an evaluation of ranks needs questions that have both texts that answer and texts that do not";
            return Err(Error::Argument(message.to_owned()));
        }
        Ok(Self { name: name.into(), samples, at_k })
    }

    /// Reads samples, a JSON object a line: `{"query": "...", "positive": ["..."], "negative": ["..."]}`; one text may stand for a list.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line, [`Error::Io`], and those of [`Reranking::new`].
    pub fn from_jsonl(name: impl Into<String>, path: &Path, at_k: usize) -> Result<Self> {
        let sample = |line: jsonl::Line| -> Result<RerankingSample> {
            Ok(RerankingSample {
                query: line.string("query")?,
                positive: line.strings("positive")?,
                negative: line.strings("negative")?,
            })
        };
        Self::new(name, jsonl::read(path)?.into_iter().map(sample).collect::<Result<_>>()?, at_k)
    }
}

impl Evaluator for Reranking {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, &format!("ndcg@{}", self.at_k))
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let queries: Vec<&str> = self.samples.iter().map(|sample| sample.query.as_str()).collect();
        let documents: Vec<&str> = self
            .samples
            .iter()
            .flat_map(|sample| sample.positive.iter().chain(&sample.negative))
            .map(String::as_str)
            .collect();
        let queries = encode(model, &queries, Task::Query, [&self.name, "question"], watch)?;
        let documents = encode(model, &documents, Task::Document, [&self.name, "text"], watch)?;
        let width = documents.width();
        let (mut map, mut mrr, mut ndcg, mut at) = (0.0, 0.0, 0.0, 0);
        for (query, sample) in queries.iter().zip(&self.samples) {
            let count = sample.positive.len() + sample.negative.len();
            let own = documents.as_slice()[at * width..(at + count) * width].to_vec();
            at += count;
            let scores = similarity::matrix(
                &Rows::new(query.to_vec(), width)?,
                &Rows::new(own, width)?,
                Similarity::Cosine,
            )?;
            let relevant: Vec<bool> = (0..count).map(|row| row < sample.positive.len()).collect();
            let exact: Vec<f64> = scores.row(0).iter().map(|&score| f64::from(score)).collect();
            map += average_precision(&exact, &relevant)?;
            ndcg += ndcg_at(scores.row(0), &relevant, self.at_k)?;
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| exact[b].total_cmp(&exact[a]));
            let place = order.iter().take(self.at_k).position(|&row| relevant[row]);
            mrr += place.map_or(0.0, |place| 1.0 / (place as f64 + 1.0));
        }
        let count = self.samples.len() as f64;
        Ok(vec![
            (named(&self.name, "map"), map / count),
            (named(&self.name, &format!("mrr@{}", self.at_k)), mrr / count),
            (named(&self.name, &format!("ndcg@{}", self.at_k)), ndcg / count),
        ])
    }
}
