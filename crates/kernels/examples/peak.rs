//! What the processor could do, and what the matrix product gets out of it, in each type. Run on a quiet machine:
//!
//! `cargo run --release -p sentir-kernels --example peak [THREADS]` prints a table; with `--json`, the peaks and the bandwidth of
//! memory alone as one line. A peak is that of multiply-adds in registers, or of products of tiles from the level-1 cache; bandwidth that of reading
//! what is in no cache, by all threads. Each figure is the median of many short runs: processors compute some percent faster for moments, which
//! nothing that takes seconds could use.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use rayon::ThreadPoolBuilder;
use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, gemm};
use sentir_kernels::simd::matrix::{MATRIX_COLUMNS, MATRIX_STEPS, MatrixOperands, MatrixUnit, PARTS};
use sentir_kernels::simd::{Kernel, Simd, isa};

/// Independent chains of products in registers, or those of a matrix unit, whose operands come from the level-1 cache. Returns the number of
/// operations (a multiply-add is two).
struct Chains(WeightType, usize);

/// Products of tiles as [`Chains`].
fn tiles(mut unit: impl MatrixUnit, kind: WeightType, products: usize) -> usize {
    const ROWS: usize = 16;
    const STEPS: usize = 2 * PARTS * MATRIX_STEPS;
    const A_ROW: usize = STEPS + MATRIX_STEPS;
    // All bits differ, and bf16 are numbers between 1 and 2: zeros would cost less power. Each row has a line of its own.
    let word = |i: usize| 0x3F80_3F80 | (i as u32).wrapping_mul(0x9E37_79B9) >> 7 & 0x7F_007F;
    /// Rows of tiles across two lines of the cache would cost twice.
    #[repr(align(64))]
    struct Lines([u32; ROWS * A_ROW], [u32; STEPS * MATRIX_COLUMNS], [[f32; MATRIX_COLUMNS]; ROWS]);
    let mut memory =
        black_box(Lines(std::array::from_fn(word), std::array::from_fn(word), [[0.0; MATRIX_COLUMNS]; ROWS]));
    let Lines(a, b, sums) = &mut memory;
    let mut operands =
        MatrixOperands { a: a.as_ptr(), a_row: A_ROW, b: b.as_ptr(), b_step: MATRIX_COLUMNS, steps: STEPS };
    let numbers = if kind == WeightType::F32 {
        (operands.steps, operands.b_step) = (STEPS / PARTS, PARTS * MATRIX_COLUMNS);
        unit.begin_split(ROWS);
        for _ in 0..products {
            // SAFETY: both operands have all steps of all parts, and A has all rows.
            unsafe { unit.add_split(operands, &mut ()) };
        }
        unit.end_split(0, sums);
        2 * operands.steps
    } else {
        for _ in 0..products {
            // SAFETY: both operands have all steps, and A has all rows.
            unsafe { unit.multiply(kind.group(), ROWS, operands, false, sums, &mut ()) };
        }
        operands.steps * kind.group()
    };
    black_box(memory);
    2 * ROWS * MATRIX_COLUMNS * numbers * products
}

impl Kernel for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        const CHAINS: usize = 12;
        if let Some(unit) = simd.matrix_unit() {
            return tiles(unit, self.0, self.1.div_ceil(64));
        }
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let (x, y) = (simd.splat_word(black_box(0x3F80_3F80)), simd.splat_word(black_box(0x3C00_3C00)));
        let numbers = match self.0 {
            WeightType::F32 => {
                let mut sums = [b; CHAINS];
                for _ in 0..self.1 {
                    sums.iter_mut().for_each(|sum| *sum = simd.mul_add(*sum, a, b));
                }
                black_box(sums.into_iter().fold(b, |total, sum| simd.add(total, sum)));
                1
            }
            WeightType::Bf16 => {
                let mut sums = [b; CHAINS];
                for _ in 0..self.1 {
                    sums.iter_mut().for_each(|sum| *sum = simd.dot_bf16(x, y, *sum));
                }
                black_box(sums.into_iter().fold(b, |total, sum| simd.add(total, sum)));
                2
            }
            WeightType::Int8 => {
                let mut sums = [x; CHAINS];
                for _ in 0..self.1 {
                    sums.iter_mut().for_each(|sum| *sum = simd.dot_i8(x, y, *sum));
                }
                black_box(sums.into_iter().fold(b, |total, sum| simd.add(total, simd.integers_to_f32(sum))));
                4
            }
        };
        2 * CHAINS * S::LANES * numbers * self.1
    }
}

/// Reads numbers, and uses them.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        const CHAINS: usize = 8;
        let mut sums = [simd.splat(0.0); CHAINS];
        for numbers in self.0.chunks_exact(CHAINS * S::LANES) {
            for (sum, numbers) in sums.iter_mut().zip(numbers.chunks_exact(S::LANES)) {
                *sum = simd.add(*sum, simd.load(numbers));
            }
        }
        simd.sum(sums.into_iter().fold(simd.splat(0.0), |total, sum| simd.add(total, sum)))
    }
}

/// The median of several runs, in seconds.
fn median(seconds: f64, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < 5 || started.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        run();
        runs.push(start.elapsed().as_secs_f64());
    }
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(processors);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");

    let peaks = WeightType::ALL.map(|(kind, name)| {
        let iterations = black_box(1_000_000);
        let mut operations = 0;
        let seconds = median(1.0, || {
            operations = pool.broadcast(|_| isa().run(Chains(kind, iterations))).into_iter().sum();
        });
        (kind, name, operations as f64 / seconds / 1e9)
    });
    // More than caches hold.
    const NUMBERS: usize = 64 << 20;
    let mut memory = memmap2::MmapMut::map_anon(4 * threads * NUMBERS).expect("memory");
    #[cfg(target_os = "linux")]
    // As weights lie. Only advice: without large pages memory is slower.
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.fill(1);
    // SAFETY: a map begins at a page, so numbers are aligned; every bit pattern is one.
    let numbers = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<f32>(), memory.len() / 4) };
    let seconds = median(0.5, || {
        black_box(pool.broadcast(|thread| isa().run(Read(&numbers[thread.index() * NUMBERS..][..NUMBERS]))));
    });
    let bandwidth = memory.len() as f64 / seconds / 1e9;
    drop(memory);
    if json {
        let fields = peaks.map(|(_, name, peak)| format!("\"{name}\": {peak:.1}"));
        println!(
            "{{\"isa\": \"{}\", \"threads\": {threads}, \"peak_gflops\": {{{}}}, \"read_gbytes\": {bandwidth:.1}}}",
            isa().name(),
            fields.join(", ")
        );
        return;
    }
    println!("{}, {threads} threads, memory read {bandwidth:.1} GB/s", isa().name());
    for (kind, name, peak) in peaks {
        println!("\n{name}: peak {peak:.0} Gop/s\n     m     k     n    Gop/s  % of peak");
        for (k, n) in
            [(1024, 3072), (1024, 1024), (1024, 4096), (4096, 1024), (384, 1152), (384, 1536), (1536, 384)]
        {
            let values: Vec<f32> = (0..n * k).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
            let weight = PackedMatrix::pack(&values, n, k, kind);
            for m in [1, 16, 64, 256, 1024] {
                let (x, mut out) = (vec![0.5; m * k], vec![0.0; m * n]);
                let seconds =
                    median(0.3, || pool.install(|| gemm(&x, m, &weight, Epilogue::default(), &mut out)));
                let speed = (2 * m * n * k) as f64 / seconds / 1e9;
                println!("{m:6}{k:6}{n:6}{speed:9.1}{:9.0} %", 100.0 * speed / peak);
            }
        }
    }
}
