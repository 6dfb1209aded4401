//! Layer normalization.

/// x = LN(x + residual)
pub fn layer_norm(x: &mut [f32], residual: Option<&[f32]>, scale: &[f32], shift: &[f32], epsilon: f32) {
    crate::naive::layer_norm(x, residual, scale, shift, epsilon);
}
