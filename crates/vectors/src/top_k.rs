//! Exact search: the most similar vectors of a corpus for each query. Every score is computed; there is no index.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sentir_kernels::distance;

use crate::error::Result;
use crate::rows::Rows;
use crate::scan::{Found, Memory, QUERIES, Scan, in_blocks};
use crate::similarity::{self, Similarity};

/// What to search for; the defaults are those of `semantic_search` of sentence-transformers (`util/retrieval.py`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchOptions {
    /// How vectors are compared. Default: cosine.
    pub similarity: Similarity,
    /// The most hits per query. Default: 10. More than the corpus has gives all of it, zero gives none.
    pub top_k: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { similarity: Similarity::Cosine, top_k: 10 }
    }
}

/// Whether a row of the corpus may be found. It is asked only about rows that would be.
pub type Keep<'a> = &'a (dyn Fn(usize) -> bool + Sync);

/// One vector of the corpus that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Zero-based row in the corpus.
    pub index: usize,
    /// The similarity; higher is more alike.
    pub score: f32,
}

/// A hit in a heap whose top is the one to drop first. `Less` is better, so that sorted hits begin with the best: the
/// higher score, then the lower index; NaN is below every number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked(pub(crate) Hit);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        let scores = b.score.partial_cmp(&a.score).unwrap_or_else(|| a.score.is_nan().cmp(&b.score.is_nan()));
        scores.then(a.index.cmp(&b.index))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The best hits so far of one query.
pub(crate) type Best = BinaryHeap<Ranked>;

pub(crate) fn offer(best: &mut Best, top_k: usize, hit: Hit) {
    let hit = Ranked(hit);
    if best.len() < top_k {
        best.push(hit);
    } else if let Some(mut worst) = best.peek_mut()
        && hit < *worst
    {
        *worst = hit;
    }
}

/// Lower scores are not among the best; −∞ while that cannot be said.
pub(crate) fn score_to_beat(best: &Best, top_k: usize) -> f32 {
    let worst = best.peek().map_or(f32::NAN, |worst| worst.0.score);
    if best.len() < top_k || worst.is_nan() { f32::NEG_INFINITY } else { worst }
}

/// The `top_k` vectors of `corpus` `[rows, width]` most similar to each of `queries` `[queries, width]`, best first; one
/// list per query, in order. Fewer where the corpus has fewer: an empty corpus gives empty lists, no queries give no lists.
///
/// Hits with equal scores are in the order of the corpus. NaN, from vectors that hold NaN or infinity, is below every
/// number (in sentence-transformers it is above). Scores are to the bit those of [`similarity::matrix`], and the result
/// does not depend on the number of threads.
///
/// The scores are never all in memory: beside the result, a thread keeps its share of the hits and a few megabytes.
///
/// # Errors
/// If the widths differ.
pub fn search(queries: &Rows, corpus: &Rows, options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
    similarity::check_widths(queries, corpus)?;
    Ok(search_slice(queries, corpus.as_slice(), options, &|_| true))
}

/// [`search`] in `corpus` `[rows, width]`, rows as they lie in a file, among those that `keep` says yes to.
///
/// # Panics
/// If the corpus is not whole rows of the queries' width.
pub fn search_slice(
    queries: &Rows,
    corpus: &[f32],
    options: &SearchOptions,
    keep: Keep<'_>,
) -> Vec<Vec<Hit>> {
    let width = queries.width();
    assert!(corpus.len().is_multiple_of(width), "{} numbers are not rows of {width}", corpus.len());
    let queries = similarity::prepared(queries, options.similarity);
    let some = queries.as_slice().chunks(QUERIES.saturating_mul(width));
    some.flat_map(|queries| search_some(queries, corpus, width, options, keep)).collect()
}

/// [`search`] for at most [`QUERIES`] prepared queries.
fn search_some(
    queries: &[f32],
    corpus: &[f32],
    width: usize,
    options: &SearchOptions,
    keep: Keep<'_>,
) -> Vec<Vec<Hit>> {
    let scan = Scan::new(queries, width, options.similarity);
    let shape = [corpus.len() / width, queries.len() / width];
    best_of_blocks(
        shape,
        scan.block(),
        options.top_k,
        keep,
        |rows, floors, (memory, unit): &mut (Memory, Vec<f32>), found| {
            let mut rows = &corpus[rows.start * width..rows.end * width];
            if options.similarity == Similarity::Cosine {
                unit.clear();
                unit.extend_from_slice(rows);
                distance::normalize_rows(unit, width);
                rows = unit;
            }
            scan.reaching(rows, floors, |_| f32::INFINITY, memory, found);
        },
    )
}

/// The `top_k` best of `rows` for each of `queries`, looked at in blocks on all threads. `look` replaces what is found by all scores of a range
/// of rows that are not below the floor of their query, and may keep memory from one block to the next.
pub(crate) fn best_of_blocks<M: Default>(
    [rows, queries]: [usize; 2],
    block: usize,
    top_k: usize,
    keep: Keep<'_>,
    look: impl Fn(Range<usize>, &[f32], &mut M, &mut Vec<Found>) + Sync,
) -> Vec<Vec<Hit>> {
    if top_k == 0 || rows == 0 {
        return vec![Vec::new(); queries];
    }
    let all: Mutex<Vec<Vec<Best>>> = Mutex::default();
    // Each thread with hits of its own: fewer heaps, and floors that rise fast.
    in_blocks(0..rows, block, |blocks| {
        let mut best = vec![Best::new(); queries];
        let mut floors = vec![f32::NEG_INFINITY; queries];
        let (mut memory, mut found) = (M::default(), Vec::new());
        for block in blocks {
            let start = block.start;
            look(block, &floors, &mut memory, &mut found);
            for found in &found {
                let query = found.query as usize;
                let hit = Hit { index: start + found.row as usize, score: found.score };
                if !keep(hit.index) {
                    continue;
                }
                offer(&mut best[query], top_k, hit);
                floors[query] = score_to_beat(&best[query], top_k);
            }
        }
        all.lock().unwrap_or_else(PoisonError::into_inner).push(best);
    });
    // The order of hits is total, so it does not matter who found what.
    let merged =
        all.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().reduce(|mut left, right| {
            for (left, right) in left.iter_mut().zip(right) {
                right.into_iter().for_each(|Ranked(hit)| offer(left, top_k, hit));
            }
            left
        });
    let sorted = |best: Best| best.into_sorted_vec().into_iter().map(|Ranked(hit)| hit).collect();
    merged.unwrap_or_default().into_iter().map(sorted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn rows(values: &[f32], width: usize) -> Rows {
        Rows::new(values.to_vec(), width).unwrap()
    }

    fn found(queries: &Rows, corpus: &Rows, similarity: Similarity, top_k: usize) -> Vec<Vec<(usize, f32)>> {
        let found = search(queries, corpus, &SearchOptions { similarity, top_k }).unwrap();
        found.iter().map(|hits| hits.iter().map(|hit| (hit.index, hit.score)).collect()).collect()
    }

    #[test]
    fn equal_scores_are_in_the_order_of_the_corpus() {
        let corpus = rows(&[1.0, 2.0, 2.0, 0.0, 2.0, -0.0], 1);
        let query = rows(&[1.0], 1);
        assert_eq!(found(&query, &corpus, Similarity::Dot, 2), [[(1, 2.0), (2, 2.0)]]);
        let all = [(1, 2.0), (2, 2.0), (4, 2.0), (0, 1.0), (3, 0.0), (5, 0.0)];
        assert_eq!(found(&query, &corpus, Similarity::Dot, usize::MAX), [all]);
    }

    #[test]
    fn nan_is_below_every_number() {
        let corpus = rows(&[f32::NAN, f32::NEG_INFINITY, -1.0, f32::NAN, 3.0], 1);
        let hits = found(&rows(&[1.0], 1), &corpus, Similarity::Dot, 9);
        assert_eq!(hits[0].iter().map(|(index, _)| *index).collect::<Vec<_>>(), [4, 2, 1, 0, 3]);
        assert_eq!(found(&rows(&[1.0], 1), &corpus, Similarity::Dot, 1), [[(4, 3.0)]]);
        assert_eq!(found(&rows(&[f32::NAN], 1), &corpus, Similarity::Dot, 2)[0][1].0, 1);
    }

    #[test]
    fn nothing_in_nothing_out() {
        let (two, none) = (rows(&[1.0, 2.0, 3.0, 4.0], 2), Rows::empty(2));
        for similarity in Similarity::ALL {
            assert_eq!(found(&two, &none, similarity, 3), [[], []]);
            assert_eq!(found(&two, &two, similarity, 0), [[], []]);
            assert!(found(&none, &two, similarity, 3).is_empty());
        }
        assert!(found(&Rows::empty(usize::MAX), &Rows::empty(usize::MAX), Similarity::Cosine, 1).is_empty());
        let error = search(&two, &Rows::empty(3), &SearchOptions::default());
        assert_eq!(error, Err(Error::WidthMismatch { left: 2, right: 3 }));
    }
}
