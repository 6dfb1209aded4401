//! `sentir dedup`: a file without the texts that repeat an earlier one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::Similarity;
use sentir::dedup::near_duplicates;
use serde_json::json;

use crate::arguments::{Global, InputArguments, ModelArguments, PromptArguments, similarity_function};
use crate::input::{self, Format};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, grouped, line};

/// Remove texts that say the same as an earlier one
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    input: InputArguments,
    /// Texts at least this alike are the same
    #[arg(long, value_name = "X", default_value = "0.95", allow_negative_numbers = true)]
    threshold: f32,
    /// Write what stays to this file, lines and rows as they are; without it, what would go is shown
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
    /// Print a JSON object for each text that goes: {"index": 7, "duplicate_of": 0, "score": 0.97, "texts": ["…", "…"]}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir dedup --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --threshold 0.8
  sentir dedup --model models/all-MiniLM-L6-v2 --input texts.txt --output fewer.txt

Texts are looked at in order: one that is alike enough to an earlier one that
stays goes. Numbers count the texts of the file from zero.";

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    if !arguments.threshold.is_finite() {
        bail!("--threshold must be a finite number");
    }
    let path = &arguments.input.input;
    // Standard input cannot be read a second time, as writing what stays does.
    let format = match arguments.input.input_format {
        None if path == Path::new("-") => Format::Txt,
        given => Format::of(path, given, "--input-format")?,
    };
    if arguments.output.is_some() && (format == Format::Parquet || path == Path::new("-")) {
        bail!(
            "{}: --output is for files of lines or rows; save the texts as .jsonl or .csv first",
            path.display()
        );
    }
    let texts = arguments.input.read(&[])?;
    let model = model::load(&arguments.model, global)?;
    let encoding = Encoding::new(&arguments.model, &arguments.prompt, global.quiet);
    let vectors = encoding.sentences(&model, &texts)?.embeddings;
    let similarity = arguments.similarity_fn.unwrap_or(model.similarity_function());
    let bar = Progress::new(global.quiet, "comparing", "texts");
    let polling = interrupt::polling();
    let found = near_duplicates(&vectors, similarity, arguments.threshold, &mut |done, all| {
        bar.set(done as u64, all as u64);
        interrupt::check().is_ok()
    });
    drop((bar, polling));
    if interrupt::check().is_err() {
        return Err(Interrupted::BEFORE_WRITING.into());
    }
    let found = found?;
    let gone = found.iter().filter(|own| own.is_some()).count();
    if let Some(path) = &arguments.output {
        let stay: Vec<bool> = found.iter().map(Option::is_none).collect();
        let text = input::without(&arguments.input.input, format, &stay)?;
        sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())?;
    }
    let repeated = found.iter().enumerate().filter_map(|(row, own)| Some((row, (*own)?)));
    if arguments.json {
        terminal::print(|out| {
            for (row, own) in repeated {
                let texts = [row, own.index].map(|row| texts.texts[row].as_str());
                let line =
                    json!({"index": row, "duplicate_of": own.index, "score": own.score, "texts": texts});
                writeln!(out, "{line}")?;
            }
            Ok(())
        })?;
    } else if arguments.output.is_none() {
        const LETTERS: usize = 100;
        terminal::print(|out| {
            for (row, own) in repeated {
                let [this, that] = [row, own.index].map(|row| line(&texts.texts[row], LETTERS));
                writeln!(out, "{:.4}  {row}: {this}\n        {}: {that}", own.score, own.index)?;
            }
            Ok(())
        })?;
    }
    if !global.quiet {
        let mut said = String::new();
        write!(said, "{} of {} texts repeat an earlier one", grouped(gone), grouped(found.len()))?;
        if let Some(path) = &arguments.output {
            write!(said, "; wrote the other {} to {}", grouped(found.len() - gone), path.display())?;
        }
        terminal::say(said);
    }
    Ok(())
}
