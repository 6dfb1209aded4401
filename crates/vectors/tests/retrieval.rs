//! Rankings and their metrics as `InformationRetrievalEvaluator` of sentence-transformers 6.2 recorded them in
//! `golden/metrics.json` (`golden/make_metrics.py`).

use std::collections::HashMap;

use sentir_vectors::metrics::retrieval::{Cutoffs, retrieval};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    cutoffs: HashMap<String, Vec<usize>>,
    rankings: Vec<Vec<usize>>,
    relevant: Vec<Vec<usize>>,
    metrics: Vec<(String, f64)>,
}

#[test]
fn metrics_are_those_of_sentence_transformers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/metrics.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path);
    assert!(!cases.is_empty());
    for case in cases {
        let mut cutoffs = Cutoffs::default();
        for (name, values) in case.cutoffs {
            *match name.as_str() {
                "accuracy_at_k" => &mut cutoffs.accuracy,
                "precision_recall_at_k" => &mut cutoffs.precision_recall,
                "ndcg_at_k" => &mut cutoffs.ndcg,
                "mrr_at_k" => &mut cutoffs.mrr,
                "map_at_k" => &mut cutoffs.map,
                other => panic!("{other}"),
            } = values;
        }
        let metrics = retrieval(&case.rankings, &case.relevant, &cutoffs).unwrap();
        assert_eq!(metrics.len(), case.metrics.len(), "{}", case.name);
        for ((name, value), (expected_name, expected)) in metrics.iter().zip(&case.metrics) {
            assert_eq!(name, expected_name, "{}", case.name);
            assert!((value - expected).abs() < 1e-12, "{}, {name}: {value} is not {expected}", case.name);
        }
    }
}
