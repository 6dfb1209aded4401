//! Pooling the states `[tokens, width]` of one sentence into one vector `[width]`. One thread: callers have many sentences.

/// `out[j] = Σ rows[i][j]`, zero without rows. The order of the sum is that of the rows.
pub fn sum_rows(rows: &[f32], width: usize, out: &mut [f32]) {
    check(rows, width, out);
    out.fill(0.0);
    for row in rows.chunks_exact(width) {
        out.iter_mut().zip(row).for_each(|(out, x)| *out += x);
    }
}

/// `out[j] = Σ (first_weight + i) · rows[i][j]`, zero without rows. The order of the sum is that of the rows.
pub fn weighted_sum_rows(rows: &[f32], width: usize, first_weight: f32, out: &mut [f32]) {
    check(rows, width, out);
    out.fill(0.0);
    for (i, row) in rows.chunks_exact(width).enumerate() {
        let weight = first_weight + i as f32;
        out.iter_mut().zip(row).for_each(|(out, x)| *out += weight * x);
    }
}

/// `out[j] = max rows[i][j]`, −∞ without rows, NaN if one is NaN (as `torch.max`, unlike `f32::max`).
pub fn max_rows(rows: &[f32], width: usize, out: &mut [f32]) {
    check(rows, width, out);
    out.fill(f32::NEG_INFINITY);
    for row in rows.chunks_exact(width) {
        for (out, &x) in out.iter_mut().zip(row) {
            *out = if x > *out || x.is_nan() { x } else { *out };
        }
    }
}

/// The gradient of [`max_rows`]: `d[j]` is added to column j of the first row that has the largest number.
pub fn max_rows_grad(rows: &[f32], d: &[f32], d_rows: &mut [f32]) {
    let width = d.len();
    check(rows, width, d);
    assert_eq!(rows.len(), d_rows.len(), "as many gradients as numbers");
    for j in 0..width {
        let larger = |best: usize, i: usize| if rows[i] > rows[best] { i } else { best };
        if let Some(at) = (j..rows.len()).step_by(width).reduce(larger) {
            d_rows[at] += d[j];
        }
    }
}

fn check(rows: &[f32], width: usize, out: &[f32]) {
    assert!(width > 0 && rows.len().is_multiple_of(width), "{} numbers are not rows of {width}", rows.len());
    assert_eq!(out.len(), width, "the pooled vector is as wide as a row");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::naive;

    proptest! {
        #[test]
        fn equals_the_plain_loops(values in prop::collection::vec(-2.0f32..2.0, 0..600), width in 1usize..40) {
            let rows = &values[..values.len() / width * width];
            let (mut y, mut expected) = (vec![f32::NAN; width], vec![f32::NAN; width]);
            max_rows(rows, width, &mut y);
            naive::max_rows(rows, width, &mut expected);
            prop_assert_eq!(&y, &expected);
            for first in [None, Some(3.0)] {
                match first {
                    None => sum_rows(rows, width, &mut y),
                    Some(first) => weighted_sum_rows(rows, width, first, &mut y),
                }
                naive::sum_rows(rows, width, first, &mut expected);
                let tolerance = 1e-7 * (4 + rows.len() * rows.len()) as f32;
                prop_assert!(y.iter().zip(&expected).all(|(y, e)| (y - e).abs() <= tolerance));
            }
        }
    }

    #[test]
    fn the_largest_with_nan_is_nan() {
        let mut y = [0.0; 2];
        max_rows(&[f32::NAN, 1.0, 2.0, f32::NEG_INFINITY], 2, &mut y);
        assert!(y[0].is_nan());
        assert_eq!(y[1], 1.0);
    }
}
