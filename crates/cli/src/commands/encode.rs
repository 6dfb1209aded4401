//! `sentir encode`: texts to vectors, into a file or onto the terminal.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sentir::{Embeddings, Precision, Ranges, Rows, Task, TruncationReport, quantize};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments, PromptArguments, precision};
use crate::input::{self, Columns, Format, Origin, Texts, npy};
use crate::model::{self, Encoding};
use crate::output::{self, Destination, Replacement, Values, Vectors};
use crate::terminal;

/// Turn texts into vectors
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Texts to encode; without any, and without --input, they are read from standard input, one a line
    #[arg(conflicts_with = "input")]
    texts: Vec<String>,
    /// File of texts: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,
    /// The column that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// File to write, by its extension: .npy, .safetensors, .parquet, .jsonl or .json
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Without --output: print a JSON object per text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// What the texts are: questions of a search, or what is searched; selects the model's prompt for it
    #[arg(long, value_enum, help_heading = "Model")]
    task: Option<TaskName>,
    /// Give every vector unit length
    #[arg(long, visible_alias = "normalize")]
    normalize_embeddings: bool,
    /// How a component is stored
    #[arg(long, default_value = "float32", value_parser = precision())]
    precision: Precision,
    /// .npy file of float32 vectors that set the ranges for int8 and uint8, made with the same options [default: the
    /// vectors that are encoded]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// One vector per text or one per token
    #[arg(long, value_enum, default_value = "sentence_embedding")]
    output_value: OutputValue,
    /// JSON lines file to write with the number of tokens cut off each text
    #[arg(long, value_name = "FILE")]
    truncation_report: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sentir encode --model models/all-MiniLM-L6-v2 \"How do I upload a video?\"
  sentir encode --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --output vectors.npy
  head -n 3 README.md | sentir encode --model models/all-MiniLM-L6-v2 --json

Files:
  .npy          a matrix, a row per text (float32, int8 or uint8)
  .safetensors  tensor \"embeddings\", a row per text; for token embeddings a row
                per token, and \"offsets\" where the rows of each text begin
  .parquet      columns index, text, embedding; for token embeddings a row per
                token: index, token, embedding
  .jsonl .json  objects with index, text and embedding (or token_embeddings)

A .tsv file is not quoted: a quotation mark is part of the text.";

#[derive(Clone, Copy, ValueEnum)]
enum TaskName {
    Query,
    Document,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutputValue {
    SentenceEmbedding,
    TokenEmbeddings,
}

/// Encodes and writes. Whatever can be refused is refused before the model is loaded.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let per_token = arguments.output_value == OutputValue::TokenEmbeddings;
    if per_token && arguments.precision != Precision::Float32 {
        bail!("--precision {}: token embeddings are float32; leave --precision out", arguments.precision);
    }
    let destination = match &arguments.output {
        Some(path) => Some(Destination::open(path, per_token)?),
        None => None,
    };
    let report = match &arguments.truncation_report {
        Some(path) => Some(Replacement::open(path)?),
        None => None,
    };
    let ranges = ranges(arguments)?;
    let texts = texts(arguments, global.quiet)?;
    let model = model::load(&arguments.model, global)?;
    let encoding = Encoding {
        arguments: &arguments.model,
        prompt: &arguments.prompt,
        task: match arguments.task {
            None => Task::Any,
            Some(TaskName::Query) => Task::Query,
            Some(TaskName::Document) => Task::Document,
        },
        normalize: arguments.normalize_embeddings,
        quiet: global.quiet,
        what: "encoding",
    };
    let write = |vectors: Vectors<'_>| match destination {
        Some(destination) => destination.write(vectors),
        None if arguments.json => terminal::print(|out| output::write_lines(out, vectors)),
        None => terminal::print(|out| output::write_table(out, vectors)),
    };
    let truncation = if per_token {
        let encoded = encoding.tokens(&model, &texts)?;
        let dim = encoded.embeddings.first().map_or(1, Rows::width);
        let mut offsets = vec![0];
        let mut values = Vec::new();
        for rows in &encoded.embeddings {
            values.extend_from_slice(rows.as_slice());
            offsets.push(values.len() / dim);
        }
        drop(encoded.embeddings);
        write(Vectors {
            values: Values::Float32(&values),
            dim,
            texts: &texts.texts,
            offsets: Some(&offsets),
        })?;
        encoded.truncation
    } else {
        let encoded = encoding.sentences(&model, &texts)?;
        warn_of_few(arguments, encoded.embeddings.rows(), ranges.is_some(), global.quiet);
        check_width(arguments, &encoded.embeddings, ranges.as_ref())?;
        let embeddings =
            quantize(encoded.embeddings, arguments.precision, ranges.as_ref()).map_err(|error| {
                let advice = if arguments.precision.needs_ranges() { " (see --calibration)" } else { "" };
                anyhow::anyhow!("--precision {}: {error}{advice}", arguments.precision)
            })?;
        write(Vectors {
            values: values(&embeddings),
            dim: embeddings.width(),
            texts: &texts.texts,
            offsets: None,
        })?;
        encoded.truncation
    };
    match report {
        Some(report) => write_report(report, &truncation),
        None => Ok(()),
    }
}

fn texts(arguments: &Arguments, quiet: bool) -> Result<Texts> {
    let columns = Columns {
        text: arguments.column.as_deref(),
        shown: &[],
        option: "--column",
        format_option: "--input-format",
    };
    if let Some(path) = &arguments.input {
        return input::read(path, arguments.input_format, columns);
    }
    if arguments.texts.is_empty() {
        terminal::invite(quiet, "reading texts from the terminal, one a line; end with Ctrl-D");
        return input::read_stdin(arguments.input_format.unwrap_or(Format::Txt), columns);
    }
    if let Some(column) = &arguments.column {
        bail!(
            "--column {column}: texts on the command line have no columns; leave it out, or give a file with --input"
        );
    }
    Ok(Texts { texts: arguments.texts.clone(), shown: Vec::new(), origin: Origin::Arguments })
}

fn ranges(arguments: &Arguments) -> Result<Option<Ranges>> {
    let Some(path) = &arguments.calibration else { return Ok(None) };
    if !arguments.precision.needs_ranges() {
        bail!(
            "--calibration: precision {} has no ranges; use --precision int8 or uint8",
            arguments.precision
        );
    }
    let matrix = npy::read(path)?;
    let ranges = Rows::new(matrix.values, matrix.dim).and_then(|rows| Ranges::from_calibration(&rows));
    ranges.map(Some).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn check_width(arguments: &Arguments, embeddings: &Rows, ranges: Option<&Ranges>) -> Result<()> {
    let (Some(path), Some(ranges)) = (&arguments.calibration, ranges) else { return Ok(()) };
    let (calibrated, encoded) = (ranges.minimum().len(), embeddings.width());
    if calibrated != encoded {
        bail!(
            "{}: its vectors have {calibrated} components, and those to be stored as {} have {encoded}; \
             make it with the same model and --truncate-dim",
            path.display(),
            arguments.precision
        );
    }
    Ok(())
}

/// Ranges taken from few vectors will not fit the next ones.
fn warn_of_few(arguments: &Arguments, rows: usize, calibrated: bool, quiet: bool) {
    const FEW: usize = 100;
    if arguments.precision.needs_ranges() && !calibrated && (2..FEW).contains(&rows) {
        terminal::notice(
            quiet,
            format_args!(
                "the ranges of {} come from {rows} texts only; give {FEW} vectors or more with --calibration",
                arguments.precision
            ),
        );
    }
}

fn values(embeddings: &Embeddings) -> Values<'_> {
    match embeddings {
        Embeddings::Float32(rows) => Values::Float32(rows.as_slice()),
        Embeddings::Int8 { values, .. } | Embeddings::Binary { values, .. } => Values::Int8(values),
        Embeddings::Uint8 { values, .. } | Embeddings::Ubinary { values, .. } => Values::Uint8(values),
    }
}

/// A line of the truncation report.
#[derive(Serialize)]
struct ReportLine {
    index: usize,
    tokens_cut: usize,
    max_seq_length: Option<usize>,
}

/// A line per text: `{"index":0,"tokens_cut":17,"max_seq_length":256}`.
fn write_report(report: Replacement, truncation: &TruncationReport) -> Result<()> {
    report.write(|out| {
        for (index, &tokens_cut) in truncation.tokens_cut.iter().enumerate() {
            let line = ReportLine { index, tokens_cut, max_seq_length: truncation.max_seq_length };
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)?;
        }
        Ok(())
    })
}
