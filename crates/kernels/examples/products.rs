//! How long the matrix products of an encoder take alone: what is left of its time is attention, layer norm, embeddings and the hand-over between
//! threads. Each layer has weights of its own, so that they come from memory as they do in an encoder.
//!
//! `cargo run --release -p sentir-kernels --example products -- LAYERS WIDTH FEED_FORWARD TOKENS THREADS f32|bf16|int8` prints the seconds of a
//! batch of so many tokens as one JSON line, the median of several.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use rayon::ThreadPoolBuilder;
use sentir_kernels::activation::Activation;
use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, gemm};

/// Seconds that are spent on it at least, and batches that are timed at least.
const SECONDS: f64 = 2.0;
const BATCHES: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "LAYERS WIDTH FEED_FORWARD TOKENS THREADS f32|bf16|int8";
    let number = |at: usize| arguments.get(at).and_then(|number| number.parse().ok()).expect(usage);
    let [layers, width, feed_forward, tokens, threads]: [usize; 5] = std::array::from_fn(number);
    let named = |(_, name): &(WeightType, &str)| arguments.last().is_some_and(|last| last == name);
    let (kind, name) = WeightType::ALL.into_iter().find(named).expect(usage);
    ThreadPoolBuilder::new().num_threads(threads).build_global().expect("a pool of threads");

    let values = |n: usize| (0..n).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect::<Vec<f32>>();
    let sizes = [(width, 3 * width), (width, width), (width, feed_forward), (feed_forward, width)];
    let weights: Vec<[PackedMatrix; 4]> =
        (0..layers).map(|_| sizes.map(|(k, n)| PackedMatrix::pack(&values(n * k), n, k, kind))).collect();
    let bias = values(3 * width.max(feed_forward));
    // As an encoder's buffers: at the beginning of a line of the cache, and not at the same place of a page.
    const PAGE: usize = 1024;
    let numbers = tokens * 3 * width.max(feed_forward);
    let (x, mut out) = (values(numbers + 2 * PAGE), vec![0.0; numbers + 2 * PAGE]);
    let (from, to) = (x.as_ptr().align_offset(4096), out.as_ptr().align_offset(4096) + PAGE / 2);
    let mut batch = || {
        for (weight, (k, n)) in weights.iter().flat_map(|layer| layer.iter().zip(sizes)) {
            let activation = if n == feed_forward { Activation::Gelu } else { Activation::Identity };
            let epilogue = Epilogue { bias: Some(&bias[..n]), activation, ..Epilogue::default() };
            gemm(&x[from..][..tokens * k], tokens, weight, epilogue, &mut out[to..][..tokens * n]);
        }
    };
    batch();
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < BATCHES || begun.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        batch();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{{\"dtype\": \"{name}\", \"tokens\": {tokens}, \"batch_seconds\": {}}}",
        seconds[seconds.len() / 2]
    );
}
