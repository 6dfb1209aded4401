//! An index: vectors, each with an id and an entry, in a directory. It is searched where it lies (nothing is read before it is needed), added
//! to, and deleted from; every search is exact over the vectors that are stored.
//!
//! Not here: how vectors are made. There is no approximate index: [`Store`] is where one would be put.
//!
//! A directory holds `index.json` ([`manifest`]) and segments (`segment.rs`), files that are written once. A change writes new segments, then
//! replaces `index.json`: whoever is killed on the way leaves the old state or the new one.

#![forbid(unsafe_code)]

mod error;
mod index;
pub mod manifest;
mod segment;

pub use error::{Error, Result};
pub use index::{Changed, Index, Settings};
pub use segment::Entry;

use sentir_vectors::Rows;

/// A row that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The id of the row.
    pub id: String,
    /// What is kept with it.
    pub entry: serde_json::Map<String, serde_json::Value>,
    /// The similarity; higher is more alike.
    pub score: f32,
}

/// What a search needs of a collection of vectors, and no more: the seam for engines of other kinds.
pub trait Store {
    /// The `top_k` rows nearest to each of `queries`, best first.
    ///
    /// # Errors
    /// If the vectors are of another width, or cannot be read.
    fn search(&self, queries: &Rows, top_k: usize) -> Result<Vec<Vec<Found>>>;

    /// Adds rows; those whose id is there already are replaced.
    ///
    /// # Errors
    /// If ids come twice, a vector is not finite or of another width, or nothing can be written; nothing is changed then.
    fn upsert(&mut self, entries: &[Entry], vectors: Rows) -> Result<Changed>;

    /// Removes rows by their ids; returns the ids that were not there.
    ///
    /// # Errors
    /// If nothing can be written; nothing is changed then.
    fn delete(&mut self, ids: &[String]) -> Result<Vec<String>>;
}
