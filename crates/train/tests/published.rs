//! Tasks of MTEB with the real model all-MiniLM-L6-v2, against what mteb itself and sentence-transformers give
//! (`golden/make_published.py`). The data lies beside the repository.

#![allow(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]

use std::path::{Path, PathBuf};

use sentir_model::SentenceTransformer;
use sentir_train::evaluate::{
    Classification, Clustering, Evaluator, InformationRetrieval, Query, Translation, TranslationMetrics,
    Watch,
};
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

/// Texts and classes, every tenth of them apart.
type Split = [Vec<(String, String)>; 2];

fn banking77(data: &Path) -> (Vec<(String, String)>, Split) {
    let mut reader = csv::Reader::from_path(data.join("train.csv")).unwrap();
    let lines: Vec<(String, String)> = reader
        .records()
        .map(|line| line.map(|line| (line[0].to_owned(), line[1].to_owned())).unwrap())
        .collect();
    assert_eq!(lines.len(), 10_003);
    let mut split = Split::default();
    for (row, line) in lines.iter().enumerate() {
        split[usize::from(row.is_multiple_of(10))].push(line.clone());
    }
    (lines, split)
}

#[test]
fn banking77_classes_as_mteb_measures_them() {
    let Some((model, data, record)) = parts("banking77", "banking77") else { return };
    let (_, [train, test]) = banking77(&data);
    let evaluator = Classification::new("", train, test).unwrap();
    let found = evaluator.evaluate(&model, Watch::default()).unwrap();
    assert_eq!(found.len(), record["banking77"].as_object().unwrap().len());
    for (name, value) in found {
        let expected = record["banking77"][&name].as_f64().unwrap();
        assert!((value - expected).abs() <= 0.002, "{name}: {value} for {expected}");
    }
}

#[test]
fn banking77_clusters_as_mteb_measures_them() {
    let Some((model, data, record)) = parts("banking77", "banking77") else { return };
    let (lines, [_, test]) = banking77(&data);
    let sets: String = (0..3)
        .map(|start| {
            let own = || lines.iter().skip(start).step_by(12);
            let sentences: Vec<&str> = own().map(|(text, _)| text.as_str()).collect();
            let labels: Vec<&str> = own().map(|(_, label)| label.as_str()).collect();
            serde_json::json!({"sentences": sentences, "labels": labels}).to_string() + "\n"
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sets.jsonl");
    std::fs::write(&path, sets).unwrap();
    let (texts, labels): (Vec<String>, Vec<String>) = test.into_iter().unzip();
    for (name, evaluator) in [
        ("banking77-sets", Clustering::from_jsonl("", &path).unwrap()),
        ("banking77-draws", Clustering::new("", texts, &labels).unwrap()),
    ] {
        let found = evaluator.evaluate(&model, Watch::default()).unwrap();
        assert_eq!([&found[0].0, &found[1].0], ["v_measure", "v_measure_std"]);
        let expected = record[name]["v_measure"].as_f64().unwrap();
        // Where k-means begins is chance: some thousandths. Going to its end is worth a little, never less.
        assert!((-0.01..0.03).contains(&(found[0].1 - expected)), "{name}: {found:?} for {expected}");
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
    let found = Translation::new("", pairs, TranslationMetrics::Bitext)
        .unwrap()
        .evaluate(&model, Watch::default())
        .unwrap();
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
        let found = InformationRetrieval::new("", queries, corpus)
            .unwrap()
            .evaluate(&model, Watch::default())
            .unwrap();
        for (name, expected) in record[format!("xquad-{language}")].as_object().unwrap() {
            let (_, value) = found.iter().find(|(own, _)| *own == format!("cosine_{name}")).unwrap();
            // Two paragraphs that are equally near to rounding may change places.
            let expected = expected.as_f64().unwrap();
            assert!((value - expected).abs() <= 1e-3, "{language} {name}: {value} for {expected}");
        }
    }
}
