//! YAML as the front matter of a model card needs it: maps, lists, texts, numbers. Texts of users come back from any parser as they
//! were.

use std::fmt::Write as _;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Text(String),
    Number(f64),
    List(Vec<Yaml>),
    Map(Vec<(&'static str, Yaml)>),
}

impl Yaml {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }
}

/// The entries of a map, a line or more each.
pub(super) fn document(entries: &[(&'static str, Yaml)]) -> String {
    let mut out = String::new();
    map(&mut out, entries, 0, false);
    out
}

/// `continued` is a map that begins in a line that has a dash already.
fn map(out: &mut String, entries: &[(&'static str, Yaml)], indent: usize, continued: bool) {
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 || !continued {
            out.push_str(&" ".repeat(indent));
        }
        match value {
            Yaml::List(items) => {
                let _ = writeln!(out, "{key}:{}", if items.is_empty() { " []" } else { "" });
                for item in items {
                    // As PyYAML has it: a list in a map is not indented.
                    let _ = write!(out, "{}- ", " ".repeat(indent));
                    match item {
                        Yaml::Map(entries) => map(out, entries, indent + 2, true),
                        item => scalar(out, item),
                    }
                }
            }
            Yaml::Map(entries) => {
                let _ = writeln!(out, "{key}:");
                map(out, entries, indent + 2, false);
            }
            value => {
                let _ = write!(out, "{key}: ");
                scalar(out, value);
            }
        }
    }
}

fn scalar(out: &mut String, value: &Yaml) {
    match value {
        Yaml::Number(x) if x.is_nan() => out.push_str(".nan"),
        Yaml::Number(x) => out.push_str(&super::python::float(*x)),
        Yaml::Text(text) if is_plain(text) => out.push_str(text),
        Yaml::Text(text) => quoted(out, text),
        Yaml::List(_) | Yaml::Map(_) => unreachable!("lists and maps stand in maps"),
    }
    out.push('\n');
}

/// Whether a text means itself without quotes.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Between double quotes, with escapes for all that is no letter, digit or common sign.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() && (c as u32) < 0xFFFE => out.push(c),
            c if (c as u32) <= 0xFFFF => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08X}", c as u32);
            }
        }
    }
    out.push('"');
}
