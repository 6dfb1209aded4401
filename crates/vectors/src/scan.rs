//! Which of all pairs of two sets of vectors score high enough: the inner part of search and of mining.
//!
//! Where the processor multiplies int8 several times as fast, a block of scores is first estimated from int8, and only pairs whose
//! estimate could reach the floor are computed in f32. The estimate has a bound (below), so nothing is missed, and the scores are those of
//! [`crate::similarity::matrix`], to the bit.
//!
//! Not here: what is kept of what was found.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sentir_kernels::distance::squared_norm;
use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, dots, gemm, gemm_with_steps};
use sentir_kernels::select::reaching;
use sentir_kernels::simd::isa;
use sentir_kernels::threads;

use crate::similarity::{self, Similarity};

/// Queries of one pass: their scores with a block of rows stay in the level-2 cache.
pub(crate) const QUERIES: usize = 1024;
/// Scores of a block.
const SCORES: usize = 96 * 1024;
/// Fewer queries than this are not worth an estimate.
const FEW: usize = 32;
/// If more than one score in so many is worth a look, the estimates are not.
const RARE: usize = 48;

/// Rows whose scores with so many queries are looked at at once.
pub(crate) fn rows_of_block(queries: usize) -> usize {
    (SCORES / queries.max(1) / 96 * 96).clamp(96, 1536)
}

/// Runs `work` once on each thread that there is work for, with an iterator of the blocks of `rows` that this thread takes.
pub(crate) fn in_blocks(
    rows: Range<usize>,
    block: usize,
    work: impl Fn(&mut dyn Iterator<Item = Range<usize>>) + Sync,
) {
    let blocks = rows.len().div_ceil(block);
    let next = AtomicUsize::new(0);
    threads::parallel(rayon::current_num_threads().min(blocks), |_| {
        work(&mut std::iter::from_fn(|| {
            let at = next.fetch_add(1, Relaxed);
            let start = rows.start + at.min(blocks) * block;
            (at < blocks).then(|| start..(start + block).min(rows.end))
        }));
    });
}

/// A score that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) query: u32,
    /// The row within its block.
    pub(crate) row: u32,
    pub(crate) score: f32,
}

/// Appends to `found` those of `scores` `[rows, queries]` that may reach the floor of their query or of their row, see [`reaching`]. `bound` gives
/// for a row how far its scores may be off, for each query and in all.
pub(crate) fn collect<'a>(
    scores: &[f32],
    (floors, row_floor): (&[f32], impl Fn(usize) -> f32),
    bound: impl Fn(usize) -> (&'a [f32], f32),
    places: &mut Vec<u32>,
    found: &mut Vec<Found>,
) {
    for (row, scores) in scores.chunks_exact(floors.len()).enumerate() {
        places.clear();
        reaching(scores, (floors, row_floor(row)), bound(row), places);
        let hits = places.iter().map(|&query| (query, scores[query as usize]));
        found.extend(hits.map(|(query, score)| Found { query, row: row as u32, score }));
    }
}

/// Queries, prepared for any number of blocks.
pub(crate) struct Scan {
    queries: Vec<f32>,
    width: usize,
    similarity: Similarity,
    exact: Option<PackedMatrix>,
    estimate: Option<Estimate>,
    /// Ones: scores that are exact need no slack, however wide.
    ones: Vec<f32>,
}

/// Queries in int8. With a query q = q̂ + e and a row x = x̂ + d, both quantised, |q·x − q̂·x̂| ≤ ‖q̂‖‖d‖ + ‖e‖‖x‖, where
/// ‖d‖ ≤ √width · half a step of x: at most ‖q‖ ((1 + η)‖d‖ + η‖x‖) with η the largest of all ‖e‖ / ‖q‖.
struct Estimate {
    packed: PackedMatrix,
    lengths: Vec<f32>,
    error: f32,
}

/// Memory for one block, kept from block to block; and whether estimates paid lately.
#[derive(Default)]
pub(crate) struct Memory {
    scores: Vec<f32>,
    steps: Vec<f32>,
    places: Vec<u32>,
    pairs: Vec<(u32, u32)>,
    settled: Vec<f32>,
    many: bool,
    begun: bool,
}

impl Scan {
    /// For at most [`QUERIES`] prepared queries (`similarity::prepared`).
    pub(crate) fn new(queries: &[f32], width: usize, similarity: Similarity) -> Self {
        let count = queries.len() / width;
        let product = matches!(similarity, Similarity::Cosine | Similarity::Dot);
        let exact = product.then(|| PackedMatrix::for_similarity(queries, count, width));
        let estimate = (product && count >= FEW && isa().has_fast_int8() && width <= 1 << 16)
            .then(|| Estimate::new(queries, width))
            .flatten();
        Self { queries: queries.to_vec(), width, similarity, exact, estimate, ones: vec![1.0; count] }
    }

    /// Rows of a block.
    pub(crate) fn block(&self) -> usize {
        rows_of_block(self.ones.len())
    }

    /// Replaces `found` by all scores of prepared `rows` that are not below the floor of their query, or, if that is lower, of their row, and
    /// perhaps some others, row by row in the order of queries. NaN is not below; a floor is not NaN.
    pub(crate) fn reaching(
        &self,
        rows: &[f32],
        floors: &[f32],
        row_floor: impl Fn(usize) -> f32,
        memory: &mut Memory,
        found: &mut Vec<Found>,
    ) {
        found.clear();
        let (count, queries) = (rows.len() / self.width, self.ones.len());
        memory.scores.resize(count * queries, 0.0);
        if memory.scores.is_empty() {
            return;
        }
        // The first block, against floors that are not there yet, is exact.
        let estimate = self.estimate.as_ref().filter(|_| memory.begun && !memory.many);
        memory.begun = true;
        match (estimate, &self.exact) {
            (Some(estimate), _) => estimate.scores(rows, self.width, memory),
            (None, Some(packed)) => gemm(rows, count, packed, Epilogue::default(), &mut memory.scores),
            (None, None) => {
                similarity::block(rows, &self.queries, self.width, self.similarity, &mut memory.scores)
            }
        }
        let steps = &memory.steps;
        let bound = |row: usize| match estimate {
            Some(estimate) => (&estimate.lengths[..], steps[row]),
            None => (&self.ones[..], 0.0),
        };
        collect(&memory.scores, (floors, row_floor), bound, &mut memory.places, found);
        memory.many = found.len() > count * queries / RARE;
        if estimate.is_some() && !found.is_empty() {
            memory.pairs.clear();
            memory.pairs.extend(found.iter().map(|found| (found.row, found.query)));
            memory.settled.resize(found.len(), 0.0);
            dots(rows, &self.queries, self.width, &memory.pairs, &mut memory.settled);
            found.iter_mut().zip(&memory.settled).for_each(|(found, score)| found.score = *score);
        }
    }
}

impl Estimate {
    /// None if a query is not finite or nothing but zeros: its relative error is no number.
    fn new(queries: &[f32], width: usize) -> Option<Self> {
        let count = queries.len() / width;
        let packed = PackedMatrix::pack(queries, count, width, WeightType::Int8);
        let mut lengths = Vec::with_capacity(count);
        let mut error = 0.0f64;
        for (row, query) in queries.chunks_exact(width).enumerate() {
            let square = |x: f64| x * x;
            let length: f64 = query.iter().map(|&x| square(f64::from(x))).sum::<f64>().sqrt();
            let rounded = packed.row(row);
            let off: f64 =
                query.iter().zip(&rounded).map(|(&x, &y)| square(f64::from(x) - f64::from(y))).sum::<f64>();
            error = error.max(off.sqrt() / length);
            // `max` would pass over NaN.
            if !(length > 0.0 && length.is_finite() && (off.sqrt() / length).is_finite()) {
                return None;
            }
            lengths.push(length as f32);
        }
        Some(Self { packed, lengths, error: error as f32 })
    }

    /// Estimated scores, and in `memory.steps`, for each row, how far they may be off for a query of unit length.
    fn scores(&self, rows: &[f32], width: usize, memory: &mut Memory) {
        let count = rows.len() / width;
        memory.steps.resize(count, 0.0);
        gemm_with_steps(rows, count, &self.packed, &mut memory.scores, &mut memory.steps);
        // Half a step, and what f32 may round on both ways to the score (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
        let half = 0.501 * (width as f32).sqrt();
        let rounding = 4.0 * (width as f32 + 8.0) * f32::EPSILON;
        for (step, row) in memory.steps.iter_mut().zip(rows.chunks_exact(width)) {
            let length = squared_norm(row).sqrt();
            *step = 1.001 * ((1.0 + self.error) * half * *step + (self.error + rounding) * length);
        }
    }
}
