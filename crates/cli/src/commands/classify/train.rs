//! `sentir classify train`.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sentir::classify::calibrate::temperature_scale;
use sentir::classify::folds::{choose_c, grid, held_out_scores, stratified_folds};
use sentir::classify::logistic::{LogisticOptions, LogisticRegression};
use sentir::classify::prototype::NearestPrototype;
use sentir::classify::{Classifier, highest};
use sentir::train::classifier::{Head, Level, TextClassifier};
use sentir::train::probe::probe;
use sentir::{Rows, SentenceTransformer};

use super::report::{Judged, Report};
use super::{features, fine_tune, shown};
use crate::arguments::{Global, ModelArguments, PromptArguments};
use crate::input::{self, Columns, Format, Texts};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, notice};

/// Learn classes from texts whose classes are known
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Train {
    /// File of texts and their classes: .jsonl, .csv, .tsv or .parquet
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,
    /// The column of the texts
    #[arg(long, value_name = "NAME")]
    column: String,
    /// The column of second texts: what is classified is the pair, by both vectors and the distance of their components
    #[arg(long, value_name = "NAME", conflicts_with = "fine_tune")]
    column2: Option<String>,
    /// The column of the classes
    #[arg(long, value_name = "NAME")]
    label: String,
    /// The column of coarser classes: they are predicted first, and --label within them
    #[arg(long, value_name = "NAME")]
    parent_label: Option<String>,
    /// The directory to make
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// The inverse of how small weights are kept, as in scikit-learn
    #[arg(long, value_name = "X", default_value = "1.0", conflicts_with = "choose_c")]
    c: f64,
    /// Choose C by cross-validation, from 0.0001 to 10000
    #[arg(long, conflicts_with = "prototype")]
    choose_c: bool,
    /// Classes count the same, however many texts they have
    #[arg(long, value_name = "NAME", value_parser = ["balanced"])]
    class_weight: Option<String>,
    /// Take the nearest mean of a class in place of logistic regression: for a handful of texts a class
    #[arg(long)]
    prototype: bool,
    /// Fine-tune the model before, by pairs of texts of one class and of two (SetFit): for a handful of texts a class. The model is written beside the
    /// classifier, to OUTPUT-model
    #[arg(long)]
    fine_tune: bool,
    /// Pairs of each kind for each text, with --fine-tune
    #[arg(long, value_name = "N", default_value = "20", value_parser = crate::arguments::at_least_one())]
    num_iterations: usize,
    /// Make probabilities honest by the texts that are held out (temperature scaling)
    #[arg(long)]
    calibrate: bool,
    /// Judge by this file, in place of cross-validation; the same columns
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// Folds of the cross-validation
    #[arg(long, value_name = "N", default_value = "5")]
    folds: usize,
    /// Write a page with the confusion of classes and the texts that were mistaken
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir classify train --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --label topic --output faq-classes --html report.html
  sentir classify train --model models/all-MiniLM-L6-v2 --input train.csv \\
      --column text --label category --choose-c --calibrate --output classes

The report is of texts that were held out: each fold of the cross-validation is
predicted by a classifier that has not seen it. What is written has seen all.";

/// A column of classes: their names, and the class of each text.
struct Labels {
    name: String,
    classes: Vec<String>,
    labels: Vec<usize>,
}

impl Labels {
    /// Names in alphabetical order, as scikit-learn has them.
    fn new(name: &str, values: &[String], texts: &Texts) -> Result<Self> {
        if let Some(row) = values.iter().position(String::is_empty) {
            bail!(
                "{}: the class in \"{name}\" is empty; give the text one, or remove it",
                texts.origin.place(row)
            );
        }
        let mut classes = values.to_vec();
        classes.sort();
        classes.dedup();
        let own = Self { name: name.to_owned(), classes, labels: Vec::new() };
        let labels = values.iter().map(|value| own.find(value)).collect::<Option<_>>();
        Ok(Self { labels: labels.context("a class that is not one of them")?, ..own })
    }

    fn find(&self, value: &String) -> Option<usize> {
        self.classes.binary_search(value).ok()
    }
}

impl Train {
    pub(super) fn run(&self, global: &Global) -> Result<()> {
        if self.output.exists() {
            bail!("{}: it exists already; choose another --output", self.output.display());
        }
        let (texts, columns) = self.read(&self.input)?;
        let names: Vec<&String> = self.parent_label.iter().chain([&self.label]).collect();
        let mut levels = Vec::new();
        for (name, values) in names.iter().zip(&columns) {
            levels.push(Labels::new(name, values, &texts)?);
        }
        let parents = parents(&levels, &texts)?;
        let test = match &self.test {
            Some(path) => Some((path, self.read(path)?)),
            None => None,
        };
        let mut arguments = self.model.clone();
        if self.fine_tune {
            let directory = PathBuf::from(format!("{}-model", self.output.display()));
            if directory.exists() {
                bail!("{}: it exists already; choose another --output", directory.display());
            }
            if test.is_none() {
                notice(
                    global.quiet,
                    "the model has seen all texts: the report is too good; give --test FILE for an honest one",
                );
            }
            let finest = &levels[levels.len() - 1].labels;
            let tuned =
                fine_tune::run(&self.model, &texts.texts, finest, self.num_iterations, &directory, global)?;
            (arguments.model, arguments.revision) = (tuned.display().to_string(), None);
        }
        let model = model::load(&arguments, global)?;
        let vectors = self.encode(&model, &texts, global)?;
        let mut trained = Vec::new();
        let mut held_out = Vec::new();
        for (at, level) in levels.iter().enumerate() {
            let (own, scores) = self.learn(level, &vectors, test.is_none(), global)?;
            let parents = if at == 0 { None } else { parents.clone() };
            trained.push(Level { parents, ..own });
            held_out.push(scores);
        }
        let classifier = TextClassifier {
            levels: trained,
            model: arguments.model.clone(),
            probe: probe(&model, self.model.truncate_dim)?.into_vec(),
            truncate_dim: self.model.truncate_dim,
            pairs: self.column2.is_some(),
        };
        let report = match test {
            Some((path, (texts, columns))) => {
                let vectors = self.encode(&model, &texts, global)?;
                let mut expected = Vec::new();
                for (level, values) in levels.iter().zip(&columns) {
                    let find = |(row, value): (usize, &String)| {
                        let unknown = || {
                            anyhow!(
                                "{}: the class \"{value}\" does not come in {}; add examples of it, or remove the text",
                                texts.origin.place(row),
                                self.input.display()
                            )
                        };
                        level.find(value).ok_or_else(unknown)
                    };
                    expected.push(values.iter().enumerate().map(find).collect::<Result<Vec<_>>>()?);
                }
                let found = classifier.predict(&vectors)?;
                let judged = levels.iter().zip(expected).zip(found).map(|((level, expected), found)| {
                    let best = found.iter().map(|own| own.classes[0]).collect();
                    Judged::new(&level.name, &level.classes, expected, best)
                });
                Some(Report {
                    how: path.display().to_string(),
                    texts: all_shown(&texts),
                    levels: judged.collect::<Result<_>>()?,
                })
            }
            None if held_out.iter().all(Option::is_some) => {
                let scores: Vec<Rows> = held_out.into_iter().flatten().collect();
                let judged = judge(&levels, &classifier, scores)?;
                Some(Report {
                    how: format!("{} folds", self.folds),
                    texts: all_shown(&texts),
                    levels: judged,
                })
            }
            None => None,
        };
        classifier.write(&self.output)?;
        if let Some(report) = &report {
            if let Some(path) = &self.html {
                sentir::train::record::write_text(path, &report.html()?)?;
            }
            terminal::answer(self.json, &report.json(), |out| report.write(out))?;
        }
        if !global.quiet {
            terminal::say(format_args!("wrote {}", self.output.display()));
        }
        Ok(())
    }

    /// The texts of a file, and the columns of classes, the coarser first.
    fn read(&self, path: &std::path::Path) -> Result<(Texts, Vec<Vec<String>>)> {
        let shown: Vec<String> =
            self.column2.iter().chain(&self.parent_label).chain([&self.label]).cloned().collect();
        let columns = Columns {
            text: Some(&self.column),
            shown: &shown,
            option: "--column",
            format_option: "--input-format",
        };
        let mut texts = input::read(path, self.input_format, columns)?;
        let labels = texts.shown.split_off(self.column2.iter().len());
        Ok((texts, labels))
    }

    fn encode(&self, model: &SentenceTransformer, texts: &Texts, global: &Global) -> Result<Rows> {
        let encoding = Encoding::new(&self.model, &self.prompt, global.quiet);
        features(encoding, model, texts)
    }

    /// A level learned from all texts, and, if `judge`, scores of each text by a classifier that has not seen it.
    fn learn(
        &self,
        level: &Labels,
        vectors: &Rows,
        judge: bool,
        global: &Global,
    ) -> Result<(Level, Option<Rows>)> {
        let mut options = LogisticOptions {
            c: self.c,
            balanced: self.class_weight.is_some(),
            max_iter: 1000,
            ..LogisticOptions::default()
        };
        let bar = Progress::new(global.quiet, "learning", "fits");
        let _polling = interrupt::polling();
        let labels = &level.labels;
        let folds = if judge || self.calibrate || self.choose_c {
            match stratified_folds(labels, self.folds) {
                Ok(folds) => Some(folds),
                // Without a need for them, too few texts are no reason to stop.
                Err(_) if !self.calibrate && !self.choose_c => {
                    let rare = rarest(level);
                    notice(
                        global.quiet,
                        format_args!(
                            "no report: the class \"{}\" has {} texts, fewer than --folds {}; give --test FILE or fewer folds",
                            rare.0, rare.1, self.folds
                        ),
                    );
                    None
                }
                Err(_) => {
                    let rare = rarest(level);
                    bail!(
                        "the class \"{}\" of {} has {} texts, fewer than --folds {}: take fewer folds, or add texts",
                        rare.0,
                        level.name,
                        rare.1,
                        self.folds
                    );
                }
            }
        } else {
            None
        };
        if let (true, Some(folds)) = (self.choose_c, &folds) {
            let mut go_on = |done: usize, all: usize| {
                bar.set(done as u64, all as u64);
                interrupt::check().is_ok()
            };
            let (c, means) = match choose_c(vectors, labels, folds, &grid(), &options, &mut go_on) {
                Err(_) if interrupt::check().is_err() => return Err(Interrupted::BEFORE_WRITING.into()),
                other => other?,
            };
            let best = means.iter().copied().fold(0.0, f64::max);
            bar.leave(format_args!(
                "{}: C = {c:.4} (accuracy {best:.4} over {} folds)",
                level.name, self.folds
            ));
            options.c = c;
        }
        let fit = |rows: &Rows, labels: &[usize]| -> Result<Head, sentir::VectorsError> {
            if self.prototype {
                return Ok(Head::Prototype(NearestPrototype::fit(rows, labels)?));
            }
            let fitted = LogisticRegression::fit(rows, labels, &options)?;
            if !fitted.converged {
                bar.leave(format_args!(
                    "notice: {}: learning stopped after {} steps before its end; weights are a little off",
                    level.name, fitted.iterations
                ));
            }
            Ok(Head::Logistic(fitted.model))
        };
        let head = fit(vectors, labels)?;
        let mut done = 0;
        let scores = match &folds {
            Some(folds) => Some(held_out_scores(vectors, labels, folds, |rows, labels| {
                bar.set(done, self.folds as u64);
                done += 1;
                Ok(match fit(rows, labels)? {
                    Head::Logistic(model) => Box::new(model) as Box<dyn Classifier>,
                    Head::Prototype(model) => Box::new(model),
                })
            })?),
            None => None,
        };
        interrupt::check()?;
        let scale = match &scores {
            Some(scores) if self.calibrate => temperature_scale(scores, labels)?,
            _ => 1.0,
        };
        let level =
            Level { name: level.name.clone(), classes: level.classes.clone(), head, scale, parents: None };
        Ok((level, scores))
    }
}

fn all_shown(texts: &Texts) -> Vec<String> {
    (0..texts.texts.len()).map(|row| shown(texts, row).into_owned()).collect()
}

fn rarest(level: &Labels) -> (&str, usize) {
    let mut counts = vec![0; level.classes.len()];
    level.labels.iter().for_each(|&label| counts[label] += 1);
    let least = (0..counts.len()).min_by_key(|&class| counts[class]).unwrap_or(0);
    (level.classes.get(least).map_or("", String::as_str), counts.get(least).copied().unwrap_or(0))
}

/// For each class of the finer level, its coarser one; an error if it has two.
fn parents(levels: &[Labels], texts: &Texts) -> Result<Option<Vec<usize>>> {
    let [coarse, fine] = levels else { return Ok(None) };
    let mut parents = vec![usize::MAX; fine.classes.len()];
    for (row, (&parent, &label)) in coarse.labels.iter().zip(&fine.labels).enumerate() {
        if parents[label] != usize::MAX && parents[label] != parent {
            bail!(
                "{}: the class \"{}\" is within \"{}\" here and within \"{}\" before: a class has one parent; rename one of them",
                texts.origin.place(row),
                fine.classes[label],
                coarse.classes[parent],
                coarse.classes[parents[label]]
            );
        }
        parents[label] = parent;
    }
    Ok(Some(parents))
}

/// What held-out scores predict, the finer level within the coarser one.
fn judge(levels: &[Labels], classifier: &TextClassifier, scores: Vec<Rows>) -> Result<Vec<Judged>> {
    let mut before: Option<Vec<usize>> = None;
    let mut judged = Vec::new();
    for ((level, own), scores) in levels.iter().zip(&classifier.levels).zip(scores) {
        let probabilities = own.probabilities(scores, before.as_deref());
        let best: Vec<(usize, f32)> =
            probabilities.iter().map(|own| (highest(own), own[highest(own)])).collect();
        before = Some(best.iter().map(|(class, _)| *class).collect());
        judged.push(Judged::new(&level.name, &level.classes, level.labels.clone(), best)?);
    }
    Ok(judged)
}
