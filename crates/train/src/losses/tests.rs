//! All losses: values and gradients that sentence-transformers 6.2 recorded in `golden/losses.json`, finite differences, bad
//! input, names and parameters.

use std::path::Path;

use proptest::prelude::*;
use sentir_vectors::Rows;
use serde_json::{Map, Value, json};

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    parameters: Map<String, Value>,
    columns: Vec<Vec<Vec<f64>>>,
    labels: Option<Vec<Vec<f64>>>,
    guide: Option<Vec<Vec<Vec<f64>>>>,
    value: f64,
    gradients: Vec<Vec<Vec<f64>>>,
    config: Vec<(String, Value)>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/losses.json");
    serde_json::from_slice(&std::fs::read(&path).expect("golden/losses.json")).expect("golden/losses.json")
}

fn rows(values: &[Vec<f64>]) -> Rows {
    Rows::new(values.iter().flatten().map(|&x| x as f32).collect(), values[0].len()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn loss(name: &str, parameters: Value) -> Box<dyn Loss> {
    from_name(name, &object(parameters)).unwrap()
}

/// How much more than at a scale of 10 an error of a float32 similarity weighs in the logarithm of a probability.
fn sharpness(case: &Case) -> f64 {
    let temperature = case.parameters.get("temperature").and_then(Value::as_f64).unwrap_or(0.01);
    if case.name.contains("GIST") { 0.1 / temperature } else { 1.0 }
}

#[test]
fn values_and_gradients_are_those_of_sentence_transformers() {
    let cases = cases();
    assert!(cases.len() > 80);
    for (number, case) in cases.iter().enumerate() {
        let what = format!("case {number}, {} {:?}", case.name, case.parameters);
        let loss = from_name(&case.name, &case.parameters).expect(&what);
        let columns: Vec<Rows> = case.columns.iter().map(|column| rows(column)).collect();
        let labels = case.labels.as_deref().map(rows);
        let guide: Option<Vec<Rows>> =
            case.guide.as_ref().map(|guide| guide.iter().map(|column| rows(column)).collect());
        let batch = Batch { columns: &columns, labels: labels.as_ref(), guide: guide.as_deref() };
        let got = loss.compute(batch).expect(&what);
        // A similarity is exact to 1e-7; at a temperature of 0.01, a probability is then exact to 1e-5 and a bit.
        let tolerance = 1e-5 * sharpness(case).max(1.0);
        assert!(
            (got.value - case.value).abs() <= tolerance * case.value.abs().max(0.1),
            "{what}: {} {}",
            got.value,
            case.value
        );
        assert_eq!(got.columns.len(), columns.len(), "{what}");
        // A zero vector has a derivative of 1e8 or 1e12 times that of the others: rows are compared on their own.
        for (column, (got, expected)) in got.columns.iter().zip(&case.gradients).enumerate() {
            let largest = |row: &[f64]| row.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let of_others = case.gradients.iter().flatten().map(|row| largest(row)).filter(|&x| x < 1e6);
            let scale = of_others.fold(0.0, f64::max);
            for (row, (got, expected)) in got.iter().zip(expected).enumerate() {
                for (got, expected_number) in got.iter().zip(expected) {
                    let off = (f64::from(*got) - expected_number).abs();
                    let within = tolerance * largest(expected).max(scale);
                    assert!(off <= within, "{what}: column {column} row {row}: {got} {expected_number}");
                }
            }
        }
    }
}

#[test]
fn configurations_are_those_of_sentence_transformers_and_make_the_same_loss() {
    for case in cases() {
        let loss = from_name(&case.name, &case.parameters).unwrap();
        assert_eq!(loss.name(), case.name);
        let config: Vec<(String, Value)> =
            loss.config().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(config, case.config, "{}", case.name);
        // The symmetric class takes fewer parameters than it has, and the inner loss has its name alone.
        if !case.name.contains("Symmetric") && case.parameters.get("loss").is_none_or(Value::is_string) {
            let again = from_name(&case.name, &config.into_iter().collect()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{loss:?}"));
        }
    }
}

/// Numbers in [−1, 1] that are the same on every machine.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn columns(seed: u64, count: usize, rows: usize, width: usize) -> Vec<Rows> {
    let column = |i: usize| Rows::new(numbers(seed * 100 + i as u64 + 1, rows * width), width).unwrap();
    (0..count).map(column).collect()
}

/// The gradient along a few directions against the change of the value.
fn check_differences(what: &str, loss: &dyn Loss, batch: Batch<'_>, seed: u64) {
    let exact = loss.compute(batch).expect(what);
    for direction in 0..4 {
        let steps = columns(
            seed + 1000 + direction,
            batch.columns.len(),
            batch.columns[0].rows(),
            batch.columns[0].width(),
        );
        // Values come from float32 similarities, with errors of 1e-7 times the scale: the step must not be small.
        let h = 4e-3f32;
        let value = |sign: f32| {
            let moved: Vec<Rows> = batch
                .columns
                .iter()
                .zip(&steps)
                .map(|(x, step)| {
                    let values =
                        x.as_slice().iter().zip(step.as_slice()).map(|(x, s)| x + sign * h * s).collect();
                    Rows::new(values, x.width()).unwrap()
                })
                .collect();
            loss.compute(Batch { columns: &moved, ..batch }).expect(what).value
        };
        // Fourth order: (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h.
        let measured =
            (8.0 * (value(1.0) - value(-1.0)) - (value(2.0) - value(-2.0))) / (12.0 * f64::from(h));
        let terms = exact.columns.iter().zip(&steps).flat_map(|(g, s)| g.as_slice().iter().zip(s.as_slice()));
        let (expected, size) = terms
            .map(|(&g, &s)| f64::from(g) * f64::from(s))
            .fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
        let off = (measured - expected).abs();
        assert!(
            off <= 2e-3 * (size + 1e-2),
            "{what}, direction {direction}: {measured} for {expected} of {size}"
        );
    }
}

/// Losses without kinks, or with kinks away from the vectors, and the numbers of columns and the label widths of each.
#[test]
fn gradients_are_the_limits_of_differences() {
    let all = ["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"];
    let losses: Vec<(Box<dyn Loss>, &[usize], usize)> = vec![
        (loss("mnrl", json!({"scale": 4.0})), &[2, 3, 5], 0),
        (loss("mnrl", json!({"scale": 3.0, "directions": all})), &[2, 3, 4], 0),
        (loss("mnrl", json!({"scale": 0.5, "similarity_fct": "dot_score", "directions": all})), &[2, 4], 0),
        (loss("symmetric-mnrl", json!({"scale": 4.0})), &[2, 3], 0),
        (loss("gist", json!({"guide": "g", "temperature": 0.3})), &[2, 3], 0),
        (loss("cached-gist", json!({"guide": "g", "temperature": 0.3, "margin": 0.1})), &[2, 4], 0),
        (loss("cosent", json!({"scale": 4.0})), &[2], 1),
        (loss("cosent", json!({"scale": 1.0, "similarity_fct": "pairwise_euclidean_sim"})), &[2], 1),
        (loss("cosine-similarity", json!({})), &[2], 1),
        (loss("triplet", json!({})), &[3], 0),
        (loss("triplet", json!({"distance_metric": "cosine", "triplet_margin": 3})), &[3], 0),
        (loss("contrastive", json!({"margin": 2.5})), &[2], 1),
        (loss("contrastive", json!({"distance_metric": "euclidean", "margin": 9})), &[2], 1),
        (loss("mse", json!({})), &[1, 3], 8),
        (loss("margin-mse", json!({})), &[3], 1),
        (loss("margin-mse", json!({"similarity_fct": "pairwise_cos_sim"})), &[4], 3),
        (
            loss("matryoshka", json!({"loss": {"name": "mnrl", "scale": 4.0}, "matryoshka_dims": [8, 5]})),
            &[2, 3],
            0,
        ),
        (
            loss(
                "matryoshka",
                json!({"loss": "mse", "matryoshka_dims": [6, 4], "matryoshka_weights": [1, 0.5]}),
            ),
            &[2],
            8,
        ),
    ];
    for (loss, counts, label_width) in &losses {
        for &count in *counts {
            for (seed, rows) in [(1, 3), (2, 7), (3, 16), (4, 1)] {
                let x = columns(seed, count, rows, 8);
                let guide = columns(seed + 50, count, rows, 5);
                let label = |x: &f32| if *label_width == 1 { (x.abs() * 4.0).round() / 4.0 } else { *x };
                let labels = (*label_width > 0).then(|| {
                    let values = numbers(seed + 70, rows * label_width).iter().map(label).collect();
                    Rows::new(values, *label_width).unwrap()
                });
                let batch = Batch { columns: &x, labels: labels.as_ref(), guide: Some(&guide) };
                let what = format!("{loss:?}, {count} columns of {rows}");
                check_differences(&what, loss.as_ref(), batch, seed);
            }
        }
    }
}

/// The angle has a kink at 0 and the hard pairs change where distances cross; both are checked where they do not.
#[test]
fn gradients_beside_the_kinks() {
    let near = |seed: u64| -> Vec<Rows> {
        let first = numbers(seed, 5 * 8);
        let second = first.iter().zip(numbers(seed + 9, 5 * 8)).enumerate();
        let second = second.map(|(i, (x, y))| x + 0.2 * (1 + i / 8) as f32 * y).collect();
        vec![Rows::new(first, 8).unwrap(), Rows::new(second, 8).unwrap()]
    };
    let scores = Rows::new(vec![0.1, 0.5, 0.5, 0.9, 0.2], 1).unwrap();
    let binary = Rows::new(vec![1.0, 0.0, 0.0, 1.0, 1.0], 1).unwrap();
    let mut compared = 0;
    for seed in 1..9 {
        let x = near(seed);
        let batch = |labels| Batch { columns: &x, labels: Some(labels), guide: None };
        check_differences("angle", &Angle { scale: 4.0 }, batch(&scores), seed);
        // Distances here are small, so that all are within the margin; steps do not make them cross.
        let online = OnlineContrastive { distance: Distance::Cosine, margin: 0.9 };
        let cosines: Vec<f64> = pairs::Pair::Cosine(1e-8).values(&x[0], &x[1]);
        let mut gaps = cosines.clone();
        gaps.sort_by(f64::total_cmp);
        if gaps.windows(2).all(|pair| pair[1] - pair[0] > 1e-2) {
            check_differences("online contrastive", &online, batch(&binary), seed);
            compared += 1;
        }
    }
    assert!(compared > 2, "{compared}");
    let mut three = near(8);
    three.push(near(9).remove(0));
    check_differences(
        "angle of three",
        &Angle { scale: 2.0 },
        Batch { columns: &three, labels: None, guide: None },
        3,
    );
}

#[test]
fn hardness_has_no_gradient_of_its_own() {
    // With α, a negative weighs more in the softmax, but its score moves with the scale alone.
    let x = [
        Rows::new(vec![1.0], 1).unwrap(),
        Rows::new(vec![2.0], 1).unwrap(),
        Rows::new(vec![0.5], 1).unwrap(),
    ];
    let parameters = json!({
        "scale": 1.0, "similarity_fct": "dot_score", "hardness_mode": "hard_negatives", "hardness_strength": 3.0,
    });
    let got = loss("mnrl", parameters).compute(Batch { columns: &x, labels: None, guide: None }).unwrap();
    // Scores 2 and 0.5 (1 + 3) = 2: both have the probability one half.
    assert!((got.value - 2f64.ln()).abs() < 1e-6);
    assert_eq!(got.columns[1].as_slice(), [-0.5]);
    assert_eq!(got.columns[2].as_slice(), [0.5]);
    assert_eq!(got.columns[0].as_slice(), [-0.5 * 2.0 + 0.5 * 0.5]);
}

#[test]
fn blocks_and_threads_change_nothing() {
    // More rows than a block has, against the same in plain loops.
    let x = columns(3, 3, 700, 12);
    let ranking = MultipleNegativesRanking::default();
    let batch = Batch { columns: &x, labels: None, guide: None };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| ranking.compute(batch).unwrap())
    };
    let got = run(1);
    assert!(got == run(2) && got == run(3));
    let cosine = |a: &[f32], b: &[f32]| {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let row = |i: usize| {
        let score = |d: usize, j: usize| 20.0 * cosine(x[0].row(i), x[d].row(j));
        let sum: f64 =
            (1..3).flat_map(|d| (0..700).map(move |j| (d, j))).map(|(d, j)| score(d, j).exp()).sum();
        sum.ln() - score(1, i)
    };
    let expected = (0..700).map(row).sum::<f64>() / 700.0;
    assert!((got.value - expected).abs() < 1e-6 * expected, "{} {expected}", got.value);
    check_differences("700 rows", &MultipleNegativesRanking { scale: 4.0, ..ranking.clone() }, batch, 5);
}

proptest! {
    #[test]
    fn cosent_equals_the_sum_over_pairs(
        pairs in prop::collection::vec((-30.0f64..30.0, 0u8..4), 1..20),
    ) {
        let (scores, labels): (Vec<f64>, Vec<f32>) = pairs.iter().map(|&(s, l)| (s, f32::from(l))).unzip();
        let (loss, derivatives) = cosent::ordered(&scores, &labels);
        let n = scores.len();
        let (mut sum, mut by_score) = (1.0, vec![0.0; n]);
        for i in 0..n {
            for j in (0..n).filter(|&j| labels[i] < labels[j]) {
                let term = (scores[i] - scores[j]).exp();
                sum += term;
                by_score[i] += term;
                by_score[j] -= term;
            }
        }
        prop_assert!((loss - sum.ln()).abs() <= 1e-9 * sum.ln().max(1.0));
        for (got, expected) in derivatives.iter().zip(by_score) {
            prop_assert!((got - expected / sum).abs() <= 1e-9, "{} {}", got, expected / sum);
        }
    }
}

fn plain(columns: &[Rows]) -> Batch<'_> {
    Batch { columns, labels: None, guide: None }
}

fn message(name: &str, parameters: Value, batch: Batch<'_>) -> String {
    loss(name, parameters).compute(batch).expect_err(name).to_string()
}

#[test]
fn columns_and_labels_that_do_not_fit_are_errors() {
    let (one, two, three) = (columns(1, 1, 4, 8), columns(1, 2, 4, 8), columns(1, 3, 4, 8));
    let label = |values: &[f32], width: usize| Rows::new(values.to_vec(), width).unwrap();
    for name in ["mnrl", "symmetric-mnrl", "cmnrl"] {
        let got = message(name, json!({}), plain(&one));
        assert!(
            got.contains("needs at least two text columns") && got.ends_with("has 1 text column"),
            "{got}"
        );
    }
    let got = message("gist", json!({"guide": "g"}), plain(&columns(1, 4, 4, 8)));
    assert!(got.contains("CachedGISTEmbedLoss"), "{got}");
    let got = message("gist", json!({"guide": "g"}), plain(&two));
    assert_eq!(got, "GISTEmbedLoss: it needs the vectors of the guide model");
    let got = message("gist", json!({"guide": "g"}), Batch { guide: Some(&three), ..plain(&two) });
    assert!(got.contains("the guide gave 3 columns"), "{got}");
    assert!(
        message("triplet", json!({}), plain(&two)).contains("anchor, positive, negative, but the data has 2")
    );
    assert!(message("margin-mse", json!({}), plain(&two)).contains("at least three text columns"));
    for name in ["cosent", "cosine-similarity", "contrastive", "online-contrastive"] {
        let labels = label(&[0.0; 4], 1);
        let got = message(name, json!({}), Batch { labels: Some(&labels), ..plain(&three) });
        assert!(got.contains("needs two text columns, but the data has 3"), "{got}");
        let got = message(name, json!({}), plain(&two));
        assert!(got.contains("as the label, but the data has no column \"label\""), "{got}");
        for (labels, expected) in [
            (label(&[0.0; 5], 1), "5 labels for 4 rows"),
            (label(&[0.0; 8], 2), "one label per row is needed, but they are lists of 2"),
            (label(&[0.0, f32::NAN, 0.0, 0.0], 1), "the label of row 1 of the batch is not a finite number"),
        ] {
            let got = message(name, json!({}), Batch { labels: Some(&labels), ..plain(&two) });
            assert!(got.contains(expected), "{got}");
        }
    }
    for (name, wrong) in [("cosine-similarity", 4.5), ("contrastive", 2.0), ("online-contrastive", 0.5)] {
        let labels = label(&[0.0, 1.0, wrong, 0.0], 1);
        let got = message(name, json!({}), Batch { labels: Some(&labels), ..plain(&two) });
        assert!(got.contains(&format!("the label of row 2 of the batch is {wrong}: ")), "{got}");
    }
    let labels = label(&[0.0; 20], 5);
    let got = message("mse", json!({}), Batch { labels: Some(&labels), ..plain(&two) });
    assert!(got.contains("vectors of 8 numbers, or 2 such vectors; these have 5"), "{got}");
    let got = message("margin-mse", json!({}), Batch { labels: Some(&labels), ..plain(&three) });
    assert!(got.contains("1 margins or 2 scores, not 5 numbers"), "{got}");
    let got = message("angle", json!({}), plain(&two));
    assert!(got.contains("similarity score"), "{got}");
    let got = message("matryoshka", json!({"loss": "mnrl", "matryoshka_dims": [9]}), plain(&two));
    assert!(got.contains("has 9, but vectors have 8 numbers"), "{got}");
    let got = message("mnrl", json!({}), plain(&[columns(1, 1, 4, 8), columns(1, 1, 3, 8)].concat()));
    assert!(got.contains("column 1 are 3 x 8, those of column 0 4 x 8"), "{got}");
    let got = message("mnrl", json!({}), plain(&[Rows::empty(8), Rows::empty(8)]));
    assert_eq!(got, "MultipleNegativesRankingLoss: the batch has no rows");
}

#[test]
fn names_and_parameters_that_are_not_there_are_errors() {
    let fails =
        |name: &str, parameters: Value| from_name(name, &object(parameters)).expect_err(name).to_string();
    let got = fails("infonce", json!({}));
    assert!(got.contains("there is no loss \"infonce\"") && got.contains("TripletLoss (triplet)"), "{got}");
    let got = fails("triplet", json!({"margin": 3, "distance_metric": 7}));
    assert_eq!(got, "TripletLoss: unknown parameter margin: use distance_metric, triplet_margin");
    let got = fails("triplet", json!({"distance_metric": "hamming"}));
    assert!(
        got.contains("one of TripletDistanceMetric.EUCLIDEAN") && got.ends_with("not \"hamming\""),
        "{got}"
    );
    for (name, parameters, expected) in [
        ("mnrl", json!({"scale": 0}), "scale must be a positive number, not 0"),
        ("mnrl", json!({"scale": "20"}), "scale must be a number, not \"20\""),
        ("mnrl", json!({"directions": ["doc_to_query"]}), "must contain query_to_doc"),
        ("mnrl", json!({"directions": []}), "must contain query_to_doc"),
        ("mnrl", json!({"directions": ["query_to_doc", "doc"]}), "directions must be one of query_to_doc"),
        (
            "mnrl",
            json!({"directions": ["query_to_doc", "doc_to_doc"], "partition_mode": "per_direction"}),
            "use partition_mode joint",
        ),
        ("mnrl", json!({"hardness_strength": -1}), "must not be negative"),
        ("mnrl", json!({"mini_batch_size": 8}), "unknown parameter mini_batch_size"),
        ("mnrl", json!({"gather_across_devices": true}), "there is one device"),
        ("cmnrl", json!({"mini_batch_size": 0}), "mini_batch_size must be a positive whole number, not 0"),
        (
            "cmnrl",
            json!({"mini_batch_num_tokens": -4}),
            "mini_batch_num_tokens must be a positive whole number",
        ),
        ("gist", json!({}), "guide must be the directory or name of the guide model, not nothing"),
        ("gist", json!({"guide": "g", "temperature": -0.1}), "temperature must be a positive number"),
        ("mse", json!({"projection_dim": 4}), "projection to the teacher's width is not supported"),
        ("matryoshka", json!({}), "loss must be the name of a loss"),
        ("matryoshka", json!({"loss": "mnrl"}), "matryoshka_dims must be a list of whole numbers"),
        ("matryoshka", json!({"loss": "mnrl", "matryoshka_dims": [4, 0]}), "above zero"),
        (
            "matryoshka",
            json!({"loss": "mnrl", "matryoshka_dims": [4], "matryoshka_weights": [1, 2]}),
            "one per dimension",
        ),
        (
            "matryoshka",
            json!({"loss": "mnrl", "matryoshka_dims": [4], "n_dims_per_step": 1}),
            "n_dims_per_step must be -1",
        ),
        (
            "matryoshka",
            json!({"loss": {"name": "mnrl", "x": 1}, "matryoshka_dims": [4]}),
            "unknown parameter x",
        ),
    ] {
        let got = fails(name, parameters.clone());
        assert!(got.contains(expected), "{name} {parameters}: {got}");
    }
}

#[test]
fn the_catalogue_has_each_loss_and_its_parameters() {
    let all = catalogue();
    assert_eq!(all.len(), 15);
    let ranking = all.iter().find(|loss| loss.short == "cmnrl").unwrap();
    let names: Vec<&str> = ranking.parameters.iter().map(|(name, _)| *name).collect();
    for name in ["scale", "mini_batch_num_tokens", "directions", "hardness_strength"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let matryoshka = all.iter().find(|loss| loss.name == "MatryoshkaLoss").unwrap();
    assert_eq!(matryoshka.parameters.len(), 4);
    let cached = loss("cmnrl", json!({"mini_batch_size": 7}));
    assert_eq!(cached.cached(), Some(Cached { texts: 7, tokens: None }));
    let inside = json!({"loss": {"name": "cached-gist", "guide": "g"}, "matryoshka_dims": [4]});
    let outside = loss("matryoshka", inside);
    assert_eq!((outside.cached().map(|c| c.texts), outside.guide()), (Some(32), Some("g")));
}

#[test]
fn what_is_not_a_number_stays_none() {
    for (name, count, parameters) in [
        ("mnrl", 2, json!({})),
        ("gist", 2, json!({"guide": "g"})),
        ("cosent", 2, json!({})),
        ("angle", 2, json!({})),
        ("cosine-similarity", 2, json!({})),
        ("triplet", 3, json!({})),
        ("contrastive", 2, json!({})),
        ("online-contrastive", 2, json!({})),
        ("matryoshka", 2, json!({"loss": "mnrl", "matryoshka_dims": [4]})),
    ] {
        let mut x = columns(1, count, 4, 8);
        let mut values = x[1].as_slice().to_vec();
        values[9] = f32::NAN;
        x[1] = Rows::new(values, 8).unwrap();
        let labels = Rows::new(vec![0.0, 1.0, 0.0, 1.0], 1).unwrap();
        let guide = columns(2, count, 4, 8);
        let batch = Batch { columns: &x, labels: Some(&labels), guide: Some(&guide) };
        assert!(loss(name, parameters).compute(batch).unwrap().value.is_nan(), "{name}");
    }
}
