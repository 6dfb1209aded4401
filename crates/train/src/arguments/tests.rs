//! The arguments against the reference card, the table against the fields and the documentation, and what is refused.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::table::{ARGUMENTS, Argument, OF_THE_CARD};
use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What Python prints, as JSON.
fn from_python(text: &str) -> Value {
    let json =
        text.replace('\'', "\"").replace("None", "null").replace("True", "true").replace("False", "false");
    serde_json::from_str(&json).unwrap_or_else(|_| Value::from(text))
}

#[test]
fn all_arguments_of_the_card_are_covered_in_its_order() {
    let card = repository().join("../shared/reference/seed-card.md");
    let Ok(card) = std::fs::read_to_string(&card) else {
        let mut stderr = std::io::stderr();
        let _ = std::io::Write::write_all(
            &mut stderr,
            b"SKIPPED: ../shared/reference/seed-card.md is not there\n",
        );
        return;
    };
    let list = card.split("#### All Hyperparameters").nth(1).unwrap().split("</details>").next().unwrap();
    let lines: Vec<(&str, &str)> = (list.lines())
        .filter_map(|line| line.strip_prefix("- `"))
        .map(|line| line.split_once("`: ").unwrap())
        .collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    let ours: Vec<&str> = ARGUMENTS[..OF_THE_CARD].iter().map(|argument| argument.name).collect();
    assert_eq!(names, ours);
    let map = lines.iter().map(|(name, value)| ((*name).to_owned(), from_python(value.trim()))).collect();
    let (arguments, notices) = TrainingArguments::from_map(&map).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    let expected = TrainingArguments {
        per_device_train_batch_size: 64,
        per_device_eval_batch_size: 64,
        num_train_epochs: 5.0,
        multi_dataset_batch_sampler: MultiDatasetBatchSampler::RoundRobin,
        warmup_ratio: Some(0.0),
        ..TrainingArguments::default()
    };
    assert_eq!(arguments, expected);
}

#[test]
fn the_documentation_is_the_table() {
    let path = repository().join("docs/training-arguments.md");
    if std::env::var_os("SENTIR_RECORD").is_some() {
        std::fs::write(&path, table::markdown()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == table::markdown(),
        "write it again: SENTIR_RECORD=1 cargo test -p sentir-train documentation"
    );
}

#[test]
fn the_table_and_the_fields_agree() {
    let fields = TrainingArguments::default().to_map();
    let mut names: Vec<&str> = ARGUMENTS.iter().map(|argument| argument.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name twice");
    for argument @ Argument { name, default, treatment } in ARGUMENTS {
        let default: Value = serde_json::from_str(default).unwrap();
        assert!(argument.is_default(&default));
        let mut arguments = TrainingArguments::default();
        assert_eq!(arguments.accept(name, &default).unwrap(), None, "{name}");
        assert_eq!(arguments, TrainingArguments::default(), "{name}");
        assert_eq!(*treatment == Treatment::Implemented, fields.contains_key(*name), "{name}");
    }
    assert!(fields.keys().all(|name| table::find(name).is_some()));
}

#[test]
fn values_are_set_reported_or_refused() {
    let mut arguments = TrainingArguments::default();
    for (name, value) in [
        ("num_train_epochs", json!(2)),
        ("lr_scheduler_type", json!("constant_with_warmup")),
        ("batch_sampler", json!("no_duplicates_hashed")),
        ("eval_strategy", json!("epoch")),
        ("data_seed", json!(3)),
        ("prompts", json!({"query": "query: "})),
        ("order", json!("3.1")),
    ] {
        assert_eq!(arguments.accept(name, &value).unwrap(), None);
    }
    let expected = TrainingArguments {
        num_train_epochs: 2.0,
        lr_scheduler_type: SchedulerType::ConstantWithWarmup,
        batch_sampler: BatchSampler::NoDuplicates,
        eval_strategy: IntervalStrategy::Epoch,
        data_seed: Some(3),
        prompts: Some(Prompts::Named(BTreeMap::from([("query".into(), "query: ".into())]))),
        order: Release::V3,
        ..TrainingArguments::default()
    };
    assert_eq!(arguments, expected);
    assert_eq!(TrainingArguments::from_map(&arguments.to_map()).unwrap(), (expected, vec![]));

    let notice = arguments.accept("dataloader_num_workers", &json!(4)).unwrap().unwrap();
    assert!(notice.starts_with("dataloader_num_workers: 4 has no effect: "), "{notice}");
    for (name, value, expected) in [
        (
            "fp16",
            json!(true),
            "training argument fp16: true is not supported: numbers of 16 bits are bfloat16",
        ),
        ("optim", json!("sgd"), "the default is \"adamw_torch\""),
        (
            "learning_rat",
            json!(1),
            "no training argument is named \"learning_rat\"; did you mean \"learning_rate\"?",
        ),
        ("per_device_train_batchsize", json!(1), "did you mean \"per_device_train_batch_size\"?"),
        ("learning_rate", json!("fast"), "training argument learning_rate: \"fast\" is none of its values"),
        ("seed", json!(-1), "training argument seed: -1 is none of its values"),
        ("seed", json!(null), "training argument seed: null"),
        ("batch_sampler", json!("random"), "unknown variant `random`, expected"),
        ("lr_scheduler_type", json!("polynomial"), "expected one of `linear`"),
        ("prompts", json!(3), "training argument prompts: 3 is none"),
    ] {
        let message = arguments.accept(name, &value).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let message = arguments.accept("xyz", &json!(1)).unwrap_err().to_string();
    assert_eq!(message, "no training argument is named \"xyz\"");
    assert!(serde_json::from_str::<TrainingArguments>("{\"xyz\": 1}").is_err());
}

#[test]
fn arguments_must_fit_each_other() {
    assert!(TrainingArguments::default().check().is_ok());
    for (map, expected) in [
        (json!({"per_device_train_batch_size": 0}), "per_device_train_batch_size: it must be at least 1"),
        (json!({"gradient_accumulation_steps": 0}), "gradient_accumulation_steps"),
        (json!({"learning_rate": -1e-5}), "learning_rate"),
        (json!({"adam_beta2": 1}), "adam_beta2"),
        (json!({"max_steps": 0}), "max_steps"),
        (json!({"num_train_epochs": 0}), "num_train_epochs"),
        (json!({"warmup_ratio": 1.5}), "warmup_ratio"),
        (json!({"save_total_limit": 0}), "save_total_limit"),
        (json!({"load_best_model_at_end": true}), "eval_strategy and save_strategy must be the same"),
        (
            json!({"load_best_model_at_end": true, "eval_strategy": "steps", "eval_steps": 300}),
            "save_steps must be a multiple",
        ),
    ] {
        let message = TrainingArguments::from_map(map.as_object().unwrap()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let best =
        json!({"load_best_model_at_end": true, "eval_strategy": "steps", "eval_steps": 250, "max_steps": 7});
    let (arguments, _) = TrainingArguments::from_map(best.as_object().unwrap()).unwrap();
    assert_eq!((arguments.max_updates(), arguments.evaluate_every()), (Some(7), 250));
    assert_eq!(TrainingArguments::default().max_updates(), None);
}

#[test]
fn what_follows_from_arguments() {
    let with = |map: Value| TrainingArguments::from_map(map.as_object().unwrap()).unwrap().0;
    assert_eq!(with(json!({"warmup_ratio": 0.1})).warmup(375), 38);
    assert_eq!(with(json!({"warmup_steps": 0.1})).warmup(375), 38);
    assert_eq!(with(json!({"warmup_steps": 7, "warmup_ratio": 0.1})).warmup(375), 7);
    assert_eq!(with(json!({"warmup_ratio": 1})).warmup(375), 375);
    assert_eq!(TrainingArguments::default().warmup(375), 0);
    assert!(!TrainingArguments::default().greater_is_better());
    assert!(with(json!({"metric_for_best_model": "dev_spearman_cosine"})).greater_is_better());
    assert!(!with(json!({"metric_for_best_model": "eval_loss"})).greater_is_better());
}

#[test]
fn prompts_have_four_shapes() {
    let prompts = |value: Value| serde_json::from_value::<Prompts>(value).unwrap();
    let all = prompts(json!("p: "));
    assert_eq!(all.of(None, "a").unwrap(), Some("p: "));
    let named = prompts(json!({"a": "q: ", "faq": "f: "}));
    assert_eq!(named.of(None, "a").unwrap(), Some("q: "));
    assert_eq!(named.of(None, "b").unwrap(), None);
    assert_eq!(named.of(Some("faq"), "a").unwrap(), Some("f: "));
    assert_eq!(named.of(Some("other"), "a").unwrap(), Some("q: "));
    let nested = prompts(json!({"faq": {"a": "x: "}}));
    assert_eq!(nested.of(Some("faq"), "a").unwrap(), Some("x: "));
    assert_eq!(nested.of(Some("faq"), "b").unwrap(), None);
    assert_eq!(nested.of(Some("other"), "a").unwrap(), None);
    assert!(nested.of(None, "a").unwrap_err().to_string().contains("give prompts by column"));
}
