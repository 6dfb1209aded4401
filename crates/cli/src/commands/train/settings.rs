//! The settings of a training from the command line and a TOML file. Keys of the file are the names of the options with `_`
//! for `-`, and those of the training arguments of Hugging Face; options count more.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sentir::Trainable;
use sentir::train::arguments::TrainingArguments;
use sentir::train::lora::Lora;
use sentir::train::trainer::Preset;
use serde_json::{Map, Value, json};

use super::{Arguments, scratch};

/// Everything that a training needs to know.
pub(super) struct Settings {
    /// Where it is.
    pub(super) model: String,
    /// What people know it by.
    pub(super) name: String,
    pub(super) revision: Option<String>,
    /// Data sets by their names, of one or several files each.
    pub(super) datasets: Vec<(String, Vec<PathBuf>)>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) out: PathBuf,
    pub(super) loss: String,
    pub(super) loss_parameters: Map<String, Value>,
    pub(super) arguments: TrainingArguments,
    pub(super) dropout: Option<f32>,
    pub(super) max_seq_length: Option<usize>,
    pub(super) freeze_embeddings: bool,
    pub(super) freeze_layers: usize,
    pub(super) lora: Option<Lora>,
    pub(super) preset: Preset,
    pub(super) resume: bool,
    pub(super) overwrite_output_dir: bool,
    /// What was done to the data before training.
    pub(super) data_note: Option<String>,
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
        let given = take(&mut file, "model", arguments.model.clone())?;
        let (model, name) = match (arguments.scratch.from_scratch, given) {
            (None, Some(model)) => (model.clone(), model),
            (None, None) => {
                bail!("{}, or make a new one with --from-scratch", missing("the model", "--model"))
            }
            (Some(_), Some(_)) => {
                bail!("--from-scratch makes a new model; leave `model` out of the file of --config")
            }
            (Some(kind), None) => (String::new(), format!("a new model, {kind:?}").to_lowercase()),
        };
        let datasets = datasets(&mut file, arguments)?;
        if datasets.is_empty() {
            bail!(missing("the training data", "--data"));
        }
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
            name,
            revision: take(&mut file, "revision", arguments.revision.clone())?,
            datasets,
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
            lora: lora(&mut file, arguments)?,
            preset: match take(&mut file, "preset", arguments.preset.clone())?.as_deref() {
                None | Some("trainer") => Preset::Trainer,
                Some("fit") => Preset::Fit,
                Some(other) => bail!("preset is \"{other}\"; there are trainer and fit"),
            },
            resume: arguments.resume,
            overwrite_output_dir: take(
                &mut file,
                "overwrite_output_dir",
                arguments.overwrite_output_dir.then_some(true),
            )?
            .unwrap_or(false),
            data_note: None,
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
        let scale = arguments.scratch.from_scratch.and_then(scratch::scale);
        if let Some(scale) = scale.filter(|_| settings.loss == "mnrl") {
            settings.loss_parameters.entry("scale").or_insert(json!(scale));
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
        for (name, value) in settings.preset.arguments() {
            file.entry(name).or_insert(value);
        }
        if let Some(kind) = arguments.scratch.from_scratch {
            for (name, value) in scratch::defaults(kind) {
                // Who says how many warm-up steps there are says all of it.
                if name != "warmup_ratio" || !file.contains_key("warmup_steps") {
                    file.entry(name).or_insert(value);
                }
            }
        }
        (settings.arguments, settings.notices) = TrainingArguments::from_map(&file)?;
        Ok(settings)
    }

    /// The model that the training began with; none if it was new.
    pub(super) fn base_model(&self) -> Option<&str> {
        (self.model == self.name).then_some(self.model.as_str())
    }

    /// Whether the user has set this training argument.
    pub(super) fn says(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }

    /// What of the model has to be in memory in full precision.
    pub(super) fn trainable(&self) -> Trainable {
        let layers = self.freeze_embeddings || self.lora.is_some();
        if layers { Trainable::Layers } else { Trainable::Everything }
    }
}

/// `--data` is one data set, called by its first file; `--dataset` names each, as the table `datasets` of the file does.
fn datasets(file: &mut Map<String, Value>, arguments: &Arguments) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let paths = |value: Value, what: &str| -> Result<Vec<PathBuf>> {
        match value {
            Value::String(path) => Ok(vec![PathBuf::from(path)]),
            paths => serde_json::from_value(paths)
                .with_context(|| format!("{what} is to be a path, or a list of paths")),
        }
    };
    let (of_file, named) = (file.remove("data"), file.remove("datasets"));
    let alone = |files: Vec<PathBuf>| {
        let name = files.first().and_then(|path| path.file_stem()).unwrap_or_default();
        vec![(name.to_string_lossy().into_owned(), files)]
    };
    if !arguments.data.is_empty() {
        return Ok(alone(arguments.data.clone()));
    }
    if !arguments.dataset.is_empty() {
        let mut all: Vec<(String, Vec<PathBuf>)> = Vec::new();
        for given in &arguments.dataset {
            let Some((name, file)) = given.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                bail!("--dataset {given}: NAME=FILE is expected");
            };
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, files)) => files.push(file.into()),
                None => all.push((name.to_owned(), vec![file.into()])),
            }
        }
        return Ok(all);
    }
    match (of_file, named) {
        (Some(_), Some(_)) => {
            bail!("the file of --config has both `data` and `datasets`; one of them is enough")
        }
        (Some(data), None) => Ok(alone(paths(data, "data")?)),
        (None, Some(Value::Object(named))) => named
            .into_iter()
            .map(|(name, files)| Ok((name.clone(), paths(files, &format!("datasets.{name}"))?)))
            .collect(),
        (None, Some(_)) => bail!("datasets is to be a table of names with files"),
        (None, None) => Ok(Vec::new()),
    }
}

/// LoRA is asked for with its rank.
fn lora(file: &mut Map<String, Value>, arguments: &Arguments) -> Result<Option<Lora>> {
    let r = take(file, "lora_r", arguments.lora_r)?;
    let alpha = take(file, "lora_alpha", arguments.lora_alpha)?;
    let targets = take(file, "lora_target_modules", arguments.lora_target_modules.clone())?;
    let Some(r) = r else {
        if alpha.is_some() || targets.is_some() {
            bail!("LoRA needs its rank: give --lora-r, 8 or 16 as a rule");
        }
        return Ok(None);
    };
    let usual = Lora::default();
    let lora = Lora {
        r,
        lora_alpha: alpha.unwrap_or(usual.lora_alpha),
        target_modules: targets.unwrap_or(usual.target_modules),
    };
    lora.check()?;
    Ok(Some(lora))
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
