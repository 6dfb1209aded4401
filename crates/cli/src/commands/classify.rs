//! `sentir classify`: a classifier of texts, learned from texts whose classes are known. How it is learned, `train.rs`; with the model before it,
//! `fine_tune.rs`; what is said about it, `report.rs`.

mod fine_tune;
mod report;
mod train;

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use sentir::classify::pair_features;
use sentir::train::classifier::TextClassifier;
use sentir::{Rows, SentenceTransformer};
use serde_json::{Map, Value, json};

use crate::arguments::{Global, InputArguments, ModelArguments, PromptArguments, at_least_one};
use crate::fingerprint;
use crate::input::Texts;
use crate::model::{self, Encoding};
use crate::terminal::{self, grouped, line};

/// Learn classes of texts from examples, and predict them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    Train(train::Train),
    Predict(Predict),
}

const EXAMPLES: &str = "\
Examples:
  sentir classify train --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --label topic --output faq-classes
  sentir classify predict --model models/all-MiniLM-L6-v2 --classifier faq-classes \\
      --input examples/questions.jsonl --column text";

/// Predict the classes of texts
#[derive(Args)]
#[command(after_help = PREDICT)]
struct Predict {
    /// The directory that sentir classify train has made
    #[arg(long, value_name = "DIR")]
    classifier: PathBuf,
    #[command(flatten)]
    input: InputArguments,
    /// The column of the second texts, for a classifier of pairs
    #[arg(long, value_name = "NAME", requires = "column")]
    column2: Option<String>,
    /// Classes to name, the most probable first
    #[arg(long, short = 'k', value_name = "N", default_value = "1", value_parser = at_least_one())]
    top_k: usize,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// Write JSON lines to this file, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print a JSON object a line: {"index": 0, "topic": [{"class": "upload", "probability": 0.93}]}
    #[arg(long)]
    json: bool,
}

const PREDICT: &str = "\
Example:
  sentir classify predict --model models/all-MiniLM-L6-v2 --classifier faq-classes \\
      --input examples/questions.jsonl --column text --top-k 3";

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    match &arguments.command {
        Action::Train(train) => train.run(global),
        Action::Predict(predict) => predict.run(global),
    }
}

/// The vectors of texts; of pairs, whose second texts are the first column beside them, what tells their relation.
fn features(encoding: Encoding<'_>, model: &SentenceTransformer, texts: &Texts) -> Result<Rows> {
    let vectors = encoding.sentences(model, texts)?.embeddings;
    let Some(second) = texts.shown.first() else { return Ok(vectors) };
    let second = Texts { texts: second.clone(), shown: Vec::new(), origin: texts.origin.clone() };
    Ok(pair_features(&vectors, &encoding.sentences(model, &second)?.embeddings)?)
}

/// What is shown of a row: its text, or both of a pair.
fn shown(texts: &Texts, row: usize) -> Cow<'_, str> {
    let text = texts.texts[row].as_str();
    texts.shown.first().map_or(text.into(), |second| format!("{text} — {}", second[row]).into())
}

impl Predict {
    fn run(&self, global: &Global) -> Result<()> {
        let classifier = TextClassifier::read(&self.classifier)?;
        match (classifier.pairs, &self.column2) {
            (true, None) => {
                bail!("{}: it classifies pairs of texts: give --column2", self.classifier.display())
            }
            (false, Some(_)) => {
                bail!("{}: it classifies texts, not pairs: leave out --column2", self.classifier.display())
            }
            _ => {}
        }
        let texts = self.input.read(&self.column2.iter().cloned().collect::<Vec<_>>())?;
        let model = model::load(&self.model, global)?;
        let truncate_dim = classifier.truncate_dim.or(self.model.truncate_dim);
        fingerprint::check(
            &model,
            truncate_dim,
            &classifier.probe,
            &self.classifier,
            &classifier.model,
            global.quiet,
        )?;
        let arguments = ModelArguments { truncate_dim, ..self.model.clone() };
        let encoding = Encoding::new(&arguments, &self.prompt, global.quiet);
        let vectors = features(encoding, &model, &texts)?;
        let found = classifier.predict(&vectors)?;
        let object = |row: usize| {
            let mut object = Map::new();
            object.insert("index".to_owned(), json!(row));
            for (level, found) in classifier.levels.iter().zip(&found) {
                let best =
                    found[row].classes.iter().take(self.top_k).filter(|(_, probability)| *probability > 0.0);
                let named = best.map(|(class, probability)| {
                    json!({"class": level.classes[*class], "probability": probability})
                });
                object.insert(level.name.clone(), named.collect());
            }
            Value::Object(object)
        };
        if let Some(path) = &self.output {
            let lines: String = (0..texts.texts.len()).map(|row| format!("{}\n", object(row))).collect();
            sentir::train::record::write_text(path, &lines)?;
            if !global.quiet {
                terminal::say(format_args!(
                    "wrote the classes of {} texts to {}",
                    grouped(texts.texts.len()),
                    path.display()
                ));
            }
            return Ok(());
        }
        terminal::print(|out| {
            for row in 0..texts.texts.len() {
                if self.json {
                    writeln!(out, "{}", object(row))?;
                    continue;
                }
                writeln!(out, "{row}: {}", line(&shown(&texts, row), 100))?;
                for (level, found) in classifier.levels.iter().zip(&found) {
                    let best = found[row].classes.iter().take(self.top_k);
                    let named: Vec<String> = best
                        .filter(|(_, probability)| *probability > 0.0)
                        .map(|(class, probability)| format!("{} {probability:.2}", level.classes[*class]))
                        .collect();
                    writeln!(out, "    {}: {}", level.name, named.join(", "))?;
                }
            }
            Ok(())
        })
    }
}
