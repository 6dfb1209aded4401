//! Each problem of data, found and mended.

use super::*;
use crate::samplers::Release;

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
