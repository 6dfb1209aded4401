//! Exactness on the shape of multilingual-e5-large, with random weights: 2.2 GB, made here and removed again. And what is left of it when the
//! tokens that some texts need are kept.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Settings, build_engine, json_line, largest_difference, record, seconds};
use crate::{cargo, root};

/// Runs it.
pub(super) fn run(settings: &Settings) -> Result<()> {
    build_engine("encode_engine")?;
    let shared = root().join("../shared");
    let (texts, model) = (settings.work.join("kb.txt"), settings.work.join("xlmr-large-texts"));
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
    writeln!(table, "\n{}", pruned(settings, &model, &texts)?)?;
    std::fs::remove_dir_all(&model)?;
    record("xlmr-large", &table, settings, &made["versions"], Some(settings.runs))
}

/// Prunes the model to the texts, which proves that their vectors stay the same, and says how much smaller it became.
fn pruned(settings: &Settings, model: &Path, texts: &Path) -> Result<String> {
    cargo(&["build", "--release", "-p", "sentir-cli"], &[])?;
    let out = settings.work.join("xlmr-large-pruned");
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new(root().join("target/release/sentir"));
    command.arg("prune").arg(model).arg(&out).arg("--keep").arg(texts).args(["--json", "--quiet"]);
    let pruned = json_line(&mut command)?;
    let size = |folder: &Path, file: &str| -> Result<f64> {
        let path = folder.join(file);
        Ok(std::fs::metadata(&path).with_context(|| path.display().to_string())?.len() as f64 / 1e6)
    };
    let sizes = |file: &str| -> Result<String> {
        Ok(format!("{file} {:.1} to {:.1} MB", size(model, file)?, size(&out, file)?))
    };
    let report = format!(
        "Pruned to these texts (`sentir prune`): {} of {} tokens stay; {}; {}. {} texts have the same pieces and the same vectors, bit for bit.",
        pruned["tokens_after"],
        pruned["tokens_before"],
        sizes("model.safetensors")?,
        sizes("tokenizer.json")?,
        pruned["texts_proved"],
    );
    std::fs::remove_dir_all(&out)?;
    Ok(report)
}
