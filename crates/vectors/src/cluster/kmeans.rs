//! k-means: centers such that the squared distances of rows to the nearest are small. The start is k-means++ (Arthur and Vassilvitskii 2007), with
//! several candidates for each center as in scikit-learn (`cluster/_kmeans.py`); then Lloyd's steps, first over samples of the rows, each
//! twice as large as the one before (growing batches, as Newling and Fleuret 2016, but drawn anew), at last over all of them.

use std::sync::{Mutex, PoisonError};

use sentir_kernels::distance::squared_norm;
use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, gemm};
use sentir_kernels::threads;

use super::check;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::rows::Rows;

/// How centers are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KMeansOptions {
    /// Clusters. Default: 8, as scikit-learn.
    pub n_clusters: usize,
    /// Most steps over all rows, and of each sample. Default: 300.
    pub max_iter: usize,
    /// A step that moves centers by less, in the mean of squares and relative to the variance of the rows, is the last. Default: 1e-4.
    pub tol: f64,
    /// Rows for each cluster in the first sample; fewer rows than twice that are taken all at once. Default: 64.
    pub sample: usize,
    /// Default: 42.
    pub seed: u64,
}

impl Default for KMeansOptions {
    fn default() -> Self {
        Self { n_clusters: 8, max_iter: 300, tol: 1e-4, sample: 64, seed: 42 }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    /// `[n_clusters, width]`
    pub centers: Rows,
    /// The nearest center of each row, the first of equals.
    pub labels: Vec<usize>,
    /// Σ of the squared distances to them.
    pub inertia: f64,
    /// Steps over all rows.
    pub iterations: usize,
}

/// Rows that are summed up by one task: sums are added in the order of blocks, whoever computed them.
const BLOCK: usize = 4096;
/// Rows of one product.
const ROWS: usize = 192;

/// Clusters of `rows` `[n, width]` by the Euclidean distance; of rows of unit length, that is by the cosine. The same bits on any number of threads.
/// `go_on` is asked before each step over all rows, with its number; false ends the work.
///
/// # Errors
/// If there are fewer rows than clusters, no clusters, a row is not finite, or the work was ended ([`Error::Interrupted`]).
pub fn kmeans(rows: &Rows, options: &KMeansOptions, go_on: &mut dyn FnMut(usize) -> bool) -> Result<KMeans> {
    let KMeansOptions { n_clusters, max_iter, tol, sample, seed } = *options;
    if n_clusters == 0 {
        return Err(Error::Setting("n_clusters must be at least 1".to_owned()));
    }
    check(rows, n_clusters)?;
    let (count, width) = (rows.rows(), rows.width());
    let mut random = Random::new(seed);
    let mut size = n_clusters.saturating_mul(sample.max(1)).max(256);
    let sampled = size.saturating_mul(2) < count;
    let part = |random: &mut Random, size: usize| -> Result<Rows> {
        let chosen = random.sample(count, size);
        Rows::new(chosen.iter().flat_map(|&row| rows.row(row)).copied().collect(), width)
    };
    let mut own = if sampled { part(&mut random, size)? } else { rows.clone() };
    let threshold = tol * variance(&own);
    let mut centers = start(&own, n_clusters, &mut random);
    if sampled {
        while size.saturating_mul(2) < count {
            for _ in 0..max_iter.min(20) {
                if step(&own, &mut centers, &mut random) <= threshold {
                    break;
                }
            }
            size *= 2;
            if size.saturating_mul(2) < count {
                own = part(&mut random, size)?;
            }
        }
    }
    drop(own);
    let mut iterations = 0;
    while iterations < max_iter {
        if !go_on(iterations) {
            return Err(Error::Interrupted);
        }
        iterations += 1;
        if step(rows, &mut centers, &mut random) <= threshold {
            break;
        }
    }
    let (labels, inertia) = assign(rows.as_slice(), &centers);
    Ok(KMeans { centers, labels, inertia, iterations })
}

/// The mean of the variances of the columns.
fn variance(rows: &Rows) -> f64 {
    let (count, width) = (rows.rows() as f64, rows.width());
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for row in rows {
        for ((x, sum), square) in row.iter().zip(&mut sums).zip(&mut squares) {
            *sum += f64::from(*x);
            *square += f64::from(*x).powi(2);
        }
    }
    sums.iter().zip(&squares).map(|(sum, square)| square / count - (sum / count).powi(2)).sum::<f64>()
        / width as f64
}

/// k-means++: each further center is a row, likely one that is far from those that there are; of several candidates the one that leaves least.
fn start(rows: &Rows, clusters: usize, random: &mut Random) -> Rows {
    let (count, width) = (rows.rows(), rows.width());
    let trials = 2 + (clusters as f64).ln() as usize;
    let squares: Vec<f32> = rows.iter().map(squared_norm).collect();
    let mut centers = Vec::with_capacity(clusters * width);
    let first = ((random.part() * count as f64) as usize).min(count - 1);
    centers.extend(rows.row(first));
    let mut nearest = vec![0.0f32; count];
    distances(rows, &squares, rows.row(first), &mut nearest);
    let mut sums = vec![0.0f64; count];
    for _ in 1..clusters {
        let mut sum = 0.0;
        for (total, &d) in sums.iter_mut().zip(&nearest) {
            sum += f64::from(d);
            *total = sum;
        }
        let mut candidates = Vec::with_capacity(trials * width);
        for _ in 0..trials {
            let at = random.part() * sum;
            let row = sums.partition_point(|&total| total <= at).min(count - 1);
            candidates.extend(rows.row(row));
        }
        let mut all = vec![0.0f32; count * trials];
        distances(rows, &squares, &candidates, &mut all);
        let mut left = vec![0.0f64; trials];
        for (d, own) in nearest.iter().zip(all.chunks_exact(trials)) {
            left.iter_mut().zip(own).for_each(|(sum, own)| *sum += f64::from(d.min(*own)));
        }
        let best = (0..trials).fold(0, |best, at| if left[at] < left[best] { at } else { best });
        nearest.iter_mut().zip(all.chunks_exact(trials)).for_each(|(d, own)| *d = d.min(own[best]));
        centers.extend(&candidates[best * width..][..width]);
    }
    Rows::new(centers, width).expect("whole rows")
}

/// Squared distances of each row to each of `points`: `[rows, points]`, not below zero.
fn distances(rows: &Rows, squares: &[f32], points: &[f32], out: &mut [f32]) {
    let width = rows.width();
    let count = points.len() / width;
    let packed = PackedMatrix::pack(points, count, width, WeightType::F32);
    let own: Vec<f32> = points.chunks_exact(width).map(squared_norm).collect();
    gemm(rows.as_slice(), rows.rows(), &packed, Epilogue::default(), out);
    for (out, square) in out.chunks_exact_mut(count).zip(squares) {
        out.iter_mut().zip(&own).for_each(|(out, own)| *out = (square + own - 2.0 * *out).max(0.0));
    }
}

/// Sums of the rows of each cluster, and their number.
struct Sums {
    sums: Vec<f32>,
    counts: Vec<usize>,
}

/// One step of Lloyd: every center becomes the mean of its rows. Returns the mean square by which centers moved.
fn step(rows: &Rows, centers: &mut Rows, random: &mut Random) -> f64 {
    let (width, clusters) = (rows.width(), centers.rows());
    let nearest = Nearest::new(centers);
    let blocks = rows.as_slice().chunks(BLOCK * width);
    let found: Vec<Mutex<Option<Sums>>> = blocks.clone().map(|_| Mutex::default()).collect();
    let blocks: Vec<&[f32]> = blocks.collect();
    threads::parallel(blocks.len(), |at| {
        let mut own = Sums { sums: vec![0.0; clusters * width], counts: vec![0; clusters] };
        nearest.each(blocks[at], |row, label, _| {
            own.sums[label * width..][..width].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            own.counts[label] += 1;
        });
        *found[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
    });
    let (mut sums, mut counts) = (vec![0.0f64; clusters * width], vec![0usize; clusters]);
    for own in found {
        let Some(own) = own.into_inner().unwrap_or_else(PoisonError::into_inner) else { continue };
        sums.iter_mut().zip(&own.sums).for_each(|(sum, x)| *sum += f64::from(*x));
        counts.iter_mut().zip(&own.counts).for_each(|(sum, count)| *sum += count);
    }
    let mut values = Vec::with_capacity(clusters * width);
    let mut moved = 0.0;
    for (cluster, (sums, &count)) in sums.chunks_exact(width).zip(&counts).enumerate() {
        if count == 0 {
            // Nobody is nearest to it: it goes to any row, and is where the others are not soon enough.
            let row = ((random.part() * rows.rows() as f64) as usize).min(rows.rows() - 1);
            values.extend(rows.row(row));
            continue;
        }
        for (sum, old) in sums.iter().zip(centers.row(cluster)) {
            let mean = (sum / count as f64) as f32;
            moved += f64::from(mean - old).powi(2);
            values.push(mean);
        }
    }
    *centers = Rows::new(values, width).expect("whole rows");
    moved / (clusters * width) as f64
}

/// Labels of all rows, and the inertia.
fn assign(rows: &[f32], centers: &Rows) -> (Vec<usize>, f64) {
    let width = centers.width();
    let nearest = Nearest::new(centers);
    let mut labels = vec![0; rows.len() / width];
    let sums: Mutex<Vec<(usize, f64)>> = Mutex::default();
    threads::pieces(&mut labels, BLOCK, |at, labels| {
        let rows = &rows[at * BLOCK * width..][..labels.len() * width];
        let (mut next, mut inertia) = (0, 0.0);
        nearest.each(rows, |_, label, distance| {
            labels[next] = label;
            next += 1;
            inertia += distance;
        });
        sums.lock().unwrap_or_else(PoisonError::into_inner).push((at, inertia));
    });
    let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    sums.sort_by_key(|(at, _)| *at);
    (labels, sums.iter().map(|(_, inertia)| inertia).sum())
}

/// The nearest center is that with the highest `x·c − ‖c‖² / 2`.
struct Nearest {
    packed: PackedMatrix,
    bias: Vec<f32>,
    width: usize,
}

impl Nearest {
    fn new(centers: &Rows) -> Self {
        let bias = centers.iter().map(|center| -0.5 * squared_norm(center)).collect();
        let packed = PackedMatrix::pack(centers.as_slice(), centers.rows(), centers.width(), WeightType::F32);
        Self { packed, bias, width: centers.width() }
    }

    /// Calls `with` for each row in order: its center, and the squared distance to it.
    fn each(&self, rows: &[f32], mut with: impl FnMut(&[f32], usize, f64)) {
        let clusters = self.bias.len();
        let mut scores = vec![0.0; ROWS.min(rows.len() / self.width) * clusters];
        let epilogue = Epilogue { bias: Some(&self.bias), ..Epilogue::default() };
        for rows in rows.chunks(ROWS * self.width) {
            let count = rows.len() / self.width;
            let scores = &mut scores[..count * clusters];
            gemm(rows, count, &self.packed, epilogue, scores);
            for (row, scores) in rows.chunks_exact(self.width).zip(scores.chunks_exact(clusters)) {
                // Two loops that the compiler makes vectors of, not one that it does not.
                let highest = scores.iter().fold(f32::NEG_INFINITY, |best, &score| best.max(score));
                let label = scores.iter().position(|&score| score == highest).unwrap_or(0);
                with(row, label, f64::from((squared_norm(row) - 2.0 * highest).max(0.0)));
            }
        }
    }
}
