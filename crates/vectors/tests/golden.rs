//! The numbers that sentence-transformers, numpy and scipy recorded in `golden/vectors.json` (`golden/make_vectors.py`).

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use sentir_vectors::compress::{Embeddings, Precision, Ranges, quantize};
use sentir_vectors::metrics::correlation::{pearson, spearman};
use sentir_vectors::similarity::{matrix, pairwise};
use sentir_vectors::top_k::{SearchOptions, search};
use sentir_vectors::{Rows, Similarity};

#[derive(Deserialize)]
struct Golden {
    similarity: Vec<Value>,
    search: Vec<Value>,
    quantization: Vec<Value>,
    correlation: Vec<Value>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/vectors.json");
    serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path)
});

/// A (nested) list of numbers, flat. NaN and infinities are recorded as strings.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::String(text) => vec![text.parse().expect(text)],
        value => vec![value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))],
    }
}

fn rows(value: &Value) -> Rows {
    let width = value[0].as_array().expect("a row").len();
    Rows::new(numbers(value).into_iter().map(|x| x as f32).collect(), width).unwrap()
}

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a name")
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Whether a score is as near to the expected one as float32 arithmetic gets: relative to one for cosine, to the product of
/// the lengths for dot, to itself for the distances.
fn near(similarity: Similarity, a: &[f32], b: &[f32], got: f32, expected: f64) -> bool {
    let scale = match similarity {
        Similarity::Cosine => 1.0,
        Similarity::Dot => norm(a) * norm(b),
        Similarity::Euclidean | Similarity::Manhattan => expected.abs(),
    };
    // Where terms overflow, whether infinity or NaN comes out is a matter of their order.
    let equal = got == expected as f32 || (!got.is_finite() && expected.is_nan());
    equal || (f64::from(got) - expected).abs() <= 1e-6 * scale
}

/// What is recorded for a score: in float64, and in some cases in float32.
fn recorded(case: &Value, kind: &str, similarity: Similarity, index: usize) -> Vec<f64> {
    [case.get(kind), case.get("float32").and_then(|case| case.get(kind))]
        .into_iter()
        .flatten()
        .map(|scores| numbers(&scores[similarity.name()])[index])
        .collect()
}

#[test]
fn similarities() {
    for case in &GOLDEN.similarity {
        let (a, b) = (rows(&case["a"]), rows(&case["b"]));
        for similarity in Similarity::ALL {
            let scores = matrix(&a, &b, similarity).unwrap();
            assert_eq!(scores.shape(), [a.rows(), b.rows()]);
            for (i, &got) in scores.as_slice().iter().enumerate() {
                let (left, right) = (i / b.rows(), i % b.rows());
                let expected = recorded(case, "matrix", similarity, i);
                assert!(
                    expected.iter().any(|&expected| near(
                        similarity,
                        a.row(left),
                        b.row(right),
                        got,
                        expected
                    )),
                    "{}, {similarity} [{left}, {right}]: {got} is not {expected:?}",
                    name(case)
                );
            }
            if a.rows() == b.rows() {
                for (i, &got) in pairwise(&a, &b, similarity).unwrap().iter().enumerate() {
                    let expected = recorded(case, "pairwise", similarity, i);
                    assert!(
                        expected.iter().any(|&expected| near(similarity, a.row(i), b.row(i), got, expected)),
                        "{}, {similarity}, pair {i}: {got} is not {expected:?}",
                        name(case)
                    );
                }
            }
        }
    }
}

#[test]
fn searches() {
    for case in &GOLDEN.search {
        let (queries, corpus) = (rows(&case["queries"]), rows(&case["corpus"]));
        let similarity = case["similarity"].as_str().unwrap().parse().unwrap();
        for top_k in [1, 3, corpus.rows(), usize::MAX] {
            let found = search(&queries, &corpus, &SearchOptions { similarity, top_k }).unwrap();
            let expected = case["hits"].as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (query, (hits, expected)) in found.iter().zip(expected).enumerate() {
                let expected = expected.as_array().unwrap();
                assert_eq!(hits.len(), top_k.min(expected.len()), "{}", name(case));
                for (hit, expected) in hits.iter().zip(expected) {
                    let what = format!("{}, query {query}", name(case));
                    assert_eq!(hit.index as u64, expected[0].as_u64().unwrap(), "{what}");
                    let (query, found) = (queries.row(query), corpus.row(hit.index));
                    assert!(
                        near(similarity, query, found, hit.score, expected[1].as_f64().unwrap()),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn quantizations() {
    let mut compared = 0;
    for case in &GOLDEN.quantization {
        let ranges = match (case.get("ranges"), case.get("calibration")) {
            (Some(ranges), _) => Some(Ranges::from_matrix(&rows(ranges)).unwrap()),
            (None, Some(calibration)) => Some(Ranges::from_calibration(&rows(calibration)).unwrap()),
            (None, None) => None,
        };
        for precision in Precision::ALL {
            let Some(expected) = case.get(precision.name()) else { continue };
            let embeddings = quantize(rows(&case["rows"]), precision, ranges.as_ref()).unwrap();
            let shape = [expected.as_array().unwrap().len(), expected[0].as_array().unwrap().len()];
            assert_eq!([embeddings.rows(), embeddings.width()], shape, "{}, {precision}", name(case));
            assert_eq!(embeddings.precision(), precision);
            let got: Vec<f64> = match embeddings {
                Embeddings::Float32(_) => unreachable!("nothing is recorded for it"),
                Embeddings::Int8 { values, .. } | Embeddings::Binary { values, .. } => {
                    values.into_iter().map(f64::from).collect()
                }
                Embeddings::Uint8 { values, .. } | Embeddings::Ubinary { values, .. } => {
                    values.into_iter().map(f64::from).collect()
                }
            };
            assert_eq!(got, numbers(expected), "{}, {precision}", name(case));
            compared += 1;
        }
    }
    assert!(compared >= 36, "only {compared} quantizations are recorded");
}

#[test]
fn correlations() {
    for case in &GOLDEN.correlation {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        for (which, got) in [("pearson", pearson(&x, &y)), ("spearman", spearman(&x, &y))] {
            let (got, expected) = (got.unwrap(), numbers(&case[which])[0]);
            let close = (got - expected).abs() <= 1e-12 || (got.is_nan() && expected.is_nan());
            assert!(close, "{}, {which}: {got} is not {expected}", name(case));
        }
    }
}
