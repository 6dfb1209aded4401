//! `sentir mine`: pairs, their formats, and what it says to files that have none.

mod common;

use common::{path, root, sentir};
use serde_json::Value;

fn model() -> String {
    path(root().join("golden/models/bert"))
}

#[test]
fn equal_texts_come_first_and_every_format_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    std::fs::write(at("texts.txt"), "the cat sleeps\na red bus\nthe cat sleeps\nHow do I pay?\n").unwrap();
    let run = |more: &[&str]| {
        let (model, texts) = (model(), at("texts.txt"));
        let mut words = vec!["mine", "--model", &model, "--input", &texts];
        words.extend(more);
        let answer = sentir(words);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        answer
    };
    let lines: Vec<Value> =
        run(&["--json"]).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6, "all pairs of four texts");
    assert_eq!((&lines[0]["first"], &lines[0]["second"]), (&0.into(), &2.into()));
    assert!((lines[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(lines[0]["texts"][1], "the cat sleeps");
    let scores: Vec<f64> = lines.iter().map(|line| line["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let text = run(&["--max-pairs", "1"]).stdout;
    assert_eq!(text, "1.0000  0: the cat sleeps\n        2: the cat sleeps\n");
    assert_eq!(run(&["--min-score", "0.99999", "--json"]).stdout.lines().count(), 1);
    assert_eq!(run(&["--top-k", "1000", "--json"]).stdout.lines().count(), 6);
    let said = run(&["--output", &at("pairs.jsonl")]);
    assert!(said.stderr.contains("wrote 6 pairs") && said.stdout.is_empty(), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(at("pairs.jsonl")).unwrap(), run(&["--json"]).stdout);
}

#[test]
fn what_has_no_pairs_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    std::fs::write(at("one.txt"), "alone\n").unwrap();
    std::fs::write(at("none.txt"), "").unwrap();
    std::fs::write(at("two.jsonl"), "{\"a\": \"x\", \"b\": \"y\"}\n{\"a\": \"x\", \"b\": \"y\"}\n").unwrap();
    for (words, code, part) in [
        (vec!["--input", "one.txt"], 1, "two or more"),
        (vec!["--input", "none.txt"], 1, "none.txt"),
        (vec!["--input", "nowhere.txt"], 1, "nowhere.txt"),
        (vec!["--input", "two.jsonl"], 1, "--column"),
        (vec!["--input", "one.txt", "--top-k", "0"], 2, "--top-k"),
        (vec!["--input", "two.jsonl", "--column", "a", "--min-score", "nan"], 1, "--min-score"),
    ] {
        let words: Vec<String> = words
            .iter()
            .map(|word: &&str| if word.contains('.') { at(word) } else { (*word).to_owned() })
            .collect();
        let mut all = vec!["mine".to_owned(), "--model".to_owned(), model()];
        all.extend(words.clone());
        let answer = sentir(&all);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(part), "{words:?}: {}", answer.stderr);
    }
}
