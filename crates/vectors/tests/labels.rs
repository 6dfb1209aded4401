//! Agreement of clusterings and average precision as scikit-learn recorded them in `golden/labels.json`
//! (`golden/make_labels.py`), and what is refused.

use sentir_vectors::metrics::binary::average_precision;
use sentir_vectors::metrics::clustering::agreement;
use serde::Deserialize;

#[derive(Deserialize)]
struct Record {
    clusterings: Vec<(Vec<usize>, Vec<usize>, [f64; 3])>,
    pairs: Vec<(Vec<f64>, Vec<bool>, f64)>,
}

fn record() -> Record {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/labels.json");
    serde_json::from_slice(&std::fs::read(path).expect(path)).expect(path)
}

#[test]
fn clusterings_agree_as_in_scikit_learn() {
    let cases = record().clusterings;
    assert_eq!(cases.len(), 6);
    for (classes, clusters, expected) in cases {
        let got = agreement(&classes, &clusters).unwrap();
        for (got, expected) in [got.homogeneity, got.completeness, got.v_measure].into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{classes:?} {clusters:?}: {got}, not {expected}");
        }
    }
}

#[test]
fn average_precision_is_that_of_scikit_learn() {
    let cases = record().pairs;
    assert_eq!(cases.len(), 3);
    for (scores, labels, expected) in cases {
        let got = average_precision(&scores, &labels).unwrap();
        assert!((got - expected).abs() < 1e-12, "{scores:?}: {got}, not {expected}");
    }
}

#[test]
fn what_cannot_be_judged_is_refused() {
    assert!(agreement(&[], &[]).is_err());
    assert!(agreement(&[0, 1], &[0]).is_err());
    assert!(average_precision(&[], &[]).is_err());
    assert!(average_precision(&[0.5], &[]).is_err());
    let error = average_precision(&[0.5, f64::NAN], &[true, false]).unwrap_err().to_string();
    assert!(error.contains("pair 1 is NaN"), "{error}");
    assert_eq!(average_precision(&[0.5, 0.1], &[false, false]), Ok(0.0));
}
