//! `sentir card`: the model card of a trained model, written again from the record of its training, or checked against it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::train::card::{self, Style};
use sentir::train::data::Dataset;
use sentir::train::evaluate::Watch;
use sentir::train::record::{Evaluation, TrainingRecord, sha256_of_weights, write_text};
use sentir::{LoadOptions, SentenceTransformer};
use serde::Serialize;

use crate::arguments::Global;
use crate::evaluation::EvaluationArguments;
use crate::interrupt;
use crate::terminal;

/// Write the model card of a trained model again, or check what it says
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The directory of a model that `sentir train` wrote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The release of sentence-transformers whose format the card has
    #[arg(long, value_name = "RELEASE", default_value = "6", value_parser = ["3.1", "6"])]
    style: String,
    /// A template of your own in place of the format (Jinja), which is given the facts that --json prints
    #[arg(long, value_name = "FILE", conflicts_with_all = ["verify", "json"])]
    template: Option<PathBuf>,
    /// Where the card goes [default: README.md in the directory]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["verify", "json"])]
    out: Option<PathBuf>,
    /// Codes of the languages of the model, kept in the record
    #[arg(long, value_name = "CODES", value_delimiter = ',', conflicts_with = "verify")]
    language: Vec<String>,
    /// Ids of the data sets on the hub that it was trained on, kept in the record
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with = "verify")]
    datasets: Vec<String>,
    /// The license of the model, kept in the record
    #[arg(long, value_name = "NAME", conflicts_with = "verify")]
    license: Option<String>,
    /// Compute again what can be computed, and say of each fact whether it is confirmed
    #[arg(long)]
    verify: bool,
    /// The training data, to be compared with that of the record
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "verify")]
    data: Vec<PathBuf>,
    /// Its columns, as they were given to `sentir train`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "data")]
    columns: Option<Vec<String>>,
    #[command(flatten)]
    evaluation: EvaluationArguments,
    /// Print one JSON object: the facts, or, with --verify, what was found
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir card my-model --style 6 --language ru --license mit
  sentir card my-model --json
  sentir card my-model --verify --data pairs.jsonl --columns anchor,positive

--verify ends with exit code 1 if something differs.";

/// What became of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Confirmed,
    Different,
    NotCheckable,
}

/// A fact that was looked at.
#[derive(Serialize)]
struct Check {
    fact: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Writes, prints or checks.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let directory = &arguments.directory;
    if !directory.is_dir() {
        bail!("{}: there is no such directory", directory.display());
    }
    let mut record = TrainingRecord::read(directory)?;
    if arguments.verify {
        return verify(arguments, &record);
    }
    if arguments.evaluation.any() {
        bail!("--eval-queries and --eval-pairs are for --verify");
    }
    let own = (!arguments.language.is_empty(), !arguments.datasets.is_empty(), arguments.license.is_some());
    if own != (false, false, false) {
        if own.0 {
            record.model.language.clone_from(&arguments.language);
        }
        if own.1 {
            record.model.datasets.clone_from(&arguments.datasets);
        }
        record.model.license = arguments.license.clone().or(record.model.license);
        record.write(directory)?;
    }
    if arguments.json {
        let facts = card::facts(&record);
        return terminal::answer(true, &facts, |_| Ok(()));
    }
    let text = match &arguments.template {
        Some(template) => from_template(template, &record)?,
        None => card::render(&record, style(&arguments.style)),
    };
    let out = arguments.out.clone().unwrap_or_else(|| directory.join("README.md"));
    write_text(&out, &text)?;
    if !global.quiet {
        terminal::say(format_args!("wrote {}", out.display()));
    }
    Ok(())
}

fn style(name: &str) -> Style {
    if name == "3.1" { Style::V3 } else { Style::V6 }
}

/// The record of a training into the directory of its model, and the card that is written from it.
pub(super) fn write_record(record: &TrainingRecord, directory: &Path) -> Result<()> {
    record.write(directory)?;
    Ok(write_text(&directory.join("README.md"), &card::render(record, Style::default()))?)
}

fn from_template(path: &Path, record: &TrainingRecord) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let name = path.display().to_string();
    environment.add_template(&name, &text).with_context(|| format!("{name}: not a template"))?;
    let facts = card::facts(record);
    let rendered = environment.get_template(&name).and_then(|template| template.render(&facts));
    rendered.with_context(|| format!("{name}: the template cannot be filled in; --json prints what there is"))
}

fn verify(arguments: &Arguments, record: &TrainingRecord) -> Result<()> {
    let directory = &arguments.directory;
    let mut checks = Vec::new();
    let compare = |fact: &str, recorded: Option<&String>, found: Result<String>| {
        let verdict = match (recorded, &found) {
            (Some(recorded), Ok(found)) if recorded == found => Verdict::Confirmed,
            (Some(_), _) => Verdict::Different,
            (None, _) => Verdict::NotCheckable,
        };
        let note = found.as_ref().err().map(terminal::explanation);
        Check { fact: fact.to_owned(), verdict, recorded: recorded.cloned(), found: found.ok(), note }
    };
    let without = |fact: &str, note: &str| Check {
        fact: fact.to_owned(),
        verdict: Verdict::NotCheckable,
        recorded: None,
        found: None,
        note: Some(note.to_owned()),
    };
    let weights = sha256_of_weights(directory).map_err(anyhow::Error::from);
    checks.push(compare("weights", record.weights_sha256.as_ref(), weights));
    match (record.datasets.as_slice(), arguments.data.as_slice()) {
        (_, []) => checks.push(without("training data", "give it with --data")),
        ([own], files) => {
            let read = Dataset::read("data", files, arguments.columns.as_deref());
            let found = read.map(|data| data.sha256()).map_err(anyhow::Error::from);
            checks.push(compare("training data", own.sha256.as_ref(), found));
        }
        (several, files) => {
            let data = Dataset::read("data", files, arguments.columns.as_deref())?.sha256();
            let known = several.iter().find(|own| own.sha256.as_ref() == Some(&data));
            let name = known.and_then(|own| own.name.as_deref()).unwrap_or("no data set of the record");
            let mut check = compare("training data", Some(&data), Ok(data.clone()));
            check.verdict = if known.is_some() { Verdict::Confirmed } else { Verdict::Different };
            check.note = Some(format!("it is {name}"));
            checks.push(check);
        }
    }
    metrics(arguments, record, &mut checks, &without)?;
    let different = checks.iter().filter(|check| check.verdict == Verdict::Different).count();
    terminal::answer(arguments.json, &checks, |out| write(out, &checks))?;
    if different > 0 {
        bail!(
            "{different} of {} facts of {} {} what the record says",
            checks.len(),
            directory.display(),
            if different == 1 { "is not" } else { "are not" }
        );
    }
    Ok(())
}

/// Every metric of the record, measured again.
fn metrics(
    arguments: &Arguments,
    record: &TrainingRecord,
    checks: &mut Vec<Check>,
    without: &dyn Fn(&str, &str) -> Check,
) -> Result<()> {
    let full = |own: &Evaluation| -> Vec<(String, f64)> {
        own.metrics.iter().map(|(name, value)| (own.full_name(name), *value)).collect()
    };
    let recorded: Vec<(String, f64)> = record.evaluations.iter().flat_map(full).collect();
    if recorded.is_empty() {
        return Ok(());
    }
    if !arguments.evaluation.any() {
        checks.push(without(
            "metrics",
            "give what was measured with: --eval-queries and --eval-corpus, --eval-pairs, or --eval-suite",
        ));
        return Ok(());
    }
    let path = arguments.directory.to_str().context("the path is not UTF-8")?;
    let model = SentenceTransformer::load_with(path, &LoadOptions::default())?;
    let mut found = Vec::new();
    let polling = interrupt::polling();
    for (_, evaluator) in arguments.evaluation.evaluators(true)? {
        found.extend(
            evaluator.evaluate(&model, Watch { interrupt: Some(interrupt::flag()), progress: None })?,
        );
    }
    drop(polling);
    for (name, value) in &recorded {
        let again = found.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
        // Training computes with another order of sums than encoding: a rank may change at a tie.
        let same = |again: f64| (again - value).abs() <= 1e-4 || (again.is_nan() && value.is_nan());
        let verdict = match again {
            Some(again) if same(again) => Verdict::Confirmed,
            Some(_) => Verdict::Different,
            None => Verdict::NotCheckable,
        };
        checks.push(Check {
            fact: name.clone(),
            verdict,
            recorded: Some(format!("{value:.6}")),
            found: again.map(|again| format!("{again:.6}")),
            note: None,
        });
    }
    Ok(())
}

fn write(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Confirmed => "confirmed",
            Verdict::Different => "DIFFERENT",
            Verdict::NotCheckable => "not checkable",
        };
        write!(out, "{verdict:14} {}", check.fact)?;
        match (check.verdict, &check.recorded, &check.found) {
            (Verdict::Different, Some(recorded), Some(found)) => {
                write!(out, ": {found}, recorded was {recorded}")?
            }
            (_, Some(recorded), _) => write!(out, ": {recorded}")?,
            _ => {}
        }
        writeln!(out, "{}", check.note.as_ref().map_or(String::new(), |note| format!(" ({note})")))?;
    }
    Ok(())
}
