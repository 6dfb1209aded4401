//! What errors about lines of JSON say, in the words that all readers of such files share.

use serde_json::Value;

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
