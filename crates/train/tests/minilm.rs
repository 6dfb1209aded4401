//! Fifty steps of fine-tuning all-MiniLM-L6-v2 on real questions give the loss curve of sentence-transformers 6.2's own trainer
//! (`golden/make_training_minilm.py`): the same order, loss, schedule and optimizer. Minutes long.

#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use sentir_model::{LoadOptions, SentenceTransformer, Trainable};
use sentir_train::arguments::TrainingArguments;
use sentir_train::data::Dataset;
use sentir_train::losses::MultipleNegativesRanking;
use sentir_train::trainer::Training;
use serde_json::{Value, json};

#[test]
fn fifty_steps_follow_the_curve_of_sentence_transformers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (model, data) =
        (root.join("models/all-MiniLM-L6-v2"), root.join("../shared/data/rutube/pairs.jsonl"));
    if let Some(missing) = [&model, &data].into_iter().find(|path| !path.exists()) {
        eprintln!("SKIPPED: fifty steps of all-MiniLM-L6-v2: {} is not there", missing.display());
        return;
    }
    let record: Value =
        serde_json::from_slice(&std::fs::read(root.join("golden/minilm/training.json")).unwrap()).unwrap();
    let expected: Vec<f64> =
        record["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    assert_eq!(expected.len(), 50);
    let arguments = json!({
        "per_device_train_batch_size": record["batch_size"], "learning_rate": record["learning_rate"],
        "seed": record["seed"], "max_steps": 50, "save_strategy": "no",
    });
    let (arguments, _) = TrainingArguments::from_map(arguments.as_object().unwrap()).unwrap();
    let options = LoadOptions { trainable: Trainable::Everything, ..LoadOptions::default() };
    let mut model = SentenceTransformer::load_with(model.to_str().unwrap(), &options).unwrap();
    model.set_dropout([0.0; 2]);
    let columns = ["anchor".to_owned(), "positive".to_owned()];
    let loss = MultipleNegativesRanking::default();
    let pairs = Dataset::read("rutube", &[data], Some(&columns)).unwrap();
    let interrupt = AtomicBool::new(false);
    let training = Training::new(model, vec![pairs], &loss, &arguments, &interrupt);
    let trained = training.run(&mut |_| ()).unwrap();
    let losses: Vec<f64> = trained.state.log.iter().filter_map(|entry| entry.loss).collect();
    let largest = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("largest difference of a loss in fifty steps: {largest:.1e}");
    assert!(losses.len() == 50 && largest <= 1e-3, "{losses:?} for {expected:?}");
}
