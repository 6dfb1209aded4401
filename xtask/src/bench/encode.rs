//! Token ids to vectors, in three shapes, three workloads and three types, against PyTorch, ONNX Runtime and OpenVINO.
//! Weights are random: only the number of operations counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Settings, build_engine, json_line, median, number, record, seconds};
use crate::{cargo, option, root};

pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) vocabulary: usize,
    layers: f64,
    width: f64,
    feed_forward: f64,
}

pub(super) const SHAPES: [Shape; 3] = [
    Shape { name: "minilm", vocabulary: 30_522, layers: 6.0, width: 384.0, feed_forward: 1536.0 },
    Shape { name: "e5-small", vocabulary: 250_037, layers: 12.0, width: 384.0, feed_forward: 1536.0 },
    Shape { name: "xlmr-large", vocabulary: 250_002, layers: 24.0, width: 1024.0, feed_forward: 4096.0 },
];
const WORKLOADS: [&str; 3] = ["faq", "passage", "single"];
const TYPES: [&str; 3] = ["f32", "bf16", "int8"];
/// Peers, their script, and the types that each has.
const PEERS: [(&str, &str, &[&str]); 3] = [
    ("pytorch", "engines/pytorch_encode.py", &["f32", "bf16"]),
    ("onnxruntime", "engines/onnxruntime_encode.py", &["f32", "int8"]),
    ("openvino", "engines/openvino_encode.py", &["f32", "bf16", "int8"]),
];
const OURS: &str = "sentir";
/// Its matrix products without the rest, by an example of the kernels.
const PRODUCTS: &str = "sentir, products alone";
/// Tokens of a batch of ours on two threads.
const BATCH: f64 = 512.0;

impl Shape {
    /// Numbers in the matrices of all layers.
    fn weights(&self) -> f64 {
        self.layers * (4.0 * self.width * self.width + 2.0 * self.width * self.feed_forward)
    }

    /// Operations for sentences of these lengths, padding not counted; a multiply-add is two.
    pub(super) fn operations(&self, lengths: &[f64]) -> f64 {
        let attention = |length: &f64| 2.0 * length * self.width * self.layers;
        lengths.iter().map(|length| 2.0 * length * (self.weights() + attention(length))).sum()
    }
}

/// The runs of one engine in one type on one workload.
type Cells = BTreeMap<(&'static str, &'static str, &'static str), Vec<Value>>;

/// Runs it. Options: `--shape`, `--workload`, `--dtype` and `--peers`, each with a list separated by commas.
pub(super) fn run(settings: &Settings, arguments: &[&str]) -> Result<()> {
    let chosen = |name: &str, known: &[&'static str]| -> Result<Vec<&'static str>> {
        let Some(list) = option(arguments, name)? else { return Ok(known.to_vec()) };
        let find = |one: &str| known.iter().copied().find(|&known| known == one);
        list.split(',').map(|one| find(one).with_context(|| format!("{name} {one}: use {known:?}"))).collect()
    };
    let shapes = chosen("--shape", &SHAPES.map(|shape| shape.name))?;
    let (workloads, types) = (chosen("--workload", &WORKLOADS)?, chosen("--dtype", &TYPES)?);
    let peers = chosen("--peers", &PEERS.map(|(name, ..)| name))?;
    build_engine("encode_engine")?;
    for example in ["peak", "products"] {
        cargo(&["build", "--release", "-p", "sentir-kernels", "--example", example], &[])?;
    }
    for shape in SHAPES.iter().filter(|shape| shapes.contains(&shape.name)) {
        one_shape(settings, shape, &workloads, &types, &peers)?;
    }
    Ok(())
}

fn one_shape(
    settings: &Settings,
    shape: &Shape,
    workloads: &[&'static str],
    types: &[&'static str],
    peers: &[&'static str],
) -> Result<()> {
    let (model, onnx) = prepare(settings, shape)?;
    let mut lengths: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for &workload in workloads {
        let path = workload_file(settings, shape, workload)?;
        let ids: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let own = ids["ids"].as_array().context("no ids")?;
        lengths.insert(
            workload,
            own.iter().map(|ids| ids.as_array().map_or(0.0, |ids| ids.len() as f64)).collect(),
        );
    }
    let (mut cells, mut peaks) = (Cells::new(), Vec::new());
    let mut versions = BTreeMap::new();
    for round in 1..=settings.runs {
        let mut peak = std::process::Command::new(root().join("target/release/examples/peak"));
        peaks.push(json_line(peak.args([&settings.threads.to_string(), "--json"]))?);
        for &workload in workloads {
            let file = workload_file(settings, shape, workload)?;
            for &dtype in types {
                let mut command = settings.engine("encode_engine");
                command.arg("--model").arg(&model).arg("--workload").arg(&file).args(["--dtype", dtype]);
                cells.entry((workload, dtype, OURS)).or_default().push(json_line(&mut command)?);
                let alone = products(settings, shape, lengths[workload].iter().sum(), dtype)?;
                cells.entry((workload, dtype, PRODUCTS)).or_default().push(alone);
                for (name, script, own) in PEERS {
                    if !own.contains(&dtype) || !peers.contains(&name) {
                        continue;
                    }
                    let mut command = settings.script(script);
                    command.arg("--model").arg(&model).arg("--workload").arg(&file).args(["--dtype", dtype]);
                    command.args(["--threads", &settings.threads.to_string()]);
                    if name != "pytorch" {
                        command.arg("--onnx").arg(&onnx);
                    }
                    let line = json_line(&mut command)?;
                    versions.extend(line["versions"].as_object().cloned().unwrap_or_default());
                    cells.entry((workload, dtype, name)).or_default().push(line);
                }
            }
            println!("{}, round {round}, {workload}: done", shape.name);
        }
    }
    let peak =
        |dtype: &str| median(peaks.iter().filter_map(|peak| peak["peak_gflops"][dtype].as_f64()).collect());
    let mut table = String::new();
    for &workload in workloads {
        write_table(&mut table, shape, workload, &lengths[workload], &cells, &peak)?;
    }
    let own: Vec<String> = types.iter().map(|dtype| format!("{dtype} {:.0}", peak(dtype))).collect();
    let isa = peaks[0]["isa"].as_str().unwrap_or_default();
    writeln!(
        table,
        "Peak of the machine in the same run, the median of a second of multiply-adds in registers (of AMX, of tiles from the level-1 cache, f32 as three\n\
         bf16), Gop/s: {} ({isa}).\n\
         Useful: operations of the sentences without padding. \"At peak\": how much faster than this engine sentir would be if it did nothing but\n\
         multiply-adds at that peak. \"Products alone\": the matrix products of the same tokens in batches of the same size, with\n\
         nothing between them, and which part of sentir's time they take; they bound what all else could gain. Memory is the most that the process had.",
        own.join(", ")
    )?;
    if workloads.contains(&"single") {
        let bandwidth = median(peaks.iter().filter_map(|peak| peak["read_gbytes"].as_f64()).collect());
        let read =
            |(dtype, bytes): (&str, f64)| format!("{dtype} {:.1}", bytes * shape.weights() / bandwidth / 1e6);
        let read = [("f32", 4.0), ("bf16", 2.0), ("int8", 1.0)].map(read).join(", ");
        writeln!(
            table,
            "\nMemory in the same run, in large pages, read by all threads: {bandwidth:.1} GB/s. The matrices of all layers come from it in, ms: {read}. A single sentence needs\n\
             them all once, unless they fit into a cache."
        )?;
    }
    let one = if let [workload] = workloads { format!("-{workload}") } else { String::new() };
    record(&format!("encode-{}{one}", shape.name), &table, settings, &json!(versions), Some(settings.runs))
}

/// The products that so many tokens need, as a run of an engine.
fn products(settings: &Settings, shape: &Shape, tokens: f64, dtype: &str) -> Result<Value> {
    let batches = (tokens / BATCH).ceil();
    let sizes = [shape.layers, shape.width, shape.feed_forward, (tokens / batches).round()];
    let mut command = std::process::Command::new(root().join("target/release/examples/products"));
    command.args(sizes.map(|size| size.to_string())).args([&settings.threads.to_string(), dtype]);
    let batch = json_line(&mut command)?["batch_seconds"].as_f64().context("no seconds")?;
    Ok(json!({ "encode_seconds": [batch * batches] }))
}

fn write_table(
    table: &mut String,
    shape: &Shape,
    workload: &str,
    lengths: &[f64],
    cells: &Cells,
    peak: &impl Fn(&str) -> f64,
) -> Result<()> {
    let time = |runs: &[Value]| median(runs.iter().map(seconds).collect());
    writeln!(table, "## {workload}\n")?;
    writeln!(
        table,
        "| type | engine | sentences/s | tokens/s | ms | useful Gop/s | % of peak | sentir is × faster | at peak × | memory, MB | load, s |"
    )?;
    writeln!(table, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for ((own, dtype, engine), runs) in cells.iter().filter(|((own, ..), _)| *own == workload) {
        let taken = time(runs);
        let speed = shape.operations(lengths) / taken / 1e9;
        let ours = cells.get(&(*own, *dtype, OURS)).map_or(f64::NAN, |runs| time(runs));
        let unless =
            |engines: &[&str], text: String| if engines.contains(engine) { "—".to_owned() } else { text };
        let ratio = unless(&[OURS], format!("{:.2}", taken / ours));
        let most = unless(&[OURS, PRODUCTS], format!("{:.2}", peak(dtype) / speed));
        let memory = unless(&[PRODUCTS], format!("{:.0}", number(runs, "peak_rss_bytes") / 1e6));
        let load = unless(&[PRODUCTS], format!("{:.2}", number(runs, "load_seconds")));
        writeln!(
            table,
            "| {dtype} | {engine} | {:.1} | {:.0} | {:.2} | {speed:.0} | {:.0} | {ratio} | {most} | {memory} | {load} |",
            lengths.len() as f64 / taken,
            lengths.iter().sum::<f64>() / taken,
            taken * 1e3,
            100.0 * speed / peak(dtype),
        )?;
    }
    writeln!(table)?;
    Ok(())
}

/// A model of this shape, made if it is not there yet.
pub(super) fn random_model(settings: &Settings, shape: &str) -> Result<PathBuf> {
    let model = settings.work.join(shape);
    if !model.exists() {
        let mut command = settings.script("engines/make_shape.py");
        json_line(command.args(["--shape", shape, "--output"]).arg(&model))?;
    }
    Ok(model)
}

/// The model and its export, made if they are not there yet.
fn prepare(settings: &Settings, shape: &Shape) -> Result<(PathBuf, PathBuf)> {
    let (model, onnx) =
        (random_model(settings, shape.name)?, settings.work.join(format!("{}-onnx", shape.name)));
    if !onnx.exists() {
        let mut command = settings.script("engines/export_onnx.py");
        crate::run(command.arg("--model").arg(&model).arg("--output").arg(&onnx))?;
    }
    if !onnx.is_dir() {
        bail!("{}: the export is not there", onnx.display());
    }
    Ok((model, onnx))
}

pub(super) fn workload_file(settings: &Settings, shape: &Shape, workload: &str) -> Result<PathBuf> {
    let path = settings.work.join(format!("{workload}-{}.json", shape.vocabulary));
    if !Path::new(&path).exists() {
        let mut command = settings.script("workloads.py");
        command.args(["--workload", workload, "--vocab-size", &shape.vocabulary.to_string(), "--output"]);
        crate::run(command.arg(&path))?;
    }
    Ok(path)
}
