//! Measures sentir as the scripts in `benchmarks/engines/` measure others: seconds to encode a file of texts, one a line, or a
//! workload of token ids (`benchmarks/workloads.py`). Prints one JSON line; `benchmarks/README.md` names the keys.
//!
//!     cargo run --release -p sentir --example encode_engine -- --model DIR (--texts FILE | --workload FILE)
//!         [--dtype f32|bf16|int8] [--threads N] [--repeat N] [--batch-tokens N] [--output FILE.npy]

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use sentir::{EncodeOptions, Encoded, LoadOptions, Rows, SentenceTransformer, WeightType};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often a single sentence is encoded for one figure, which is the median.
const SINGLES: usize = 50;

enum Input {
    Texts(Vec<String>),
    Ids(String, Vec<Vec<u32>>),
}

impl Input {
    fn encode(&self, model: &SentenceTransformer, options: &EncodeOptions<'_>) -> Result<Encoded> {
        Ok(match self {
            Self::Texts(texts) => model.encode(texts, options)?,
            Self::Ids(_, ids) => model.encode_ids(ids, options)?,
        })
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let number = |name: &str, default: usize| option(name).map_or(Ok(default), str::parse);
    let input = match (option("--texts"), option("--workload")) {
        (Some(path), None) => {
            Input::Texts(std::fs::read_to_string(path)?.lines().map(str::to_owned).collect())
        }
        (None, Some(path)) => {
            let workload: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
            let name = workload["name"].as_str().unwrap_or_default().to_owned();
            Input::Ids(name, serde_json::from_value(workload["ids"].clone())?)
        }
        _ => return Err("give --texts or --workload".into()),
    };
    let name = option("--dtype").unwrap_or("f32");
    let known = WeightType::ALL.into_iter().find(|(_, known)| *known == name);
    let (dtype, _) = known.ok_or("--dtype is f32, bf16 or int8")?;
    let (threads, repeat) = (number("--threads", 2)?, number("--repeat", 1)?);
    let model = option("--model").ok_or("give --model")?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let started = Instant::now();
    let model =
        SentenceTransformer::load_with(model, &LoadOptions { dtype: Some(dtype), ..Default::default() })?;
    let load_seconds = started.elapsed().as_secs_f64();
    let batch_tokens = option("--batch-tokens").map(str::parse).transpose()?;
    let options = EncodeOptions { batch_tokens, ..Default::default() };
    let (workload, count, tokens, warm_up) = match &input {
        Input::Texts(texts) => ("texts", texts.len(), None, Input::Texts(first(texts))),
        Input::Ids(name, ids) => {
            let tokens = ids.iter().map(Vec::len).sum::<usize>();
            (name.as_str(), ids.len(), Some(tokens), Input::Ids(String::new(), first(ids)))
        }
    };
    let mut embeddings = warm_up.encode(&model, &options)?.embeddings;
    let mut seconds = Vec::new();
    for _ in 0..repeat {
        let mut runs = Vec::new();
        for _ in 0..if count == 1 { SINGLES } else { 1 } {
            let begun = Instant::now();
            embeddings = input.encode(&model, &options)?.embeddings;
            runs.push(begun.elapsed().as_secs_f64());
        }
        runs.sort_by(f64::total_cmp);
        seconds.push(runs[runs.len() / 2]);
    }
    if let Some(path) = option("--output") {
        write_npy(path, &embeddings)?;
    }
    let line = json!({
        "engine": "sentir",
        "dtype": name,
        "isa": sentir::isa().name(),
        "workload": workload,
        "sentences": count,
        "tokens": tokens,
        "dimensions": embeddings.width(),
        "threads": threads,
        "encode_seconds": seconds,
        "load_seconds": load_seconds,
        "peak_rss_bytes": peak_memory(),
    });
    println!("{line}");
    Ok(())
}

fn first<T: Clone>(all: &[T]) -> Vec<T> {
    all[..all.len().min(64)].to_vec()
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// NumPy's format 1.0.
fn write_npy(path: &str, rows: &Rows) -> std::io::Result<()> {
    let [n, width] = rows.shape();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {width}), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(padded as u16).to_le_bytes())?;
    writeln!(file, "{header:<width$}", width = padded - 1)?;
    rows.as_slice().iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))?;
    file.flush()
}
