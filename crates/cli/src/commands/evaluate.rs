//! `sentir evaluate`: how good a model is, by the evaluators of sentence-transformers. What they compute is in the library.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::train::evaluate::{EmbeddingSimilarity, Evaluator, Triplet};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments};
use crate::evaluation;
use crate::interrupt::{self, Interrupted};
use crate::model;
use crate::terminal::{self, Progress};

/// Measure how good a model is, on data of your own
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Pairs of texts with a score of how alike they are: .csv or .tsv with or without a header, .jsonl, .parquet
    #[arg(long, value_name = "FILE")]
    sts: Option<PathBuf>,
    /// The columns of --sts
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "sentence1,sentence2,score")]
    sts_columns: Vec<String>,
    /// Questions, a JSON object a line: {"text": …, "relevant": the ids of what answers}
    #[arg(long, value_name = "FILE", requires = "corpus")]
    retrieval: Option<PathBuf>,
    /// What is searched for --retrieval, a JSON object a line: {"id": …, "text": …}
    #[arg(long, value_name = "FILE", requires = "retrieval")]
    corpus: Option<PathBuf>,
    /// A key of these two files that has another name: relevant=kb,document=question,query=text,id=id
    #[arg(long, value_name = "NAME=KEY", value_delimiter = ',', requires = "retrieval")]
    field: Vec<String>,
    /// Triplets of texts: .csv, .tsv, .jsonl or .parquet with the columns anchor, positive and negative
    #[arg(long, value_name = "FILE")]
    triplets: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Also write the results as a table: evaluator,metric,value
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print one JSON object: {"sts": {"spearman_cosine": 0.87, …}, …}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir evaluate --model models/all-MiniLM-L6-v2 --sts stsb.csv --json
  sentir evaluate --model models/all-MiniLM-L6-v2 \\
      --retrieval queries.jsonl --corpus corpus.jsonl --csv results.csv

Names and values of the metrics are those of sentence-transformers 6.2.
Questions get the model's prompt for queries, what is searched that for
documents, where the model has such prompts.";

/// The metrics of one evaluator.
#[derive(Serialize)]
struct Outcome {
    evaluator: &'static str,
    primary: String,
    metrics: Vec<(String, f64)>,
}

/// Measures with one evaluator after the other.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let evaluators = evaluators(arguments)?;
    if evaluators.is_empty() {
        bail!("there is nothing to measure with: give --sts, --retrieval with --corpus, or --triplets");
    }
    let model = model::load(&arguments.model, global)?;
    let progress = Progress::new(global.quiet, "measuring", "evaluators");
    let polling = interrupt::polling();
    let mut outcomes = Vec::new();
    let count = evaluators.len() as u64;
    for (done, (evaluator, own)) in (0..).zip(evaluators) {
        progress.describe(evaluator);
        progress.set(done, count);
        let metrics = own.evaluate(&model, Some(interrupt::flag())).map_err(|error| match error {
            sentir::train::Error::Interrupted => Interrupted::BEFORE_WRITING.into(),
            other => anyhow::Error::from(other),
        })?;
        let primary = own.primary_metric(&model);
        if metrics.iter().any(|(name, value)| *name == primary && value.is_nan()) {
            progress.leave(format_args!(
                "notice: {evaluator}: {primary} is not a number: to the model, all pairs are equally alike"
            ));
        }
        outcomes.push(Outcome { evaluator, primary, metrics });
    }
    drop((polling, progress));
    if let Some(path) = &arguments.csv {
        let mut text = String::from("evaluator,metric,value\n");
        for outcome in &outcomes {
            for (name, value) in &outcome.metrics {
                text += &format!("{},{name},{value}\n", outcome.evaluator);
            }
        }
        sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())?;
    }
    let json: BTreeMap<&str, BTreeMap<&str, f64>> = outcomes
        .iter()
        .map(|own| (own.evaluator, own.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect()))
        .collect();
    terminal::answer(arguments.json, &json, |out| write(out, &outcomes))
}

fn evaluators(arguments: &Arguments) -> Result<Vec<(&'static str, Box<dyn Evaluator>)>> {
    let mut all: Vec<(&'static str, Box<dyn Evaluator>)> = Vec::new();
    if let Some(path) = &arguments.sts {
        let Ok(columns) = <[String; 3]>::try_from(arguments.sts_columns.clone()) else {
            bail!("--sts-columns: three names are expected, two of texts and one of the score");
        };
        all.push(("sts", Box::new(EmbeddingSimilarity::from_path("", path, &columns)?)));
    }
    if let (Some(queries), Some(corpus)) = (&arguments.retrieval, &arguments.corpus) {
        all.push((
            "retrieval",
            Box::new(evaluation::retrieval(queries, corpus, "--field", &arguments.field)?),
        ));
    }
    if let Some(path) = &arguments.triplets {
        all.push(("triplets", Box::new(Triplet::from_path("", path, 0.0)?)));
    }
    Ok(all)
}

fn write(out: &mut dyn Write, outcomes: &[Outcome]) -> io::Result<()> {
    for (i, outcome) in outcomes.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", outcome.evaluator)?;
        for (name, value) in &outcome.metrics {
            let mark = if *name == outcome.primary { "  *" } else { "" };
            writeln!(out, "  {name:24} {value:.4}{mark}")?;
        }
    }
    Ok(())
}
