//! Exactness on the shape of multilingual-e5-large, with random weights: 2.2 GB, made here and removed again. And what is left of it when the
//! tokens that some texts need are kept, and how soon packed weights give a first vector.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Settings, build_engine, json_line, largest_difference, median, record, seconds};
use crate::{cargo, root};

const PROGRAM: &str = "target/release/sentir";

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
    cargo(&["build", "--release", "-p", "sentir-cli"], &[])?;
    writeln!(table, "\n{}", pruned(settings, &model, &texts)?)?;
    writeln!(table, "\n{}", started(settings, &model)?)?;
    std::fs::remove_dir_all(&model)?;
    record("xlmr-large", &table, settings, &made["versions"], Some(settings.runs))
}

/// Prunes the model to the texts, which proves that their vectors stay the same, and says how much smaller it became.
fn pruned(settings: &Settings, model: &Path, texts: &Path) -> Result<String> {
    let out = settings.work.join("xlmr-large-pruned");
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new(root().join(PROGRAM));
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

/// How long `sentir encode` takes for one text, from the start of the process to its end, with packed weights whose files the system has in memory.
fn started(settings: &Settings, model: &Path) -> Result<String> {
    let mut table = "| packed by `sentir quantize` | packed.safetensors, MB | start to end of `sentir encode`, s |\n|---|---|---|\n".to_owned();
    let packed = settings.work.join("xlmr-large-packed");
    let vector = settings.work.join("xlmr-large-vector.npy");
    for options in ["--dtype bf16", "--dtype int8", "--dtype int8 --embeddings-dtype int8"] {
        let _ = std::fs::remove_dir_all(&packed);
        let mut command = Command::new(root().join(PROGRAM));
        command.arg("quantize").arg(model).arg(&packed).args(options.split(' ')).arg("--quiet");
        crate::run(&mut command)?;
        let mut taken = Vec::new();
        // The first brings the files into memory.
        for round in 0..=settings.runs {
            let mut command = Command::new(root().join(PROGRAM));
            command
                .arg("encode")
                .arg("--model")
                .arg(&packed)
                .arg("where is my video?")
                .arg("--output")
                .arg(&vector);
            command.args(["--quiet", "--threads", &settings.threads.to_string()]);
            let begun = Instant::now();
            crate::run(&mut command)?;
            if round > 0 {
                taken.push(begun.elapsed().as_secs_f64());
            }
        }
        let size = std::fs::metadata(packed.join("packed.safetensors"))?.len() as f64 / 1e6;
        writeln!(table, "| `{options}` | {size:.0} | {:.2} |", median(taken))?;
    }
    std::fs::remove_dir_all(&packed)?;
    std::fs::remove_file(&vector)?;
    Ok(table)
}
