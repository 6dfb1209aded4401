//! Exact search: the most similar vectors of a corpus for each query. Every score is computed; there is no index.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;
use sentir_kernels::distance;

use crate::error::Result;
use crate::rows::Rows;
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
#[derive(Clone, Copy)]
struct Ranked(Hit);

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
type Best = BinaryHeap<Ranked>;

fn offer(best: &mut Best, top_k: usize, hit: Ranked) {
    if best.len() < top_k {
        best.push(hit);
    } else if let Some(mut worst) = best.peek_mut()
        && hit < *worst
    {
        *worst = hit;
    }
}

/// Lower scores are not among the best; NaN while that cannot be said.
fn score_to_beat(best: &Best, top_k: usize) -> f32 {
    if best.len() < top_k { f32::NAN } else { best.peek().map_or(f32::NAN, |worst| worst.0.score) }
}

/// Queries whose hits are collected at once; bounds the memory of a thread, with the next two.
const QUERIES: usize = 1024;
/// Queries of one matrix product.
const QUERY_BLOCK: usize = 128;
/// Vectors of the corpus of one matrix product.
const CORPUS_BLOCK: usize = 512;

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
    let queries = similarity::prepared(queries, options.similarity);
    let found = queries.as_slice().par_chunks(QUERIES.saturating_mul(queries.width()));
    Ok(found.flat_map_iter(|queries| search_some(queries, corpus, options)).collect())
}

/// [`search`] for at most [`QUERIES`] prepared queries.
fn search_some(queries: &[f32], corpus: &Rows, options: &SearchOptions) -> Vec<Vec<Hit>> {
    let (width, top_k, similarity) = (corpus.width(), options.top_k, options.similarity);
    let count = queries.len() / width;
    let none = || vec![Best::new(); count];
    if top_k == 0 {
        return vec![Vec::new(); count];
    }
    let blocks = corpus.as_slice().par_chunks(CORPUS_BLOCK.saturating_mul(width)).enumerate();
    let scan = |(mut best, mut unit, mut scores): (Vec<Best>, Vec<f32>, Vec<f32>),
                (block, vectors): (usize, &[f32])| {
        let mut vectors = vectors;
        if similarity == Similarity::Cosine {
            unit.clear();
            unit.extend_from_slice(vectors);
            distance::normalize_rows(&mut unit, width);
            vectors = &unit;
        }
        let rows = vectors.len() / width;
        for (queries, best) in
            queries.chunks(QUERY_BLOCK.saturating_mul(width)).zip(best.chunks_mut(QUERY_BLOCK))
        {
            scores.resize(best.len() * rows, 0.0);
            similarity::block(queries, vectors, width, similarity, &mut scores);
            for (scores, best) in scores.chunks_exact(rows).zip(best) {
                let mut worst = score_to_beat(best, top_k);
                for (row, &score) in scores.iter().enumerate() {
                    // Nearly always: `offer` would refuse it. (No number is below NaN.)
                    if score < worst {
                        continue;
                    }
                    offer(best, top_k, Ranked(Hit { index: block * CORPUS_BLOCK + row, score }));
                    worst = score_to_beat(best, top_k);
                }
            }
        }
        (best, unit, scores)
    };
    let merge = |mut left: Vec<Best>, right: Vec<Best>| {
        for (left, right) in left.iter_mut().zip(right) {
            right.into_iter().for_each(|hit| offer(left, top_k, hit));
        }
        left
    };
    // The order of hits is total, so it does not matter how rayon divides the blocks.
    let best =
        blocks.fold(|| (none(), Vec::new(), Vec::new()), scan).map(|(best, ..)| best).reduce(none, merge);
    let sorted = |best: Best| best.into_sorted_vec().into_iter().map(|Ranked(hit)| hit).collect();
    best.into_iter().map(sorted).collect()
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
