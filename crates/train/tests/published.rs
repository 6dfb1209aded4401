//! Tasks of MTEB with the real model all-MiniLM-L6-v2, against what scikit-learn and sentence-transformers give
//! (`golden/make_published.py`). The data lies beside the repository.

#![allow(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]

use std::path::{Path, PathBuf};

use sentir_model::{EncodeOptions, SentenceTransformer};
use sentir_train::evaluate::{Evaluator, InformationRetrieval, Query, Translation, TranslationMetrics};
use sentir_vectors::Rows;
use sentir_vectors::classify::Classifier;
use sentir_vectors::classify::logistic::{LogisticOptions, LogisticRegression};
use sentir_vectors::metrics::classification::Confusion;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The model and a folder of data, or nothing, loudly.
fn parts(test: &str, folder: &str) -> Option<(SentenceTransformer, PathBuf, Value)> {
    let (model, data) = (root().join("models/all-MiniLM-L6-v2"), root().join("../shared/data").join(folder));
    if let Some(missing) = [&model, &data].into_iter().find(|path| !path.exists()) {
        eprintln!("SKIPPED: {test}: {} is not there", missing.display());
        return None;
    }
    let model = SentenceTransformer::load(model.to_str().unwrap()).unwrap();
    let record = std::fs::read(root().join("golden/published.json")).unwrap();
    Some((model, data, serde_json::from_slice(&record).unwrap()))
}

#[test]
fn banking77_by_the_protocol_of_mteb() {
    let Some((model, data, record)) = parts("banking77", "banking77") else { return };
    let mut reader = csv::Reader::from_path(data.join("train.csv")).unwrap();
    let lines: Vec<(String, String)> = reader
        .records()
        .map(|line| line.map(|line| (line[0].to_owned(), line[1].to_owned())).unwrap())
        .collect();
    let mut names: Vec<&str> = lines.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((lines.len(), names.len()), (10_003, 77));
    let labels: Vec<usize> =
        lines.iter().map(|(_, name)| names.binary_search(&name.as_str()).unwrap()).collect();
    let is_test = |row: usize| row.is_multiple_of(10);
    // The rows that are used, once.
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); 10];
    for label in 0..names.len() {
        let own: Vec<usize> = (0..lines.len()).filter(|&row| labels[row] == label && !is_test(row)).collect();
        for (experiment, chosen) in chosen.iter_mut().enumerate() {
            chosen.extend((0..8).map(|i| own[(8 * experiment + i) % own.len()]));
        }
    }
    let mut used: Vec<usize> =
        chosen.iter().flatten().copied().chain((0..lines.len()).filter(|&row| is_test(row))).collect();
    used.sort_unstable();
    used.dedup();
    let texts: Vec<&str> = used.iter().map(|&row| lines[row].0.as_str()).collect();
    let vectors = model.encode(&texts, &EncodeOptions::default()).unwrap().embeddings;
    let part = |rows: &[usize]| {
        let values =
            rows.iter().flat_map(|row| vectors.row(used.binary_search(row).unwrap())).copied().collect();
        let own: Vec<usize> = rows.iter().map(|&row| labels[row]).collect();
        (Rows::new(values, 384).unwrap(), own)
    };
    let (test, expected) = part(&(0..lines.len()).filter(|&row| is_test(row)).collect::<Vec<_>>());
    for (experiment, chosen) in chosen.iter().enumerate() {
        let (rows, own) = part(chosen);
        let model = LogisticRegression::fit(&rows, &own, &LogisticOptions::default()).unwrap().model;
        let found = Confusion::new(&expected, &model.predict(&test).unwrap(), names.len()).unwrap();
        let recorded = |metric: &str| record["banking77"][metric][experiment].as_f64().unwrap();
        assert!(
            (found.accuracy() - recorded("accuracy")).abs() <= 0.002,
            "{experiment}: {}",
            found.accuracy()
        );
        assert!(
            (found.mean(false).f1 - recorded("f1")).abs() <= 0.002,
            "{experiment}: {:?}",
            found.mean(false)
        );
    }
}

#[test]
fn tatoeba_by_the_definition_of_mteb() {
    let Some((model, data, record)) = parts("tatoeba", "tatoeba-rus-eng") else { return };
    let lines = |side: &str| std::fs::read_to_string(data.join(format!("tatoeba.rus-eng.{side}"))).unwrap();
    let (source, target) = (lines("rus"), lines("eng"));
    let pairs: Vec<(String, String)> =
        source.lines().map(str::to_owned).zip(target.lines().map(str::to_owned)).collect();
    assert_eq!(pairs.len(), 1000);
    let found =
        Translation::new("", pairs, TranslationMetrics::Bitext).unwrap().evaluate(&model, None).unwrap();
    for (name, value) in found {
        let expected = record["tatoeba"][&name].as_f64().unwrap();
        assert!((value - expected).abs() <= 1e-9, "{name}: {value} for {expected}");
    }
}

#[test]
fn xquad_as_sentence_transformers_retrieves() {
    let Some((model, data, record)) = parts("xquad", "xquad") else { return };
    for language in ["en", "ru"] {
        let text = std::fs::read_to_string(data.join(format!("xquad.{language}.json"))).unwrap();
        let articles: Value = serde_json::from_str(&text).unwrap();
        let (mut corpus, mut queries) = (Vec::new(), Vec::new());
        for article in articles["data"].as_array().unwrap() {
            for paragraph in article["paragraphs"].as_array().unwrap() {
                let id = corpus.len().to_string();
                corpus.push((id.clone(), paragraph["context"].as_str().unwrap().to_owned()));
                for question in paragraph["qas"].as_array().unwrap() {
                    queries.push(Query {
                        id: question["id"].as_str().unwrap().to_owned(),
                        text: question["question"].as_str().unwrap().to_owned(),
                        relevant: vec![id.clone()],
                    });
                }
            }
        }
        assert_eq!((corpus.len(), queries.len()), (240, 1190));
        let found = InformationRetrieval::new("", queries, corpus).unwrap().evaluate(&model, None).unwrap();
        for (name, expected) in record[format!("xquad-{language}")].as_object().unwrap() {
            let (_, value) = found.iter().find(|(own, _)| *own == format!("cosine_{name}")).unwrap();
            // Two paragraphs that are equally near to rounding may change places.
            let expected = expected.as_f64().unwrap();
            assert!((value - expected).abs() <= 1e-3, "{language} {name}: {value} for {expected}");
        }
    }
}
