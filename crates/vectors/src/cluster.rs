//! Groups of rows that are alike, and what tells them apart.
//!
//! Not here: texts but for their words, and how good groups are ([`crate::metrics::clustering`]).

pub mod community;
pub mod density;
pub mod keywords;
pub mod kmeans;
pub mod linkage;
pub mod plane;
pub mod t_sne;

use crate::error::{Error, Result};
use crate::rows::Rows;

/// Methods that look at all distances at once take no more rows than this: 20,000 rows have 0.8 GB of them.
pub const MOST_ROWS: usize = 20_000;

/// Finite rows, `least` of them at least.
pub(crate) fn check(rows: &Rows, least: usize) -> Result<()> {
    if rows.rows() < least {
        return Err(Error::TooFew {
            what: "clustering",
            needed: least,
            unit: "rows",
            got: rows.rows(),
            remedy: "",
        });
    }
    match rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        Some(row) => Err(Error::Setting(format!("row {row} holds NaN or infinity: it belongs to nothing"))),
        None => Ok(()),
    }
}

pub(crate) fn check_most(rows: &Rows) -> Result<()> {
    if rows.rows() > MOST_ROWS {
        return Err(Error::Setting(format!(
            "{} rows are too many for all distances at once ({MOST_ROWS} at most): use kmeans or community, or a sample",
            rows.rows()
        )));
    }
    Ok(())
}

/// Clusters named by size, the largest 0, equals by their first row; what was negative is −1 still.
pub fn by_size(labels: &[i64]) -> Vec<i64> {
    let mut found: Vec<(i64, usize, usize)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (row, &label) in labels.iter().enumerate().filter(|(_, label)| **label >= 0) {
        let at = *places.entry(label).or_insert_with(|| {
            found.push((label, 0, row));
            found.len() - 1
        });
        found[at].1 += 1;
    }
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.2.cmp(&b.2)));
    let names: std::collections::HashMap<i64, i64> =
        (0..).zip(&found).map(|(name, own)| (own.0, name)).collect();
    labels.iter().map(|label| names.get(label).copied().unwrap_or(-1)).collect()
}

/// The rows of each cluster that are nearest to its mean by the cosine, the nearest first, `count` at most.
pub fn representatives(rows: &Rows, labels: &[i64], count: usize) -> Vec<Vec<usize>> {
    let clusters = labels.iter().max().map_or(0, |last| (last + 1).max(0) as usize);
    let width = rows.width();
    let mut unit = rows.clone();
    unit.normalize();
    let mut means = vec![0.0f64; clusters * width];
    for (row, &label) in unit.iter().zip(labels).filter(|(_, label)| **label >= 0) {
        means[label as usize * width..][..width]
            .iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let mut found: Vec<Vec<(f64, usize)>> = vec![Vec::new(); clusters];
    for (at, (row, &label)) in unit.iter().zip(labels).enumerate().filter(|(_, (_, label))| **label >= 0) {
        let mean = &means[label as usize * width..][..width];
        found[label as usize].push((row.iter().zip(mean).map(|(x, m)| f64::from(*x) * m).sum(), at));
    }
    let best = found.into_iter().map(|mut own| {
        own.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        own.into_iter().take(count).map(|(_, at)| at).collect()
    });
    best.collect()
}
