//! `sentir evaluate --suite`: many data sets, one or several models, one table.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Arguments, Card, Outcome, measure, write_csv};
use crate::arguments::{Global, ModelArguments};
use crate::evaluation::{Named, Suite};
use crate::interrupt::{self, Interrupted};
use crate::model;
use crate::terminal::{self, Progress};

/// Values by name.
type Metrics<'a> = BTreeMap<&'a str, f64>;

/// What was measured: data set, evaluator, and an outcome for each model so far.
struct Line {
    data: String,
    evaluator: &'static str,
    outcomes: Vec<Outcome>,
}

pub(super) fn run(arguments: &Arguments, path: &Path, global: &Global) -> Result<()> {
    let suite = Suite::read(path)?;
    let sets = suite.evaluators(path, false, global.quiet)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut models = vec![arguments.model.model.clone()];
    for other in suite.models {
        let beside = folder.join(&other);
        models.push(if beside.is_dir() { beside.display().to_string() } else { other });
    }
    if arguments.card && models.len() > 1 {
        bail!("--card is for one model: leave out the models of {}", path.display());
    }
    let card = arguments.card.then(|| Card::open(&models[0])).transpose()?;
    let mut lines: Vec<Line> = Vec::new();
    let result = measure_all(arguments, global, &models, &sets, &mut lines);
    let interrupted = result.as_ref().is_err_and(|error| error.is::<Interrupted>());
    if result.is_err() && (!interrupted || lines.is_empty()) {
        return result;
    }
    // Ctrl-C loses nothing: what was measured is shown.
    if let Some(path) = &arguments.csv {
        let rows = lines.iter().flat_map(|line| {
            let pairs = models.iter().zip(&line.outcomes);
            pairs.map(move |(model, own)| (vec![model.as_str(), &line.data], own))
        });
        write_csv(path, &["model", "data"], rows)?;
    }
    if let Some(card) = card.filter(|_| result.is_ok()) {
        let found =
            lines.iter().flat_map(|line| line.outcomes.iter().map(|own| (Some(line.data.as_str()), own)));
        card.write(found, global.quiet)?;
    }
    let mut json: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, Metrics<'_>>>> = BTreeMap::new();
    for line in &lines {
        for (model, own) in models.iter().zip(&line.outcomes) {
            let metrics = own.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            json.entry(model).or_default().entry(&line.data).or_default().insert(line.evaluator, metrics);
        }
    }
    terminal::answer(arguments.json, &json, |out| table(out, &models, &lines))?;
    match result {
        Err(_) => Err(Interrupted("interrupted; what was measured is above").into()),
        Ok(()) => Ok(()),
    }
}

fn measure_all(
    arguments: &Arguments,
    global: &Global,
    models: &[String],
    sets: &[(String, Vec<Named>)],
    lines: &mut Vec<Line>,
) -> Result<()> {
    let progress = Progress::new(global.quiet, "measuring", "done");
    let _polling = interrupt::polling();
    let all = models.len() * sets.iter().map(|(_, evaluators)| evaluators.len()).sum::<usize>();
    let mut done = 0;
    for name in models {
        let model = model::load(&ModelArguments { model: name.clone(), ..arguments.model.clone() }, global)?;
        let mut at = 0;
        for (data, evaluators) in sets {
            for (evaluator, own) in evaluators {
                done += 1;
                let called = format!("{done} of {all}: {name}: {data}");
                let outcome = measure(&model, evaluator, own.as_ref(), &called, &progress)?;
                if at == lines.len() {
                    lines.push(Line { data: data.clone(), evaluator, outcomes: Vec::new() });
                }
                lines[at].outcomes.push(outcome);
                at += 1;
            }
        }
    }
    Ok(())
}

/// A row for each evaluation, its primary metric for each model.
fn table(out: &mut dyn Write, models: &[String], lines: &[Line]) -> io::Result<()> {
    let short = |model: &String| {
        let name = PathBuf::from(model);
        name.file_name().map_or_else(|| model.clone(), |name| name.to_string_lossy().into_owned())
    };
    let heads: Vec<String> = models.iter().map(short).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>, least: usize| texts.max().unwrap_or(0).max(least);
    let first = width(&mut lines.iter().map(|line| line.data.chars().count()), 4);
    let second = width(
        &mut lines
            .iter()
            .map(|line| line.outcomes.first().map_or(0, |own| own.primary.len() + line.evaluator.len() + 1)),
        6,
    );
    write!(out, "{:first$}  {:second$}", "data", "metric")?;
    for head in &heads {
        write!(out, "  {head:>8}")?;
    }
    writeln!(out)?;
    for line in lines {
        let metric = line.outcomes.first().map_or("", |own| own.primary.as_str());
        write!(out, "{:first$}  {:second$}", line.data, format!("{} {metric}", line.evaluator))?;
        for (own, head) in line.outcomes.iter().zip(&heads) {
            let value = own
                .metrics
                .iter()
                .find(|(name, _)| *name == own.primary)
                .map_or(f64::NAN, |(_, value)| *value);
            write!(out, "  {value:>width$.4}", width = head.chars().count().max(8))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
