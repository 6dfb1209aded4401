//! `sentir prune`: a model directory without the tokens that one's texts never use, proved to give the same vectors.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sentir::download::DownloadOptions;
use sentir::{PruneOptions, Pruned, prune_model};
use serde::Serialize;

use crate::arguments::Global;
use crate::commands::download;
use crate::input::{self, Columns, Format};
use crate::interrupt::{self, Interrupted};
use crate::terminal::{self, Progress, grouped, size};

/// Write a model directory without the tokens that your texts never use
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A model directory, or the id of a model on the Hugging Face hub
    #[arg(value_name = "MODEL")]
    model: String,
    /// The directory to write; it must not exist
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Branch, tag or commit on the hub
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// File of the texts whose tokens stay: .txt, .jsonl, .csv, .tsv or .parquet
    #[arg(long, value_name = "FILE")]
    keep: PathBuf,
    /// The column of that file that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Format of that file, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    keep_format: Option<Format>,
    /// Keep all tokens written in these scripts too, separated by commas, for texts that are still to come
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    keep_scripts: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir prune models/all-MiniLM-L6-v2 minilm-small --keep examples/faq.jsonl \\
      --column question
  sentir prune intfloat/multilingual-e5-large e5-ru --keep texts.txt \\
      --keep-scripts Cyrillic,Latin

Every text of the file is then encoded by both models; the directory appears
only if all have the same tokens and the same vectors, bit for bit. It is an
ordinary model directory, for other tools too. A text with other tokens has
them divided into smaller ones, or unknown: keep the scripts of your users.";

/// What is printed with `--json`.
#[derive(Serialize)]
struct Outcome {
    path: PathBuf,
    #[serde(flatten)]
    pruned: Pruned,
}

/// Prunes and proves.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let columns = Columns {
        text: arguments.column.as_deref(),
        shown: &[],
        option: "--column",
        format_option: "--keep-format",
    };
    let texts = input::read(&arguments.keep, arguments.keep_format, columns)?.texts;
    let bars = download::Bars::new(global.quiet);
    let show = |file: &str, done: u64, total: Option<u64>| bars.show(file, done, total);
    let options = DownloadOptions {
        revision: arguments.revision.clone(),
        progress: Some(&show),
        interrupt: Some(interrupt::flag()),
        ..Default::default()
    };
    let polling = interrupt::polling();
    let found = sentir::download::resolve(&arguments.model, &options).map_err(download::explain)?;
    bars.clear();
    let bar = Progress::new(global.quiet, "proving", "texts");
    let progress = |done: usize, total: usize| bar.set(done as u64, total as u64);
    let options = PruneOptions {
        keep_scripts: &arguments.keep_scripts,
        progress: Some(&progress),
        interrupt: Some(interrupt::flag()),
    };
    let pruned = prune_model(&found.path, &arguments.out, &texts, options);
    drop(polling);
    drop(bar);
    let pruned = pruned.map_err(|error| match error {
        sentir::Error::Interrupted => Interrupted::BEFORE_WRITING.into(),
        other => anyhow::Error::from(other),
    })?;
    let outcome = Outcome { path: arguments.out.clone(), pruned };
    terminal::answer(arguments.json, &outcome, |out| write(out, &outcome))
}

fn write(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let Outcome { path, pruned } = outcome;
    writeln!(
        out,
        "{}: {} of {} tokens, {} in place of {}; {} texts have the same tokens and the same vectors, bit for bit",
        path.display(),
        grouped(pruned.tokens_after),
        grouped(pruned.tokens_before),
        size(pruned.bytes_after),
        size(pruned.bytes_before),
        grouped(pruned.texts_proved)
    )
}
