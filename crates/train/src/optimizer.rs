//! AdamW (<https://arxiv.org/abs/1711.05101>), as `torch.optim.AdamW` computes it.

/// The settings of AdamW.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Of this step.
    pub learning_rate: f64,
    /// β₁
    pub beta1: f64,
    /// β₂
    pub beta2: f64,
    /// ε, outside of the root.
    pub epsilon: f64,
    /// Decoupled.
    pub weight_decay: f64,
}

/// One update, the `step`-th from 1.
pub fn adamw_step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: &AdamW, step: u64) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *hyper;
    let t = step as f64;
    let size = (learning_rate / (1.0 - beta1.powf(t))) as f32;
    let root = (1.0 - beta2.powf(t)).sqrt() as f32;
    let decay = (1.0 - learning_rate * weight_decay) as f32;
    let (b1, b2, c2, epsilon) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32, epsilon as f32);
    for i in 0..p.len() {
        m[i] += (g[i] - m[i]) * b1;
        v[i] = v[i] * b2 + g[i] * g[i] * c2;
        p[i] = p[i] * decay - size * m[i] / (v[i].sqrt() / root + epsilon);
    }
}
