//! Rows of f32 and what one does with them: similarity, exact search, compression, metrics; and BM25, the search without
//! vectors that they are measured against.
//!
//! Not here: tokenizers and networks. The vectors may come from anywhere.
//!
//! ```
//! use sentir_vectors::top_k::{SearchOptions, search};
//! use sentir_vectors::{Rows, Similarity, similarity};
//!
//! let corpus = Rows::new(vec![1.0, 0.0, 0.0, 2.0, 3.0, 3.0], 2)?;
//! let query = Rows::new(vec![0.0, 1.0], 2)?;
//!
//! let found = search(&query, &corpus, &SearchOptions { top_k: 2, ..SearchOptions::default() })?;
//! assert_eq!(found[0].iter().map(|hit| hit.index).collect::<Vec<_>>(), [1, 2]);
//!
//! let scores = similarity::matrix(&query, &corpus, Similarity::Dot)?;
//! assert_eq!(scores.row(0), [0.0, 2.0, 3.0]);
//! # Ok::<(), sentir_vectors::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod bm25;
pub mod classify;
pub mod cluster;
pub mod compress;
pub mod dedup;
pub mod error;
pub mod hard_negatives;
pub mod metrics;
pub mod mine;
pub mod products;
pub mod quantized;
mod random;
pub mod rows;
mod scan;
pub mod similarity;
pub mod top_k;

pub use error::{Error, Result};
pub use rows::Rows;
pub use similarity::Similarity;
