//! Text in, sentence vectors out. A sentence-transformers directory becomes a [`SentenceTransformer`].
//!
//! This crate knows text, tokenizers, files and model families. It does not know how a number is computed
//! (that is `sentir-compute`), and it does not train.
//!
//! From a directory to a model: [`download`] finds the directory, `settings` and `modules` read what it is made of,
//! `families` translate its configuration into a `shape`, [`weights`] and [`tokens`] read its tensors and its tokenizer.
//! From texts to vectors: [`tokens`], `batch`, `encoder`, `modules`, in the order that `encode` lays down.

#![forbid(unsafe_code)]

mod batch;
pub mod directory;
pub mod download;
mod encode;
mod encoder;
mod error;
mod families;
mod inspect;
mod json;
pub mod layout;
mod modules;
mod packed;
mod parameters;
mod prompts;
mod prune;
mod save;
mod sentence_transformer;
mod settings;
mod shape;
pub mod tokens;
mod training;
mod truncation;
pub mod weights;

pub use encode::{EncodeOptions, Encoded};
pub use error::{Error, Result};
pub use inspect::{Description, ModuleDescription, WeightsDescription};
#[doc(hidden)]
pub use modules::module_folders;
pub use packed::{MatrixError, QuantizeOptions, quantize_model};
pub use parameters::Trainable;
pub use prompts::{Prompts, Task};
pub use prune::{PruneOptions, Pruned, prune_model};
pub use sentence_transformer::{LoadOptions, SentenceTransformer};
pub use sentir_compute::{Isa, WeightType, check_isa, isa};
pub use training::{Parameter, Sizes, TokenizedTexts};
pub use truncation::{Truncation, TruncationReport};
