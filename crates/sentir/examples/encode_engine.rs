//! Measures sentir as `benchmarks/engines/sentence_transformers_encode.py` measures sentence-transformers: seconds to encode a file
//! of texts, one a line. Prints one JSON line with the same keys.
//!
//!     cargo run --release -p sentir --example encode_engine -- MODEL TEXTS THREADS REPEAT OUTPUT

#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use sentir::{EncodeOptions, Rows, SentenceTransformer};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, texts, threads, repeat, output] = arguments.as_slice() else {
        return Err("usage: encode_engine MODEL TEXTS THREADS REPEAT OUTPUT".into());
    };
    let (threads, repeat): (usize, usize) = (threads.parse()?, repeat.parse()?);
    let texts = std::fs::read_to_string(texts)?;
    let texts: Vec<&str> = texts.lines().collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let started = Instant::now();
        let model = SentenceTransformer::load(model)?;
        let load_seconds = started.elapsed().as_secs_f64();
        let options = EncodeOptions::default();
        let mut embeddings = model.encode(&texts[..texts.len().min(32)], &options)?.embeddings;
        let mut seconds = Vec::new();
        for _ in 0..repeat {
            let begun = Instant::now();
            embeddings = model.encode(&texts, &options)?.embeddings;
            seconds.push(begun.elapsed().as_secs_f64());
        }
        write_npy(output, &embeddings)?;
        println!(
            r#"{{"engine": "sentir", "dtype": "float32", "texts": {}, "dimensions": {}, "threads": {threads}, "encode_seconds": {seconds:?}, "load_seconds": {load_seconds}, "peak_rss_bytes": {}}}"#,
            texts.len(),
            embeddings.width(),
            peak_memory().unwrap_or(0)
        );
        Ok(())
    })
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
