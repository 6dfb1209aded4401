//! .npy, version 1 of the format: one matrix, a row per text. Source: numpy/lib/_format_impl.py.

use std::io::{self, Write};

use super::{Values, Vectors, write_values};

/// Writes magic, header and numbers. The numbers begin at a multiple of 64 bytes, as NumPy has it.
pub(super) fn write(out: &mut dyn Write, vectors: Vectors<'_>) -> io::Result<()> {
    let kind = match vectors.values {
        Values::Float32(_) => "<f4",
        Values::Int8(_) => "|i1",
        Values::Uint8(_) => "|u1",
    };
    let header = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}, {}), }}",
        vectors.rows(),
        vectors.dim
    );
    // Magic, version and length are ten bytes; the header ends in a line feed. It is far below the 65535 of version 1.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    writeln!(out, "{header:width$}", width = length - 1)?;
    write_values(out, vectors.values)
}
