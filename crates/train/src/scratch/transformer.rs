//! A new transformer: a BERT of chosen size with random weights and mean pooling. What each part of it computes is
//! `sentir-model`'s.

use std::fs;
use std::path::Path;

use sentir_compute::ops::PoolingMode;
use sentir_model::directory::create;
use sentir_model::layout::{pooling_config, write_json, write_modules};
use serde_json::json;

use super::initial::Normal;
use super::tokenizer::{TokenizerOptions, learn};
use super::write::{self, Tensor};
use crate::{Error, Result};

const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// The standard deviation of new matrices: `initializer_range` of `BertConfig`.
const DEVIATION: f64 = 0.02;

/// What a transformer is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransformerOptions {
    /// Its vocabulary; 4000 tokens of at most 16 characters.
    pub tokenizer: TokenizerOptions,
    /// Layers; 2.
    pub layers: usize,
    /// Components of a vector; 128. A multiple of `heads`.
    pub width: usize,
    /// Heads of attention; 4.
    pub heads: usize,
    /// Components between the two matrices of the feed-forward part; 512.
    pub feed_forward: usize,
    /// Tokens of a text that are read, special tokens included; 256.
    pub max_length: usize,
    /// The seed of the weights; 42.
    pub seed: u64,
}

impl Default for TransformerOptions {
    fn default() -> Self {
        Self {
            tokenizer: TokenizerOptions { vocabulary: 4000, longest_piece: 16 },
            layers: 2,
            width: 128,
            heads: 4,
            feed_forward: 512,
            max_length: 256,
            seed: 42,
        }
    }
}

impl TransformerOptions {
    fn check(&self) -> Result<()> {
        let sizes = [
            ("layers", self.layers, 1..=256),
            ("width", self.width, 1..=1 << 14),
            ("heads", self.heads, 1..=1 << 14),
            ("feed_forward", self.feed_forward, 1..=1 << 16),
            ("max_length", self.max_length, 3..=1 << 16),
        ];
        for (name, size, allowed) in sizes {
            if !allowed.contains(&size) {
                let (least, most) = allowed.into_inner();
                return Err(Error::Argument(format!("{name} is {size}; it must be from {least} to {most}")));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            let message = format!(
                "the width, {}, must be a multiple of the number of heads, {}",
                self.width, self.heads
            );
            return Err(Error::Argument(message));
        }
        Ok(())
    }

    /// All tensors of a `BertModel`, by name, shape and contents: matrices are normal with deviation 0.02, biases 0, scales
    /// of norms 1, the row of the padding 0 (`_init_weights` of `PreTrainedModel` in transformers). The pooler is there
    /// because transformers would miss it; sentence vectors do not use it.
    fn tensors(&self, vocabulary: usize) -> Vec<Tensor> {
        let mut normal = Normal::new(self.seed);
        let mut tensors = Vec::new();
        let d = self.width;
        for (name, rows) in [("word", vocabulary), ("position", self.max_length), ("token_type", 2)] {
            let mut values = normal.fill(rows * d, DEVIATION);
            if name == "word" {
                values[..d].fill(0.0);
            }
            tensors.push((format!("embeddings.{name}_embeddings.weight"), vec![rows, d], values));
        }
        let norm = |tensors: &mut Vec<Tensor>, name: &str| {
            tensors.push((format!("{name}.weight"), vec![d], vec![1.0; d]));
            tensors.push((format!("{name}.bias"), vec![d], vec![0.0; d]));
        };
        norm(&mut tensors, "embeddings.LayerNorm");
        let mut linear = |tensors: &mut Vec<Tensor>, name: &str, outputs: usize, inputs: usize| {
            let values = normal.fill(outputs * inputs, DEVIATION);
            tensors.push((format!("{name}.weight"), vec![outputs, inputs], values));
            tensors.push((format!("{name}.bias"), vec![outputs], vec![0.0; outputs]));
        };
        for i in 0..self.layers {
            let layer = format!("encoder.layer.{i}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                linear(&mut tensors, &format!("{layer}.attention.{part}"), d, d);
            }
            norm(&mut tensors, &format!("{layer}.attention.output.LayerNorm"));
            linear(&mut tensors, &format!("{layer}.intermediate.dense"), self.feed_forward, d);
            linear(&mut tensors, &format!("{layer}.output.dense"), d, self.feed_forward);
            norm(&mut tensors, &format!("{layer}.output.LayerNorm"));
        }
        linear(&mut tensors, "pooler.dense", d, d);
        tensors
    }
}

/// Writes a model that is not trained as the new directory `target`, in the layout that sentence-transformers from 2.3 to 6.2
/// opens.
///
/// The tokenizer normalizes and divides as that of a static model does, and puts `[CLS]` and `[SEP]` around a text. The same texts
/// and options give the same files.
///
/// # Errors
/// If `target` exists or cannot be written, if the texts have no characters, or an option is of no use.
pub fn write_transformer<Text: AsRef<str>>(
    texts: &[Text],
    options: &TransformerOptions,
    target: &Path,
) -> Result<()> {
    options.check()?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    create(target, |directory| {
        let token = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
        let special = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let (cls, sep) = (special("[CLS]"), special("[SEP]"));
        let around = json!({
            "type": "TemplateProcessing",
            "single": [cls, sequence("A"), sep],
            "pair": [cls, sequence("A"), sep, sequence("B"), sep],
            "special_tokens": {"[CLS]": token("[CLS]", 2), "[SEP]": token("[SEP]", 3)},
        });
        let (tokenizer, size) = learn(&texts, &options.tokenizer, &SPECIAL, "[UNK]", &around)?;
        let file = |name: &str, value: serde_json::Value| write_json(&directory.join(name), &value);
        file("tokenizer.json", tokenizer)?;
        file(
            "tokenizer_config.json",
            json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": options.max_length,
                "pad_token": "[PAD]",
                "unk_token": "[UNK]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
            }),
        )?;
        file(
            "config.json",
            json!({
                "architectures": ["BertModel"],
                "model_type": "bert",
                "attention_probs_dropout_prob": 0.1,
                "hidden_act": "gelu",
                "hidden_dropout_prob": 0.1,
                "hidden_size": options.width,
                "initializer_range": DEVIATION,
                "intermediate_size": options.feed_forward,
                "layer_norm_eps": 1e-12,
                "max_position_embeddings": options.max_length,
                "num_attention_heads": options.heads,
                "num_hidden_layers": options.layers,
                "pad_token_id": 0,
                "type_vocab_size": 2,
                "vocab_size": size,
            }),
        )?;
        file(
            "sentence_bert_config.json",
            json!({"max_seq_length": options.max_length, "do_lower_case": false}),
        )?;
        write::tensors(&directory.join("model.safetensors"), &options.tensors(size))?;
        let pooling = directory.join("1_Pooling");
        fs::create_dir(&pooling).map_err(|source| Error::Io { path: pooling.clone(), source })?;
        let config = pooling_config(options.width, &[PoolingMode::Mean], true);
        write_json(&pooling.join("config.json"), &config)?;
        write_modules(directory, &[("", "Transformer", ""), ("", "Pooling", "1_Pooling")])?;
        write::settings(directory)
    })
}
