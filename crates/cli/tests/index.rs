//! `sentir index` and `sentir search --index`: built, changed, killed, and what is said where something does not fit.

mod common;

use common::{bert, done, path, root, sentir};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_index_is_searched_changed_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (model, index) = (bert(), at("index"));
    let lines = [
        r#"{"key": "cat", "text": "the cat sleeps", "kind": "animal"}"#,
        r#"{"key": "bus", "text": "a red bus", "kind": "thing"}"#,
        r#"{"key": "pay", "text": "How do I pay?", "kind": "question"}"#,
    ];
    std::fs::write(at("texts.jsonl"), lines.join("\n")).unwrap();
    let input = at("texts.jsonl");
    let build = |more: &[&str]| {
        let mut words = vec!["index", "build", "--model", &model, "--input", &input, "--column", "text"];
        words.extend(more);
        done(&words)
    };
    let said = build(&["--id-column", "key", "--show", "kind", "--output", &index]);
    assert!(said.stderr.contains("wrote 3 texts"), "{}", said.stderr);
    let find = |question: &str| -> Vec<(String, f64)> {
        let words = ["search", "--model", &model, "--index", &index, "--show", "kind", "--json", question];
        let hits = json(&done(&words).stdout)["hits"].clone();
        let hit = |hit: &Value| (hit["id"].as_str().unwrap().to_owned(), hit["score"].as_f64().unwrap());
        hits.as_array().unwrap().iter().map(hit).collect()
    };
    // The same scores as from the file.
    let words =
        ["search", "--model", &model, "--corpus", &input, "--column", "text", "--json", "the cat sleeps"];
    let from_file = json(&done(&words).stdout)["hits"].clone();
    let from_index = find("the cat sleeps");
    assert_eq!(from_index[0].0, "cat");
    for (hit, (id, score)) in from_file.as_array().unwrap().iter().zip(&from_index) {
        assert_eq!(["cat", "bus", "pay"][hit["index"].as_u64().unwrap() as usize], id);
        assert!((hit["score"].as_f64().unwrap() - score).abs() < 1e-6);
    }
    let text =
        done(&["search", "--model", &model, "--index", &index, "--show", "kind", "-k", "1", "a red bus"])
            .stdout;
    assert!(text.contains("1.0000    bus  a red bus\n") && text.contains("kind: thing"), "{text}");

    std::fs::write(at("more.jsonl"), r#"{"key": "cat", "text": "a red bus", "kind": "animal"}"#).unwrap();
    let said = done(&["index", "update", &index, "--model", &model, "--input", &at("more.jsonl")]);
    assert!(said.stderr.contains("added 0 and replaced 1: 3 texts"), "{}", said.stderr);
    assert_eq!(find("a red bus").iter().filter(|(_, score)| *score > 0.9999).count(), 2);
    let said = done(&["index", "delete", &index, "--ids", "bus,none"]);
    assert!(
        said.stderr.contains("removed 1: 2 texts") && said.stderr.contains("\"none\""),
        "{}",
        said.stderr
    );
    assert_eq!(find("a red bus")[0].0, "cat");
    let about = json(&done(&["index", "info", &index, "--json"]).stdout);
    assert_eq!((&about["texts"], &about["about"]["column"]), (&2.into(), &"text".into()));
    assert!(done(&["index", "info", &index]).stdout.contains("2 texts"));

    // Without ids, numbers go on.
    build(&["--output", &at("numbers"), "--precision", "int8", "--rescore"]);
    done(&["index", "update", &at("numbers"), "--model", &model, "--input", &input]);
    let about = json(&done(&["index", "info", &at("numbers"), "--json"]).stdout);
    assert_eq!((&about["texts"], &about["rescore"]), (&6.into(), &true.into()));
}

#[test]
fn what_does_not_fit_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (bert, index) = (bert(), at("index"));
    let cased = path(root().join("golden/models/bert-cased"));
    std::fs::write(at("texts.txt"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(at("twice.jsonl"), "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"a\", \"text\": \"y\"}\n")
        .unwrap();
    std::fs::write(at("empty.jsonl"), "{\"id\": \"\", \"text\": \"x\"}\n").unwrap();
    done(&["index", "build", "--model", &bert, "--input", &at("texts.txt"), "--output", &index]);
    let texts = at("texts.txt");
    let build = ["index", "build", "--model", &bert, "--column", "text", "--id-column", "id", "--output"];
    let new = at("new");
    let building = |file: &str| {
        let mut words: Vec<String> = build.iter().map(|word| (*word).to_owned()).collect();
        words.extend([new.clone(), "--input".to_owned(), at(file)]);
        words
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (words, code, part) in [
        (building("twice.jsonl"), 1, "\"a\" comes twice, in rows 1 and 2"),
        (building("empty.jsonl"), 1, "line 1: the id is empty"),
        (
            words(&["index", "build", "--model", &bert, "--input", &texts, "--output", &index]),
            1,
            "exists already",
        ),
        (
            words(&["index", "build", "--model", &bert, "--input", &texts, "--output", &new, "--rescore"]),
            1,
            "--rescore is for int8",
        ),
        (
            words(&[
                "index",
                "build",
                "--model",
                &bert,
                "--input",
                &texts,
                "--output",
                &new,
                "--precision",
                "int4",
            ]),
            2,
            "int4",
        ),
        (words(&["index", "info", &at("nothing")]), 1, "sentir index build"),
        (words(&["index", "delete", &index]), 2, "--ids"),
        (words(&["index", "update", &index, "--model", &cased, "--input", &texts]), 1, "it was made with"),
        (words(&["search", "--model", &cased, "--index", &index, "x"]), 1, "it was made with"),
        (
            words(&["search", "--model", &bert, "--index", &index, "--corpus", &texts, "x"]),
            2,
            "cannot be used with",
        ),
        (
            words(&["search", "--model", &bert, "--index", &index, "--show", "no", "x"]),
            1,
            "the index keeps text",
        ),
        (words(&["search", "--model", &bert, "x"]), 2, "--corpus"),
    ] {
        let answer = sentir(&words);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(part), "{words:?}: {}", answer.stderr);
        assert!(!std::path::Path::new(&new).exists(), "{words:?}");
    }
}

/// SIGKILL at many moments of an update: the index opens, with the old texts or the new ones.
#[cfg(unix)]
#[test]
fn a_killed_update_leaves_the_old_state_or_the_new_one() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (model, index) = (bert(), at("index"));
    let texts = |word: &str| {
        (0..400).map(|i| format!("{{\"id\": {i}, \"text\": \"{word} {i}\"}}\n")).collect::<String>()
    };
    std::fs::write(at("old.jsonl"), texts("old")).unwrap();
    std::fs::write(at("new.jsonl"), texts("new")).unwrap();
    let build =
        ["index", "build", "--model", &model, "--column", "text", "--id-column", "id", "--output", &index];
    done(&[&build[..], &["--input", &at("old.jsonl")]].concat());
    let update = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentir"));
        command.args(["index", "update", &index, "--model", &model, "--input", &at(file), "--quiet"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let begun = Instant::now();
    assert!(update("new.jsonl").status().unwrap().success());
    let whole = begun.elapsed();
    let (mut old, mut new) = (0, 0);
    for turn in 0..24u32 {
        let file = if turn % 2 == 0 { "old.jsonl" } else { "new.jsonl" };
        let mut child = update(file).spawn().unwrap();
        // Later and later, the last ones when it is about done.
        std::thread::sleep(whole.mul_f64(0.4 + 0.7 * f64::from(turn) / 23.0).max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = sentir::index::Index::open(folder.path().join("index").as_path()).unwrap();
        let (entries, _) = opened.export().unwrap();
        assert_eq!(entries.len(), 400);
        let words: std::collections::HashSet<&str> = entries
            .iter()
            .map(|entry| entry.fields["text"].as_str().unwrap().split(' ').next().unwrap())
            .collect();
        assert_eq!(words.len(), 1, "half of each");
        if words.contains("old") { old += 1 } else { new += 1 }
    }
    assert!(old + new == 24 && old > 0 && new > 0, "{old} {new}");
    assert!(update("new.jsonl").status().unwrap().success());
}
