//! `sentir mine`: the pairs of texts of a file that say the same.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::mine::{MineOptions, MinedPair, paraphrase_mining};
use sentir::{Similarity, Task};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments, PromptArguments, at_least_one, similarity_function};
use crate::input::{self, Columns, Format, Texts};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, grouped, line};

/// Find the pairs of texts that say the same
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// File of texts: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,
    /// The column that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// The most partners of a text that are looked at
    #[arg(long, short = 'k', value_name = "N", default_value = "100", value_parser = at_least_one())]
    top_k: usize,
    /// The most pairs of the result
    #[arg(long, value_name = "N", default_value = "500000", value_parser = at_least_one())]
    max_pairs: usize,
    /// Leave pairs out that are less alike
    #[arg(long, value_name = "X")]
    min_score: Option<f32>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
    /// Write the pairs to this file, a JSON object a line, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print a JSON object a line: {"score": 0.93, "first": 0, "second": 7, "texts": ["…", "…"]}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir mine --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --min-score 0.5
  sentir mine --model models/all-MiniLM-L6-v2 --input texts.txt \\
      --top-k 20 --max-pairs 1000 --output pairs.jsonl

A pair is found if one of the two is among the --top-k texts nearest to the
other; the most alike come first. Numbers count the texts of the file from zero.";

/// A pair with its texts.
#[derive(Serialize)]
struct PairLine<'a> {
    score: f32,
    first: usize,
    second: usize,
    texts: [&'a str; 2],
}

/// Encodes the texts and mines.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let columns = Columns {
        text: arguments.column.as_deref(),
        shown: &[],
        option: "--column",
        format_option: "--input-format",
    };
    let texts = input::read(&arguments.input, arguments.input_format, columns)?;
    if texts.texts.len() < 2 {
        bail!("{}: one text has no partner; give two or more", arguments.input.display());
    }
    if arguments.min_score.is_some_and(|score| !score.is_finite()) {
        bail!("--min-score must be a finite number");
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
    let options = MineOptions {
        similarity: arguments.similarity_fn.unwrap_or(model.similarity_function()),
        top_k: arguments.top_k,
        max_pairs: arguments.max_pairs,
        min_score: arguments.min_score,
    };
    let bar = Progress::new(global.quiet, "mining", "pairs");
    let polling = interrupt::polling();
    let pairs = paraphrase_mining(&vectors, &options, &mut |done, all| {
        bar.set(done, all);
        interrupt::check().is_ok()
    });
    drop((bar, polling));
    if interrupt::check().is_err() {
        return Err(Interrupted::BEFORE_WRITING.into());
    }
    let pairs = pairs?;
    if let Some(path) = &arguments.output {
        let mut text = String::new();
        for pair in &pairs {
            writeln!(text, "{}", serde_json::to_string(&shown(pair, &texts))?)?;
        }
        sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())?;
        if !global.quiet {
            terminal::say(format_args!("wrote {} pairs to {}", grouped(pairs.len()), path.display()));
        }
        return Ok(());
    }
    terminal::print(|out| {
        for pair in &pairs {
            write(out, &shown(pair, &texts), arguments.json)?;
        }
        Ok(())
    })
}

fn shown<'a>(pair: &MinedPair, texts: &'a Texts) -> PairLine<'a> {
    let MinedPair { first, second, score } = *pair;
    PairLine { score, first, second, texts: [first, second].map(|row| texts.texts[row].as_str()) }
}

fn write(out: &mut dyn Write, pair: &PairLine<'_>, json: bool) -> io::Result<()> {
    const LETTERS: usize = 100;
    if json {
        serde_json::to_writer(&mut *out, pair)?;
        return writeln!(out);
    }
    let [first, second] = pair.texts.map(|text| line(text, LETTERS));
    writeln!(out, "{:.4}  {}: {first}\n        {}: {second}", pair.score, pair.first, pair.second)
}
