//! `sentir similarity`: how alike texts are, each with each, or two columns of a file row by row.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use sentir::train::page::{escape, frame};
use sentir::{Rows, Similarity, similarity};
use serde::Serialize;
use serde_json::json;

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
    /// A second column: each text is compared with the one beside it
    #[arg(long, value_name = "NAME", requires = "column", conflicts_with = "html")]
    column2: Option<String>,
    /// Write a page with a heat map of all pairs to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
    /// Print one JSON object: {"similarity_fn": "cosine", "similarities": [[1.0, 0.8], [0.8, 1.0]]}; with --column2 one list
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir similarity --model models/all-MiniLM-L6-v2 \\
      \"How do I upload a video?\" \"Uploading videos\"
  sentir similarity --model models/all-MiniLM-L6-v2 \\
      --input examples/questions.jsonl --column text --json

  sentir similarity --model models/all-MiniLM-L6-v2 \\
      --input examples/faq.jsonl --column question --column2 answer
  sentir similarity --model models/all-MiniLM-L6-v2 \\
      --input examples/questions.jsonl --column text --html heat.html

Two texts give one number; more give a matrix.";

/// More texts than this make a page that no screen shows.
const MOST: usize = 300;

/// Encodes the texts and compares all pairs.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let beside: Vec<String> = arguments.column2.iter().cloned().collect();
    let mut texts = match &arguments.input {
        Some(path) => {
            let columns = Columns {
                text: arguments.column.as_deref(),
                shown: &beside,
                option: "--column",
                format_option: "--input-format",
            };
            input::read(path, arguments.input_format, columns)?
        }
        None => Texts { texts: arguments.texts.clone(), shown: Vec::new(), origin: Origin::Arguments },
    };
    let second = texts.shown.pop();
    if texts.texts.len() < 2 && second.is_none() {
        bail!("one text cannot be compared; give two or more");
    }
    if arguments.html.is_some() && texts.texts.len() > MOST {
        bail!("a heat map of {} texts fits on no screen; give {MOST} at most", texts.texts.len());
    }
    let model = model::load(&arguments.model, global)?;
    let encoding = Encoding::new(&arguments.model, &arguments.prompt, global.quiet);
    let vectors = encoding.sentences(&model, &texts)?.embeddings;
    let function = arguments.similarity_fn.unwrap_or(model.similarity_function());
    if let Some(second) = second {
        let second = Texts { texts: second, shown: Vec::new(), origin: texts.origin.clone() };
        let others = encoding.sentences(&model, &second)?.embeddings;
        let scores = similarity::pairwise(&vectors, &others, function)?;
        return terminal::print(|out| write_pairs(out, arguments.json, function, &scores, [&texts, &second]));
    }
    let scores = similarity::matrix(&vectors, &vectors, function)?;
    if let Some(path) = &arguments.html {
        sentir::train::record::write_text(path, &heat(&scores, &texts.texts, function))?;
        if !global.quiet {
            terminal::say(format_args!("wrote {}", path.display()));
        }
        if !arguments.json {
            return Ok(());
        }
    }
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

/// A line for each pair.
fn write_pairs(
    out: &mut dyn Write,
    json: bool,
    function: Similarity,
    scores: &[f32],
    [first, second]: [&Texts; 2],
) -> io::Result<()> {
    const LETTERS: usize = 60;
    if json {
        let line = json!({"similarity_fn": function.name(), "similarities": scores});
        return writeln!(out, "{line}");
    }
    for (row, score) in scores.iter().enumerate() {
        let [a, b] = [first, second].map(|texts| line(&texts.texts[row], LETTERS));
        writeln!(out, "{score:>8.4}  {row:>5}  {a} | {b}")?;
    }
    Ok(())
}

/// A page whose cells are the deeper the more alike two texts are: from the least of all pairs to the most, a text with itself left out.
fn heat(scores: &Rows, texts: &[String], function: Similarity) -> String {
    const LETTERS: usize = 60;
    const STYLE: &str = "
body { max-width: 110rem; }
.heat { overflow: auto; max-height: 85vh; border: 1px solid var(--grid); } .heat table { font-size: .75rem; }
.heat td { width: 1.4rem; min-width: 1.4rem; height: 1.4rem; padding: 0; border: 0;
  background: color-mix(in srgb, var(--c0) var(--part), var(--paper)); }
.heat th { position: sticky; background: var(--paper); padding: .1rem .5rem; white-space: nowrap; border: 0; }
.heat thead th { top: 0; z-index: 1; text-align: center; padding: .1rem 0; } .heat tbody th { left: 0; }
";
    let across = |row: usize| {
        scores.row(row).iter().enumerate().filter(move |(at, _)| *at != row).map(|(_, score)| *score)
    };
    let all = || (0..texts.len()).flat_map(across);
    let (least, most) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let mut body = format!(
        "<p>{} of {} texts: from {least:.4} (light) to {most:.4} (deep). Hover over a cell.</p>\n<div class=\"heat\"><table>\n<thead><tr><th></th>",
        function.name(),
        texts.len()
    );
    let names: Vec<String> = texts.iter().map(|text| escape(&line(text, LETTERS))).collect();
    for (at, name) in names.iter().enumerate() {
        body += &format!("<th title=\"{name}\">{}</th>", at + 1);
    }
    body += "</tr></thead>\n<tbody>\n";
    for (row, name) in names.iter().enumerate() {
        body += &format!("<tr><th scope=\"row\">{} {name}</th>", row + 1);
        for (other, score) in names.iter().zip(scores.row(row)) {
            let part = if most > least {
                (100.0 * (score - least) / (most - least)).clamp(0.0, 100.0)
            } else {
                100.0
            };
            body += &format!("<td style=\"--part:{part:.0}%\" title=\"{score:.4}: {name} | {other}\"></td>");
        }
        body += "</tr>\n";
    }
    body += "</tbody></table></div>\n";
    frame("How alike texts are", STYLE, &body, None)
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
