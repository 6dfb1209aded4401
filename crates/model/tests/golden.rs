//! Every recorded case: the directory as a release of sentence-transformers wrote it, the texts, the options; and the vectors that
//! sentence-transformers 6.2 gives.

#![allow(clippy::print_stdout)] // figures for whoever runs it with --nocapture

mod common;

use sentir_model::{EncodeOptions, LoadOptions, SentenceTransformer, Task};
use serde_json::Value;

/// What an encoder in f32 is held to, absolutely up to 1 and relatively beyond.
const TOLERANCE: f32 = 1e-5;

fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap() as f32],
    }
}

/// The largest deviation, in units of what is allowed.
fn deviation(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len(), "number of components");
    let scale = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
    actual.iter().zip(expected).map(|(a, e)| (a - e).abs() / scale / TOLERANCE).fold(0.0, f32::max)
}

/// Runs a case and returns its largest deviation.
fn run(case: &Value) -> Result<f32, String> {
    let directory = common::assemble(case);
    let model = SentenceTransformer::load(directory.path().to_str().unwrap()).map_err(|e| e.to_string())?;
    let texts = common::texts(case);
    let encode = &case["encode"];
    let options = EncodeOptions {
        prompt: encode["prompt"].as_str(),
        prompt_name: encode["prompt_name"].as_str(),
        normalize_embeddings: encode["normalize_embeddings"] == true,
        truncate_dim: encode["truncate_dim"].as_u64().map(|dim| dim as usize),
        ..EncodeOptions::default()
    };
    let task = match encode["task"].as_str() {
        None => Task::Any,
        Some("query") => Task::Query,
        Some("document") => Task::Document,
        Some(other) => panic!("unknown task {other}"),
    };
    if model.max_seq_length() != case["max_seq_length"].as_u64().map(|length| length as usize) {
        return Err(format!(
            "max_seq_length is {:?}, should be {}",
            model.max_seq_length(),
            case["max_seq_length"]
        ));
    }
    if model.similarity_function().name() != case["expected_similarity_fn"] {
        return Err(format!("the similarity function is {}", model.similarity_function().name()));
    }
    if encode["output"] == "token" {
        let embeddings = model.encode_tokens(&texts, task, &options).map_err(|e| e.to_string())?.embeddings;
        let expected = case["expected"].as_array().unwrap();
        assert_eq!(embeddings.len(), expected.len());
        let pairs = embeddings.iter().zip(expected);
        return Ok(pairs
            .map(|(rows, expected)| deviation(rows.as_slice(), &numbers(expected)))
            .fold(0.0, f32::max));
    }
    let encoded = model.encode_task(&texts, task, &options).map_err(|e| e.to_string())?;
    let mut largest = deviation(encoded.embeddings.as_slice(), &numbers(&case["expected"]));
    if let Some(expected) = case.get("expected_similarity") {
        let similarity = model.similarity(&encoded.embeddings, &encoded.embeddings).unwrap();
        largest = largest.max(deviation(similarity.as_slice(), &numbers(expected)));
    }
    // Every case in batches of one text, too.
    let alone = model.encode_task(&texts, task, &EncodeOptions { batch_tokens: Some(1), ..options }).unwrap();
    assert_eq!(alone.embeddings, encoded.embeddings, "the same bits whatever the batch");
    Ok(largest)
}

#[test]
fn every_case_has_the_vectors_of_sentence_transformers() {
    let cases = common::cases();
    assert!(cases.len() >= 180, "{} cases", cases.len());
    let mut failures = Vec::new();
    let mut largest = 0.0f32;
    for case in &cases {
        match run(case) {
            Ok(deviation) if deviation <= 1.0 => largest = largest.max(deviation),
            Ok(deviation) => failures.push(format!("{}: off by {}", case["name"], deviation * TOLERANCE)),
            Err(message) => failures.push(format!("{}: {message}", case["name"])),
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    println!("{} cases, largest deviation {:e}", cases.len(), largest * TOLERANCE);
}

#[test]
fn the_reference_backend_has_the_same_vectors() {
    let mut compared = 0;
    for case in common::cases().iter().filter(|case| case["encode"]["output"] != "token").step_by(7) {
        let directory = common::assemble(case);
        let path = directory.path().to_str().unwrap();
        let backend = std::sync::Arc::new(sentir_compute::Reference);
        let options = LoadOptions { backend: Some(backend), ..LoadOptions::default() };
        let texts = common::texts(case);
        let encode =
            |model: SentenceTransformer| model.encode(&texts, &EncodeOptions::default()).unwrap().embeddings;
        let slow = encode(SentenceTransformer::load_with(path, &options).unwrap());
        let fast = encode(SentenceTransformer::load(path).unwrap());
        let deviation = deviation(fast.as_slice(), slow.as_slice());
        assert!(deviation <= 1.0, "{}: off by {}", case["name"], deviation * TOLERANCE);
        compared += 1;
    }
    assert!(compared >= 20);
}
