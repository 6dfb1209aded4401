//! Tables in files: one reader for each format, one set of rules for all. Columns of texts, and columns of numbers where the
//! name says that it is a label.
//!
//! Not here: what the columns are for ([`super::Dataset`]).

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use super::{LABEL_NAMES, csv, json, parquet};
use crate::{Error, Result};

/// The columns of one or several files.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// All of the same length.
    pub columns: Vec<Column>,
}

/// A column with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As the file has it.
    pub name: String,
    /// A value per row.
    pub cells: Cells,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Texts.
    Texts(Vec<String>),
    /// Labels: `width` numbers a row, row after row. The width is 0 before the first row.
    Numbers {
        /// Numbers in a row.
        width: usize,
        /// All numbers.
        values: Vec<f64>,
    },
}

/// Reads a file in the format of its extension. `wanted` chooses columns and their order; without it, all in the order of the file.
///
/// # Errors
/// If the file cannot be read, has no rows, lacks a column, or holds a value that is neither a text nor, in a column of labels, a number.
pub fn read(path: &Path, wanted: Option<&[String]>) -> Result<Table> {
    if wanted.is_some_and(<[String]>::is_empty) {
        return Err(Error::Argument("no columns are chosen; name at least one".into()));
    }
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    if !["jsonl", "ndjson", "json", "csv", "tsv", "parquet"].contains(&extension) {
        return Err(error(
            path,
            None,
            "the extension does not tell the format; rename the file to .jsonl, .json, .csv, .tsv or .parquet".into(),
        ));
    }
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(empty(path));
    }
    let table = if extension == "parquet" {
        parquet::read(path, file, wanted)?
    } else {
        drop(file);
        let text = utf8(path, std::fs::read(path).map_err(io)?)?;
        match extension {
            "csv" => csv::read(path, &text, csv::Kind::Csv, wanted)?,
            "tsv" => csv::read(path, &text, csv::Kind::Tsv, wanted)?,
            _ => json::read(path, &text, wanted)?,
        }
    };
    if table.len() == 0 { Err(empty(path)) } else { Ok(table) }
}

impl Table {
    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        match self.columns.first().map(|column| &column.cells) {
            Some(Cells::Texts(texts)) => texts.len(),
            Some(Cells::Numbers { width, values }) => values.len() / (*width).max(1),
            None => 0,
        }
    }

    /// Adds the rows of another file, whose columns may be in another order.
    pub(super) fn append(&mut self, mut other: Self, path: &Path) -> Result<()> {
        let names: Vec<String> = other.columns.iter().map(|column| column.name.clone()).collect();
        for column in &mut self.columns {
            let at = find(path, None, &names, &column.name)?;
            match (
                &mut column.cells,
                std::mem::replace(&mut other.columns[at].cells, Cells::Texts(Vec::new())),
            ) {
                (Cells::Texts(texts), Cells::Texts(more)) => texts.extend(more),
                (Cells::Numbers { width, values }, Cells::Numbers { width: next, values: more })
                    if *width == next =>
                {
                    values.extend(more);
                }
                _ => {
                    let message = format!(
                        "column \"{}\": labels of another length than in the files before; they must be alike in all files",
                        column.name
                    );
                    return Err(error(path, None, message));
                }
            }
        }
        Ok(())
    }
}

impl Column {
    /// An empty column; its name says whether it takes texts or numbers.
    pub(super) fn new(name: &str) -> Self {
        let cells = if LABEL_NAMES.contains(&name) {
            Cells::Numbers { width: 0, values: Vec::new() }
        } else {
            Cells::Texts(Vec::new())
        };
        Self { name: name.to_owned(), cells }
    }

    /// Adds the label of a row. `row` counts from 1, in messages.
    pub(super) fn push_numbers(&mut self, path: &Path, row: usize, numbers: &[f64]) -> Result<()> {
        let name = &self.name;
        let Cells::Numbers { width, values } = &mut self.cells else {
            return Err(error(path, Some(row), format!("column \"{name}\": numbers where a text must be")));
        };
        if values.is_empty() {
            *width = numbers.len();
        }
        if *width != numbers.len() || numbers.is_empty() {
            let message = format!(
                "column \"{name}\": {} numbers where {} must be; each row must have a label of the same length",
                numbers.len(),
                (*width).max(1)
            );
            return Err(error(path, Some(row), message));
        }
        if let Some(number) = numbers.iter().find(|number| !(**number as f32).is_finite()) {
            let message = format!(
                "column \"{name}\": the label {number} is not a finite number; correct or remove the row"
            );
            return Err(error(path, Some(row), message));
        }
        values.extend(numbers);
        Ok(())
    }

    /// Adds a value of JSON: a text, or in a column of labels a number or a list of numbers (true is 1, false is 0).
    pub(super) fn push_json(&mut self, path: &Path, row: usize, value: Value) -> Result<()> {
        match (&mut self.cells, value) {
            (Cells::Texts(texts), Value::String(text)) => texts.push(text),
            (Cells::Texts(_), other) => {
                let message = format!(
                    "column \"{}\": {} where a text must be; put the text in quotes, or choose columns of texts with --columns",
                    self.name,
                    kind(&other)
                );
                return Err(error(path, Some(row), message));
            }
            (Cells::Numbers { .. }, value) => match label(&value) {
                Some(numbers) => self.push_numbers(path, row, &numbers)?,
                None => {
                    let message = format!(
                        "column \"{}\": {} where a label must be, a number or a list of numbers; rename the column if it holds texts",
                        self.name,
                        kind(&value)
                    );
                    return Err(error(path, Some(row), message));
                }
            },
        }
        Ok(())
    }
}

fn label(value: &Value) -> Option<Vec<f64>> {
    let number = |value: &Value| match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        other => other.as_f64(),
    };
    match value {
        Value::Array(values) => values.iter().map(number).collect(),
        other => number(other).map(|value| vec![value]),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The positions of the wanted columns among those of a file; without names, all.
pub(super) fn choose(
    path: &Path,
    row: Option<usize>,
    present: &[String],
    wanted: Option<&[String]>,
) -> Result<Vec<usize>> {
    match wanted {
        Some(wanted) => wanted.iter().map(|name| find(path, row, present, name)).collect(),
        None => present.iter().map(|name| find(path, row, present, name)).collect(),
    }
}

pub(super) fn find(path: &Path, row: Option<usize>, present: &[String], name: &str) -> Result<usize> {
    let mut found = (0..present.len()).filter(|&at| present[at] == name);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => {
            Err(error(path, row, format!("two columns are named \"{name}\"; rename one of them")))
        }
        (None, _) => {
            Err(error(path, row, format!("no column \"{name}\"; the columns are {}", listed(present))))
        }
    }
}

/// `"a", "b"`, and how many more.
fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let quoted: Vec<String> = names.iter().take(MOST).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    quoted.join(", ") + &more
}

pub(super) fn error(path: &Path, row: Option<usize>, message: String) -> Error {
    Error::Data { path: path.to_owned(), row, message }
}

fn empty(path: &Path) -> Error {
    error(path, None, "the file has no rows; it must hold at least one".into())
}

/// Checks UTF-8 and drops a byte order mark.
fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|found| {
        let at = found.utf8_error().valid_up_to();
        let line = 1 + found.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        let message =
            "not valid UTF-8; save the file as UTF-8, for example with `iconv -f WINDOWS-1251 -t UTF-8`";
        error(path, Some(line), message.into())
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
