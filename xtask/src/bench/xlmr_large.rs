//! Exactness on the shape of multilingual-e5-large, with random weights: 2.2 GB, made here and removed again.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Settings, build_engine, json_line, largest_difference, record, seconds};
use crate::root;

/// Runs it.
pub(super) fn run(settings: &Settings) -> Result<()> {
    build_engine("encode_engine")?;
    let shared = root().join("../shared");
    let (texts, model) = (settings.work.join("kb.txt"), settings.work.join("xlmr-large"));
    let _ = std::fs::remove_dir_all(&model);
    let lines = std::fs::read_to_string(shared.join("data/rutube/kb.jsonl"))
        .context("the data folder beside the repository is needed")?;
    let questions = lines.lines().map(|line| -> Result<String> {
        let row: Value = serde_json::from_str(line)?;
        Ok(row["question"].as_str().context("no question")?.replace('\n', " ") + "\n")
    });
    std::fs::write(&texts, questions.collect::<Result<String>>()?)?;
    let mut command = settings.script("engines/make_xlmr_large.py");
    command
        .arg("--tokenizer")
        .arg(shared.join("tokenizers/xlm-roberta"))
        .arg("--texts")
        .arg(&texts)
        .arg("--output")
        .arg(&model);
    let made = json_line(&mut command)?;
    let ours = settings.work.join("xlmr-large.npy");
    let mut command = settings.engine("encode_engine");
    command.arg("--model").arg(&model).arg("--texts").arg(model.join("texts.txt")).arg("--output").arg(&ours);
    let own = json_line(&mut command)?;
    let mut table = format!(
        "Random weights in the shape of XLM-RoBERTa-large: {} parameters, {} texts, {} tokens.\n\n",
        made["parameters"], made["texts"], made["tokens"]
    );
    writeln!(
        table,
        "Largest difference of a component: {:.1e} (the largest component is {:.2}).",
        largest_difference(&ours, &model.join("expected.npy"))?,
        made["largest_component"].as_f64().unwrap_or(0.0)
    )?;
    writeln!(
        table,
        "sentir: load {:.1} s, encode {:.1} s, peak memory {:.0} MB.",
        own["load_seconds"].as_f64().unwrap_or(0.0),
        seconds(&own),
        own["peak_rss_bytes"].as_f64().unwrap_or(0.0) / 1e6
    )?;
    std::fs::remove_dir_all(&model)?;
    record("xlmr-large", &table, settings, &made["versions"], Some(settings.runs))
}
