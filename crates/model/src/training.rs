//! What training needs of a model: its parameters by name, texts as tokens, and the way from tokens to vectors that can be
//! walked back. How parameters change is not known here.

use std::path::PathBuf;

use sentir_compute::{Backend, ParameterMut, Pass, Tensor};

use crate::batch::PackedBatch;
use crate::prompts::Task;
use crate::sentence_transformer::Reader;
use crate::shape::Counting;
use crate::{EncodeOptions, Result, SentenceTransformer, Truncation};

/// One parameter of a model.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The folder of the module that it belongs to, inside the model directory.
    pub folder: PathBuf,
    /// The names of its tensors there: several of one shape if their rows are stacked (query, key and value).
    pub names: Vec<String>,
    /// The layer of the encoder that it is in, from 0; none for embeddings and other modules.
    pub layer: Option<usize>,
    /// Its numbers.
    pub values: ParameterMut<'a>,
}

/// Texts as tokens, ready for [`SentenceTransformer::forward`].
#[derive(Debug, Clone, Default)]
pub struct TokenizedTexts {
    /// The tokens of each text, special tokens included.
    pub ids: Vec<Vec<u32>>,
    /// How many of the first tokens of each are the prompt's and not pooled.
    pub skip: usize,
    /// Of each text, how many tokens were cut off because the model does not read that many.
    pub tokens_cut: Vec<usize>,
}

/// The sizes that decide how much memory training takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Layers of the encoder; 0 for a static model.
    pub layers: usize,
    /// Width of the hidden states.
    pub width: usize,
    /// Width inside the feed-forward part of a layer.
    pub feed_forward: usize,
    /// Numbers in all parameters.
    pub parameters: usize,
    /// Of these, numbers in embedding tables.
    pub tables: usize,
    /// Of these, numbers in the parameters of one layer.
    pub per_layer: usize,
    /// Width of the vector of a text.
    pub vector: usize,
    /// The most tokens of a text that the positions are enough for; none if there are no positions.
    pub positions: Option<usize>,
}

impl SentenceTransformer {
    /// The sizes that decide how much memory training takes.
    pub fn sizes(&self) -> Sizes {
        let modules: usize = self.modules.iter().map(|module| module.parameters()).sum();
        match &self.reader {
            Reader::Transformer(transformer, _) => {
                let shape = &transformer.encoder.shape;
                Sizes {
                    layers: shape.layers,
                    width: shape.width,
                    feed_forward: shape.feed_forward,
                    parameters: shape.parameters() + modules,
                    tables: shape.tables(),
                    per_layer: shape.layer_parameters(),
                    vector: self.dimension,
                    positions: Some(shape.usable_positions()),
                }
            }
            Reader::Static(embedding) => {
                let tables = embedding.table.rows() * embedding.table.width();
                Sizes {
                    width: embedding.table.width(),
                    parameters: tables + modules,
                    tables,
                    vector: self.dimension,
                    ..Sizes::default()
                }
            }
        }
    }

    /// The matrices of the first layer of the encoder: the names of their tensors, several if they are stacked into one product, and
    /// the shape `[outputs, inputs]` of each. None without an encoder.
    pub fn layer_matrices(&self) -> Vec<(Vec<String>, [usize; 2])> {
        match &self.reader {
            Reader::Transformer(transformer, _) => transformer.encoder.matrices().into(),
            Reader::Static(_) => Vec::new(),
        }
    }

    /// All parameters, always in the same order. What can be trained depends on [`crate::LoadOptions::trainable`].
    pub fn parameters_mut(&mut self) -> Vec<Parameter<'_>> {
        let folders: Vec<PathBuf> = self
            .listed
            .iter()
            .map(|module| module.folder.strip_prefix(&self.path).unwrap_or(&module.folder).to_owned())
            .collect();
        let mut all = Vec::new();
        let of_reader = match &mut self.reader {
            Reader::Transformer(transformer, _) => {
                for (layer, names, values) in transformer.encoder.parameters_mut() {
                    all.push(Parameter { folder: folders[0].clone(), names, layer, values });
                }
                2
            }
            Reader::Static(embedding) => {
                let (names, values) =
                    (vec![embedding.name.to_owned()], ParameterMut::Table(&mut embedding.table));
                all.push(Parameter { folder: folders[0].clone(), names, layer: None, values });
                1
            }
        };
        for (module, folder) in self.modules.iter_mut().zip(&folders[of_reader..]) {
            for (name, values) in module.parameters_mut() {
                all.push(Parameter { folder: folder.clone(), names: vec![name], layer: None, values });
            }
        }
        all
    }

    /// The device that the model computes on.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Whether training computes each layer of the encoder twice rather than remember what is inside of it: less memory, a
    /// third more time. Off at first; without an encoder it does nothing.
    pub fn set_gradient_checkpointing(&mut self, on: bool) {
        if let Reader::Transformer(transformer, _) = &mut self.reader {
            transformer.encoder.gradient_checkpointing = on;
        }
    }

    /// The probabilities of dropout in training, `[hidden, attention]`, in place of those of config.json.
    pub fn set_dropout(&mut self, [hidden, attention]: [f32; 2]) {
        if let Reader::Transformer(transformer, _) = &mut self.reader {
            transformer.encoder.shape.hidden_dropout = hidden;
            transformer.encoder.shape.attention_dropout = attention;
        }
    }

    /// The probabilities of dropout in training, `[hidden, attention]`; 0 without an encoder.
    pub fn dropout(&self) -> [f32; 2] {
        match &self.reader {
            Reader::Transformer(transformer, _) => {
                [transformer.encoder.shape.hidden_dropout, transformer.encoder.shape.attention_dropout]
            }
            Reader::Static(_) => [0.0; 2],
        }
    }

    /// Number of layers of the encoder; 0 for a static model.
    pub fn layers(&self) -> usize {
        match &self.reader {
            Reader::Transformer(transformer, _) => transformer.encoder.shape.layers,
            Reader::Static(_) => 0,
        }
    }

    /// Tokens of texts with `prompt` before each; what is too long is cut. Prompts that the model was saved with are not used.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode`].
    pub fn tokenize_texts<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        prompt: &str,
    ) -> Result<TokenizedTexts> {
        let options = EncodeOptions {
            prompt: Some(prompt),
            truncation: Truncation::Truncate,
            ..EncodeOptions::default()
        };
        let tokenized = self.tokenize(texts, Task::Any, &options)?;
        Ok(TokenizedTexts {
            ids: tokenized.items.into_iter().map(|item| item.ids).collect(),
            skip: tokenized.skip,
            tokens_cut: tokenized.truncation.tokens_cut,
        })
    }

    /// The vectors of sentences given as tokens with how many of the first are not pooled ([`TokenizedTexts`]),
    /// `[sentences, embedding_dimension]`, computed in one batch in the order given; `truncate_dim` does not apply. Panics for
    /// a token without an embedding.
    pub fn forward<'a, 'ids>(
        &'a self,
        pass: &mut Pass<'a>,
        sentences: impl Iterator<Item = (&'ids [u32], usize)>,
    ) -> Tensor {
        let counting = match &self.reader {
            Reader::Transformer(transformer, _) => transformer.encoder.shape.counting,
            Reader::Static(_) => Counting::FromZero,
        };
        let pooled = self.pool(pass, &PackedBatch::new(sentences, counting));
        self.modules.iter().fold(pooled, |x, module| module.forward(pass, x))
    }

    /// Where in the encoder the first number that is not finite comes up for these sentences; `None` if all are finite.
    pub fn first_not_finite<'ids>(&self, sentences: impl Iterator<Item = &'ids [u32]>) -> Option<String> {
        let Reader::Transformer(transformer, _) = &self.reader else { return None };
        let encoder = &transformer.encoder;
        let batch = PackedBatch::new(sentences.map(|ids| (ids, 0)), encoder.shape.counting);
        encoder.first_not_finite(&mut Pass::inference(&*self.backend), &batch)
    }
}
