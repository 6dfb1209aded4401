//! The log of a training: what was measured at an update, or by an evaluation after one.
//!
//! Not here: the file that it is written to (`checkpoint`), and the page that shows it (`report`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::null_is_nan;

/// One entry. The names are those of `log_history` in the `trainer_state.json` of transformers, which can be read as a list
/// of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogEntry {
    /// Updates so far.
    pub step: u64,
    /// Passes over the data so far, in fractions.
    pub epoch: f64,
    /// The loss of the update, before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The learning rate of the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The L2 norm of all gradients before it was limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Tokens that were read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// How long the update took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Everything else, by name: what an evaluation found. NaN is written as null.
    #[serde(flatten, deserialize_with = "null_is_nan::<BTreeMap<_, _>, _, _>")]
    pub metrics: BTreeMap<String, f64>,
}
