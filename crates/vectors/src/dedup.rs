//! Near duplicates: rows that are alike to an earlier row that stays.
//!
//! Not here: texts.

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::scan::{Memory, QUERIES, Scan};
use crate::similarity::{self, Similarity};

/// An earlier row that stays, and how alike it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DuplicateOf {
    /// The row that stays.
    pub index: usize,
    /// The similarity.
    pub score: f32,
}

/// For each row in order: nothing if it stays, or the row that it repeats: of all earlier rows that stay and are at least `threshold`
/// alike, the most alike, the first of equals. Memory beside the rows is that of those that stay.
///
/// `progress` is told how many rows of how many are done, and ends the work by returning false.
///
/// # Errors
/// If a row has NaN or infinity, the threshold is NaN, or the work was ended ([`Error::Interrupted`]).
pub fn near_duplicates(
    rows: &Rows,
    similarity: Similarity,
    threshold: f32,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<Option<DuplicateOf>>> {
    if threshold.is_nan() {
        return Err(Error::Setting("the threshold is NaN".to_owned()));
    }
    if let Some(row) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        return Err(Error::Setting(format!("row {row} holds NaN or infinity: it is like nothing")));
    }
    let (count, width) = (rows.rows(), rows.width());
    let prepared = similarity::prepared(rows, similarity);
    let mut result: Vec<Option<DuplicateOf>> = Vec::with_capacity(count);
    // Rows that stay, one after another, and which they are.
    let (mut kept, mut which): (Vec<f32>, Vec<usize>) = (Vec::new(), Vec::new());
    for block in prepared.as_slice().chunks(QUERIES.saturating_mul(width)) {
        let first = result.len();
        if !progress(first, count) {
            return Err(Error::Interrupted);
        }
        let mut best = before(block, &kept, &which, width, similarity, threshold);
        // Among themselves, in order: whether a row stays depends on those before.
        let scan = Scan::new(block, width, similarity);
        let floors = vec![threshold; best.len()];
        let (mut memory, mut found) = (Memory::default(), Vec::new());
        let mut alike: Vec<Vec<(usize, f32)>> = vec![Vec::new(); best.len()];
        for (part, rows) in block.chunks(scan.block() * width).enumerate() {
            scan.reaching(rows, &floors, |_| f32::INFINITY, &mut memory, &mut found);
            for found in &found {
                let (row, query) = (part * scan.block() + found.row as usize, found.query as usize);
                if row < query && found.score >= threshold {
                    alike[query].push((row, found.score));
                }
            }
        }
        for (row, values) in block.chunks_exact(width).enumerate() {
            for &(earlier, score) in &alike[row] {
                if best[earlier].is_none() && best[row].is_none_or(|best| score > best.score) {
                    best[row] = Some(DuplicateOf { index: first + earlier, score });
                }
            }
            if best[row].is_none() {
                kept.extend(values);
                which.push(first + row);
            }
        }
        result.append(&mut best);
    }
    progress(count, count);
    Ok(result)
}

/// For each row of a block the most alike of those that stay.
fn before(
    block: &[f32],
    kept: &[f32],
    which: &[usize],
    width: usize,
    similarity: Similarity,
    threshold: f32,
) -> Vec<Option<DuplicateOf>> {
    let scan = Scan::new(block, width, similarity);
    let shape = [which.len(), block.len() / width];
    let look = |rows: std::ops::Range<usize>,
                floors: &[f32],
                memory: &mut (Memory, Vec<f32>),
                found: &mut Vec<_>| {
        let (memory, raised) = memory;
        raised.clear();
        raised.extend(floors.iter().map(|floor| floor.max(threshold)));
        scan.reaching(&kept[rows.start * width..rows.end * width], raised, |_| f32::INFINITY, memory, found);
    };
    let hits = crate::top_k::best_of_blocks(shape, scan.block(), 1, &|_| true, look);
    let best = hits.into_iter().map(|hits| {
        let hit = hits.first().filter(|hit| hit.score >= threshold)?;
        Some(DuplicateOf { index: which[hit.index], score: hit.score })
    });
    best.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(rows: &Rows, similarity: Similarity, threshold: f32) -> Vec<Option<DuplicateOf>> {
        if rows.is_empty() {
            return Vec::new();
        }
        let scores = similarity::matrix(rows, rows, similarity).unwrap();
        let mut result: Vec<Option<DuplicateOf>> = Vec::new();
        for row in 0..rows.rows() {
            let mut best: Option<DuplicateOf> = None;
            for earlier in 0..row {
                let score = scores.row(row)[earlier];
                if result[earlier].is_none()
                    && score >= threshold
                    && best.is_none_or(|best| score > best.score)
                {
                    best = Some(DuplicateOf { index: earlier, score });
                }
            }
            result.push(best);
        }
        result
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn are_those_of_the_definition(
            values in prop::collection::vec(prop::sample::select(vec![-1.0f32, 0.0, 0.5, 1.0, 2.0]), 0..200),
            threshold in 0.5f32..1.01,
        ) {
            let rows = Rows::new(values[..values.len() / 4 * 4].to_vec(), 4).unwrap();
            for similarity in [Similarity::Cosine, Similarity::Euclidean] {
                let threshold = if similarity == Similarity::Cosine { threshold } else { -threshold };
                let found = near_duplicates(&rows, similarity, threshold, &mut |_, _| true).unwrap();
                prop_assert_eq!(found, naive(&rows, similarity, threshold));
            }
        }
    }

    #[test]
    fn blocks_and_threads_do_not_show() {
        let number = |i: usize| ((i * i * 31 + i / 11 * 7) % 17) as f32 - 8.0;
        let rows = Rows::new((0..2600 * 6).map(number).collect(), 6).unwrap();
        let expected = naive(&rows, Similarity::Cosine, 0.97);
        let stay = expected.iter().filter(|own| own.is_none()).count();
        assert!((100..2500).contains(&stay), "{stay}");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found =
                pool.install(|| near_duplicates(&rows, Similarity::Cosine, 0.97, &mut |_, _| true)).unwrap();
            assert_eq!(found, expected);
        }
        assert_eq!(
            near_duplicates(&rows, Similarity::Cosine, 0.9, &mut |_, _| false),
            Err(Error::Interrupted)
        );
        assert!(near_duplicates(&rows, Similarity::Cosine, f32::NAN, &mut |_, _| true).is_err());
        let nan = Rows::new(vec![1.0, f32::NAN], 1).unwrap();
        assert!(
            near_duplicates(&nan, Similarity::Cosine, 0.9, &mut |_, _| true)
                .unwrap_err()
                .to_string()
                .contains("row 1")
        );
    }
}
