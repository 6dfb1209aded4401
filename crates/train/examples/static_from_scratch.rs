//! Measures static models trained from nothing on the demonstration data and, if it is there, on `../shared/data/rutube`:
//! accuracy@1 and MRR@10 of finding a question's entry in the knowledge base, before and after training.
//!
//! `cargo run --release -p sentir-train --example static_from_scratch -- '{"dimension": 512, "seed": 1}'`; without an
//! argument, the defaults. The held-out questions are read after training only.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sentir_model::{EncodeOptions, SentenceTransformer};
use sentir_train::Result;
use sentir_train::data::{Dataset, TextColumn};
use sentir_train::scratch::{StaticTraining, train_static, write_static};
use serde_json::Value;

/// A knowledge base, pairs to train on, and where held-out questions are.
struct Case {
    name: String,
    /// Identifier and question.
    entries: Vec<(String, String)>,
    pairs: Vec<(String, String)>,
    held_out: Vec<(PathBuf, &'static str)>,
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().expect("a text").to_owned()
}

fn demo(languages: &[&str]) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let mut case = Case {
        name: format!("demo {}", languages.join("+")),
        entries: Vec::new(),
        pairs: Vec::new(),
        held_out: Vec::new(),
    };
    for language in languages {
        let id = |row: &Value, key: &str| format!("{language}-{}", text(row, key));
        let file = |name: &str| folder.join(format!("{name}-{language}.jsonl"));
        for row in rows(&file("knowledge-base")) {
            case.pairs.push((text(&row, "question"), text(&row, "answer")));
            case.entries.push((id(&row, "id"), text(&row, "question")));
        }
        for row in rows(&file("paraphrases")) {
            let own = id(&row, "id");
            let entry = case.entries.iter().find(|(id, _)| *id == own).expect("an entry");
            case.pairs.push((entry.1.clone(), text(&row, "text")));
        }
        case.held_out.push((file("questions"), if *language == "ru" { "ru-" } else { "en-" }));
    }
    case
}

fn rutube(folder: &Path) -> Case {
    let base = rows(&folder.join("kb.jsonl"));
    let entries = base.iter().map(|row| (text(row, "id"), text(row, "question"))).collect();
    let answers = base.iter().map(|row| (text(row, "question"), text(row, "answer")));
    let paraphrases = rows(&folder.join("pairs.jsonl"));
    let paraphrases = paraphrases.iter().map(|row| (text(row, "anchor"), text(row, "positive")));
    Case {
        name: "rutube".to_owned(),
        entries,
        pairs: answers.chain(paraphrases).collect(),
        held_out: vec![(folder.join("cases-dev.jsonl"), "")],
    }
}

/// accuracy@1 and MRR@10 of each held-out file, and of all together.
fn measure(model: &SentenceTransformer, case: &Case) -> Result<String> {
    let encode = |texts: &[String]| model.encode(texts, &EncodeOptions::default());
    let questions: Vec<String> = case.entries.iter().map(|(_, question)| question.clone()).collect();
    let documents = encode(&questions)?.embeddings;
    let (mut all, mut parts) = (Vec::new(), Vec::new());
    for (path, prefix) in &case.held_out {
        let held_out = rows(path);
        let texts: Vec<String> = held_out.iter().map(|row| text(row, "text")).collect();
        let scores = model.similarity(&encode(&texts)?.embeddings, &documents)?;
        let mut ranks = Vec::new();
        for (row, scores) in held_out.iter().zip(scores.iter()) {
            let key = if row["kb"].is_null() { "id" } else { "kb" };
            let id = format!("{prefix}{}", text(row, key));
            let own = case.entries.iter().position(|(known, _)| *known == id).expect("an entry");
            ranks.push(scores.iter().filter(|score| **score > scores[own]).count());
        }
        parts.push(summary(&ranks));
        all.extend(ranks);
    }
    if parts.len() > 1 {
        parts.push(format!("together {}", summary(&all)));
    }
    Ok(parts.join(", "))
}

fn summary(ranks: &[usize]) -> String {
    let count = ranks.len() as f64;
    let first = ranks.iter().filter(|rank| **rank == 0).count() as f64 / count;
    let reciprocal: f64 =
        ranks.iter().filter(|rank| **rank < 10).map(|rank| 1.0 / (1.0 + *rank as f64)).sum::<f64>() / count;
    format!("{first:.3} {reciprocal:.3}")
}

fn options(given: &Value) -> StaticTraining {
    let mut options = StaticTraining::default();
    for (key, value) in given.as_object().into_iter().flatten() {
        let number = value.as_f64().expect("a number");
        match key.as_str() {
            "vocabulary" => options.model.tokenizer.vocabulary = number as usize,
            "longest_piece" => options.model.tokenizer.longest_piece = number as usize,
            "dimension" => options.model.dimension = number as usize,
            "copies" => options.copies = number as usize,
            "typos" => options.typos = number,
            "scale" => options.scale = number,
            "least_updates" => options.least_updates = number as usize,
            "learning_rate" => options.arguments.learning_rate = number,
            "epochs" => options.arguments.num_train_epochs = number,
            "batch" => options.arguments.per_device_train_batch_size = number as usize,
            "seed" => {
                options.arguments.seed = number as u64;
                options.model.seed = number as u64;
            }
            other => panic!("no option is named {other}"),
        }
    }
    options
}

fn main() -> Result<()> {
    let given = std::env::args().nth(1).map(|text| serde_json::from_str(&text).expect("an object"));
    let options = options(&given.unwrap_or_default());
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rutube");
    let mut cases = vec![demo(&["ru"]), demo(&["en"]), demo(&["ru", "en"])];
    if shared.is_dir() {
        cases.push(rutube(&shared));
    } else {
        println!("SKIPPED: ../shared/data/rutube is not there");
    }
    let kept = std::env::args().nth(2).map(PathBuf::from);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for case in cases {
        let root = kept.as_deref().unwrap_or(folder.path());
        let path = |name: &str| root.join(format!("{} {name}", case.name));
        let column = |name: &str, texts: Vec<String>| TextColumn { name: name.to_owned(), texts };
        let (questions, texts): (Vec<String>, Vec<String>) = case.pairs.iter().cloned().unzip();
        let all: Vec<&String> = questions.iter().chain(&texts).collect();
        write_static(&all, &options.model, &path("fresh"))?;
        let fresh = SentenceTransformer::load(path("fresh").to_string_lossy())?;
        let before = measure(&fresh, &case)?;
        let columns = vec![column("question", questions), column("text", texts)];
        let data = Dataset::new(&case.name, columns, None)?;
        let started = Instant::now();
        let trained = train_static(&data, &options, &path("trained"), &mut |_| {}, &AtomicBool::new(false))?;
        let seconds = started.elapsed().as_secs_f64();
        let after = measure(&trained.model, &case)?;
        let steps = trained.state.global_step;
        println!("{:10} before {before} | after {after} | {seconds:.1} s, {steps} updates", case.name);
    }
    Ok(())
}
