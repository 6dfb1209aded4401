//! Paraphrase mining against what sentence-transformers 6.2 finds (`golden/make_mine.py`).

use std::path::Path;

use sentir_vectors::mine::{MineOptions, paraphrase_mining};
use sentir_vectors::{Rows, Similarity};
use serde_json::Value;

#[test]
fn pairs_are_those_of_sentence_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/mine.json");
    let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vectors: Vec<Vec<f32>> = serde_json::from_value(record["vectors"].clone()).unwrap();
    let rows = Rows::new(vectors.concat(), vectors[0].len()).unwrap();
    let cases = record["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let similarity = if case["similarity"] == "dot" { Similarity::Dot } else { Similarity::Cosine };
        let (top_k, max_pairs) = (size("top_k"), size("max_pairs"));
        let options = MineOptions { similarity, top_k, max_pairs, min_score: None };
        let found = paraphrase_mining(&rows, &options, &mut |_, _| true).unwrap();
        assert_eq!(found.len(), size("count"));
        let expected: Vec<(usize, usize, f32)> = serde_json::from_value(case["pairs"].clone()).unwrap();
        for (pair, (first, second, score)) in found.iter().zip(expected) {
            assert_eq!((pair.first, pair.second), (first, second));
            assert!((pair.score - score).abs() <= 1e-6, "{pair:?} {score}");
        }
    }
}
