//! JSON: an object per text, `{"index": 0, "text": "...", "embedding": [...]}`, each on its line (.jsonl, `--json`) or in
//! one array (.json). Token embeddings are a list of vectors under "token_embeddings". Floats have the digits that
//! give the same float32 again.

use std::io::{self, Write};

use serde::Serialize;

use super::{Values, Vectors};

#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Numbers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_embeddings: Option<Vec<Numbers<'a>>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers<'a> {
    Float32(&'a [f32]),
    Int8(&'a [i8]),
    Uint8(&'a [u8]),
}

/// An object a line.
pub(crate) fn write_lines(out: &mut dyn Write, vectors: Vectors<'_>) -> io::Result<()> {
    for line in lines(vectors) {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// One array of objects, still one a line.
pub(super) fn write_array(out: &mut dyn Write, vectors: Vectors<'_>) -> io::Result<()> {
    for (index, line) in lines(vectors).enumerate() {
        out.write_all(if index == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &line)?;
    }
    out.write_all(b"\n]\n")
}

fn lines(vectors: Vectors<'_>) -> impl Iterator<Item = Line<'_>> {
    let row = move |row: usize| {
        let range = row * vectors.dim..(row + 1) * vectors.dim;
        match vectors.values {
            Values::Float32(values) => Numbers::Float32(&values[range]),
            Values::Int8(values) => Numbers::Int8(&values[range]),
            Values::Uint8(values) => Numbers::Uint8(&values[range]),
        }
    };
    vectors.texts.iter().enumerate().map(move |(index, text)| Line {
        index,
        text,
        embedding: vectors.offsets.is_none().then(|| row(index)),
        token_embeddings: vectors
            .offsets
            .map(|offsets| (offsets[index]..offsets[index + 1]).map(row).collect()),
    })
}
