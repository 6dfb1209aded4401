//! `Pooling`: its config.json in the form of 5.4 and later (`pooling_mode`) and in the older one (a boolean a mode).
//! How a mode is computed stands in `sentir_compute::ops::pool`.

use std::path::Path;

use sentir_compute::ops::PoolingMode;
use serde::Deserialize;

use crate::{Error, Result, json};

/// How the hidden states of a text become one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    /// At least one; their vectors are put side by side.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    pub include_prompt: bool,
}

/// In the order in which the booleans of older releases are put side by side
/// (`_LEGACY_POOLING_MODE_KWARGS` in sentence-transformers' `sentence_transformer/modules/pooling.py`).
pub(crate) const MODES: [(PoolingMode, &str); 6] = [
    (PoolingMode::Cls, "cls"),
    (PoolingMode::Max, "max"),
    (PoolingMode::Mean, "mean"),
    (PoolingMode::MeanSqrtLen, "mean_sqrt_len_tokens"),
    (PoolingMode::WeightedMean, "weightedmean"),
    (PoolingMode::LastToken, "lasttoken"),
];

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
struct Config {
    #[serde(alias = "word_embedding_dimension")]
    embedding_dimension: Option<usize>,
    pooling_mode: Option<OneOrMore>,
    include_prompt: Option<bool>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
}

impl Pooling {
    /// What is used where nothing says how to pool.
    pub(crate) fn only(mode: PoolingMode) -> Self {
        Self { modes: vec![mode], include_prompt: true }
    }

    /// Reads config.json of the module's folder; `width` is that of the hidden states.
    pub(crate) fn load(folder: &Path, width: usize) -> Result<Self> {
        let path = folder.join("config.json");
        let config: Config = json::read(&path)?;
        if let Some(stored) = config.embedding_dimension.filter(|&stored| stored != width) {
            let message =
                format!("it pools states of width {stored}, but those of the transformer have {width}");
            return Err(Error::invalid(&path, message));
        }
        let mode = |name: &String| {
            MODES.iter().find(|(_, known)| known == name).map(|(mode, _)| *mode).ok_or_else(|| {
                let known = MODES.map(|(_, name)| name).join(", ");
                Error::invalid(&path, format!("pooling_mode \"{name}\" is not known; known are {known}"))
            })
        };
        let modes = match &config.pooling_mode {
            Some(OneOrMore::One(name)) => vec![mode(name)?],
            Some(OneOrMore::More(names)) => names.iter().map(mode).collect::<Result<_>>()?,
            None => {
                let booleans = [
                    config.pooling_mode_cls_token,
                    config.pooling_mode_max_tokens,
                    config.pooling_mode_mean_tokens,
                    config.pooling_mode_mean_sqrt_len_tokens,
                    config.pooling_mode_weightedmean_tokens,
                    config.pooling_mode_lasttoken,
                ];
                let modes: Vec<PoolingMode> =
                    MODES.iter().zip(booleans).filter(|(_, on)| *on).map(|((mode, _), _)| *mode).collect();
                if modes.is_empty() { vec![PoolingMode::Mean] } else { modes }
            }
        };
        if modes.is_empty() {
            return Err(Error::invalid(&path, "pooling_mode is an empty list; at least one mode is needed"));
        }
        Ok(Self { modes, include_prompt: config.include_prompt.unwrap_or(true) })
    }
}

/// The names of modes, as sentence-transformers has them.
pub(crate) fn mode_names(modes: &[PoolingMode]) -> Vec<&'static str> {
    let name = |mode| MODES.iter().find(|(known, _)| known == mode).map_or("", |(_, name)| *name);
    modes.iter().map(name).collect()
}
