//! The options that say what a model is measured with, and the evaluators that they mean.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use sentir::train::evaluate::{EmbeddingSimilarity, Evaluator, Fields, InformationRetrieval};

/// Retrieval and similarity.
#[derive(Args)]
pub(crate) struct EvaluationArguments {
    /// Questions to measure retrieval with, one JSON object a line: {"text": …, "relevant": its ids}
    #[arg(long, value_name = "FILE", requires = "eval_corpus", help_heading = "Evaluation")]
    eval_queries: Option<PathBuf>,
    /// What is searched, one JSON object a line: {"id": …, "text": …}
    #[arg(long, value_name = "FILE", requires = "eval_queries", help_heading = "Evaluation")]
    eval_corpus: Option<PathBuf>,
    /// A key of these files that has another name: relevant=kb,document=question,query=text,id=id
    #[arg(
        long,
        value_name = "NAME=KEY",
        value_delimiter = ',',
        requires = "eval_queries",
        help_heading = "Evaluation"
    )]
    eval_field: Vec<String>,
    /// Pairs with a score to measure similarity with: {"sentence1": …, "sentence2": …, "score": …}
    #[arg(long, value_name = "FILE", help_heading = "Evaluation")]
    eval_pairs: Option<PathBuf>,
}

impl EvaluationArguments {
    /// Whether anything is to be measured.
    pub(crate) fn any(&self) -> bool {
        self.eval_queries.is_some() || self.eval_pairs.is_some()
    }

    /// The evaluators, with the names of their classes in sentence-transformers.
    pub(crate) fn evaluators(&self) -> Result<Vec<(&'static str, Box<dyn Evaluator>)>> {
        let mut all: Vec<(&'static str, Box<dyn Evaluator>)> = Vec::new();
        if let (Some(queries), Some(corpus)) = (&self.eval_queries, &self.eval_corpus) {
            let own = retrieval(queries, corpus, "--eval-field", &self.eval_field)?;
            all.push(("InformationRetrievalEvaluator", Box::new(own)));
        }
        if let Some(pairs) = &self.eval_pairs {
            let own = EmbeddingSimilarity::from_jsonl("", pairs)?;
            all.push(("EmbeddingSimilarityEvaluator", Box::new(own)));
        }
        Ok(all)
    }
}

/// Retrieval from two files, whose keys may have other names: `pairs` are NAME=KEY of `option`.
pub(crate) fn retrieval(
    queries: &Path,
    corpus: &Path,
    option: &str,
    pairs: &[String],
) -> Result<InformationRetrieval> {
    let mut fields = Fields::default();
    for pair in pairs {
        let Some((name, key)) = pair.split_once('=') else {
            bail!("{option} {pair}: NAME=KEY is expected");
        };
        match name {
            "query" => fields.query = key,
            "relevant" => fields.relevant = key,
            "document" => fields.document = key,
            "id" => fields.id = key,
            _ => bail!("{option} {pair}: there are query, relevant, document and id"),
        }
    }
    Ok(InformationRetrieval::from_jsonl("", queries, corpus, &fields)?)
}
