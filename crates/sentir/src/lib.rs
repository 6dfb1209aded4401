//! Sentence embeddings end to end: load a sentence-transformers model, encode, compare, search, fine-tune.
//!
//! ```
//! use sentir::{EncodeOptions, SentenceTransformer};
//!
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/bert");
//! // A directory, or the id of a model on the hub: "intfloat/multilingual-e5-large".
//! let model = SentenceTransformer::load(directory)?;
//!
//! let sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
//! let embeddings = model.encode(&sentences, &EncodeOptions::default())?.embeddings;
//! println!("{:?}", embeddings.shape()); // [3, dim]
//! assert_eq!(embeddings.shape(), [3, model.embedding_dimension()]);
//!
//! let similarities = model.similarity(&embeddings, &embeddings)?;
//! println!("{:?}", similarities.shape()); // [3, 3]
//! assert_eq!(similarities.shape(), [3, 3]);
//! # Ok::<(), sentir::Error>(())
//! ```
//!
//! What comes out is what sentence-transformers 6.2 gives for the same directory, to 1e-5 per component; and a text has the
//! same vector, bit for bit, whatever it is encoded together with.
//!
//! Questions and what they are to find can have prompts of their own ([`SentenceTransformer::encode_query`],
//! [`SentenceTransformer::encode_document`]); [`search`] finds the nearest rows:
//!
//! ```
//! use sentir::{EncodeOptions, SearchOptions, SentenceTransformer, search};
//!
//! # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/bert");
//! let model = SentenceTransformer::load(directory)?;
//! let options = EncodeOptions::default();
//! let corpus = model.encode_document(&["How do I upload a video?", "How do I change my password?"], &options)?;
//! let queries = model.encode_query(&["forgot my password"], &options)?;
//! let similarity = model.similarity_function();
//! for hit in &search(&queries.embeddings, &corpus.embeddings, &SearchOptions { similarity, top_k: 1 })?[0] {
//!     println!("row {} with a score of {:.3}", hit.index, hit.score);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Threads are those of rayon's current pool. Nothing is printed; what was adjusted while loading is in
//! [`SentenceTransformer::notices`], what was cut off a text in [`Encoded::truncation`].

#![forbid(unsafe_code)]

pub use sentir_index as index;
pub use sentir_model::{
    Description, EncodeOptions, Encoded, Error, Isa, LoadOptions, MatrixError, ModuleDescription, Prompts,
    PruneOptions, Pruned, QuantizeOptions, Result, SentenceTransformer, Task, Trainable, Truncation,
    TruncationReport, WeightType, WeightsDescription, check_isa, isa, prune_model, quantize_model,
};
pub use sentir_model::{directory, download, tokens};
pub use sentir_train as train;
pub use sentir_vectors::Error as VectorsError;
pub use sentir_vectors::compress::{Embeddings, Precision, Ranges, quantize};
pub use sentir_vectors::top_k::{Hit, SearchOptions, search};
pub use sentir_vectors::{
    Rows, Similarity, classify, cluster, dedup, hard_negatives, metrics, mine, quantized, similarity,
};
