//! The record of a training: everything that its model card says, as data. The trainer's directory keeps it as
//! `training_record.json`, beside the model, so that the card can be written again and its facts checked.
//!
//! Here is what a record is; `collect` makes one of a training, [`crate::card`] makes a text of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::null_is_nan;
use crate::log::LogEntry;
use crate::{Error, Result};

mod collect;
mod energy;
mod hash;
mod statistics;

pub use collect::{Measured, Source, collect};
pub use energy::Energy;
pub use hash::sha256_of_weights;
pub use statistics::{ColumnStatistics, Measure, Statistics, statistics};

/// The file of a record in a model directory.
pub const FILE: &str = "training_record.json";

/// Raised when older records can no longer be read.
const FORMAT_VERSION: u64 = 1;

/// Everything about a training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingRecord {
    /// Of this file.
    pub format_version: u64,
    /// The model.
    pub model: Model,
    /// What it was trained on.
    pub datasets: Vec<DataFacts>,
    /// What the loss was measured on.
    pub eval_datasets: Vec<DataFacts>,
    /// All training arguments in the order of the card, by their names in Hugging Face.
    pub arguments: Vec<(String, Value)>,
    /// Those among them that differ from the defaults.
    pub non_default: Vec<String>,
    /// What really ran, (name, value) for people; empty where nobody knows.
    pub ran: Vec<(String, String)>,
    /// The log.
    pub log: Vec<LogEntry>,
    /// The update of the model that was kept, if it was the best and not the last.
    pub best_step: Option<u64>,
    /// Measurements of the model that was kept.
    pub evaluations: Vec<Evaluation>,
    /// Examples for the page of the model.
    pub widget: Vec<Widget>,
    /// Three texts for the usage example.
    pub example: Vec<String>,
    /// What the training doctor found, for people.
    pub findings: Vec<String>,
    /// Names and versions of programs.
    pub versions: Vec<(String, String)>,
    /// The machine, (name, value) for people.
    pub machine: Vec<(String, String)>,
    /// Seconds in updates.
    pub seconds: Option<f64>,
    /// Joules that the processor took meanwhile, where the system counts them.
    pub joules: Option<f64>,
    /// SHA-256 of all weights files of the model ([`sha256_of_weights`]).
    pub weights_sha256: Option<String>,
}

/// What the model is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Its id or directory before training; none for one from scratch.
    pub base_model: Option<String>,
    /// The commit of that.
    pub base_revision: Option<String>,
    /// The most tokens of a text that are read.
    pub max_seq_length: Option<usize>,
    /// Components of a vector.
    pub dimension: usize,
    /// How vectors are compared: `cosine`, `dot`, `euclidean`, `manhattan`.
    pub similarity: String,
    /// Its modules in order.
    pub modules: Vec<Module>,
    /// Codes of languages, if somebody has said them.
    pub language: Vec<String>,
    /// Ids of data sets on the hub, if somebody has said them.
    pub datasets: Vec<String>,
    /// The license, if somebody has said it.
    pub license: Option<String>,
    /// Names of prompts and the prompts.
    pub prompts: Vec<(String, String)>,
}

/// A module of the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Module {
    /// Its class: `Transformer`, `Pooling`, ...
    pub class: String,
    /// Its settings in the order of its class.
    pub settings: Vec<(String, Value)>,
    /// The class of the network in transformers, of a `Transformer`.
    pub architecture: Option<String>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFacts {
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Rows.
    pub size: usize,
    /// The names of its columns, a label included.
    pub columns: Vec<String>,
    /// Of its first rows: 100 and 1000, as the releases of sentence-transformers have it.
    pub statistics: Vec<Statistics>,
    /// The first rows, a text for each column.
    pub samples: Vec<Vec<String>>,
    /// The class of the loss.
    pub loss: String,
    /// Its parameters.
    pub loss_parameters: Vec<(String, Value)>,
    /// SHA-256 of the content.
    pub sha256: Option<String>,
    /// Texts that were cut at the length limit.
    pub cut_texts: Option<usize>,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    /// The class of the evaluator in sentence-transformers.
    pub class: String,
    /// The name of the data, if it has one.
    pub name: Option<String>,
    /// Names, without that of the data, and values. NaN is written as null.
    #[serde(deserialize_with = "null_is_nan::<Vec<_>, _, _>")]
    pub metrics: Vec<(String, f64)>,
    /// The name of the metric that says which model is better.
    pub primary: String,
}

impl Evaluation {
    /// What a metric is called where data sets are measured together, as in the log: behind the name of the data.
    #[must_use]
    pub fn full_name(&self, metric: &str) -> String {
        self.name.as_ref().map_or_else(|| metric.to_owned(), |name| format!("{name}_{metric}"))
    }
}

/// An example for the page of a model: which sentence is most similar?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Widget {
    /// The text.
    pub source_sentence: String,
    /// What it is compared with.
    pub sentences: Vec<String>,
}

impl TrainingRecord {
    /// Reads the record of a model directory.
    ///
    /// # Errors
    /// If there is none, or it is none, or one of another format.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let invalid = |message: String| Error::Data { path: path.clone(), row: None, message };
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                invalid("it is not there: only a directory that sentir has trained has one".to_owned())
            }
            _ => Error::Io { path: path.clone(), source },
        })?;
        let record: Self = serde_json::from_str(&text)
            .map_err(|error| invalid(format!("{error}; the file is not a record of a training")))?;
        if record.format_version != FORMAT_VERSION {
            return Err(invalid(format!(
                "format version {} is not the {FORMAT_VERSION} of this sentir",
                record.format_version
            )));
        }
        Ok(record)
    }

    /// Writes the record into a model directory: aside, synced, renamed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let value = Self { format_version: FORMAT_VERSION, ..self.clone() };
        write_text(&directory.join(FILE), &(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"))
    }
}

/// Writes a file of text, which appears under its name whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    Ok(sentir_model::directory::write_whole(path, text.as_bytes())?)
}
