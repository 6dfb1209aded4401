//! Rows of f32 and what one does with them: similarity, exact search, compression, correlation.
//!
//! Not here: text, tokenizers and networks. The vectors may come from anywhere.

#![forbid(unsafe_code)]

pub mod compress;
pub mod error;
pub mod metrics;
pub mod rows;
pub mod similarity;
pub mod top_k;

pub use error::{Error, Result};
pub use rows::Rows;
pub use similarity::Similarity;
