//! `sentir evaluate`: how good a model is, by the evaluators of sentence-transformers. What they compute is in the library; many data sets at once,
//! `suite.rs`.

mod suite;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::SentenceTransformer;
use sentir::train::evaluate::{Evaluator, Watch};
use sentir::train::record::{Evaluation, TrainingRecord};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments};
use crate::evaluation::{Data, class};
use crate::interrupt::{self, Interrupted};
use crate::model;
use crate::terminal::{self, Progress};

/// Measure how good a model is, on data of your own
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Many data sets and models at once: a file of TOML with a table "data" for each, which has a name and these options as keys
    #[arg(long, value_name = "FILE.toml", help_heading = "Data")]
    suite: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Also write the results as a table: evaluator,metric,value
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Put the results into the model card, and the record, of a model that sentir train has written
    #[arg(long)]
    card: bool,
    /// Print one JSON object: {"sts": {"spearman_cosine": 0.87, …}, …}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir evaluate --model models/all-MiniLM-L6-v2 --sts stsb.csv --json
  sentir evaluate --model models/all-MiniLM-L6-v2 \\
      --retrieval queries.jsonl --corpus corpus.jsonl --csv results.csv

  sentir evaluate --model models/all-MiniLM-L6-v2 --suite examples/suite.toml

  sentir evaluate --model my-model --retrieval queries.jsonl \\
      --corpus corpus.jsonl --card

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
    let evaluators = arguments.data.evaluators("", Path::new(""), global.quiet)?;
    if let Some(path) = &arguments.suite {
        if !evaluators.is_empty() {
            bail!("--suite says what is measured: put the other files into it");
        }
        return suite::run(arguments, path, global);
    }
    if evaluators.is_empty() {
        bail!(
            "there is nothing to measure with: give --sts, --retrieval with --corpus, --triplets or another file of data"
        );
    }
    let card = arguments.card.then(|| Card::open(&arguments.model.model)).transpose()?;
    let model = model::load(&arguments.model, global)?;
    let progress = Progress::new(global.quiet, "measuring", "done");
    let polling = interrupt::polling();
    let mut outcomes = Vec::new();
    for (evaluator, own) in evaluators {
        outcomes.push(measure(&model, evaluator, own.as_ref(), evaluator, &progress)?);
    }
    drop((polling, progress));
    if let Some(path) = &arguments.csv {
        write_csv(path, &[], outcomes.iter().map(|own| (Vec::new(), own)))?;
    }
    if let Some(card) = card {
        card.write(outcomes.iter().map(|own| (None, own)), global.quiet)?;
    }
    let json: BTreeMap<&str, BTreeMap<&str, f64>> = outcomes
        .iter()
        .map(|own| (own.evaluator, own.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect()))
        .collect();
    terminal::answer(arguments.json, &json, |out| write(out, &outcomes))
}

/// What one evaluator finds; `called` is what it is to people meanwhile.
fn measure(
    model: &SentenceTransformer,
    evaluator: &'static str,
    own: &dyn Evaluator,
    called: &str,
    progress: &Progress,
) -> Result<Outcome> {
    let tell = |[_, what]: [&str; 2], done: usize, total: usize| {
        progress.describe(format_args!("{called}: {what}"));
        progress.set(done as u64, total as u64);
    };
    let watch = Watch { interrupt: Some(interrupt::flag()), progress: Some(&tell) };
    let metrics = own.evaluate(model, watch).map_err(|error| match error {
        sentir::train::Error::Interrupted => Interrupted::BEFORE_WRITING.into(),
        other => anyhow::Error::from(other),
    })?;
    let primary = own.primary_metric(model);
    if metrics.iter().any(|(name, value)| *name == primary && value.is_nan()) {
        progress.leave(format_args!(
            "notice: {evaluator}: {primary} is not a number: to the model, all pairs are equally alike"
        ));
    }
    Ok(Outcome { evaluator, primary, metrics })
}

/// The card of a model that is measured, and the record that it is written from.
struct Card {
    directory: PathBuf,
    record: TrainingRecord,
}

impl Card {
    /// Fails if there is no record: other cards are not ours to write.
    fn open(model: &str) -> Result<Self> {
        let directory = PathBuf::from(model);
        let record = TrainingRecord::read(&directory).context("--card")?;
        Ok(Self { directory, record })
    }

    /// Adds what was found, by the names of the data, in place of what the same evaluator had found on the same data.
    fn write<'a>(
        mut self,
        found: impl Iterator<Item = (Option<&'a str>, &'a Outcome)>,
        quiet: bool,
    ) -> Result<()> {
        for (name, own) in found {
            let (class, metrics) = (class(own.evaluator).to_owned(), own.metrics.clone());
            let (name, primary) = (name.map(|name| name.replace(' ', "-")), own.primary.clone());
            let own = Evaluation { class, name, metrics, primary };
            let all = &mut self.record.evaluations;
            match all.iter_mut().find(|other| (&other.class, &other.name) == (&own.class, &own.name)) {
                Some(before) => *before = own,
                None => all.push(own),
            }
        }
        super::card::write_record(&self.record, &self.directory)?;
        if !quiet {
            terminal::say(format_args!("wrote {}", self.directory.join("README.md").display()));
        }
        Ok(())
    }
}

/// A row for each metric, after `columns` that tell outcomes apart.
fn write_csv<'a>(
    path: &Path,
    columns: &[&str],
    outcomes: impl Iterator<Item = (Vec<&'a str>, &'a Outcome)>,
) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([columns, &["evaluator", "metric", "value"]].concat())?;
    for (about, own) in outcomes {
        for (name, value) in &own.metrics {
            let value = value.to_string();
            writer.write_record([&about[..], &[own.evaluator, name, &value]].concat())?;
        }
    }
    let text = String::from_utf8(writer.into_inner()?)?;
    sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())
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
