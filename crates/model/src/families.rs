//! Families of encoders: how each writes `config.json` and names its tensors. A family is a translation into
//! [`EncoderShape`] and [`Names`], never an encoder of its own.

mod bert;
mod roberta;

use std::path::Path;

use sentir_compute::Activation;
use sentir_compute::ops::AttentionShape;
use serde::Deserialize;

use crate::shape::{Counting, EncoderShape};
use crate::weights::Weights;
use crate::{Error, Result};

/// A family: which `model_type`s belong to it, and the two translations.
pub(crate) struct Family {
    /// Values of `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// What the tensors are called.
    pub names: Names,
    /// How positions are counted, given the id of the padding token.
    counting: fn(u32) -> Counting,
}

/// The names of an encoder's tensors, each without the prefix of the model and the suffix `.weight` or `.bias`;
/// those of a layer also without `layer` and the number of the layer.
#[derive(Debug)]
pub(crate) struct Names {
    /// In front of everything in checkpoints with a head: `bert.`, `roberta.`.
    pub prefixes: &'static [&'static str],
    pub words: &'static str,
    pub positions: &'static str,
    pub token_types: &'static str,
    pub embeddings_norm: &'static str,
    /// In front of the number of a layer.
    pub layer: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub output_norm: &'static str,
}

impl Names {
    /// The prefix that the names have in these weights.
    pub(crate) fn prefix(&self, weights: &Weights) -> &'static str {
        let holds_words = |prefix: &&&str| weights.contains(&format!("{prefix}{}.weight", self.words));
        self.prefixes.iter().find(holds_words).copied().unwrap_or_default()
    }
}

const FAMILIES: [&Family; 2] = [&bert::FAMILY, &roberta::FAMILY];

/// `config.json` of a transformer, as far as an encoder needs it; names are transformers'.
#[derive(Debug, Deserialize)]
pub(crate) struct TransformerConfig {
    pub model_type: Option<String>,
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
    #[serde(default)]
    pub is_causal: Option<bool>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    vocab_size: Option<usize>,
    pub max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    pad_token_id: Option<u32>,
    hidden_dropout_prob: Option<f64>,
    attention_probs_dropout_prob: Option<f64>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

impl TransformerConfig {
    /// Finds the family and the shape, refusing what sentir's encoder would compute differently.
    pub(crate) fn translate(&self, path: &Path) -> Result<(&'static Family, EncoderShape)> {
        let supported =
            || FAMILIES.iter().flat_map(|family| family.model_types).copied().collect::<Vec<_>>().join(", ");
        let model_type = self.model_type.as_deref().ok_or_else(|| {
            Error::invalid(path, format!("\"model_type\" is missing; supported are {}", supported()))
        })?;
        let family = FAMILIES
            .into_iter()
            .find(|family| family.model_types.contains(&model_type))
            .ok_or_else(|| {
                Error::invalid(
                    path,
                    format!("model_type \"{model_type}\" is not supported; supported are {}", supported()),
                )
            })?;
        if let Some(kind) = self.position_embedding_type.as_deref().filter(|&kind| kind != "absolute") {
            let message = format!("position_embedding_type \"{kind}\" is not supported; \"absolute\" is");
            return Err(Error::invalid(path, message));
        }
        if self.is_decoder {
            return Err(Error::invalid(
                path,
                "is_decoder is true: a decoder is not supported, only encoders are",
            ));
        }
        let size = |name: &str, value: Option<usize>, default: usize| match value.unwrap_or(default) {
            0 => Err(Error::invalid(path, format!("\"{name}\" is 0"))),
            size if size > u32::MAX as usize => {
                Err(Error::invalid(path, format!("\"{name}\" is {size}: too large")))
            }
            size => Ok(size),
        };
        // The defaults are those of transformers' `BertConfig`, which `RobertaConfig` and `XLMRobertaConfig` share.
        let width = size("hidden_size", self.hidden_size, 768)?;
        let heads = size("num_attention_heads", self.num_attention_heads, 12)?;
        if width % heads != 0 {
            let message =
                format!("\"hidden_size\" {width} is not a multiple of \"num_attention_heads\" {heads}");
            return Err(Error::invalid(path, message));
        }
        let epsilon = self.layer_norm_eps.unwrap_or(1e-12);
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(Error::invalid(path, format!("\"layer_norm_eps\" is {epsilon}")));
        }
        let probability = |name: &str, value: Option<f64>| match value.unwrap_or(0.1) {
            p if (0.0..1.0).contains(&p) => Ok(p as f32),
            p => Err(Error::invalid(path, format!("\"{name}\" is {p}; a probability below 1 is expected"))),
        };
        let shape = EncoderShape {
            vocabulary: size("vocab_size", self.vocab_size, 30522)?,
            width,
            layers: size("num_hidden_layers", self.num_hidden_layers, 12)?,
            attention: AttentionShape { heads, head_dim: width / heads },
            feed_forward: size("intermediate_size", self.intermediate_size, 3072)?,
            activation: activation(self.hidden_act.as_deref().unwrap_or("gelu"), path)?,
            epsilon,
            positions: size("max_position_embeddings", self.max_position_embeddings, 512)?,
            counting: (family.counting)(self.pad_token_id.unwrap_or(1)),
            token_types: size("type_vocab_size", self.type_vocab_size, 2)?,
            hidden_dropout: probability("hidden_dropout_prob", self.hidden_dropout_prob)?,
            attention_dropout: probability(
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            )?,
        };
        if shape.usable_positions() == 0 {
            let message = format!("{} positions leave none for a token", shape.positions);
            return Err(Error::invalid(path, message));
        }
        Ok((family, shape))
    }

    /// Whether sentence-transformers pools the last token of this transformer when nothing says how to pool
    /// (`SentenceTransformer._load_default_modules`).
    pub(crate) fn is_causal_language_model(&self) -> bool {
        let first = self.architectures.iter().flatten().next();
        first.is_some_and(|name| name.ends_with("ForCausalLM")) && self.is_causal.unwrap_or(true)
    }
}

/// `hidden_act`, by the names of transformers' `ACT2FN`.
fn activation(name: &str, path: &Path) -> Result<Activation> {
    Ok(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "linear" => Activation::Identity,
        _ => {
            let known =
                "gelu, gelu_new, gelu_pytorch_tanh, gelu_python, relu, silu, swish, tanh, sigmoid, linear";
            return Err(Error::invalid(
                path,
                format!("hidden_act \"{name}\" is not supported; supported are {known}"),
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(config: &str) -> Result<(&'static Family, EncoderShape)> {
        serde_json::from_str::<TransformerConfig>(config).unwrap().translate(Path::new("config.json"))
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_transformers() {
        let (_, bert) = translate(r#"{"model_type": "bert"}"#).unwrap();
        assert_eq!((bert.width, bert.layers, bert.positions, bert.token_types), (768, 12, 512, 2));
        assert_eq!((bert.attention.head_dim, bert.epsilon, bert.activation), (64, 1e-12, Activation::Gelu));
        assert_eq!(bert.counting, Counting::FromZero);
        let (_, xlm) = translate(r#"{"model_type": "xlm-roberta", "max_position_embeddings": 514}"#).unwrap();
        assert_eq!((xlm.counting, xlm.usable_positions()), (Counting::AfterPadding { padding: 1 }, 512));
    }

    #[test]
    fn what_would_be_computed_differently_is_refused() {
        for (config, part) in [
            (r#"{}"#, "\"model_type\" is missing"),
            (
                r#"{"model_type": "t5"}"#,
                "model_type \"t5\" is not supported; supported are bert, roberta, xlm-roberta",
            ),
            (r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#, "relative_key"),
            (r#"{"model_type": "bert", "is_decoder": true}"#, "decoder"),
            (r#"{"model_type": "bert", "hidden_size": 0}"#, "\"hidden_size\" is 0"),
            (r#"{"model_type": "bert", "hidden_size": 100, "num_attention_heads": 7}"#, "not a multiple"),
            (r#"{"model_type": "bert", "hidden_act": "mish"}"#, "hidden_act \"mish\""),
            (r#"{"model_type": "bert", "layer_norm_eps": -1}"#, "layer_norm_eps"),
            (r#"{"model_type": "roberta", "max_position_embeddings": 2}"#, "leave none"),
        ] {
            let message = translate(config).err().unwrap().to_string();
            assert!(message.starts_with("config.json: ") && message.contains(part), "{config}: {message}");
        }
    }
}
