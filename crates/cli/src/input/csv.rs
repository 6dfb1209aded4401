//! .csv and .tsv: a header, then a row per text. CSV is quoted as RFC 4180 has it (a field may hold commas, quotes and
//! line feeds); TSV is not quoted (IANA text/tab-separated-values), so a quotation mark there is part of the text.

use anyhow::{Result, anyhow};

use super::{Columns, Origin, Texts, find_columns};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commas and quotes.
    Csv,
    /// Tabs, no quotes.
    Tsv,
}

/// Reads the columns of each row. Blank lines are skipped; a row with too few or too many fields is an error.
pub(super) fn parse(name: &str, text: &str, kind: Kind, columns: Columns<'_>) -> Result<Texts> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if kind == Kind::Csv { b',' } else { b'\t' })
        .quoting(kind == Kind::Csv)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| explain(name, kind, &error))?.clone();
    let present: Vec<&str> = header.iter().collect();
    let (position, shown) = find_columns(name, &present, columns)?;
    let mut found = Texts {
        texts: Vec::new(),
        shown: vec![Vec::new(); shown.len()],
        origin: Origin::Rows(name.to_owned()),
    };
    let mut record = csv::StringRecord::new();
    let mut start = 0;
    while reader
        .read_record(&mut record)
        .map_err(|error| unclosed(name, text, start, kind).unwrap_or_else(|| explain(name, kind, &error)))?
    {
        start = record.position().map_or(0, |position| position.byte() as usize);
        // Every record has the header's number of fields: the reader is not flexible.
        found.texts.push(record[position].to_owned());
        for (&position, values) in shown.iter().zip(&mut found.shown) {
            values.push(record[position].to_owned());
        }
    }
    match unclosed(name, text, start, kind) {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// The header and the rows that `stay`, as they are; none if there are not as many rows.
pub(super) fn without(text: &str, kind: Kind, stay: &[bool]) -> Option<String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if kind == Kind::Csv { b',' } else { b'\t' })
        .quoting(kind == Kind::Csv)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut starts = Vec::with_capacity(stay.len() + 1);
    reader.headers().ok()?;
    while reader.read_record(&mut record).ok()? {
        // The reader may stand before the second half of a line break, or before blank lines: they belong to what was before.
        let start = record.position()?.byte() as usize;
        let breaks = text.get(start..)?.bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        starts.push(start + breaks);
    }
    if starts.len() != stay.len() {
        return None;
    }
    starts.push(text.len());
    let mut left = text.get(..starts[0])?.to_owned();
    for (at, _) in stay.iter().enumerate().filter(|(_, stay)| **stay) {
        if !left.ends_with('\n') {
            left.push('\n');
        }
        left.push_str(text.get(starts[at]..starts[at + 1])?);
    }
    Some(left)
}

/// A quoted field that never ends swallows the rest of the file. The reader takes that for one long field; we do not.
fn unclosed(name: &str, text: &str, start: usize, kind: Kind) -> Option<anyhow::Error> {
    let rest = text.get(start..)?.trim_end();
    let quotes = rest.bytes().filter(|&byte| byte == b'"').count();
    let line = 1 + text[..start].bytes().filter(|&byte| byte == b'\n').count();
    (kind == Kind::Csv && quotes % 2 == 1 && rest.contains('\n')).then(|| {
        anyhow!("{name}: line {line}: a quoted field never ends; close the quotation mark, or double it inside a field")
    })
}

fn explain(name: &str, kind: Kind, error: &csv::Error) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            let advice = match kind {
                Kind::Csv => "put a field that holds a comma in quotation marks",
                Kind::Tsv => "separate the fields by one tab each and keep tabs out of them",
            };
            anyhow!("{name}: line {line}: {len} fields where the header has {expected_len}; {advice}")
        }
        _ => anyhow!("{name}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kind: Kind, column: Option<&str>, shown: &[&str]) -> Result<Texts, String> {
        let shown: Vec<String> = shown.iter().map(|&name| name.to_owned()).collect();
        let columns = Columns { text: column, shown: &shown, option: "--column", ..Default::default() };
        parse("file", text, kind, columns).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_that_stay_are_as_they_were() {
        let text = "id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n2,\r\n\r\n3, d ";
        let stay = |stay: &[bool]| without(text, Kind::Csv, stay);
        assert_eq!(stay(&[true; 3]).unwrap(), text);
        assert_eq!(stay(&[false, true, true]).unwrap(), "id,text\r\n2,\r\n\r\n3, d ");
        assert_eq!(stay(&[true, false, false]).unwrap(), "id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n");
        assert_eq!(stay(&[true; 2]), None);
        assert_eq!(without("a\tb\n1\t\"\n2\t3", Kind::Tsv, &[false, true]).unwrap(), "a\tb\n2\t3");
    }

    #[test]
    fn csv_is_quoted() {
        let text = "id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n2,\r\n3, d \r\n";
        let found = read(text, Kind::Csv, Some("text"), &["id"]).unwrap();
        assert_eq!(found.texts, ["a, \"b\"\nc", "", " d "]);
        assert_eq!(found.shown, [["1", "2", "3"]]);
        assert_eq!(found.origin.place(1), "file: row 2");
    }

    #[test]
    fn tsv_is_not() {
        let found = read("text\tid\n\"a\" b, c\t1\n", Kind::Tsv, Some("text"), &[]).unwrap();
        assert_eq!(found.texts, ["\"a\" b, c"]);
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("a,b\n1,2\n3\n", Some("a"), "file: line 3: 1 fields where the header has 2"),
            ("a,b\n1,2,3\n", Some("a"), "file: line 2: 3 fields"),
            ("a,b\n1,2\n", Some("c"), "no column \"c\"; the columns are \"a\", \"b\""),
            ("a,b\n1,2\n", None, "which column holds the texts? Name it with --column"),
            ("a,a\n1,2\n", Some("a"), "two columns are named \"a\""),
            ("b,a\n1,2\n1,\"x\n3,4\n5,6\n", Some("a"), "line 3: a quoted field never ends"),
            ("b,a\n1,\"x,2\n3,4\n", Some("a"), "line 2: a quoted field never ends"),
        ];
        for (text, column, expected) in cases {
            let message = read(text, Kind::Csv, column, &[]).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
