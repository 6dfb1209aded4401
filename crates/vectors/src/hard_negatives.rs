//! Hard negatives: for each query, texts of a corpus that are near to it and are no answer. `mine_hard_negatives` of sentence-transformers 6.2
//! (`util/hard_negatives.py`), without its cross-encoder. Candidates lose, in this order: positives, those within a margin of the lowest
//! positive, those above `max_score`, those below `min_score`; of the rest the first `range_min` are passed over.
//!
//! Not here: texts, and the shapes of training data.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::random::Random;
use crate::rows::Rows;
use crate::similarity::{Similarity, pairwise};
use crate::top_k::{SearchOptions, search};

/// What is mined; names and defaults are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HardNegativeOptions {
    /// Negatives per query. Default: 3.
    pub num_negatives: usize,
    /// The nearest candidates that are passed over. Default: 0.
    pub range_min: usize,
    /// How many candidates are looked at. Default: `range_min + num_negatives` and the most positives of a query; ten times `num_negatives` if
    /// candidates may be dropped by a margin or by `max_score`.
    pub range_max: Option<usize>,
    /// Candidates above it are dropped. Default: none are.
    pub max_score: Option<f32>,
    /// Candidates below it are dropped. Default: none are.
    pub min_score: Option<f32>,
    /// Candidates with `score + absolute_margin` above the lowest positive are dropped. Default: none are.
    pub absolute_margin: Option<f32>,
    /// Candidates above the lowest positive, less this part of its magnitude, are dropped. Default: none are.
    pub relative_margin: Option<f32>,
    /// The nearest are taken, or, with a seed, any of those that are left. Default: the nearest.
    pub random: Option<u64>,
    /// Positives stay among the candidates. Default: no.
    pub include_positives: bool,
}

impl Default for HardNegativeOptions {
    fn default() -> Self {
        Self {
            num_negatives: 3,
            range_min: 0,
            range_max: None,
            max_score: None,
            min_score: None,
            absolute_margin: None,
            relative_margin: None,
            random: None,
            include_positives: false,
        }
    }
}

/// What was found for one query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Negatives {
    /// The score of each positive, in the order given.
    pub positive_scores: Vec<f32>,
    /// Rows of the corpus and their scores, the nearest first: at most `num_negatives`.
    pub negatives: Vec<(usize, f32)>,
}

/// Negatives of `queries` `[queries, width]` among `corpus` `[rows, width]`, by the cosine. `positives` has for each query the rows of the corpus
/// that answer it.
///
/// # Errors
/// If the widths differ, a query has no positive or one that is no row, or the options leave no candidates.
pub fn mine_hard_negatives(
    queries: &Rows,
    corpus: &Rows,
    positives: &[Vec<usize>],
    options: &HardNegativeOptions,
) -> Result<Vec<Negatives>> {
    let HardNegativeOptions { num_negatives, range_min, .. } = *options;
    if positives.len() != queries.rows() {
        return Err(Error::LengthMismatch { left: queries.rows(), right: positives.len() });
    }
    let wrong = |own: &Vec<usize>| own.is_empty() || own.iter().any(|&row| row >= corpus.rows());
    if let Some(query) = positives.iter().position(wrong) {
        return Err(Error::Ranking {
            query,
            message: "it needs positives that are rows of the corpus".to_owned(),
        });
    }
    if num_negatives == 0 {
        return Err(Error::Setting("num_negatives must be at least 1".to_owned()));
    }
    let most_positives = positives.iter().map(Vec::len).max().unwrap_or(0);
    let may_drop =
        options.absolute_margin.is_some() || options.relative_margin.is_some() || options.max_score.is_some();
    let wanted = if may_drop { num_negatives.saturating_mul(10) } else { num_negatives };
    let range_max =
        options.range_max.unwrap_or_else(|| range_min.saturating_add(wanted).saturating_add(most_positives));
    if range_max.saturating_sub(range_min) < num_negatives {
        return Err(Error::Setting(format!(
            "{num_negatives} negatives do not fit between range_min {range_min} and range_max {range_max}: \
             take fewer negatives or a larger range_max"
        )));
    }
    let top_k = range_max.saturating_add(most_positives);
    let found = search(queries, corpus, &SearchOptions { similarity: Similarity::Cosine, top_k })?;
    let mut result = Vec::with_capacity(queries.rows());
    for (query, (hits, own)) in found.into_iter().zip(positives).enumerate() {
        let answers: Vec<f32> = own.iter().flat_map(|&row| corpus.row(row)).copied().collect();
        let repeated = queries.row(query).repeat(own.len());
        let [answers, repeated] = [answers, repeated].map(|values| Rows::new(values, queries.width()));
        let positive_scores = pairwise(&repeated?, &answers?, Similarity::Cosine)?;
        let lowest = positive_scores.iter().copied().fold(f32::INFINITY, f32::min);
        let is_positive: HashSet<usize> = own.iter().copied().collect();
        let stays = |index: usize, score: f32| {
            (options.include_positives || !is_positive.contains(&index))
                && options.absolute_margin.is_none_or(|margin| score + margin <= lowest)
                && options.relative_margin.is_none_or(|margin| score <= lowest - lowest.abs() * margin)
                && options.max_score.is_none_or(|most| score <= most)
                && options.min_score.is_none_or(|least| score >= least)
        };
        let mut left: Vec<(usize, f32)> = hits
            .into_iter()
            .map(|hit| (hit.index, hit.score))
            .filter(|&(index, score)| stays(index, score))
            .take(range_max)
            .skip(range_min)
            .collect();
        if let Some(seed) = options.random {
            // A sequence for each query: which others there are does not show.
            let seed = seed ^ (query as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            let chosen = Random::new(seed).sample(left.len(), num_negatives);
            left = chosen.into_iter().map(|at| left[at]).collect();
        }
        left.truncate(num_negatives);
        result.push(Negatives { positive_scores, negatives: left });
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn angles(degrees: &[f32]) -> Rows {
        let values = degrees.iter().flat_map(|degree| [degree.to_radians().cos(), degree.to_radians().sin()]);
        Rows::new(values.collect(), 2).unwrap()
    }

    fn rows(found: &[Negatives]) -> Vec<Vec<usize>> {
        found.iter().map(|own| own.negatives.iter().map(|(row, _)| *row).collect()).collect()
    }

    #[test]
    fn candidates_are_dropped_in_order() {
        let queries = angles(&[0.0, 90.0]);
        let corpus = angles(&[5.0, 10.0, 20.0, 30.0, 60.0, 85.0]);
        let mine = |positives: &[Vec<usize>], options: HardNegativeOptions| {
            mine_hard_negatives(&queries, &corpus, positives, &options)
        };
        let two = HardNegativeOptions { num_negatives: 2, ..Default::default() };
        let positives = [vec![1], vec![5, 4]];
        assert_eq!(rows(&mine(&positives, two).unwrap()), [[0, 2], [3, 2]]);
        let some = |options| rows(&mine(&positives, options).unwrap());
        assert_eq!(some(HardNegativeOptions { range_min: 1, ..two }), [[2, 3], [2, 1]]);
        assert_eq!(some(HardNegativeOptions { include_positives: true, ..two }), [[0, 1], [5, 4]]);
        // cos 5° is above cos 10°, the positive, and goes.
        assert_eq!(some(HardNegativeOptions { absolute_margin: Some(0.0), ..two }), [[2, 3], [3, 2]]);
        assert_eq!(some(HardNegativeOptions { relative_margin: Some(0.05), ..two }), [[3, 4], [3, 2]]);
        assert_eq!(some(HardNegativeOptions { max_score: Some(0.45), ..two }), [vec![5], vec![2, 1]]);
        assert_eq!(some(HardNegativeOptions { min_score: Some(0.6), ..two }), [vec![0, 2], vec![]]);
        let random = some(HardNegativeOptions { random: Some(1), range_max: Some(6), ..two });
        assert!(random.iter().zip(&positives).all(|(own, positives)| {
            own.len() == 2
                && own.is_sorted_by(|a, b| a != b)
                && own.iter().all(|row| !positives.contains(row))
        }));
        assert_eq!(random, some(HardNegativeOptions { random: Some(1), range_max: Some(6), ..two }));
        for (positives, options, part) in [
            (vec![vec![1]], two, "cannot be paired"),
            (vec![vec![1], vec![]], two, "query 1"),
            (vec![vec![1], vec![9]], two, "query 1"),
            (positives.to_vec(), HardNegativeOptions { num_negatives: 0, ..two }, "num_negatives"),
            (
                positives.to_vec(),
                HardNegativeOptions { range_min: 4, range_max: Some(5), ..two },
                "range_max",
            ),
        ] {
            let error = mine(&positives, options).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
