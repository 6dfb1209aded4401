//! The loop of a training: batches in order, a step and an update each, evaluations, checkpoints, the end.
//!
//! Not here: what a step computes (`step`), what an update does (`update`), what a checkpoint is made of (`checkpoint`). The
//! loop prints nothing; it tells an observer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sentir_compute::{Gradients, Memory};
use sentir_model::SentenceTransformer;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::{IntervalStrategy, TrainingArguments};
use crate::checkpoint::{self, Checkpoints, State};
use crate::data::Dataset;
use crate::evaluate::{Evaluator, Watch};
use crate::log::LogEntry;
use crate::lora::Lora;
use crate::losses::Loss;
use crate::optimizer::{Decay, Hyper, clip_coefficient};
use crate::prepared::Prepared;
use crate::samplers::{Batch, Sampler, Settings};
use crate::schedule::{Schedule, Updates};
use crate::step::{MiniBatch, Outcome, Setting, gradients_of};
use crate::update::{Frozen, Update};
use crate::{Error, Result};

/// Whose habits a training has where the arguments say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Those of the Trainer.
    #[default]
    Trainer,
    /// Those of `SentenceTransformer.fit` (`fit_mixin.py` of sentence-transformers 3.1.1), which made many a model of today: weight
    /// decay by other names ([`Decay::Fit`]), and a learning rate that ends after ⌊rows / batch size⌋ · epochs updates, though there
    /// are ⌈rows / batch size⌉ in each. [`Preset::arguments`] are its defaults.
    Fit,
}

impl Preset {
    /// The arguments whose defaults differ from those of the Trainer.
    #[must_use]
    pub fn arguments(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Trainer => Vec::new(),
            Self::Fit => vec![
                ("learning_rate", json!(2e-5)),
                ("weight_decay", json!(0.01)),
                ("warmup_steps", json!(10_000)),
                ("num_train_epochs", json!(1)),
                ("multi_dataset_batch_sampler", json!("round_robin")),
            ],
        }
    }

    /// The learning rates of a training of so many updates.
    pub(crate) fn schedule(
        self,
        arguments: &TrainingArguments,
        datasets: &[Dataset],
        updates: usize,
    ) -> Schedule {
        let total = if self == Self::Trainer || arguments.max_updates().is_some() {
            updates
        } else {
            let rows = datasets.iter().map(Dataset::len).min().unwrap_or(0);
            let whole = rows / arguments.per_device_train_batch_size * datasets.len();
            (whole as f64 * arguments.num_train_epochs) as usize
        };
        Schedule {
            kind: arguments.lr_scheduler_type,
            learning_rate: arguments.learning_rate,
            warmup: arguments.warmup(total),
            total,
        }
    }
}

/// Everything that a training is made of.
pub struct Training<'a> {
    /// The model, loaded with [`sentir_model::LoadOptions::trainable`].
    pub model: SentenceTransformer,
    /// The data. Each batch is of one of them.
    pub datasets: Vec<Dataset>,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// The model that guides a loss which asks for one.
    pub guide: Option<&'a SentenceTransformer>,
    /// What is measured during training.
    pub evaluator: Option<&'a dyn Evaluator>,
    /// The arguments.
    pub arguments: &'a TrainingArguments,
    /// Whose habits it has.
    pub preset: Preset,
    /// What stays as it is.
    pub frozen: Frozen,
    /// Trains products of low rank in place of whole parameters.
    pub lora: Option<Lora>,
    /// Stops the training after so many evaluations without a better one.
    pub early_stopping_patience: Option<usize>,
    /// The directory of the result, with checkpoints inside. Without one, nothing is written.
    pub output_dir: Option<&'a Path>,
    /// Goes on from the last checkpoint in the directory, if there is one.
    pub resume: bool,
    /// Ends the training after the current step, with a checkpoint, once it is true.
    pub interrupt: &'a AtomicBool,
}

/// What the observer of a training is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something that people should know.
    Notice(String),
    /// The first step is about to begin.
    Begin {
        /// Updates of the whole training, and how many are done already.
        updates: usize,
        /// Those of an earlier run.
        done: usize,
        /// Numbers that are trained.
        parameters: usize,
    },
    /// An update was made.
    Update(&'a LogEntry),
    /// The model is being measured: by which evaluator with what, and how much of how much is done.
    Evaluating {
        /// The name of the evaluator and what it looks at.
        what: [&'a str; 2],
        /// So much.
        done: usize,
        /// Of so much.
        total: usize,
    },
    /// The model was measured.
    Evaluated {
        /// Updates so far.
        step: usize,
        /// Names and values.
        metrics: &'a [(String, f64)],
    },
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// A training that came to its end.
#[derive(Debug)]
pub struct Trained {
    /// The model as it is now: the best, if that was asked for, else the last.
    pub model: SentenceTransformer,
    /// Everything that was logged.
    pub state: State,
    /// Updates that the whole training has.
    pub updates: Updates,
}

impl<'a> Training<'a> {
    /// A training of everything, from the beginning, that measures and writes nothing; other fields can be set then.
    pub fn new(
        model: SentenceTransformer,
        datasets: Vec<Dataset>,
        loss: &'a dyn Loss,
        arguments: &'a TrainingArguments,
        interrupt: &'a AtomicBool,
    ) -> Self {
        Self {
            model,
            datasets,
            loss,
            guide: None,
            evaluator: None,
            arguments,
            preset: Preset::default(),
            frozen: Frozen::default(),
            lora: None,
            early_stopping_patience: None,
            output_dir: None,
            resume: false,
            interrupt,
        }
    }

    /// Trains. `observer` hears of everything while it happens.
    ///
    /// # Errors
    /// [`Error::Argument`] if parts do not fit together, before the first step; [`Error::NotFinite`] with the step and where
    /// it came up; [`Error::Interrupted`] after a checkpoint was written ([`Event::Saved`]), or before the first step.
    pub fn run(mut self, observer: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<Trained> {
        let arguments = self.arguments;
        let sampler = self.sampler()?;
        let accumulation = arguments.gradient_accumulation_steps;
        let batches = sampler.batches_per_epoch();
        let updates =
            Updates::new(batches, accumulation, arguments.num_train_epochs, arguments.max_updates());
        let schedule = self.preset.schedule(arguments, &self.datasets, updates.total);
        self.model.set_gradient_checkpointing(arguments.gradient_checkpointing);
        let prepared = Prepared::all(
            &self.datasets,
            &self.model,
            self.loss,
            self.guide,
            arguments,
            Some(self.interrupt),
        )?;
        let lora = self.lora.as_ref().map(|lora| (lora, arguments.seed));
        let decay = if self.preset == Preset::Fit { Decay::Fit } else { Decay::Trainer };
        let mut update = Update::with_lora(&mut self.model, self.frozen, decay, lora)?;
        let mut state = State::new(&self.datasets, self.settings());
        let mut checkpoints = match self.output_dir {
            Some(directory) => Some(Checkpoints::open(directory, arguments.save_total_limit)?),
            None => None,
        };
        if let Some(checkpoints) = checkpoints.as_ref().filter(|_| self.resume) {
            match checkpoints.last()? {
                Some(path) => {
                    state = checkpoint::restore(&path, &mut self.model, &mut update, &state)?;
                    observer(Event::Notice(format!("going on from {}", path.display())));
                }
                None => observer(Event::Notice("there is no checkpoint yet: beginning anew".to_owned())),
            }
        }
        if let Some(checkpoints) = &mut checkpoints {
            checkpoints.begin_log(&state)?;
        }
        let parameters = update.count();
        observer(Event::Begin { updates: updates.total, done: state.global_step, parameters });

        if state.global_step == 0
            && let Some(entry) = self.evaluate(&mut state, observer, Some(self.interrupt))?
            && let Some(checkpoints) = &mut checkpoints
        {
            // What the model was before is there to compare with; it is no candidate for the best.
            (state.best_metric, state.best_step) = (None, None);
            checkpoints.log(&entry)?;
        }

        let mut gradients = Gradients::new();
        let mut memory = Memory::default();
        let over = |state: &State| state.global_step >= updates.total || state.stopped_early;
        while state.position.0 < updates.epochs && !over(&state) {
            let (epoch, done) = state.position;
            let order = sampler.epoch(epoch);
            for (at, group) in order.chunks(accumulation).enumerate().skip(done) {
                let started = Instant::now();
                update.begin(&mut gradients);
                let mut found = Outcome { loss: 0.0, tokens: 0 };
                for (i, batch) in group.iter().enumerate() {
                    let number = (epoch * batches + at * accumulation + i) as u64;
                    let factor = 1.0 / group.len() as f32;
                    let one = self.step(&prepared, batch, number, factor, &mut gradients, &mut memory);
                    let one = one.map_err(|error| self.explain(error, &state, &prepared, batch))?;
                    found.loss += one.loss / group.len() as f64;
                    found.tokens += one.tokens;
                }
                let norm = update
                    .gradient_norm(&gradients)
                    .map_err(|error| at_step(error, state.global_step + 1))?;
                let learning_rate = schedule.rate(state.global_step);
                let hyper = Hyper {
                    learning_rate,
                    beta1: arguments.adam_beta1,
                    beta2: arguments.adam_beta2,
                    epsilon: arguments.adam_epsilon,
                    weight_decay: arguments.weight_decay,
                    update: state.global_step as u64 + 1,
                    scale: clip_coefficient(norm, arguments.max_grad_norm),
                };
                update.apply(&mut self.model, &gradients, &hyper);
                state.global_step += 1;
                state.position = (epoch, at + 1);
                state.epoch = epoch as f64 + (at + 1) as f64 / order.len().div_ceil(accumulation) as f64;
                let seconds = started.elapsed().as_secs_f64();
                state.log.push(LogEntry {
                    step: state.global_step as u64,
                    epoch: state.epoch,
                    loss: Some(found.loss),
                    learning_rate: Some(learning_rate),
                    grad_norm: Some(norm),
                    tokens_per_second: Some(found.tokens as f64 / seconds.max(1e-9)),
                    seconds: Some(seconds),
                    ..LogEntry::default()
                });
                let entry = &state.log[state.log.len() - 1];
                if let Some(checkpoints) = &mut checkpoints {
                    checkpoints.log(entry)?;
                }
                observer(Event::Update(entry));

                let last_of_epoch = (at + 1) * accumulation >= order.len();
                let due = |strategy: IntervalStrategy, every: usize| match strategy {
                    IntervalStrategy::No => false,
                    // The last epoch may end before its data does.
                    IntervalStrategy::Epoch => last_of_epoch || over(&state),
                    IntervalStrategy::Steps => state.global_step.is_multiple_of(every),
                };
                let (eval, save) = (
                    due(arguments.eval_strategy, arguments.evaluate_every()),
                    due(arguments.save_strategy, arguments.save_steps),
                );
                if eval {
                    // An interrupt waits for its end: the checkpoint needs the score.
                    let entry = self.evaluate(&mut state, observer, None)?;
                    if let (Some(checkpoints), Some(entry)) = (&mut checkpoints, entry) {
                        checkpoints.log(&entry)?;
                    }
                }
                let interrupted = self.interrupt.load(Ordering::Relaxed) && !over(&state);
                if let Some(checkpoints) = checkpoints.as_mut().filter(|_| save || interrupted) {
                    let path = checkpoints.save(&mut self.model, &update, &mut state)?;
                    observer(Event::Saved(&path));
                }
                if interrupted {
                    return Err(Error::Interrupted);
                }
                if over(&state) {
                    break;
                }
            }
            state.position = (epoch + 1, 0);
        }
        if let (Some(checkpoints), true) = (&checkpoints, arguments.load_best_model_at_end) {
            match &state.best_checkpoint {
                Some(name) => checkpoint::load_weights(&checkpoints.path_of(name), &mut self.model)?,
                None => observer(Event::Notice(
                    "no checkpoint was saved with an evaluation: the model is the last, not the best"
                        .to_owned(),
                )),
            }
        }
        if let Some(checkpoints) = &checkpoints {
            checkpoints.finish(&mut self.model)?;
        }
        Ok(Trained { model: self.model, state, updates })
    }

    /// What a training that goes on must have in common with the one that began.
    fn settings(&self) -> Value {
        let mut settings = serde_json::to_value(self.arguments).unwrap_or_default();
        settings["frozen"] = json!(self.frozen);
        settings["lora"] = json!(self.lora);
        settings["preset"] = json!(self.preset);
        settings
    }

    /// The order of the batches.
    fn sampler(&self) -> Result<Sampler> {
        let datasets: Vec<&Dataset> = self.datasets.iter().collect();
        if datasets.is_empty() {
            return Err(Error::Argument("there is no data to train on".to_owned()));
        }
        for dataset in &datasets {
            self.loss.check(dataset.columns.len(), dataset.labels.is_some())?;
        }
        if self.loss.guide().is_some() && self.guide.is_none() {
            let message = format!("{} needs its guide model to be loaded", self.loss.name());
            return Err(Error::Argument(message));
        }
        if self.arguments.load_best_model_at_end && self.evaluator.is_none() {
            let message = "load_best_model_at_end needs an evaluation that says which model is the best";
            return Err(Error::Argument(message.to_owned()));
        }
        if let Some(evaluator) = self.evaluator {
            evaluator.check_training()?;
        }
        Sampler::new(&datasets, Settings::of(self.arguments, datasets.len()))
    }

    fn step(
        &self,
        prepared: &[Prepared],
        batch: &Batch,
        number: u64,
        factor: f32,
        gradients: &mut Gradients,
        memory: &mut Memory,
    ) -> Result<Outcome> {
        let ready = prepared[batch.dataset].batch(&self.datasets[batch.dataset], batch)?;
        let setting = Setting {
            model: &self.model,
            loss: self.loss,
            mini_batch: MiniBatch::of(self.loss),
            seed: self.arguments.seed,
        };
        let (labels, guide) = (ready.labels.as_ref(), ready.guide.as_deref());
        gradients_of(setting, &ready.columns, labels, guide, number, factor, gradients, memory)
    }

    /// Where a number that is not finite came from.
    fn explain(&self, error: Error, state: &State, prepared: &[Prepared], batch: &Batch) -> Error {
        let Error::NotFinite(message) = error else { return error };
        let ready = prepared[batch.dataset].batch(&self.datasets[batch.dataset], batch);
        let place = ready.ok().and_then(|ready| {
            self.model.first_not_finite(ready.columns.iter().flat_map(|column| column.ids.iter().copied()))
        });
        let place = place.map_or(String::new(), |place| format!(", first in {place}"));
        at_step(Error::NotFinite(message + &place), state.global_step + 1)
    }

    /// Measures the model and keeps the score.
    fn evaluate(
        &self,
        state: &mut State,
        observer: &mut (dyn FnMut(Event<'_>) + Send),
        interrupt: Option<&AtomicBool>,
    ) -> Result<Option<LogEntry>> {
        let Some(evaluator) = self.evaluator else { return Ok(None) };
        let watcher = Mutex::new(&mut *observer);
        let progress = |what: [&str; 2], done: usize, total: usize| {
            let mut observer = watcher.lock().unwrap_or_else(PoisonError::into_inner);
            observer(Event::Evaluating { what, done, total });
        };
        let metrics = evaluator.evaluate(&self.model, Watch { interrupt, progress: Some(&progress) })?;
        observer(Event::Evaluated { step: state.global_step, metrics: &metrics });
        let name = match &self.arguments.metric_for_best_model {
            Some(name) if metrics.iter().any(|(own, _)| own == name) => name.clone(),
            Some(name) => name.strip_prefix("eval_").unwrap_or(name).to_owned(),
            None => evaluator.primary_metric(&self.model),
        };
        let Some((_, value)) = metrics.iter().find(|(own, _)| *own == name) else {
            let known: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
            let message =
                format!("metric_for_best_model \"{name}\" is not measured; there are {}", known.join(", "));
            return Err(Error::Argument(message));
        };
        let greater = self.arguments.greater_is_better.unwrap_or(!name.ends_with("loss"));
        // NaN, as the correlation of equal similarities is, is no best: nothing would ever be better.
        let better = !value.is_nan()
            && state.best_metric.is_none_or(|best| if greater { *value > best } else { *value < best });
        if better {
            state.best_metric = Some(*value);
            state.best_step = Some(state.global_step);
            state.evaluations_without_better = 0;
        } else {
            state.evaluations_without_better += 1;
        }
        let patience = self.early_stopping_patience;
        state.stopped_early = patience.is_some_and(|patience| state.evaluations_without_better >= patience);
        let entry = LogEntry {
            step: state.global_step as u64,
            epoch: state.epoch,
            metrics: metrics.into_iter().collect(),
            ..LogEntry::default()
        };
        state.log.push(entry.clone());
        Ok(Some(entry))
    }
}

fn at_step(error: Error, step: usize) -> Error {
    match error {
        Error::NotFinite(message) => Error::NotFinite(format!(
            "step {step}: {message}; lower the learning rate, clip gradients (max_grad_norm), or look for damaged weights"
        )),
        other => other,
    }
}
