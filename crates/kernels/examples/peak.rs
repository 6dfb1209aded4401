//! What the processor could do in f32 and what the matrix product gets out of it. Run on a quiet machine:
//! `cargo run --release -p sentir-kernels --example peak`. Each figure is the best of several short runs.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use rayon::ThreadPoolBuilder;
use sentir_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use sentir_kernels::simd::{Kernel, Simd, isa};

/// Independent fused multiply-adds in registers: twelve chains, two operands.
struct Chains(usize);

impl Kernel for Chains {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut sums = [b; 12];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, a, b);
            }
        }
        let mut total = b;
        for sum in sums {
            total = simd.add(total, sum);
        }
        simd.sum(total)
    }
}

/// The shortest of several runs, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut best = f64::INFINITY;
    for repeat in 0.. {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        if repeat >= 5 && started.elapsed().as_secs_f64() > 0.7 {
            break;
        }
    }
    best
}

fn main() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, processors];
    counts.dedup();
    println!("{:?}, {processors} processors", isa());
    for threads in counts {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        let iterations = 1_000_000;
        let seconds = best(|| {
            pool.broadcast(|_| black_box(isa().run(Chains(black_box(iterations)))));
        });
        let peak = (threads * iterations * 12 * 8 * 2) as f64 / seconds / 1e9;
        println!("\n{threads} threads: peak {peak:.0} GFLOP/s\n     m     k     n  GFLOP/s  % of peak");
        for (k, n) in
            [(1024, 3072), (1024, 1024), (1024, 4096), (4096, 1024), (384, 1152), (384, 1536), (1536, 384)]
        {
            let weight = PackedMatrix::pack(&vec![0.01; n * k], n, k);
            for m in [1, 16, 64, 256, 1024, 4096] {
                let (x, mut out) = (vec![0.5; m * k], vec![0.0; m * n]);
                let seconds = best(|| pool.install(|| gemm(&x, m, &weight, Epilogue::default(), &mut out)));
                let speed = (2 * m * n * k) as f64 / seconds / 1e9;
                println!("{m:6}{k:6}{n:6}{speed:9.1}{:9.0} %", 100.0 * speed / peak);
            }
        }
    }
}
