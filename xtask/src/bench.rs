//! Measurements against others, side by side in one run. Figures go to `benchmarks/record/`, with the command that gives them.
//! Timings are not tests: nothing here fails because something was slow.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, option, root, run as run_command};

/// What both benchmarks take.
struct Settings {
    python: String,
    model: PathBuf,
    runs: usize,
    threads: usize,
    work: PathBuf,
}

/// `encode` or `xlmr-large`, with options.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let number = |name: &str, default: usize| -> Result<usize> {
        option(arguments, name)?
            .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} {text}")))
    };
    let settings = Settings {
        python: option(arguments, "--python")?.unwrap_or(".venv/bin/python").to_owned(),
        model: option(arguments, "--model")?
            .map_or_else(|| root().join("models/all-MiniLM-L6-v2"), PathBuf::from),
        runs: number("--runs", 5)?,
        threads: number("--threads", std::thread::available_parallelism()?.get())?,
        work: root().join("target/bench"),
    };
    std::fs::create_dir_all(&settings.work)?;
    match arguments.first() {
        Some(&"encode") => encode(&settings),
        Some(&"xlmr-large") => xlmr_large(&settings),
        _ => bail!("which benchmark: encode or xlmr-large?"),
    }
}

/// 5,000 short sentences: sentences per second, start of the process to the first vector, size of the binary.
fn encode(settings: &Settings) -> Result<()> {
    cargo(
        &["build", "--release", "-p", "sentir-cli", "-p", "sentir", "--bins", "--example", "encode_engine"],
        &[],
    )?;
    let texts = settings.work.join("stsb-5000.txt");
    run_command(
        Command::new(&settings.python)
            .arg(root().join("benchmarks/stsb_texts.py"))
            .arg("--output")
            .arg(&texts),
    )?;
    let (ours, theirs) = (settings.work.join("sentir.npy"), settings.work.join("sentence-transformers.npy"));
    let threads = settings.threads.to_string();

    let (mut sentir, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=settings.runs {
        let mut command = Command::new(root().join("target/release/examples/encode_engine"));
        command.arg(&settings.model).arg(&texts).args([&threads, "1"]).arg(&ours);
        sentir.push(json_line(&mut command)?);
        let mut command = Command::new(&settings.python);
        command.arg(root().join("benchmarks/engines/sentence_transformers_encode.py"));
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

    let rate = |runs: &[Value]| {
        runs[0]["texts"].as_f64().unwrap_or(0.0) / median(runs.iter().map(seconds).collect())
    };
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
    record("encode", &table, settings, &peer[0]["versions"])
}

/// Exactness on the shape of multilingual-e5-large, with random weights: 2.2 GB, made here and removed again.
fn xlmr_large(settings: &Settings) -> Result<()> {
    cargo(&["build", "--release", "-p", "sentir", "--example", "encode_engine"], &[])?;
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
    let mut command = Command::new(&settings.python);
    command.arg(root().join("benchmarks/engines/make_xlmr_large.py"));
    command
        .arg("--tokenizer")
        .arg(shared.join("tokenizers/xlm-roberta"))
        .arg("--texts")
        .arg(&texts)
        .arg("--output")
        .arg(&model);
    let made = json_line(&mut command)?;
    let ours = settings.work.join("xlmr-large.npy");
    let mut command = Command::new(root().join("target/release/examples/encode_engine"));
    command.arg(&model).arg(model.join("texts.txt")).args([&settings.threads.to_string(), "1"]).arg(&ours);
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
    record("xlmr-large", &table, settings, &made["versions"])
}

/// Prints a result and keeps it, with what is needed to get it again.
fn record(name: &str, table: &str, settings: &Settings, versions: &Value) -> Result<()> {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name))?;
        line.split(": ").nth(1).map(str::to_owned)
    };
    let processor = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let has = |flag: &&str| field("flags").is_some_and(|flags| flags.split(' ').any(|own| own == *flag));
    let sets: Vec<&str> =
        ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"].into_iter().filter(has).collect();
    let rust = Command::new("rustc").arg("--version").output()?.stdout;
    let text = format!(
        "# {name}\n\n{table}\nMachine: {processor}, {} threads used, {}. {}. Peers: {versions}. Medians of {} alternating runs.\n\n    cargo xtask bench {name} --python PATH --runs {}\n",
        settings.threads,
        sets.join(" "),
        String::from_utf8_lossy(&rust).trim(),
        settings.runs,
        settings.runs
    );
    println!("\n{text}");
    let (brand, mut folder) = (processor.to_lowercase(), String::new());
    brand.chars().for_each(|c| {
        if c.is_ascii_alphanumeric() {
            folder.push(c)
        } else if !folder.ends_with('-') {
            folder.push('-')
        }
    });
    let folder = root().join("benchmarks/record").join(format!(
        "{}-{}-threads",
        folder.trim_matches('-'),
        settings.threads
    ));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{name}.md")), text)?;
    Ok(())
}

fn seconds(run: &Value) -> f64 {
    median(run["encode_seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The last line of a program's output, as JSON.
fn json_line(command: &mut Command) -> Result<Value> {
    let output =
        command.output().with_context(|| format!("{:?} could not be started", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).context("the last line is not JSON")
}

/// Of two float32 matrices in NumPy's format.
fn largest_difference(a: &Path, b: &Path) -> Result<f32> {
    let values = |path: &Path| -> Result<Vec<f32>> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let header = bytes
            .get(8..10)
            .map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))
            .context("not an npy file")?;
        Ok(bytes[10 + header..].as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    };
    let (a, b) = (values(a)?, values(b)?);
    if a.len() != b.len() || a.is_empty() {
        bail!("{} and {} numbers cannot be compared", a.len(), b.len());
    }
    // NaN must not pass for a small difference.
    let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    Ok(differences.fold(0.0, |largest, x| if x > largest || x.is_nan() { x } else { largest }))
}
