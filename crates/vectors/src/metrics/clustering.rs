//! Homogeneity, completeness and V-measure of a clustering against classes. Not the clustering itself.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// How well clusters and classes agree; each number between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// 1 if every cluster holds members of one class only.
    pub homogeneity: f64,
    /// 1 if every class lies within one cluster.
    pub completeness: f64,
    /// The harmonic mean of both.
    pub v_measure: f64,
}

/// Compares `clusters` with the true `classes`, one number per row in each; the numbers are names only.
///
/// Homogeneity is `I / H(classes)`, completeness `I / H(clusters)`, with the mutual information `I`; an entropy of 0
/// gives 1. Source: Rosenberg and Hirschberg 2007; `sklearn.metrics.homogeneity_completeness_v_measure` with `beta = 1`.
///
/// # Errors
/// If the lists differ in length or are empty.
pub fn agreement(classes: &[usize], clusters: &[usize]) -> Result<Agreement> {
    if classes.len() != clusters.len() {
        return Err(Error::LengthMismatch { left: classes.len(), right: clusters.len() });
    }
    if classes.is_empty() {
        return Err(Error::TooFew { what: "a V-measure", needed: 1, unit: "rows", got: 0, remedy: "" });
    }
    let total = classes.len() as f64;
    let by_class = counts(classes.iter().copied());
    let by_cluster = counts(clusters.iter().copied());
    // log(nab N / (na nb)) of one quotient: exactly 0 where class and cluster are independent.
    let information: f64 = counts(classes.iter().copied().zip(clusters.iter().copied()))
        .iter()
        .map(|((class, cluster), &both)| {
            both / total * (both * total / (by_class[class] * by_cluster[cluster])).ln()
        })
        .sum();
    let share = |counts: &BTreeMap<usize, f64>| {
        let entropy: f64 = counts.values().map(|&n| n / total * (total / n).ln()).sum();
        if counts.len() == 1 { 1.0 } else { (information / entropy).clamp(0.0, 1.0) }
    };
    let (homogeneity, completeness) = (share(&by_class), share(&by_cluster));
    let sum = homogeneity + completeness;
    let v_measure = if sum == 0.0 { 0.0 } else { 2.0 * homogeneity * completeness / sum };
    Ok(Agreement { homogeneity, completeness, v_measure })
}

fn counts<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, f64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0.0) += 1.0;
    }
    counts
}
