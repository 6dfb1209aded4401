//! Sums and multiples of vectors.

/// `x[i] += y[i]`
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "two vectors of different lengths");
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `x[i] *= factor`
pub fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

/// `x[i] += factor * y[i]`
pub fn add_scaled(x: &mut [f32], y: &[f32], factor: f32) {
    assert_eq!(x.len(), y.len(), "two vectors of different lengths");
    x.iter_mut().zip(y).for_each(|(x, y)| *x += factor * y);
}
