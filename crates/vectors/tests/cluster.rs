//! Clusterings against scikit-learn and sentence-transformers: `golden/clusters.json` (`golden/make_clusters.py`).

mod common;

use std::sync::LazyLock;

use serde_json::Value;

use sentir_vectors::cluster::community::{CommunityOptions, community_detection};
use sentir_vectors::cluster::density::{DensityOptions, hdbscan};
use sentir_vectors::cluster::kmeans::{KMeansOptions, kmeans};
use sentir_vectors::cluster::linkage::{Linkage, Until, agglomerative};
use sentir_vectors::cluster::plane::principal_components;
use sentir_vectors::cluster::t_sne::{TsneOptions, t_sne};
use sentir_vectors::cluster::{MOST_ROWS, by_size, representatives};
use sentir_vectors::{Error, Rows, Similarity, similarity};

use common::numbers;

static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/clusters.json");
    serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path)
});

/// `groups` of the script.
fn groups(rows: usize, width: usize, count: usize, spread: f32, seed: u64) -> Rows {
    let (centers, noise) = (numbers(count * width, seed), numbers(rows * width, seed + 1));
    let value = |at: usize| {
        let own = (at / width) * (at / width) % count;
        let tightness = spread * (0.4 + own as f32 / count as f32);
        centers[own * width + at % width] + tightness * noise[at]
    };
    Rows::new((0..rows * width).map(value).collect(), width).unwrap()
}

fn cases(kind: &str) -> impl Iterator<Item = (&'static Value, Rows)> {
    GOLDEN[kind].as_array().unwrap().iter().map(|case| {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let spread = case["spread"].as_f64().unwrap() as f32;
        (case, groups(number("rows"), number("width"), number("count"), spread, number("seed") as u64))
    })
}

fn labels(value: &Value) -> Vec<i64> {
    by_size(&value.as_array().unwrap().iter().map(|label| label.as_i64().unwrap()).collect::<Vec<_>>())
}

#[test]
fn trees_are_cut_as_by_scikit_learn() {
    let mut compared = 0;
    for (case, rows) in cases("agglomerative") {
        let linkage: Linkage = case["linkage"].as_str().unwrap().parse().unwrap();
        let by_count = agglomerative(&rows, linkage, Until::Clusters(6)).unwrap();
        assert_eq!(by_count, labels(&case["six"]), "{linkage}");
        let by_distance = agglomerative(&rows, linkage, Until::Distance(0.6)).unwrap();
        assert_eq!(by_distance, labels(&case["near"]), "{linkage}");
        compared += 1;
    }
    assert_eq!(compared, 12);
    assert!("median".parse::<Linkage>().unwrap_err().to_string().contains("average, complete, single, ward"));
}

#[test]
fn dense_places_are_those_of_scikit_learn() {
    let mut clusters = 0;
    for (case, rows) in cases("hdbscan") {
        let options = DensityOptions {
            min_cluster_size: case["min_cluster_size"].as_u64().unwrap() as usize,
            min_samples: case["min_samples"].as_u64().map(|samples| samples as usize),
        };
        let found = hdbscan(&rows, &options).unwrap();
        assert_eq!(found, labels(&case["labels"]), "{options:?}, {} rows", rows.rows());
        clusters += found.iter().max().unwrap() + 1;
    }
    assert!(clusters > 20, "{clusters}");
}

#[test]
fn communities_are_those_of_sentence_transformers() {
    for (case, rows) in cases("community") {
        let options = CommunityOptions {
            threshold: case["threshold"].as_f64().unwrap() as f32,
            min_community_size: case["min_community_size"].as_u64().unwrap() as usize,
        };
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| community_detection(&rows, &options, &mut |_, _| true).unwrap());
            let found: Value = found.into();
            assert_eq!(found, case["communities"], "{options:?}, {} rows", rows.rows());
        }
    }
}

/// More rows than one block of queries, with rows that are equal: by the definition.
#[test]
fn communities_of_thousands() {
    let mut rows = groups(2300, 6, 90, 0.6, 9).into_vec();
    rows.copy_within(0..600 * 6, 1500 * 6);
    let rows = Rows::new(rows, 6).unwrap();
    let options = CommunityOptions { threshold: 0.93, min_community_size: 8 };
    let scores = similarity::matrix(&rows, &rows, Similarity::Cosine).unwrap();
    let mut all: Vec<(usize, Vec<usize>)> = (0..rows.rows())
        .map(|row| {
            let scores = scores.row(row);
            let mut near: Vec<usize> = (0..rows.rows()).filter(|&other| scores[other] >= 0.93).collect();
            near.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            (row, near)
        })
        .filter(|(_, near)| near.len() >= 8)
        .collect();
    all.sort_by_key(|(_, near)| std::cmp::Reverse(near.len()));
    let (mut used, mut expected) = (vec![false; rows.rows()], Vec::new());
    for (center, near) in all {
        let free: Vec<usize> = near.into_iter().filter(|&row| !used[row]).collect();
        if !used[center] && free.len() >= 8 {
            let mut community = vec![center];
            community.extend(free.into_iter().filter(|&row| row != center));
            community.iter().for_each(|&row| used[row] = true);
            expected.push(community);
        }
    }
    expected.sort_by_key(|community: &Vec<usize>| std::cmp::Reverse(community.len()));
    assert!(expected.len() > 10);
    let mut told = Vec::new();
    let found = community_detection(&rows, &options, &mut |done, all| {
        told.push((done, all));
        true
    });
    assert_eq!(found.unwrap(), expected);
    assert!(told.is_sorted() && told.iter().all(|(done, all)| done <= all), "{told:?}");
    assert_eq!(community_detection(&rows, &options, &mut |_, _| false), Err(Error::Interrupted));
}

#[test]
fn means_are_as_good_as_those_of_scikit_learn() {
    for (case, mut rows) in cases("kmeans") {
        rows.normalize();
        // The best of thirty starts there; the best of some here.
        let mut best = f64::INFINITY;
        for seed in 0..30 {
            let options = KMeansOptions { n_clusters: 9, seed, ..KMeansOptions::default() };
            let found = kmeans(&rows, &options, &mut |_| true).unwrap();
            let squares = |(row, &label): (&[f32], &usize)| -> f64 {
                row.iter().zip(found.centers.row(label)).map(|(x, c)| f64::from(x - c).powi(2)).sum()
            };
            let inertia: f64 = rows.iter().zip(&found.labels).map(squares).sum();
            assert!((found.inertia - inertia).abs() < 1e-4 * inertia, "{} for {inertia}", found.inertia);
            best = best.min(found.inertia);
        }
        let expected = case["inertia"].as_f64().unwrap();
        assert!(best < 1.005 * expected, "{best} for {expected}");
    }
}

#[test]
fn means_of_samples_are_nearly_as_good_and_threads_do_not_show() {
    let rows = groups(6000, 10, 40, 0.8, 5);
    let find = |sample: usize, threads: usize| {
        let options = KMeansOptions { n_clusters: 12, sample, ..KMeansOptions::default() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| kmeans(&rows, &options, &mut |_| true).unwrap())
    };
    let (whole, sampled) = (find(6000, 2), find(30, 2));
    assert!(sampled.inertia < 1.1 * whole.inertia, "{} {}", sampled.inertia, whole.inertia);
    assert_eq!(find(30, 1), sampled);
    assert_eq!(find(30, 3), sampled);
}

#[test]
fn the_plane_is_that_of_scikit_learn() {
    for (case, mut rows) in cases("pca") {
        rows.normalize();
        let found = principal_components(&rows).unwrap();
        for (point, expected) in found.iter().zip(case["points"].as_array().unwrap()) {
            for (got, expected) in point.iter().zip(expected.as_array().unwrap()) {
                let expected = expected.as_f64().unwrap();
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} for {expected}");
            }
        }
    }
    let line = principal_components(&Rows::new(vec![1.0, 2.0, 6.0], 1).unwrap()).unwrap();
    assert_eq!(line.as_slice(), [-2.0, 0.0, -1.0, 0.0, 3.0, 0.0]);
}

/// Trustworthiness: how few of the points' `k` nearest neighbors are no neighbors of the rows (Venna and Kaski 2001; `sklearn.manifold`).
fn trustworthiness(rows: &Rows, points: &Rows, k: usize) -> f64 {
    let order = |all: &Rows, row: usize| -> Vec<usize> {
        let far = |other: usize| -> f64 {
            all.row(row).iter().zip(all.row(other)).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        let mut others: Vec<usize> = (0..all.rows()).filter(|&other| other != row).collect();
        others.sort_by(|&a, &b| far(a).total_cmp(&far(b)));
        others
    };
    let n = rows.rows();
    let lost: usize = (0..n)
        .map(|row| {
            let mut rank = vec![0; n];
            order(rows, row).into_iter().enumerate().for_each(|(at, other)| rank[other] = at + 1);
            order(points, row)[..k].iter().map(|&other| rank[other].saturating_sub(k)).sum::<usize>()
        })
        .sum();
    1.0 - 2.0 / (n * k * (2 * n - 3 * k - 1)) as f64 * lost as f64
}

#[test]
fn maps_keep_neighbors_as_those_of_scikit_learn_do() {
    for (case, mut rows) in cases("maps") {
        rows.normalize();
        let [theirs, pca] = ["t_sne", "pca"].map(|key| case[key].as_f64().unwrap());
        let flat = trustworthiness(&rows, &principal_components(&rows).unwrap(), 12);
        assert!((flat - pca).abs() < 1e-3, "{flat} for {pca}");
        let mut maps = Vec::new();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut steps = 0;
            maps.push(pool.install(|| t_sne(&rows, &TsneOptions::default(), |_, _| steps += 1).unwrap()));
            assert_eq!(steps, 1000);
        }
        assert_eq!(maps[0], maps[1]);
        let own = trustworthiness(&rows, &maps[0], 12);
        assert!(own > theirs - 0.01 && own > pca, "{own} for {theirs}, {pca}");
    }
}

#[test]
fn maps_of_few_or_equal_rows_are_maps() {
    for rows in [2, 5, 8, 9, 40] {
        let same = Rows::new(vec![0.5; rows * 3], 3).unwrap();
        let points = t_sne(&same, &TsneOptions::default(), |_, _| {}).unwrap();
        assert_eq!(points.shape(), [rows, 2]);
        assert!(points.as_slice().iter().all(|x| x.is_finite()), "{rows}: {:?}", points.as_slice());
        // Two places, most rows in one of them; and rows along a line.
        for width in [1, 3] {
            let value =
                |at: usize| if (at / width).is_multiple_of(7) { -1.0 } else { 0.5 + (at % width) as f32 };
            let two = Rows::new((0..rows * width).map(value).collect(), width).unwrap();
            let points = t_sne(&two, &TsneOptions::default(), |_, _| {}).unwrap();
            assert!(points.as_slice().iter().all(|x| x.is_finite()), "{rows}: {:?}", points.as_slice());
        }
    }
    assert!(t_sne(&Rows::new(vec![f32::NAN; 6], 3).unwrap(), &TsneOptions::default(), |_, _| {}).is_err());
}

#[test]
fn names_go_by_size_and_the_nearest_stand_for_a_cluster() {
    assert_eq!(by_size(&[5, -1, 3, 3, 5, 9]), [0, -1, 1, 1, 0, 2]);
    let rows = Rows::new(vec![1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.8, 0.3, 5.0, 5.0], 2).unwrap();
    assert_eq!(representatives(&rows, &[0, 0, 1, 0, -1], 2), [vec![1, 0], vec![2]]);
}

#[test]
fn what_cannot_be_clustered_is_said() {
    let one = Rows::new(vec![1.0, 2.0], 2).unwrap();
    let nan = Rows::new(vec![1.0, 2.0, f32::NAN, 0.0], 2).unwrap();
    let same = Rows::new(vec![1.0; 12], 2).unwrap();
    let many = Rows::new(vec![1.0; MOST_ROWS + 1], 1).unwrap();
    let means = |rows: &Rows, n_clusters: usize| {
        kmeans(rows, &KMeansOptions { n_clusters, ..KMeansOptions::default() }, &mut |_| true)
    };
    let said = |error: Error| error.to_string();
    assert!(said(means(&one, 2).unwrap_err()).contains("at least 2 rows, got 1"));
    assert!(said(means(&one, 0).unwrap_err()).contains("n_clusters"));
    assert!(said(means(&nan, 2).unwrap_err()).contains("row 1"));
    assert_eq!(
        kmeans(&same, &KMeansOptions { n_clusters: 3, ..Default::default() }, &mut |_| false),
        Err(Error::Interrupted)
    );
    // Rows that are all the same have no distance to anything.
    let found = means(&same, 3).unwrap();
    assert!(found.inertia < 1e-9 && found.labels.len() == 6);
    assert!(said(agglomerative(&one, Linkage::Ward, Until::Clusters(1)).unwrap_err()).contains("at least 2"));
    assert!(
        said(agglomerative(&same, Linkage::Ward, Until::Clusters(7)).unwrap_err())
            .contains("7 clusters of 6 rows")
    );
    assert!(
        said(agglomerative(&many, Linkage::Single, Until::Clusters(2)).unwrap_err()).contains("too many")
    );
    assert_eq!(agglomerative(&same, Linkage::Average, Until::Distance(0.1)).unwrap(), [0; 6]);
    assert!(said(hdbscan(&many, &DensityOptions::default()).unwrap_err()).contains("too many"));
    assert!(
        said(hdbscan(&same, &DensityOptions { min_cluster_size: 1, min_samples: None }).unwrap_err())
            .contains("at least 2")
    );
    assert!(
        said(hdbscan(&same, &DensityOptions { min_cluster_size: 9, min_samples: None }).unwrap_err())
            .contains("1 to 6")
    );
    assert_eq!(hdbscan(&same, &DensityOptions { min_cluster_size: 3, min_samples: None }).unwrap().len(), 6);
    let options = CommunityOptions { threshold: f32::NAN, min_community_size: 1 };
    assert!(community_detection(&same, &options, &mut |_, _| true).is_err());
    let few = CommunityOptions::default();
    assert!(community_detection(&same, &few, &mut |_, _| true).unwrap().is_empty());
    assert!(community_detection(&Rows::empty(3), &few, &mut |_, _| true).unwrap().is_empty());
    let small = CommunityOptions { threshold: 0.9, min_community_size: 2 };
    assert_eq!(community_detection(&same, &small, &mut |_, _| true).unwrap(), [[0, 1, 2, 3, 4, 5]]);
    assert!(principal_components(&one).is_err());
}
