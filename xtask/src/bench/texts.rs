//! 5,000 short sentences, tokenization included, against sentence-transformers: sentences per second, start of the process to
//! the first vector, size of the binary.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Settings, json_line, largest_difference, median, record, seconds};
use crate::{cargo, root};

/// Runs it.
pub(super) fn run(settings: &Settings) -> Result<()> {
    cargo(
        &["build", "--release", "-p", "sentir-cli", "-p", "sentir", "--bins", "--example", "encode_engine"],
        &[],
    )?;
    let texts = settings.work.join("stsb-5000.txt");
    crate::run(settings.script("stsb_texts.py").arg("--output").arg(&texts))?;
    let (ours, theirs) = (settings.work.join("sentir.npy"), settings.work.join("sentence-transformers.npy"));
    let threads = settings.threads.to_string();

    let (mut sentir, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=settings.runs {
        let mut command = settings.engine("encode_engine");
        command.arg("--model").arg(&settings.model).arg("--texts").arg(&texts).arg("--output").arg(&ours);
        sentir.push(json_line(&mut command)?);
        let mut command = settings.script("engines/sentence_transformers_encode.py");
        command.arg("--model").arg(&settings.model).arg("--texts").arg(&texts);
        command.args(["--threads", &threads, "--repeat", "1"]).arg("--output").arg(&theirs);
        peer.push(json_line(&mut command)?);
        println!(
            "round {round}: sentir {:.2} s, sentence-transformers {:.2} s",
            seconds(&sentir[round - 1]),
            seconds(&peer[round - 1])
        );
    }

    let binary = root().join("target/release/sentir");
    let mut starts = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        let output = Command::new(&binary)
            .arg("encode")
            .arg("--model")
            .arg(&settings.model)
            .args(["--json", "one sentence"])
            .output()?;
        starts.push(begun.elapsed().as_secs_f64());
        if !output.status.success() {
            bail!("sentir encode: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    let texts_in = |run: &Value| run["texts"].as_f64().or(run["sentences"].as_f64()).unwrap_or(0.0);
    let rate = |runs: &[Value]| texts_in(&runs[0]) / median(runs.iter().map(seconds).collect());
    let memory = |runs: &[Value]| {
        median(runs.iter().map(|run| run["peak_rss_bytes"].as_f64().unwrap_or(0.0)).collect()) / 1e6
    };
    let load =
        |runs: &[Value]| median(runs.iter().map(|run| run["load_seconds"].as_f64().unwrap_or(0.0)).collect());
    let mut table = String::new();
    writeln!(table, "| | sentences per second | times sentence-transformers | peak memory, MB | load, s |")?;
    writeln!(table, "|---|---|---|---|---|")?;
    for (name, runs) in [("sentir", &sentir), ("sentence-transformers", &peer)] {
        let (own, ratio) = (rate(runs), rate(runs) / rate(&peer));
        writeln!(table, "| {name} | {own:.0} | {ratio:.2} | {:.0} | {:.3} |", memory(runs), load(runs))?;
    }
    writeln!(table, "\nLargest difference of a component: {:.1e}.", largest_difference(&ours, &theirs)?)?;
    writeln!(
        table,
        "Process start to first vector (one sentence, warm page cache, median of 21): {:.0} ms.",
        median(starts) * 1e3
    )?;
    let size = std::fs::metadata(&binary)?.len();
    writeln!(table, "Stripped release binary: {:.1} MB.", size as f64 / 1e6)?;
    record("texts", &table, settings, &peer[0]["versions"], Some(settings.runs))
}
