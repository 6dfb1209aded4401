//! What the tests of the operations share: the backends, random numbers, the numbers recorded from PyTorch.

use std::sync::LazyLock;

use serde_json::Value;

use crate::gradients::{GradientRef, ParameterMut};
use crate::tape::Randomness;
use crate::{Backend, Cpu, Gradients, Pass, Reference, Tensor};

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

/// A piece of network whose gradients are checked.
pub(crate) trait Network {
    /// From leaves to a result.
    fn run<'a>(&'a self, pass: &mut Pass<'a>, leaves: Vec<Tensor>) -> Tensor;

    /// What is trained.
    fn parameters(&mut self) -> Vec<ParameterMut<'_>> {
        Vec::new()
    }
}

/// Compares the gradients of Σ c · result, with fixed random c, by all leaves and parameters: on [`Reference`] with central
/// differences, on every other backend with those of [`Reference`]. `build` makes the network from the numbers of the
/// parameters, whose shapes it is given in the order of [`Network::parameters`]; leaves and parameters are `[rows, width]`.
pub(crate) fn check_gradients<N: Network>(
    leaves: &[(usize, usize)],
    parameters: &[(usize, usize)],
    build: impl Fn(&dyn Backend, &[Vec<f32>]) -> N,
) {
    let shapes = [leaves, parameters].concat();
    let numbers =
        |seed| shapes.iter().zip(seed..).map(|(shape, seed)| random(shape.0 * shape.1, seed)).collect();
    let values: Vec<Vec<f32>> = numbers(100);
    let run = |backend: &dyn Backend, values: &[Vec<f32>], with_gradients: bool| {
        let mut network = build(backend, &values[leaves.len()..]);
        for (id, mut parameter) in network.parameters().into_iter().enumerate() {
            parameter.train(Some(id)).unwrap();
        }
        let mut pass = Pass::training(backend, Randomness { seed: 5, stream: 9 });
        let mut uploaded = Vec::new();
        for (values, shape) in values.iter().zip(leaves) {
            uploaded.push(pass.leaf(backend.upload(values, shape.1), true));
        }
        let nodes: Vec<_> = uploaded.iter().map(|leaf| leaf.node.unwrap()).collect();
        let out = network.run(&mut pass, uploaded);
        let c = random(out.rows() * out.width(), 77);
        let loss: f64 = match backend.name() {
            "reference" => out.f64().iter().zip(&c).map(|(y, &c)| y * f64::from(c)).sum(),
            _ => backend.download(&out).iter().zip(&c).map(|(&y, &c)| f64::from(y) * f64::from(c)).sum(),
        };
        let mut gradients = Gradients::new();
        let mut all = Vec::new();
        if with_gradients {
            let d = backend.upload(&c, out.width());
            let by_leaves = pass.backward_to(&out, d, &mut gradients, &nodes);
            all.extend(by_leaves.into_iter().map(|d| widen(backend.download(&d.expect("a leaf is used")))));
            for (id, shape) in parameters.iter().enumerate() {
                all.push(match gradients.get(id).expect("a parameter is used") {
                    GradientRef::Dense(values) => widen(values),
                    GradientRef::Rows(rows, values) => {
                        let mut dense = vec![0.0; shape.0 * shape.1];
                        for (&row, values) in rows.iter().zip(values.chunks_exact(shape.1)) {
                            dense[row as usize * shape.1..][..shape.1].copy_from_slice(&widen(values));
                        }
                        dense
                    }
                });
            }
        }
        (loss, all)
    };

    let (_, expected) = run(&Reference, &values, true);
    for (which, shape) in shapes.iter().enumerate() {
        for i in 0..shape.0 * shape.1 {
            let at = |step: f32| {
                let mut values = values.clone();
                values[which][i] += step;
                (f64::from(values[which][i]), run(&Reference, &values, false).0)
            };
            let ((high, above), (low, below)) = (at(1e-3), at(-1e-3));
            let slope = (above - below) / (high - low);
            let gradient = expected[which][i];
            let close = (slope - gradient).abs() <= 1e-4 * slope.abs().max(1.0);
            assert!(close, "by number {i} of operand {which}: {gradient}, finite differences: {slope}");
        }
    }
    for backend in backends() {
        for (which, (actual, expected)) in run(backend, &values, true).1.iter().zip(&expected).enumerate() {
            assert_close(&narrow(actual), expected, 1e-5, &format!("{}, operand {which}", backend.name()));
        }
    }
}
