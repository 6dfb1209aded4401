//! Classifiers against scikit-learn: `golden/classify.json` (`golden/make_classify.py`).

mod common;

use std::sync::LazyLock;

use serde::Deserialize;

use sentir_vectors::Rows;
use sentir_vectors::classify::calibrate::temperature_scale;
use sentir_vectors::classify::folds::{choose_c, grid, held_out_scores, stratified_folds};
use sentir_vectors::classify::logistic::{LogisticOptions, LogisticRegression};
use sentir_vectors::classify::prototype::NearestPrototype;
use sentir_vectors::classify::{Classifier, softmax};
use sentir_vectors::metrics::classification::{Confusion, expected_calibration_error};

use common::numbers;

#[derive(Deserialize)]
struct Golden {
    fits: Vec<Fit>,
    folds: Vec<Folds>,
    searches: Vec<Search>,
    reports: Vec<Report>,
}

#[derive(Deserialize)]
struct Fit {
    rows: usize,
    width: usize,
    classes: usize,
    c: f64,
    balanced: bool,
    coef: Vec<Vec<f64>>,
    intercept: Vec<f64>,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Folds {
    rows: usize,
    classes: usize,
    splits: usize,
    folds: Vec<usize>,
}

#[derive(Deserialize)]
struct Search {
    rows: usize,
    width: usize,
    classes: usize,
    seed: usize,
    splits: usize,
    means: Vec<f64>,
}

#[derive(Deserialize)]
struct Report {
    labels: Vec<usize>,
    predicted: Vec<usize>,
    classes: usize,
    accuracy: f64,
    confusion: Vec<Vec<usize>>,
    by_class: Vec<[f64; 3]>,
    #[serde(rename = "macro")]
    mean: [f64; 3],
    weighted: [f64; 3],
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/classify.json");
    serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path)
});

/// `data` of the script.
fn data(rows: usize, width: usize, classes: usize, seed: usize) -> (Rows, Vec<usize>) {
    let centers = numbers(classes * width, seed as u64);
    let labels: Vec<usize> = (0..rows).map(|i| (i * i + i / 3) % 7 % classes).collect();
    let noise = numbers(rows * width, seed as u64 + 1);
    let value = |at: usize| centers[labels[at / width] * width + at % width] + 1.5 * noise[at];
    (Rows::new((0..rows * width).map(value).collect(), width).unwrap(), labels)
}

#[test]
fn weights_are_those_of_scikit_learn() {
    assert_eq!(GOLDEN.fits.len(), 5);
    for case in &GOLDEN.fits {
        let (rows, labels) = data(case.rows, case.width, case.classes, case.classes);
        let options = LogisticOptions { c: case.c, balanced: case.balanced, tol: 1e-7, max_iter: 1000 };
        let fitted = LogisticRegression::fit(&rows, &labels, &options).unwrap();
        assert!(fitted.converged, "{fitted:?}");
        let model = &fitted.model;
        // Two classes have one set of weights there.
        let skipped = case.classes - case.coef.len();
        for (class, (expected, intercept)) in case.coef.iter().zip(&case.intercept).enumerate() {
            let row = model.weights().row(class + skipped);
            for (got, expected) in row.iter().zip(expected) {
                assert!(
                    (f64::from(*got) - expected).abs() < 1e-4 * expected.abs().max(1.0),
                    "{got} for {expected}"
                );
            }
            let got = f64::from(model.intercepts()[class + skipped]);
            assert!((got - intercept).abs() < 1e-4 * intercept.abs().max(1.0), "{got} for {intercept}");
        }
        let (test, _) = data(20, case.width, case.classes, case.classes + 50);
        let probabilities = model.predict_proba(&test).unwrap();
        for (got, expected) in probabilities.as_slice().iter().zip(case.probabilities.iter().flatten()) {
            assert!((f64::from(*got) - expected).abs() < 5e-5, "{got} for {expected}");
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| LogisticRegression::fit(&rows, &labels, &options).unwrap());
            assert_eq!(again, fitted);
        }
    }
}

#[test]
fn folds_and_the_choice_of_c_are_those_of_scikit_learn() {
    for case in &GOLDEN.folds {
        let (_, labels) = data(case.rows, 2, case.classes, 1);
        assert_eq!(stratified_folds(&labels, case.splits).unwrap(), case.folds);
    }
    for case in &GOLDEN.searches {
        let (rows, labels) = data(case.rows, case.width, case.classes, case.seed);
        let folds = stratified_folds(&labels, case.splits).unwrap();
        let options = LogisticOptions { tol: 1e-6, max_iter: 1000, ..LogisticOptions::default() };
        let mut asked = 0;
        let go_on = &mut |done: usize, all: usize| {
            asked += 1;
            all == 10 * case.splits && done < all
        };
        let (c, means) = choose_c(&rows, &labels, &folds, &grid(), &options, go_on).unwrap();
        assert_eq!(asked, 10 * case.splits);
        for (got, expected) in means.iter().zip(&case.means) {
            // One row of a fold more or less is 1 / 24 / 5.
            assert!((got - expected).abs() < 1e-9, "{means:?} for {:?}", case.means);
        }
        let best = case.means.iter().copied().fold(0.0, f64::max);
        let first = case.means.iter().position(|mean| *mean >= best - 1e-12).unwrap();
        assert_eq!(c, grid()[first]);
    }
}

#[test]
fn reports_are_those_of_scikit_learn() {
    for case in &GOLDEN.reports {
        let found = Confusion::new(&case.labels, &case.predicted, case.classes).unwrap();
        assert!((found.accuracy() - case.accuracy).abs() < 1e-12);
        for (label, counts) in case.confusion.iter().enumerate() {
            (0..case.classes).for_each(|own| assert_eq!(found.count(label, own), counts[own]));
        }
        let close = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        for (own, expected) in found.by_class().iter().zip(&case.by_class) {
            assert!(close([own.precision, own.recall, own.f1], *expected), "{own:?} for {expected:?}");
        }
        for (weighted, expected) in [(false, case.mean), (true, case.weighted)] {
            let own = found.mean(weighted);
            assert!(close([own.precision, own.recall, own.f1], expected), "{own:?} for {expected:?}");
        }
    }
}

#[test]
fn prototypes_are_means_and_temperatures_calibrate() {
    let (rows, labels) = data(300, 8, 4, 3);
    let model = NearestPrototype::fit(&rows, &labels).unwrap();
    let mut unit = rows.clone();
    unit.normalize();
    for class in 0..4 {
        let own: Vec<&[f32]> =
            unit.iter().zip(&labels).filter(|(_, label)| **label == class).map(|(row, _)| row).collect();
        let mean: Vec<f64> = (0..8).map(|at| own.iter().map(|row| f64::from(row[at])).sum::<f64>()).collect();
        let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        let prototype = model.prototypes().row(class);
        assert!(prototype.iter().zip(mean).all(|(got, x)| (f64::from(*got) - x / length).abs() < 1e-6));
    }
    // Scores that are made too bold by a factor are found to be.
    let folds = stratified_folds(&labels, 5).unwrap();
    let fit = |rows: &Rows, labels: &[usize]| -> sentir_vectors::Result<Box<dyn Classifier>> {
        Ok(Box::new(LogisticRegression::fit(rows, labels, &LogisticOptions::default())?.model))
    };
    let scores = held_out_scores(&rows, &labels, &folds, fit).unwrap();
    let scale = temperature_scale(&scores, &labels).unwrap();
    let bold = Rows::new(scores.as_slice().iter().map(|score| 4.0 * score).collect(), 4).unwrap();
    let bold_scale = temperature_scale(&bold, &labels).unwrap();
    assert!((bold_scale * 4.0 / scale - 1.0).abs() < 1e-3, "{scale} {bold_scale}");
    let error = |scores: &Rows, scale: f32| {
        let (mut sure, mut right) = (Vec::new(), Vec::new());
        for (row, &label) in scores.iter().zip(&labels) {
            let mut row = row.to_vec();
            softmax(&mut row, scale);
            let best = sentir_vectors::classify::highest(&row);
            sure.push(row[best]);
            right.push(best == label);
        }
        expected_calibration_error(&sure, &right, 15).unwrap()
    };
    assert!(
        error(&bold, bold_scale) < 0.7 * error(&bold, 1.0),
        "{} {}",
        error(&bold, bold_scale),
        error(&bold, 1.0)
    );
}

#[test]
fn what_cannot_be_learned_is_said() {
    let (rows, labels) = data(30, 4, 3, 1);
    let fit = |rows: &Rows, labels: &[usize], c: f64| {
        LogisticRegression::fit(rows, labels, &LogisticOptions { c, ..Default::default() })
            .unwrap_err()
            .to_string()
    };
    assert!(fit(&rows, &labels[1..], 1.0).contains("cannot be paired"));
    assert!(fit(&rows, &[0; 30], 1.0).contains("at least 2 classes, got 1"));
    assert!(
        fit(&rows, &labels.iter().map(|label| 2 * label).collect::<Vec<_>>(), 1.0)
            .contains("class 1 has no row")
    );
    assert!(fit(&rows, &labels, 0.0).contains("positive"));
    let mut values = rows.as_slice().to_vec();
    values[9] = f32::NAN;
    let spoilt = Rows::new(values, 4).unwrap();
    assert!(fit(&spoilt, &labels, 1.0).contains("row 2"));
    assert!(NearestPrototype::fit(&spoilt, &labels).is_err());
    assert!(stratified_folds(&[0, 0, 0, 1], 2).unwrap_err().to_string().contains("class 1 has 1 rows"));
    assert!(stratified_folds(&labels, 1).is_err());
    let model = LogisticRegression::fit(&rows, &labels, &LogisticOptions::default()).unwrap().model;
    assert!(model.predict(&Rows::empty(5)).is_err());
    assert!(model.predict(&Rows::empty(4)).unwrap().is_empty());
    // One step is not enough, and is said not to be.
    let few = LogisticOptions { max_iter: 1, ..Default::default() };
    assert!(!LogisticRegression::fit(&rows, &labels, &few).unwrap().converged);
}
