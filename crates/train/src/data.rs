//! Training data: columns of texts in the order of their roles, and labels.
//!
//! Not here: the formats of files ([`table`]), and the order in which rows are seen ([`crate::samplers`]).

mod csv;
mod json;
pub mod parquet;
pub mod table;

use std::path::PathBuf;

use ring::digest::{Context, SHA256};
use sentir_vectors::Rows;

use crate::{Error, Result};
use table::{Cells, Column, Table};

/// The names that make a column the label (`DEFAULT_LABEL_COLUMNS` in `sentence_transformers/base/data_collator.py`).
pub const LABEL_NAMES: [&str; 4] = ["label", "labels", "score", "scores"];

/// A column of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumn {
    /// Its name; the role follows from the order of the columns, not from the name.
    pub name: String,
    /// A text per row.
    pub texts: Vec<String>,
}

/// What the loss learns beside the texts: a number per row, or a vector per row.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    name: String,
    width: usize,
    values: Vec<f64>,
}

impl Labels {
    /// Labels of `width` numbers a row, row after row.
    ///
    /// # Errors
    /// If the width is 0, the numbers are no whole rows, or one of them is not finite.
    pub fn new(name: &str, width: usize, values: Vec<f64>) -> Result<Self> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(Error::Argument(format!(
                "labels \"{name}\": {} numbers are no rows of {width}; each row must have as many",
                values.len()
            )));
        }
        if let Some(at) = values.iter().position(|value| !(*value as f32).is_finite()) {
            return Err(Error::Argument(format!(
                "labels \"{name}\", row {}: {} is not a number that f32 can hold; correct or remove the row",
                at / width + 1,
                values[at]
            )));
        }
        Ok(Self { name: name.to_owned(), width, values })
    }

    /// The name of the column.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, row after row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Some rows in f32, `[rows, width]`, as a loss takes them.
    ///
    /// # Errors
    /// If there are no such rows.
    pub fn rows(&self, rows: &[u32]) -> Result<Rows> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            let start = row as usize * self.width;
            let found = self.values.get(start..start + self.width).ok_or_else(|| {
                Error::Argument(format!("labels \"{}\" have no row {row}, counted from 0", self.name))
            })?;
            values.extend(found.iter().map(|&value| value as f32));
        }
        Ok(Rows::new(values, self.width)?)
    }
}

/// A set of rows to train on or to evaluate with.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name, for messages, prompts by data set, and the model card.
    pub name: String,
    /// The texts, in the order of their roles: anchor, positive, negatives.
    pub columns: Vec<TextColumn>,
    /// The labels, if there are any.
    pub labels: Option<Labels>,
}

impl Dataset {
    /// Puts columns together.
    ///
    /// # Errors
    /// If there is no column of texts, if two have the same name, or if they differ in length.
    pub fn new(name: &str, columns: Vec<TextColumn>, labels: Option<Labels>) -> Result<Self> {
        let Some(first) = columns.first() else {
            return Err(Error::Argument(format!(
                "data set \"{name}\": no column of texts; it must have one"
            )));
        };
        let rows = first.texts.len();
        let lengths = (columns.iter().map(|column| (&column.name, column.texts.len())))
            .chain(labels.iter().map(|labels| (&labels.name, labels.values.len() / labels.width)));
        for (at, (column, length)) in lengths.enumerate() {
            if length != rows {
                return Err(Error::Argument(format!(
                    "data set \"{name}\": {length} rows in column \"{column}\" and {rows} in \"{}\"; \
                     each column must have a value for each row",
                    first.name
                )));
            }
            if columns.iter().take(at).any(|other| other.name == *column) {
                return Err(Error::Argument(format!(
                    "data set \"{name}\": two columns are named \"{column}\"; rename one of them"
                )));
            }
        }
        Ok(Self { name: name.to_owned(), columns, labels })
    }

    /// Reads one or several files (.jsonl, .ndjson, .json, .csv, .tsv, .parquet), which must have the same columns, one after the other.
    ///
    /// `columns` chooses columns and their order; without it all columns are taken, in the order of the first file. A column with one of
    /// [`LABEL_NAMES`] is the label: a number a row, or a list of numbers a row (in .csv and .tsv, `[0.1, 0.2]`). All others are texts.
    ///
    /// # Errors
    /// If a file cannot be read, is empty, lacks a column (the message lists those that there are), or has a row that does not fit; with the
    /// file and the row.
    pub fn read(name: &str, paths: &[PathBuf], columns: Option<&[String]>) -> Result<Self> {
        let mut paths = paths.iter();
        let first = paths
            .next()
            .ok_or_else(|| Error::Argument(format!("data set \"{name}\": no file; name at least one")))?;
        let mut table = table::read(first, columns)?;
        for path in paths {
            let wanted: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
            let next = table::read(path, columns)?;
            if let Some(column) = next.columns.iter().find(|column| !wanted.contains(&column.name)) {
                return Err(table::error(
                    path,
                    None,
                    format!(
                        "a column \"{}\" that {} does not have; files of one data set must have the same columns, \
                         or choose columns with --columns",
                        column.name,
                        first.display()
                    ),
                ));
            }
            table.append(next, path)?;
        }
        Self::from_table(name, table, first)
    }

    fn from_table(name: &str, table: Table, path: &std::path::Path) -> Result<Self> {
        let mut texts = Vec::new();
        let mut labels: Option<Labels> = None;
        for Column { name, cells } in table.columns {
            match cells {
                Cells::Texts(values) => texts.push(TextColumn { name, texts: values }),
                Cells::Numbers { width, values } => {
                    if let Some(other) = &labels {
                        return Err(table::error(
                            path,
                            None,
                            format!(
                                "two columns are labels, \"{}\" and \"{name}\"; choose with --columns",
                                other.name
                            ),
                        ));
                    }
                    labels = Some(
                        Labels::new(&name, width, values)
                            .map_err(|error| table::error(path, None, error.to_string()))?,
                    );
                }
            }
        }
        if texts.is_empty() {
            return Err(table::error(
                path,
                None,
                "no column of texts, only labels; choose columns with --columns".into(),
            ));
        }
        Self::new(name, texts, labels)
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| column.texts.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The SHA-256 of the content, in hexadecimal, for the record: of each column of texts, then of the labels, the name, the number of
    /// rows and the values. Names and texts stand in UTF-8 behind their length in bytes; labels follow the width, each an f64; lengths and
    /// numbers are 8 bytes, little-endian. So it depends neither on the format of the files nor on how they were cut.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut digest = Context::new(&SHA256);
        let number = |digest: &mut Context, value: usize| digest.update(&(value as u64).to_le_bytes());
        let text = |digest: &mut Context, value: &str| {
            number(digest, value.len());
            digest.update(value.as_bytes());
        };
        for column in &self.columns {
            text(&mut digest, &column.name);
            number(&mut digest, column.texts.len());
            column.texts.iter().for_each(|value| text(&mut digest, value));
        }
        if let Some(labels) = &self.labels {
            text(&mut digest, &labels.name);
            number(&mut digest, labels.values.len() / labels.width);
            number(&mut digest, labels.width);
            labels.values.iter().for_each(|value| digest.update(&value.to_le_bytes()));
        }
        digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests;
