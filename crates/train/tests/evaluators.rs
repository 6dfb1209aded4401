//! Evaluators of the tiny model `golden/models/bert` against what those of sentence-transformers 6.2 found in it
//! (`golden/evaluators.json`, recorded by `golden/make_evaluators.py`), and what they say about bad input.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use sentir_model::{EncodeOptions, LoadOptions, SentenceTransformer, Trainable};
use sentir_train::Error;
use sentir_train::classifier::{Head, Level, TextClassifier};
use sentir_train::evaluate::{
    BinaryClassification, EmbeddingSimilarity, Evaluator, Fields, InformationRetrieval, LabelAccuracy, Mse,
    ParaphraseMining, Query, Reranking, ScoredPair, Translation, TranslationMetrics, Triplet, Watch,
};
use sentir_train::probe::probe;
use sentir_vectors::Rows;
use sentir_vectors::classify::logistic::LogisticRegression;
use sentir_vectors::metrics::retrieval::Cutoffs;
use sentir_vectors::mine::MineOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

#[derive(Deserialize)]
struct Golden {
    corpus: Vec<(String, String)>,
    queries: Vec<Value>,
    pairs: Vec<Value>,
    triplets: Vec<Value>,
    binary: Vec<Value>,
    paraphrases: Vec<Value>,
    reranking: Vec<Value>,
    translation: Vec<Value>,
    labelled: Vec<Value>,
    classes: Vec<String>,
    head: Linear,
    cases: Vec<Case>,
}

/// A head over `[u, v, |u − v|]`.
#[derive(Deserialize)]
struct Linear {
    coef: Vec<Vec<f32>>,
    intercept: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    evaluator_name: String,
    files: HashMap<String, Value>,
    results: HashMap<String, Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    primary_metric: String,
    metrics: Vec<(String, f64)>,
}

fn golden_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden"))
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    serde_json::from_slice(&fs::read(golden_folder().join("evaluators.json")).unwrap()).unwrap()
});

impl Case {
    /// The model of the case: the tiny one with its files.
    fn assemble(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(golden_folder().join("models/bert")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        for (name, value) in &self.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        }
        folder
    }

    fn load(&self, trainable: Trainable) -> (TempDir, SentenceTransformer) {
        let folder = self.assemble();
        let options = LoadOptions { trainable, ..LoadOptions::default() };
        let model = SentenceTransformer::load_with(folder.path().to_str().unwrap(), &options).unwrap();
        (folder, model)
    }
}

fn write_lines(folder: &Path, name: &str, lines: &[Value]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    path
}

fn strings<const N: usize>(line: &Value, keys: [&str; N]) -> [String; N] {
    keys.map(|key| line[key].as_str().unwrap().to_owned())
}

/// The three evaluators from memory, by the names under which their results are recorded.
fn evaluators(name: &str) -> Vec<(&'static str, Box<dyn Evaluator>)> {
    let queries = GOLDEN.queries.iter().map(|line| {
        let [id, text] = strings(line, ["id", "text"]);
        Query { id, text, relevant: serde_json::from_value(line["relevant"].clone()).unwrap() }
    });
    let pairs = GOLDEN.pairs.iter().map(|line| {
        let [sentence1, sentence2] = strings(line, ["sentence1", "sentence2"]);
        ScoredPair { sentence1, sentence2, score: line["score"].as_f64().unwrap() }
    });
    let triplets = GOLDEN.triplets.iter().map(|line| strings(line, ["anchor", "positive", "negative"]));
    let retrieval = InformationRetrieval::new(name, queries.collect(), GOLDEN.corpus.clone()).unwrap();
    let column = |key: &str| -> Vec<String> {
        GOLDEN.translation.iter().map(|line| line[key].as_str().unwrap().to_owned()).collect()
    };
    let teacher = SentenceTransformer::load(golden_folder().join("models/bert").to_str().unwrap()).unwrap();
    let teacher = teacher.encode(&column("source"), &EncodeOptions::default()).unwrap().embeddings;
    vec![
        ("information_retrieval", Box::new(retrieval)),
        ("embedding_similarity", Box::new(EmbeddingSimilarity::new(name, pairs.collect()).unwrap())),
        ("triplet", Box::new(Triplet::new(name, triplets.collect(), 0.0).unwrap())),
        ("mse", Box::new(Mse::new(name, column("target"), teacher).unwrap())),
    ]
}

/// Those that are best made from files, as users make them.
fn evaluators_of_files(name: &str) -> Vec<(&'static str, Box<dyn Evaluator>)> {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, lines: &[Value]| write_lines(folder.path(), file, lines);
    let columns = ["sentence1", "sentence2", "label"].map(str::to_owned);
    let binary = write("binary.jsonl", &GOLDEN.binary);
    let paraphrases = write("paraphrases.jsonl", &GOLDEN.paraphrases);
    let reranking = write("reranking.jsonl", &GOLDEN.reranking);
    let translation = write("translation.jsonl", &GOLDEN.translation);
    let sides = ["source", "target"].map(str::to_owned);
    let translated = |metrics| Box::new(Translation::from_path(name, &translation, &sides, metrics).unwrap());
    // The closure of the recorded duplicates: rows a, c, d and so on.
    let texts = GOLDEN.paraphrases.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect();
    let options = MineOptions { max_pairs: 12, ..MineOptions::default() };
    let closed =
        ParaphraseMining::new(name, texts, &[(2, 0), (3, 2), (1, 4), (5, 6)], true, options).unwrap();
    vec![
        ("binary", Box::new(BinaryClassification::from_path(name, &binary, &columns).unwrap())),
        (
            "paraphrases",
            Box::new(ParaphraseMining::from_jsonl(name, &paraphrases, ["text", "group"]).unwrap()),
        ),
        ("closed_paraphrases", Box::new(closed)),
        ("reranking", Box::new(Reranking::from_jsonl(name, &reranking, 3).unwrap())),
        ("translation", translated(TranslationMetrics::Accuracy)),
        ("bitext", translated(TranslationMetrics::Bitext)),
    ]
}

/// The head of a `SoftmaxLoss` as a classifier on the vectors of `model`.
fn label_accuracy(name: &str, model: &SentenceTransformer) -> LabelAccuracy {
    let coef = Rows::new(GOLDEN.head.coef.concat(), 96).unwrap();
    let head = LogisticRegression::from_parts(coef, GOLDEN.head.intercept.clone()).unwrap();
    let level = Level {
        name: "label".to_owned(),
        classes: GOLDEN.classes.clone(),
        head: Head::Logistic(head),
        scale: 1.0,
        parents: None,
    };
    let classifier = TextClassifier {
        levels: vec![level],
        model: "tiny".to_owned(),
        probe: probe(model, None).unwrap().into_vec(),
        truncate_dim: None,
        pairs: true,
    };
    let column = |key: &str| -> Vec<String> {
        GOLDEN.labelled.iter().map(|line| line[key].as_str().unwrap().to_owned()).collect()
    };
    LabelAccuracy::new(name, classifier, column("text"), Some(column("other")), &column("label")).unwrap()
}

#[test]
fn a_classifier_belongs_to_its_model() {
    let [one, other] = [0, 2].map(|at| GOLDEN.cases[at].load(Trainable::default()));
    let evaluator = label_accuracy("", &one.1);
    assert!(evaluator.evaluate(&one.1, Watch::default()).is_ok());
    // The same weights, but another pooling.
    fs::write(
        other.0.path().join("1_Pooling/config.json"),
        r#"{"word_embedding_dimension": 32, "pooling_mode_cls_token": true}"#,
    )
    .unwrap();
    let other = SentenceTransformer::load(other.0.path().to_str().unwrap()).unwrap();
    let error = evaluator.evaluate(&other, Watch::default()).unwrap_err().to_string();
    assert!(error.contains("it was made with tiny"), "{error}");
}

fn compare(case: &Case, evaluators: &[(&'static str, Box<dyn Evaluator>)], model: &SentenceTransformer) {
    for (key, evaluator) in evaluators {
        let recorded = &case.results[*key];
        assert_eq!(evaluator.name(), case.evaluator_name);
        assert_eq!(evaluator.primary_metric(model), recorded.primary_metric);
        let metrics = evaluator.evaluate(model, Watch::default()).unwrap();
        assert!(metrics.iter().any(|(name, _)| *name == recorded.primary_metric), "{key}");
        assert_eq!(metrics.len(), recorded.metrics.len(), "{}, {key}", case.name);
        for ((name, value), (expected_name, expected)) in metrics.iter().zip(&recorded.metrics) {
            assert_eq!(name, expected_name);
            // Correlations magnify the rounding of scores that differ little.
            assert!(
                (value - expected).abs() < 2e-6 * expected.abs().max(1.0),
                "{}: {name} is {value}, not {expected}",
                case.name
            );
        }
    }
}

#[test]
fn metrics_are_those_of_sentence_transformers() {
    assert!(!GOLDEN.cases.is_empty());
    for case in &GOLDEN.cases {
        let (_folder, model) = case.load(Trainable::default());
        compare(case, &evaluators(&case.evaluator_name), &model);
        compare(case, &evaluators_of_files(&case.evaluator_name), &model);
        // Theirs gives texts no prompt, not even the model's default; ours encodes as users do.
        if case.name != "euclidean" {
            let own: Box<dyn Evaluator> = Box::new(label_accuracy(&case.evaluator_name, &model));
            compare(case, &[("label_accuracy", own)], &model);
        }
    }
}

#[test]
fn a_model_in_training_is_evaluated_too() {
    let case = &GOLDEN.cases[0];
    let (_folder, model) = case.load(Trainable::Everything);
    compare(case, &evaluators(&case.evaluator_name), &model);
}

#[test]
fn from_files() {
    let folder = tempfile::tempdir().unwrap();
    let document = |(id, text): &(String, String)| json!({"id": id, "text": text, "more": [1]});
    let corpus: Vec<Value> = GOLDEN.corpus.iter().map(document).collect();
    let corpus = write_lines(folder.path(), "corpus.jsonl", &corpus);
    let queries = write_lines(folder.path(), "queries.jsonl", &GOLDEN.queries);
    let pairs = write_lines(folder.path(), "pairs.jsonl", &GOLDEN.pairs);
    let triplets = write_lines(folder.path(), "triplets.jsonl", &GOLDEN.triplets);
    let retrieval = InformationRetrieval::from_jsonl("tiny", &queries, &corpus, &Fields::default()).unwrap();
    let evaluators: [(&str, Box<dyn Evaluator>); 3] = [
        ("information_retrieval", Box::new(retrieval)),
        ("embedding_similarity", Box::new(EmbeddingSimilarity::from_jsonl("tiny", &pairs).unwrap())),
        ("triplet", Box::new(Triplet::from_jsonl("tiny", &triplets, 0.0).unwrap())),
    ];
    let case = &GOLDEN.cases[0];
    let (_folder, model) = case.load(Trainable::default());
    compare(case, &evaluators, &model);
}

/// Other keys, ids that are numbers, one id in place of a list, queries without an id.
#[test]
fn fields_of_files_have_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let corpus =
        [json!({"n": 1, "question": "Where is the boat?"}), json!({"n": "b", "question": "Who bakes?"})];
    let corpus = write_lines(folder.path(), "corpus.jsonl", &corpus);
    let queries =
        [json!({"q": "Who bakes?", "n": 7, "kb": "b"}), json!({"q": "Where is the boat?", "kb": [1]})];
    let queries = write_lines(folder.path(), "queries.jsonl", &queries);
    let fields = Fields { query: "q", relevant: "kb", document: "question", id: "n" };
    let evaluator = InformationRetrieval::from_jsonl("", &queries, &corpus, &fields).unwrap();
    let cutoffs =
        Cutoffs { accuracy: vec![1], precision_recall: vec![], ndcg: vec![1, 2], mrr: vec![], map: vec![] };
    let evaluator = evaluator.with_cutoffs(cutoffs).unwrap();
    let (_folder, model) = GOLDEN.cases[0].load(Trainable::default());
    // Each query is the text of its document, and a text is most similar to itself.
    let expected = ["cosine_accuracy@1", "cosine_ndcg@1", "cosine_ndcg@2"].map(|name| (name.to_owned(), 1.0));
    assert_eq!(evaluator.evaluate(&model, Watch::default()).unwrap(), expected);
    assert_eq!(evaluator.primary_metric(&model), "cosine_ndcg@2");
}

#[test]
fn a_margin_is_more_to_ask_for() {
    let (_folder, model) = GOLDEN.cases[0].load(Trainable::default());
    let triplet = ["He counts the boats.", "He counts the boats.", "The mill is closed."].map(str::to_owned);
    let accuracy = |margin| {
        Triplet::new("", vec![triplet.clone()], margin).unwrap().evaluate(&model, Watch::default()).unwrap()
            [0]
        .1
    };
    assert_eq!((accuracy(0.0), accuracy(2.0), accuracy(-2.0)), (1.0, 0.0, 1.0));
}

#[test]
fn files_with_mistakes_name_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = r#"{"id": "a", "text": "A boat."}"#;
    let retrieval = |queries: &str, corpus: &str| {
        let paths = [("queries.jsonl", queries), ("corpus.jsonl", corpus)].map(|(name, text)| {
            fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        });
        InformationRetrieval::from_jsonl("", &paths[0], &paths[1], &Fields::default())
            .unwrap_err()
            .to_string()
    };
    let query = r#"{"text": "x", "relevant": ["a"]}"#;
    for (queries, corpus, expected) in [
        (
            query,
            "{\"id\": \"a\", \"text\": }",
            "corpus.jsonl, row 1: column 21: invalid JSON: expected value",
        ),
        (query, &format!("{good}\n[1]"), "corpus.jsonl, row 2: an array where an object must be"),
        (query, &format!("{good}\n\n{good}"), "corpus.jsonl, row 2: column 0: invalid JSON"),
        (query, &format!("{good}\n{good}"), "corpus.jsonl, row 2: a second document with the id \"a\""),
        (
            query,
            r#"{"id": 1.5, "text": ""}"#,
            "row 1: \"id\" is a number where a string or a whole number must be",
        ),
        (query, r#"{"id": 1}"#, "corpus.jsonl, row 1: no \"text\"; there is \"id\""),
        (query, "{}", "corpus.jsonl, row 1: no \"text\"; there is nothing"),
        (
            query,
            "{\"id\": 1, \"text\": \"\"}\n{\"text\": \"\"}",
            "corpus.jsonl, row 2: no \"id\"; there is \"text\"",
        ),
        (
            r#"{"text": 1, "relevant": []}"#,
            good,
            "queries.jsonl, row 1: \"text\" is a number where a string must be",
        ),
        (
            r#"{"text": "x", "relevant": ["a", null]}"#,
            good,
            "row 1: \"relevant\" is null where a list of strings",
        ),
        (r#"{"text": "x", "relevant": "b"}"#, good, "queries.jsonl, row 1: no document in"),
        (r#"{"text": "x", "relevant": []}"#, good, "no query has a relevant document"),
        ("", good, "no query has a relevant document"),
    ] {
        let message = retrieval(queries, corpus);
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
    }
    let missing = folder.path().join("missing.jsonl");
    let error = EmbeddingSimilarity::from_jsonl("", &missing).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let pair = json!({"sentence1": "a", "sentence2": "b", "score": "0.5"});
    let error =
        EmbeddingSimilarity::from_jsonl("", &write_lines(folder.path(), "pairs.jsonl", &[pair])).unwrap_err();
    assert!(error.to_string().ends_with("row 1: \"score\" is a string where a number must be"), "{error}");
}

#[test]
fn data_in_memory_with_mistakes() {
    let pair = |score| ScoredPair { sentence1: "a".to_owned(), sentence2: "b".to_owned(), score };
    let document = |id: &str| (id.to_owned(), "text".to_owned());
    let query = |relevant: &[&str]| Query {
        id: "q".to_owned(),
        text: "x".to_owned(),
        relevant: relevant.iter().map(|&id| id.to_owned()).collect(),
    };
    let retrieval = |ids: [&str; 2], relevant: &[&str]| {
        InformationRetrieval::new("", vec![query(relevant)], ids.map(document).into())
    };
    let cutoffs = |cutoffs| retrieval(["a", "b"], &["a"]).unwrap().with_cutoffs(cutoffs).map(|_| ());
    for (result, expected) in [
        (EmbeddingSimilarity::new("", vec![pair(1.0)]).map(|_| ()), "at least 2 pairs of texts; got 1"),
        (
            EmbeddingSimilarity::new("", vec![pair(1.0), pair(f64::NAN)]).map(|_| ()),
            "pair 2: its score is not a finite",
        ),
        (
            EmbeddingSimilarity::new("", vec![pair(1.0), pair(1.0)]).map(|_| ()),
            "all pairs have the same score",
        ),
        (Triplet::new("", vec![], 0.0).map(|_| ()), "at least one of them"),
        (Triplet::new("", vec![Default::default()], f32::NAN).map(|_| ()), "the margin of triplets is NaN"),
        (retrieval(["a", "a"], &["a"]).map(|_| ()), "two documents of the corpus have the id \"a\""),
        (
            retrieval(["a", "b"], &["c"]).map(|_| ()),
            "query \"q\" is answered by a document that the corpus lacks: \"c\"",
        ),
        (retrieval(["a", "b"], &[]).map(|_| ()), "no query has a relevant document"),
        (cutoffs(Cutoffs { mrr: vec![0], ..Cutoffs::default() }), "ranks to look at, got 0"),
        (cutoffs(Cutoffs { ndcg: vec![], ..Cutoffs::default() }), "needs a cutoff for nDCG"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
    }
}

#[test]
fn an_evaluation_can_be_interrupted() {
    let (_folder, model) = GOLDEN.cases[0].load(Trainable::default());
    for (key, evaluator) in evaluators("tiny") {
        let result =
            evaluator.evaluate(&model, Watch { interrupt: Some(&AtomicBool::new(true)), progress: None });
        assert!(matches!(result, Err(Error::Interrupted)), "{key}: {result:?}");
    }
}
