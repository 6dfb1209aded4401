//! What the tests of the operations share: the backends, random numbers, the numbers recorded from PyTorch.

use std::sync::LazyLock;

use serde_json::Value;

use crate::{Backend, Cpu, Reference};

/// Every backend of this crate: what is tested on one is tested on all.
pub(crate) fn backends() -> [&'static dyn Backend; 2] {
    [&Reference, &Cpu]
}

/// `n` numbers in (−1, 1), always the same for one seed: SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// `golden/ops.json`, recorded by `golden/make_ops.py`.
pub(crate) fn golden() -> &'static Value {
    static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/ops.json");
        serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path)
    });
    &GOLDEN
}

/// A (nested) list of numbers of the recording, flat. Infinities are recorded as the strings `inf` and `-inf`.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::String(text) => vec![text.parse().expect(text)],
        value => vec![value.as_f64().expect("a number")],
    }
}

pub(crate) fn usizes(value: &Value) -> Vec<usize> {
    numbers(value).iter().map(|&x| x as usize).collect()
}

pub(crate) fn widen(values: impl AsRef<[f32]>) -> Vec<f64> {
    values.as_ref().iter().map(|&x| x.into()).collect()
}

pub(crate) fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// Each component within `tolerance` of the expected one, absolutely up to 1 and relatively beyond.
pub(crate) fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of components");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let a = f64::from(a);
        let close = a == e || (a - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(close, "{what}: component {i} is {a}, should be {e}");
    }
}
