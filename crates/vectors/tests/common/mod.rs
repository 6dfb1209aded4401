//! Numbers that Rust and the scripts of `golden/` make alike (`golden/numbers_alike.py`).

/// Uniform numbers from −0.5 to 0.5: the upper bits of an LCG of 64 bits.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| next()).collect()
}
