//! .parquet without Arrow: columns of strings in whatever encoding and compression, and labels that are numbers or lists of
//! numbers.
//!
//! The parquet library panics on some damaged files (an assertion on the length of a page, for one). Here such a panic is caught and
//! becomes an error like any other; [`reading`] lets a program keep it off the screen.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::table::{Cells, Column, Table, choose, error};
use crate::Result;

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in the parquet library: a panic there is reported as a damaged file, and a panic hook need not print it.
#[must_use]
pub fn reading() -> bool {
    READING.get()
}

/// Records in one go.
const BATCH: usize = 8192;

pub(super) fn read(path: &Path, file: File, wanted: Option<&[String]>) -> Result<Table> {
    READING.set(true);
    // Nothing that the closure touched is used after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| read_trusting(path, file, wanted)));
    READING.set(false);
    result.unwrap_or_else(|_| Err(error(path, None, "the parquet file is damaged; write it again".into())))
}

fn read_trusting(path: &Path, file: File, wanted: Option<&[String]>) -> Result<Table> {
    let reader = SerializedFileReader::new(file).map_err(|found| {
        error(path, None, format!("not a parquet file, or a damaged one: {found}; write it again"))
    })?;
    let schema = reader.metadata().file_metadata().schema_descr();
    // A list is one leaf below its column; a structure has several, and all the same name here, which choosing it reports.
    let present: Vec<String> = schema.columns().iter().map(|leaf| leaf.path().parts()[0].clone()).collect();
    let mut table = Table { columns: Vec::new() };
    for at in choose(path, None, &present, wanted)? {
        let mut column = Column::new(&present[at]);
        let leaf = schema.column(at);
        let numbers = matches!(column.cells, Cells::Numbers { .. });
        check(path, &leaf, numbers, &column.name)?;
        let mut row = 0;
        for group in 0..reader.num_row_groups() {
            let damaged = |found: parquet::errors::ParquetError| {
                error(path, None, format!("column \"{}\": {found}; write the file again", present[at]))
            };
            let group = reader.get_row_group(group).map_err(damaged)?;
            let mut sink = Sink { path, leaf: &leaf, column: &mut column, row: &mut row };
            match group.get_column_reader(at).map_err(damaged)? {
                ColumnReader::ByteArrayColumnReader(reader) if !numbers => sink.texts(reader),
                ColumnReader::BoolColumnReader(reader) => {
                    sink.numbers(reader, |&value| f64::from(u8::from(value)))
                }
                ColumnReader::Int32ColumnReader(reader) => sink.numbers(reader, |&value| f64::from(value)),
                ColumnReader::Int64ColumnReader(reader) => sink.numbers(reader, |&value| value as f64),
                ColumnReader::FloatColumnReader(reader) => sink.numbers(reader, |&value| f64::from(value)),
                ColumnReader::DoubleColumnReader(reader) => sink.numbers(reader, |&value| value),
                _ => Err(error(path, None, format!("column \"{}\": neither texts nor numbers", present[at]))),
            }?;
        }
        table.columns.push(column);
    }
    Ok(table)
}

/// Whether a column can be read as texts or as labels.
fn check(path: &Path, leaf: &ColumnDescriptor, numbers: bool, name: &str) -> Result<()> {
    let (kind, list) = (leaf.physical_type(), leaf.max_rep_level());
    let fits = if numbers {
        list <= 1 && matches!(kind, Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE)
    } else {
        list == 0 && kind == Type::BYTE_ARRAY
    };
    if fits {
        return Ok(());
    }
    let found = if list > 0 { format!("a list of {kind}") } else { kind.to_string() };
    let advice = if numbers {
        "where labels must be, numbers or lists of numbers; rename the column if it holds texts"
    } else {
        "where texts must be; choose columns of strings with --columns"
    };
    Err(error(path, None, format!("column \"{name}\": {found} {advice}")))
}

/// Where the values of a column go.
struct Sink<'a> {
    path: &'a Path,
    leaf: &'a ColumnDescriptor,
    column: &'a mut Column,
    /// Rows that were read, of all row groups.
    row: &'a mut usize,
}

impl Sink<'_> {
    fn texts(&mut self, mut reader: ColumnReaderImpl<parquet::data_type::ByteArrayType>) -> Result<()> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        loop {
            levels.clear();
            values.clear();
            let (records, _, _) = (reader.read_records(BATCH, Some(&mut levels), None, &mut values))
                .map_err(|found| self.damaged(&found))?;
            if records == 0 {
                return Ok(());
            }
            if let Some(null) = levels.iter().position(|&level| level < self.leaf.max_def_level()) {
                return Err(self.null(*self.row + null + 1));
            }
            for value in &values {
                *self.row += 1;
                let text = std::str::from_utf8(value.data()).map_err(|found| {
                    let message =
                        format!("column \"{}\": not valid UTF-8: {found}; write strings", self.column.name);
                    error(self.path, Some(*self.row), message)
                })?;
                if let Cells::Texts(texts) = &mut self.column.cells {
                    texts.push(text.to_owned());
                }
            }
        }
    }

    fn numbers<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        number: impl Fn(&T::T) -> f64,
    ) -> Result<()> {
        let (mut levels, mut starts, mut values) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            levels.clear();
            starts.clear();
            values.clear();
            let (records, _, _) =
                (reader.read_records(BATCH, Some(&mut levels), Some(&mut starts), &mut values))
                    .map_err(|found| self.damaged(&found))?;
            if records == 0 {
                return Ok(());
            }
            if levels.iter().any(|&level| level < self.leaf.max_def_level()) {
                return Err(self.null(*self.row + 1));
            }
            let numbers: Vec<f64> = values.iter().map(&number).collect();
            if self.leaf.max_rep_level() == 0 {
                for &number in &numbers {
                    *self.row += 1;
                    self.column.push_numbers(self.path, *self.row, &[number])?;
                }
                continue;
            }
            // A row begins where the level of repetition is 0.
            let mut begin = 0;
            for end in 1..=numbers.len() {
                if starts.get(end).is_none_or(|&level| level == 0) {
                    *self.row += 1;
                    self.column.push_numbers(self.path, *self.row, &numbers[begin..end])?;
                    begin = end;
                }
            }
        }
    }

    fn damaged(&self, found: &parquet::errors::ParquetError) -> crate::Error {
        error(self.path, None, format!("column \"{}\": {found}; write the file again", self.column.name))
    }

    fn null(&self, row: usize) -> crate::Error {
        let message =
            format!("column \"{}\": null or an empty list; remove the row or fill it in", self.column.name);
        error(self.path, Some(row), message)
    }
}
