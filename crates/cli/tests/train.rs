//! `sentir train`: from a file to a model, killed and resumed, and bad input: each ends with an error that says what, where and
//! what to do, and nothing is lost.

mod common;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{case, listing, path, sentir};
use serde_json::{Value, json};

/// A directory with a model, `model`, and the pairs, `pairs.jsonl`.
fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    common::assemble(case("bert: plain"), &directory.path().join("model"));
    let pairs = common::root().join("golden/training/pairs.jsonl");
    std::fs::copy(pairs, directory.path().join("pairs.jsonl")).unwrap();
    directory
}

/// The words of a command, `@` standing for the directory and a slash.
fn words(directory: &Path, arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(|word| word.replace('@', &format!("{}/", path(directory)))).collect()
}

const TRAIN: &str = "train --model @model --data @pairs.jsonl --columns anchor,positive --epochs 4 --batch-size 4 \
                     --learning-rate 1e-3 --seed 3 --set save_steps=3 --set save_total_limit=2";

#[test]
fn trains_and_what_it_writes_is_a_model() {
    let directory = prepared();
    let answer = sentir(words(directory.path(), &format!("{TRAIN} --out @out --json")));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let outcome: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(outcome["updates"], json!(32));
    assert_eq!(outcome["epochs"], json!(4.0));
    let log = std::fs::read_to_string(directory.path().join("out/train_log.jsonl")).unwrap();
    let losses: Vec<f64> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(losses.len(), 32);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[24..]) < mean(&losses[..8]), "the loss falls: {losses:?}");
    let encoded = sentir(words(directory.path(), "encode --model @out weather --output @weather.npy"));
    assert_eq!(encoded.code, Some(0), "{}", encoded.stderr);

    // The same settings from a file give the same model, bit for bit.
    let config = "model = \"MODEL\"\ndata = [\"PAIRS\"]\ncolumns = [\"anchor\", \"positive\"]\nepochs = 4\nbatch_size = 4\n\
                  learning_rate = 1e-3\nseed = 3\nsave_strategy = \"no\"\n[loss_parameters]\nscale = 20\n";
    let own = |name: &str| path(directory.path().join(name)).replace('\\', "/");
    let config = config.replace("MODEL", &own("model")).replace("PAIRS", &own("pairs.jsonl"));
    std::fs::write(directory.path().join("training.toml"), config).unwrap();
    let answer = sentir(words(directory.path(), "train --config @training.toml --out @other"));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let weights = |name: &str| std::fs::read(directory.path().join(name).join("model.safetensors")).unwrap();
    assert!(weights("out") == weights("other"));
}

#[test]
#[cfg(unix)]
fn killed_at_any_moment_and_resumed_it_ends_with_the_same_bits() {
    let directory = prepared();
    let whole = sentir(words(directory.path(), &format!("{TRAIN} --out @whole")));
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let weights = |name: &str| std::fs::read(directory.path().join(name).join("model.safetensors")).unwrap();
    let expected = weights("whole");
    // Moments spread over the whole run by a fixed rule: SIGKILL falls into steps, saves and renames alike.
    let mut kills = 0;
    let mut round = 0u64;
    while kills < 20 {
        assert!(round < 100, "{kills} kills: the training is over before it can be killed");
        let out = format!("out{round}");
        let mut first = true;
        for attempt in 0u64..40 {
            let resume = if first { "" } else { "--resume" };
            first = false;
            let mut child = common::command()
                .args(words(directory.path(), &format!("{TRAIN} --out @{out} {resume}")))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // Later attempts get more time, so that the training comes to its end.
            let patience = 5 + (round * 37 + attempt * 61) % 90 + attempt * attempt * 4;
            std::thread::sleep(Duration::from_millis(patience));
            match child.try_wait().unwrap() {
                Some(status) => {
                    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
                    assert!(status.success(), "{out}, attempt {attempt}: {said}");
                    break;
                }
                None => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    kills += 1;
                }
            }
        }
        assert!(weights(&out) == expected, "{out} after {kills} kills");
        let left: Vec<String> = listing(&directory.path().join(&out))
            .into_iter()
            .filter(|name| name.starts_with(".sentir"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        round += 1;
    }
}

/// Bad data, bad arguments: what it is, what is written to `bad.jsonl` first, the arguments, what the message says.
const BAD: &[(&str, &str, &str, &[&str])] = &[
    ("no data", "", "train --model @model --out @out", &["training data is missing", "--data"]),
    ("no model", "", "train --data @pairs.jsonl --out @out", &["model is missing", "--model"]),
    (
        "no directory",
        "",
        "train --model @model --data @pairs.jsonl",
        &["directory of the result is missing", "--out"],
    ),
    ("no such file", "", "train --model @model --data @none.jsonl --out @out", &["none.jsonl"]),
    (
        "a missing column",
        "",
        "train --model @model --data @pairs.jsonl --columns question,answer --out @out",
        &["row 1", "no column \"question\"", "\"anchor\""],
    ),
    ("an empty file", " ", "train --model @model --data @bad.jsonl --out @out", &["bad.jsonl"]),
    (
        "a row that is no JSON",
        "{\"anchor\": \"a\", \"positive\": \"b\"}\n{\"anchor\": ",
        "train --model @model --data @bad.jsonl --out @out",
        &["bad.jsonl", "2"],
    ),
    (
        "a column of another type",
        "{\"anchor\": \"a\", \"positive\": [1, 2]}",
        "train --model @model --data @bad.jsonl --out @out",
        &["bad.jsonl", "positive"],
    ),
    (
        "one column for a loss of pairs",
        "{\"anchor\": \"a\"}\n{\"anchor\": \"b\"}",
        "train --model @model --data @bad.jsonl --out @out",
        &["MultipleNegativesRankingLoss"],
    ),
    (
        "labels that a loss needs are missing",
        "",
        "train --model @model --data @pairs.jsonl --loss cosent --out @out",
        &["CoSENTLoss", "label"],
    ),
    (
        "labels out of range",
        "{\"a\": \"x\", \"b\": \"y\", \"label\": 7}\n{\"a\": \"z\", \"b\": \"w\", \"label\": 0}",
        "train --model @model --data @bad.jsonl --loss cosine-similarity --out @out",
        &["CosineSimilarityLoss", "7"],
    ),
    (
        "an unknown loss",
        "",
        "train --model @model --data @pairs.jsonl --loss magic --out @out",
        &["magic", "mnrl"],
    ),
    (
        "an unknown parameter of the loss",
        "",
        "train --model @model --data @pairs.jsonl --loss-parameter temperature=3 --out @out",
        &["temperature", "scale"],
    ),
    (
        "an unknown argument",
        "",
        "train --model @model --data @pairs.jsonl --set learning_rat=1 --out @out",
        &["learning_rat", "did you mean \"learning_rate\""],
    ),
    (
        "an argument that is not supported",
        "",
        "train --model @model --data @pairs.jsonl --set fp16=true --out @out",
        &["fp16", "bf16"],
    ),
    (
        "a negative learning rate",
        "",
        "train --model @model --data @pairs.jsonl --learning-rate=-1 --out @out",
        &["learning_rate", "must not be negative"],
    ),
    (
        "a batch of nothing",
        "",
        "train --model @model --data @pairs.jsonl --batch-size 0 --out @out",
        &["at least 1"],
    ),
    (
        "no epochs",
        "",
        "train --model @model --data @pairs.jsonl --epochs 0 --out @out",
        &["num_train_epochs", "more than 0"],
    ),
    (
        "dropout of all",
        "",
        "train --model @model --data @pairs.jsonl --dropout 1 --out @out",
        &["dropout is 1"],
    ),
    (
        "more frozen layers than there are",
        "",
        "train --model @model --data @pairs.jsonl --freeze-layers 99 --out @out",
        &["99 layers are to be frozen", "has 2"],
    ),
    (
        "a setting without a value",
        "",
        "train --model @model --data @pairs.jsonl --set bf16 --out @out",
        &["--set bf16", "NAME=VALUE"],
    ),
    ("a file of settings that is not there", "", "train --config @none.toml --out @out", &["none.toml"]),
    ("a file of settings that is none", "", "train --config @pairs.jsonl --out @out", &["pairs.jsonl"]),
    (
        "a loss that explodes",
        "",
        "train --model @model --data @pairs.jsonl --learning-rate 1e30 --batch-size 4 --out @out",
        &["step 2", "lower the learning rate"],
    ),
];

#[test]
fn bad_input_is_an_error_that_says_what_to_do() {
    for (name, content, arguments, says) in BAD {
        let directory = prepared();
        std::fs::write(directory.path().join("bad.jsonl"), content).unwrap();
        let answer = sentir(words(directory.path(), arguments));
        assert_eq!(answer.code, Some(1), "{name}: {}", answer.stderr);
        assert!(answer.stdout.is_empty(), "{name}");
        for part in *says {
            assert!(answer.stderr.contains(part), "{name}: \"{part}\" is not in: {}", answer.stderr);
        }
        assert!(!answer.stderr.contains("panicked"), "{name}: {}", answer.stderr);
        assert!(!directory.path().join("out/modules.json").exists(), "{name}: a model was written");
    }
}

#[test]
fn a_directory_in_use_is_left_alone_unless_asked_otherwise() {
    let directory = prepared();
    std::fs::create_dir(directory.path().join("out")).unwrap();
    std::fs::write(directory.path().join("out/notes.txt"), "mine").unwrap();
    let command = format!("{TRAIN} --out @out");
    let answer = sentir(words(directory.path(), &command));
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.contains("is not empty") && answer.stderr.contains("--resume"),
        "{}",
        answer.stderr
    );
    let answer = sentir(words(directory.path(), &format!("{command} --overwrite-output-dir")));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert_eq!(std::fs::read_to_string(directory.path().join("out/notes.txt")).unwrap(), "mine");
    // Other data or arguments do not go on from a checkpoint.
    let answer = sentir(words(directory.path(), &format!("{command} --resume --set weight_decay=0.5")));
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("weight_decay is 0"), "{}", answer.stderr);
}

#[test]
fn a_quantized_model_has_no_gradient() {
    let directory = prepared();
    let answer = sentir(words(directory.path(), "quantize @model @small"));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let answer = sentir(words(directory.path(), "train --model @small --data @pairs.jsonl --out @out"));
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("no gradient; train the original model"), "{}", answer.stderr);
}

#[test]
fn a_dry_run_says_what_is_found_and_writes_nothing() {
    let directory = prepared();
    // A question twice in a batch, an empty text, a row twice.
    let rows = ["{\"anchor\": \"How do I pay?\", \"positive\": \"paying\"}"; 3].join("\n")
        + "\n{\"anchor\": \"\", \"positive\": \"nothing\"}\n{\"anchor\": \"Where is my film?\", \"positive\": \"film gone\"}\n";
    std::fs::write(directory.path().join("rows.jsonl"), rows).unwrap();
    let command = "train --model @model --data @rows.jsonl --batch-size 4 --epochs 2 --out @out";
    let answer = sentir(words(directory.path(), &format!("{command} --dry-run --json")));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let found: Value = serde_json::from_str(&answer.stdout).unwrap();
    let codes: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert!(codes.len() >= 3, "{codes:?}");
    assert_eq!(found["facts"]["course"]["updates"], json!(4), "two batches, twice");
    assert!(found["facts"]["seconds_per_update"].as_f64().unwrap() > 0.0);
    assert!(!directory.path().join("out").exists());
    let text = sentir(words(directory.path(), &format!("{command} --dry-run")));
    assert!(text.stdout.contains("rows.jsonl") || text.stdout.contains("\"rows\""), "{}", text.stdout);

    // Mended, there is less to say, and it trains.
    let answer = sentir(words(directory.path(), &format!("{command} --fix")));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.contains("mended: "), "{}", answer.stderr);
    assert!(directory.path().join("out/model.safetensors").is_file());
}

/// What is trained here opens in sentence-transformers with the same vectors, and what it saves goes on here.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn directories_go_to_sentence_transformers_and_back() {
    let Some(python) = std::env::var_os("SENTIR_PYTHON") else {
        eprintln!("SKIPPED: SENTIR_PYTHON names no Python with sentence-transformers");
        return;
    };
    let directory = prepared();
    let at = |name: &str| path(directory.path().join(name));
    for more in ["", "--lora-r 2"] {
        let answer = sentir(words(
            directory.path(),
            &format!("{TRAIN} --set max_steps=5 --overwrite-output-dir --out @out {more}"),
        ));
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let encoded = sentir(words(
            directory.path(),
            "encode --model @out --input @pairs.jsonl --column anchor --output @vectors.npy",
        ));
        assert_eq!(encoded.code, Some(0), "{}", encoded.stderr);
        let saved = at(if more.is_empty() { "theirs" } else { "theirs-lora" });
        let output = std::process::Command::new(&python)
            .arg(common::root().join("golden/check_directory.py"))
            .args([
                &at("out"),
                &at("vectors.npy"),
                &at("pairs.jsonl"),
                "--column",
                "anchor",
                "--save",
                &saved,
            ])
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let went_on = sentir([
            "train",
            "--model",
            &saved,
            "--data",
            &at("pairs.jsonl"),
            "--columns",
            "anchor,positive",
            "--set",
            "max_steps=2",
            "--out",
            &at("on"),
            "--overwrite-output-dir",
        ]);
        assert_eq!(went_on.code, Some(0), "{}", went_on.stderr);
    }
}
