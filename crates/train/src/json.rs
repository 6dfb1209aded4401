//! What all readers and writers of JSON here share: the words of errors, and numbers that JSON does not have.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads numbers by name, of which those that were NaN are null: JSON has no other way to write them. `Read` is what the numbers are in before.
pub(crate) fn null_is_nan<'de, Read, Numbers, D>(deserializer: D) -> Result<Numbers, D::Error>
where
    Read: Deserialize<'de> + IntoIterator<Item = (String, Option<f64>)>,
    Numbers: FromIterator<(String, f64)>,
    D: Deserializer<'de>,
{
    let numbers = Read::deserialize(deserializer)?.into_iter();
    Ok(numbers.map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

/// What serde_json found wrong, without the line: it counts lines within the text that it was given, which is always one.
#[must_use]
pub fn what_is_wrong(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}

/// The JSON type of a value, with its article.
#[must_use]
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
