//! Prompts: texts that are put before every text, by name or given.
//! Source: sentence-transformers 6.2, `_resolve_prompt` in `base/model.py`, `encode_query` and `encode_document` in
//! `sentence_transformer/model.py`.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// What the texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Task {
    /// Anything: as `encode` of sentence-transformers.
    #[default]
    Any,
    /// Questions of a search: the prompt `query`, as `encode_query`.
    Query,
    /// What is searched: the first of the prompts `document`, `passage`, `corpus` that the model has, as `encode_document`.
    /// Every model has `document`, if only an empty one.
    Document,
}

/// The prompts of a model. `query` and `document` are always there, empty if the model has none.
#[derive(Debug, Clone)]
pub struct Prompts {
    by_name: BTreeMap<String, String>,
    default: Option<String>,
}

impl Default for Prompts {
    fn default() -> Self {
        let by_name = ["query", "document"].map(|name| (name.to_owned(), String::new())).into();
        Self { by_name, default: None }
    }
}

impl Prompts {
    /// Prompts as stored; a `null` counts as empty. Fails with a message if the default is not among them.
    pub(crate) fn new(
        stored: BTreeMap<String, Option<String>>,
        default: Option<String>,
    ) -> Result<Self, String> {
        let mut prompts = Self::default();
        prompts.by_name.extend(stored.into_iter().map(|(name, prompt)| (name, prompt.unwrap_or_default())));
        if let Some(name) = default.as_ref().filter(|&name| !prompts.by_name.contains_key(name)) {
            return Err(format!(
                "default_prompt_name \"{name}\" is not among the prompts: {}",
                prompts.names()
            ));
        }
        prompts.default = default;
        Ok(prompts)
    }

    /// Name and text of every prompt, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name.iter().map(|(name, prompt)| (name.as_str(), prompt.as_str()))
    }

    /// The name of the prompt that is used where none is asked for.
    pub fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The text to put before every text: `prompt` if given, else the one called `prompt_name`, else that of the task,
    /// else the default, else none.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no prompt `prompt_name`.
    pub fn resolve<'a>(
        &'a self,
        prompt: Option<&'a str>,
        prompt_name: Option<&str>,
        task: Task,
    ) -> Result<&'a str> {
        if let Some(prompt) = prompt {
            return Ok(prompt);
        }
        let of_task: &[&str] = match task {
            Task::Any => &[],
            Task::Query => &["query"],
            Task::Document => &["document", "passage", "corpus"],
        };
        let of_task = of_task.iter().find(|&&name| self.by_name.contains_key(name)).copied();
        let Some(name) = prompt_name.or(of_task).or(self.default.as_deref()) else { return Ok("") };
        self.by_name.get(name).map(String::as_str).ok_or_else(|| {
            Error::Argument(format!("the model has no prompt \"{name}\"; it has {}", self.names()))
        })
    }

    fn names(&self) -> String {
        self.by_name.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_special_wins() {
        let stored = [("query", "q: "), ("passage", "p: ")]
            .map(|(name, prompt)| (name.to_owned(), Some(prompt.to_owned())));
        let prompts = Prompts::new(stored.into(), Some("passage".to_owned())).unwrap();
        let resolve = |prompt, name, task| prompts.resolve(prompt, name, task).map(str::to_owned);
        assert_eq!(resolve(None, None, Task::Any).unwrap(), "p: ");
        assert_eq!(resolve(None, None, Task::Query).unwrap(), "q: ");
        assert_eq!(resolve(None, None, Task::Document).unwrap(), "", "document is there, if empty");
        assert_eq!(resolve(None, Some("passage"), Task::Query).unwrap(), "p: ");
        assert_eq!(resolve(Some("x"), Some("nonsense"), Task::Query).unwrap(), "x");
        let error = resolve(None, Some("nonsense"), Task::Any).unwrap_err().to_string();
        assert_eq!(
            error,
            "the model has no prompt \"nonsense\"; it has \"document\", \"passage\", \"query\""
        );
        assert!(Prompts::new(BTreeMap::new(), Some("x".to_owned())).is_err());
    }
}
