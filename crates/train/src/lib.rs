//! Fine-tuning of sentence-embedding models: data in the order of sentence-transformers, losses with their gradients,
//! AdamW, checkpoints that survive a kill.
//!
//! Not here: how a gradient of the network is computed (`sentir-compute`), and what a model directory is (`sentir-model`).

#![forbid(unsafe_code)]

pub mod arguments;
pub mod card;
pub mod checkpoint;
pub mod classifier;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod error;
pub mod evaluate;
#[cfg(test)]
mod golden;
pub mod json;
pub mod log;
pub mod lora;
pub mod losses;
pub mod optimizer;
pub mod order;
pub mod page;
mod prepared;
pub mod probe;
pub mod record;
pub mod report;
pub mod samplers;
pub mod schedule;
pub mod scratch;
pub mod step;
pub mod trainer;
pub mod update;

pub use error::{Error, Result};
