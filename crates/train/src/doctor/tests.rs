//! Tiny data sets with one problem each, data without problems, and what mending leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use sentir_compute::{Gradients, Memory};
use sentir_model::{LoadOptions, Trainable};
use serde_json::{Value, json};

use super::memory::{Load, activations};
use super::texts::{alike, bands, is_blank, normalise, signature};
use super::*;
use crate::data::{Labels, TextColumn};
use crate::losses::from_name;
use crate::samplers::Release;
use crate::step::{Column, MiniBatch, Setting, gradients_of};
use crate::update::Update;

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

fn run_on(
    model: &SentenceTransformer,
    datasets: &[Dataset],
    loss: &dyn Loss,
    arguments: &TrainingArguments,
    frozen: Frozen,
    available: Option<u64>,
) -> Examination {
    let interrupt = &AtomicBool::new(false);
    examine_with(Case { datasets, model, loss, arguments, frozen, interrupt }, available).unwrap()
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

use Severity::{Error as E, Note as N, Warning as W};

/// A problem: what it is called, the data, what is found, the rows of its examples.
struct Problem {
    name: &'static str,
    data: Dataset,
    loss: Box<dyn Loss>,
    found: Vec<(&'static str, Severity)>,
    rows: Vec<Vec<usize>>,
    /// Whether mending leaves nothing.
    mended: bool,
}

fn problem(
    name: &'static str,
    data: Dataset,
    code: &'static str,
    severity: Severity,
    rows: &[&[usize]],
    mended: bool,
) -> Problem {
    let rows = rows.iter().map(|rows| rows.to_vec()).collect();
    Problem { name, data, loss: mnrl(), found: vec![(code, severity)], rows, mended }
}

fn problems() -> Vec<Problem> {
    let scores = |values: [f64; 12]| dataset(&PAIRS, Some(values.into()));
    let with = |problem: Problem, name: &str| Problem { loss: loss(name, json!({})), ..problem };
    let negatives = |row: usize, negative: &'static str| {
        let others = [
            "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        ];
        let mut all: Vec<Vec<&str>> =
            PAIRS.iter().zip(others).map(|(pair, own)| vec![pair[0], pair[1], own]).collect();
        all[row][2] = negative;
        columns(&["anchor", "positive", "negative"], &all, None)
    };
    let long = "the positive text is far longer than what this model can read at once, so it is cut";
    let mut wrong = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    let binary = wrong;
    wrong[3] = 0.5;
    wrong[7] = 2.0;
    let mut twice = PAIRS;
    twice[9] = twice[2];
    let both = |label: f64| {
        let mut scores: Vec<f64> = (0..12).map(|i| f64::from(i) / 12.0).collect();
        scores[9] = label;
        dataset(&twice, Some(scores))
    };
    vec![
        problem(
            "one answer twice",
            pairs_with(&[(4, ["no papers abroad", "snow at midnight"])]),
            "repeated_texts",
            W,
            &[&[1, 5]],
            true,
        ),
        problem(
            "an anchor twice",
            pairs_with(&[(4, ["a red bicycle", "something to ride"])]),
            "repeated_texts",
            W,
            &[&[3, 5]],
            true,
        ),
        problem(
            "the anchor as an answer",
            pairs_with(&[(4, ["something to ride", "a red bicycle"])]),
            "repeated_texts",
            W,
            &[&[3, 5]],
            true,
        ),
        problem(
            "another spelling",
            pairs_with(&[(4, ["no papers abroad", "Snow at  midnight!"])]),
            "repeated_spelling",
            W,
            &[&[1, 5]],
            false,
        ),
        problem(
            "almost the same",
            pairs_with(&[
                (0, ["so cold", "all of the snow fell at midnight"]),
                (4, ["no papers abroad", "all of the snow fell at midnights"]),
            ]),
            "alike_texts",
            N,
            &[&[1, 5]],
            false,
        ),
        problem(
            "a pair of one text",
            pairs_with(&[(6, ["tea or coffee", "tea or coffee"])]),
            "identical_columns",
            W,
            &[&[7]],
            true,
        ),
        problem(
            "pairs of one text",
            dataset(&PAIRS.map(|[text, _]| [text; 2]), None),
            "identical_columns",
            N,
            &[&[1], &[2], &[3]],
            true,
        ),
        problem(
            "an empty text",
            pairs_with(&[(6, ["tea or coffee", " \n\u{200b}"])]),
            "empty_texts",
            W,
            &[&[7]],
            true,
        ),
        problem(
            "a negative that is the positive",
            negatives(5, "scales every day"),
            "negative_is_positive",
            W,
            &[&[6]],
            true,
        ),
        problem(
            "a negative that is the anchor",
            negatives(5, "learning the piano"),
            "negative_is_positive",
            W,
            &[&[6]],
            true,
        ),
        problem(
            "a negative with the positive in it",
            negatives(5, "scales every day are a bore"),
            "contained_texts",
            N,
            &[&[6]],
            false,
        ),
        problem(
            "the anchor in the answer",
            pairs_with(&[(7, ["ships in a storm", "See: Ships in a Storm, 1912"])]),
            "contained_texts",
            N,
            &[&[8]],
            false,
        ),
        problem(
            "the answer in the anchor",
            pairs_with(&[(7, ["waves over the deck, ships", "waves over the deck"])]),
            "contained_texts",
            N,
            &[&[8]],
            false,
        ),
        problem("too long", pairs_with(&[(10, ["feed him", long])]), "cut_texts", W, &[&[11]], false),
        with(
            problem("a label that never changes", scores([0.5; 12]), "constant_labels", W, &[], false),
            "cosent",
        ),
        with(problem("labels of 0 and 1", scores(binary), "", W, &[], true), "contrastive"),
        with(
            problem(
                "other labels than 0 and 1",
                scores(wrong),
                "label_out_of_range",
                E,
                &[&[4], &[8]],
                false,
            ),
            "online-contrastive",
        ),
        with(
            problem(
                "a scale of 0 to 5",
                scores([0.0, 1.0, 5.0, 0.5, 0.2, 0.3, 0.1, 0.9, 0.8, 0.7, 0.6, 0.4]),
                "label_out_of_range",
                E,
                &[&[3]],
                false,
            ),
            "cosine-similarity",
        ),
        problem("labels that nobody reads", scores([0.5; 12]), "unused_labels", N, &[], true),
        with(problem("a row twice", both(2.0 / 12.0), "repeated_rows", N, &[&[10]], true), "cosent"),
        with(
            problem("a row with two labels", both(0.9), "contradictory_labels", W, &[&[10]], false),
            "cosent",
        ),
        with(problem("no labels", dataset(&PAIRS, None), "loss", E, &[], false), "cosent"),
        problem(
            "one column",
            columns(&["text"], &PAIRS.map(|row| vec![row[0]]), None),
            "loss",
            E,
            &[],
            false,
        ),
    ]
}

#[test]
fn each_problem_is_found_and_mended() {
    let model = bert();
    for Problem { name, data, loss, found, rows: expected, mended } in problems() {
        let mut arguments = arguments();
        arguments.per_device_train_batch_size = data.len();
        let found: Vec<_> = found.into_iter().filter(|(code, _)| !code.is_empty()).collect();
        let mut datasets = vec![data];
        let examination = run(&model, &datasets, &*loss, &arguments);
        assert_eq!(codes(&examination), found, "{name}: {}", examination.to_text());
        for finding in &examination.findings {
            assert_eq!(rows(finding)[..], expected[..], "{name}: {finding:?}");
            assert!(!finding.advice.is_empty() && !finding.message.is_empty(), "{name}");
            assert_eq!(finding.dataset.as_deref(), Some("train"), "{name}");
        }
        fix(&examination, &mut datasets, &mut arguments);
        // Another batch size where rows were left out, so that this is not what is found.
        arguments.per_device_train_batch_size = arguments.per_device_train_batch_size.min(datasets[0].len());
        let after = run(&model, &datasets, &*loss, &arguments);
        let left = after.count(Severity::Warning) + after.count(Severity::Error);
        let was = examination.count(Severity::Warning) + examination.count(Severity::Error);
        assert_eq!(left, if mended { 0 } else { was }, "{name}: {}", after.to_text());
    }
}

#[test]
fn repetitions_of_whole_rows_are_left_out_once() {
    let model = bert();
    let data = pairs_with(&[(5, PAIRS[1]), (8, PAIRS[1])]);
    let (mut datasets, mut arguments) = (vec![data], arguments());
    let examination = run(&model, &datasets, &*mnrl(), &arguments);
    assert_eq!(codes(&examination), [("repeated_rows", W), ("repeated_texts", W)]);
    assert_eq!(rows(&examination.findings[0]), [[6], [9]]);
    let message = &examination.findings[1].message;
    assert!(message.starts_with("3 rows in 1 batch of 1 "), "{message}");
    let done = fix(&examination, &mut datasets, &mut arguments);
    assert_eq!(done, ["batch_sampler is now \"no_duplicates\"", "\"train\": 2 rows left out, 10 of 12 kept"]);
    assert_eq!(datasets[0].len(), 10);
    assert_eq!(datasets[0].columns[1].texts[5], PAIRS[6][1]);
    assert!(fix(&examination, &mut datasets, &mut arguments)[0].contains("not the data that was examined"));
    assert_eq!(datasets[0].len(), 10);
}

#[test]
fn rows_go_with_their_labels_and_never_all() {
    let model = bert();
    let mut rows = PAIRS;
    rows[3][0] = "";
    let scores: Vec<f64> = (0..12).map(|i| f64::from(i) / 12.0).collect();
    let mut datasets = vec![dataset(&rows, Some(scores))];
    let mut arguments = arguments();
    let cosent = loss("cosent", json!({}));
    let examination = run(&model, &datasets, &*cosent, &arguments);
    fix(&examination, &mut datasets, &mut arguments);
    let labels = datasets[0].labels.as_ref().unwrap();
    assert_eq!((labels.values().len(), labels.values()[2], labels.values()[3]), (11, 2.0 / 12.0, 4.0 / 12.0));
    assert_eq!(datasets[0].columns[0].texts[3], PAIRS[4][0]);

    let mut datasets = vec![dataset(&[["", "a"], ["b", " "]], None)];
    let examination = run(&model, &datasets, &*mnrl(), &arguments);
    let done = fix(&examination, &mut datasets, &mut arguments);
    assert_eq!(done, ["\"train\" is left alone: none of its rows would be left"]);
    assert_eq!(datasets[0].len(), 2);
}

#[test]
fn what_no_duplicates_leaves_is_said() {
    let data = pairs_with(&[
        (4, ["no papers abroad", "snow at midnight"]),
        (5, ["LEARNING: the piano", "practise"]),
        (6, ["learning the piano", "both keep you awake"]),
    ]);
    let examination = run(&bert(), &[data], &*mnrl(), &arguments());
    assert_eq!(codes(&examination), [("repeated_texts", W), ("repeated_spelling", W)]);
    let advice = &examination.findings[0].advice;
    assert!(advice.contains("there remain 2 rows that differ in case"), "{advice}");
    // The order of 3.1 knows no other sampler.
    let old = TrainingArguments { order: Release::V3, ..arguments() };
    let data = pairs_with(&[(4, ["no papers abroad", "snow at midnight"])]);
    let examination = run(&bert(), &[data], &*mnrl(), &old);
    assert_eq!(examination.findings[0].fix, None);
    assert!(examination.findings[0].advice.contains("order to \"6.2\""));
}

#[test]
fn batches_decide_what_counts() {
    // In batches of one pair nothing repeats within a batch; without in-batch negatives it does not matter.
    let data = [pairs_with(&[(4, ["no papers abroad", "snow at midnight"])])];
    let model = bert();
    let triplet = loss("cosent", json!({}));
    assert!(!triplet.in_batch_negatives());
    let scored = [dataset(&PAIRS, Some((0..12).map(f64::from).collect()))];
    assert_eq!(codes(&run(&model, &scored, &*triplet, &arguments())), []);
    for name in ["mnrl", "cmnrl", "symmetric-mnrl"] {
        let own = loss(name, json!({}));
        assert!(own.in_batch_negatives());
        assert_eq!(codes(&run(&model, &data, &*own, &arguments())), [("repeated_texts", W)], "{name}");
    }
    let outer = loss("matryoshka", json!({"loss": "mnrl", "matryoshka_dims": [8]}));
    assert!(outer.in_batch_negatives());
    let small = TrainingArguments { per_device_train_batch_size: 1, ..arguments() };
    assert_eq!(codes(&run(&model, &data, &*mnrl(), &small)), [("small_batches", W)]);
}

#[test]
fn arguments_that_do_not_do_what_they_seem_to() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let base = arguments();
    let cases = [
        (
            TrainingArguments {
                gradient_accumulation_steps: 2,
                per_device_train_batch_size: 4,
                ..base.clone()
            },
            "accumulation",
            W,
            "cached form",
        ),
        (TrainingArguments { warmup_steps: 50.0, ..base.clone() }, "warmup", W, "0.1"),
        (TrainingArguments { warmup_ratio: Some(1.0), ..base.clone() }, "warmup", W, "0.1"),
        (TrainingArguments { num_train_epochs: 3.0, ..base.clone() }, "few_updates", W, "num_train_epochs"),
        (TrainingArguments { max_steps: 2, ..base.clone() }, "few_updates", W, "num_train_epochs"),
        (
            TrainingArguments { per_device_train_batch_size: 64, ..base.clone() },
            "large_batch",
            W,
            "12 or less",
        ),
        (TrainingArguments { learning_rate: 0.0, ..base.clone() }, "learning_rate", W, "2e-5"),
        (TrainingArguments { learning_rate: 0.01, ..base.clone() }, "learning_rate", W, "2e-5"),
        (TrainingArguments { learning_rate: f64::NAN, ..base.clone() }, "arguments", E, "Correct"),
        (
            TrainingArguments { per_device_train_batch_size: 64, dataloader_drop_last: true, ..base.clone() },
            "no_batches",
            E,
            "no training",
        ),
    ];
    for (arguments, code, severity, advice) in cases {
        let examination = run(&model, &data, &*mnrl(), &arguments);
        assert_eq!(codes(&examination), [(code, severity)], "{}", examination.to_text());
        assert!(examination.findings[0].advice.contains(advice), "{:?}", examination.findings[0]);
    }
    let empty = [dataset(&[], None)];
    assert!(codes(&run(&model, &empty, &*mnrl(), &base)).contains(&("no_batches", E)));
    assert!(codes(&run(&model, &[], &*mnrl(), &base)).contains(&("no_batches", E)));
}

#[test]
fn the_course_is_that_of_the_trainer() {
    // 12 rows in batches of 5: 3 batches, 2 updates an epoch, 8 in 4 epochs, of which 2 are the warm-up.
    let arguments = TrainingArguments {
        per_device_train_batch_size: 5,
        gradient_accumulation_steps: 2,
        num_train_epochs: 4.0,
        warmup_steps: 0.25,
        learning_rate: 1e-4,
        ..Default::default()
    };
    let examination = run(&bert(), &[dataset(&PAIRS, None)], &*mnrl(), &arguments);
    let course = examination.facts.course.as_ref().unwrap();
    assert_eq!(
        (course.batches_per_epoch, course.batches_in_first_epoch, course.rows_in_first_epoch),
        (3, 3, 12)
    );
    assert_eq!((course.updates_per_epoch, course.updates, course.epochs, course.warmup), (2, 8, 4, 2));
    assert_eq!(course.highest_rate, 1e-4);
    assert_eq!(course.rates.len(), 11);
    // By hand: rates 0, 1/2, 1, 5/6, 4/6, 3/6, 2/6, 1/6 of the highest.
    let at = |percent: usize| course.rates.iter().find(|rate| rate.percent == percent).unwrap();
    for (percent, update, rate) in
        [(0, 1, 0.0), (20, 2, 0.5), (30, 3, 1.0), (50, 5, 4.0 / 6.0), (100, 8, 1.0 / 6.0)]
    {
        assert_eq!(at(percent).update, update);
        assert!((at(percent).learning_rate - rate * 1e-4).abs() < 1e-18, "{percent} %");
    }
    let mut timed = examination.clone();
    timed.facts.seconds_per_update = Some(900.0);
    assert!(timed.to_text().contains("900.00 s an update, 2 h 0 min in all"), "{}", timed.to_text());
}

fn copy_as(name: &str, change: impl Fn(&mut Value)) -> (tempfile::TempDir, SentenceTransformer) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join(name);
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(golden("models/bert")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let path = to.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    let model = load(&to);
    (folder, model)
}

#[test]
fn e5_has_prompts() {
    let from = |name: &'static str| move |config: &mut Value| config["_name_or_path"] = json!(name);
    let plain = |_: &mut Value| {};
    let symmetric = dataset(&PAIRS, None);
    let search = columns(&["question", "answer"], &PAIRS.map(|row| row.to_vec()), None);
    let named = |pairs: [(&str, &str); 2]| {
        Some(Prompts::Named(pairs.map(|(name, prompt)| (name.to_owned(), prompt.to_owned())).into()))
    };
    let all = Some(Prompts::All("query: ".to_owned()));
    let both = named([("question", "query: "), ("answer", "passage: ")]);
    let models = [
        (copy_as("multilingual-e5-small", plain), true),
        (copy_as("tuned", from("intfloat/e5-base-v2")), true),
        (copy_as("models--intfloat--e5-small", plain), true),
        (copy_as("e50-base", from("someone/base500")), false),
        (copy_as("tuned", from("/data/e5/bert")), false),
    ];
    for ((_folder, model), is_e5) in &models {
        for (data, expected) in [(&symmetric, &all), (&search, &both)] {
            let (mut datasets, mut arguments) = (vec![data.clone()], arguments());
            let examination = run(model, &datasets, &*mnrl(), &arguments);
            let expected_codes = if *is_e5 { vec![("e5_prompts", W)] } else { Vec::new() };
            assert_eq!(codes(&examination), expected_codes, "{:?}", model.path());
            if *is_e5 {
                let tokens = examination.facts.datasets[0].columns[0].tokens;
                assert_eq!(fix(&examination, &mut datasets, &mut arguments).len(), 1);
                assert_eq!(&arguments.prompts, expected);
                let after = run(model, &datasets, &*mnrl(), &arguments);
                assert_eq!(codes(&after), []);
                assert!(after.facts.datasets[0].columns[0].tokens > tokens, "the prompt counts");
                assert_eq!(after.facts.datasets[0].columns[0].prompt, "query: ");
            }
        }
    }
    let (_folder, instruct) = copy_as("e5-large-instruct", plain);
    let examination = run(&instruct, &[symmetric.clone()], &*mnrl(), &arguments());
    assert_eq!((codes(&examination), &examination.findings[0].fix), (vec![("e5_prompts", W)], &None));
    // Several data sets: by data set and column.
    let mut other = search.clone();
    other.name = "search".to_owned();
    let (mut datasets, mut arguments) = (vec![symmetric, other], arguments());
    let model = &models[0].0.1;
    let examination = run(model, &datasets, &*mnrl(), &arguments);
    fix(&examination, &mut datasets, &mut arguments);
    let prompts = arguments.prompts.unwrap();
    assert_eq!(prompts.of(Some("search"), "answer").unwrap(), Some("passage: "));
    assert_eq!(prompts.of(Some("train"), "positive").unwrap(), Some("query: "));
}

#[test]
fn prompts_meet_texts() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let with = |prompts: Value| TrainingArguments {
        prompts: Some(serde_json::from_value(prompts).unwrap()),
        ..arguments()
    };
    for (prompts, found) in [
        (json!("x: "), vec![]),
        (json!({"anchor": "x: "}), vec![]),
        (json!({"ancor": "x: "}), vec![("prompts", W)]),
        (json!({"train": "x: "}), vec![("prompts", W)]),
        (json!({"train": {"anchor": "x: "}}), vec![("prompts", E)]),
    ] {
        let examination = run(&model, &data, &*mnrl(), &with(prompts.clone()));
        let mut codes = codes(&examination);
        codes.dedup();
        assert_eq!(codes, found, "{prompts}: {}", examination.to_text());
    }
    let mut other = data[0].clone();
    other.name = "other".to_owned();
    let two = [data[0].clone(), other];
    for (prompts, found) in [
        (json!({"train": "x: "}), vec![]),
        (json!({"train": {"anchor": "x: "}}), vec![]),
        (json!({"train": {"ancor": "x: "}}), vec![("prompts", W)]),
    ] {
        assert_eq!(codes(&run(&model, &two, &*mnrl(), &with(prompts.clone()))), found, "{prompts}");
    }
    let (_folder, saved) = copy_as("saved", |_| {});
    let file = json!({"prompts": {"query": "find: "}, "default_prompt_name": null}).to_string();
    let path = saved.path().to_owned();
    std::fs::write(path.join("config_sentence_transformers.json"), file).unwrap();
    std::fs::write(
        path.join("modules.json"),
        json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
        ])
        .to_string(),
    )
    .unwrap();
    std::fs::create_dir(path.join("1_Pooling")).unwrap();
    let pooling = json!({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}).to_string();
    std::fs::write(path.join("1_Pooling/config.json"), pooling).unwrap();
    let examination = run(&load(&path), &data, &*mnrl(), &arguments());
    assert_eq!(codes(&examination), [("saved_prompts", N)]);
    assert!(examination.findings[0].message.contains("find: "));
}

/// The buffers of a real step are what the formula says.
#[test]
fn the_estimate_is_what_a_step_takes() {
    let mut model = bert();
    let texts: Vec<&str> = PAIRS.iter().flatten().copied().collect();
    let ids = |texts: &[&str]| model.tokenize_texts(texts, "").unwrap().ids;
    let tokens = [ids(&texts[..12]), ids(&texts[12..])];
    Update::new(&mut model, Frozen::default(), crate::optimizer::Decay::Trainer).unwrap();
    let sizes = model.sizes();
    let own = mnrl();
    for (cut, checkpointing) in [
        (MiniBatch::Whole, false),
        (MiniBatch::Whole, true),
        (MiniBatch::Texts(4), false),
        (MiniBatch::Tokens(40), true),
    ] {
        model.set_gradient_checkpointing(checkpointing);
        let columns: Vec<Column<'_>> = tokens
            .iter()
            .map(|ids| Column { ids: ids.iter().map(Vec::as_slice).collect(), skip: 0 })
            .collect();
        let setting = Setting { model: &model, loss: &*own, mini_batch: cut, seed: 1 };
        let (mut gradients, mut memory) = (Gradients::new(), Memory::default());
        gradients_of(setting, &columns, None, None, 0, 1.0, &mut gradients, &mut memory).unwrap();
        let lengths: Vec<Vec<u64>> =
            tokens.iter().map(|ids| ids.iter().map(|ids| ids.len() as u64).collect()).collect();
        let estimate = activations(&sizes, sizes.layers, memory::load(&lengths, cut), checkpointing);
        let taken = 4 * memory.numbers() as u64;
        assert!(estimate * 10 >= taken * 9, "{cut:?}, {checkpointing}: {estimate} of {taken}");
        assert!(estimate * 10 <= taken * 11, "{cut:?}, {checkpointing}: {estimate} of {taken}");
    }
}

#[test]
fn memory_that_is_not_there_is_said_with_what_fits() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let base = arguments();
    let at = |arguments: &TrainingArguments, loss: &dyn Loss, available| {
        run_on(&model, &data, loss, arguments, Frozen::default(), available)
    };
    let whole = at(&base, &*mnrl(), None).facts.memory.unwrap();
    let update_count = Update::new(&mut bert(), Frozen::default(), crate::optimizer::Decay::Trainer).unwrap();
    assert_eq!(whole.moments, 8 * update_count.count() as u64);
    assert_eq!(whole.parameters, 4 * update_count.count() as u64);
    assert_eq!(whole.total, whole.parameters + whole.gradients + whole.moments + whole.activations);
    let needed = whole.total - whole.parameters;
    assert_eq!(codes(&at(&base, &*mnrl(), Some(needed))), []);

    let short = at(&base, &*mnrl(), Some(needed - 1));
    assert_eq!(codes(&short), [("memory", W)]);
    assert_eq!(short.findings[0].fix, Some(Fix::SetGradientCheckpointing));
    for what in ["gradient_checkpointing", "mini_batch_num_tokens", "per_device_train_batch_size to 11"] {
        assert!(short.findings[0].advice.contains(what), "{}", short.findings[0].advice);
    }
    let mut mended = base.clone();
    fix(&short, &mut data.to_vec(), &mut mended);
    assert!(mended.gradient_checkpointing);
    assert_eq!(codes(&at(&mended, &*mnrl(), Some(needed - 1))), []);

    // What is suggested fits.
    let fixed = whole.gradients + whole.moments;
    let tight = fixed + whole.activations / 3;
    let advice = at(&base, &*mnrl(), Some(tight)).findings[0].advice.clone();
    let (_, after) = advice.split_once("mini_batch_num_tokens ").unwrap();
    let tokens: usize = after.split(' ').next().unwrap().parse().unwrap();
    let cached = loss("cmnrl", json!({"mini_batch_num_tokens": tokens}));
    let estimate = at(&base, &*cached, Some(tight)).facts.memory.unwrap();
    assert!(estimate.tokens <= tokens as u64 && estimate.activations < whole.activations);

    let none = at(&base, &*mnrl(), Some(fixed));
    assert!(none.findings[0].advice.contains("freeze"), "{}", none.findings[0].advice);
    assert_eq!(none.findings[0].fix, None);
    let frozen = Frozen { embeddings: true, layers: 1 };
    let less = run_on(&model, &data, &*mnrl(), &base, frozen, None).facts.memory.unwrap();
    let counted = Update::new(&mut bert(), frozen, crate::optimizer::Decay::Trainer).unwrap();
    assert_eq!(less.moments, 8 * counted.count() as u64);
    assert_eq!(less.gradients, 4 * counted.count() as u64);
    assert!(less.activations < whole.activations);
    let huge = Load { tokens: 1 << 30, column: 1 << 29, texts: 1 << 20 };
    assert!(activations(&model.sizes(), 2, huge, false) > 1 << 40);
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
fn an_interrupt_ends_it() {
    let (model, data) = (bert(), [dataset(&PAIRS, None)]);
    let stop = AtomicBool::new(true);
    let found = examine(&data, &model, &*mnrl(), &arguments(), Frozen::default(), &stop);
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
        bands(&x).zip(bands(&y)).any(|(x, y)| x == y) && alike(&a, &b, [&x, &y])
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

/// Texts that all look alike, or all are equal: what is compared stays linear, so this ends.
#[test]
fn a_hundred_thousand_rows_of_the_worst_kind() {
    let rows = 100_000;
    let column = |name: &str, text: &dyn Fn(usize) -> String| TextColumn {
        name: name.to_owned(),
        texts: (0..rows).map(text).collect(),
    };
    let alike = |i: usize| format!("the {i} th of many texts that look alike");
    let equal = |_: usize| "always the same answer".to_owned();
    let data =
        Dataset::new("train", vec![column("anchor", &alike), column("positive", &equal)], None).unwrap();
    let arguments =
        TrainingArguments { per_device_train_batch_size: rows, max_steps: 20, ..Default::default() };
    let interrupt = AtomicBool::new(false);
    let (model, own) = (bert(), mnrl());
    let datasets = &[data][..];
    let case = Case {
        datasets,
        model: &model,
        loss: &*own,
        arguments: &arguments,
        frozen: Frozen::default(),
        interrupt: &interrupt,
    };
    let sampler = Sampler::new(&[&datasets[0]], Settings::of(&arguments, 1)).unwrap();
    let found = batches::check(case, &sampler.epoch(0)).unwrap();
    assert_eq!(found[0].code, "repeated_texts");
    assert!(found[0].message.starts_with("100000 rows in 1 batch of 1"), "{}", found[0].message);
}
