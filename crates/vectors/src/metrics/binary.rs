//! Average precision of scored pairs that are labelled similar or not. Equal scores are one step, whatever their order.

use crate::error::{Error, Result};

/// Average precision: `Σ (Rₙ − Rₙ₋₁) Pₙ` over the distinct scores from the largest to the smallest, between 0 and 1.
///
/// A larger score means more similar; pass distances negated. 0 if no pair is positive.
/// Source: `sklearn.metrics.average_precision_score`.
///
/// # Errors
/// If the lists differ in length or are empty, or a score is NaN.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Result<f64> {
    if scores.len() != labels.len() {
        return Err(Error::LengthMismatch { left: scores.len(), right: labels.len() });
    }
    if scores.is_empty() {
        return Err(Error::TooFew {
            what: "average precision",
            needed: 1,
            unit: "pairs",
            got: 0,
            remedy: "",
        });
    }
    if let Some(pair) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::Setting(format!(
            "the score of pair {pair} is NaN: remove the pair, or find out what made it"
        )));
    }
    let positives = labels.iter().filter(|&&label| label).count();
    if positives == 0 {
        return Ok(0.0);
    }
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (mut seen, mut correct, mut sum) = (0, 0, 0.0);
    // `==` and not the order of the sort: 0 and -0 are equal scores.
    for group in pairs.chunk_by(|left, right| left.0 == right.0) {
        let new = group.iter().filter(|pair| pair.1).count();
        seen += group.len();
        correct += new;
        sum += new as f64 / positives as f64 * (correct as f64 / seen as f64);
    }
    Ok(sum)
}
