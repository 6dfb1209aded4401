//! `Transformer`: the encoder with its tokenizer, and how many tokens of a text it reads.
//! Source: sentence-transformers 6.2, `base/modules/transformer.py`.

use std::path::Path;

use sentir_compute::Backend;
use serde::Deserialize;
use serde_json::Value;

use crate::encoder::Encoder;
use crate::families::TransformerConfig;
use crate::tokens::Tokenizer;
use crate::weights::Weights;
use crate::{Error, LoadOptions, Result, json};

/// An encoder and its tokenizer.
#[derive(Debug)]
pub(crate) struct Transformer {
    pub tokenizer: Tokenizer,
    pub encoder: Encoder,
    /// The family's name in config.json: `bert`, `xlm-roberta`.
    pub model_type: String,
    /// Whether its origin is a causal language model, which is pooled by the last token unless something else is said.
    pub causal: bool,
    /// Whether texts are lower-cased before all else (`do_lower_case`).
    pub lower_case: bool,
}

/// sentence_bert_config.json.
#[derive(Default, Deserialize)]
struct Settings {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
    #[serde(alias = "tokenizer_args")]
    processor_kwargs: Option<Value>,
    processing_kwargs: Option<Value>,
    query_length: Option<usize>,
    document_length: Option<usize>,
    query_expansion: Option<Value>,
}

/// Names that the file had in older releases; the first that is there counts.
const SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

impl Transformer {
    /// Loads from a folder. `saved` says that sentence-transformers wrote it, so that its own settings count;
    /// `options` are what the user asks for. What was adjusted is added to `notices`.
    pub(crate) fn load(
        folder: &Path,
        saved: bool,
        options: &LoadOptions<'_>,
        backend: &dyn Backend,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        let config_path = folder.join("config.json");
        let config: TransformerConfig = json::read(&config_path)?;
        let (family, shape) = config.translate(&config_path)?;
        let settings = if saved { settings(folder)? } else { Settings::default() };

        // Tokenizer and weights have nothing to do with each other: a large model waits for one, a small one for both.
        let load_tokenizer = || Tokenizer::load(folder, settings.do_lower_case.unwrap_or(false));
        let load_encoder = || {
            let weights = Weights::open(folder)?;
            Encoder::load(&weights, &family.names, shape, options.dtype, options.trainable, backend)
        };
        let (tokenizer, encoder) = rayon::join(load_tokenizer, load_encoder);
        let (mut tokenizer, encoder) = (tokenizer?, encoder?);

        let usable = encoder.shape.usable_positions();
        let (wanted, source) = match options.max_seq_length {
            Some(length) => (Some(length), "max_seq_length"),
            None => wanted_length(&settings, &tokenizer, encoder.shape.positions),
        };
        let length = wanted.map_or(usable, |wanted| wanted.min(usable));
        if let Some(wanted) = wanted.filter(|&wanted| wanted > usable) {
            let positions = encoder.shape.positions;
            notices.push(format!(
                "{source} is {wanted}, but the model's {positions} positions are enough for {usable} tokens; using {usable}"
            ));
        }
        tokenizer.set_max_length(Some(length))?;
        let causal = config.is_causal_language_model();
        let lower_case = settings.do_lower_case.unwrap_or(false);
        Ok(Self { tokenizer, encoder, model_type: config.model_type.unwrap_or_default(), causal, lower_case })
    }
}

/// The stored limit, else that of the tokenizer, but not above the size of the position table. And where it is from.
fn wanted_length(
    settings: &Settings,
    tokenizer: &Tokenizer,
    positions: usize,
) -> (Option<usize>, &'static str) {
    let argument =
        settings.processor_kwargs.as_ref().and_then(|kwargs| kwargs.get("model_max_length")?.as_u64());
    if let Some(length) = argument {
        return (Some(length as usize), "the stored model_max_length");
    }
    if let Some(length) = settings.max_seq_length {
        return (Some(length), "the stored max_seq_length");
    }
    let length = tokenizer.model_max_length().map_or(positions, |length| length.min(positions));
    (Some(length), "max_position_embeddings")
}

/// Reads the first settings file that is there and not empty. What would change the vectors and is not supported is refused.
fn settings(folder: &Path) -> Result<Settings> {
    for name in SETTINGS {
        let path = folder.join(name);
        let Some(value) = json::read_optional::<Value>(&path)? else { continue };
        if value.as_object().is_some_and(|object| object.is_empty()) {
            continue;
        }
        let settings: Settings =
            serde_json::from_value(value).map_err(|error| Error::invalid(&path, error.to_string()))?;
        let filled = |value: &Option<Value>| {
            value.as_ref().is_some_and(|v| !v.is_null() && v.as_object().is_none_or(|o| !o.is_empty()))
        };
        let refused = [
            ("query_length", settings.query_length.is_some()),
            ("document_length", settings.document_length.is_some()),
            ("query_expansion", filled(&settings.query_expansion)),
            ("processing_kwargs", filled(&settings.processing_kwargs)),
        ];
        if let Some((key, _)) = refused.iter().find(|(_, refused)| *refused) {
            return Err(Error::invalid(
                &path,
                format!("\"{key}\" is not supported; without it, the vectors would not be the model's"),
            ));
        }
        return Ok(settings);
    }
    Ok(Settings::default())
}
