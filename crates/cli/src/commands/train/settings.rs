//! The settings of a training from the command line and a TOML file. Keys of the file are the names of the options with `_`
//! for `-`, and those of the training arguments of Hugging Face; options count more.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sentir::Trainable;
use sentir::train::arguments::TrainingArguments;
use serde_json::{Map, Value, json};

use super::Arguments;

/// Everything that a training needs to know.
pub(super) struct Settings {
    pub(super) model: String,
    pub(super) revision: Option<String>,
    pub(super) data: Vec<PathBuf>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) out: PathBuf,
    pub(super) loss: String,
    pub(super) loss_parameters: Map<String, Value>,
    pub(super) arguments: TrainingArguments,
    pub(super) dropout: Option<f32>,
    pub(super) max_seq_length: Option<usize>,
    pub(super) freeze_embeddings: bool,
    pub(super) freeze_layers: usize,
    pub(super) resume: bool,
    pub(super) overwrite_output_dir: bool,
    /// The training arguments that were given.
    given: Vec<String>,
    /// What people should know about arguments without effect.
    pub(super) notices: Vec<String>,
}

/// The names in front of a training argument's, shorter or older.
const SHORT: [(&str, &str); 2] =
    [("epochs", "num_train_epochs"), ("batch_size", "per_device_train_batch_size")];

impl Settings {
    /// From the command line, and from the file that it names.
    pub(super) fn new(arguments: &Arguments) -> Result<Self> {
        let mut file = match &arguments.config {
            Some(path) => read(path)?,
            None => Map::new(),
        };
        let missing = |what: &str, option: &str| {
            format!("{what} is missing; give it with {option}, or in a file with --config")
        };
        let model = take(&mut file, "model", arguments.model.clone())?
            .with_context(|| missing("the model", "--model"))?;
        let data = match &*arguments.data {
            [] => match file.remove("data") {
                Some(Value::String(path)) => vec![PathBuf::from(path)],
                Some(paths) => {
                    serde_json::from_value(paths).context("data is to be a path, or a list of paths")?
                }
                None => bail!(missing("the training data", "--data")),
            },
            given => {
                file.remove("data");
                given.to_vec()
            }
        };
        let out = match file.remove("output_dir") {
            Some(value) if !file.contains_key("out") => {
                Some(serde_json::from_value(value).context("output_dir")?)
            }
            _ => None,
        };
        let out = take(&mut file, "out", arguments.out.clone())?
            .or(out)
            .with_context(|| missing("the directory of the result", "--out"))?;
        let mut loss_parameters = match file.remove("loss_parameters") {
            Some(Value::Object(map)) => map,
            Some(_) => bail!("loss_parameters is to be a table"),
            None => Map::new(),
        };
        for pair in &arguments.loss_parameter {
            let (name, value) = split(pair, "--loss-parameter")?;
            loss_parameters.insert(name, value);
        }
        let mut settings = Self {
            model,
            revision: take(&mut file, "revision", arguments.revision.clone())?,
            data,
            columns: take(&mut file, "columns", arguments.columns.clone())?,
            out,
            loss: take(&mut file, "loss", arguments.loss.clone())?.unwrap_or_else(|| "mnrl".to_owned()),
            loss_parameters,
            arguments: TrainingArguments::default(),
            dropout: take(&mut file, "dropout", arguments.dropout)?,
            max_seq_length: take(&mut file, "max_seq_length", arguments.max_seq_length)?,
            freeze_embeddings: take(
                &mut file,
                "freeze_embeddings",
                arguments.freeze_embeddings.then_some(true),
            )?
            .unwrap_or(false),
            freeze_layers: take(&mut file, "freeze_layers", arguments.freeze_layers)?.unwrap_or(0),
            resume: arguments.resume,
            overwrite_output_dir: take(
                &mut file,
                "overwrite_output_dir",
                arguments.overwrite_output_dir.then_some(true),
            )?
            .unwrap_or(false),
            given: Vec::new(),
            notices: Vec::new(),
        };
        if let Some(p) = settings.dropout.filter(|p| !(0.0..1.0).contains(p)) {
            bail!("dropout is {p}; a probability from 0 to below 1 is expected");
        }
        // What is left of the file are training arguments; then those of the command line.
        for (short, name) in SHORT {
            if let Some(value) = file.remove(short) {
                file.insert(name.to_owned(), value);
            }
        }
        for pair in &arguments.set {
            let (name, value) = split(pair, "--set")?;
            file.insert(name, value);
        }
        let given = [
            ("num_train_epochs", arguments.epochs.map(|epochs| json!(epochs))),
            ("per_device_train_batch_size", arguments.batch_size.map(|size| json!(size))),
            ("learning_rate", arguments.learning_rate.map(|rate| json!(rate))),
            ("seed", arguments.seed.map(|seed| json!(seed))),
            ("bf16", arguments.bf16.then_some(json!(true))),
            ("gradient_checkpointing", arguments.gradient_checkpointing.then_some(json!(true))),
        ];
        for (name, value) in given {
            file.extend(value.map(|value| (name.to_owned(), value)));
        }
        settings.given = file.keys().cloned().collect();
        (settings.arguments, settings.notices) = TrainingArguments::from_map(&file)?;
        Ok(settings)
    }

    /// Whether the user has set this training argument.
    pub(super) fn says(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }

    /// What of the model has to be in memory in full precision.
    pub(super) fn trainable(&self) -> Trainable {
        if self.freeze_embeddings { Trainable::Layers } else { Trainable::Everything }
    }
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// The value given, else that of the file, which is removed either way.
fn take<T: serde::de::DeserializeOwned>(
    file: &mut Map<String, Value>,
    name: &str,
    given: Option<T>,
) -> Result<Option<T>> {
    let stored = file.remove(name);
    match (given, stored) {
        (Some(given), _) => Ok(Some(given)),
        (None, Some(stored)) => serde_json::from_value(stored)
            .with_context(|| format!("{name} in the file of --config"))
            .map(Some),
        (None, None) => Ok(None),
    }
}

/// `name=value`, the value as JSON, or as a text if it is not.
fn split(pair: &str, option: &str) -> Result<(String, Value)> {
    let Some((name, value)) = pair.split_once('=') else {
        bail!("{option} {pair}: NAME=VALUE is expected");
    };
    let parsed = match value {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        value => serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())),
    };
    Ok((name.trim().to_owned(), parsed))
}
