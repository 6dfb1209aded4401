//! `sentir classify train --fine-tune`: before classes are learned, the model learns that texts of one class are alike and others are not, from pairs
//! of the few examples (Tunstall and others 2022, SetFit).

use std::path::{Path, PathBuf};

use anyhow::Result;
use sentir::train::arguments::TrainingArguments;
use sentir::train::data::{Dataset, Labels, TextColumn};
use sentir::train::losses;
use sentir::train::order::Mt19937;
use sentir::train::record::{self, Source};
use sentir::train::trainer::{Event, Training};
use sentir::{LoadOptions, Trainable};
use serde_json::{Map, json};

use crate::arguments::{Global, ModelArguments};
use crate::interrupt::{self, Interrupted};
use crate::model;
use crate::terminal::{Progress, grouped, notice};

/// More pairs than this are hours of work on a processor.
const MANY: usize = 50_000;

/// Trains `arguments.model` and writes it to `directory`.
pub(super) fn run(
    arguments: &ModelArguments,
    texts: &[String],
    labels: &[usize],
    num_iterations: usize,
    directory: &Path,
    global: &Global,
) -> Result<PathBuf> {
    let data = pairs(texts, labels, num_iterations)?;
    if data.len() > MANY {
        notice(
            global.quiet,
            format_args!(
                "{} pairs are many: this is meant for a handful of texts a class; a smaller --num-iterations makes fewer",
                grouped(data.len())
            ),
        );
    }
    let settings = json!({
        "per_device_train_batch_size": 16, "learning_rate": 2e-5, "num_train_epochs": 1, "warmup_ratio": 0.1,
        "save_strategy": "no", "logging_steps": 1,
    });
    let (settings, _) = TrainingArguments::from_map(&settings.as_object().cloned().unwrap_or_default())?;
    let loss = losses::from_name("cosine-similarity", &Map::new())?;
    let options = LoadOptions {
        max_seq_length: arguments.max_seq_length,
        trainable: Trainable::Everything,
        ..LoadOptions::default()
    };
    let base = model::find(&arguments.model, arguments.revision.as_deref(), options, global.quiet)?;
    let datasets = vec![data];
    let training = Training {
        output_dir: Some(directory),
        ..Training::new(base, datasets.clone(), &*loss, &settings, interrupt::flag())
    };
    let bar = Progress::new(global.quiet, "fine-tuning", "steps");
    let polling = interrupt::polling();
    let mut all = 0;
    let trained = training.run(&mut |event| match event {
        Event::Begin { updates, .. } => all = updates as u64,
        Event::Update(entry) => bar.set(entry.step, all),
        _ => {}
    });
    drop((bar, polling));
    let trained = trained.map_err(|error| match error {
        sentir::train::Error::Interrupted => Interrupted("interrupted; no classifier was written").into(),
        other => anyhow::Error::from(other),
    })?;
    let record = record::collect(Source {
        directory,
        base_model: Some(&arguments.model),
        base_revision: arguments.revision.as_deref(),
        datasets: &datasets,
        eval_datasets: &[],
        loss: &*loss,
        arguments: &settings,
        trained: &trained,
        notes: &[(
            "data".to_owned(),
            format!("{num_iterations} pairs of one class and of two for each text"),
        )],
        joules: None,
        examination: None,
        evaluators: &[],
    })?;
    crate::commands::card::write_record(&record, directory)?;
    Ok(directory.to_owned())
}

/// For each text `num_iterations` others of its class (1) and as many of other classes (0). A class of one text has no pairs of its own.
fn pairs(texts: &[String], labels: &[usize], num_iterations: usize) -> Result<Dataset> {
    let (mut first, mut second, mut alike) = (Vec::new(), Vec::new(), Vec::new());
    let mut random = Mt19937::new(42);
    let mut below = |count: usize| random.next_u32() as usize % count;
    // Rows by their class: those of one lie together.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&row| labels[row]);
    for own in order.chunk_by(|&a, &b| labels[a] == labels[b]) {
        let (alone, others) = (own.len() == 1, texts.len() - own.len());
        let begin = order.partition_point(|&row| labels[row] < labels[own[0]]);
        for (at, &row) in own.iter().enumerate() {
            let mut add = |other: usize, value: f64| {
                first.push(texts[row].clone());
                second.push(texts[other].clone());
                alike.push(value);
            };
            for _ in 0..if alone { 0 } else { num_iterations } {
                // Any but the row itself.
                add(own[(at + 1 + below(own.len() - 1)) % own.len()], 1.0);
            }
            for _ in 0..if others == 0 { 0 } else { num_iterations } {
                // Any of those around this class.
                add(order[(begin + own.len() + below(others)) % order.len()], 0.0);
            }
        }
    }
    let column = |name: &str, texts: Vec<String>| TextColumn { name: name.to_owned(), texts };
    let labels = Labels::new("label", 1, alike)?;
    Ok(Dataset::new(
        "pairs of classes",
        vec![column("sentence1", first), column("sentence2", second)],
        Some(labels),
    )?)
}
