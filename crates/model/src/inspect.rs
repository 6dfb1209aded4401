//! What a loaded model is: for people and for `sentir inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::Result;
use crate::modules::mode_names;
use crate::sentence_transformer::{Reader, SentenceTransformer};
use crate::weights::Weights;

/// Everything that decides how a model encodes, as it is used (not only as the files have it).
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The model directory.
    pub path: PathBuf,
    /// Its modules in the order in which texts go through them.
    pub modules: Vec<ModuleDescription>,
    /// Number of parameters that are used.
    pub parameters: usize,
    /// Components of a vector.
    pub embedding_dimension: usize,
    /// The model's own truncate_dim, if any.
    pub truncate_dim: Option<usize>,
    /// The most tokens of a text that are read. `None`: all.
    pub max_seq_length: Option<usize>,
    /// What the tokenizer is.
    pub tokenizer: String,
    /// The function for comparing vectors.
    pub similarity_fn_name: &'static str,
    /// The prompts, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is used where none is asked for.
    pub default_prompt_name: Option<String>,
    /// What was adjusted or ignored while loading.
    pub notices: Vec<String>,
}

/// One module.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleDescription {
    /// Transformer, Pooling, …
    pub kind: &'static str,
    /// Its folder in the model directory.
    pub folder: PathBuf,
    /// Its settings, for people.
    pub details: String,
    /// Its weights, if it has any.
    pub weights: Option<WeightsDescription>,
}

/// The weights of one module.
#[derive(Debug, Clone, Serialize)]
pub struct WeightsDescription {
    /// The files that hold them.
    pub files: Vec<PathBuf>,
    /// Bytes of all tensors.
    pub bytes: usize,
    /// Number of tensors.
    pub tensors: usize,
    /// How many numbers there are of each type, those that are not used included.
    pub dtypes: BTreeMap<String, usize>,
}

impl SentenceTransformer {
    /// What this model is.
    ///
    /// # Errors
    /// If the weights files are no longer there.
    pub fn describe(&self) -> Result<Description> {
        let mut modules = Vec::new();
        for module in &self.listed {
            let weights = if module.kind.has_weights() {
                Some(describe_weights(&Weights::open(&module.folder)?))
            } else {
                None
            };
            let folder = module.folder.strip_prefix(&self.path).unwrap_or(&module.folder).to_owned();
            modules.push(ModuleDescription {
                kind: module.kind.name(),
                folder,
                details: String::new(),
                weights,
            });
        }
        let details =
            self.reader.details().into_iter().chain(self.modules.iter().map(|module| module.details()));
        modules.iter_mut().zip(details).for_each(|(module, details)| module.details = details);
        let prompts = self.prompts();
        Ok(Description {
            path: self.path.clone(),
            modules,
            parameters: self.reader.parameters()
                + self.modules.iter().map(|module| module.parameters()).sum::<usize>(),
            embedding_dimension: self.embedding_dimension(),
            truncate_dim: self.settings.truncate_dim,
            max_seq_length: self.max_seq_length(),
            tokenizer: self.reader.tokenizer().description(),
            similarity_fn_name: self.similarity_function().name(),
            prompts: prompts.iter().map(|(name, prompt)| (name.to_owned(), prompt.to_owned())).collect(),
            default_prompt_name: prompts.default_name().map(str::to_owned),
            notices: self.notices.clone(),
        })
    }
}

impl Reader {
    /// A line for each of its modules.
    fn details(&self) -> Vec<String> {
        match self {
            Self::Transformer(transformer, pooling) => {
                let shape = &transformer.encoder.shape;
                let encoder = format!(
                    "{}, {} layers, width {}, {} heads, feed-forward {}, {:?}, {} positions, vocabulary {}",
                    transformer.model_type,
                    shape.layers,
                    shape.width,
                    shape.attention.heads,
                    shape.feed_forward,
                    shape.activation,
                    shape.positions,
                    shape.vocabulary
                );
                let prompt = if pooling.include_prompt { "" } else { ", without the prompt" };
                vec![encoder, format!("{}{prompt}", mode_names(&pooling.modes).join(" + "))]
            }
            Self::Static(embedding) => {
                vec![format!(
                    "a table of {} rows of width {}",
                    embedding.table.rows(),
                    embedding.table.width()
                )]
            }
        }
    }

    fn parameters(&self) -> usize {
        match self {
            Self::Transformer(transformer, _) => transformer.encoder.shape.parameters(),
            Self::Static(embedding) => embedding.table.rows() * embedding.table.width(),
        }
    }
}

fn describe_weights(weights: &Weights) -> WeightsDescription {
    let mut dtypes = BTreeMap::new();
    let (mut bytes, mut tensors) = (0, 0);
    for tensor in weights.tensors() {
        *dtypes.entry(tensor.dtype.to_string()).or_insert(0) += tensor.shape.iter().product::<usize>();
        bytes += tensor.bytes();
        tensors += 1;
    }
    WeightsDescription { files: weights.files(), bytes, tensors, dtypes }
}
