//! .jsonl: a JSON object a line, or a JSON string a line. A line is a text, so an empty line among others is an error;
//! empty lines at the end are dropped.

use anyhow::{Result, bail};
use sentir::train::json::{kind, what_is_wrong};
use serde_json::Value;

use super::{Columns, Origin, Texts, listed};

/// Takes `columns.text` of each object; without a name, lines must be strings or objects of one key.
pub(super) fn parse(name: &str, text: &str, columns: Columns<'_>) -> Result<Texts> {
    let mut found = Texts {
        texts: Vec::new(),
        shown: vec![Vec::new(); columns.shown.len()],
        origin: Origin::Lines(name.to_owned()),
    };
    for (index, line) in text.trim_end().lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() {
            bail!(
                "{name}: line {number}: empty; remove it (a line is a text, and results name texts by line)"
            );
        }
        let value: Value = serde_json::from_str(line).map_err(|error| {
            let what = what_is_wrong(&error);
            anyhow::anyhow!(
                "{name}: line {number}, column {}: invalid JSON: {what}; each line must be one whole JSON object or string",
                error.column()
            )
        })?;
        match value {
            Value::String(text) if columns.text.is_none() && columns.shown.is_empty() => {
                found.texts.push(text)
            }
            Value::Object(object) => {
                let keys: Vec<&str> = object.keys().map(String::as_str).collect();
                let key = match columns.text {
                    Some(key) => key,
                    None if keys.len() == 1 => keys[0],
                    None => bail!(
                        "{name}: line {number}: which column holds the texts? Name it with {}; the columns are {}",
                        columns.option,
                        listed(&keys)
                    ),
                };
                let get = |key: &str| match object.get(key) {
                    Some(value) => Ok(value),
                    None => {
                        bail!("{name}: line {number}: no column \"{key}\"; the columns are {}", listed(&keys))
                    }
                };
                match get(key)? {
                    Value::String(text) => found.texts.push(text.clone()),
                    other => bail!(
                        "{name}: line {number}, column \"{key}\": {} where a string must be; \
                         put the text in quotes or choose another column",
                        kind(other)
                    ),
                }
                for (key, values) in columns.shown.iter().zip(&mut found.shown) {
                    values.push(match get(key)? {
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    });
                }
            }
            Value::String(_) => bail!(
                "{name}: line {number}: a plain string has no columns, so there is no \"{}\"; \
                 leave the column out or make each line an object",
                columns.text.or(columns.shown.first().map(String::as_str)).unwrap_or_default()
            ),
            other => bail!(
                "{name}: line {number}: {} where an object or a string must be; write {{\"text\": \"...\"}}",
                kind(&other)
            ),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, column: Option<&str>, shown: &[&str]) -> Result<Texts, String> {
        let shown: Vec<String> = shown.iter().map(|&name| name.to_owned()).collect();
        let columns = Columns { text: column, shown: &shown, option: "--column", ..Default::default() };
        parse("file", text, columns).map_err(|error| error.to_string())
    }

    #[test]
    fn objects_and_strings() {
        let found =
            read("{\"a\": \"x\", \"b\": 1}\r\n{\"b\": [2], \"a\": \"\\u0439\"}\n\n", Some("a"), &["b"])
                .unwrap();
        assert_eq!(found.texts, ["x", "й"]);
        assert_eq!(found.shown, [["1", "[2]"]]);
        assert_eq!(read("\"x\"\n\"\"\n", None, &[]).unwrap().texts, ["x", ""]);
        assert_eq!(read("{\"only\": \"x\"}", None, &[]).unwrap().texts, ["x"]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases: [(&str, Option<&str>, &str); 8] = [
            ("{\"a\": \"x\"}\n{\"a\": }", Some("a"), "file: line 2, column 7: invalid JSON: expected value"),
            ("{\"a\": \"x\"}\n\n{\"a\": \"x\"}", Some("a"), "file: line 2: empty"),
            (
                "{\"a\": \"x\", \"b\": \"y\"}",
                Some("c"),
                "line 1: no column \"c\"; the columns are \"a\", \"b\"",
            ),
            ("{\"a\": \"x\", \"b\": \"y\"}", None, "line 1: which column"),
            ("{\"a\": null}", Some("a"), "line 1, column \"a\": null where a string must be"),
            ("[1]", Some("a"), "line 1: an array where an object or a string must be"),
            ("\"x\"", Some("a"), "line 1: a plain string has no columns"),
            ("{\"a\": \"x\"} trailing", Some("a"), "line 1, column 12: invalid JSON: trailing characters"),
        ];
        for (text, column, expected) in cases {
            let message = read(text, column, &[]).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        // Nested beyond any use: an error, not an overflow of the stack.
        let deep = "[".repeat(100_000);
        assert!(read(&deep, None, &[]).unwrap_err().contains("recursion limit"));
    }
}
