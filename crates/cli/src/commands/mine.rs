//! `sentir mine`: the pairs of texts of a file that say the same. With `--hard-negatives`, texts that nearly answer (`mine/hard_negatives.rs`).

mod hard_negatives;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::index::Index;
use sentir::mine::{MineOptions, MinedPair, Mining};
use sentir::{Rows, Similarity};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments, PromptArguments, at_least_one, similarity_function};
use crate::input::{self, Columns, Format};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, grouped, line};

/// Find the pairs of texts that say the same
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("model", |model| model.required(false).required_unless_present("index")))]
pub(crate) struct Arguments {
    /// File of texts: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE", required_unless_present = "index")]
    input: Option<PathBuf>,
    /// An index of texts, from sentir index, in place of a file: nothing is encoded
    #[arg(long, value_name = "DIR", conflicts_with_all = ["input", "input_format", "column", "hard_negatives"])]
    index: Option<PathBuf>,
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
    /// Keep what was found so far in this file, about twice a minute: after an interruption the same command goes on from it
    #[arg(long, value_name = "FILE", conflicts_with = "hard_negatives")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    hard_negatives: hard_negatives::HardNegatives,
    #[command(flatten)]
    model: Option<ModelArguments>,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", conflicts_with = "index", value_parser = similarity_function())]
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

  sentir mine --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --hard-negatives --column question --positive-column answer \\
      --num-negatives 2 --output triplets.jsonl

A pair is found if one of the two is among the --top-k texts nearest to the
other; the most alike come first. Numbers count the texts of the file from zero.
For millions of texts, build an index first and give --index and --checkpoint.";

/// A pair with its texts.
#[derive(Serialize)]
struct PairLine<'a> {
    score: f32,
    first: usize,
    second: usize,
    texts: [&'a str; 2],
}

/// How often a checkpoint is written, at most.
const OFTEN: Duration = Duration::from_secs(30);

impl Arguments {
    /// Texts of a file are encoded; those of an index need no model.
    fn model(&self) -> Result<&ModelArguments> {
        self.model.as_ref().context("give --model: texts are encoded by it")
    }
}

/// Encodes the texts and mines.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    if arguments.hard_negatives.wanted() {
        return hard_negatives::run(arguments, global);
    }
    if arguments.min_score.is_some_and(|score| !score.is_finite()) {
        bail!("--min-score must be a finite number");
    }
    let (texts, vectors, similarity) = match (&arguments.index, &arguments.input) {
        (Some(path), _) => from_index(path)?,
        (None, Some(path)) => from_file(arguments, path, global)?,
        (None, None) => bail!("give --input or --index"),
    };
    let options = MineOptions {
        similarity,
        top_k: arguments.top_k,
        max_pairs: arguments.max_pairs,
        min_score: arguments.min_score,
    };
    let pairs = mine(&vectors, &options, arguments.checkpoint.as_deref(), global.quiet)?;
    if let Some(path) = &arguments.output {
        let mut text = String::new();
        for pair in &pairs {
            writeln!(text, "{}", serde_json::to_string(&shown(pair, &texts))?)?;
        }
        sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())?;
        if !global.quiet {
            terminal::say(format_args!("wrote {} pairs to {}", grouped(pairs.len()), path.display()));
        }
    } else {
        terminal::print(|out| {
            for pair in &pairs {
                write(out, &shown(pair, &texts), arguments.json)?;
            }
            Ok(())
        })?;
    }
    // What it was kept for is there.
    if let Some(path) = &arguments.checkpoint {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn from_file(arguments: &Arguments, path: &Path, global: &Global) -> Result<(Vec<String>, Rows, Similarity)> {
    let columns = Columns {
        text: arguments.column.as_deref(),
        shown: &[],
        option: "--column",
        format_option: "--input-format",
    };
    let texts = input::read(path, arguments.input_format, columns)?;
    if texts.texts.len() < 2 {
        bail!("{}: one text has no partner; give two or more", path.display());
    }
    let own = arguments.model()?;
    let model = model::load(own, global)?;
    let encoding = Encoding::new(own, &arguments.prompt, global.quiet);
    let vectors = encoding.sentences(&model, &texts)?.embeddings;
    Ok((texts.texts, vectors, arguments.similarity_fn.unwrap_or(model.similarity_function())))
}

/// The vectors of an index that compares by cosine have unit length already.
fn from_index(path: &Path) -> Result<(Vec<String>, Rows, Similarity)> {
    let index = Index::open(path)?;
    if index.len() < 2 {
        bail!("{}: one text has no partner; add more", path.display());
    }
    let similarity = match index.manifest().similarity() {
        Similarity::Cosine => Similarity::Dot,
        other => other,
    };
    let (entries, vectors) = index.export()?;
    let text = |entry: sentir::index::Entry| match entry.fields.get("text") {
        Some(serde_json::Value::String(text)) => text.clone(),
        _ => entry.id,
    };
    Ok((entries.into_iter().map(text).collect(), vectors, similarity))
}

/// Mines, goes on from a checkpoint if there is one, and keeps it up to date.
fn mine(
    vectors: &Rows,
    options: &MineOptions,
    checkpoint: Option<&Path>,
    quiet: bool,
) -> Result<Vec<MinedPair>> {
    let mut mining = Mining::new(vectors, options)?;
    if let Some(path) = checkpoint.filter(|path| path.exists()) {
        let state = input::read_bytes(path)?;
        mining.resume(&state).with_context(|| format!("{}; remove it to begin anew", path.display()))?;
        let (done, all) = mining.progress();
        let percent = 100.0 * done as f64 / all as f64;
        terminal::notice(quiet, format_args!("{}: goes on from {percent:.0} %", path.display()));
    }
    let keep = |mining: &Mining<'_>| match checkpoint {
        Some(path) => sentir::directory::write_whole(path, &mining.state()),
        None => Ok(()),
    };
    let bar = Progress::new(quiet, "mining", "pairs");
    let _polling = interrupt::polling();
    let mut kept = Instant::now();
    loop {
        let (done, all) = mining.progress();
        bar.set(done, all);
        if interrupt::check().is_err() {
            drop(bar);
            keep(&mining)?;
            return Err(match checkpoint {
                Some(_) => Interrupted("interrupted; the same command goes on from the checkpoint").into(),
                None => Interrupted::BEFORE_WRITING.into(),
            });
        }
        if kept.elapsed() >= OFTEN {
            keep(&mining)?;
            kept = Instant::now();
        }
        if !mining.step() {
            return Ok(mining.pairs());
        }
    }
}

fn shown<'a>(pair: &MinedPair, texts: &'a [String]) -> PairLine<'a> {
    let MinedPair { first, second, score } = *pair;
    PairLine { score, first, second, texts: [first, second].map(|row| texts[row].as_str()) }
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
