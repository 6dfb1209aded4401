//! config_sentence_transformers.json: prompts, similarity function, dimension, and what release wrote the model.

use std::collections::BTreeMap;
use std::path::Path;

use sentir_vectors::similarity::Similarity;
use serde::Deserialize;
use serde_json::Value;

use crate::prompts::Prompts;
use crate::{Error, Result, json};

/// The settings of a whole model.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub prompts: Prompts,
    pub similarity: Similarity,
    pub truncate_dim: Option<usize>,
}

/// The release whose behavior this crate has.
const RELEASE: (u32, u32) = (6, 2);

/// The file as it is.
#[derive(Default, Deserialize)]
pub(crate) struct File {
    #[serde(default, rename = "__version__")]
    version: BTreeMap<String, Value>,
    #[serde(default)]
    prompts: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
    #[serde(default)]
    similarity_fn_name: Option<String>,
    #[serde(default)]
    truncate_dim: Option<usize>,
    #[serde(default)]
    model_type: Option<String>,
}

impl File {
    /// Reads the file of a model directory; all defaults if there is none.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        Ok(json::read_optional(&directory.join(NAME))?.unwrap_or_default())
    }

    /// Another kind of model than the one of this crate, if it is one: `CrossEncoder`, `SparseEncoder`.
    pub(crate) fn other_model_type(&self) -> Option<&str> {
        self.model_type.as_deref().filter(|&kind| kind != "SentenceTransformer")
    }

    /// Checks the settings. What is unusual is added to `notices`.
    pub(crate) fn settings(self, directory: &Path, notices: &mut Vec<String>) -> Result<Settings> {
        let path = directory.join(NAME);
        let release = self.version.get("sentence_transformers").and_then(Value::as_str);
        if let Some(release) = release.filter(|release| newer(release)) {
            let (major, minor) = RELEASE;
            notices.push(format!(
                "the model was written by sentence-transformers {release}; what came after {major}.{minor} is not known here"
            ));
        }
        let similarity = match self.similarity_fn_name.as_deref() {
            None => Similarity::default(),
            Some(name) => name.parse().unwrap_or_else(|_| {
                notices.push(format!(
                    "the stored similarity function \"{name}\" is not one for sentence vectors; using cosine"
                ));
                Similarity::default()
            }),
        };
        if self.truncate_dim == Some(0) {
            return Err(Error::invalid(&path, "truncate_dim is 0; it must be at least 1"));
        }
        let prompts = Prompts::new(self.prompts.unwrap_or_default(), self.default_prompt_name)
            .map_err(|message| Error::invalid(&path, message))?;
        Ok(Settings { prompts, similarity, truncate_dim: self.truncate_dim })
    }
}

const NAME: &str = "config_sentence_transformers.json";

/// Whether a release `major.minor…` is after [`RELEASE`].
fn newer(release: &str) -> bool {
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) > RELEASE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("2.2.2", false),
            ("6.2.0", false),
            ("6.2.9", false),
            ("6.10.0", true),
            ("10.0", true),
            ("dev", false),
        ] {
            assert_eq!(newer(release), expected, "{release}");
        }
    }
}
