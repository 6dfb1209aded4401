//! `sentir demo`, and training without a model to begin with: what they write, that it is better than what it is compared with, and
//! what they say to wrong options.

mod common;

use common::{path, sentir};
use serde_json::Value;

/// The demonstration in both languages: trained, a model beats itself before and the words in common, and it answers.
#[test]
fn the_demo_trains_a_model_that_is_better_and_answers() {
    for language in ["en", "ru"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("demo");
        let answer = sentir(["demo", "--language", language, "--json", "--out", &path(&out)]);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let outcome: Value = serde_json::from_str(&answer.stdout).unwrap();
        let score = |what: &str, metric: &str| outcome[what][metric].as_f64().unwrap();
        for metric in ["accuracy@1", "mrr@10"] {
            let (bm25, before, after) =
                (score("bm25", metric), score("before", metric), score("after", metric));
            assert!(after > bm25 + 0.05 && after > before + 0.05, "{language}, {metric}: {outcome}");
        }
        assert_eq!((&outcome["entries"], &outcome["paraphrases"]), (&120.into(), &960.into()));
        assert_eq!(outcome["samples"].as_array().unwrap().len(), 3);
        // What it says to type next works.
        let base = out.join("knowledge-base.jsonl");
        let question = if language == "en" {
            "my card is declined"
        } else {
            "не проходит оплата картой"
        };
        let model = path(out.join("model"));
        let found = sentir([
            "search",
            "--model",
            &model,
            "--corpus",
            &path(&base),
            "--column",
            "question",
            "--show",
            "answer",
            "--top-k",
            "3",
            question,
        ]);
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert_eq!(found.stdout.matches("answer: ").count(), 3);
        for file in ["pairs.jsonl", "questions.jsonl", "model/modules.json", "model/tokenizer.json"] {
            assert!(out.join(file).is_file(), "{file}");
        }
        // A directory that is there is somebody's.
        let again = sentir(["demo", "--language", language, "--out", &path(&out)]);
        assert_eq!(again.code, Some(1));
        assert!(
            again.stderr.contains("exists already") && again.stderr.contains("--out"),
            "{}",
            again.stderr
        );
    }
}

#[test]
fn the_demo_refuses_what_it_does_not_have() {
    let answer = sentir(["demo", "--language", "fr"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("en, ru"), "{}", answer.stderr);
    let answer = sentir(["demo", "--out", "/nowhere/at/all"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("/nowhere/at"), "{}", answer.stderr);
}

/// Thirty pairs whose halves share words.
fn pairs() -> String {
    let things = [
        "password",
        "invoice",
        "delivery",
        "account",
        "refund",
        "voucher",
        "address",
        "newsletter",
        "order",
        "warranty",
    ];
    let mut rows = String::new();
    for thing in things {
        for text in ["where is my", "how do I change the", "problem with the"] {
            rows += &format!(
                "{{\"anchor\": \"How do I manage my {thing}?\", \"positive\": \"{text} {thing}\"}}\n"
            );
        }
    }
    rows
}

#[test]
fn new_models_learn_from_pairs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pairs.jsonl");
    std::fs::write(&data, pairs()).unwrap();
    for (kind, more) in [
        ("static", vec!["--hidden-size", "32", "--vocab-size", "300"]),
        (
            "transformer",
            vec![
                "--hidden-size",
                "16",
                "--num-hidden-layers",
                "1",
                "--num-attention-heads",
                "2",
                "--vocab-size",
                "300",
            ],
        ),
    ] {
        let out = folder.path().join(kind);
        let mut arguments =
            vec!["train".to_owned(), "--from-scratch".to_owned(), kind.to_owned(), "--json".to_owned()];
        arguments.extend(
            ["--data", &path(&data), "--columns", "anchor,positive", "--out", &path(&out)].map(str::to_owned),
        );
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        let answer = sentir(&arguments);
        assert_eq!(answer.code, Some(0), "{kind}: {}", answer.stderr);
        let outcome: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert!(outcome["updates"].as_u64().unwrap() > 5, "{outcome}");
        let log = std::fs::read_to_string(out.join("train_log.jsonl")).unwrap();
        let losses: Vec<f64> = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64())
            .collect();
        assert!(losses[losses.len() - 1] < losses[0], "{kind}: {losses:?}");
        let card = std::fs::read_to_string(out.join("README.md")).unwrap();
        assert!(card.contains("trained from scratch"), "{card}");
        let encoded = sentir(["encode", "--model", &path(&out), "where is my refund"]);
        assert_eq!(encoded.code, Some(0), "{}", encoded.stderr);
    }
}

#[test]
fn options_of_new_models_that_make_no_sense_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pairs.jsonl");
    std::fs::write(&data, pairs()).unwrap();
    let one = folder.path().join("one.jsonl");
    std::fs::write(&one, "{\"text\": \"a\"}\n").unwrap();
    for (arguments, code, message) in [
        (vec!["--hidden-size", "8"], 2, "--from-scratch"),
        (vec!["--from-scratch", "static", "--model", "x"], 2, "cannot be used with"),
        (vec!["--from-scratch", "static", "--num-hidden-layers", "2"], 1, "has no layers"),
        (
            vec!["--from-scratch", "transformer", "--hidden-size", "10", "--num-attention-heads", "3"],
            1,
            "multiple",
        ),
        (vec!["--from-scratch", "static", "--hidden-size", "0"], 1, "components"),
        (vec!["--from-scratch", "tree"], 2, "static, transformer"),
    ] {
        let out = path(folder.path().join("out"));
        let mut words = vec!["train", "--data"];
        let data = path(&data);
        words.extend([data.as_str(), "--out", &out]);
        words.extend(arguments.iter());
        let answer = sentir(words);
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(message), "{arguments:?}: {}", answer.stderr);
        assert!(!folder.path().join("out").exists(), "{arguments:?}");
    }
    let (one, out) = (path(&one), path(folder.path().join("out")));
    let answer = sentir(["train", "--from-scratch", "static", "--data", &one, "--out", &out]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("1 columns") || answer.stderr.contains("two"), "{}", answer.stderr);
}
