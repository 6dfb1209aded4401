//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`: what they say about added and special tokens, lengths and options.
//!
//! The rules are those of `PreTrainedTokenizerBase._from_pretrained` in `tokenization_utils_base.py` of transformers 5.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::{Error, Result, json};

/// The names of special tokens that transformers knows, in the order in which it adds them.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A `model_max_length` above this stands for "no limit" (transformers writes 1e30).
const NO_LIMIT: f64 = 1e15;

/// What the configuration files say.
pub(super) struct Config {
    /// `tokenizer_config.json`, whether it is there or not: for messages.
    pub path: PathBuf,
    /// `tokenizer_class`
    pub class: Option<String>,
    /// Special tokens with a name: those of [`NAMED`] in that order, then others.
    pub named: Vec<(String, AddedToken)>,
    /// Special tokens without a name.
    pub extra: Vec<AddedToken>,
    /// `added_tokens_decoder` by id; `None` if the key is missing, which is not the same as empty.
    pub decoder: Option<Vec<(u32, AddedToken)>>,
    /// `added_tokens.json` by id, which counts where `added_tokens_decoder` is missing.
    pub listed: Vec<(u32, AddedToken)>,
    /// `None`: no limit.
    pub model_max_length: Option<usize>,
    /// `truncation_side` is `left`.
    pub cut_left: Option<bool>,
    options: Map<String, Value>,
}

impl Config {
    /// Reads both files of a directory; each may be missing.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("tokenizer_config.json");
        let mut options: Map<String, Value> = json::read_optional(&path)?.unwrap_or_default();
        let decoder = match options.get("added_tokens_decoder") {
            None => None,
            Some(value) => Some(decoder(&path, value)?),
        };
        if decoder.is_none() {
            let path = directory.join("special_tokens_map.json");
            let map: Map<String, Value> = json::read_optional(&path)?.unwrap_or_default();
            for (key, mut value) in map {
                if let Some(token) = value.as_object_mut() {
                    token.insert("special".to_owned(), true.into());
                }
                options.insert(key, value);
            }
        }
        if options.get("extra_special_tokens").is_none_or(is_empty)
            && let Some(value) = options.remove("additional_special_tokens")
        {
            options.insert("extra_special_tokens".to_owned(), value);
        }
        let mut config = Self {
            class: options.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned),
            named: Vec::new(),
            extra: Vec::new(),
            decoder,
            listed: Vec::new(),
            model_max_length: None,
            cut_left: None,
            options: Map::new(),
            path,
        };
        config.special_tokens(&options)?;
        config.lengths(&options)?;
        config.options = options;
        if config.decoder.is_none() {
            config.listed = config.read_listed(&directory.join("added_tokens.json"))?;
        }
        Ok(config)
    }

    /// A configuration that says nothing.
    pub(super) fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            class: None,
            named: Vec::new(),
            extra: Vec::new(),
            decoder: None,
            listed: Vec::new(),
            model_max_length: None,
            cut_left: None,
            options: Map::new(),
        }
    }

    /// An option that is true or false; `null` counts as missing.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.options.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => {
                Err(Error::invalid(&self.path, format!("\"{name}\" is {other}; it must be true or false")))
            }
        }
    }

    /// The special token of that name.
    pub(super) fn token(&self, name: &str) -> Option<&AddedToken> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, token)| token)
    }

    /// Gives special tokens that are not named the contents that their class has for them.
    pub(super) fn default_tokens(&mut self, defaults: &[(&str, &str)]) {
        for &(name, content) in defaults {
            if self.token(name).is_none() && !self.options.contains_key(name) {
                self.named.push((name.to_owned(), AddedToken::from(content, true)));
            }
        }
        let order = |name: &str| NAMED.iter().position(|known| *known == name).unwrap_or(NAMED.len());
        self.named.sort_by_key(|(name, _)| order(name)); // stable: others stay behind, in their order
    }

    fn special_tokens(&mut self, options: &Map<String, Value>) -> Result<()> {
        let other = |(key, value): &(&String, &Value)| {
            key.ends_with("_token") && !NAMED.contains(&key.as_str()) && value.is_string()
        };
        let others = options.iter().filter(other).map(|(key, _)| key.as_str());
        for name in NAMED.into_iter().chain(others) {
            let Some(value) = options.get(name) else { continue };
            // A flag such as add_bos_token, or null.
            if matches!(value, Value::Null | Value::Bool(_)) {
                continue;
            }
            self.named.push((name.to_owned(), added_token(&self.path, name, value)?));
        }
        match options.get("extra_special_tokens") {
            None | Some(Value::Null) => {}
            Some(Value::Array(tokens)) => {
                for value in tokens {
                    self.extra.push(added_token(&self.path, "extra_special_tokens", value)?);
                }
            }
            Some(Value::Object(tokens)) => {
                for (name, value) in tokens {
                    self.named.push((name.clone(), added_token(&self.path, name, value)?));
                }
            }
            Some(_) => {
                return Err(Error::invalid(&self.path, "\"extra_special_tokens\" must be a list of tokens"));
            }
        }
        Ok(())
    }

    fn read_listed(&self, path: &Path) -> Result<Vec<(u32, AddedToken)>> {
        let ids: BTreeMap<String, u32> = json::read_optional(path)?.unwrap_or_default();
        let named = self.named.iter().map(|(_, token)| token);
        let special: Vec<&str> = named.chain(&self.extra).map(|token| token.content.as_str()).collect();
        let mut tokens: Vec<(u32, AddedToken)> = ids
            .into_iter()
            .map(|(content, id)| {
                (id, AddedToken::from(content.as_str(), special.contains(&content.as_str())))
            })
            .collect();
        tokens.sort_by_key(|(id, _)| *id);
        Ok(tokens)
    }

    fn lengths(&mut self, options: &Map<String, Value>) -> Result<()> {
        for name in ["model_max_length", "max_len"] {
            let Some(value) = options.get(name).filter(|value| !value.is_null()) else { continue };
            let length = value.as_f64().filter(|length| *length >= 1.0).ok_or_else(|| {
                Error::invalid(
                    &self.path,
                    format!("\"{name}\" is {value}; it must be a number of at least 1"),
                )
            })?;
            self.model_max_length = if length > NO_LIMIT { None } else { Some(length as usize) };
            break;
        }
        self.cut_left = match options.get("truncation_side").map(Value::as_str) {
            None => None,
            Some(Some("right")) => Some(false),
            Some(Some("left")) => Some(true),
            Some(_) => {
                return Err(Error::invalid(&self.path, "\"truncation_side\" must be \"right\" or \"left\""));
            }
        };
        Ok(())
    }
}

/// A token as configuration files write it: its content, or an object with content and flags.
pub(super) fn added_token(path: &Path, name: &str, value: &Value) -> Result<AddedToken> {
    let wrong = |what: &str| Error::invalid(path, format!("\"{name}\": {what}"));
    let object = match value {
        Value::String(content) => return Ok(AddedToken::from(content, true)),
        Value::Object(object) => object,
        _ => return Err(wrong("a token must be a string or an object with \"content\"")),
    };
    let content =
        object.get("content").and_then(Value::as_str).ok_or_else(|| wrong("a token without \"content\""))?;
    let flag = |flag: &str| match object.get(flag) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(wrong(&format!("\"{flag}\" must be true or false"))),
    };
    let special = flag("special")?.unwrap_or(false);
    Ok(AddedToken {
        content: content.to_owned(),
        single_word: flag("single_word")?.unwrap_or(false),
        lstrip: flag("lstrip")?.unwrap_or(false),
        rstrip: flag("rstrip")?.unwrap_or(false),
        normalized: flag("normalized")?.unwrap_or(!special),
        special,
    })
}

/// `added_tokens_decoder`, ordered by id.
fn decoder(path: &Path, value: &Value) -> Result<Vec<(u32, AddedToken)>> {
    let name = "added_tokens_decoder";
    let object = value
        .as_object()
        .ok_or_else(|| Error::invalid(path, format!("\"{name}\" must be an object of tokens by id")))?;
    let mut tokens = Vec::with_capacity(object.len());
    for (id, token) in object {
        let id = id
            .parse()
            .map_err(|_| Error::invalid(path, format!("\"{name}\": \"{id}\" is not a token id")))?;
        tokens.push((id, added_token(path, name, token)?));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}
