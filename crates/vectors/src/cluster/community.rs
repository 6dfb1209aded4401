//! Communities: rows whose cosine to one of them, the center, reaches a threshold. `community_detection` of sentence-transformers 6.2
//! (`util/retrieval.py`); here rows that are equally near have an order, and nothing depends on the size of batches.

use std::sync::{Mutex, PoisonError};

use super::check;
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::scan::{Memory, QUERIES, Scan, in_blocks};
use crate::similarity::{Similarity, prepared};

/// What counts as a community; the defaults are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommunityOptions {
    /// The least cosine to the center. Default: 0.75.
    pub threshold: f32,
    /// The fewest rows, the center included. Default: 10.
    pub min_community_size: usize,
}

impl Default for CommunityOptions {
    fn default() -> Self {
        Self { threshold: 0.75, min_community_size: 10 }
    }
}

/// Communities, the largest first, of each the center and then the others, the nearest to it first. A row is in one of them or in none: larger
/// communities take first.
///
/// Neighbors are counted for all rows, and then found again for those that may be centers: memory beside the rows is that of the neighbors of a
/// thousand. `progress` is told how many rows of how many were compared, and ends the work by returning false.
///
/// # Errors
/// If a row is not finite, the options are out of range, or the work was ended ([`Error::Interrupted`]).
pub fn community_detection(
    rows: &Rows,
    options: &CommunityOptions,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<Vec<usize>>> {
    let CommunityOptions { threshold, min_community_size } = *options;
    check(rows, 0)?;
    if !threshold.is_finite() || min_community_size == 0 {
        return Err(Error::Setting("threshold must be finite and min_community_size at least 1".to_owned()));
    }
    let (count, width) = (rows.rows(), rows.width());
    if count < min_community_size {
        return Ok(Vec::new());
    }
    let unit = prepared(rows, Similarity::Cosine);
    // At most twice as many comparisons as there are rows: once to count, once to find.
    let mut done = 0;
    let mut go_on = |rows: usize| {
        done += rows;
        progress(done.min(2 * count), 2 * count)
    };
    let mut sizes = vec![0; count];
    for start in (0..count).step_by(QUERIES) {
        let block = start..(start + QUERIES).min(count);
        let queries = &unit.as_slice()[block.start * width..block.end * width];
        for (size, near) in sizes[block.clone()].iter_mut().zip(neighbors(queries, &unit, threshold, true)) {
            *size = near.0;
        }
        if !go_on(block.len()) {
            return Err(Error::Interrupted);
        }
    }
    let mut centers: Vec<usize> = (0..count).filter(|&row| sizes[row] >= min_community_size).collect();
    centers.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then(a.cmp(&b)));
    let (mut used, mut found) = (vec![false; count], Vec::new());
    let mut next = 0;
    while next < centers.len() {
        // The next that are free yet; some of them will be taken by those before.
        let mut block = Vec::new();
        while next < centers.len() && block.len() < QUERIES {
            if !used[centers[next]] {
                block.push(centers[next]);
            }
            next += 1;
        }
        let queries: Vec<f32> = block.iter().flat_map(|&row| unit.row(row)).copied().collect();
        for (&center, (_, mut near)) in block.iter().zip(neighbors(&queries, &unit, threshold, false)) {
            if used[center] {
                continue;
            }
            near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let free = |row: &usize| !used[*row];
            let others: Vec<usize> = near.iter().map(|(row, _)| *row as usize).filter(free).collect();
            if others.len() < min_community_size {
                continue;
            }
            let mut community = vec![center];
            community.extend(others.into_iter().filter(|&row| row != center));
            community.iter().for_each(|&row| used[row] = true);
            found.push(community);
        }
        if !go_on(block.len()) {
            return Err(Error::Interrupted);
        }
    }
    found.sort_by_key(|community| std::cmp::Reverse(community.len()));
    Ok(found)
}

/// How many rows are near, and which, with their cosine.
type Near = (usize, Vec<(u32, f32)>);

/// For each query how many rows reach the threshold, and, unless they are only counted, which, with their cosine.
fn neighbors(queries: &[f32], unit: &Rows, threshold: f32, only_count: bool) -> Vec<Near> {
    let width = unit.width();
    let scan = Scan::new(queries, width, Similarity::Cosine);
    let count = queries.len() / width;
    let floors = vec![threshold; count];
    let all: Mutex<Vec<Near>> = Mutex::new(vec![(0, Vec::new()); count]);
    in_blocks(0..unit.rows(), scan.block(), |blocks| {
        let (mut memory, mut found) = (Memory::default(), Vec::new());
        let mut own: Vec<Near> = vec![(0, Vec::new()); count];
        for rows in blocks {
            let values = &unit.as_slice()[rows.start * width..rows.end * width];
            scan.reaching(values, &floors, |_| f32::INFINITY, &mut memory, &mut found);
            for found in found.iter().filter(|found| found.score >= threshold) {
                let (number, near) = &mut own[found.query as usize];
                *number += 1;
                if !only_count {
                    near.push(((rows.start + found.row as usize) as u32, found.score));
                }
            }
        }
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        for ((number, near), (own, more)) in all.iter_mut().zip(own) {
            *number += own;
            near.extend(more);
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
