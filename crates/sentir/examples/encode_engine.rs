//! Measures sentir as the scripts in `benchmarks/engines/` measure others: seconds to encode a file of texts, one a line, or a
//! workload of token ids (`benchmarks/workloads.py`). Prints one JSON line; `benchmarks/README.md` names the keys.
//!
//!     cargo run --release -p sentir --example encode_engine -- --model DIR (--texts FILE | --workload FILE)
//!         [--dtype f32|bf16|int8] [--threads N] [--repeat N] [--batch-tokens N] [--output FILE.npy]

#![allow(clippy::print_stdout)]

mod engine;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use sentir::{EncodeOptions, Encoded, LoadOptions, Rows, SentenceTransformer, WeightType};
use serde_json::{Value, json};

use engine::{Arguments, Result, peak_memory};

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
    let arguments = Arguments::read();
    let input = match (arguments.option("--texts"), arguments.option("--workload")) {
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
    let name = arguments.option("--dtype").unwrap_or("f32");
    let known = WeightType::ALL.into_iter().find(|(_, known)| *known == name);
    let (dtype, _) = known.ok_or("--dtype is f32, bf16 or int8")?;
    let (threads, repeat) = (arguments.number("--threads", 2)?, arguments.number("--repeat", 1)?);
    let model = arguments.needed("--model")?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let started = Instant::now();
    let model =
        SentenceTransformer::load_with(model, &LoadOptions { dtype: Some(dtype), ..Default::default() })?;
    let load_seconds = started.elapsed().as_secs_f64();
    let batch_tokens = arguments.option("--batch-tokens").map(str::parse).transpose()?;
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
    if let Some(path) = arguments.option("--output") {
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
