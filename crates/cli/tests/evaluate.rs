//! `sentir evaluate`: a published figure, the formats that it reads, and what it says to files that it cannot use.

mod common;

use common::{path, root, sentir};
use serde_json::Value;

const ROWS: [[&str; 3]; 4] = [
    ["A plane is taking off.", "An air plane is taking off.", "5"],
    ["A man is playing a flute.", "A man is playing a \"large\" flute, softly.", "3.8"],
    ["Two men are playing chess.", "A woman is cooking.", "0.2"],
    ["The cat sleeps", "a dog runs", "1"],
];

fn model() -> String {
    path(root().join("golden/models/bert"))
}

/// The STS benchmark, English development split: the Spearman correlation that sentence-transformers publishes.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_sts_benchmark_gives_the_published_correlation() {
    let model = root().join("models/all-MiniLM-L6-v2");
    let data = root().join("../shared/data/stsb/stsb-en-dev.csv");
    if !model.join("modules.json").is_file() || !data.is_file() {
        eprintln!("SKIPPED: models/all-MiniLM-L6-v2 or ../shared/data/stsb is not there");
        return;
    }
    let answer = sentir(["evaluate", "--model", &path(model), "--sts", &path(data), "--json"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let found: Value = serde_json::from_str(&answer.stdout).unwrap();
    let spearman = found["sts"]["spearman_cosine"].as_f64().unwrap();
    assert_eq!(format!("{spearman:.4}"), "0.8672");
}

/// With a header and without, as csv, tsv and jsonl, columns called otherwise: the same numbers.
#[test]
fn every_format_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let csv: String = ROWS.iter().map(|row| row.map(quoted).join(",") + "\n").collect();
    let jsonl: String = ROWS
        .iter()
        .map(|[a, b, score]| {
            let score: f64 = score.parse().unwrap();
            format!("{}\n", serde_json::json!({"sentence1": a, "sentence2": b, "score": score}))
        })
        .collect();
    let files = [
        ("bare.csv", csv.clone(), ""),
        (
            "head.csv",
            format!(
                "score,sentence2,sentence1\n{}",
                ROWS.map(|[a, b, s]| format!("{s},{},{}\n", quoted(b), quoted(a))).concat()
            ),
            "",
        ),
        (
            "head.tsv",
            format!("left\tright\tlabel\n{}", ROWS.map(|row| row.join("\t") + "\n").concat()),
            "left,right,label",
        ),
        ("rows.jsonl", jsonl, ""),
    ];
    let mut results = Vec::new();
    for (name, text, columns) in files {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (model, file) = (model(), path(&file));
        let mut words = vec!["evaluate", "--model", &model, "--sts", &file, "--json"];
        if !columns.is_empty() {
            words.extend(["--sts-columns", columns]);
        }
        let answer = sentir(words);
        assert_eq!(answer.code, Some(0), "{name}: {}", answer.stderr);
        results.push(answer.stdout);
    }
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
}

#[test]
fn several_evaluators_print_a_table_and_write_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    std::fs::write(at("queries.jsonl"), "{\"text\": \"a cat\", \"relevant\": [1]}\n").unwrap();
    std::fs::write(
        at("corpus.jsonl"),
        "{\"id\": 1, \"question\": \"cats\"}\n{\"id\": 2, \"question\": \"dogs\"}\n",
    )
    .unwrap();
    std::fs::write(
        at("triplets.jsonl"),
        "{\"anchor\": \"a\", \"positive\": \"a\", \"negative\": \"unlike it\"}\n",
    )
    .unwrap();
    let answer = sentir([
        "evaluate",
        "--model",
        &model(),
        "--retrieval",
        &at("queries.jsonl"),
        "--corpus",
        &at("corpus.jsonl"),
        "--field",
        "document=question",
        "--triplets",
        &at("triplets.jsonl"),
        "--csv",
        &at("out.csv"),
    ]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(
        answer.stdout.contains("retrieval") && answer.stdout.contains("cosine_ndcg@10"),
        "{}",
        answer.stdout
    );
    assert!(answer.stdout.contains("cosine_accuracy          1.0000  *"), "{}", answer.stdout);
    let table = std::fs::read_to_string(at("out.csv")).unwrap();
    assert!(table.starts_with("evaluator,metric,value\nretrieval,cosine_accuracy@1,"), "{table}");
}

#[test]
fn files_that_cannot_be_used_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    for (name, text) in [
        ("empty.csv", ""),
        ("one.csv", "a,b,1\n"),
        ("constant.csv", "a,b,1\nc,d,1\n"),
        ("nan.csv", "a,b,1\nc,d,nan\n"),
        ("word.csv", "a,b,1\nc,d,much\n"),
        ("columns.csv", "left,right,score\na,b,1\nc,d,2\n"),
        ("short.csv", "a,b,1\nc\n"),
        ("broken.jsonl", "{\"sentence1\": \"a\"\n"),
        ("two.jsonl", "{\"anchor\": \"a\", \"positive\": \"b\"}\n"),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let model = model();
    for (words, code, parts) in [
        (vec![], 1, vec!["nothing to measure with", "--sts"]),
        (vec!["--sts", "nowhere.csv"], 1, vec!["nowhere.csv"]),
        (vec!["--sts", "empty.csv"], 1, vec!["empty.csv"]),
        (vec!["--sts", "one.csv"], 1, vec!["at least 2 pairs"]),
        (vec!["--sts", "constant.csv"], 1, vec!["same score"]),
        (vec!["--sts", "nan.csv"], 1, vec!["row 2"]),
        (vec!["--sts", "word.csv"], 1, vec!["row 2", "much"]),
        (vec!["--sts", "columns.csv"], 1, vec!["sentence1", "left"]),
        (vec!["--sts", "short.csv"], 1, vec!["short.csv", "2"]),
        (vec!["--sts", "broken.jsonl"], 1, vec!["broken.jsonl", "row 1"]),
        (vec!["--sts", "one.csv", "--sts-columns", "a,b"], 1, vec!["three names"]),
        (vec!["--triplets", "two.jsonl"], 1, vec!["negative"]),
        (vec!["--retrieval", "one.csv"], 2, vec!["--corpus"]),
    ] {
        let files: Vec<String> = words
            .iter()
            .map(|word: &&str| if word.contains('.') { at(word) } else { (*word).to_owned() })
            .collect();
        let mut all = vec!["evaluate".to_owned(), "--model".to_owned(), model.clone()];
        all.extend(files);
        let answer = sentir(&all);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        for part in parts {
            assert!(answer.stderr.contains(part), "{words:?}: {part} in {}", answer.stderr);
        }
    }
}
