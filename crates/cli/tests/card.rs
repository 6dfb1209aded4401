//! The card that a training leaves, `sentir card`, and what `--verify` confirms and catches.

mod common;

use std::path::{Path, PathBuf};

use common::{path, sentir};
use serde_json::{Value, json};

/// A short training of a tiny model, measured by retrieval; the folder has the data, and the model in `out`.
fn trained() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(golden.join("training/pairs.jsonl"), at("pairs.jsonl")).unwrap();
    let rows: Vec<Value> = std::fs::read_to_string(at("pairs.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let corpus: String = rows
        .iter()
        .enumerate()
        .map(|(i, row)| format!("{}\n", json!({"id": i, "text": row["positive"]})))
        .collect();
    let queries: String = rows
        .iter()
        .enumerate()
        .map(|(i, row)| format!("{}\n", json!({"text": row["anchor"], "relevant": [i]})))
        .collect();
    std::fs::write(at("corpus.jsonl"), corpus).unwrap();
    std::fs::write(at("queries.jsonl"), queries).unwrap();
    let answer = sentir([
        "train",
        "--model",
        &path(golden.join("models/bert")),
        "--data",
        &path(at("pairs.jsonl")),
        "--columns",
        "anchor,positive",
        "--batch-size",
        "6",
        "--epochs",
        "2",
        "--learning-rate",
        "1e-3",
        "--eval-queries",
        &path(at("queries.jsonl")),
        "--eval-corpus",
        &path(at("corpus.jsonl")),
        "--eval-data",
        &path(at("pairs.jsonl")),
        "--out",
        &path(at("out")),
    ]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    folder
}

fn verify(folder: &Path) -> (Option<i32>, Vec<Value>) {
    let at = |name: &str| path(folder.join(name));
    let answer = sentir([
        "card",
        &at("out"),
        "--verify",
        "--data",
        &at("pairs.jsonl"),
        "--columns",
        "anchor,positive",
        "--eval-queries",
        &at("queries.jsonl"),
        "--eval-corpus",
        &at("corpus.jsonl"),
        "--json",
    ]);
    let checks = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{}", answer.stderr));
    (answer.code, checks)
}

fn different(checks: &[Value]) -> Vec<String> {
    let own = checks.iter().filter(|check| check["verdict"] == "different");
    own.map(|check| check["fact"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_fresh_run_is_confirmed_and_every_change_is_caught() {
    let folder = trained();
    let out = folder.path().join("out");
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "### Training Hyperparameters",
        "What really ran",
        "cosine_ndcg@10",
        "eval_loss",
        "30 training samples",
    ] {
        assert!(
            card.contains(part) || card.replace("Validation Loss", "eval_loss").contains(part),
            "{part}: {card}"
        );
    }
    let (code, checks) = verify(folder.path());
    assert_eq!((code, different(&checks)), (Some(0), Vec::new()), "{checks:?}");
    assert!(checks.iter().filter(|check| check["verdict"] == "confirmed").count() > 10, "{checks:?}");
    // Without data there is less to check, and nothing is claimed.
    let answer = sentir(["card", &path(&out), "--verify"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.contains("not checkable") && answer.stdout.contains("--data"), "{}", answer.stdout);

    let keep = |file: PathBuf, change: &dyn Fn(Vec<u8>) -> Vec<u8>, expected: &str| {
        let before = std::fs::read(&file).unwrap();
        std::fs::write(&file, change(before.clone())).unwrap();
        let (code, checks) = verify(folder.path());
        assert_eq!(code, Some(1), "{expected}: {checks:?}");
        assert!(different(&checks).iter().any(|fact| fact == expected), "{expected}: {checks:?}");
        std::fs::write(&file, before).unwrap();
    };
    // The lowest bit of the last weight.
    let flip = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
        bytes
    };
    keep(out.join("model.safetensors"), &flip, "weights");
    let row = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replacen("\"anchor\": \"", "\"anchor\": \"x", 1).into_bytes()
    };
    keep(folder.path().join("pairs.jsonl"), &row, "training data");
    let metric = |bytes: Vec<u8>| {
        let mut record: Value = serde_json::from_slice(&bytes).unwrap();
        let metrics = record["evaluations"][0]["metrics"].as_array_mut().unwrap();
        let own = metrics.iter_mut().find(|metric| metric[0] == "cosine_ndcg@10").unwrap();
        own[1] = json!(own[1].as_f64().unwrap() + 0.01);
        serde_json::to_vec(&record).unwrap()
    };
    keep(out.join("training_record.json"), &metric, "cosine_ndcg@10");
    assert_eq!(verify(folder.path()).0, Some(0));
}

#[test]
fn cards_are_written_again_in_other_styles_and_by_templates() {
    let folder = trained();
    let out = folder.path().join("out");
    let at = |name: &str| path(folder.path().join(name));
    let old = sentir([
        "card",
        &path(&out),
        "--style",
        "3.1",
        "--language",
        "ru,en",
        "--license",
        "mit",
        "--datasets",
        "me/pairs",
    ]);
    assert_eq!(old.code, Some(0), "{}", old.stderr);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        card.contains("with Transformer model: BertModel")
            && card.contains("license: mit")
            && card.contains("datasets:\n- me/pairs"),
        "{card}"
    );
    let facts = sentir(["card", &path(&out), "--json"]);
    let facts: Value = serde_json::from_str(&facts.stdout).unwrap();
    assert_eq!(facts["model"]["language"], json!(["ru", "en"]));
    assert_eq!(facts["arguments"]["num_train_epochs"], json!(2.0));
    std::fs::write(
        at("mine.md"),
        "{{ title }}: {{ datasets[0].size }} rows{% for d in datasets %}, {{ d.loss }}{% endfor %}",
    )
    .unwrap();
    let mine = sentir(["card", &path(&out), "--template", &at("mine.md"), "--out", &at("CARD.md")]);
    assert_eq!(mine.code, Some(0), "{}", mine.stderr);
    let text = std::fs::read_to_string(at("CARD.md")).unwrap();
    assert!(
        text.starts_with("SentenceTransformer based on") && text.contains("30 rows, MultipleNegatives"),
        "{text}"
    );

    std::fs::write(at("bad.md"), "{{ title ").unwrap();
    std::fs::write(at("unknown.md"), "{{ titel }}").unwrap();
    std::fs::create_dir(folder.path().join("none")).unwrap();
    std::fs::create_dir(folder.path().join("broken")).unwrap();
    std::fs::write(folder.path().join("broken/training_record.json"), "{").unwrap();
    std::fs::create_dir(folder.path().join("future")).unwrap();
    std::fs::write(folder.path().join("future/training_record.json"), "{\"format_version\": 99}").unwrap();
    let out = path(&out);
    for (arguments, code, message) in [
        (vec!["card", &out, "--style", "5"], 2, "3.1, 6"),
        (vec!["card", &out, "--template", &at("bad.md")], 1, "bad.md"),
        (vec!["card", &out, "--template", &at("unknown.md")], 1, "--json"),
        (vec!["card", &out, "--template", &at("nowhere.md")], 1, "nowhere.md"),
        (vec!["card", &at("nowhere")], 1, "no such directory"),
        (vec!["card", &at("none")], 1, "only a directory that sentir has trained"),
        (vec!["card", &at("broken")], 1, "training_record.json"),
        (vec!["card", &at("future")], 1, "format version 99"),
        (vec!["card", &out, "--data", &at("pairs.jsonl")], 2, "--verify"),
        (vec!["card", &out, "--verify", "--data", &at("nowhere.jsonl")], 1, "nowhere.jsonl"),
    ] {
        let answer = sentir(&arguments);
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.stderr);
        let said = answer.stderr.clone() + &answer.stdout;
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}
