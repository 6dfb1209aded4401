//! Models from scratch: a vocabulary learned from one's own texts and weights drawn at random, written as a directory that
//! [`crate::trainer`] trains and sentence-transformers opens.
//!
//! [`write_static`] is a table of vectors, whose mean over the tokens of a text is its vector; [`train_static`] also trains
//! it, in seconds; [`begin_static`] is for who runs the training. [`write_transformer`] is a small BERT with mean pooling. Not here: training of what was written.

mod initial;
mod static_model;
mod tokenizer;
mod training;
mod transformer;
mod typos;
mod unigram;
mod write;

pub use static_model::{StaticOptions, write_static};
pub use tokenizer::TokenizerOptions;
pub use training::{StaticTraining, begin_static, distinct_texts, train_static};
pub use transformer::{TransformerOptions, write_transformer};

#[cfg(test)]
mod tests;
