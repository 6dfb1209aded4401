//! Scored pairs that are labelled similar or not: average precision, and the thresholds that divide them best. Equal scores are one step,
//! whatever their order.

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

/// The best threshold for some measure, and the measure there. Scores at or above it count as similar; below, if distances are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestThreshold {
    /// Halfway to the next score, in float32.
    pub threshold: f32,
    /// The measure.
    pub value: f64,
    /// The share of pairs at the threshold that are positive.
    pub precision: f64,
    /// The share of positive pairs that are found.
    pub recall: f64,
}

/// Every threshold between two different scores, from the most similar on: (threshold, positives found, pairs found).
fn thresholds(scores: &[f32], labels: &[bool], higher_is_more_similar: bool) -> Vec<(f32, usize, usize)> {
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|left, right| {
        let order = right.0.total_cmp(&left.0);
        if higher_is_more_similar { order } else { order.reverse() }
    });
    let (mut found, mut positives, mut all) = (0, 0, Vec::new());
    for group in pairs.chunk_by(|left, right| left.0 == right.0) {
        found += group.len();
        positives += group.iter().filter(|pair| pair.1).count();
        let score = group[0].0;
        let threshold = match pairs.get(found) {
            // Rounded, the middle may be the next score itself, which is not found yet.
            Some(&(next, _)) if (score + next) / 2.0 != next => (score + next) / 2.0,
            _ => score,
        };
        all.push((threshold, positives, found));
    }
    all
}

/// The highest accuracy of any threshold; the first of equals, and nothing found to begin with.
/// Source: `find_best_acc_and_threshold` of sentence-transformers 6.2 (`binary_classification.py`).
///
/// # Errors
/// If the lists differ in length or are empty, or a score is NaN.
pub fn best_accuracy(scores: &[f32], labels: &[bool], higher_is_more_similar: bool) -> Result<BestThreshold> {
    check(scores, labels)?;
    let count = labels.len();
    let all_positives = labels.iter().filter(|&&label| label).count();
    let divided = thresholds(scores, labels, higher_is_more_similar);
    let first = scores.iter().copied().fold(scores[0], |best, score| {
        if (score > best) == higher_is_more_similar && score != best { score } else { best }
    });
    let nothing = if higher_is_more_similar { first.next_up() } else { first.next_down() };
    let mut best = BestThreshold {
        threshold: nothing,
        value: (count - all_positives) as f64 / count as f64,
        precision: 0.0,
        recall: 0.0,
    };
    for (threshold, positives, found) in divided {
        let right = positives + (count - all_positives) - (found - positives);
        let value = right as f64 / count as f64;
        if value > best.value {
            let recall = positives as f64 / all_positives.max(1) as f64;
            best = BestThreshold { threshold, value, precision: positives as f64 / found as f64, recall };
        }
    }
    Ok(best)
}

/// The highest F1 of any threshold; the first of equals. All zero if no pair is positive.
/// Source: `find_best_f1_and_threshold` of sentence-transformers 6.2 (`binary_classification.py`).
///
/// # Errors
/// If the lists differ in length or are empty, or a score is NaN.
pub fn best_f1(scores: &[f32], labels: &[bool], higher_is_more_similar: bool) -> Result<BestThreshold> {
    check(scores, labels)?;
    let all_positives = labels.iter().filter(|&&label| label).count();
    let mut best = BestThreshold { threshold: 0.0, value: 0.0, precision: 0.0, recall: 0.0 };
    for (threshold, positives, found) in thresholds(scores, labels, higher_is_more_similar) {
        if positives == 0 {
            continue;
        }
        let (precision, recall) = (positives as f64 / found as f64, positives as f64 / all_positives as f64);
        let value = 2.0 * precision * recall / (precision + recall);
        if value > best.value {
            best = BestThreshold { threshold, value, precision, recall };
        }
    }
    Ok(best)
}

/// The correlation of two yes-or-no lists, −1 to 1; 0 if one of them is constant. Matthews 1975; `sklearn.metrics.matthews_corrcoef`.
///
/// # Errors
/// If the lists differ in length.
pub fn matthews_correlation(labels: &[bool], predicted: &[bool]) -> Result<f64> {
    if labels.len() != predicted.len() {
        return Err(Error::LengthMismatch { left: labels.len(), right: predicted.len() });
    }
    let count = |label: bool, own: bool| {
        labels.iter().zip(predicted).filter(|(a, b)| (**a, **b) == (label, own)).count() as f64
    };
    let (tp, tn, fp, fn_) = (count(true, true), count(false, false), count(false, true), count(true, false));
    let scale = ((tp + fp) * (tp + fn_) * (tn + fp) * (tn + fn_)).sqrt();
    Ok(if scale == 0.0 { 0.0 } else { (tp * tn - fp * fn_) / scale })
}

fn check(scores: &[f32], labels: &[bool]) -> Result<()> {
    if scores.len() != labels.len() {
        return Err(Error::LengthMismatch { left: scores.len(), right: labels.len() });
    }
    if scores.is_empty() {
        return Err(Error::TooFew { what: "a threshold", needed: 1, unit: "pairs", got: 0, remedy: "" });
    }
    if let Some(pair) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::Setting(format!(
            "the score of pair {pair} is NaN: remove the pair, or find out what made it"
        )));
    }
    Ok(())
}

/// nDCG@k of one ranking of documents that are relevant or not, by their scores: equal scores share the mean of their places. 0 if none is
/// relevant. Source: `sklearn.metrics.ndcg_score`.
///
/// # Errors
/// If the lists differ in length or are empty, or a score is NaN.
pub fn ndcg_at(scores: &[f32], relevant: &[bool], k: usize) -> Result<f64> {
    check(scores, relevant)?;
    let discount = |place: usize| if place < k { 1.0 / (place as f64 + 2.0).log2() } else { 0.0 };
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(relevant.iter().copied()).collect();
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (mut gain, mut place) = (0.0, 0);
    for group in pairs.chunk_by(|left, right| left.0 == right.0) {
        let mean = group.iter().filter(|pair| pair.1).count() as f64 / group.len() as f64;
        gain += mean * (place..place + group.len()).map(discount).sum::<f64>();
        place += group.len();
    }
    let best: f64 = (0..relevant.iter().filter(|&&relevant| relevant).count()).map(discount).sum();
    Ok(if best == 0.0 { 0.0 } else { gain / best })
}
