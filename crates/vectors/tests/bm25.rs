//! BM25 on the Russian questions of the data folder beside the repository, against the figures that its SOURCE.txt states.

use std::collections::HashMap;
use std::path::Path;

use sentir_vectors::bm25::{Bm25, Bm25Options, Terms};
use sentir_vectors::metrics::retrieval::{Cutoffs, retrieval};
use serde_json::Value;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The stated figures are of 801 cases, and say neither k₁, b nor where n-grams end; 400 of the cases are in the folder, for which
/// a standard error of about √(p(1−p)/801), 0.017, would be no surprise. They are nearer than that; n-grams across words, or of
/// words without the spaces around them, are 0.02 and more below in accuracy.
#[test]
fn stated_figures_of_real_questions() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/rutube"));
    if !folder.exists() {
        #[allow(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]
        {
            eprintln!("SKIPPED: stated_figures_of_real_questions: no data folder: {}", folder.display());
        }
        return;
    }
    let (corpus, cases) = (lines(&folder.join("kb.jsonl")), lines(&folder.join("cases-dev.jsonl")));
    let rows: HashMap<&str, usize> =
        corpus.iter().enumerate().map(|(row, line)| (line["id"].as_str().unwrap(), row)).collect();
    let relevant: Vec<Vec<usize>> =
        cases.iter().map(|case| vec![rows[case["kb"].as_str().unwrap()]]).collect();
    let texts: Vec<&str> = corpus.iter().map(|line| line["question"].as_str().unwrap()).collect();
    assert_eq!((texts.len(), cases.len()), (287, 400));

    for (terms, expected) in [
        (Terms::Words, [("accuracy@1", 0.306), ("mrr@10", 0.404), ("ndcg@10", 0.453)]),
        (
            Terms::Grams { shortest: 3, longest: 5 },
            [("accuracy@1", 0.437), ("mrr@10", 0.558), ("ndcg@10", 0.617)],
        ),
    ] {
        let index = Bm25::new(&texts, &Bm25Options { terms, ..Bm25Options::default() }).unwrap();
        let search = |case: &Value| -> Vec<usize> {
            index.search(case["text"].as_str().unwrap(), 10).iter().map(|hit| hit.index).collect()
        };
        let rankings: Vec<Vec<usize>> = cases.iter().map(search).collect();
        let metrics: HashMap<String, f64> =
            retrieval(&rankings, &relevant, &Cutoffs::default()).unwrap().into_iter().collect();
        for (name, expected) in expected {
            let got = metrics[name];
            assert!((got - expected).abs() < 0.01, "{terms:?}, {name}: {got}, where {expected} is stated");
        }
    }
}
