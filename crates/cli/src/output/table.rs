//! Vectors for people: how many numbers, the first of them, and the text, which comes last because texts have no width.

use std::io::{self, Write};

use super::{Values, Vectors};
use crate::terminal::line;

/// Numbers of a vector that are shown.
const SHOWN: usize = 5;
/// Letters of a text that are shown.
const LETTERS: usize = 60;

/// A line per text, or for token embeddings a line per text and one per token below it.
pub(crate) fn write_table(out: &mut dyn Write, vectors: Vectors<'_>) -> io::Result<()> {
    let (shown, width) =
        (SHOWN.min(vectors.dim), if matches!(vectors.values, Values::Float32(_)) { 8 } else { 5 });
    let components = (width + 1) * shown + 1;
    writeln!(out, "{:>5}  {:<components$}  text", "dim", "first components")?;
    for (index, text) in vectors.texts.iter().enumerate() {
        let text = line(text, LETTERS);
        match vectors.offsets {
            None => writeln!(out, "{:>5} {}  {text}", vectors.dim, first(vectors, index, shown, width))?,
            Some(offsets) => {
                let tokens = offsets[index]..offsets[index + 1];
                writeln!(
                    out,
                    "{:>5}  {:<components$}  {text}",
                    vectors.dim,
                    format!("{} tokens", tokens.len())
                )?;
                for (token, row) in tokens.enumerate() {
                    writeln!(out, "{:>5} {}  token {token}", "", first(vectors, row, shown, width))?;
                }
            }
        }
    }
    Ok(())
}

fn first(vectors: Vectors<'_>, row: usize, shown: usize, width: usize) -> String {
    let range = row * vectors.dim..row * vectors.dim + shown;
    let mut cells = String::new();
    let mut push = |cell: String| cells.push_str(&format!(" {cell:>width$}"));
    match vectors.values {
        Values::Float32(values) => values[range].iter().for_each(|value| push(format!("{value:.4}"))),
        Values::Int8(values) => values[range].iter().for_each(|value| push(value.to_string())),
        Values::Uint8(values) => values[range].iter().for_each(|value| push(value.to_string())),
    }
    cells.push_str(if shown < vectors.dim { " …" } else { "  " });
    cells
}
