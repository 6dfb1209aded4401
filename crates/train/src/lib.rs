//! Fine-tuning of sentence-embedding models: data in the order of sentence-transformers, losses with their gradients,
//! AdamW, checkpoints that survive a kill.
//!
//! Not here: how a gradient of the network is computed (`sentir-compute`), and what a model directory is (`sentir-model`).

#![forbid(unsafe_code)]

pub mod error;
pub mod evaluate;
pub mod losses;
pub mod report;
pub mod step;

pub use error::{Error, Result};
