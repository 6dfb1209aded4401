//! What a model is measured with: the options of training, suites of data sets, and (`data.rs`) the options of `sentir evaluate`.

mod data;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sentir::train::evaluate::{EmbeddingSimilarity, Evaluator, Fields, InformationRetrieval};
use serde::Deserialize;

pub(crate) use self::data::{Data, Named, class};

/// Many data sets, and models to compare: a file of TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Models besides that of the command line.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    data: Vec<Data>,
}

impl Suite {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).map_err(|error| anyhow!("{}: {}", path.display(), error.to_string().trim_end()))
    }

    /// The evaluators of each data set, by its name; with `named`, their metrics begin with it.
    pub(crate) fn evaluators(
        &self,
        path: &Path,
        named: bool,
        quiet: bool,
    ) -> Result<Vec<(String, Vec<Named>)>> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut sets: Vec<(String, Vec<Named>)> = Vec::new();
        for (at, data) in self.data.iter().enumerate() {
            let name = if data.name.is_empty() { format!("data {}", at + 1) } else { data.name.clone() };
            let before = if named { name.replace(' ', "-") } else { String::new() };
            let evaluators = data
                .evaluators(&before, folder, quiet)
                .with_context(|| format!("{}: {name}", path.display()))?;
            if evaluators.is_empty() {
                bail!(
                    "{}: {name}: there is nothing to measure with: give sts, retrieval with corpus, or another",
                    path.display()
                );
            }
            if sets.iter().any(|(other, _)| *other == name) {
                bail!("{}: two data sets are called \"{name}\"", path.display());
            }
            sets.push((name, evaluators));
        }
        if sets.is_empty() {
            bail!("{}: there is no [[data]]", path.display());
        }
        Ok(sets)
    }
}

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
    /// Everything that a suite measures: a file of TOML, see sentir evaluate --suite
    #[arg(long, value_name = "FILE.toml", help_heading = "Evaluation")]
    eval_suite: Option<PathBuf>,
}

impl EvaluationArguments {
    /// Whether anything is to be measured.
    pub(crate) fn any(&self) -> bool {
        self.eval_queries.is_some() || self.eval_pairs.is_some() || self.eval_suite.is_some()
    }

    /// The evaluators, with the names of their classes in sentence-transformers.
    pub(crate) fn evaluators(&self, quiet: bool) -> Result<Vec<Named>> {
        let mut all: Vec<(&'static str, Box<dyn Evaluator>)> = Vec::new();
        if let (Some(queries), Some(corpus)) = (&self.eval_queries, &self.eval_corpus) {
            let own = retrieval("", queries, corpus, "--eval-field", &self.eval_field)?;
            all.push(("InformationRetrievalEvaluator", Box::new(own)));
        }
        if let Some(pairs) = &self.eval_pairs {
            let own = EmbeddingSimilarity::from_jsonl("", pairs)?;
            all.push(("EmbeddingSimilarityEvaluator", Box::new(own)));
        }
        if let Some(path) = &self.eval_suite {
            let sets = Suite::read(path)?.evaluators(path, true, quiet)?;
            let named = sets.into_iter().flat_map(|(_, own)| own);
            all.extend(named.map(|(kind, own)| (class(kind), own)));
        }
        Ok(all)
    }
}

/// Retrieval from two files, whose keys may have other names: `pairs` are NAME=KEY of `option`.
fn retrieval(
    name: &str,
    queries: &Path,
    corpus: &Path,
    option: &str,
    pairs: &[String],
) -> Result<InformationRetrieval> {
    let mut fields = Fields::default();
    for pair in pairs {
        let Some((field, key)) = pair.split_once('=') else {
            bail!("{option} {pair}: NAME=KEY is expected");
        };
        match field {
            "query" => fields.query = key,
            "relevant" => fields.relevant = key,
            "document" => fields.document = key,
            "id" => fields.id = key,
            _ => bail!("{option} {pair}: there are query, relevant, document and id"),
        }
    }
    Ok(InformationRetrieval::from_jsonl(name, queries, corpus, &fields)?)
}
