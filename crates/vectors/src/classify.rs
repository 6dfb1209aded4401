//! Classes of rows, learned from rows whose classes are known.
//!
//! Not here: the names of classes, texts, and files.

pub mod calibrate;
pub mod folds;
pub mod lbfgs;
pub mod logistic;
pub mod prototype;

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::similarity::check_widths;

/// Anything that scores classes: rows `[n, width]` in, `[n, classes]` out.
pub trait Classifier {
    /// Scores whose softmax is the probability of each class.
    ///
    /// # Errors
    /// If the width is not that of the rows it was learned from.
    fn decision_function(&self, rows: &Rows) -> Result<Rows>;

    /// `[n, classes]`, each row adding up to one.
    ///
    /// # Errors
    /// As [`Classifier::decision_function`].
    fn predict_proba(&self, rows: &Rows) -> Result<Rows> {
        let mut scores = self.decision_function(rows)?.into_vec();
        let classes = scores.len().checked_div(rows.rows()).unwrap_or(1).max(1);
        scores.chunks_exact_mut(classes).for_each(|scores| softmax(scores, 1.0));
        Rows::new(scores, classes)
    }

    /// The class of each row: the highest score, the first of equals.
    ///
    /// # Errors
    /// As [`Classifier::decision_function`].
    fn predict(&self, rows: &Rows) -> Result<Vec<usize>> {
        Ok(self.decision_function(rows)?.iter().map(highest).collect())
    }
}

/// What tells the relation of two vectors, u and v, side by side: `[u, v, |u − v|]`, `[n, 3 · width]`. Source: Reimers and Gurevych 2019, and
/// `SoftmaxLoss` of sentence-transformers with its defaults (`losses/softmax.py`).
///
/// # Errors
/// If the two do not have the same shape.
pub fn pair_features(left: &Rows, right: &Rows) -> Result<Rows> {
    check_widths(left, right)?;
    if left.rows() != right.rows() {
        return Err(Error::LengthMismatch { left: left.rows(), right: right.rows() });
    }
    let mut values = Vec::with_capacity(3 * left.as_slice().len());
    for (u, v) in left.iter().zip(right) {
        values.extend(u);
        values.extend(v);
        values.extend(u.iter().zip(v).map(|(u, v)| (u - v).abs()));
    }
    Rows::new(values, 3 * left.width())
}

/// The place of the highest number, the first of equals.
pub fn highest(scores: &[f32]) -> usize {
    let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).fold(0, better)
}

/// Scores times `scale` as probabilities.
pub fn softmax(scores: &mut [f32], scale: f32) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (scale * (*score - largest)).exp();
        sum += f64::from(*score);
    }
    scores.iter_mut().for_each(|score| *score = (f64::from(*score) / sum) as f32);
}

/// Rows and their classes, 0 to `classes` − 1, of which there must be two at least, each with a row.
pub(crate) fn check(rows: &Rows, labels: &[usize]) -> Result<usize> {
    if rows.rows() != labels.len() {
        return Err(Error::LengthMismatch { left: rows.rows(), right: labels.len() });
    }
    if let Some(row) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
        return Err(Error::Setting(format!(
            "row {row} holds NaN or infinity: nothing can be learned from it"
        )));
    }
    let classes = labels.iter().max().map_or(0, |last| last + 1);
    let mut counts = vec![0; classes];
    labels.iter().for_each(|&label| counts[label] += 1);
    if let Some(class) = counts.iter().position(|&count| count == 0) {
        return Err(Error::Setting(format!("class {class} has no row: number the classes without gaps")));
    }
    if classes < 2 {
        return Err(Error::TooFew {
            what: "a classifier",
            needed: 2,
            unit: "classes",
            got: classes,
            remedy: ": add rows of another class",
        });
    }
    Ok(classes)
}
