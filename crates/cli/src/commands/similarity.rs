//! `sentir similarity`: how alike texts are, each with each.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use sentir::{Rows, Similarity, Task, similarity};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments, PromptArguments, similarity_function};
use crate::input::{self, Columns, Format, Origin, Texts};
use crate::model::{self, Encoding};
use crate::terminal::{self, line};

/// Compare texts with each other
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Texts to compare, two or more
    #[arg(conflicts_with = "input", required_unless_present = "input")]
    texts: Vec<String>,
    /// File of texts to compare: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,
    /// The column that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME", requires = "input")]
    column: Option<String>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
    /// Print one JSON object: {"similarity_fn": "cosine", "similarities": [[1.0, 0.8], [0.8, 1.0]]}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir similarity --model models/all-MiniLM-L6-v2 \\
      \"How do I upload a video?\" \"Uploading videos\"
  sentir similarity --model models/all-MiniLM-L6-v2 \\
      --input examples/questions.jsonl --column text --json

Two texts give one number; more give a matrix.";

/// Encodes the texts and compares all pairs.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let texts = match &arguments.input {
        Some(path) => {
            let columns = Columns {
                text: arguments.column.as_deref(),
                shown: &[],
                option: "--column",
                format_option: "--input-format",
            };
            input::read(path, arguments.input_format, columns)?
        }
        None => Texts { texts: arguments.texts.clone(), shown: Vec::new(), origin: Origin::Arguments },
    };
    if texts.texts.len() < 2 {
        bail!("one text cannot be compared; give two or more");
    }
    let model = model::load(&arguments.model, global)?;
    let encoding = Encoding {
        arguments: &arguments.model,
        prompt: &arguments.prompt,
        task: Task::Any,
        normalize: false,
        quiet: global.quiet,
        what: "encoding",
    };
    let vectors = encoding.sentences(&model, &texts)?.embeddings;
    let function = arguments.similarity_fn.unwrap_or(model.similarity_function());
    let scores = similarity::matrix(&vectors, &vectors, function)?;
    terminal::print(|out| {
        if arguments.json {
            let matrix = Matrix { similarity_fn: function.name(), similarities: scores.iter().collect() };
            serde_json::to_writer(&mut *out, &matrix)?;
            writeln!(out)
        } else if texts.texts.len() == 2 {
            writeln!(out, "{:.4}", scores.row(0)[1])
        } else {
            write_matrix(out, &scores, &texts.texts)
        }
    })
}

/// All pairs, for scripts.
#[derive(Serialize)]
struct Matrix<'a> {
    similarity_fn: &'static str,
    similarities: Vec<&'a [f32]>,
}

/// Numbered rows and columns; the text stands after its row.
fn write_matrix(out: &mut dyn Write, scores: &Rows, texts: &[String]) -> io::Result<()> {
    const LETTERS: usize = 50;
    let width = scores.as_slice().iter().map(|score| format!("{score:.4}").len()).max().unwrap_or(0);
    let count = texts.len();
    let number = count.to_string().len();
    let header: Vec<String> = (1..=count).map(|column| format!("{column:>width$}")).collect();
    writeln!(out, "{:number$}  {}", "", header.join("  "))?;
    for (index, (row, text)) in scores.iter().zip(texts).enumerate() {
        let cells: Vec<String> = row.iter().map(|score| format!("{score:>width$.4}")).collect();
        writeln!(out, "{:>number$}  {}  {}", index + 1, cells.join("  "), line(text, LETTERS))?;
    }
    Ok(())
}
