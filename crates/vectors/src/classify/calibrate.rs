//! Probabilities that mean what they say: temperature scaling (Guo, Pleiss, Sun and Weinberger 2017). All scores are multiplied by one number, which
//! makes what was held out most likely; no class becomes another.

use crate::error::{Error, Result};
use crate::rows::Rows;

/// The number that scores `[n, classes]` of rows that were not learned from are multiplied with: the one with the least mean log loss, between 0.01
/// and 100.
///
/// # Errors
/// If there are no rows, or not a class for each.
pub fn temperature_scale(scores: &Rows, labels: &[usize]) -> Result<f32> {
    if scores.rows() != labels.len() || labels.is_empty() {
        return Err(Error::LengthMismatch { left: scores.rows(), right: labels.len() });
    }
    let loss = |scale: f64| -> f64 {
        let of = |(scores, &label): (&[f32], &usize)| {
            let scaled = |class: usize| scale * f64::from(scores[class]);
            let largest = (0..scores.len()).map(scaled).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..scores.len()).map(|class| (scaled(class) - largest).exp()).sum();
            sum.ln() + largest - scaled(label)
        };
        scores.iter().zip(labels).map(of).sum()
    };
    // The loss is convex in the scale, so it has one lowest point along the logarithm: golden section.
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.01f64.ln(), 100f64.ln());
    let mut inner = [high - golden * (high - low), low + golden * (high - low)];
    let mut values = inner.map(|at| loss(at.exp()));
    for _ in 0..60 {
        if values[0] <= values[1] {
            high = inner[1];
            inner = [high - golden * (high - low), inner[0]];
            values = [loss(inner[0].exp()), values[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + golden * (high - low)];
            values = [values[1], loss(inner[1].exp())];
        }
    }
    Ok((0.5 * (low + high)).exp() as f32)
}
