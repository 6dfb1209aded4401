//! Pearson's and Spearman's correlation, as `scipy.stats` computes them. No p-values.

use crate::error::{Error, Result};

/// Pearson's correlation of two lists: `Σ (x−x̄)(y−ȳ) / (‖x−x̄‖ ‖y−ȳ‖)`, between -1 and 1.
///
/// NaN if one list is constant or holds NaN or infinity: then there is nothing to correlate. Source: `scipy.stats.pearsonr`.
///
/// # Errors
/// If the lists differ in length or have fewer than two entries.
pub fn pearson(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    let (Some(x), Some(y)) = (centered(x), centered(y)) else {
        return Ok(f64::NAN);
    };
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    // One root, so that a list and itself give exactly 1.
    Ok((product(&x, &y) / (product(&x, &x) * product(&y, &y)).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's of the ranks, where equal numbers share the mean of their ranks.
///
/// NaN if one list is constant or holds NaN. Infinity is a number like others: it ranks last. Source: `scipy.stats.spearmanr`.
///
/// # Errors
/// If the lists differ in length or have fewer than two entries.
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return Ok(f64::NAN);
    }
    pearson(&ranks(x), &ranks(y))
}

fn check(x: &[f64], y: &[f64]) -> Result<()> {
    if x.len() != y.len() {
        return Err(Error::LengthMismatch { left: x.len(), right: y.len() });
    }
    if x.len() < 2 {
        return Err(Error::TooFew {
            what: "a correlation",
            needed: 2,
            unit: "pairs",
            got: x.len(),
            remedy: "",
        });
    }
    Ok(())
}

/// `x − x̄`, times a factor that brings the largest near one; nothing if `x` is constant or not finite. A constant is
/// recognized by its values, since its computed mean may differ from them by a rounding.
fn centered(x: &[f64]) -> Option<Vec<f64>> {
    if x.iter().all(|value| *value == x[0]) || x.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // Dividing by a power of two is exact and keeps the sum of any finite numbers from overflowing.
    let scale = power_of_two_below(largest(x));
    let mean = x.iter().map(|value| value / scale).sum::<f64>() / x.len() as f64;
    let mut centered: Vec<f64> = x.iter().map(|value| value / scale - mean).collect();
    // Numbers that hardly differ: their squares could vanish.
    let scale = power_of_two_below(largest(&centered));
    centered.iter_mut().for_each(|value| *value /= scale);
    Some(centered)
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The largest power of two that is not above `x`, or the smallest normal number: the exponent bits alone.
fn power_of_two_below(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & f64::INFINITY.to_bits()).max(f64::MIN_POSITIVE)
}

/// One-based ranks; equal numbers share the mean of theirs (`scipy.stats.rankdata`, method `average`).
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&left, &right| x[left].total_cmp(&x[right]));
    let mut ranks = vec![0.0; x.len()];
    let mut start = 0;
    // `==`, not the total order that sorted them: 0 and -0 are equal, and are neighbors.
    for group in order.chunk_by(|&left, &right| x[left] == x[right]) {
        // The mean of start+1 ..= start+len.
        let rank = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        for &index in group {
            ranks[index] = rank;
        }
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[3.0, -1.0, 3.0, 7.0, 3.0, f64::NEG_INFINITY]), [4.0, 2.0, 4.0, 6.0, 4.0, 1.0]);
        assert_eq!(ranks(&[0.0, -0.0, 0.0]), [2.0; 3]);
    }

    #[test]
    fn nothing_to_correlate() {
        for function in [pearson, spearman] {
            assert!(function(&[1.0, 1.0], &[1.0, 2.0]).unwrap().is_nan());
            assert!(function(&[1.0, f64::NAN], &[1.0, 2.0]).unwrap().is_nan());
            assert_eq!(function(&[1.0, 2.0], &[1.0]), Err(Error::LengthMismatch { left: 2, right: 1 }));
            assert!(matches!(function(&[1.0], &[1.0]), Err(Error::TooFew { got: 1, .. })));
            assert!(matches!(function(&[], &[]), Err(Error::TooFew { got: 0, .. })));
        }
        assert!(pearson(&[1.0, f64::INFINITY], &[1.0, 2.0]).unwrap().is_nan());
        assert_eq!(spearman(&[1.0, f64::INFINITY, 0.0], &[1.0, 2.0, 0.5]), Ok(1.0));
    }

    #[test]
    fn any_finite_numbers() {
        let x = [5e-324, 0.0, 1.5e-323];
        assert!((pearson(&x, &[1.0, 0.0, 3.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!((pearson(&[f64::MAX, f64::MIN], &[1.0, 2.0]).unwrap() + 1.0).abs() < 1e-12);
    }
}
