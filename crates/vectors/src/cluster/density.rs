//! HDBSCAN: clusters are where rows lie densely, of any density; what lies between belongs to none (Campello, Moulavi and Sander 2013). As `HDBSCAN`
//! of scikit-learn 1.9 (`cluster/_hdbscan`): excess of mass, no single cluster. Clusters that are equally far apart join at once here, so that the order
//! of rows does not show; there they join one by one.

use super::linkage::condensed;
use super::{by_size, check, check_most};
use crate::error::{Error, Result};
use crate::rows::Rows;

/// The sizes that matter; names and defaults are those of scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DensityOptions {
    /// The fewest rows of a cluster. Default: 5.
    pub min_cluster_size: usize,
    /// A row lies as densely as its so-manieth nearest is near, itself counted. Default: `min_cluster_size`.
    pub min_samples: Option<usize>,
}

impl Default for DensityOptions {
    fn default() -> Self {
        Self { min_cluster_size: 5, min_samples: None }
    }
}

/// A joining of clusters of the tree of all rows: two, or more that are equally far apart.
struct Join {
    children: Vec<usize>,
    distance: f64,
    size: usize,
}

/// A cluster of the condensed tree: where it begins, what falls out of it, and how long its rows stay.
#[derive(Default)]
struct Dense {
    birth: f64,
    stability: f64,
    children: Vec<usize>,
    /// Rows that leave it before it ends or splits.
    rows: Vec<usize>,
}

/// A cluster for each row, named by [`by_size`]; −1 for rows of none. By the Euclidean distance of rows of unit length.
///
/// # Errors
/// If there are fewer than two rows or more than [`super::MOST_ROWS`], a row is not finite, or an option is out of range.
pub fn hdbscan(rows: &Rows, options: &DensityOptions) -> Result<Vec<i64>> {
    check(rows, 2)?;
    check_most(rows)?;
    let count = rows.rows();
    let samples = options.min_samples.unwrap_or(options.min_cluster_size);
    if options.min_cluster_size < 2 || samples == 0 || samples > count {
        return Err(Error::Setting(format!(
            "min_cluster_size is {} and min_samples {samples} of {count} rows: at least 2, and 1 to {count}",
            options.min_cluster_size
        )));
    }
    let mut unit = rows.clone();
    unit.normalize();
    let tree = joined(&spanning_tree(&condensed(&unit), count, samples), count);
    let clusters = condense(&tree, count, options.min_cluster_size);
    Ok(by_size(&labels(&clusters, count)))
}

/// Edges of the smallest tree that spans all rows by the mutual reachability, max(core a, core b, distance): Prim's algorithm.
fn spanning_tree(condensed: &[f32], count: usize, samples: usize) -> Vec<(usize, usize, f64)> {
    let distance = |a: usize, b: usize| {
        let (low, high) = (a.min(b), a.max(b));
        if low == high { 0.0 } else { condensed[low * (2 * count - low - 1) / 2 + high - low - 1] }
    };
    let core = |row: usize| {
        let mut own: Vec<f32> = (0..count).map(|other| distance(row, other)).collect();
        *own.select_nth_unstable_by(samples - 1, f32::total_cmp).1
    };
    let cores: Vec<f32> = (0..count).map(core).collect();
    let mut best = vec![(f32::INFINITY, 0); count];
    let mut inside = vec![false; count];
    let (mut row, mut edges) = (0, Vec::with_capacity(count - 1));
    for _ in 1..count {
        inside[row] = true;
        let mut next = None;
        for other in (0..count).filter(|&other| !inside[other]) {
            let reach = distance(row, other).max(cores[row]).max(cores[other]);
            if reach < best[other].0 {
                best[other] = (reach, row);
            }
            if next.is_none_or(|next: usize| best[other].0 < best[next].0) {
                next = Some(other);
            }
        }
        let Some(next) = next else { break };
        edges.push((best[next].1, next, f64::from(best[next].0)));
        row = next;
    }
    edges.sort_by(|a, b| a.2.total_cmp(&b.2));
    edges
}

/// The tree of joinings: rows are 0 to `count` − 1, joining i is `count` + i.
fn joined(edges: &[(usize, usize, f64)], count: usize) -> Vec<Join> {
    let mut parent: Vec<usize> = (0..2 * count - 1).collect();
    fn top(parent: &mut [usize], mut node: usize) -> usize {
        while parent[node] != node {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        node
    }
    let mut tree: Vec<Join> = Vec::with_capacity(edges.len());
    for equal in edges.chunk_by(|a, b| a.2 == b.2) {
        // What is joined here, before it is.
        let ends: Vec<[usize; 2]> =
            equal.iter().map(|&(a, b, _)| [top(&mut parent, a), top(&mut parent, b)]).collect();
        let mut group: std::collections::BTreeMap<usize, usize> =
            ends.iter().flatten().map(|&end| (end, end)).collect();
        fn first(group: &std::collections::BTreeMap<usize, usize>, mut end: usize) -> usize {
            while group[&end] != end {
                end = group[&end];
            }
            end
        }
        for [a, b] in ends {
            let (a, b) = (first(&group, a), first(&group, b));
            group.insert(a.max(b), a.min(b));
        }
        let mut joins: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
        for &end in group.keys() {
            joins.entry(first(&group, end)).or_default().push(end);
        }
        for children in joins.into_values() {
            let node = count + tree.len();
            children.iter().for_each(|&child| parent[child] = node);
            let size =
                children.iter().map(|&child| if child < count { 1 } else { tree[child - count].size }).sum();
            tree.push(Join { children, distance: equal[0].2, size });
        }
    }
    tree
}

/// Clusters from the whole down: a joining splits one only if both sides are large enough; else rows fall out of it.
fn condense(tree: &[Join], count: usize, min_cluster_size: usize) -> Vec<Dense> {
    let mut clusters = vec![Dense::default()];
    let size = |node: usize| if node < count { 1 } else { tree[node - count].size };
    let mut open = vec![(count + tree.len() - 1, 0)];
    while let Some((node, cluster)) = open.pop() {
        if node < count {
            continue;
        }
        let Join { children, distance, .. } = &tree[node - count];
        let lambda = if *distance > 0.0 { 1.0 / distance } else { f64::INFINITY };
        let stays =
            |birth: f64| if lambda.is_infinite() && birth.is_infinite() { 0.0 } else { lambda - birth };
        let birth = clusters[cluster].birth;
        let split = children.iter().filter(|&&child| size(child) >= min_cluster_size).count() > 1;
        for &child in children {
            if size(child) >= min_cluster_size {
                let within = if split {
                    clusters[cluster].stability += stays(birth) * size(child) as f64;
                    clusters.push(Dense { birth: lambda, ..Dense::default() });
                    let new = clusters.len() - 1;
                    clusters[cluster].children.push(new);
                    new
                } else {
                    cluster
                };
                open.push((child, within));
                continue;
            }
            // All rows below leave here.
            let mut below = vec![child];
            while let Some(node) = below.pop() {
                if node < count {
                    clusters[cluster].rows.push(node);
                    clusters[cluster].stability += stays(birth);
                } else {
                    below.extend(&tree[node - count].children);
                }
            }
        }
    }
    clusters
}

/// Clusters that are more stable than what they split into, and their rows (excess of mass). The whole is none.
fn labels(clusters: &[Dense], count: usize) -> Vec<i64> {
    let mut chosen = vec![true; clusters.len()];
    let mut stability: Vec<f64> = clusters.iter().map(|own| own.stability).collect();
    // Children have higher numbers.
    for at in (1..clusters.len()).rev() {
        let below: f64 = clusters[at].children.iter().map(|&child| stability[child]).sum();
        if below > stability[at] {
            chosen[at] = false;
            stability[at] = below;
        }
    }
    chosen[0] = false;
    let mut labels = vec![-1; count];
    let mut open = vec![(0, None)];
    while let Some((at, within)) = open.pop() {
        let within = within.or(chosen[at].then_some(at));
        if let Some(name) = within {
            clusters[at].rows.iter().for_each(|&row| labels[row] = name as i64);
        }
        open.extend(clusters[at].children.iter().map(|&child| (child, within)));
    }
    labels
}
