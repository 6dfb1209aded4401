//! `sentir evaluate` on the other kinds of data, and `--suite`: many data sets, several models, one table.

mod common;

use common::{bert, path, root, sentir};
use serde_json::Value;

/// Files of `golden/evaluators.json`, where what they must give is recorded.
fn files(folder: &std::path::Path) -> Value {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(root().join("golden/evaluators.json")).unwrap()).unwrap();
    for name in ["binary", "paraphrases", "reranking", "translation"] {
        let lines: String = golden[name].as_array().unwrap().iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.join(format!("{name}.jsonl")), lines).unwrap();
    }
    golden
}

#[test]
fn every_kind_of_data_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let golden = files(folder.path());
    let at = |name: &str| path(folder.path().join(name));
    let (model, binary, paraphrases, reranking, translation) =
        (bert(), at("binary.jsonl"), at("paraphrases.jsonl"), at("reranking.jsonl"), at("translation.jsonl"));
    let answer = sentir([
        "evaluate",
        "--model",
        &model,
        "--binary",
        &binary,
        "--paraphrases",
        &paraphrases,
        "--reranking",
        &reranking,
        "--translation",
        &translation,
        "--bitext",
        &translation,
        "--mse",
        &translation,
        "--teacher",
        &model,
        "--json",
    ]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let found: Value = serde_json::from_str(&answer.stdout).unwrap();
    // The case whose model is the plain one.
    let recorded = &golden["cases"][0]["results"];
    for evaluator in ["binary", "paraphrases", "translation", "bitext", "mse"] {
        for pair in recorded[evaluator]["metrics"].as_array().unwrap() {
            let name = pair[0].as_str().unwrap().strip_prefix("tiny_").unwrap();
            let (got, expected) = (found[evaluator][name].as_f64().unwrap(), pair[1].as_f64().unwrap());
            assert!(
                (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                "{evaluator} {name}: {got} for {expected}"
            );
        }
    }
    assert!(found["reranking"]["ndcg@10"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_suite_is_one_table() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let at = |name: &str| path(folder.path().join(name));
    let cased = path(root().join("golden/models/bert-cased"));
    let suite = format!(
        "models = [{cased:?}]\n[[data]]\nname = \"pairs\"\nbinary = \"binary.jsonl\"\n\
         [[data]]\nname = \"words\"\ntranslation = \"translation.jsonl\"\nbitext = \"translation.jsonl\"\n"
    );
    std::fs::write(at("suite.toml"), suite).unwrap();
    let run = |more: &[&str]| {
        let (model, suite) = (bert(), at("suite.toml"));
        let words = [&["evaluate", "--model", &model, "--suite", &suite], more].concat();
        let answer = sentir(words);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        answer.stdout
    };
    let table = run(&["--csv", &at("out.csv")]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("data ") && lines[0].ends_with("bert  bert-cased"), "{table}");
    assert!(lines[1].starts_with("pairs") && lines[1].contains("binary cosine_ap"), "{table}");
    let json: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let value = json[&bert()]["pairs"]["binary"]["cosine_ap"].as_f64().unwrap();
    assert!(lines[1].contains(&format!("{value:.4}")), "{table}");
    assert!(json[&cased]["words"]["bitext"]["f1"].is_number());
    let csv = std::fs::read_to_string(at("out.csv")).unwrap();
    assert!(csv.starts_with("model,data,evaluator,metric,value\n"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 2 * (8 + 3 + 4));
}

#[test]
fn the_suite_of_the_examples_can_be_used() {
    let answer =
        sentir(["evaluate", "--model", &bert(), "--suite", &path(root().join("examples/suite.toml"))]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.contains("same or not") && answer.stdout.contains("ndcg@10"), "{}", answer.stdout);
}

#[test]
fn a_suite_is_measured_during_training() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let at = |name: &str| path(folder.path().join(name));
    let suite = "[[data]]\nname = \"some pairs\"\nbinary = \"binary.jsonl\"\n\
                 [[data]]\nname = \"words\"\nbitext = \"translation.jsonl\"\n";
    std::fs::write(at("suite.toml"), suite).unwrap();
    let (model, data, suite, out) = (bert(), at("translation.jsonl"), at("suite.toml"), at("out"));
    let train = |more: &[&str]| {
        let words = "--columns source,target --loss mnrl --epochs 2 --batch-size 3".split(' ');
        let paths = ["train", "--model", &model, "--data", &data, "--eval-suite", &suite, "--out", &out];
        sentir(paths.into_iter().chain(words).chain(more.iter().copied())).ok();
    };
    train(&[]);
    let log = std::fs::read_to_string(at("out/train_log.jsonl")).unwrap();
    assert_eq!(log.matches("some-pairs_cosine_ap").count(), 3, "{log}");
    let card = || std::fs::read_to_string(at("out/README.md")).unwrap();
    let text = card();
    assert!(text.contains("BinaryClassificationEvaluator") && !text.contains("Translation"));
    // Each evaluator has what it found, and no more.
    let (pairs, words) = text.split_once("#### Bitext Mining").unwrap();
    assert!(pairs.contains("| **cosine_ap**") && !pairs.contains("| **f1**"), "{text}");
    assert!(words.contains("* Dataset: <code>words</code>") && words.contains("| **f1**"), "{text}");

    // Gone on with when there is nothing left to do, it finds out again which metric is whose.
    let evaluation = |text: &str| {
        let begin = text.find("## Evaluation").unwrap();
        text[begin..text.find("## Training Details").unwrap()].to_owned()
    };
    train(&["--resume"]);
    assert_eq!(evaluation(&card()), evaluation(&text));

    // What is measured later goes into the card too, once, and is still there when the card is written again.
    for _ in 0..2 {
        sentir(["evaluate", "--model", &out, "--translation", &data, "--bitext", &data, "--card", "--quiet"])
            .ok();
    }
    let text = card();
    assert_eq!(text.matches("#### Translation").count(), 1, "{text}");
    assert_eq!(text.matches("#### Bitext Mining").count(), 2, "{text}");
    assert!(text.contains("BinaryClassificationEvaluator") && text.contains("src2trg_accuracy"));
    assert!(!text.contains("BitextMiningEvaluator"), "{text}");
    sentir(["card", &out, "--license", "mit"]).ok();
    assert!(card().contains("src2trg_accuracy"));
    sentir(["evaluate", "--model", &out, "--suite", &suite, "--card"]).ok();
    assert_eq!(card().matches("#### Binary Classification").count(), 1, "{}", card());
    assert!(card().contains("* Dataset: <code>some-pairs</code>"), "{}", card());
    let answer = sentir(["evaluate", "--model", &model, "--translation", &data, "--card"]);
    assert!(
        answer.code == Some(1) && answer.stderr.contains("only a directory that sentir has trained"),
        "{}",
        answer.stderr
    );
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let at = |name: &str| path(folder.path().join(name));
    for (name, text) in [
        ("key.toml", "[[data]]\nname = \"a\"\nbinry = \"binary.jsonl\"\n"),
        ("nothing.toml", "[[data]]\nname = \"a\"\n"),
        ("none.toml", "data = []\n"),
        (
            "twice.toml",
            "[[data]]\nname = \"a\"\nbinary = \"binary.jsonl\"\n[[data]]\nname = \"a\"\nbinary = \"binary.jsonl\"\n",
        ),
        ("missing.toml", "[[data]]\nname = \"a\"\nbinary = \"gone.jsonl\"\n"),
        ("half.toml", "[[data]]\nname = \"a\"\nretrieval = \"binary.jsonl\"\n"),
        ("broken.toml", "[[data]\n"),
        ("label.csv", "sentence1,sentence2,label\na,b,1\nc,d,2\n"),
        (
            "unknown.jsonl",
            "{\"id\": 1, \"text\": \"a\", \"duplicates\": [2]}\n{\"id\": 3, \"text\": \"b\"}\n",
        ),
        ("itself.jsonl", "{\"id\": 1, \"text\": \"a\", \"duplicates\": [1]}\n{\"id\": 3, \"text\": \"b\"}\n"),
        ("alone.jsonl", "{\"text\": \"a\", \"group\": 1}\n"),
        ("rank.jsonl", "{\"query\": \"a\", \"positive\": [1], \"negative\": \"b\"}\n"),
        ("empty.jsonl", "{\"query\": \"a\", \"positive\": [], \"negative\": \"b\"}\n"),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    for (words, code, parts) in [
        (vec!["--suite", "key.toml"], 1, vec!["key.toml", "line 3", "binry"]),
        (vec!["--suite", "nothing.toml"], 1, vec!["a: there is nothing to measure with"]),
        (vec!["--suite", "none.toml"], 1, vec!["no [[data]]"]),
        (vec!["--suite", "twice.toml"], 1, vec!["two data sets are called \"a\""]),
        (vec!["--suite", "missing.toml"], 1, vec!["gone.jsonl"]),
        (vec!["--suite", "half.toml"], 1, vec!["retrieval and corpus go together"]),
        (vec!["--suite", "broken.toml"], 1, vec!["broken.toml", "line 1"]),
        (vec!["--suite", "gone.toml"], 1, vec!["gone.toml"]),
        (vec!["--suite", "none.toml", "--binary", "binary.jsonl"], 1, vec!["put the other files into it"]),
        (vec!["--binary", "label.csv"], 1, vec!["label.csv", "row 2", "the label is 2"]),
        (vec!["--paraphrases", "unknown.jsonl"], 1, vec!["row 1", "no text with the id \"2\""]),
        (vec!["--paraphrases", "itself.jsonl"], 1, vec!["no duplicate of itself"]),
        (vec!["--paraphrases", "alone.jsonl"], 1, vec!["at least two texts"]),
        (vec!["--reranking", "rank.jsonl"], 1, vec!["\"positive\" is", "list of strings"]),
        (vec!["--reranking", "empty.jsonl"], 1, vec!["texts that answer"]),
        (vec!["--mse", "translation.jsonl"], 2, vec!["--teacher"]),
        (vec!["--translation", "label.csv"], 1, vec!["source", "sentence1"]),
    ] {
        let files: Vec<String> = words
            .iter()
            .map(|word: &&str| if word.contains('.') { at(word) } else { (*word).to_owned() })
            .collect();
        let mut all = vec!["evaluate".to_owned(), "--model".to_owned(), bert()];
        all.extend(files);
        let answer = sentir(&all);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        for part in parts {
            assert!(answer.stderr.contains(part), "{words:?}: {part} in {}", answer.stderr);
        }
    }
}

/// As MTEB measures classes and clusters: from a table of texts and classes, and from sets of them.
#[test]
fn classes_and_clusters_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let kinds = ["cat", "dog", "bus"];
    let rows = |from: usize| -> Vec<(String, &str)> {
        (from..from + 30).map(|i| (format!("{0} {0} {i} {0}", kinds[i % 3]), kinds[i % 3])).collect()
    };
    let lines = |rows: Vec<(String, &str)>| -> String {
        rows.iter()
            .map(|(text, kind)| format!("{}\n", serde_json::json!({"text": text, "label": kind})))
            .collect()
    };
    std::fs::write(at("train.jsonl"), lines(rows(0))).unwrap();
    std::fs::write(at("test.jsonl"), lines(rows(30))).unwrap();
    let set = |rows: Vec<(String, &str)>| {
        let (sentences, labels): (Vec<String>, Vec<&str>) = rows.into_iter().unzip();
        serde_json::json!({"sentences": sentences, "labels": labels}).to_string() + "\n"
    };
    std::fs::write(at("sets.jsonl"), set(rows(0)) + &set(rows(7)) + &set(vec![("alone".to_owned(), "x")]))
        .unwrap();
    let model = bert();
    let measure = |words: &[&str]| sentir([&["evaluate", "--model", &model, "--json"], words].concat());
    let (train, test, sets) = (at("train.jsonl"), at("test.jsonl"), at("sets.jsonl"));
    let found =
        measure(&["--classification", &test, "--classification-train", &train, "--clustering", &test]).ok();
    let found: Value = serde_json::from_str(&found).unwrap();
    let (classes, clusters) = (&found["classification"], &found["clustering"]);
    assert!(classes["accuracy"].as_f64().unwrap() > 0.9, "{found}");
    assert_eq!(classes.as_object().unwrap().len(), 7, "{found}");
    let v_measure = clusters["v_measure"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&v_measure) && clusters["v_measure_std"].is_number(), "{found}");
    let found: Value = serde_json::from_str(&measure(&["--clustering", &sets]).ok()).unwrap();
    // A set of one class is right whatever the model does.
    assert!(found["clustering"]["v_measure"].as_f64().unwrap() > 1.0 / 3.0, "{found}");

    std::fs::write(at("one.jsonl"), "{\"text\": \"a\", \"label\": \"x\"}\n").unwrap();
    std::fs::write(at("uneven.jsonl"), "{\"sentences\": [\"a\", \"b\"], \"labels\": [1]}\n").unwrap();
    std::fs::write(
        at("empty.jsonl"),
        "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"\"}\n",
    )
    .unwrap();
    let (one, uneven, empty, gone) =
        (at("one.jsonl"), at("uneven.jsonl"), at("empty.jsonl"), at("gone.jsonl"));
    for (words, said) in [
        (vec!["--classification", &test, "--classification-train", &one], "all texts are of the class \"x\""),
        (vec!["--clustering", &empty], "empty.jsonl: line 2: the class is empty"),
        (vec!["--clustering", &gone], "gone.jsonl: cannot be read"),
        (vec!["--clustering", &uneven], "uneven.jsonl, row 1: 2 texts and 1 classes"),
        (vec!["--clustering", &test, "--clustering-columns", "text"], "two names are expected"),
        (vec!["--clustering", &test, "--clustering-columns", "text,kind"], "\"kind\""),
    ] {
        let answer = measure(&words);
        assert!(answer.code == Some(1) && answer.stderr.contains(said), "{said}: {}", answer.stderr);
    }
    assert_eq!(measure(&["--classification", &test]).code, Some(2));
}
