//! Measurements against others, side by side in one run. Figures go to `benchmarks/record/`, with the command that gives them.
//! Timings are not tests: nothing here fails because something was slow.
//!
//! Here is what the benchmarks share: settings, medians, the record. Each benchmark is a file.

mod encode;
mod finetune;
mod search;
mod tasks;
mod texts;
mod train;
mod xlmr_large;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, option, root};

/// What all benchmarks take.
struct Settings {
    python: String,
    model: PathBuf,
    runs: usize,
    threads: usize,
    work: PathBuf,
    /// The command as it was given, without the path of Python.
    command: String,
}

/// `encode`, `finetune`, `search`, `tasks`, `texts`, `train` or `xlmr-large`, with options.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let number = |name: &str, default: usize| -> Result<usize> {
        option(arguments, name)?
            .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} {text}")))
    };
    let python = option(arguments, "--python")?.unwrap_or(".venv/bin/python").to_owned();
    let shown = arguments.iter().map(|&argument| if argument == python { "PATH" } else { argument });
    let settings = Settings {
        model: option(arguments, "--model")?
            .map_or_else(|| root().join("models/all-MiniLM-L6-v2"), PathBuf::from),
        runs: number("--runs", 5)?,
        threads: number("--threads", std::thread::available_parallelism()?.get())?,
        work: root().join("target/bench"),
        command: format!("cargo xtask bench {}", shown.collect::<Vec<_>>().join(" ")),
        python,
    };
    std::fs::create_dir_all(&settings.work)?;
    match arguments.first() {
        Some(&"encode") => encode::run(&settings, arguments),
        Some(&"finetune") => finetune::run(&settings, arguments),
        Some(&"search") => search::run(&settings, arguments),
        Some(&"tasks") => tasks::run(&settings, arguments),
        Some(&"texts") => texts::run(&settings),
        Some(&"train") => train::run(&settings, arguments),
        Some(&"xlmr-large") => xlmr_large::run(&settings),
        _ => bail!("which benchmark: encode, finetune, search, tasks, texts, train or xlmr-large?"),
    }
}

impl Settings {
    /// A program of Python in `benchmarks/`.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(root().join("benchmarks").join(name));
        command
    }

    /// sentir as an engine, one of the examples. Built before.
    fn engine(&self, example: &str) -> Command {
        let mut command = Command::new(root().join("target/release/examples").join(example));
        command.args(["--threads", &self.threads.to_string()]);
        command
    }
}

fn build_engine(example: &str) -> Result<()> {
    cargo(&["build", "--release", "-p", "sentir", "--example", example], &[])
}

fn cpu_field(name: &str) -> Option<String> {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = information.lines().find(|line| line.starts_with(name))?;
    line.split(": ").nth(1).map(str::to_owned)
}

/// Whether the processor shows this feature.
fn has_flag(flag: &str) -> bool {
    cpu_field("flags").is_some_and(|flags| flags.split(' ').any(|own| own == flag))
}

/// Its name; a virtual machine often shows a brand only, under which generations differ by a factor of two, so family and model as well.
fn processor() -> String {
    let mut name = cpu_field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    for (word, field) in [("family", "cpu family"), ("model", "model\t")] {
        if let Some(number) = cpu_field(field) {
            name.push_str(&format!(", {word} {number}"));
        }
    }
    name
}

/// Where the records of this machine are.
fn record_folder(settings: &Settings) -> Result<PathBuf> {
    let (brand, mut folder) = (processor().to_lowercase(), String::new());
    brand.chars().for_each(|c| {
        if c.is_ascii_alphanumeric() {
            folder.push(c)
        } else if !folder.ends_with('-') {
            folder.push('-')
        }
    });
    // Virtual machines of one processor show its matrix unit or hide it.
    let unit = if has_flag("amx_bf16") { "-amx" } else { "" };
    let folder = format!("{}{unit}-{}-threads", folder.trim_matches('-'), settings.threads);
    let folder = root().join("benchmarks/record").join(folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Prints a result and keeps it among those of this machine.
fn record(name: &str, table: &str, settings: &Settings, versions: &Value, runs: Option<usize>) -> Result<()> {
    record_in(&record_folder(settings)?, name, table, settings, versions, runs)
}

/// Prints a result and keeps it, with what is needed to get it again.
fn record_in(
    folder: &Path,
    name: &str,
    table: &str,
    settings: &Settings,
    versions: &Value,
    runs: Option<usize>,
) -> Result<()> {
    let processor = processor();
    let sets: Vec<&str> = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"]
        .into_iter()
        .filter(|flag| has_flag(flag))
        .collect();
    let rust = Command::new("rustc").arg("--version").output()?.stdout;
    let medians = runs.map_or(String::new(), |runs| format!(" Medians of {runs} alternating runs."));
    let text = format!(
        "# {name}\n\n{table}\nMachine: {processor}, {} threads used, {}. {}. Peers: {versions}.{medians}\n\n    {}\n",
        settings.threads,
        sets.join(" "),
        String::from_utf8_lossy(&rust).trim(),
        settings.command
    );
    println!("\n{text}");
    std::fs::write(folder.join(format!("{name}.md")), text)?;
    Ok(())
}

fn seconds(run: &Value) -> f64 {
    median(run["encode_seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect())
}

/// The median of a number that each run has.
fn number(runs: &[Value], key: &str) -> f64 {
    median(runs.iter().filter_map(|run| run[key].as_f64()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A program's output as JSON, or the last line of it.
fn json_line(command: &mut Command) -> Result<Value> {
    let output =
        command.output().with_context(|| format!("{:?} could not be started", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(&text).or_else(|_| serde_json::from_str(last)).context("the last line is not JSON")
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
