//! Seconds of a step of fine-tuning, 64 pairs of the lengths of questions, against PyTorch: forward, backward, clipping,
//! AdamW. Weights are random: only the number of operations counts. For passages, what gradient checkpointing saves and costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::encode::{SHAPES, random_model, workload_file};
use super::{Settings, build_engine, json_line, median, number, record};
use crate::{cargo, option, root};

/// What is measured.
struct Case {
    name: &'static str,
    dtype: &'static str,
    /// Ours.
    options: &'static [&'static str],
    /// Whether a peer computes the same.
    peer: bool,
}

const QUESTIONS: &[Case] = &[
    Case { name: "f32", dtype: "f32", options: &[], peer: true },
    Case { name: "bf16", dtype: "bf16", options: &[], peer: true },
    Case {
        name: "bf16, gradient checkpointing",
        dtype: "bf16",
        options: &["--gradient-checkpointing"],
        peer: false,
    },
    Case { name: "bf16, embeddings frozen", dtype: "bf16", options: &["--freeze-embeddings"], peer: false },
    Case { name: "f32, LoRA of rank 8", dtype: "f32", options: &["--lora"], peer: false },
];

/// Pairs of passages: all 64 have room in 24 GB with gradient checkpointing only, so the same is measured without for a part.
const PASSAGES: &[Case] = &[
    Case {
        name: "bf16, gradient checkpointing",
        dtype: "bf16",
        options: &["--gradient-checkpointing"],
        peer: false,
    },
    Case {
        name: "bf16, gradient checkpointing, 16 pairs",
        dtype: "bf16",
        options: &["--gradient-checkpointing", "--pairs", "16"],
        peer: false,
    },
    Case { name: "bf16, 16 pairs", dtype: "bf16", options: &["--pairs", "16"], peer: false },
];

/// Runs it. Options: `--shape`, a list; `--steps`; `--workload faq|passage`.
pub(super) fn run(settings: &Settings, arguments: &[&str]) -> Result<()> {
    let chosen = option(arguments, "--shape")?;
    let steps = option(arguments, "--steps")?.unwrap_or("2");
    let workload = option(arguments, "--workload")?.unwrap_or("faq");
    let cases = if workload == "passage" { PASSAGES } else { QUESTIONS };
    build_engine("train_engine")?;
    cargo(&["build", "--release", "-p", "sentir-kernels", "--example", "peak"], &[])?;
    for shape in &SHAPES {
        if chosen.is_some_and(|chosen| !chosen.split(',').any(|name| name == shape.name)) {
            continue;
        }
        let model = random_model(settings, shape.name)?;
        let file = workload_file(settings, shape, workload)?;
        let mut runs: BTreeMap<(usize, &str), Vec<Value>> = BTreeMap::new();
        let (mut peaks, mut versions) = (Vec::new(), BTreeMap::new());
        for round in 1..=settings.runs {
            let mut peak = std::process::Command::new(root().join("target/release/examples/peak"));
            peaks.push(json_line(peak.args([&settings.threads.to_string(), "--json"]))?);
            for (at, Case { name, dtype, options, peer }) in cases.iter().enumerate() {
                let mut command = settings.engine("train_engine");
                command.arg("--model").arg(&model).arg("--workload").arg(&file);
                command.args(["--dtype", dtype, "--steps", steps]).args(*options);
                runs.entry((at, "sentir")).or_default().push(json_line(&mut command)?);
                if *peer {
                    let mut command = settings.script("engines/pytorch_train.py");
                    command.arg("--model").arg(&model).arg("--workload").arg(&file);
                    command.args(["--dtype", dtype, "--steps", steps]);
                    command.args(["--threads", &settings.threads.to_string()]);
                    let line = json_line(&mut command)?;
                    versions.extend(line["versions"].as_object().cloned().unwrap_or_default());
                    runs.entry((at, "pytorch")).or_default().push(line);
                }
                println!("{}, round {round}, {name}: done", shape.name);
            }
        }
        let peak = |dtype: &str| {
            median(peaks.iter().filter_map(|peak| peak["peak_gflops"][dtype].as_f64()).collect())
        };
        let ids: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let lengths: Vec<f64> = ids["ids"]
            .as_array()
            .context("no ids")?
            .iter()
            .map(|ids| ids.as_array().map_or(0.0, |ids| ids.len() as f64))
            .collect();
        // Forward and backward: three times the operations of a forward pass. Of the mean over all sentences.
        let of_all = 3.0 * shape.operations(&lengths) / lengths.iter().sum::<f64>();
        let step = |runs: &[Value]| {
            median(
                runs.iter()
                    .flat_map(|run| run["step_seconds"].as_array().cloned().unwrap_or_default())
                    .filter_map(|seconds| seconds.as_f64())
                    .collect(),
            )
        };
        let mut table = String::new();
        writeln!(table, "One step of fine-tuning, 64 pairs, workload {workload}.\n")?;
        writeln!(
            table,
            "| case | engine | s a step | tokens/s | % of peak | sentir is × faster | memory, GB |"
        )?;
        writeln!(table, "|---|---|---|---|---|---|---|")?;
        for ((at, engine), own) in &runs {
            let Case { name, dtype, .. } = cases[*at];
            let (seconds, tokens) = (step(own), number(own, "tokens"));
            let ours = step(&runs[&(*at, "sentir")]);
            let ratio = if *engine == "sentir" { "—".to_owned() } else { format!("{:.2}", seconds / ours) };
            writeln!(
                table,
                "| {name} | {engine} | {seconds:.2} | {:.0} | {:.0} | {ratio} | {:.1} |",
                tokens / seconds,
                100.0 * of_all * tokens / seconds / 1e9 / peak(dtype),
                number(own, "peak_rss_bytes") / 1e9,
            )?;
        }
        writeln!(
            table,
            "\nPeak: multiply-adds in registers, in the same run, f32 {:.0} and bf16 {:.0} Gop/s. Operations without padding, three times those of a forward pass.",
            peak("f32"),
            peak("bf16")
        )?;
        record(
            &format!("train-{}-{workload}", shape.name),
            &table,
            settings,
            &json!(versions),
            Some(settings.runs),
        )?;
    }
    Ok(())
}
