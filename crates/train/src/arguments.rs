//! Arguments of a training, by the names and with the defaults of Hugging Face.
//!
//! Those that do something are fields here. [`table`] says of all others what becomes of them: nothing is ignored in silence.

pub mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::Dataset;
use crate::samplers::{BatchSampler, MultiDatasetBatchSampler, Release};
use crate::schedule::{SchedulerType, warmup_updates};
use crate::{Error, Result};
use table::Treatment;

/// The arguments of a training that are implemented. Each name and default is that of `SentenceTransformerTrainingArguments`, but for
/// `order`, which is ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingArguments {
    /// Rows in a batch; 8.
    pub per_device_train_batch_size: usize,
    /// Rows in a batch of the evaluation loss, where rows are compared within a batch; 8.
    pub per_device_eval_batch_size: usize,
    /// Batches whose gradients are averaged for one update; 1. In-batch negatives stay those of one batch.
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate; 5e-5.
    pub learning_rate: f64,
    /// Decoupled weight decay of the parameters that decay; 0.
    pub weight_decay: f64,
    /// How much AdamW's mean of gradients keeps; 0.9.
    pub adam_beta1: f64,
    /// How much AdamW's mean of squares keeps; 0.999.
    pub adam_beta2: f64,
    /// Added to the root of AdamW's mean of squares; 1e-8.
    pub adam_epsilon: f64,
    /// The norm that all gradients together are clipped to; 1. With 0 they are not.
    pub max_grad_norm: f64,
    /// Passes over the data, also a fraction; 3.
    pub num_train_epochs: f64,
    /// Updates in all, in place of epochs; -1 means that the epochs count.
    pub max_steps: i64,
    /// The course of the learning rate; linear.
    pub lr_scheduler_type: SchedulerType,
    /// The part of the training during which the rate grows, where `warmup_steps` is 0; none.
    pub warmup_ratio: Option<f64>,
    /// Updates during which the rate grows, or below 1 the part of the training; 0.
    pub warmup_steps: f64,
    /// The seed of order, dropout and new weights; 42.
    pub seed: u64,
    /// Another seed for the order of a single data set; none.
    pub data_seed: Option<u64>,
    /// Matrix products in bfloat16, weights in f32; false.
    pub bf16: bool,
    /// Activations are computed again for the gradient rather than kept; false.
    pub gradient_checkpointing: bool,
    /// Whether a last batch of fewer rows is left out; false.
    pub dataloader_drop_last: bool,
    /// When the model is evaluated; never.
    pub eval_strategy: IntervalStrategy,
    /// Updates between evaluations; `logging_steps` if there is none.
    pub eval_steps: Option<usize>,
    /// When a checkpoint is written; after steps.
    pub save_strategy: IntervalStrategy,
    /// Updates between checkpoints; 500.
    pub save_steps: usize,
    /// Checkpoints that are kept; all.
    pub save_total_limit: Option<usize>,
    /// Updates between evaluations where `eval_steps` is not given; 500. The log has a line for each update.
    pub logging_steps: usize,
    /// Whether the best checkpoint is the result; false.
    pub load_best_model_at_end: bool,
    /// What "best" is measured by; the loss of evaluation.
    pub metric_for_best_model: Option<String>,
    /// Whether more is better; unless the name of the metric ends with "loss".
    pub greater_is_better: Option<bool>,
    /// How the rows of a data set become batches; `batch_sampler`.
    pub batch_sampler: BatchSampler,
    /// How several data sets take turns; proportional.
    pub multi_dataset_batch_sampler: MultiDatasetBatchSampler,
    /// What stands before the texts; nothing.
    pub prompts: Option<Prompts>,
    /// Which release of sentence-transformers the order of the rows is that of; "6.2".
    pub order: Release,
}

impl Default for TrainingArguments {
    fn default() -> Self {
        Self {
            per_device_train_batch_size: 8,
            per_device_eval_batch_size: 8,
            gradient_accumulation_steps: 1,
            learning_rate: 5e-5,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            num_train_epochs: 3.0,
            max_steps: -1,
            lr_scheduler_type: SchedulerType::Linear,
            warmup_ratio: None,
            warmup_steps: 0.0,
            seed: 42,
            data_seed: None,
            bf16: false,
            gradient_checkpointing: false,
            dataloader_drop_last: false,
            eval_strategy: IntervalStrategy::No,
            eval_steps: None,
            save_strategy: IntervalStrategy::Steps,
            save_steps: 500,
            save_total_limit: None,
            logging_steps: 500,
            load_best_model_at_end: false,
            metric_for_best_model: None,
            greater_is_better: None,
            batch_sampler: BatchSampler::BatchSampler,
            multi_dataset_batch_sampler: MultiDatasetBatchSampler::Proportional,
            prompts: None,
            order: Release::V6,
        }
    }
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalStrategy {
    /// Never.
    No,
    /// After a number of updates.
    Steps,
    /// After each epoch.
    Epoch,
}

/// What stands before texts in training, in the four shapes that sentence-transformers takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompts {
    /// The same before all texts.
    All(String),
    /// By the name of the data set, if there are several, or by the name of the column.
    Named(BTreeMap<String, String>),
    /// By the name of the data set, then by the name of the column.
    Nested(BTreeMap<String, BTreeMap<String, String>>),
}

impl Prompts {
    /// What stands before the texts of a column. `dataset` is the name of the data set if data sets were given by name.
    ///
    /// # Errors
    /// If prompts are by data set and column, and data sets have no names.
    pub fn of(&self, dataset: Option<&str>, column: &str) -> Result<Option<&str>> {
        Ok(match self {
            Self::All(prompt) => Some(prompt),
            Self::Named(prompts) => {
                dataset.and_then(|name| prompts.get(name)).or_else(|| prompts.get(column)).map(String::as_str)
            }
            Self::Nested(prompts) => {
                let dataset = dataset.ok_or_else(|| {
                    argument("prompts", "they are by data set and column, but the data set has no name; give prompts by column")
                })?;
                prompts.get(dataset).and_then(|prompts| prompts.get(column)).map(String::as_str)
            }
        })
    }
}

impl TrainingArguments {
    /// What stands before the texts of `column` of `dataset`, one of `datasets`; nothing if no prompt is given for it. A data
    /// set alone has no name for prompts, as in sentence-transformers.
    ///
    /// # Errors
    /// As [`Prompts::of`].
    pub fn prompt_of(&self, datasets: &[Dataset], dataset: &Dataset, column: &str) -> Result<&str> {
        let Some(prompts) = &self.prompts else { return Ok("") };
        let name = (datasets.len() > 1).then_some(dataset.name.as_str());
        Ok(prompts.of(name, column)?.unwrap_or_default())
    }

    /// Takes the arguments of a JSON object, and what there is to say about those without effect.
    ///
    /// # Errors
    /// As [`Self::accept`] and [`Self::check`].
    pub fn from_map(map: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        let mut arguments = Self::default();
        let mut notices = Vec::new();
        for (name, value) in map {
            notices.extend(arguments.accept(name, value)?);
        }
        arguments.check()?;
        Ok((arguments, notices))
    }

    /// Sets an argument, or says why it has no effect: in that case the notice is returned, unless the value is the default.
    ///
    /// # Errors
    /// If there is no argument of this name (the message suggests the nearest), if the value is none of its values, or if it asks for
    /// something that is not done here; the message says what to do instead.
    pub fn accept(&mut self, name: &str, value: &Value) -> Result<Option<String>> {
        let Some(entry) = table::find(name) else {
            let nearest =
                table::nearest(name).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            return Err(Error::Argument(format!("no training argument is named \"{name}\"{nearest}")));
        };
        match entry.treatment {
            Treatment::Implemented => {
                let mut map = self.to_map();
                map.insert(name.to_owned(), value.clone());
                *self = serde_json::from_value(Value::Object(map)).map_err(|error| {
                    argument(
                        name,
                        &format!("{value} is none of its values: {error}; the default is {}", entry.default),
                    )
                })?;
                Ok(None)
            }
            _ if entry.is_default(value) => Ok(None),
            Treatment::NoEffect(reason) => Ok(Some(format!("{name}: {value} has no effect: {reason}"))),
            Treatment::Refused(reason) => Err(argument(
                name,
                &format!("{value} is not supported: {reason}; the default is {}", entry.default),
            )),
        }
    }

    /// All arguments that are implemented, with their values, by name.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // Numbers that JSON cannot hold become null there, and names are texts: nothing fails.
            _ => Map::new(),
        }
    }

    /// Checks values, and arguments that must fit each other.
    ///
    /// # Errors
    /// If one does not; the message names it and says what it must be.
    pub fn check(&self) -> Result<()> {
        let must = |fits: bool, name: &str, what: &str| if fits { Ok(()) } else { Err(argument(name, what)) };
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let part = |value: f64| (0.0..1.0).contains(&value);
        must(self.per_device_train_batch_size > 0, "per_device_train_batch_size", "it must be at least 1")?;
        must(self.per_device_eval_batch_size > 0, "per_device_eval_batch_size", "it must be at least 1")?;
        must(self.gradient_accumulation_steps > 0, "gradient_accumulation_steps", "it must be at least 1")?;
        must(not_negative(self.learning_rate), "learning_rate", "it must not be negative")?;
        must(not_negative(self.weight_decay), "weight_decay", "it must not be negative")?;
        must(part(self.adam_beta1), "adam_beta1", "it must be at least 0 and less than 1")?;
        must(part(self.adam_beta2), "adam_beta2", "it must be at least 0 and less than 1")?;
        must(not_negative(self.adam_epsilon), "adam_epsilon", "it must not be negative")?;
        must(not_negative(self.max_grad_norm), "max_grad_norm", "it must not be negative; 0 does not clip")?;
        must(
            self.max_steps == -1 || self.max_steps > 0,
            "max_steps",
            "it must be at least 1, or -1 where num_train_epochs counts",
        )?;
        must(
            self.max_steps > 0 || (not_negative(self.num_train_epochs) && self.num_train_epochs > 0.0),
            "num_train_epochs",
            "it must be more than 0",
        )?;
        must(not_negative(self.warmup_steps), "warmup_steps", "it must not be negative")?;
        must(
            self.warmup_ratio.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)),
            "warmup_ratio",
            "it must be between 0 and 1",
        )?;
        must(self.eval_steps != Some(0), "eval_steps", "it must be at least 1")?;
        must(self.save_steps > 0, "save_steps", "it must be at least 1")?;
        must(self.logging_steps > 0, "logging_steps", "it must be at least 1")?;
        must(self.save_total_limit != Some(0), "save_total_limit", "it must be at least 1")?;
        if self.load_best_model_at_end {
            must(
                self.eval_strategy != IntervalStrategy::No && self.eval_strategy == self.save_strategy,
                "load_best_model_at_end",
                "eval_strategy and save_strategy must be the same, \"steps\" or \"epoch\"",
            )?;
            must(
                self.eval_strategy != IntervalStrategy::Steps
                    || self.save_steps.is_multiple_of(self.evaluate_every()),
                "load_best_model_at_end",
                "save_steps must be a multiple of eval_steps, so that each checkpoint was evaluated",
            )?;
        }
        Ok(())
    }

    /// Updates in all, if they are given in place of epochs.
    #[must_use]
    pub fn max_updates(&self) -> Option<usize> {
        usize::try_from(self.max_steps).ok().filter(|&steps| steps > 0)
    }

    /// Updates of the warm-up in a training of `total` updates. `warmup_ratio` counts where `warmup_steps` is 0, and is always a part: 1 is
    /// the whole training, as in transformers 4, while 5 takes it for one update.
    #[must_use]
    pub fn warmup(&self, total: usize) -> usize {
        match self.warmup_ratio {
            Some(1.0) if self.warmup_steps == 0.0 => total,
            Some(ratio) if self.warmup_steps == 0.0 => warmup_updates(ratio, total),
            _ => warmup_updates(self.warmup_steps, total),
        }
    }

    /// Updates between evaluations, where the strategy is steps.
    #[must_use]
    pub fn evaluate_every(&self) -> usize {
        self.eval_steps.unwrap_or(self.logging_steps)
    }

    /// Whether a greater value of the metric is the better one.
    #[must_use]
    pub fn greater_is_better(&self) -> bool {
        let metric = self.metric_for_best_model.as_deref().unwrap_or("loss");
        self.greater_is_better.unwrap_or(!metric.ends_with("loss"))
    }
}

fn argument(name: &str, message: &str) -> Error {
    Error::Argument(format!("training argument {name}: {message}"))
}
