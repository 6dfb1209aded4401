//! A whole training over a tiny model: interrupted and resumed, on other numbers of threads, saved and opened.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sentir_model::weights::Weights;
use sentir_model::{EncodeOptions, LoadOptions, SentenceTransformer, Trainable};
use sentir_train::arguments::TrainingArguments;
use sentir_train::data::Dataset;
use sentir_train::evaluate::{Evaluator, Watch};
use sentir_train::log::LogEntry;
use sentir_train::lora::Lora;
use sentir_train::losses::MultipleNegativesRanking;
use sentir_train::trainer::{Event, Trained, Training};
use sentir_train::{Error, Result};
use serde_json::json;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

fn load(path: &Path) -> SentenceTransformer {
    let options = LoadOptions { trainable: Trainable::Everything, ..LoadOptions::default() };
    SentenceTransformer::load_with(path.to_str().unwrap(), &options).unwrap()
}

fn arguments(changes: serde_json::Value) -> TrainingArguments {
    let mut map = json!({
        "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-3, "warmup_steps": 3,
        "weight_decay": 0.01, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 2,
    });
    map.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    TrainingArguments::from_map(map.as_object().unwrap()).unwrap().0
}

fn train(
    name: &str,
    arguments: &TrainingArguments,
    output_dir: Option<&Path>,
    resume: bool,
    interrupt_at: Option<usize>,
) -> Result<Trained> {
    let interrupt = AtomicBool::new(false);
    let loss = MultipleNegativesRanking::default();
    let model = load(&golden().join("models").join(name));
    let pairs = Dataset::read("pairs", &[golden().join("training/pairs.jsonl")], None).unwrap();
    let training =
        Training { output_dir, resume, ..Training::new(model, vec![pairs], &loss, arguments, &interrupt) };
    training.run(&mut |event| {
        if let Event::Update(entry) = event
            && interrupt_at == Some(entry.step as usize)
        {
            interrupt.store(true, Ordering::Relaxed);
        }
    })
}

/// Scores by the number of the call; the first is what a correlation of equal similarities is.
#[derive(Debug, Default)]
struct Scores(AtomicUsize);

impl Evaluator for Scores {
    fn name(&self) -> &str {
        ""
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        "score".to_owned()
    }

    fn evaluate(&self, _: &SentenceTransformer, _: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let call = self.0.fetch_add(1, Ordering::Relaxed);
        // Before the first update, then after each.
        let score = [f64::NAN, f64::NAN, 0.5, 0.25, f64::NAN][call.min(4)];
        Ok(vec![("score".to_owned(), score)])
    }
}

#[test]
fn a_score_that_is_no_number_is_no_best_and_can_be_resumed_from() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(json!({
        "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 4, "load_best_model_at_end": true,
    }));
    let (evaluator, interrupt) = (Scores::default(), AtomicBool::new(false));
    let pairs = Dataset::read("pairs", &[golden().join("training/pairs.jsonl")], None).unwrap();
    let loss = MultipleNegativesRanking::default();
    let run = |resume: bool, interrupt_at: Option<u64>| {
        let model = load(&golden().join("models/bert"));
        let training = Training {
            evaluator: Some(&evaluator),
            output_dir: Some(folder.path()),
            resume,
            ..Training::new(model, vec![pairs.clone()], &loss, &arguments, &interrupt)
        };
        training.run(&mut |event| {
            if let Event::Update(entry) = event {
                interrupt.store(interrupt_at == Some(entry.step), Ordering::Relaxed);
            }
        })
    };
    assert!(matches!(run(false, Some(1)), Err(Error::Interrupted)));
    interrupt.store(false, Ordering::Relaxed);
    let state = run(true, None).unwrap().state;
    assert_eq!((state.best_metric, state.best_step), (Some(0.5), Some(2)));
    assert_eq!(state.best_checkpoint.as_deref(), Some("checkpoint-2"));
    let scores: Vec<f64> = state.log.iter().filter_map(|entry| entry.metrics.get("score")).copied().collect();
    assert!(scores[..2].iter().all(|score| score.is_nan()) && scores[2..4] == [0.5, 0.25], "{scores:?}");
}

/// LoRA changes what it names and nothing else, goes on after an interruption, and what it leaves is a model like any other.
#[test]
fn lora_trains_its_products_only_and_resumes_to_the_same_bits() {
    let arguments = arguments(json!({}));
    let lora = Lora { r: 2, lora_alpha: 8.0, target_modules: vec!["query".into(), "output.dense".into()] };
    let loss = MultipleNegativesRanking::default();
    let run = |output_dir: Option<&Path>, resume: bool, interrupt_at: Option<u64>, lora: &Lora| {
        let options = LoadOptions { trainable: Trainable::Layers, ..LoadOptions::default() };
        let path = golden().join("models/bert");
        let model = SentenceTransformer::load_with(path.to_str().unwrap(), &options).unwrap();
        let pairs = Dataset::read("pairs", &[golden().join("training/pairs.jsonl")], None).unwrap();
        let interrupt = AtomicBool::new(false);
        let training = Training {
            lora: Some(lora.clone()),
            output_dir,
            resume,
            ..Training::new(model, vec![pairs], &loss, &arguments, &interrupt)
        };
        training.run(&mut |event| {
            if let Event::Update(entry) = event {
                interrupt.store(interrupt_at == Some(entry.step), Ordering::Relaxed);
            }
        })
    };
    let [whole, folder] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let trained = run(Some(whole.path()), false, None, &lora).unwrap();
    let mean = |log: &[LogEntry]| log.iter().filter_map(|entry| entry.loss).sum::<f64>() / log.len() as f64;
    let log = &trained.state.log;
    assert!(mean(&log[12..]) < mean(&log[..4]), "the loss falls");
    assert!(matches!(run(Some(folder.path()), false, Some(7), &lora), Err(Error::Interrupted)));
    let other = Lora { r: 3, ..lora.clone() };
    let refused = run(Some(folder.path()), true, None, &other).unwrap_err().to_string();
    assert!(refused.contains("lora is"), "{refused}");
    run(Some(folder.path()), true, None, &lora).unwrap();
    let file = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(file(whole.path()) == file(folder.path()));

    let open = |path: &Path| Weights::open(path).unwrap();
    let (before, after) = (open(&golden().join("models/bert")), open(whole.path()));
    for view in before.tensors() {
        let same = view.to_f32().unwrap() == after.get(&view.name).unwrap().to_f32().unwrap();
        let module = view.name.strip_suffix(".weight").unwrap_or("");
        let targeted =
            module.contains("layer.") && (module.ends_with("query") || module.ends_with("output.dense"));
        assert_eq!(same, !targeted, "{}", view.name);
    }
    let none = Lora { target_modules: vec!["q_proj".into()], ..lora };
    let message = run(None, false, None, &none).unwrap_err().to_string();
    assert!(message.contains("q_proj") && message.contains("query"), "{message}");
}

fn weights(trained: &mut Trained) -> Vec<Vec<u32>> {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    trained.model.parameters_mut().iter().map(|p| bits(&p.values.trained().unwrap())).collect()
}

#[test]
fn interrupted_and_resumed_ends_with_the_same_bits() {
    for name in ["bert", "xlm-roberta"] {
        let arguments = arguments(json!({}));
        let mut whole = train(name, &arguments, None, false, None).unwrap();
        assert_eq!((whole.updates.total, whole.state.global_step), (16, 16));
        for interrupted_at in [1, 5, 8, 15] {
            let folder = tempfile::tempdir().unwrap();
            let stopped = train(name, &arguments, Some(folder.path()), false, Some(interrupted_at));
            assert!(matches!(stopped, Err(Error::Interrupted)), "stopped after {interrupted_at}");
            // What a kill leaves behind: a log and a checkpoint that have no name yet.
            std::fs::write(folder.path().join(".sentir-log"), "{").unwrap();
            std::fs::create_dir(folder.path().join(".sentir-checkpoint-9")).unwrap();
            let mut resumed = train(name, &arguments, Some(folder.path()), true, None).unwrap();
            assert!(weights(&mut resumed) == weights(&mut whole), "{name}, after {interrupted_at}");
            // The log is whole: the steps before the interruption and after it.
            let log = std::fs::read_to_string(folder.path().join("train_log.jsonl")).unwrap();
            let steps = |log: &str| -> Vec<u64> {
                let step = |line: &str| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap()
                };
                log.lines().map(step).collect()
            };
            assert_eq!(steps(&log), (1..=16).collect::<Vec<_>>());
            let mut names: Vec<String> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("checkpoint") || name.starts_with('.'))
                .collect();
            names.sort();
            assert_eq!(
                names,
                ["checkpoint-10", "checkpoint-15"],
                "two checkpoints stay, and nothing half-written"
            );
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let arguments = arguments(json!({"max_steps": 4}));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| weights(&mut train("bert", &arguments, None, false, None).unwrap()))
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn what_is_saved_gives_the_vectors_of_what_was_trained() {
    let texts = ["How do I change my password?", "Где моё видео", ""];
    for name in ["bert", "xlm-roberta"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let trained = train(name, &arguments(json!({"max_steps": 6})), Some(&out), false, None).unwrap();
        let opened = SentenceTransformer::load(out.to_str().unwrap()).unwrap();
        assert!(opened.notices().is_empty(), "{:?}", opened.notices());
        let encode =
            |model: &SentenceTransformer| model.encode(&texts, &EncodeOptions::default()).unwrap().embeddings;
        let (ours, theirs) = (encode(&trained.model), encode(&opened));
        for (a, b) in ours.as_slice().iter().zip(theirs.as_slice()) {
            assert!((a - b).abs() <= 1e-6, "{a} and {b}");
        }
        let original =
            SentenceTransformer::load(golden().join("models").join(name).to_str().unwrap()).unwrap();
        assert_ne!(encode(&original), theirs);
        // Tokenizer files are byte for byte those of the original.
        for file in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
            let read = |path: &Path| std::fs::read(path.join(file)).unwrap();
            assert_eq!(read(&out), read(&golden().join("models").join(name)), "{file}");
        }
        // Trained on, it goes on from where it was.
        let again = load(&out);
        assert_eq!(encode(&again).shape(), theirs.shape());
    }
}

#[test]
fn a_resumed_training_refuses_other_data_and_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = train("bert", &arguments(json!({})), Some(folder.path()), false, Some(3));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let message = train("bert", &arguments(json!({"learning_rate": 2e-3})), Some(folder.path()), true, None)
        .unwrap_err();
    let message = message.to_string();
    assert!(message.contains("learning_rate is 0.001 in the checkpoint and 0.002 now"), "{message}");
}

#[test]
fn a_loss_that_explodes_stops_with_the_step_and_the_place() {
    let arguments = arguments(json!({"learning_rate": 1e30, "warmup_steps": 0, "max_grad_norm": 0}));
    let message = train("bert", &arguments, None, false, None).unwrap_err().to_string();
    assert!(message.starts_with("step 2: "), "{message}");
    assert!(message.contains("encoder.layer.") || message.contains("embeddings"), "{message}");
}
