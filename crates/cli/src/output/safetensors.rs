//! .safetensors: tensor "embeddings", `[texts, dim]` in F32, I8 or U8. Token embeddings: "embeddings" is
//! `[tokens of all texts, dim]`, and "offsets", I64 `[texts + 1]`, says where each text begins: text `i` has the rows
//! `offsets[i]..offsets[i + 1]`. (A tensor per text would make a header that readers refuse from a few 100,000 texts on.)

use std::io::{self, Write};

use serde_json::json;

use super::{Values, Vectors, write_values};

/// Writes the length of the header, the header (padded so that the numbers are aligned to 8 bytes) and the numbers.
pub(super) fn write(out: &mut dyn Write, vectors: Vectors<'_>) -> io::Result<()> {
    let (kind, width) = match vectors.values {
        Values::Float32(_) => ("F32", 4),
        Values::Int8(_) => ("I8", 1),
        Values::Uint8(_) => ("U8", 1),
    };
    // Offsets come first, being the wider type: so both are aligned.
    let offsets: Vec<u8> = vectors
        .offsets
        .unwrap_or_default()
        .iter()
        .flat_map(|&offset| (offset as i64).to_le_bytes())
        .collect();
    let end = offsets.len() + width * vectors.values.len();
    let mut header = json!({
        "__metadata__": { "format": "pt" },
        "embeddings": { "dtype": kind, "shape": [vectors.rows(), vectors.dim], "data_offsets": [offsets.len(), end] },
    });
    if !offsets.is_empty() {
        header["offsets"] =
            json!({ "dtype": "I64", "shape": [offsets.len() / 8], "data_offsets": [0, offsets.len()] });
    }
    let mut header = header.to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    out.write_all(&offsets)?;
    write_values(out, vectors.values)
}
