//! `sentir train`: fine-tune a model on pairs, triplets or labelled texts. Arguments, settings from a file, and what people see
//! while it runs; the training itself is in the library.

mod measuring;
mod scratch;
mod settings;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::train::arguments::IntervalStrategy;
use sentir::train::data::Dataset;
use sentir::train::doctor::{self, Case, Examination, Severity};
use sentir::train::evaluate::Evaluator;
use sentir::train::log::LogEntry;
use sentir::train::losses::{self, Loss};
use sentir::train::record::{self, Energy, Source};
use sentir::train::report::{self, Report};
use sentir::train::trainer::{Event, Preset, Trained, Training};
use sentir::train::update::Frozen;
use sentir::{LoadOptions, SentenceTransformer, Trainable, WeightType};
use serde::Serialize;

use crate::arguments::Global;
use crate::evaluation::EvaluationArguments;
use crate::interrupt::{self, Interrupted};
use crate::model;
use crate::terminal::{self, Progress, grouped, notice, size};
use measuring::{eval_datasets, evaluator, measured};
use settings::Settings;

/// Fine-tune a model on your own data
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The model to begin with: a directory, or the id of a model on the Hugging Face hub
    #[arg(long, value_name = "DIR|ID")]
    model: Option<String>,
    /// Branch, tag or commit on the hub
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Files of training data, all with the same columns: .jsonl, .csv, .tsv or .parquet
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Several data sets, each by a name: FILEs of one name belong together. Each batch is of one of them, in turns as the argument
    /// multi_dataset_batch_sampler says; prompts can be by these names
    #[arg(long, value_name = "NAME=FILE", conflicts_with = "data")]
    dataset: Vec<String>,
    /// The columns to train on, in the order that the loss expects: anchor,positive [default: all of the file]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    #[command(flatten)]
    scratch: scratch::Options,
    /// The directory of the result; checkpoints are written into it too
    #[arg(long, value_name = "DIR", visible_alias = "output-dir")]
    out: Option<PathBuf>,
    /// Settings in a TOML file, by the names of the arguments; what is given here as well counts more
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The loss, by its short name or that of its class [default: mnrl]
    #[arg(long, value_name = "NAME")]
    loss: Option<String>,
    /// A parameter of the loss, by its name in sentence-transformers: scale=20
    #[arg(long, value_name = "NAME=VALUE")]
    loss_parameter: Vec<String>,
    /// Whose defaults count: those of Hugging Face's trainer, or of SentenceTransformer.fit (learning rate 2e-5, weight decay 0.01,
    /// 10000 steps of warm-up, one epoch, and a schedule that counts whole batches only)
    #[arg(long, value_name = "NAME", value_parser = ["trainer", "fit"])]
    preset: Option<String>,
    /// Times that the data is gone through [default: 3]
    #[arg(long, value_name = "N", visible_alias = "num-train-epochs")]
    epochs: Option<f64>,
    /// Rows in a batch [default: 8]
    #[arg(long, value_name = "N", visible_alias = "per-device-train-batch-size")]
    batch_size: Option<u64>,
    /// The highest learning rate [default: 5e-5]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Decides order and dropout; the same seed gives the same batches as sentence-transformers [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Compute in bf16; weights, gradients and the loss stay f32
    #[arg(long)]
    bf16: bool,
    /// Compute each layer twice rather than remember what is inside: less memory, a third more time
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Any training argument of Hugging Face by its name: warmup_ratio=0.1
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The probability of dropout, in place of those of the model's config.json
    #[arg(long, value_name = "P")]
    dropout: Option<f32>,
    /// Read at most so many tokens of a text
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// Leave the embedding tables as they are
    #[arg(long)]
    freeze_embeddings: bool,
    /// Leave so many of the lowest layers as they are
    #[arg(long, value_name = "N")]
    freeze_layers: Option<usize>,
    /// Train products of this rank that are added to matrices (LoRA), and nothing else: much less memory
    #[arg(long, value_name = "N", help_heading = "LoRA")]
    lora_r: Option<usize>,
    /// Products are scaled by lora_alpha / lora_r [default: 16]
    #[arg(long, value_name = "X", help_heading = "LoRA")]
    lora_alpha: Option<f64>,
    /// The matrices, by the ends of their names, or all-linear [default: query,value]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "LoRA")]
    lora_target_modules: Option<Vec<String>>,
    /// Files to compute the loss of, with the columns of the training data
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Evaluation")]
    eval_data: Vec<PathBuf>,
    #[command(flatten)]
    evaluation: EvaluationArguments,
    /// Stop after so many evaluations without a better one
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    early_stopping_patience: Option<usize>,
    /// Go on from the last checkpoint in the directory
    #[arg(long)]
    resume: bool,
    /// Remove what an earlier training left in the directory
    #[arg(long, visible_alias = "overwrite_output_dir", conflicts_with = "resume")]
    overwrite_output_dir: bool,
    /// Only look at data, model and arguments, say what is found, and time one step; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// Mend what can be mended before training: repeated and empty rows, the batch sampler, prompts, memory
    #[arg(long)]
    fix: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir train --model models/all-MiniLM-L6-v2 --data pairs.jsonl \\
      --columns anchor,positive --epochs 5 --batch-size 64 \\
      --learning-rate 2e-5 --out my-model
  sentir train --config training.toml --resume
  sentir train --config training.toml --dry-run
  sentir train --from-scratch static --data pairs.jsonl --out my-model

The first column is what is asked, the second what answers it, others are hard
negatives; a column called label or score is the label. Losses: mnrl (the
default), cmnrl, symmetric-mnrl, cosent, angle, cosine-similarity, triplet,
contrastive, online-contrastive, mse, margin-mse, gist, matryoshka.

Ctrl-C writes a checkpoint; --resume goes on from there, to the same bits.";

/// What is printed with `--json`.
#[derive(Serialize)]
struct Outcome {
    path: PathBuf,
    updates: usize,
    epochs: f64,
    parameters: usize,
    /// The mean of the last tenth of the updates.
    loss: Option<f64>,
    seconds: f64,
    tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_metric: Option<f64>,
}

/// Trains.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let mut settings = Settings::new(arguments)?;
    for message in &settings.notices {
        notice(global.quiet, message);
    }
    if !arguments.dry_run {
        check_directory(&settings)?;
    }
    let mut datasets = settings
        .datasets
        .iter()
        .map(|(name, files)| Dataset::read(name, files, settings.columns.as_deref()))
        .collect::<Result<Vec<_>, _>>()?;
    let loss = losses::from_name(&settings.loss, &settings.loss_parameters)?;
    let _new = match arguments.scratch.from_scratch {
        Some(kind) => Some(scratch::begin(kind, &arguments.scratch, &mut settings, &mut datasets)?),
        None => None,
    };
    let mut model = load(&settings, settings.trainable(), global)?;
    if let Some(p) = settings.dropout {
        model.set_dropout([p, p]);
    }
    let guide = match loss.guide() {
        Some(guide) => Some(model::find(guide, None, LoadOptions::default(), global.quiet)?),
        None => None,
    };
    let evaluates = arguments.evaluation.any() || !arguments.eval_data.is_empty();
    if evaluates && !settings.says("eval_strategy") {
        settings.arguments.eval_strategy = IntervalStrategy::Epoch;
    }
    let frozen = Frozen { embeddings: settings.freeze_embeddings, layers: settings.freeze_layers };
    let look = |datasets: &[Dataset], settings: &Settings| {
        let _polling = interrupt::polling();
        let case = Case {
            datasets,
            model: &model,
            loss: &*loss,
            arguments: &settings.arguments,
            preset: settings.preset,
            frozen,
            lora: settings.lora.as_ref(),
            interrupt: interrupt::flag(),
        };
        doctor::examine(case).map_err(stopped)
    };
    let mut examination = look(&datasets, &settings)?;
    if arguments.fix {
        for done in doctor::fix(&examination, &mut datasets, &mut settings.arguments) {
            notice(global.quiet, format_args!("mended: {done}"));
        }
        examination = look(&datasets, &settings)?;
    }
    // Not before the doctor is done: prompts that were mended count here too.
    let (evaluator, classes) = evaluator(arguments, &settings, &*loss, guide.as_ref(), global.quiet)?;
    let training = Training {
        guide: guide.as_ref(),
        evaluator: evaluator.as_ref().map(|all| all as &dyn Evaluator),
        preset: settings.preset,
        frozen,
        lora: settings.lora.clone(),
        early_stopping_patience: arguments.early_stopping_patience,
        output_dir: Some(&settings.out),
        resume: settings.resume,
        ..Training::new(model, datasets.clone(), &*loss, &settings.arguments, interrupt::flag())
    };
    if arguments.dry_run {
        return dry_run(training, examination, arguments.json);
    }
    let found = examination.to_findings();
    if examination.count(Severity::Error) > 0 {
        bail!(
            "{found}\n{} must be mended before training",
            if arguments.fix { "What is left" } else { "This" }
        );
    }
    if !global.quiet && !found.is_empty() {
        terminal::say(format_args!(
            "{found}\n(--dry-run says more{})",
            if arguments.fix { "" } else { ", --fix mends what it can" }
        ));
    }

    if !settings.resume {
        // Not before everything was found to be in order: what is removed cannot be had back.
        remove_checkpoints(&settings.out)?;
    }
    let mut view = View::new(global, &settings.out);
    let polling = interrupt::polling();
    let energy = Energy::begin();
    let trained = training.run(&mut |event| view.show(&event));
    let joules = energy.and_then(|energy| energy.joules());
    drop(polling);
    let (parameters, saved) = (view.parameters, view.saved);
    drop(view);
    let trained = trained.map_err(|error| match error {
        sentir::train::Error::Interrupted if saved => anyhow::Error::from(Interrupted(
            "interrupted; a checkpoint was written: the same command with --resume goes on from there",
        )),
        sentir::train::Error::Interrupted => Interrupted("interrupted before the first checkpoint").into(),
        other => other.into(),
    })?;
    let outcome = outcome(&settings.out, &trained, parameters);
    write_report(&settings, &*loss, &trained, &outcome)?;
    let measured = match &evaluator {
        Some(all) => measured(all, &classes, &trained, global.quiet)?,
        None => Vec::new(),
    };
    let source = Source {
        directory: &settings.out,
        base_model: settings.base_model(),
        base_revision: settings.revision.as_deref(),
        datasets: &datasets,
        eval_datasets: &eval_datasets(arguments, &settings)?,
        loss: &*loss,
        arguments: &settings.arguments,
        trained: &trained,
        notes: &notes(&settings),
        joules,
        examination: Some(&examination),
        evaluators: &measured,
    };
    let record = record::collect(source)?;
    super::card::write_record(&record, &settings.out)?;
    terminal::answer(arguments.json, &outcome, |out| write(out, &outcome))
}

fn load(settings: &Settings, trainable: Trainable, global: &Global) -> Result<SentenceTransformer> {
    let options = LoadOptions {
        max_seq_length: settings.max_seq_length,
        dtype: settings.arguments.bf16.then_some(WeightType::Bf16),
        trainable,
        ..LoadOptions::default()
    };
    let model = model::find(&settings.model, settings.revision.as_deref(), options, global.quiet)?;
    for message in model.notices() {
        notice(global.quiet, message);
    }
    Ok(model)
}

/// A directory that holds something already is somebody's: it is used only if the user says so.
fn check_directory(settings: &Settings) -> Result<()> {
    let out = &settings.out;
    let occupied = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).context(format!("{} cannot be used", out.display())),
    };
    if occupied && !settings.resume && !settings.overwrite_output_dir {
        bail!(
            "{} is not empty; choose another directory, go on from its last checkpoint with --resume, or begin anew \
             with --overwrite-output-dir",
            out.display()
        );
    }
    Ok(())
}

/// Those of an earlier training, which are not to be taken for ones of this.
fn remove_checkpoints(out: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| out.display().to_string())?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("checkpoint-") && path.join("trainer_state.json").is_file() {
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn stopped(error: sentir::train::Error) -> anyhow::Error {
    match error {
        sentir::train::Error::Interrupted => Interrupted("interrupted; nothing was written").into(),
        other => other.into(),
    }
}

/// Says what was found, and how long training would take by the time of one step. Nothing is written.
fn dry_run(training: Training<'_>, mut examination: Examination, json: bool) -> Result<()> {
    if examination.count(Severity::Error) == 0 {
        let mut arguments = training.arguments.clone();
        arguments.max_steps = 1;
        arguments.load_best_model_at_end = false;
        let one = Training { arguments: &arguments, output_dir: None, resume: false, ..training };
        let _polling = interrupt::polling();
        let trained = one.run(&mut |_| ()).map_err(stopped)?;
        examination.facts.seconds_per_update = trained.state.log.first().and_then(|entry| entry.seconds);
    }
    terminal::answer(json, &examination, |out| write!(out, "{}", examination.to_text()))
}

/// What is to be said of a training beside its arguments.
fn notes(settings: &Settings) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    let mut say = |name: &str, value: String| notes.push((name.to_owned(), value));
    if let Some(lora) = &settings.lora {
        let targets = lora.target_modules.join(", ");
        say("LoRA", format!("r {}, alpha {}, of {targets}", lora.r, lora.lora_alpha));
    }
    if settings.freeze_embeddings || settings.freeze_layers > 0 {
        let embeddings = if settings.freeze_embeddings { "the embeddings and " } else { "" };
        say("frozen", format!("{embeddings}the lowest {} layers", settings.freeze_layers));
    }
    if let Some(note) = &settings.data_note {
        say("data", note.clone());
    }
    if settings.preset == Preset::Fit {
        say("preset", "fit: the learning rate ends with the whole batches of the data".to_owned());
    }
    notes
}

/// The course of the training as a page beside the model.
fn write_report(settings: &Settings, loss: &dyn Loss, trained: &Trained, outcome: &Outcome) -> Result<()> {
    let title = settings.out.file_name().unwrap_or_default().to_string_lossy();
    let files = settings.datasets.iter().flat_map(|(_, files)| files);
    let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    let mut facts = vec![
        ("model".to_owned(), settings.name.clone()),
        ("data".to_owned(), files.join(", ")),
        ("loss".to_owned(), loss.name().to_owned()),
        ("numbers trained".to_owned(), grouped(outcome.parameters)),
    ];
    facts.extend(notes(settings));
    let shown = [
        "num_train_epochs",
        "per_device_train_batch_size",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_ratio",
        "warmup_steps",
        "seed",
        "bf16",
    ];
    let all = settings.arguments.to_map();
    let value = |name: &&str| {
        let value = all.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    facts.extend(shown.iter().filter_map(value));
    let page = report::html(&Report { title: &title, facts: &facts, entries: &trained.state.log });
    let path = settings.out.join("report.html");
    std::fs::write(&path, page).with_context(|| path.display().to_string())
}

fn outcome(out: &Path, trained: &Trained, parameters: usize) -> Outcome {
    let updates: Vec<&LogEntry> = trained.state.log.iter().filter(|entry| entry.loss.is_some()).collect();
    let last = &updates[updates.len() - updates.len().div_ceil(10)..];
    let losses: Vec<f64> = last.iter().filter_map(|entry| entry.loss).collect();
    let seconds: f64 = updates.iter().filter_map(|entry| entry.seconds).sum();
    let tokens: f64 =
        updates.iter().filter_map(|entry| Some(entry.tokens_per_second? * entry.seconds?)).sum();
    Outcome {
        path: out.to_owned(),
        updates: trained.state.global_step,
        epochs: trained.state.epoch,
        parameters,
        loss: (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64),
        seconds,
        tokens_per_second: tokens / seconds.max(1e-9),
        best_metric: trained.state.best_metric,
    }
}

fn write(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    write!(out, "{}: {} updates, {:.2} epochs", outcome.path.display(), outcome.updates, outcome.epochs)?;
    if let Some(loss) = outcome.loss {
        write!(out, ", loss {loss:.4} at the end")?;
    }
    writeln!(
        out,
        ", {} in training, {} tokens/s",
        duration(Duration::from_secs_f64(outcome.seconds)),
        grouped(outcome.tokens_per_second as usize)
    )
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", time.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// What people see while it runs: a bar on a terminal, a line every half a minute elsewhere.
struct View<'a> {
    global: &'a Global,
    out: &'a Path,
    bar: Progress,
    updates: usize,
    parameters: usize,
    saved: bool,
    said: Instant,
    losses: Vec<f64>,
}

impl<'a> View<'a> {
    const PAUSE: Duration = Duration::from_secs(30);
    const WHAT: &'static str = "training";

    fn new(global: &'a Global, out: &'a Path) -> Self {
        let bar = Progress::new(global.quiet, Self::WHAT, "updates");
        Self {
            global,
            out,
            bar,
            updates: 0,
            parameters: 0,
            saved: false,
            said: Instant::now(),
            losses: Vec::new(),
        }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Notice(message) => self.bar.leave(format_args!("notice: {message}")),
            Event::Begin { updates, done, parameters } => {
                (self.updates, self.parameters) = (*updates, *parameters);
                self.bar.leave(format_args!(
                    "{} numbers to train, {} updates{}; log: {}",
                    grouped(*parameters),
                    grouped(*updates),
                    if *done > 0 { format!(", {done} of them done") } else { String::new() },
                    self.out.join("train_log.jsonl").display(),
                ));
                self.bar.set(*done as u64, *updates as u64);
            }
            Event::Update(entry) => self.update(entry),
            Event::Evaluating { what: [_, what], done, total } => {
                self.bar.describe(format_args!("evaluating: {what} {done}/{total}"));
            }
            Event::Evaluated { step, metrics } => {
                self.bar.describe(Self::WHAT);
                let metrics: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                self.bar.leave(format_args!("after {step} updates: {}", metrics.join(", ")));
            }
            Event::Saved(path) => {
                self.saved = true;
                self.bar.leave(format_args!("saved {}", path.display()));
            }
        }
    }

    fn update(&mut self, entry: &LogEntry) {
        self.losses.extend(entry.loss);
        let recent = &self.losses[self.losses.len().saturating_sub(20)..];
        let loss = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
        let rate = entry.learning_rate.unwrap_or_default();
        let speed = grouped(entry.tokens_per_second.unwrap_or_default() as usize);
        let memory = memory().map_or(String::new(), |bytes| format!(", {}", size(bytes)));
        self.bar.describe(format_args!("loss {loss:.4}, rate {rate:.2e}, {speed} tokens/s{memory}"));
        self.bar.set(entry.step, self.updates as u64);
        let listens = io::IsTerminal::is_terminal(&io::stderr());
        if !listens && !self.global.quiet && self.said.elapsed() > Self::PAUSE {
            self.said = Instant::now();
            terminal::say(format_args!(
                "update {} of {}: loss {loss:.4}, rate {rate:.2e}, {speed} tokens/s{memory}",
                entry.step, self.updates
            ));
        }
    }
}

/// What the process has in memory, where the system says so.
fn memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}
