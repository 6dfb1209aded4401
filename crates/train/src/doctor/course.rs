//! The course of a training in numbers: batches, updates, learning rates; and arguments that do not do what they seem to do.

use serde::Serialize;

use super::{Case, Finding, Severity, of};
use crate::samplers::{Batch, BatchSampler};
use crate::schedule::{SchedulerType, Updates};

/// Trainings of fewer updates hardly change a model.
const FEW_UPDATES: usize = 10;
/// Rates above this one destroy a pretrained transformer.
const HIGH_RATE: f64 = 1e-3;

/// The learning rate at a point of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// How much of the training is over.
    pub percent: usize,
    /// The update, from 1.
    pub update: usize,
    /// Its rate.
    pub learning_rate: f64,
}

/// How long a training is, and its learning rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Course {
    /// Batches that each epoch is announced with, from which updates are counted.
    pub batches_per_epoch: usize,
    /// Batches that the first epoch really has.
    pub batches_in_first_epoch: usize,
    /// Rows that the first epoch trains on.
    pub rows_in_first_epoch: usize,
    /// Updates in an epoch.
    pub updates_per_epoch: usize,
    /// Updates of the whole training.
    pub updates: usize,
    /// Epochs that are begun.
    pub epochs: usize,
    /// Updates during which the rate grows.
    pub warmup: usize,
    /// The highest rate of all updates.
    pub highest_rate: f64,
    /// The rate at 0, 10, … 100 % of the updates.
    pub rates: Vec<Rate>,
}

impl Course {
    pub(super) fn new(case: Case<'_>, batches: usize, epoch: &[Batch]) -> Self {
        let arguments = case.arguments;
        let accumulation = arguments.gradient_accumulation_steps;
        let updates =
            Updates::new(batches, accumulation, arguments.num_train_epochs, arguments.max_updates());
        let total = updates.total;
        let schedule = case.preset.schedule(arguments, case.datasets, total);
        let last = total.saturating_sub(1);
        let rate = |percent: usize| {
            // Not percent · total: that need not fit.
            let update = ((percent as f64 / 100.0 * total as f64) as usize).min(last);
            Rate { percent, update: update + 1, learning_rate: schedule.rate(update) }
        };
        // Rates rise until the warm-up is over, and never after it.
        let highest = if schedule.kind == SchedulerType::Constant { 0 } else { schedule.warmup.min(last) };
        Self {
            batches_per_epoch: batches,
            batches_in_first_epoch: epoch.len(),
            rows_in_first_epoch: epoch.iter().map(|batch| batch.rows.len()).sum(),
            updates_per_epoch: updates.per_epoch,
            updates: total,
            epochs: updates.epochs,
            warmup: schedule.warmup,
            highest_rate: schedule.rate(highest),
            rates: (0..=100).step_by(10).map(rate).collect(),
        }
    }
}

/// Arguments that are wrong by themselves.
pub(super) fn check_arguments(case: Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = case.arguments.check() {
        let advice = "Correct the argument.";
        findings.push(Finding::new("arguments", Severity::Error, error.to_string(), advice));
    }
    let rate = case.arguments.learning_rate;
    if rate == 0.0 {
        let message = "the learning rate is 0: nothing is learned".to_owned();
        let advice = "Set learning_rate; 2e-5 to 5e-5 is usual.";
        findings.push(Finding::new("learning_rate", Severity::Warning, message, advice));
    } else if rate > HIGH_RATE && case.model.layers() > 0 {
        let message = format!("the learning rate is {rate:e}, which destroys what a transformer has learned");
        let advice =
            "Set learning_rate; 2e-5 to 5e-5 is usual, and rates beyond 1e-3 are for models without layers.";
        findings.push(Finding::new("learning_rate", Severity::Warning, message, advice));
    }
    findings
}

/// What the course of the training shows.
pub(super) fn check(case: Case<'_>, course: &Course) -> Vec<Finding> {
    let arguments = case.arguments;
    let mut findings = Vec::new();
    let mut warn = |code, message, advice: String| {
        findings.push(Finding::new(code, Severity::Warning, message, advice));
    };
    let size = arguments.per_device_train_batch_size;
    let in_batch = case.loss.in_batch_negatives();
    for dataset in case.datasets.iter().filter(|dataset| dataset.len() < size) {
        let message = format!(
            "a batch of {size} is larger than \"{}\" with {}",
            dataset.name,
            of(dataset.len(), "row")
        );
        let advice = format!("Set per_device_train_batch_size to {} or less.", dataset.len());
        warn("large_batch", message, advice);
    }
    if size == 1 && in_batch && case.datasets.iter().any(|dataset| dataset.columns.len() == 2) {
        let message =
            format!("{} learns from the other rows of a batch, but a batch has one row", case.loss.name());
        let advice = "Set per_device_train_batch_size as high as memory allows.".to_owned();
        warn("small_batches", message, advice);
    }
    let missing = course.batches_per_epoch.saturating_sub(course.batches_in_first_epoch);
    let rows: usize = case.datasets.iter().map(crate::data::Dataset::len).sum();
    if arguments.batch_sampler == BatchSampler::NoDuplicates
        && (missing > 0 || course.rows_in_first_epoch * 2 < rows)
    {
        let message = format!(
            "no_duplicates keeps so many equal texts apart that an epoch has {} of {}, and {} of {rows}",
            course.batches_in_first_epoch,
            of(course.batches_per_epoch, "batch"),
            of(course.rows_in_first_epoch, "row")
        );
        let advice = "Leave repetitions out, or set per_device_train_batch_size lower.".to_owned();
        warn("small_batches", message, advice);
    }
    let accumulation = arguments.gradient_accumulation_steps;
    if accumulation > 1 && in_batch {
        let message = format!(
            "gradient_accumulation_steps {accumulation} adds no negatives: a row is compared with the {} others of its batch, not \
             with those of all {}",
            size - 1,
            of(accumulation, "batch")
        );
        let wanted = size.saturating_mul(accumulation);
        let advice = if case.loss.cached().is_some() {
            format!(
                "Set per_device_train_batch_size to {wanted} and leave accumulation out: the memory stays that of a mini-batch."
            )
        } else {
            format!(
                "Take the cached form of the loss with per_device_train_batch_size {wanted}: it has all negatives with the memory of a \
                 mini-batch."
            )
        };
        warn("accumulation", message, advice);
    }
    let (warmup, total) = (course.warmup, course.updates);
    if warmup >= total && arguments.lr_scheduler_type != SchedulerType::Constant && total > 0 {
        let message = format!(
            "a warm-up of {} in a training of {total} is never over: the learning rate reaches {:.3e} of {:.3e}",
            of(warmup, "update"),
            course.highest_rate,
            arguments.learning_rate
        );
        let advice = "Set warmup_steps to 0.1, a tenth of the training, or train longer.".to_owned();
        warn("warmup", message, advice);
    }
    if total < FEW_UPDATES {
        let message = format!("{} in all, which hardly changes a model", of(total, "update"));
        let advice =
            "Train for more epochs (num_train_epochs), in smaller batches, or with more data.".to_owned();
        warn("few_updates", message, advice);
    }
    findings
}
