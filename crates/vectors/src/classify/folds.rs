//! Parts of the rows that are held out in turn, each with its share of every class; and C chosen by them.
//!
//! `StratifiedKFold` (without shuffling) and `LogisticRegressionCV` of scikit-learn 1.9 (`model_selection/_split.py`, `linear_model/_logistic.py`).

use super::logistic::{LogisticOptions, LogisticRegression};
use super::{Classifier, check};
use crate::error::{Error, Result};
use crate::rows::Rows;

/// The part, 0 to `splits` − 1, that each row belongs to.
///
/// # Errors
/// If there are fewer than two splits, or a class has fewer rows than splits: it would be missing somewhere.
pub fn stratified_folds(labels: &[usize], splits: usize) -> Result<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |last| last + 1);
    let mut counts = vec![0; classes];
    labels.iter().for_each(|&label| counts[label] += 1);
    if splits < 2 {
        return Err(Error::Setting(format!("{splits} folds: there must be two or more")));
    }
    if let Some(class) = counts.iter().position(|&count| count < splits) {
        return Err(Error::Setting(format!(
            "class {class} has {} rows, fewer than the {splits} folds: take fewer folds, or add rows",
            counts[class]
        )));
    }
    // Classes in the order in which they first come.
    let mut rank = vec![usize::MAX; classes];
    let mut next = 0;
    for &label in labels {
        if rank[label] == usize::MAX {
            (rank[label], next) = (next, next + 1);
        }
    }
    // Of the rows sorted by class, fold i is given those at i, i + splits, …
    let mut sorted: Vec<usize> = labels.iter().map(|&label| rank[label]).collect();
    sorted.sort_unstable();
    let mut allocated = vec![vec![0; classes]; splits];
    sorted.iter().enumerate().for_each(|(at, &class)| allocated[at % splits][class] += 1);
    let mut left = allocated;
    let mut fold = vec![0; classes];
    let folds = labels.iter().map(|&label| {
        let class = rank[label];
        while left[fold[class]][class] == 0 {
            fold[class] += 1;
        }
        left[fold[class]][class] -= 1;
        fold[class]
    });
    Ok(folds.collect())
}

/// Those rows whose fold is, or is not, `fold`.
pub fn part(
    rows: &Rows,
    labels: &[usize],
    folds: &[usize],
    fold: usize,
    held_out: bool,
) -> Result<(Rows, Vec<usize>)> {
    let chosen = |at: &usize| (folds[*at] == fold) == held_out;
    let mut values = Vec::new();
    (0..rows.rows()).filter(chosen).for_each(|at| values.extend(rows.row(at)));
    let labels = (0..rows.rows()).filter(chosen).map(|at| labels[at]).collect();
    Ok((Rows::new(values, rows.width())?, labels))
}

/// Scores `[n, classes]` of every row by the model that did not see its fold, in the order of rows. `progress` is called after each fold.
///
/// # Errors
/// Those of [`stratified_folds`] and of [`LogisticRegression::fit`].
pub fn held_out_scores(
    rows: &Rows,
    labels: &[usize],
    folds: &[usize],
    mut fit: impl FnMut(&Rows, &[usize]) -> Result<Box<dyn Classifier>>,
) -> Result<Rows> {
    let classes = check(rows, labels)?;
    let splits = folds.iter().max().map_or(0, |last| last + 1);
    let mut scores = vec![0.0; rows.rows() * classes];
    for fold in 0..splits {
        let (training, own) = part(rows, labels, folds, fold, false)?;
        let (test, _) = part(rows, labels, folds, fold, true)?;
        let found = fit(&training, &own)?.decision_function(&test)?;
        let places = (0..rows.rows()).filter(|&at| folds[at] == fold);
        for (at, found) in places.zip(found.iter()) {
            scores[at * classes..][..classes].copy_from_slice(found);
        }
    }
    Rows::new(scores, classes)
}

/// The grid of scikit-learn's `Cs=10`: from 1e-4 to 1e4.
pub fn grid() -> [f64; 10] {
    std::array::from_fn(|i| 10f64.powf(-4.0 + 8.0 * i as f64 / 9.0))
}

/// The C of `grid` with the best mean accuracy over the folds, the smallest of equals, with the mean of each. `go_on` is asked before each fit, with
/// how many of how many are done; false ends the work with [`Error::Interrupted`].
///
/// # Errors
/// Those of [`stratified_folds`] and of [`LogisticRegression::fit`].
pub fn choose_c(
    rows: &Rows,
    labels: &[usize],
    folds: &[usize],
    grid: &[f64],
    options: &LogisticOptions,
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<(f64, Vec<f64>)> {
    check(rows, labels)?;
    let splits = folds.iter().max().map_or(0, |last| last + 1);
    let all = splits * grid.len();
    let mut means = vec![0.0; grid.len()];
    for fold in 0..splits {
        let (training, own) = part(rows, labels, folds, fold, false)?;
        let (test, expected) = part(rows, labels, folds, fold, true)?;
        for (at, &c) in grid.iter().enumerate() {
            if !go_on(fold * grid.len() + at, all) {
                return Err(Error::Interrupted);
            }
            let model = LogisticRegression::fit(&training, &own, &LogisticOptions { c, ..*options })?.model;
            let right = model.predict(&test)?.iter().zip(&expected).filter(|(a, b)| a == b).count();
            means[at] += right as f64 / expected.len() as f64 / splits as f64;
        }
    }
    let better = |best: usize, at: usize| if means[at] > means[best] { at } else { best };
    let best = (0..grid.len()).fold(0, better);
    Ok((grid[best], means))
}
