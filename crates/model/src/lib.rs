//! Text in, sentence vectors out. A sentence-transformers directory becomes a [`SentenceTransformer`].
//!
//! This crate knows text, tokenizers, files and model families. It does not know how a number is computed
//! (that is `sentir-compute`), and it does not train.

#![forbid(unsafe_code)]

pub mod download;
mod error;
pub mod tokens;
pub mod weights;

pub use error::{Error, Result};
