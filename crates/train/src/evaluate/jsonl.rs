//! The files of evaluators: a JSON object a line. Which keys it has is the matter of who reads it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::json::{kind, what_is_wrong};
use crate::{Error, Result};

/// One line of a file.
pub(super) struct Line {
    path: PathBuf,
    /// From 1.
    number: usize,
    object: Map<String, Value>,
}

/// All lines, in order. Empty lines at the end are dropped.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let lines = text.trim_end().lines().enumerate();
    lines.map(|(index, text)| Line::parse(path, index + 1, text)).collect()
}

impl Line {
    fn parse(path: &Path, number: usize, text: &str) -> Result<Self> {
        let wrong = |message| Err(Error::Data { path: path.to_owned(), row: Some(number), message });
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(Self { path: path.to_owned(), number, object }),
            Ok(other) => {
                wrong(format!("{} where an object must be: write {{\"text\": \"...\"}}", kind(&other)))
            }
            Err(error) => {
                let what = what_is_wrong(&error);
                wrong(format!(
                    "column {}: invalid JSON: {what}; a line must be one whole object",
                    error.column()
                ))
            }
        }
    }

    /// An error about this line.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::Data { path: self.path.clone(), row: Some(self.number), message: message.into() }
    }

    fn get(&self, key: &str) -> Result<&Value> {
        self.object.get(key).ok_or_else(|| {
            let keys: Vec<_> = self.object.keys().map(|key| format!("\"{key}\"")).collect();
            let there = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
            self.error(format!("no \"{key}\"; there is {there}"))
        })
    }

    fn other(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.error(format!("\"{key}\" is {} where {expected} must be", kind(value)))
    }

    /// A string.
    pub(super) fn string(&self, key: &str) -> Result<String> {
        match self.get(key)? {
            Value::String(text) => Ok(text.clone()),
            other => Err(self.other(key, other, "a string")),
        }
    }

    /// Strings, or only one that stands for a list.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>> {
        let value = self.get(key)?;
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        let text = |value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| self.other(key, value, "a list of strings"))
        };
        values.iter().map(text).collect()
    }

    /// A finite number.
    pub(super) fn number(&self, key: &str) -> Result<f64> {
        let value = self.get(key)?;
        value.as_f64().ok_or_else(|| self.other(key, value, "a number"))
    }

    /// The name of something: a string, or a whole number as one.
    pub(super) fn id(&self, key: &str) -> Result<String> {
        let value = self.get(key)?;
        id(value).ok_or_else(|| self.other(key, value, "a string or a whole number"))
    }

    /// Names, or only one that stands for a list.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<String>> {
        let value = self.get(key)?;
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        let id =
            |value| id(value).ok_or_else(|| self.other(key, value, "a list of strings or of whole numbers"));
        values.iter().map(id).collect()
    }

    /// Whether it has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// From 1.
    pub(super) fn line_number(&self) -> usize {
        self.number
    }
}

fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
