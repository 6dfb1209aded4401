//! .parquet: the columns of strings, in whatever encoding and compression, without Arrow. Other columns can be shown
//! beside the texts if they are plain strings too; nested and repeated columns cannot be texts.
//!
//! The parquet library panics on some damaged files (an assertion on the length of a page, for one). Here such a panic
//! is caught and becomes an error like any other.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, bail};
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::{Columns, Origin, Texts, find_columns};

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in the parquet library: a panic there is reported as a damaged file and must not be printed.
pub(crate) fn reading() -> bool {
    READING.get()
}

/// Reads the columns of every row group. A null, or bytes that are not UTF-8, are errors that name row and column.
pub(super) fn parse(name: &str, file: File, columns: Columns<'_>) -> Result<Texts> {
    READING.set(true);
    // Nothing that the closure touched is used after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| parse_trusting(name, file, columns)));
    READING.set(false);
    result.unwrap_or_else(|_| Err(anyhow!("{name}: the parquet file is damaged; write it again")))
}

fn parse_trusting(name: &str, file: File, columns: Columns<'_>) -> Result<Texts> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length == 0 {
        bail!("{name}: the file is empty; it must hold at least one text");
    }
    let reader = SerializedFileReader::new(file)
        .map_err(|error| anyhow!("{name}: not a parquet file, or a damaged one: {error}; write it again"))?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let present: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let (text, shown) = find_columns(name, &present, columns)?;
    for &position in std::iter::once(&text).chain(&shown) {
        let column = schema.column(position);
        if column.max_rep_level() > 0 || column.physical_type() != Type::BYTE_ARRAY {
            let kind = if column.max_rep_level() > 0 {
                "a list".to_owned()
            } else {
                column.physical_type().to_string()
            };
            bail!(
                "{name}: column \"{}\": {kind} where strings must be; choose a column of strings",
                present[position]
            );
        }
    }
    let read = |position| {
        let mut values = Vec::new();
        for group in 0..reader.num_row_groups() {
            let damaged = || {
                format!("{name}: row group {group}, column \"{}\"; write the file again", present[position])
            };
            let group = reader.get_row_group(group).with_context(damaged)?;
            let levels = schema.column(position).max_def_level();
            let place = |row: usize| format!("{name}: row {}, column \"{}\"", row + 1, present[position]);
            read_column(group.as_ref(), position, levels, &mut values, &place).with_context(damaged)?;
        }
        Ok(values)
    };
    Ok(Texts {
        texts: read(text)?,
        shown: shown.into_iter().map(read).collect::<Result<_>>()?,
        origin: Origin::Rows(name.to_owned()),
    })
}

/// Appends the strings of one column of one row group. `defined` is the definition level of a value that is not null.
fn read_column(
    group: &dyn RowGroupReader,
    position: usize,
    defined: i16,
    values: &mut Vec<String>,
    place: &dyn Fn(usize) -> String,
) -> Result<()> {
    const BATCH: usize = 8192;
    let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(position)? else {
        bail!("not a column of strings");
    };
    let (mut levels, mut bytes) = (Vec::new(), Vec::new());
    loop {
        levels.clear();
        bytes.clear();
        let (records, _, _) = reader.read_records(BATCH, Some(&mut levels), None, &mut bytes)?;
        if records == 0 {
            return Ok(());
        }
        if let Some(null) = levels.iter().position(|&level| level < defined) {
            bail!(
                "{}: null where a string must be; remove the row or fill it in",
                place(values.len() + null)
            );
        }
        for value in &bytes {
            let text = std::str::from_utf8(value.data()).map_err(|error| {
                anyhow!("{}: not valid UTF-8: {error}; write the column as strings", place(values.len()))
            })?;
            values.push(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file of three columns and two row groups of `values`; `None` is a null.
    fn written(values: &[Option<&[u8]>], dictionary: bool) -> Vec<u8> {
        let schema = "message m { optional binary text (UTF8); required double score; \
                      optional group list (LIST) { repeated group list { required binary element (UTF8); } } }";
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(dictionary)
            .set_compression(Compression::SNAPPY)
            .build();
        let mut bytes = Vec::new();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
            let texts: Vec<ByteArray> = values.iter().flatten().map(|value| value.to_vec().into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(&vec![0.5; values.len()], None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let zeros = vec![0; values.len()];
            column.typed::<ByteArrayType>().write_batch(&[], Some(&zeros), Some(&zeros)).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    fn read(bytes: &[u8], column: &str) -> Result<Texts, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let columns = Columns { text: Some(column), option: "--column", ..Default::default() };
        parse("file", file, columns).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn strings_plain_and_in_a_dictionary() {
        for dictionary in [false, true] {
            let bytes = written(&[Some("й".as_bytes()), Some(b""), Some(b"x")], dictionary);
            assert_eq!(read(&bytes, "text").unwrap().texts, ["й", "", "x", "й", "", "x"]);
        }
    }

    #[test]
    fn errors_name_row_and_column() {
        let bytes = written(&[Some(b"a"), None], true);
        for (column, expected) in [
            ("text", "file: row 2, column \"text\": null where a string must be"),
            ("score", "file: column \"score\": DOUBLE where strings must be"),
            ("list.list.element", "a list where strings must be"),
            (
                "other",
                "file: no column \"other\"; the columns are \"text\", \"score\", \"list.list.element\"",
            ),
        ] {
            let message = read(&bytes, column).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let message = read(&written(&[Some(b"a\xff")], false), "text").unwrap_err();
        assert!(message.contains("row 1, column \"text\": not valid UTF-8"), "{message}");
    }

    #[test]
    fn a_cut_or_damaged_file_is_an_error() {
        let bytes = written(&[Some(b"one text"), Some(b"another text")], true);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], "text").is_err(), "cut at {length}");
        }
        // Every bit of it flipped: an answer or an error, never a panic.
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                let _ = read(&damaged, "text");
            }
        }
    }
}
