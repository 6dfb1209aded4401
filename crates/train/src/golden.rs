//! Recorded numbers for tests: the files of `golden/`.

use serde_json::Value;

/// The contents of `golden/NAME`.
pub(crate) fn read(name: &str) -> Value {
    let path = format!("{}/../../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}
