//! .csv and .tsv with a header. CSV is quoted as RFC 4180 has it; TSV is not quoted (IANA text/tab-separated-values). Rows in
//! messages count from 1 below the header.

use std::path::Path;

use serde_json::Value;

use super::table::{Cells, Column, Table, choose, error};
use crate::{Error, Result};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commas and quotes.
    Csv,
    /// Tabs, no quotes.
    Tsv,
}

pub(super) fn read(path: &Path, text: &str, kind: Kind, wanted: Option<&[String]>) -> Result<Table> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if kind == Kind::Csv { b',' } else { b'\t' })
        .quoting(kind == Kind::Csv)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|found| explain(path, kind, 0, &found))?;
    let present: Vec<String> = header.iter().map(str::to_owned).collect();
    let chosen = choose(path, None, &present, wanted)?;
    let mut columns: Vec<Column> = chosen.iter().map(|&at| Column::new(&present[at])).collect();
    let mut record = csv::StringRecord::new();
    let (mut row, mut start) = (0, 0);
    while reader.read_record(&mut record).map_err(|found| {
        unclosed(path, text, start, row, kind).unwrap_or_else(|| explain(path, kind, row + 1, &found))
    })? {
        row += 1;
        start = record.position().map_or(0, |position| position.byte() as usize);
        for (column, &at) in columns.iter_mut().zip(&chosen) {
            // Every record has the header's number of fields: the reader is not flexible.
            let field = &record[at];
            match &mut column.cells {
                Cells::Texts(texts) => texts.push(field.to_owned()),
                Cells::Numbers { .. } => match field.trim().parse() {
                    Ok(number) => column.push_numbers(path, row, &[number])?,
                    Err(_) => {
                        let value = serde_json::from_str(field).unwrap_or_else(|_| Value::from(field));
                        column.push_json(path, row, value)?;
                    }
                },
            }
        }
    }
    match unclosed(path, text, start, row.max(1) - 1, kind) {
        Some(found) => Err(found),
        None => Ok(Table { columns }),
    }
}

/// A quoted field that never ends swallows the rest of the file. The reader takes that for one long field; we do not.
fn unclosed(path: &Path, text: &str, start: usize, row: usize, kind: Kind) -> Option<Error> {
    let rest = text.get(start..)?.trim_end();
    let quotes = rest.bytes().filter(|&byte| byte == b'"').count();
    (kind == Kind::Csv && quotes % 2 == 1 && rest.contains('\n')).then(|| {
        let message = "a quoted field never ends; close the quotation mark, or double it inside a field";
        error(path, Some(row + 1), message.into())
    })
}

fn explain(path: &Path, kind: Kind, row: usize, found: &csv::Error) -> Error {
    match found.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let advice = match kind {
                Kind::Csv => "put a field that holds a comma in quotation marks",
                Kind::Tsv => "separate the fields by one tab each and keep tabs out of them",
            };
            error(path, Some(row), format!("{len} fields where the header has {expected_len}; {advice}"))
        }
        _ => error(path, Some(row), format!("{found}; correct the row")),
    }
}
