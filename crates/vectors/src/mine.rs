//! Paraphrase mining: the pairs of rows that are most alike, of all pairs that there are. `paraphrase_mining_embeddings` of
//! sentence-transformers 6.2 (`util/retrieval.py`); here equal scores have an order, so that the result depends on nothing else.
//!
//! Not here: communities of rows, and texts.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::similarity::Similarity;
use crate::top_k::{SearchOptions, search};

/// What is mined; the defaults are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MineOptions {
    /// How rows are compared. Default: cosine.
    pub similarity: Similarity,
    /// The most partners of a row that are looked at. Default: 100.
    pub top_k: usize,
    /// The most pairs of the result. Default: 500,000.
    pub max_pairs: usize,
    /// Pairs below this score are left out. Default: none are.
    pub min_score: Option<f32>,
}

impl Default for MineOptions {
    fn default() -> Self {
        Self { similarity: Similarity::Cosine, top_k: 100, max_pairs: 500_000, min_score: None }
    }
}

/// Two rows and how alike they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinedPair {
    /// The lower row, from zero.
    pub first: usize,
    /// The higher row.
    pub second: usize,
    /// The similarity; higher is more alike.
    pub score: f32,
}

/// Rows whose partners are looked for at once: between two such blocks the caller hears how far it is.
const BLOCK: usize = 4096;

/// The pairs of rows with the highest scores, best first, equal scores by the rows. A pair is found if one of the two is among the
/// `top_k` rows most similar to the other; it comes once. Memory beside the result is that of a block of partners.
///
/// `progress` is told how many rows of how many are done, and ends the work by returning false.
///
/// # Errors
/// If there are fewer than two rows, a row has NaN or infinity, or the work was ended ([`Error::Setting`]).
pub fn paraphrase_mining(
    rows: &Rows,
    options: &MineOptions,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<MinedPair>> {
    let count = rows.rows();
    if count < 2 {
        return Err(Error::Setting(format!("pairs need at least two rows; there are {count}")));
    }
    if let Some(row) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        return Err(Error::Setting(format!("row {row} holds NaN or infinity: it is like nothing")));
    }
    let own = SearchOptions { similarity: options.similarity, top_k: options.top_k.saturating_add(1) };
    // Pairs by their rows, with the score that the lower row gave, or else the higher one.
    let mut found: HashMap<(u32, u32), f32> = HashMap::new();
    let mut least = f32::NEG_INFINITY;
    for start in (0..count).step_by(BLOCK) {
        if !progress(start, count) {
            return Err(Error::Setting("ended before its end".to_owned()));
        }
        let end = (start + BLOCK).min(count);
        let queries =
            Rows::new(rows.as_slice()[start * rows.width()..end * rows.width()].to_vec(), rows.width())?;
        for (row, hits) in (start..).zip(search(&queries, rows, &own)?) {
            let partners = hits.into_iter().filter(|hit| hit.index != row).take(options.top_k);
            for hit in partners {
                if hit.score < least || options.min_score.is_some_and(|min| hit.score < min) {
                    continue;
                }
                let pair = (row.min(hit.index) as u32, row.max(hit.index) as u32);
                // Blocks come in the order of rows: the lower row is there first, if it has this partner.
                found.entry(pair).or_insert(hit.score);
            }
        }
        // Not after every pair: sorting would cost more than it saves.
        if found.len() > options.max_pairs.saturating_mul(2) {
            let kept = best(&found, options.max_pairs);
            least = kept.last().map_or(least, |pair| pair.score);
            found = kept.into_iter().map(|own| ((own.first as u32, own.second as u32), own.score)).collect();
        }
    }
    progress(count, count);
    Ok(best(&found, options.max_pairs))
}

fn best(found: &HashMap<(u32, u32), f32>, max_pairs: usize) -> Vec<MinedPair> {
    let mut pairs: Vec<MinedPair> = found
        .iter()
        .map(|(&(first, second), &score)| MinedPair { first: first as usize, second: second as usize, score })
        .collect();
    pairs.sort_unstable_by(|a, b| {
        b.score.total_cmp(&a.score).then(a.first.cmp(&b.first)).then(a.second.cmp(&b.second))
    });
    pairs.truncate(max_pairs);
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::similarity;

    /// All pairs, by the definition.
    fn naive(rows: &Rows, options: &MineOptions) -> Vec<MinedPair> {
        let scores = similarity::matrix(rows, rows, options.similarity).unwrap();
        let mut pairs: Vec<MinedPair> = Vec::new();
        for i in 0..rows.rows() {
            let mut others: Vec<usize> = (0..rows.rows()).collect();
            others.sort_by(|&a, &b| scores.row(i)[b].total_cmp(&scores.row(i)[a]).then(a.cmp(&b)));
            // As theirs: the row itself takes a place among the first top_k + 1, if it is there.
            others.truncate(options.top_k + 1);
            others.retain(|&j| j != i);
            others.truncate(options.top_k);
            for j in others {
                let (first, second) = (i.min(j), i.max(j));
                if !pairs.iter().any(|pair| (pair.first, pair.second) == (first, second)) {
                    pairs.push(MinedPair { first, second, score: scores.row(i)[j] });
                }
            }
        }
        pairs.retain(|pair| options.min_score.is_none_or(|min| pair.score >= min));
        pairs.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then(a.first.cmp(&b.first)).then(a.second.cmp(&b.second))
        });
        pairs.truncate(options.max_pairs);
        pairs
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn pairs_are_those_of_the_definition(
            values in prop::collection::vec(prop::sample::select(vec![-1.0f32, 0.0, 0.5, 1.0, 2.0]), 6..240),
            top_k in 1usize..8, max_pairs in 1usize..60, min_score in prop::option::of(-0.5f32..0.9),
        ) {
            let rows = Rows::new(values[..values.len() / 3 * 3].to_vec(), 3).unwrap();
            for similarity in [Similarity::Cosine, Similarity::Dot] {
                let options = MineOptions { similarity, top_k, max_pairs, min_score };
                let expected = naive(&rows, &options);
                for threads in [1, 2, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = pool.install(|| paraphrase_mining(&rows, &options, &mut |_, _| true).unwrap());
                    prop_assert_eq!(&found, &expected);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_mined_is_said() {
        let mine = |values: Vec<f32>, go_on: bool| {
            let rows = Rows::new(values, 2).unwrap();
            paraphrase_mining(&rows, &MineOptions::default(), &mut |_, _| go_on)
                .map_err(|error| error.to_string())
        };
        assert!(mine(vec![1.0, 0.0], true).unwrap_err().contains("at least two"));
        assert!(mine(vec![1.0, 0.0, f32::NAN, 0.0], true).unwrap_err().contains("row 1"));
        assert!(mine(vec![1.0; 4], false).unwrap_err().contains("ended"));
        // Rows of zeros are like nothing, but they are rows.
        assert_eq!(mine(vec![0.0; 4], true).unwrap()[0].score, 0.0);
        assert_eq!(mine(vec![1.0; 6], true).unwrap().len(), 3);
    }
}
