//! Search, mining and k-means over vectors that a script makes, against FAISS, sentence-transformers, numpy and scikit-learn; and how time and memory
//! grow with the number of vectors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Settings, build_engine, json_line, median, number, record};
use crate::option;

/// Tasks, and the peers of each.
const TASKS: [(&str, &str, &[&str]); 3] = [
    ("search", "the 10 best of a million for 1,000 queries", &["faiss", "sentence-transformers", "numpy"]),
    ("mine", "pairs of 200,000, at most 500,000", &["sentence-transformers"]),
    ("kmeans", "256 clusters of a million", &["faiss", "scikit-learn"]),
];

/// Runs it. Options: `--task search|mine|kmeans|scale`, all but scale if not given.
pub(super) fn run(settings: &Settings, arguments: &[&str]) -> Result<()> {
    let wanted = option(arguments, "--task")?;
    build_engine("search_engine")?;
    if wanted == Some("scale") {
        return scale(settings);
    }
    for (task, about, peers) in TASKS {
        if wanted.is_none_or(|wanted| wanted == task) {
            compare(settings, task, about, peers)?;
        }
    }
    Ok(())
}

/// Vectors, made once.
fn vectors(settings: &Settings, rows: usize, seed: usize, precision: &str) -> Result<PathBuf> {
    let path = settings.work.join(format!("vectors-{rows}-{seed}-{precision}.npy"));
    if !path.exists() {
        let mut command = settings.script("engines/make_vectors.py");
        command.args(["--rows", &rows.to_string(), "--seed", &seed.to_string(), "--precision", precision]);
        let status = command.arg("--output").arg(&path).status().context("Python could not be started")?;
        if !status.success() {
            bail!("the vectors could not be made");
        }
    }
    Ok(path)
}

fn compare(settings: &Settings, task: &str, about: &str, peers: &[&str]) -> Result<()> {
    let rows = if task == "mine" { 200_000 } else { 1_000_000 };
    let corpus = vectors(settings, rows, 1, "float32")?;
    let queries = vectors(settings, 1000, 2, "float32")?;
    let mut runs: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut versions = BTreeMap::new();
    let found = |engine: &str| settings.work.join(format!("found-{task}-{engine}.json"));
    for round in 1..=settings.runs {
        for engine in [&["sentir"], peers].concat() {
            let mut command = if engine == "sentir" {
                settings.engine("search_engine")
            } else {
                let mut command = settings.script("engines/search_peers.py");
                command.args(["--engine", engine, "--threads", &settings.threads.to_string()]);
                command
            };
            command.args(["--task", task]).arg("--vectors").arg(&corpus).arg("--output").arg(found(engine));
            if task == "search" {
                command.arg("--queries").arg(&queries);
            }
            let line = json_line(&mut command)?;
            versions.extend(line["versions"].as_object().cloned().unwrap_or_default());
            runs.entry(engine).or_default().push(line);
            println!("{task}, round {round}, {engine}: done");
        }
    }
    let ours = number(&runs["sentir"], "seconds");
    let mut table = format!("{about}, 384 dimensions.\n\n");
    writeln!(table, "| engine | s | sentir is × faster | memory, GB | inertia |")?;
    writeln!(table, "|---|---|---|---|---|")?;
    for (engine, own) in &runs {
        let seconds = number(own, "seconds");
        let ratio = if *engine == "sentir" { "—".to_owned() } else { format!("{:.2}", seconds / ours) };
        let inertia =
            own[0]["inertia"].as_f64().map_or("—".to_owned(), |_| format!("{:.0}", number(own, "inertia")));
        let memory = number(own, "peak_rss_bytes") / 1e9;
        writeln!(table, "| {engine} | {seconds:.2} | {ratio} | {memory:.1} | {inertia} |")?;
    }
    if task != "kmeans" {
        let read = |engine: &str| -> Result<Value> {
            Ok(serde_json::from_str(&std::fs::read_to_string(found(engine))?)?)
        };
        let own = read("sentir")?;
        for peer in peers {
            writeln!(table, "\n{}", agreement(task, &own, &read(peer)?, peer))?;
        }
    }
    if task == "search" {
        let adding: Vec<f64> = runs["faiss"].iter().filter_map(|run| run["index_seconds"].as_f64()).collect();
        writeln!(
            table,
            "\nFAISS has copied the vectors into its index before ({:.2} s, not counted).",
            median(adding)
        )?;
    }
    record(&format!("vectors-{task}"), &table, settings, &json!(versions), Some(settings.runs))
}

/// How far two results are the same.
fn agreement(task: &str, ours: &Value, theirs: &Value, peer: &str) -> String {
    let lists = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (ours, theirs) = (lists(ours), lists(theirs));
    if task == "search" {
        let same = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
        return format!("Of {} lists, {same} are those of {peer}, in the same order.", ours.len());
    }
    let pairs = |list: &[Value]| -> std::collections::BTreeSet<(u64, u64)> {
        list.iter().filter_map(|pair| Some((pair[1].as_u64()?, pair[2].as_u64()?))).collect()
    };
    let common = pairs(&ours).intersection(&pairs(&theirs)).count();
    format!(
        "Of {} pairs, {common} are those of {peer}; the others score as the last one, to rounding.",
        ours.len()
    )
}

/// Time and memory as the number of vectors grows; ten million only compressed.
fn scale(settings: &Settings) -> Result<()> {
    let queries = vectors(settings, 1000, 2, "float32")?;
    let mut table = String::from("The 10 best for 1,000 queries, 384 dimensions.\n\n");
    writeln!(table, "| vectors | stored as | s | queries/s | memory, GB |")?;
    writeln!(table, "|---|---|---|---|---|")?;
    for (rows, precision) in [
        (10_000, "float32"),
        (100_000, "float32"),
        (1_000_000, "float32"),
        (1_000_000, "int8"),
        (1_000_000, "ubinary"),
        (10_000_000, "int8"),
        (10_000_000, "ubinary"),
    ] {
        let corpus = vectors(settings, rows, 1, precision)?;
        let task = if precision == "float32" { "search".to_owned() } else { format!("search-{precision}") };
        let mut runs = Vec::new();
        for _ in 0..settings.runs {
            let mut command = settings.engine("search_engine");
            command.args(["--task", &task]).arg("--vectors").arg(&corpus).arg("--queries").arg(&queries);
            runs.push(json_line(&mut command)?);
        }
        let seconds = number(&runs, "seconds");
        let memory = number(&runs, "peak_rss_bytes") / 1e9;
        writeln!(table, "| {rows} | {precision} | {seconds:.2} | {:.0} | {memory:.2} |", 1000.0 / seconds)?;
        println!("{rows} {precision}: done");
    }
    writeln!(
        table,
        "\nMemory holds the file twice: as read, and as numbers. Compressed vectors are scored again, 40 candidates a query."
    )?;
    record("vectors-scale", &table, settings, &Value::Null, Some(settings.runs))
}
