//! How many updates a training has, and the learning rate of each.
//!
//! Not here: which rows an update sees ([`crate::samplers`]), and what it does ([`crate::optimizer`]).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The course of the learning rate (`lr_scheduler_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerType {
    /// Up from 0 during the warm-up, then down to 0 in a straight line.
    #[default]
    Linear,
    /// Up from 0 during the warm-up, then down to 0 along half a wave of the cosine.
    Cosine,
    /// Always the same, without a warm-up.
    Constant,
    /// Up from 0 during the warm-up, then always the same.
    ConstantWithWarmup,
}

/// The learning rate of each update. Source: `transformers/optimization.py`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The shape.
    pub kind: SchedulerType,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// W, updates during which the rate grows. The first of them has rate 0.
    pub warmup: usize,
    /// T, updates of the training.
    pub total: usize,
}

impl Schedule {
    /// The rate of update k, the first being 0. With k < W it is rate · k / W, then, by kind,
    ///
    /// - linear: rate · max(0, (T − k) / max(1, T − W));
    /// - cosine: rate · max(0, (1 + cos(π (k − W) / max(1, T − W))) / 2);
    /// - constant, also with warm-up: the rate itself.
    #[must_use]
    pub fn rate(&self, update: usize) -> f64 {
        let (k, warmup, total) = (update as f64, self.warmup as f64, self.total as f64);
        let rest = (total - warmup).max(1.0);
        let factor = match self.kind {
            SchedulerType::Constant => 1.0,
            _ if update < self.warmup => k / warmup,
            SchedulerType::ConstantWithWarmup => 1.0,
            SchedulerType::Linear => ((total - k) / rest).max(0.0),
            SchedulerType::Cosine => (0.5 * (1.0 + (PI * ((k - warmup) / rest)).cos())).max(0.0),
        };
        self.learning_rate * factor
    }
}

/// The updates of a warm-up: `warmup` itself if it is at least 1, else that part of `total`, rounded up.
///
/// Source: `TrainingArguments.get_warmup_steps` of transformers 5, which takes a `warmup_ratio` as such a part if `warmup_steps` is 0.
#[must_use]
pub fn warmup_updates(warmup: f64, total: usize) -> usize {
    // A conversion to an integer cuts, and a negative number becomes 0.
    if warmup >= 1.0 { warmup as usize } else { (total as f64 * warmup).ceil() as usize }
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Updates {
    /// Updates in a whole epoch.
    pub per_epoch: usize,
    /// All updates.
    pub total: usize,
    /// Epochs that are begun; the last may not be finished.
    pub epochs: usize,
}

impl Updates {
    /// Counts as `Trainer.set_initial_training_values` of transformers 5: an epoch of `batches` has ⌈batches / accumulation⌉ updates (4.44
    /// rounded down), a training ⌈epochs · that⌉, or `max_steps` if it is given.
    #[must_use]
    pub fn new(batches: usize, accumulation: usize, epochs: f64, max_steps: Option<usize>) -> Self {
        let per_epoch = batches.div_ceil(accumulation.max(1)).max(1);
        match max_steps {
            Some(total) => Self { per_epoch, total, epochs: total.div_ceil(per_epoch) },
            None => Self {
                per_epoch,
                total: (epochs * per_epoch as f64).ceil() as usize,
                epochs: epochs.ceil() as usize,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn rates_are_those_of_transformers() {
        let golden = golden::read("optimizer.json");
        let cases = golden["schedules"].as_array().unwrap();
        assert_eq!(cases.len(), 32);
        for case in cases {
            let total = case["total"].as_u64().unwrap() as usize;
            let warmup = warmup_updates(case["warmup"].as_f64().unwrap(), total);
            assert_eq!(warmup as u64, case["warmup_steps"].as_u64().unwrap());
            let kind = serde_json::from_value(case["kind"].clone()).unwrap();
            let schedule = Schedule { kind, learning_rate: 5e-5, warmup, total };
            let pairs = case["at"].as_array().unwrap().iter().zip(case["rates"].as_array().unwrap());
            for (at, expected) in pairs {
                let (at, expected) = (at.as_u64().unwrap() as usize, expected.as_f64().unwrap());
                let found = schedule.rate(at);
                assert!(
                    (found - expected).abs() <= 1e-15 * 5e-5,
                    "{schedule:?}, update {at}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn updates_are_those_of_the_trainer() {
        let golden = golden::read("optimizer.json");
        let cases = golden["updates"].as_array().unwrap();
        assert_eq!(cases.len(), 72);
        for case in cases {
            let get = |name: &str| case[name].as_u64().unwrap() as usize;
            let max_steps = usize::try_from(case["max_steps"].as_i64().unwrap()).ok();
            let epochs = case["epochs"].as_f64().unwrap();
            let found = Updates::new(get("batches"), get("accumulation"), epochs, max_steps);
            let expected = Updates {
                per_epoch: get("updates_per_epoch"),
                total: get("updates"),
                epochs: get("epochs_begun"),
            };
            assert_eq!(found, expected, "{case}");
        }
    }
}
