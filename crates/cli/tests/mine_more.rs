//! `sentir mine` over an index, with a checkpoint and for hard negatives; `sentir dedup`.

mod common;

use common::{bert, done, path, root, sentir};
use serde_json::Value;

/// The same cells, numbers to 1e-5.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

#[test]
fn hard_negatives_are_those_of_sentence_transformers() {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(root().join("golden/hard_negatives.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let list = |key: &str| golden[key].as_array().unwrap().clone();
    let pairs: String = list("anchors")
        .iter()
        .zip(list("positives"))
        .map(|(anchor, positive)| format!("{{\"question\": {anchor}, \"answer\": {positive}}}\n"))
        .collect();
    std::fs::write(at("pairs.jsonl"), pairs).unwrap();
    std::fs::write(
        at("others.txt"),
        list("others").iter().map(|text| format!("{}\n", text.as_str().unwrap())).collect::<String>(),
    )
    .unwrap();
    assert_eq!(list("cases").len(), 24);
    for case in list("cases") {
        let (model, input, corpus, output) = (bert(), at("pairs.jsonl"), at("others.txt"), at("out.jsonl"));
        let mut words: Vec<String> = [
            "mine",
            "--hard-negatives",
            "--model",
            &model,
            "--input",
            &input,
            "--column",
            "question",
            "--positive-column",
            "answer",
            "--output",
            &output,
        ]
        .map(str::to_owned)
        .into();
        if case["corpus"] == true {
            words.extend(["--corpus".to_owned(), corpus]);
        }
        for (name, value) in case["options"].as_object().unwrap() {
            words.push(format!("--{}", name.replace('_', "-")));
            match value {
                Value::Bool(_) => {}
                Value::String(text) => words.push(text.clone()),
                other => words.push(other.to_string()),
            }
        }
        let answer = sentir(&words);
        assert_eq!(answer.code, Some(0), "{words:?}: {}", answer.stderr);
        let text = std::fs::read_to_string(&output).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = case["rows"].as_array().unwrap();
        assert_eq!(rows.len(), expected.len(), "{}: {text}", case["options"]);
        for ((row, expected), line) in rows.iter().zip(expected).zip(text.lines()) {
            let (row, expected) = (row.as_object().unwrap(), expected.as_object().unwrap());
            assert_eq!(row.len(), expected.len());
            for (name, value) in expected {
                assert!(same(&row[name], value), "{}: {row:?} for {expected:?}", case["options"]);
            }
            // Columns are in the order that losses go by.
            let places = case["columns"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| line.find(&format!("{name}:")).unwrap());
            assert!(places.is_sorted(), "{line}");
        }
    }
    // What is written can be trained on.
    done(&[
        "mine",
        "--hard-negatives",
        "--model",
        &bert(),
        "--input",
        &at("pairs.jsonl"),
        "--column",
        "question",
        "--positive-column",
        "answer",
        "--sampling-strategy",
        "random",
        "--output",
        &at("random.jsonl"),
    ]);
    let said = done(&[
        "train",
        "--model",
        &bert(),
        "--data",
        &at("random.jsonl"),
        "--columns",
        "question,answer,negative",
        "--loss",
        "mnrl",
        "--batch-size",
        "4",
        "--dry-run",
        "--out",
        &at("out"),
    ]);
    assert!(said.stdout.contains("30 rows") && said.stdout.contains("negative"), "{}", said.stdout);
}

#[test]
fn an_index_is_mined_and_a_checkpoint_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    // More than one step of a thousand rows.
    let texts: String = (0..2300).map(|i| format!("text {} of {}\n", i * 7 % 911, i % 13)).collect();
    std::fs::write(at("texts.txt"), texts).unwrap();
    let (model, index, input) = (bert(), at("index"), at("texts.txt"));
    done(&["index", "build", "--model", &model, "--input", &input, "--output", &index]);
    let from_file =
        done(&["mine", "--model", &model, "--input", &input, "--max-pairs", "500", "--json"]).stdout;
    let from_index = done(&["mine", "--index", &index, "--max-pairs", "500", "--json"]).stdout;
    let lines =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    assert_eq!((lines(&from_file).len(), lines(&from_index).len()), (500, 500));
    assert_eq!(lines(&from_index)[0]["texts"], lines(&from_file)[0]["texts"]);

    // A state after one step, as a killed process leaves it.
    let (_, vectors) = sentir::index::Index::open(std::path::Path::new(&index)).unwrap().export().unwrap();
    let options = sentir::mine::MineOptions {
        similarity: sentir::Similarity::Dot,
        max_pairs: 500,
        ..Default::default()
    };
    let mut mining = sentir::mine::Mining::new(&vectors, &options).unwrap();
    assert!(mining.step());
    std::fs::write(at("state"), mining.state()).unwrap();
    let words = [
        "mine",
        "--model",
        &model,
        "--index",
        &index,
        "--max-pairs",
        "500",
        "--json",
        "--checkpoint",
        &at("state"),
    ];
    let went_on = done(&words);
    assert!(went_on.stderr.contains("goes on from 6"), "{}", went_on.stderr);
    assert_eq!(went_on.stdout, from_index);
    assert!(!std::path::Path::new(&at("state")).exists(), "it is done");
    // Of other options, or no state at all.
    std::fs::write(at("state"), mining.state()).unwrap();
    let other = sentir([
        "mine",
        "--model",
        &model,
        "--index",
        &index,
        "--max-pairs",
        "400",
        "--checkpoint",
        &at("state"),
    ]);
    assert_eq!(other.code, Some(1));
    assert!(
        other.stderr.contains("other options") && other.stderr.contains("begin anew"),
        "{}",
        other.stderr
    );
    std::fs::write(at("state"), "nonsense").unwrap();
    assert!(sentir(words).stderr.contains("damaged"));
}

/// SIGKILL while mining, again and again: the pairs are those of one run.
#[cfg(unix)]
#[test]
fn a_killed_mining_goes_on() {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let texts: String = (0..6000).map(|i| format!("word {} and {}\n", i * 7 % 911, i % 17)).collect();
    std::fs::write(at("texts.txt"), texts).unwrap();
    let (model, index, state, input) = (bert(), at("index"), at("state"), at("texts.txt"));
    done(&["index", "build", "--model", &model, "--input", &input, "--output", &index]);
    let words = ["mine", "--model", &model, "--index", &index, "--max-pairs", "2000", "--json"];
    let expected = done(&words).stdout;
    // SIGINT writes a checkpoint at once; SIGKILL leaves the last one.
    for (turn, signal) in ["INT", "KILL", "INT", "KILL", "INT"].into_iter().enumerate() {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sentir"))
            .args(words)
            .args(["--checkpoint", &state, "--threads", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60 + 25 * turn as u64));
        let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        let status = child.wait().unwrap();
        assert!(status.signal().is_some() || matches!(status.code(), Some(0 | 130)), "{status:?}");
    }
    assert_eq!(done(&[&words[..], &["--checkpoint", &state]].concat()).stdout, expected);
}

#[test]
fn repeated_texts_go_and_the_rest_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let csv =
        "id,text\n1,the cat sleeps\n2,\"a red, bus\"\n3,the cat sleeps\n4,\"a red, bus\"\n5,How do I pay?\n";
    std::fs::write(at("texts.csv"), csv).unwrap();
    std::fs::write(at("texts.txt"), "one\ntwo\none\n").unwrap();
    let (model, input) = (bert(), at("texts.csv"));
    let words = ["dedup", "--model", &model, "--input", &input, "--column", "text", "--threshold", "0.9999"];
    let shown = done(&words);
    assert!(shown.stdout.contains("2: the cat sleeps\n        0: the cat sleeps"), "{}", shown.stdout);
    assert!(shown.stderr.contains("2 of 5 texts repeat an earlier one"), "{}", shown.stderr);
    let lines = done(&[&words[..], &["--json"]].concat()).stdout;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["index"], &first["duplicate_of"], lines.lines().count()), (&2.into(), &0.into(), 2));
    done(&[&words[..], &["--output", &at("fewer.csv")]].concat());
    let fewer = std::fs::read_to_string(at("fewer.csv")).unwrap();
    assert_eq!(fewer, "id,text\n1,the cat sleeps\n2,\"a red, bus\"\n5,How do I pay?\n");
    done(&[
        "dedup",
        "--model",
        &model,
        "--input",
        &at("texts.txt"),
        "--threshold",
        "0.9999",
        "--output",
        &at("fewer.txt"),
    ]);
    assert_eq!(std::fs::read_to_string(at("fewer.txt")).unwrap(), "one\ntwo\n");
    for (words, code, part) in [
        (vec!["dedup", "--model", &model, "--input", &at("nothing.txt")], 1, "nothing.txt"),
        (vec!["dedup", "--model", &model, "--input", &input], 1, "--column"),
        (
            vec!["dedup", "--model", &model, "--input", &input, "--column", "text", "--threshold", "nan"],
            1,
            "--threshold",
        ),
        (vec!["mine", "--model", &model, "--hard-negatives", "--input", &input], 2, "--positive-column"),
        (
            vec![
                "mine",
                "--model",
                &model,
                "--hard-negatives",
                "--input",
                &input,
                "--positive-column",
                "text",
            ],
            1,
            "--column",
        ),
        (
            vec![
                "mine",
                "--model",
                &model,
                "--hard-negatives",
                "--input",
                &input,
                "--column",
                "id",
                "--positive-column",
                "text",
                "--range-max",
                "2",
            ],
            1,
            "range_max",
        ),
        (vec!["mine", "--model", &model, "--index", &at("nowhere")], 1, "sentir index build"),
        (vec!["mine", "--model", &model], 2, "--input"),
    ] {
        let answer = sentir(&words);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(part), "{words:?}: {}", answer.stderr);
    }
}
