//! Parameters of a loss by the names of sentence-transformers: read once each, with the default beside the name, so that the
//! list of known ones is always that of the ones that are read.

use serde_json::{Map, Value, json};

use super::Cached;
use crate::{Error, Result};

/// What the user gave, and what was asked for so far.
pub(super) struct Parameters<'a> {
    loss: &'static str,
    given: &'a Map<String, Value>,
    /// Names and defaults in the order of the loss.
    pub(super) known: Vec<(&'static str, Value)>,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(loss: &'static str, given: &'a Map<String, Value>) -> Self {
        Self { loss, given, known: Vec::new() }
    }

    pub(super) fn wrong(&self, name: &str, needs: &str) -> Error {
        let got = self.given.get(name).map_or("nothing".to_owned(), Value::to_string);
        Error::Argument(format!("{}: parameter {name} must be {needs}, not {got}", self.loss))
    }

    /// The value given, if any, which may be null.
    pub(super) fn get(&mut self, name: &'static str, default: Value) -> Option<&'a Value> {
        self.known.push((name, default));
        self.given.get(name)
    }

    pub(super) fn number(&mut self, name: &'static str, default: f64) -> Result<f64> {
        match self.get(name, json!(default)) {
            None => Ok(default),
            Some(value) => {
                value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| self.wrong(name, "a number"))
            }
        }
    }

    pub(super) fn positive(&mut self, name: &'static str, default: f64) -> Result<f64> {
        let number = self.number(name, default)?;
        if number > 0.0 { Ok(number) } else { Err(self.wrong(name, "a positive number")) }
    }

    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Result<bool> {
        match self.get(name, json!(default)) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, "true or false")),
        }
    }

    /// One of `choices`, the first being the default. A name may have the class of its enumeration before it, and upper case.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Result<T> {
        match self.get(name, json!(choices[0].0)) {
            None => Ok(choices[0].1),
            Some(value) => self.one_of(name, value, choices),
        }
    }

    pub(super) fn one_of<T: Copy>(&self, name: &str, value: &Value, choices: &[(&str, T)]) -> Result<T> {
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let found = choices.iter().find(|(choice, _)| !text.is_empty() && last(choice) == last(&text));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            self.wrong(name, &format!("one of {}", names.join(", ")))
        })
    }

    /// A parameter of which only one value is supported, and why.
    pub(super) fn only(&mut self, name: &'static str, value: Value, why: &str) -> Result<()> {
        match self.get(name, value.clone()) {
            Some(given) if *given != value => Err(self.wrong(name, &format!("{value} ({why})"))),
            _ => Ok(()),
        }
    }

    pub(super) fn one_device(&mut self) -> Result<()> {
        self.only("gather_across_devices", json!(false), "there is one device")
    }

    /// `mini_batch_size` and `mini_batch_num_tokens`, for the cached form of a loss.
    pub(super) fn cached(&mut self, cached: bool) -> Result<Option<Cached>> {
        if !cached {
            return Ok(None);
        }
        let count = |parameters: &mut Self, name, default: Option<usize>| {
            let value = match parameters.get(name, json!(default)) {
                None => return Ok(default),
                Some(Value::Null) if default.is_none() => return Ok(None),
                Some(value) => value.as_u64().and_then(|x| usize::try_from(x).ok()).filter(|&x| x > 0),
            };
            value.map(Some).ok_or_else(|| parameters.wrong(name, "a positive whole number"))
        };
        let texts = count(self, "mini_batch_size", Some(32))?.unwrap_or(32);
        let tokens = count(self, "mini_batch_num_tokens", None)?;
        self.only("show_progress_bar", json!(false), "progress is shown by the trainer")?;
        Ok(Some(Cached { texts, tokens }))
    }
}

/// A number as Python prints it if it was written without a point: 5, not 5.0. For parameters whose defaults are such.
pub(super) fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}
