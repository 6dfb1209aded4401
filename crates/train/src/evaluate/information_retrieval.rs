//! Search: are the documents that answer a query among the first? `InformationRetrievalEvaluator` of sentence-transformers 6.2
//! (`information_retrieval.py`).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::metrics::retrieval::{Cutoffs, retrieval};
use sentir_vectors::top_k::{SearchOptions, search};

use super::jsonl::{self, Line};
use super::{Evaluator, Watch, encode, named};
use crate::{Error, Result};

/// A query and the documents that answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What messages call it.
    pub id: String,
    /// What is searched for.
    pub text: String,
    /// Ids of documents. With none, the query is left out, as in sentence-transformers.
    pub relevant: Vec<String>,
}

/// What the keys of the files are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The text of a query. Default: `text`.
    pub query: &'a str,
    /// The ids of the documents that answer a query, a list, or one of them. Default: `relevant`.
    pub relevant: &'a str,
    /// The text of a document. Default: `text`.
    pub document: &'a str,
    /// The id of a document, or of a query (which may have none, and is then called by its line). Default: `id`.
    pub id: &'a str,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self { query: "text", relevant: "relevant", document: "text", id: "id" }
    }
}

/// Encodes queries ([`Task::Query`]) and documents ([`Task::Document`]), searches by the model's similarity function, and
/// gives accuracy, precision, recall, nDCG, MRR and MAP: `{name}_cosine_accuracy@1`, ...; the first of them to look at is
/// nDCG at its largest cutoff.
///
/// Documents with equal scores are in the order of their ids, as in sentence-transformers.
#[derive(Debug, Clone)]
pub struct InformationRetrieval {
    name: String,
    queries: Vec<String>,
    /// In the order of ids, so that a search that orders equal scores by row orders them by id.
    corpus: Vec<String>,
    /// Rows of `corpus`, for each query.
    relevant: Vec<Vec<usize>>,
    cutoffs: Cutoffs,
}

impl InformationRetrieval {
    /// `corpus` is (id, text) of each document.
    ///
    /// # Errors
    /// If two documents have the same id, a query's relevant document is not in the corpus, or no query has any.
    pub fn new(
        name: impl Into<String>,
        queries: Vec<Query>,
        mut corpus: Vec<(String, String)>,
    ) -> Result<Self> {
        // Bytes of UTF-8 sort as the code points that Python compares.
        corpus.sort_by(|(left, _), (right, _)| left.cmp(right));
        if let Some(pair) = corpus.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let message =
                format!("two documents of the corpus have the id \"{}\": ids must differ", pair[0].0);
            return Err(Error::Argument(message));
        }
        let rows: HashMap<&str, usize> =
            corpus.iter().enumerate().map(|(row, (id, _))| (id.as_str(), row)).collect();
        let (mut texts, mut relevant) = (Vec::new(), Vec::new());
        for query in queries.into_iter().filter(|query| !query.relevant.is_empty()) {
            let row = |id: &String| {
                rows.get(id.as_str()).copied().ok_or_else(|| {
                    let message = "is answered by a document that the corpus lacks";
                    Error::Argument(format!("query \"{}\" {message}: \"{id}\"", query.id))
                })
            };
            relevant.push(query.relevant.iter().map(row).collect::<Result<_>>()?);
            texts.push(query.text);
        }
        if texts.is_empty() {
            let message = "no query has a relevant document, so there is nothing to evaluate: give each the ids of its own";
            return Err(Error::Argument(message.to_owned()));
        }
        let corpus = corpus.into_iter().map(|(_, text)| text).collect();
        Ok(Self { name: name.into(), queries: texts, corpus, relevant, cutoffs: Cutoffs::default() })
    }

    /// Reads queries and documents, each a file with a JSON object a line:
    /// `{"id": "q1", "text": "How do I ...?", "relevant": ["d7", "d9"]}` and `{"id": "d7", "text": "To upload ..."}`.
    /// `fields` says under which keys; other keys are ignored. Ids are strings or whole numbers; where no document has one, they are the
    /// numbers of the lines, from zero.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line: for a line that is no such object, an id that stands twice, an id of no document;
    /// [`Error::Io`]; and those of [`InformationRetrieval::new`].
    pub fn from_jsonl(
        name: impl Into<String>,
        queries: &Path,
        corpus: &Path,
        fields: &Fields<'_>,
    ) -> Result<Self> {
        let mut ids = HashSet::new();
        let mut documents = Vec::new();
        let lines = jsonl::read(corpus)?;
        // Where no document has an id, documents are known by their lines, as searches count them.
        let numbered = lines.iter().all(|line| !line.has(fields.id));
        for line in lines {
            let id = if numbered { (line.line_number() - 1).to_string() } else { line.id(fields.id)? };
            if !ids.insert(id.clone()) {
                return Err(line.error(format!("a second document with the id \"{id}\": ids must differ")));
            }
            documents.push((id, line.string(fields.document)?));
        }
        let query = |line: Line| -> Result<Query> {
            let number = || line.line_number().to_string();
            let id = if line.has(fields.id) { line.id(fields.id)? } else { number() };
            let relevant = line.ids(fields.relevant)?;
            if let Some(id) = relevant.iter().find(|id| !ids.contains(*id)) {
                return Err(line.error(format!("no document in {} has the id \"{id}\"", corpus.display())));
            }
            Ok(Query { id, text: line.string(fields.query)?, relevant })
        };
        let queries = jsonl::read(queries)?.into_iter().map(query).collect::<Result<_>>()?;
        Self::new(name, queries, documents)
    }

    /// Looks at other ranks than sentence-transformers does by default.
    ///
    /// # Errors
    /// If a cutoff is zero, or there is none for nDCG, which is the metric to compare models by.
    pub fn with_cutoffs(mut self, cutoffs: Cutoffs) -> Result<Self> {
        // No ranking is needed to find out whether they are in order.
        retrieval(&[[0]], &[[0]], &cutoffs)?;
        if cutoffs.ndcg.is_empty() {
            let message =
                "an evaluation of search needs a cutoff for nDCG, by which models are compared; usually 10";
            return Err(Error::Argument(message.to_owned()));
        }
        self.cutoffs = cutoffs;
        Ok(self)
    }
}

impl Evaluator for InformationRetrieval {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, model: &SentenceTransformer) -> String {
        let k = self.cutoffs.ndcg.iter().max().expect("checked in with_cutoffs");
        named(&self.name, &format!("{}_ndcg@{k}", model.similarity_function()))
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let similarity = model.similarity_function();
        let queries = encode(model, &self.queries, Task::Query, [&self.name, "query"], watch)?;
        let corpus = encode(model, &self.corpus, Task::Document, [&self.name, "document"], watch)?;
        let found = search(&queries, &corpus, &SearchOptions { similarity, top_k: self.cutoffs.depth() })?;
        let rankings: Vec<Vec<usize>> =
            found.iter().map(|hits| hits.iter().map(|hit| hit.index).collect()).collect();
        let metrics = retrieval(&rankings, &self.relevant, &self.cutoffs)?.into_iter();
        Ok(metrics
            .map(|(metric, value)| (named(&self.name, &format!("{similarity}_{metric}")), value))
            .collect())
    }
}
