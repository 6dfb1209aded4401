//! Agglomerative clustering: the two nearest clusters become one, again and again. Distances of clusters after Lance and Williams, by the crate
//! `kodama` (Müllner 2011); the tree and its cuts are those of scipy's `linkage` and `fcluster`, and of `AgglomerativeClustering` of scikit-learn.

use std::fmt;
use std::str::FromStr;

use sentir_kernels::threads;

use super::{check, check_most};
use crate::error::{Error, Result};
use crate::rows::Rows;

/// How far two clusters are from each other, by the names of scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linkage {
    /// The mean distance of their rows.
    #[default]
    Average,
    /// The largest distance of their rows.
    Complete,
    /// The smallest distance of their rows.
    Single,
    /// By how much the variance within grows.
    Ward,
}

impl Linkage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Average, Self::Complete, Self::Single, Self::Ward];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Complete => "complete",
            Self::Single => "single",
            Self::Ward => "ward",
        }
    }
}

impl fmt::Display for Linkage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Linkage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|linkage| linkage.name() == name).ok_or_else(|| Error::UnknownName {
            name: name.to_owned(),
            what: "linkage",
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Where joining ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// So many clusters are left (`n_clusters`).
    Clusters(usize),
    /// No two are at most this far apart (`distance_threshold`).
    Distance(f32),
}

/// Clusters of `rows` by the Euclidean distance of rows of unit length, √(2 − 2 cos), so that it goes by the cosine. A cluster for each row, named by
/// [`super::by_size`].
///
/// # Errors
/// If there are fewer than two rows or more than [`super::MOST_ROWS`], a row is not finite, or more clusters are wanted than there are rows.
pub fn agglomerative(rows: &Rows, linkage: Linkage, until: Until) -> Result<Vec<i64>> {
    check(rows, 2)?;
    check_most(rows)?;
    let count = rows.rows();
    let mut unit = rows.clone();
    unit.normalize();
    let mut condensed = condensed(&unit);
    let method = match linkage {
        Linkage::Average => kodama::Method::Average,
        Linkage::Complete => kodama::Method::Complete,
        Linkage::Single => kodama::Method::Single,
        Linkage::Ward => kodama::Method::Ward,
    };
    let tree = kodama::linkage(&mut condensed, count, method);
    let joins = match until {
        Until::Clusters(wanted) if (1..=count).contains(&wanted) => count - wanted,
        Until::Clusters(wanted) => {
            return Err(Error::Setting(format!(
                "{wanted} clusters of {count} rows: there must be 1 to {count}"
            )));
        }
        Until::Distance(most) => tree.steps().iter().filter(|step| step.dissimilarity <= most).count(),
    };
    // A cluster is known by the highest number that it was given.
    let mut parent: Vec<usize> = (0..2 * count - 1).collect();
    for (at, step) in tree.steps().iter().take(joins).enumerate() {
        parent[step.cluster1] = count + at;
        parent[step.cluster2] = count + at;
    }
    let top = |mut node: usize| {
        while parent[node] != node {
            node = parent[node];
        }
        node as i64
    };
    Ok(super::by_size(&(0..count).map(top).collect::<Vec<_>>()))
}

/// Distances of all pairs of rows of unit length, row by row above the diagonal.
pub(crate) fn condensed(unit: &Rows) -> Vec<f32> {
    let (count, width) = (unit.rows(), unit.width());
    let start = |row: usize| row * (2 * count - row - 1) / 2;
    let mut all = vec![0.0f32; start(count.saturating_sub(1))];
    let mut parts: Vec<(usize, &mut [f32])> = Vec::with_capacity(count);
    let mut rest = &mut all[..];
    for row in 0..count.saturating_sub(1) {
        let (part, other) = rest.split_at_mut(count - row - 1);
        parts.push((row, part));
        rest = other;
    }
    threads::pieces(&mut parts, 16, |_, parts| {
        for (row, part) in parts {
            let others = &unit.as_slice()[(*row + 1) * width..];
            crate::similarity::block(unit.row(*row), others, width, crate::Similarity::Euclidean, part);
            // Distances come negated, as similarities.
            part.iter_mut().for_each(|x| *x = 0.0 - *x);
        }
    });
    all
}
