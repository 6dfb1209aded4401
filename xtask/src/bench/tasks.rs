//! The tasks on real questions of users, by the commands: retrieval, classes, clusters and paraphrases, with a model before and after fine-tuning.
//! Not a measurement of speed. The table goes into `docs/tasks.md` too, between its marks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Settings, record};
use crate::{cargo, option, root};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Runs it. Options: `--tuned DIR`, a model that was fine-tuned on the pairs.
pub(super) fn run(settings: &Settings, arguments: &[&str]) -> Result<()> {
    let data = root().join("../shared/data/rutube");
    if !data.is_dir() {
        println!("SKIPPED: ../shared/data/rutube is not there");
        return Ok(());
    }
    cargo(&["build", "--release", "-p", "sentir-cli"], &[])?;
    let folder = settings.work.join("tasks");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    files(&data, &folder)?;
    let scratch = folder.join("static");
    let mut train = sentir(settings, "train");
    train
        .args(["--from-scratch", "static", "--columns", "anchor,positive", "--data"])
        .arg(data.join("pairs.jsonl"));
    finish(train.arg("--out").arg(&scratch))?;
    let mut models = vec![("all-MiniLM-L6-v2", settings.model.clone())];
    if let Some(tuned) = option(arguments, "--tuned")? {
        models.push(("all-MiniLM-L6-v2, fine-tuned", PathBuf::from(tuned)));
    }
    models.push(("static, from scratch", scratch));
    let mut rows: Vec<(&str, Vec<String>)> = vec![
        ("retrieval of the right question: accuracy@1", vec![]),
        ("retrieval of the right question: MRR@10", vec![]),
        ("first-level class (11): accuracy", vec![]),
        ("first-level class: macro F1", vec![]),
        ("second-level class (38): accuracy", vec![]),
        ("second-level class: macro F1", vec![]),
        ("clusters of the paraphrases (k-means, 287): V-measure", vec![]),
        ("paraphrases mined of all texts: average precision", vec![]),
    ];
    for (name, model) in &models {
        for ((_, cells), value) in rows.iter_mut().zip(measure(settings, &data, &folder, model)?) {
            cells.push(format!("{value:.4}"));
        }
        println!("{name}: done");
    }
    let mut table =
        format!("| |{}\n|---|", models.iter().map(|(name, _)| format!(" {name} |")).collect::<String>());
    writeln!(table, "{}", "---|".repeat(models.len()))?;
    for (name, cells) in rows {
        writeln!(table, "| {name} | {} |", cells.join(" | "))?;
    }
    record("tasks-rutube", &table, settings, &Value::Null, None)?;
    let path = root().join("docs/tasks.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) = text.split_once(BEGIN).context("docs/tasks.md has no mark")?;
    let (_, after) = rest.split_once(END).context("docs/tasks.md has no mark")?;
    std::fs::write(&path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?;
    Ok(())
}

fn sentir(settings: &Settings, command: &str) -> Command {
    let mut sentir = Command::new(root().join("target/release/sentir"));
    sentir.current_dir(root()).arg(command).args(["--quiet", "--threads", &settings.threads.to_string()]);
    sentir
}

fn finish(command: &mut Command) -> Result<Value> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// What is learned from, what is judged, and all texts with the question that they are about.
fn files(data: &Path, folder: &Path) -> Result<()> {
    let read = |name: &str| -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(data.join(name))?;
        text.lines().map(|line| serde_json::from_str(line).context(name.to_owned())).collect()
    };
    let (kb, pairs, cases) = (read("kb.jsonl")?, read("pairs.jsonl")?, read("cases-dev.jsonl")?);
    // A second class may have the same name within two first ones.
    let classed = |text: &Value, classes: &Value| {
        let text_of = |key: &str| classes[key].as_str().unwrap_or_default().to_owned();
        json!({"text": text, "first": text_of("class_1"), "second": format!("{} / {}", text_of("class_1"), text_of("class_2"))})
    };
    let of = |id: &Value| kb.iter().find(|own| own["id"] == *id).context("a pair of an unknown question");
    let mut train: Vec<Value> = kb.iter().map(|own| classed(&own["question"], own)).collect();
    let mut about: Vec<Value> =
        kb.iter().map(|own| json!({"text": own["question"], "group": own["id"]})).collect();
    let mut paraphrases = Vec::new();
    for pair in &pairs {
        train.push(classed(&pair["positive"], of(&pair["kb"])?));
        about.push(json!({"text": pair["positive"], "group": pair["kb"]}));
        paraphrases.push(json!({"text": pair["positive"], "group": pair["kb"]}));
    }
    let known = |own: &&Value| train.iter().any(|line| line["second"] == own["second"]);
    let test: Vec<Value> = cases.iter().map(|case| classed(&case["text"], case)).collect();
    let seen: Vec<&Value> = test.iter().filter(known).collect();
    if seen.len() < test.len() {
        println!(
            "{} of {} questions are of classes that no example has",
            test.len() - seen.len(),
            test.len()
        );
    }
    let write = |name: &str, lines: &mut dyn Iterator<Item = String>| {
        std::fs::write(folder.join(name), lines.map(|line| line + "\n").collect::<String>())
    };
    write("train.jsonl", &mut train.iter().map(Value::to_string))?;
    write("test.jsonl", &mut seen.iter().map(|line| line.to_string()))?;
    write("about.jsonl", &mut about.iter().map(Value::to_string))?;
    write("paraphrases.jsonl", &mut paraphrases.iter().map(Value::to_string))?;
    Ok(())
}

/// The figures of one model, in the order of rows.
fn measure(settings: &Settings, data: &Path, folder: &Path, model: &Path) -> Result<Vec<f64>> {
    let mut evaluate = sentir(settings, "evaluate");
    evaluate.arg("--model").arg(model).arg("--json").arg("--retrieval").arg(data.join("cases-dev.jsonl"));
    evaluate.arg("--corpus").arg(data.join("kb.jsonl")).args(["--field", "relevant=kb,document=question"]);
    let found = finish(evaluate.arg("--paraphrases").arg(folder.join("about.jsonl")))?;
    let classes = folder.join("classes");
    let _ = std::fs::remove_dir_all(&classes);
    let mut classify = sentir(settings, "classify");
    classify.arg("train").arg("--model").arg(model).arg("--input").arg(folder.join("train.jsonl"));
    classify.args([
        "--column",
        "text",
        "--label",
        "second",
        "--parent-label",
        "first",
        "--c",
        "10",
        "--json",
    ]);
    let report = finish(classify.arg("--test").arg(folder.join("test.jsonl")).arg("--output").arg(&classes))?;
    let mut cluster = sentir(settings, "cluster");
    cluster.arg("--model").arg(model).arg("--input").arg(folder.join("paraphrases.jsonl"));
    cluster.args(["--column", "text", "--labels", "group", "--n-clusters", "287", "--json"]);
    let groups = finish(&mut cluster)?;
    let level = |at: usize| &report["levels"][at];
    let all = [
        &found["retrieval"]["cosine_accuracy@1"],
        &found["retrieval"]["cosine_mrr@10"],
        &level(0)["accuracy"],
        &level(0)["macro avg"]["f1-score"],
        &level(1)["accuracy"],
        &level(1)["macro avg"]["f1-score"],
        &groups["v_measure"],
        &found["paraphrases"]["average_precision"],
    ];
    all.into_iter().map(|value| value.as_f64().context("a figure is missing")).collect()
}
