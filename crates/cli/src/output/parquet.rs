//! .parquet: columns `index` (int64, zero-based), `text` and `embedding` (a list of float, int8 or uint8), a row per
//! text. Token embeddings have a row per token: `index`, `token` (int64, zero-based within the text) and `embedding`.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{Values, Vectors};

/// Numbers in a row group: 64 MiB of floats, which is also what is held in memory beside the vectors.
const GROUP: usize = 16 << 20;

/// Writes row groups of about [`GROUP`] numbers.
pub(super) fn write(out: &mut (dyn Write + Send), vectors: Vectors<'_>) -> Result<()> {
    let element = match vectors.values {
        Values::Float32(_) => "float element",
        Values::Int8(_) => "int32 element (INTEGER(8,true))",
        Values::Uint8(_) => "int32 element (INTEGER(8,false))",
    };
    let second = if vectors.offsets.is_some() { "int64 token" } else { "binary text (STRING)" };
    let schema = format!(
        "message embeddings {{ required int64 index; required {second}; \
         required group embedding (LIST) {{ repeated group list {{ required {element}; }} }} }}"
    );
    let numbers =
        ColumnPath::from("embedding.list.element".split('.').map(str::to_owned).collect::<Vec<_>>());
    let properties = WriterProperties::builder()
        .set_created_by(concat!("sentir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        // Components hardly ever repeat: a dictionary, statistics and compression of them would only cost time.
        .set_column_dictionary_enabled(numbers.clone(), false)
        .set_column_statistics_enabled(numbers.clone(), EnabledStatistics::None)
        .set_column_compression(numbers, Compression::UNCOMPRESSED)
        .build();
    let mut writer =
        SerializedFileWriter::new(out, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
    let rows_a_group = (GROUP / vectors.dim.max(1)).max(1);
    // The text that each row belongs to, and the token within it.
    let mut places = (0..vectors.texts.len()).flat_map(|text| {
        let tokens = vectors.offsets.map_or(1, |offsets| offsets[text + 1] - offsets[text]);
        (0..tokens).map(move |token| (text, token))
    });
    for start in (0..vectors.rows()).step_by(rows_a_group) {
        let rows = start..(start + rows_a_group).min(vectors.rows());
        let places: Vec<(usize, usize)> = places.by_ref().take(rows.len()).collect();
        let mut group = writer.next_row_group()?;
        let indices: Vec<i64> = places.iter().map(|&(text, _)| text as i64).collect();
        column::<Int64Type, _>(&mut group, &indices, None)?;
        if vectors.offsets.is_some() {
            let tokens: Vec<i64> = places.iter().map(|&(_, token)| token as i64).collect();
            column::<Int64Type, _>(&mut group, &tokens, None)?;
        } else {
            let texts: Vec<ByteArray> =
                places.iter().map(|&(text, _)| vectors.texts[text].as_str().into()).collect();
            column::<ByteArrayType, _>(&mut group, &texts, None)?;
        }
        embeddings(&mut group, vectors, rows)?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

/// The column of lists for the rows of one group.
fn embeddings<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    vectors: Vectors<'_>,
    rows: Range<usize>,
) -> Result<()> {
    let range = rows.start * vectors.dim..rows.end * vectors.dim;
    // A list begins at its first number (repetition level 0) and goes on at the others (1); none is empty.
    let repetitions: Vec<i16> = range.clone().map(|at| i16::from(at % vectors.dim != 0)).collect();
    let levels = Some((vec![1; range.len()], repetitions));
    match vectors.values {
        Values::Float32(values) => column::<FloatType, _>(group, &values[range], levels),
        Values::Int8(values) => {
            let wide: Vec<i32> = values[range].iter().map(|&value| value.into()).collect();
            column::<Int32Type, _>(group, &wide, levels)
        }
        Values::Uint8(values) => {
            let wide: Vec<i32> = values[range].iter().map(|&value| value.into()).collect();
            column::<Int32Type, _>(group, &wide, levels)
        }
    }
}

/// Writes the next column of the group; `levels` are definition and repetition levels.
fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<(Vec<i16>, Vec<i16>)>,
) -> Result<()> {
    let Some(mut writer) = group.next_column()? else {
        unreachable!("the schema has a column for each call")
    };
    let (definitions, repetitions) = levels.unzip();
    writer.typed::<T>().write_batch(values, definitions.as_deref(), repetitions.as_deref())?;
    writer.close()
}
