//! Values as Python writes them: what `str` and `repr` give.

use std::fmt::Write as _;

use serde_json::Value;

/// `str(value)`.
pub(super) fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => repr(value),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) if number.is_f64() => float(number.as_f64().unwrap_or(f64::NAN)),
        Value::Number(number) => number.to_string(),
        Value::String(string) => text(string),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => dict(map.iter().map(|(key, value)| (key.as_str(), value))),
    }
}

/// `repr` of what a text of JSON holds, its keys in the order of the text, which a map would not keep.
pub(super) fn repr_of_json(json: &str) -> String {
    let mut out = String::new();
    // Every second part is inside of quotes; the texts of this program have none within.
    for (i, part) in json.split('"').enumerate() {
        if i > 0 {
            out.push('\'');
        }
        if i % 2 == 1 {
            out.push_str(part);
        } else {
            out += &part.replace("null", "None").replace("true", "True").replace("false", "False");
        }
    }
    out
}

/// `repr` of a dict with these entries.
pub(super) fn dict<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let entries: Vec<String> =
        entries.map(|(key, value)| format!("{}: {}", text(key), repr(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// `repr` of a float: the shortest digits that give it, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let shown = format!("{x:e}");
    let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let plain = x.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// `repr` of a text.
pub(super) fn text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c == ' ' || c.is_alphanumeric() || c.is_ascii_graphic() => out.push(c),
            c if (c as u32) < 0x100 && (c.is_control() || c == '\u{a0}' || c == '\u{ad}') => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            // What Python calls not printable: separators, formats, what is not assigned. Signs and emoji stay.
            c if c.is_whitespace() || c.is_control() || is_format(c) => {
                let _ = if (c as u32) < 0x1_0000 {
                    write!(out, "\\u{:04x}", c as u32)
                } else {
                    write!(out, "\\U{:08x}", c as u32)
                };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Signs without a shape: marks of direction, joiners, the byte order mark.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Expected: what Python 3.11 prints.
    #[test]
    fn values_are_written_as_python_writes_them() {
        let floats = [5e-5, 1e-8, 0.0, 20.0, 0.999, 1e16, 123456789.0, 0.0001, -2.5e-7];
        let shown = ["5e-05", "1e-08", "0.0", "20.0", "0.999", "1e+16", "123456789.0", "0.0001", "-2.5e-07"];
        assert_eq!(floats.map(float), shown);
        assert_eq!(text("it's"), "\"it's\"");
        assert_eq!(text("it's \"x\""), "'it\\'s \"x\"'");
        assert_eq!(text("а\n\\\u{7}\u{200e}🙂"), "'а\\n\\\\\\x07\\u200e🙂'");
        let value = json!({"a": null, "b": [1, 2.0, "x"], "c": true});
        assert_eq!(repr(&value), "{'a': None, 'b': [1, 2.0, 'x'], 'c': True}");
        assert_eq!(str(&json!("no")), "no");
    }
}
