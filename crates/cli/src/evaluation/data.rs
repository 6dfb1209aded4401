//! What a model is measured on: the options of `sentir evaluate`, which are the keys of a data set of a suite too; and the evaluators that they mean.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::train::classifier::TextClassifier;
use sentir::train::evaluate::{
    BinaryClassification, Classification, Clustering, EmbeddingSimilarity, Evaluator, LabelAccuracy, Mse,
    ParaphraseMining, Reranking, Translation, TranslationMetrics, Triplet,
};
use sentir::{EncodeOptions, LoadOptions};
use serde::Deserialize;

use super::retrieval;
use crate::input::{self, Columns, Texts};
use crate::model;

#[derive(Args, Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Data {
    /// In a suite: what the data set is called.
    #[arg(skip)]
    pub(crate) name: String,
    /// Pairs of texts with a score of how alike they are: .csv or .tsv with or without a header, .jsonl, .parquet
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    sts: Option<PathBuf>,
    /// The columns of --sts [default: sentence1,sentence2,score]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Data")]
    sts_columns: Vec<String>,
    /// Questions, a JSON object a line: {"text": …, "relevant": the ids of what answers}
    #[arg(long, value_name = "FILE", requires = "corpus", help_heading = "Data")]
    retrieval: Option<PathBuf>,
    /// What is searched for --retrieval, a JSON object a line: {"id": …, "text": …}; without ids, lines are counted from zero
    #[arg(long, value_name = "FILE", requires = "retrieval", help_heading = "Data")]
    corpus: Option<PathBuf>,
    /// A key of these two files that has another name: relevant=kb,document=question,query=text,id=id
    #[arg(
        long,
        value_name = "NAME=KEY",
        value_delimiter = ',',
        requires = "retrieval",
        help_heading = "Data"
    )]
    field: Vec<String>,
    /// Triplets of texts: .csv, .tsv, .jsonl or .parquet with the columns anchor, positive and negative
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    triplets: Option<PathBuf>,
    /// Pairs of texts that say the same (1) or not (0): .csv, .tsv, .jsonl or .parquet
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    binary: Option<PathBuf>,
    /// The columns of --binary [default: sentence1,sentence2,label]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "binary", help_heading = "Data")]
    binary_columns: Vec<String>,
    /// Texts to mine for pairs that say the same, a JSON object a line: {"text": …, "group": …}, or {"id": …, "text": …, "duplicates": ids}
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    paraphrases: Option<PathBuf>,
    /// The keys of --paraphrases [default: text,group]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "paraphrases",
        help_heading = "Data"
    )]
    paraphrases_columns: Vec<String>,
    /// Texts to rank, a JSON object a line: {"query": …, "positive": texts, "negative": texts}
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    reranking: Option<PathBuf>,
    /// Texts and their translations: accuracy both ways
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    translation: Option<PathBuf>,
    /// Texts and their translations: F1 as MTEB measures bitext mining
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    bitext: Option<PathBuf>,
    /// The columns of --translation, --bitext and --mse [default: source,target]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Data")]
    translation_columns: Vec<String>,
    /// Texts and their translations: how far the vectors of targets are from those that --teacher gives the sources
    #[arg(long, value_name = "FILE", requires = "teacher", help_heading = "Data")]
    mse: Option<PathBuf>,
    /// Texts and their classes, to be told apart after learning from eight texts of each, as MTEB measures classification
    #[arg(long, value_name = "FILE", requires = "classification_train", help_heading = "Data")]
    classification: Option<PathBuf>,
    /// The texts that --classification learns from
    #[arg(long, value_name = "FILE", requires = "classification", help_heading = "Data")]
    classification_train: Option<PathBuf>,
    /// The columns of these two files [default: text,label]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "classification",
        help_heading = "Data"
    )]
    classification_columns: Vec<String>,
    /// Texts and their classes, to be found again by k-means, as MTEB measures clustering; or sets of them, a JSON object a line:
    /// {"sentences": texts, "labels": classes}
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    clustering: Option<PathBuf>,
    /// The columns of --clustering [default: text,label]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "clustering", help_heading = "Data")]
    clustering_columns: Vec<String>,
    /// Texts, or pairs of them, and their classes: how many --classifier finds
    #[arg(long, value_name = "FILE", requires = "classifier", help_heading = "Data")]
    label_accuracy: Option<PathBuf>,
    /// The columns of --label-accuracy: texts, of pairs also second texts, classes [default: text,label]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "label_accuracy",
        help_heading = "Data"
    )]
    label_accuracy_columns: Vec<String>,
    /// The classifier of --label-accuracy: a directory that sentir classify train has made with this model
    #[arg(long, value_name = "DIR", requires = "label_accuracy", help_heading = "Data")]
    classifier: Option<PathBuf>,
    /// The model whose vectors --mse measures against
    #[arg(long, value_name = "DIR|ID", requires = "mse", help_heading = "Data")]
    teacher: Option<String>,
}

/// An evaluator and what it is called in results.
pub(crate) type Named = (&'static str, Box<dyn Evaluator>);

impl Data {
    /// All that are asked for, whose metrics begin with `name`. Relative paths are relative to `folder`.
    pub(crate) fn evaluators(&self, name: &str, folder: &Path, quiet: bool) -> Result<Vec<Named>> {
        let mut all: Vec<Named> = Vec::new();
        let at = |path: &PathBuf| folder.join(path);
        if let Some(path) = &self.sts {
            let what = "two of texts and one of the score";
            let columns =
                names("--sts-columns", &self.sts_columns, Some(["sentence1", "sentence2", "score"]), what)?;
            all.push(("sts", Box::new(EmbeddingSimilarity::from_path(name, &at(path), &columns)?)));
        }
        match (&self.retrieval, &self.corpus) {
            (Some(queries), Some(corpus)) => {
                let own = retrieval(name, &at(queries), &at(corpus), "--field", &self.field)?;
                all.push(("retrieval", Box::new(own)));
            }
            (None, None) => {}
            _ => bail!("retrieval and corpus go together: one file of questions, one of what is searched"),
        }
        if let Some(path) = &self.triplets {
            all.push(("triplets", Box::new(Triplet::from_path(name, &at(path), 0.0)?)));
        }
        if let Some(path) = &self.binary {
            let what = "two of texts and one of the label";
            let columns = names(
                "--binary-columns",
                &self.binary_columns,
                Some(["sentence1", "sentence2", "label"]),
                what,
            )?;
            all.push(("binary", Box::new(BinaryClassification::from_path(name, &at(path), &columns)?)));
        }
        if let Some(path) = &self.paraphrases {
            let what = "of the text and of its group";
            let keys =
                names("--paraphrases-columns", &self.paraphrases_columns, Some(["text", "group"]), what)?;
            let own = ParaphraseMining::from_jsonl(name, &at(path), keys.each_ref().map(String::as_str))?;
            all.push(("paraphrases", Box::new(own)));
        }
        if let Some(path) = &self.reranking {
            all.push(("reranking", Box::new(Reranking::from_jsonl(name, &at(path), 10)?)));
        }
        let what = "of the source and of the target";
        let sides =
            names("--translation-columns", &self.translation_columns, Some(["source", "target"]), what)?;
        for (kind, path, metrics) in [
            ("translation", &self.translation, TranslationMetrics::Accuracy),
            ("bitext", &self.bitext, TranslationMetrics::Bitext),
        ] {
            if let Some(path) = path {
                all.push((kind, Box::new(Translation::from_path(name, &at(path), &sides, metrics)?)));
            }
        }
        match (&self.mse, &self.teacher) {
            (Some(path), Some(teacher)) => {
                let data =
                    sentir::train::data::Dataset::read("translations", &[at(path)], Some(sides.as_slice()))?;
                let [source, target] = data.columns.as_slice() else {
                    bail!("{}: two columns of texts are needed", path.display());
                };
                let teacher = model::find(teacher, None, LoadOptions::default(), quiet)?;
                let vectors = teacher.encode(&source.texts, &EncodeOptions::default())?.embeddings;
                all.push(("mse", Box::new(Mse::new(name, target.texts.clone(), vectors)?)));
            }
            (None, None) => {}
            _ => bail!("mse and teacher go together: a file of texts, and the model whose vectors are right"),
        }
        match (&self.classification, &self.classification_train) {
            (Some(test), Some(train)) => {
                let option = "--classification-columns";
                let columns = names(option, &self.classification_columns, TEXT_AND_CLASS, OF_TEXT_AND_CLASS)?;
                let read = |path| -> Result<Vec<(String, String)>> {
                    let texts = classed(&at(path), option, &columns)?;
                    Ok(texts.texts.into_iter().zip(texts.shown.into_iter().flatten()).collect())
                };
                let own = Classification::new(name, read(train)?, read(test)?)?;
                all.push(("classification", Box::new(own)));
            }
            (None, None) => {}
            _ => bail!(
                "classification and classification-train go together: texts to measure with, and texts to learn from"
            ),
        }
        if let Some(path) = &self.clustering {
            let path = at(path);
            let own = if is_sets(&path)? {
                Clustering::from_jsonl(name, &path)?
            } else {
                let option = "--clustering-columns";
                let columns = names(option, &self.clustering_columns, TEXT_AND_CLASS, OF_TEXT_AND_CLASS)?;
                let texts = classed(&path, option, &columns)?;
                Clustering::new(name, texts.texts, &texts.shown[0])?
            };
            all.push(("clustering", Box::new(own)));
        }
        match (&self.label_accuracy, &self.classifier) {
            (Some(path), Some(classifier)) => {
                let classifier = TextClassifier::read(&at(classifier))?;
                let (option, given) = ("--label-accuracy-columns", &self.label_accuracy_columns);
                let columns = if classifier.pairs {
                    let what = "of the two texts of a pair and of its class: the classifier is one of pairs";
                    names::<3>(option, given, None, what)?.to_vec()
                } else {
                    names(option, given, TEXT_AND_CLASS, OF_TEXT_AND_CLASS)?.to_vec()
                };
                let mut texts = classed(&at(path), option, &columns)?;
                let classes = texts.shown.pop().unwrap_or_default();
                let own = LabelAccuracy::new(name, classifier, texts.texts, texts.shown.pop(), &classes)?;
                all.push(("label-accuracy", Box::new(own)));
            }
            (None, None) => {}
            _ => bail!(
                "label-accuracy and classifier go together: texts with their classes, and what finds them"
            ),
        }
        Ok(all)
    }
}

/// The class in sentence-transformers of an evaluator by its name here.
pub(crate) fn class(name: &str) -> &'static str {
    match name {
        "sts" => "EmbeddingSimilarityEvaluator",
        "retrieval" => "InformationRetrievalEvaluator",
        "triplets" => "TripletEvaluator",
        "binary" => "BinaryClassificationEvaluator",
        "paraphrases" => "ParaphraseMiningEvaluator",
        "reranking" => "RerankingEvaluator",
        "translation" => "TranslationEvaluator",
        "mse" => "MSEEvaluator",
        "label-accuracy" => "LabelAccuracyEvaluator",
        // Of MTEB; there are none there.
        "classification" => "ClassificationEvaluator",
        "clustering" => "ClusteringEvaluator",
        _ => "BitextMiningEvaluator",
    }
}

/// The columns of texts and classes, where nobody says others.
const TEXT_AND_CLASS: Option<[&str; 2]> = Some(["text", "label"]);
const OF_TEXT_AND_CLASS: &str = "of the text and of its class";

/// Texts, and beside them the other columns: the class comes last.
fn classed(path: &Path, option: &'static str, columns: &[String]) -> Result<Texts> {
    let columns =
        Columns { text: Some(&columns[0]), shown: &columns[1..], option, format_option: "another extension" };
    let texts = input::read(path, None, columns)?;
    if let Some(row) = texts.shown.last().and_then(|classes| classes.iter().position(String::is_empty)) {
        bail!("{}: the class is empty; give the text one, or remove it", texts.origin.place(row));
    }
    Ok(texts)
}

/// Whether the first line is a set of texts.
fn is_sets(path: &Path) -> Result<bool> {
    if path.extension().is_none_or(|extension| extension != "jsonl") {
        return Ok(false);
    }
    let mut line = String::new();
    let file = input::open(path)?;
    std::io::BufReader::new(file).read_line(&mut line).with_context(|| path.display().to_string())?;
    let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&line).ok();
    Ok(object.is_some_and(|object| object.contains_key("sentences")))
}

/// Exactly `N` names; if none are given, those by default, if there are any.
fn names<const N: usize>(
    option: &str,
    given: &[String],
    default: Option<[&str; N]>,
    what: &str,
) -> Result<[String; N]> {
    if let (Some(default), []) = (default, given) {
        return Ok(default.map(str::to_owned));
    }
    let number = if N == 2 { "two" } else { "three" };
    match <[String; N]>::try_from(given.to_vec()) {
        Ok(names) => Ok(names),
        Err(_) => bail!("{option}: {number} names are expected, {what}"),
    }
}
