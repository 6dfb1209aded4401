//! .txt: one text a line. An empty line is an empty text; the last line may or may not end in a line feed.

use anyhow::{Result, bail};

use super::{Columns, Origin, Texts};

/// Splits at line feeds; a carriage return before one belongs to the line end (files from Windows).
pub(super) fn parse(name: &str, text: &str, columns: Columns<'_>) -> Result<Texts> {
    if let Some(wanted) = columns.text.or(columns.shown.first().map(String::as_str)) {
        bail!(
            "{name}: a .txt file has no columns, so there is no \"{wanted}\"; \
             leave the column out, or use .jsonl, .csv, .tsv or .parquet"
        );
    }
    let texts = text.lines().map(str::to_owned).collect();
    Ok(Texts { texts, shown: Vec::new(), origin: Origin::Lines(name.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_lf_or_crlf() {
        let found = parse("file", "one\r\n\r\n two \nthree\rfour", Columns::default()).unwrap();
        assert_eq!(found.texts, ["one", "", " two ", "three\rfour"]);
        assert_eq!(found.origin.place(2), "file: line 3");
    }

    #[test]
    fn there_are_no_columns() {
        let error = parse("file", "a", Columns { text: Some("question"), ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains("has no columns"));
    }
}
