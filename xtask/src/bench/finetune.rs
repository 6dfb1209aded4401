//! What fine-tuning gives on real questions: retrieval of the right one of 287 entries for 400 users' questions, after training on
//! 4,244 pairs, by several recipes and seeds, beside sentence-transformers with the same settings. Not a measurement of speed.
//!
//! A run takes from seconds to an hour, so every result is kept as a line of `finetune-rutube.jsonl` beside the table, and is
//! not computed again while its line is there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Settings, json_line, processor, record_in};
use crate::{cargo, option, root};

/// A recipe: its name, our arguments, and those of `sentence_transformers_finetune.py`, where it is run there too.
struct Recipe {
    name: &'static str,
    ours: &'static str,
    theirs: Option<&'static str>,
}

const OURS: &str = "sentir";
const THEIRS: &str = "sentence-transformers";
const ENGINES: [&str; 2] = [OURS, THEIRS];

impl Recipe {
    /// Each engine with its arguments, if it runs the recipe.
    fn of_engines(&self) -> [(&'static str, Option<&'static str>); 2] {
        [(OURS, Some(self.ours)), (THEIRS, self.theirs)]
    }
}

const MODEL: &str = "--model models/all-MiniLM-L6-v2";

const RECIPES: [Recipe; 5] = [
    Recipe { name: "static from scratch", ours: "--from-scratch static", theirs: None },
    Recipe { name: "transformer from scratch", ours: "--from-scratch transformer", theirs: None },
    Recipe {
        name: "plain: lr 2e-5, batch 64, 5 epochs",
        ours: "--epochs 5 --batch-size 64 --learning-rate 2e-5",
        theirs: Some("--epochs 5 --batch-size 64 --learning-rate 2e-5"),
    },
    Recipe {
        name: "lr 3e-4, warm-up 0.1, no_duplicates, batch 64, 5 epochs",
        ours: "--epochs 5 --batch-size 64 --learning-rate 3e-4 --set warmup_ratio=0.1 --set batch_sampler=no_duplicates",
        theirs: Some(
            "--epochs 5 --batch-size 64 --learning-rate 3e-4 --warmup-ratio 0.1 --batch-sampler no_duplicates",
        ),
    },
    Recipe {
        name: "GradCache: lr 2e-5, batch 512, 5 epochs",
        ours: "--loss cmnrl --loss-parameter mini_batch_size=64 --epochs 5 --batch-size 512 --learning-rate 2e-5",
        theirs: Some("--mini-batch-size 64 --epochs 5 --batch-size 512 --learning-rate 2e-5"),
    },
];

const METRICS: [&str; 3] = ["accuracy@1", "mrr@10", "ndcg@10"];

/// Runs it. Options: `--seeds 1,2,3`; `--recipe`, a part of names; `--engine sentir|sentence-transformers`; `--bf16` for ours.
pub(super) fn run(settings: &Settings, arguments: &[&str]) -> Result<()> {
    let data = root().join("../shared/data/rutube");
    if !data.is_dir() {
        println!("SKIPPED: ../shared/data/rutube is not there");
        return Ok(());
    }
    cargo(&["build", "--release", "-p", "sentir-cli"], &[])?;
    let wanted = option(arguments, "--recipe")?.unwrap_or("");
    let engine = option(arguments, "--engine")?;
    if !RECIPES.iter().any(|recipe| recipe.name.contains(wanted)) {
        bail!("--recipe {wanted}: use a part of one of {:?}", RECIPES.map(|recipe| recipe.name));
    }
    if let Some(other) = engine.filter(|engine| !ENGINES.contains(engine)) {
        bail!("--engine {other}: use one of {ENGINES:?}");
    }
    let seeds: Vec<u64> = option(arguments, "--seeds")?
        .unwrap_or("1,2,3")
        .split(',')
        .map(|seed| seed.parse().with_context(|| format!("--seeds {seed}")))
        .collect::<Result<_>>()?;
    let kept = folder().join("finetune-rutube.jsonl");
    for recipe in RECIPES.iter().filter(|recipe| recipe.name.contains(wanted)) {
        for seed in &seeds {
            for (name, given) in recipe.of_engines() {
                let Some(given) = given.filter(|_| engine.is_none_or(|engine| engine == name)) else {
                    continue;
                };
                let same = |line: &Value| {
                    line["engine"] == name && line["arguments"] == given && line["seed"] == json!(seed)
                };
                if read(&kept)?.iter().any(same) {
                    continue;
                }
                let mut line = if name == OURS {
                    ours(settings, &data, given, *seed)?
                } else {
                    theirs(settings, &data, given, *seed)?
                };
                line["engine"] = json!(name);
                line["arguments"] = json!(given);
                line["seed"] = json!(seed);
                line["machine"] = json!(processor());
                println!("{}, {name}, seed {seed}: {}", recipe.name, line["after"]);
                // Added in one write, and read anew above: two runs may go on beside each other.
                let mut file = std::fs::File::options().create(true).append(true).open(&kept)?;
                file.write_all(format!("{line}\n").as_bytes())?;
            }
        }
    }
    table(settings, &read(&kept)?)
}

/// The results that are there.
fn read(kept: &Path) -> Result<Vec<Value>> {
    match std::fs::read_to_string(kept) {
        Ok(text) => text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect(),
        Err(_) => Ok(Vec::new()),
    }
}

/// Not one of a machine: what a model has learned depends on it in the last bits only.
fn folder() -> PathBuf {
    root().join("benchmarks/record")
}

fn ours(settings: &Settings, data: &Path, given: &str, seed: u64) -> Result<Value> {
    // Kept: other measurements go on with it.
    let out =
        settings.work.join("finetune").join(format!("{}-seed-{seed}", given.replace(['-', ' ', '='], "")));
    std::fs::create_dir_all(settings.work.join("finetune"))?;
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new(root().join("target/release/sentir"));
    command.current_dir(root()).arg("train").args(given.split(' '));
    if !given.contains("--from-scratch") {
        command.args(MODEL.split(' '));
    }
    command.arg("--data").arg(data.join("pairs.jsonl")).args(["--columns", "anchor,positive"]);
    command.arg("--eval-queries").arg(data.join("cases-dev.jsonl"));
    command.arg("--eval-corpus").arg(data.join("kb.jsonl"));
    command.args(["--eval-field", "relevant=kb,document=question", "--set", "save_strategy=no"]);
    command
        .args(["--seed", &seed.to_string(), "--threads", &settings.threads.to_string(), "--out"])
        .arg(&out);
    let run = command.output()?;
    if !run.status.success() {
        bail!("{}", String::from_utf8_lossy(&run.stderr).trim().to_owned());
    }
    let log = std::fs::read_to_string(out.join("train_log.jsonl"))?;
    let entries: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let measured: Vec<&Value> = entries.iter().filter(|entry| entry["cosine_mrr@10"].is_number()).collect();
    let metrics = |entry: &Value| -> Value {
        METRICS.map(|name| (name.to_owned(), entry[format!("cosine_{name}")].clone())).into_iter().collect()
    };
    let (first, last) = (measured.first().context("nothing measured")?, measured[measured.len() - 1]);
    let seconds: f64 = entries.iter().filter_map(|entry| entry["seconds"].as_f64()).sum();
    Ok(json!({"before": metrics(first), "after": metrics(last), "train_seconds": seconds}))
}

fn theirs(settings: &Settings, data: &Path, given: &str, seed: u64) -> Result<Value> {
    let mut command = settings.script("engines/sentence_transformers_finetune.py");
    command.current_dir(root()).args(MODEL.split(' ')).args(given.split(' '));
    for (option, file) in
        [("--data", "pairs.jsonl"), ("--queries", "cases-dev.jsonl"), ("--corpus", "kb.jsonl")]
    {
        command.arg(option).arg::<PathBuf>(data.join(file));
    }
    command.args(["--seed", &seed.to_string(), "--threads", &settings.threads.to_string()]);
    // A run of more than an hour: if it is stopped, the next one goes on with it.
    let name = format!("sentence-transformers-{}-seed-{seed}", given.replace(['-', ' ', '='], ""));
    command.arg("--checkpoints").arg(settings.work.join("finetune").join(name));
    let mut line = json_line(&mut command)?;
    if let Some(line) = line.as_object_mut() {
        line.remove("losses");
    }
    Ok(line)
}

/// Means and standard deviations over seeds.
fn table(settings: &Settings, lines: &[Value]) -> Result<()> {
    let mut table = String::from(
        "The right one of 287 questions for 400 questions of users, after training on 4,244 pairs: mean ± standard deviation over seeds. \
         BM25 over words finds 0.306, 0.404 and 0.453 (on all 801 questions, of which these are half).\n\n\
         | recipe | engine | seeds | accuracy@1 | MRR@10 | nDCG@10 | training, s |\n|---|---|---|---|---|---|---|\n",
    );
    let all = |lines: &[&Value], part: &str, name: &str| -> Vec<f64> {
        lines.iter().filter_map(|line| line[part][name].as_f64()).collect()
    };
    let shown = |values: Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let spread = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        if spread.is_finite() { format!("{mean:.4} ± {spread:.4}") } else { format!("{mean:.4}") }
    };
    let of = |given: &str, name: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["engine"] == name && line["arguments"] == given).collect()
    };
    if let Some(line) =
        lines.iter().find(|line| !line["arguments"].as_str().unwrap_or("").contains("scratch"))
    {
        let [a, b, c] = METRICS.map(|name| shown(all(&[line], "before", name)));
        writeln!(table, "| all-MiniLM-L6-v2, not trained | | | {a} | {b} | {c} | |")?;
    }
    for recipe in &RECIPES {
        for (name, given) in recipe.of_engines() {
            let own = given.map(|given| of(given, name)).unwrap_or_default();
            if own.is_empty() {
                continue;
            }
            let [a, b, c] = METRICS.map(|name| shown(all(&own, "after", name)));
            let seconds: Vec<f64> = own.iter().filter_map(|line| line["train_seconds"].as_f64()).collect();
            let seconds = super::median(seconds);
            writeln!(table, "| {} | {name} | {} | {a} | {b} | {c} | {seconds:.0} |", recipe.name, own.len())?;
        }
    }
    table.push_str("\nTimes are not to be compared: other work ran beside, and machines differ (each line of the jsonl file names its own).\n");
    let versions = lines.iter().find(|line| !line["versions"].is_null());
    let versions = versions.map_or(&Value::Null, |line| &line["versions"]);
    record_in(&folder(), "finetune-rutube", &table, settings, versions, None)
}
