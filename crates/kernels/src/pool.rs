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

fn check(rows: &[f32], width: usize, out: &[f32]) {
    assert!(width > 0 && rows.len() % width == 0, "{} numbers are not rows of {width}", rows.len());
    assert_eq!(out.len(), width, "the pooled vector is as wide as a row");
}
