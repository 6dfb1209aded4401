//! Measures exact search, mining and clustering as `benchmarks/engines/search_peers.py` does, over .npy files of float32. Prints one JSON
//! line; `--output` keeps what was found, to compare.
//!
//!     cargo run --release -p sentir --example search_engine -- --task search|search-int8|search-ubinary|mine|kmeans
//!         --vectors FILE [--queries FILE] [--top-k N] [--max-pairs N] [--clusters N] [--threads N] [--output FILE]
//!
//! Compressed vectors are what `benchmarks/engines/make_vectors.py --precision` writes; candidates are scored again by what they stand for.

#![allow(clippy::print_stdout)]

mod engine;

use std::time::Instant;

use sentir::cluster::kmeans::{KMeansOptions, kmeans};
use sentir::mine::{MineOptions, paraphrase_mining};
use sentir::quantized::{Compressed, QuantizedSearchOptions, quantized_search};
use sentir::{Hit, Ranges, Rows, SearchOptions, search};
use serde_json::{Value, json};

use engine::{Arguments, Result, peak_memory};

fn main() -> Result<()> {
    let arguments = Arguments::read();
    rayon::ThreadPoolBuilder::new().num_threads(arguments.number("--threads", 2)?).build_global()?;
    let path = arguments.needed("--vectors")?;
    let task = arguments.needed("--task")?;
    let ids = |hits: Vec<Vec<Hit>>| -> Value {
        json!(hits.iter().map(|hits| hits.iter().map(|hit| hit.index).collect()).collect::<Vec<Vec<_>>>())
    };
    let (begun, rows, mut inertia): (Instant, usize, Option<f64>);
    inertia = None;
    let top_k = arguments.number("--top-k", 10)?;
    let found: Value = match task {
        "search" => {
            let vectors = load(path)?;
            rows = vectors.rows();
            let queries = load(arguments.needed("--queries")?)?;
            begun = Instant::now();
            ids(search(&queries, &vectors, &SearchOptions { top_k, ..SearchOptions::default() })?)
        }
        "search-int8" | "search-ubinary" => {
            let (bytes, header, width) = read(path)?;
            let bytes = &bytes[header..];
            rows = bytes.len() / width;
            let queries = load(arguments.needed("--queries")?)?;
            let signed: Vec<i8>;
            let (corpus, ranges) = if task == "search-int8" {
                signed = bytes.iter().map(|byte| byte.cast_signed()).collect();
                (Compressed::Int8(&signed), Some(Ranges::from_matrix(&load(&format!("{path}.ranges.npy"))?)?))
            } else {
                (Compressed::Ubinary(bytes), None)
            };
            begun = Instant::now();
            let options =
                QuantizedSearchOptions { top_k, rescore_multiplier: 4, ..QuantizedSearchOptions::default() };
            ids(quantized_search(&queries, corpus, ranges.as_ref(), &options, &|_| true)?)
        }
        "kmeans" => {
            let vectors = load(path)?;
            rows = vectors.rows();
            let options = KMeansOptions {
                n_clusters: arguments.number("--clusters", 256)?,
                ..KMeansOptions::default()
            };
            begun = Instant::now();
            let found = kmeans(&vectors, &options, &mut |_| true)?;
            inertia = Some(found.inertia);
            json!(found.iterations)
        }
        "mine" => {
            let vectors = load(path)?;
            rows = vectors.rows();
            let max_pairs = arguments.number("--max-pairs", MineOptions::default().max_pairs)?;
            begun = Instant::now();
            let pairs = paraphrase_mining(
                &vectors,
                &MineOptions { max_pairs, ..MineOptions::default() },
                &mut |_, _| true,
            )?;
            json!(pairs.iter().map(|pair| json!([pair.score, pair.first, pair.second])).collect::<Vec<_>>())
        }
        other => return Err(format!("--task {other}").into()),
    };
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(path) = arguments.option("--output") {
        std::fs::write(path, found.to_string())?;
    }
    let line = json!({
        "engine": "sentir", "task": task, "rows": rows, "seconds": seconds, "inertia": inertia,
        "isa": sentir::isa().name(), "peak_rss_bytes": peak_memory(),
    });
    println!("{line}");
    Ok(())
}

/// A matrix of float32 in NumPy's format.
fn load(path: &str) -> Result<Rows> {
    let (bytes, header, width) = read(path)?;
    let values = bytes[header..].as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
    Ok(Rows::new(values.collect(), width)?)
}

/// A file in NumPy's format: its bytes, where its numbers begin, and how many stand in a row.
fn read(path: &str) -> Result<(Vec<u8>, usize, usize)> {
    let bytes = std::fs::read(path)?;
    let header = bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).ok_or("no .npy")?;
    let text = std::str::from_utf8(bytes.get(10..10 + header).ok_or("no header")?)?;
    let shape = text.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).ok_or("no shape")?;
    let width = shape.split(',').nth(1).ok_or("no matrix")?.trim().parse()?;
    Ok((bytes, 10 + header, width))
}
