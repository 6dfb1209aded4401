//! Data without problems, hostile data, much data; and what the tests of problems need.

mod problems;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use Severity::{Error as E, Note as N, Warning as W};
use sentir_model::{LoadOptions, Trainable};
use serde_json::{Value, json};

use super::texts::{alike, bands, close, is_blank, normalise, signature};
use super::*;
use crate::data::{Labels, TextColumn};
use crate::losses::from_name;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(name)
}

fn load(path: &Path) -> SentenceTransformer {
    let options = LoadOptions { trainable: Trainable::Everything, ..LoadOptions::default() };
    SentenceTransformer::load_with(path.to_str().unwrap(), &options).unwrap()
}

fn bert() -> SentenceTransformer {
    load(&golden("models/bert"))
}

fn loss(name: &str, parameters: Value) -> Box<dyn Loss> {
    from_name(name, parameters.as_object().unwrap()).unwrap()
}

fn mnrl() -> Box<dyn Loss> {
    loss("mnrl", json!({}))
}

/// Twelve pairs that have nothing to do with each other.
const PAIRS: [[&str; 2]; 12] = [
    ["cold winter nights", "snow at midnight"],
    ["how to bake bread", "flour, water, an oven"],
    ["a red bicycle", "two wheels and a bell"],
    ["the price of gold", "what an ounce costs"],
    ["lost my passport", "go to the embassy"],
    ["learning the piano", "scales every day"],
    ["tea or coffee", "both keep you awake"],
    ["ships in a storm", "waves over the deck"],
    ["who wrote hamlet", "it was shakespeare"],
    ["fix a flat tyre", "patch the inner tube"],
    ["my cat is hungry", "feed him some fish"],
    ["sun and moon", "day follows night"],
];

fn dataset(rows: &[[&str; 2]], labels: Option<Vec<f64>>) -> Dataset {
    columns(&["anchor", "positive"], &rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>(), labels)
}

fn columns(names: &[&str], rows: &[Vec<&str>], labels: Option<Vec<f64>>) -> Dataset {
    let column = |(i, name): (usize, &&str)| TextColumn {
        name: (*name).to_owned(),
        texts: rows.iter().map(|row| row[i].to_owned()).collect(),
    };
    let labels = labels.map(|values| Labels::new("score", 1, values).unwrap());
    Dataset::new("train", names.iter().enumerate().map(column).collect(), labels).unwrap()
}

/// [`PAIRS`] with some rows changed.
fn pairs_with(changed: &[(usize, [&'static str; 2])]) -> Dataset {
    let mut rows = PAIRS;
    for &(row, texts) in changed {
        rows[row] = texts;
    }
    dataset(&rows, None)
}

/// One batch has all rows; long enough to be a training.
fn arguments() -> TrainingArguments {
    TrainingArguments { per_device_train_batch_size: 12, num_train_epochs: 20.0, ..Default::default() }
}

/// On a machine with memory enough.
fn run(
    model: &SentenceTransformer,
    data: &[Dataset],
    loss: &dyn Loss,
    arguments: &TrainingArguments,
) -> Examination {
    run_on(model, data, loss, arguments, Frozen::default(), None)
}

fn case<'a>(
    model: &'a SentenceTransformer,
    datasets: &'a [Dataset],
    loss: &'a dyn Loss,
    arguments: &'a TrainingArguments,
    interrupt: &'a AtomicBool,
) -> Case<'a> {
    let (preset, frozen) = Default::default();
    Case { datasets, model, loss, arguments, preset, frozen, lora: None, interrupt }
}

fn run_on(
    model: &SentenceTransformer,
    datasets: &[Dataset],
    loss: &dyn Loss,
    arguments: &TrainingArguments,
    frozen: Frozen,
    available: Option<u64>,
) -> Examination {
    let interrupt = &AtomicBool::new(false);
    examine_with(Case { frozen, ..case(model, datasets, loss, arguments, interrupt) }, available).unwrap()
}

fn codes(examination: &Examination) -> Vec<(&'static str, Severity)> {
    examination.findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

fn rows(finding: &Finding) -> Vec<Vec<usize>> {
    finding.examples.iter().map(|example| example.rows.clone()).collect()
}

#[test]
fn good_data_has_no_findings() {
    let model = bert();
    let examination = run(&model, &[dataset(&PAIRS, None)], &*mnrl(), &arguments());
    assert_eq!(codes(&examination), []);
    assert!(examination.to_text().starts_with("Nothing stands out.\n"), "{}", examination.to_text());
    let facts = &examination.facts;
    assert_eq!((facts.datasets[0].rows, facts.datasets[0].columns.len()), (12, 2));
    let scored = dataset(&PAIRS, Some((0..12).map(|i| f64::from(i) / 11.0).collect()));
    for name in ["cosent", "cosine-similarity"] {
        let examination = run(&model, std::slice::from_ref(&scored), &*loss(name, json!({})), &arguments());
        assert_eq!(codes(&examination), [], "{name}");
    }
}

#[test]
fn hostile_texts_are_shown_safely() {
    assert_eq!(shorten("a  b\n\tc "), "a b c");
    assert_eq!(shorten("\u{1b}[2Jx\u{202e}y\u{0}"), "\\u{1b}[2Jx\\u{202e}y\\u{0}");
    assert_eq!(shorten("שלום עולם"), "שלום עולם");
    assert_eq!(shorten(&"é".repeat(80)), "é".repeat(80));
    let long = "\u{1f469}\u{200d}".repeat(5_000_000);
    let shown = shorten(&long);
    assert!(shown.chars().count() < 100 && shown.ends_with('…'), "{shown}");
    assert_eq!(shorten(&" ".repeat(1_000_000)), "…");
    let strange =
        ["\u{1b}[31mred\u{7}", "\u{202e}gnihton", "\u{0}", "שלום", "a\u{300}\u{300}\u{300}", "🦀🦀"];
    let long = "very long ".repeat(20_000);
    let mut texts: Vec<[&str; 2]> = strange.iter().map(|&text| [text, text]).collect();
    texts.push([&long, "short"]);
    texts.push(["\u{1b}[31mRED\u{7}", "x\ny"]);
    let mut data = dataset(&texts, None);
    data.name = "evil\u{1b}[0m\u{202e}".to_owned();
    data.columns[0].name = "a\nb\u{1b}".to_owned();
    let examination = run(&bert(), &[data], &*mnrl(), &arguments());
    let text = examination.to_text();
    assert!(examination.findings.len() > 2, "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 600), "{text}");
    let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(bad), "{text:?}");
    let json = serde_json::to_value(&examination).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), examination.findings.len());
}

#[test]
fn json_has_names_of_its_own() {
    let data = pairs_with(&[(6, ["tea or coffee", ""]), (4, ["no papers", "snow at midnight"])]);
    let json = serde_json::to_value(run(&bert(), &[data], &*mnrl(), &arguments())).unwrap();
    let empty = &json["findings"][0];
    assert_eq!(empty["code"], "empty_texts");
    assert_eq!(empty["severity"], "warning");
    assert_eq!(empty["fix"], json!({"drop_rows": {"dataset": 0, "rows": 1}}));
    assert_eq!(empty["examples"][0], json!({"rows": [7], "texts": ["tea or coffee", ""]}));
    assert_eq!(json["findings"][1]["fix"], json!({"set_batch_sampler": "no_duplicates"}));
    assert_eq!(json["facts"]["seconds_per_update"], Value::Null);
    assert_eq!(json["facts"]["course"]["updates"], 20);
}

#[test]
fn with_the_preset_fit_the_rate_ends_with_the_whole_batches() {
    let (model, data, never) = (bert(), [dataset(&PAIRS, None)], AtomicBool::new(false));
    let arguments =
        TrainingArguments { per_device_train_batch_size: 8, num_train_epochs: 10.0, ..arguments() };
    let last = |preset| {
        let found = examine(Case { preset, ..case(&model, &data, &*mnrl(), &arguments, &never) }).unwrap();
        let course = found.facts.course.unwrap();
        assert_eq!(course.updates, 20);
        course.rates.iter().map(|rate| rate.learning_rate).collect::<Vec<_>>()
    };
    // Linear to nothing after the 20 updates that there are, or after 10: 12 rows hold one whole batch of 8.
    let rates = [last(Preset::Trainer), last(Preset::Fit)];
    assert!((rates[0][5] - 0.5 * arguments.learning_rate).abs() < 1e-12 && rates[0][10] > 0.0, "{rates:?}");
    assert!(rates[1][5..].iter().all(|&rate| rate == 0.0) && rates[1][4] > 0.0, "{rates:?}");
}

#[test]
fn an_interrupt_ends_it() {
    let (model, data) = (bert(), [dataset(&PAIRS, None)]);
    let stop = AtomicBool::new(true);
    let found = examine(case(&model, &data, &*mnrl(), &arguments(), &stop));
    assert!(matches!(found, Err(Error::Interrupted)));
}

#[test]
fn normalised_texts() {
    for (a, b, same) in [
        ("What is  SQL?", "what is sql", true),
        ("«Да», — сказал он.", "да сказал он", true),
        ("C++", "C#", false),
        ("3.5", "35", false),
        ("?", "!", false),
        ("", " ", true),
        ("Straße", "STRASSE", false),
    ] {
        assert_eq!(normalise(a) == normalise(b), same, "{a}, {b}");
    }
    assert!(is_blank("") && is_blank(" \u{feff}\u{200b}\n") && !is_blank("."));
}

#[test]
fn alike_texts_are_found_and_others_are_not() {
    let pair = |a: &str, b: &str| {
        let (a, b) = (normalise(a), normalise(b));
        let (Some(x), Some(y)) = (signature(&a), signature(&b)) else { return false };
        bands(&x).zip(bands(&y)).any(|(x, y)| x == y) && close(&x, &y) && alike(&a, &b)
    };
    assert!(pair(
        "How can I change the password of my account?",
        "How can I change the passwords of my account"
    ));
    assert!(!pair("How do I open an account?", "How do I close an account?"));
    assert!(!pair("yes", "yes"), "too short to say");
    assert!(!pair("a text about the weather", "quite another sentence here"));
    // Of 200 pairs that differ by one letter in 60, nearly all are found.
    let text = |i: usize, last: &str| {
        let word = |j: usize| format!("{:x} ", (i + 1) * 7919 * (j + 3) * 104_729 % 1_000_003);
        (0..9).map(word).collect::<String>() + last
    };
    let found = (0..200).filter(|&i| pair(&text(i, "end"), &text(i, "ent"))).count();
    assert!(found >= 190, "{found}");
}

/// Texts that are all equal, or all look alike: what is compared stays linear, so this ends.
#[test]
fn a_hundred_thousand_rows_of_the_worst_kind() {
    let rows = 100_000;
    let column = |name: &str, text: &dyn Fn(usize) -> String| TextColumn {
        name: name.to_owned(),
        texts: (0..rows).map(text).collect(),
    };
    let alike = |i: usize| format!("number {i} of a very long list of texts, all of which look alike");
    let other = |i: usize| format!("{i} is the answer to a question that somebody asked some time ago");
    let equal = |_: usize| "always the same answer".to_owned();
    let (model, own, interrupt) = (bert(), mnrl(), AtomicBool::new(false));
    let arguments = &TrainingArguments { per_device_train_batch_size: rows, ..Default::default() };
    let kinds: [(&dyn Fn(usize) -> String, &str); 2] = [(&equal, "repeated_texts"), (&other, "alike_texts")];
    for (answer, code) in kinds {
        let columns = vec![column("anchor", &alike), column("positive", answer)];
        let datasets = &[Dataset::new("train", columns, None).unwrap()];
        let case = case(&model, datasets, &*own, arguments, &interrupt);
        let sampler = Sampler::new(&[&datasets[0]], Settings::of(arguments, 1)).unwrap();
        let found = batches::check(case, &sampler.epoch(0)).unwrap();
        let found = found.iter().find(|finding| finding.code == code).unwrap();
        let hit: usize = found.message.split(' ').next().unwrap().parse().unwrap();
        assert!(hit > rows * 9 / 10 && found.message.contains("1 batch of 1"), "{}", found.message);
    }
}
