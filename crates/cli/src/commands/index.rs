//! `sentir index`: texts and their vectors kept in a directory, to be searched, added to and deleted from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sentir::index::{Entry, Index, Settings, Store};
use sentir::train::probe;
use sentir::{Precision, Rows, SentenceTransformer, Similarity, Task};
use serde_json::{Map, Value, json};

use crate::arguments::{Global, ModelArguments, PromptArguments, similarity_function};
use crate::fingerprint;
use crate::input::{self, Columns, Format, Texts};
use crate::model::{self, Encoding};
use crate::terminal::{self, grouped, notice, size};

/// Keep texts and their vectors in a directory, to search in later
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    Build(Build),
    Update(Update),
    Delete(Delete),
    Info(Info),
}

const EXAMPLES: &str = "\
Examples:
  sentir index build --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --show answer --output faq-index
  sentir search --model models/all-MiniLM-L6-v2 --index faq-index --show answer \\
      \"how can I put a clip online\"
  sentir index update faq-index --model models/all-MiniLM-L6-v2 --input new.jsonl
  sentir index delete faq-index --ids 3,17";

/// The file of texts.
#[derive(Args)]
struct Input {
    /// File of texts: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    input_format: Option<Format>,
}

/// Make a new index of a file of texts
#[derive(Args)]
#[command(after_help = BUILD)]
struct Build {
    #[command(flatten)]
    input: Input,
    /// The column that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// The column that names each text [default: the number of its line or row, from zero]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// More columns to keep, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    show: Vec<String>,
    /// The directory to make
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// How vectors are stored: int8 takes a quarter of float32 and ubinary a thirty-second part
    #[arg(long, value_name = "TYPE", default_value = "float32", value_parser = stored())]
    precision: Precision,
    /// Keep float32 too, on disk, to score the best of int8 or ubinary again by
    #[arg(long)]
    rescore: bool,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    prompt: PromptArguments,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
}

const BUILD: &str = "\
Example:
  sentir index build --model models/all-MiniLM-L6-v2 --input examples/faq.jsonl \\
      --column question --show answer --output faq-index";

/// Add texts to an index; those whose id is there already replace it
#[derive(Args)]
#[command(after_help = UPDATE)]
struct Update {
    /// The index
    index: PathBuf,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    model: ModelArguments,
}

const UPDATE: &str = "\
Example:
  sentir index update faq-index --model models/all-MiniLM-L6-v2 --input new.jsonl

The columns are those that the index was built with. Without a column of ids,
texts get the numbers that follow the highest one.";

/// Remove texts from an index by their ids
#[derive(Args)]
#[command(after_help = "Example:\n  sentir index delete faq-index --ids 3,17")]
struct Delete {
    /// The index
    index: PathBuf,
    /// The ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required_unless_present = "input")]
    ids: Vec<String>,
    /// A file of ids, one a line
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Say what an index holds
#[derive(Args)]
#[command(after_help = "Example:\n  sentir index info faq-index --json")]
struct Info {
    /// The index
    index: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

fn stored() -> impl clap::builder::TypedValueParser<Value = Precision> {
    clap::builder::TypedValueParser::try_map(
        clap::builder::PossibleValuesParser::new(["float32", "int8", "ubinary"]),
        |name| name.parse::<Precision>(),
    )
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    match &arguments.command {
        Action::Build(build) => build.run(global),
        Action::Update(update) => update.run(global),
        Action::Delete(delete) => delete.run(global),
        Action::Info(info) => info.run(),
    }
}

/// What is kept in the index about how it was built.
#[derive(Default)]
struct About {
    column: Option<String>,
    id_column: Option<String>,
    show: Vec<String>,
    prompt: PromptArguments,
    truncate_dim: Option<usize>,
}

impl About {
    fn read(index: &Index) -> Self {
        let about = &index.manifest().about;
        let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
        let show = about.get("show").and_then(Value::as_array).into_iter().flatten();
        Self {
            column: text("column"),
            id_column: text("id_column"),
            show: show.filter_map(Value::as_str).map(str::to_owned).collect(),
            prompt: PromptArguments { prompt_name: text("prompt_name"), prompt: text("prompt") },
            truncate_dim: about.get("truncate_dim").and_then(Value::as_u64).map(|dim| dim as usize),
        }
    }

    fn write(&self, model: &str, probe: &Rows) -> Map<String, Value> {
        let about = json!({
            "model": model,
            "column": self.column,
            "id_column": self.id_column,
            "show": self.show,
            "prompt_name": self.prompt.prompt_name,
            "prompt": self.prompt.prompt,
            "truncate_dim": self.truncate_dim,
            "probe": probe.as_slice(),
        });
        about.as_object().cloned().unwrap_or_default()
    }

    /// The texts of a file, and what is kept with each; without ids, numbers from `first` on.
    fn entries(&self, input: &Input, first: usize) -> Result<(Texts, Vec<Entry>)> {
        let shown: Vec<String> = self.show.iter().chain(&self.id_column).cloned().collect();
        let columns = Columns {
            text: self.column.as_deref(),
            shown: &shown,
            option: "--column",
            format_option: "--input-format",
        };
        let texts = input::read(&input.input, input.input_format, columns)?;
        let entries = (0..texts.texts.len()).map(|row| {
            let mut fields = Map::new();
            fields.insert("text".to_owned(), json!(texts.texts[row]));
            for (name, values) in self.show.iter().zip(&texts.shown) {
                fields.insert(name.clone(), json!(values[row]));
            }
            let id = match self.id_column {
                Some(_) => texts.shown.last().map_or_else(String::new, |ids| ids[row].clone()),
                None => (first + row).to_string(),
            };
            Entry { id, fields }
        });
        let entries: Vec<Entry> = entries.collect();
        if let Some(row) = entries.iter().position(|entry| entry.id.is_empty()) {
            bail!(
                "{}: the id is empty; give each text one, or leave out --id-column",
                texts.origin.place(row)
            );
        }
        Ok((texts, entries))
    }
}

/// Fails if `model` does not give the vectors that the index in `directory` holds.
pub(crate) fn check_model(
    index: &Index,
    directory: &Path,
    model: &SentenceTransformer,
    truncate_dim: Option<usize>,
    quiet: bool,
) -> Result<()> {
    let about = &index.manifest().about;
    let named = about.get("model").and_then(Value::as_str).unwrap_or("another model");
    let kept = about.get("probe").and_then(Value::as_array).into_iter().flatten();
    let kept: Vec<f32> = kept.filter_map(Value::as_f64).map(|x| x as f32).collect();
    let truncate_dim = About::read(index).truncate_dim.or(truncate_dim);
    fingerprint::check(model, truncate_dim, &kept, directory, named, quiet)
}

fn encode(
    model: &SentenceTransformer,
    texts: &Texts,
    arguments: &ModelArguments,
    prompt: &PromptArguments,
    quiet: bool,
) -> Result<Rows> {
    let encoding =
        Encoding { arguments, prompt, task: Task::Document, normalize: false, quiet, what: "encoding" };
    Ok(encoding.sentences(model, texts)?.embeddings)
}

impl Build {
    fn run(&self, global: &Global) -> Result<()> {
        if self.output.exists() {
            bail!(
                "{}: it exists already; choose another --output, or add to it with sentir index update",
                self.output.display()
            );
        }
        if self.rescore && self.precision == Precision::Float32 {
            bail!("--rescore is for int8 and ubinary: float32 vectors are whole");
        }
        let about = About {
            column: self.column.clone(),
            id_column: self.id_column.clone(),
            show: self.show.clone(),
            prompt: self.prompt.clone(),
            truncate_dim: self.model.truncate_dim,
        };
        let (texts, entries) = about.entries(&self.input, 0)?;
        let model = model::load(&self.model, global)?;
        let vectors = encode(&model, &texts, &self.model, &self.prompt, global.quiet)?;
        let settings = Settings {
            similarity: self.similarity_fn.unwrap_or(model.similarity_function()),
            precision: self.precision,
            keep_full: self.rescore,
            about: about.write(&self.model.model, &probe::probe(&model, self.model.truncate_dim)?),
        };
        let index = Index::create(&self.output, settings, &entries, vectors)
            .with_context(|| self.input.input.display().to_string())?;
        if !global.quiet {
            terminal::say(format_args!(
                "wrote {} texts to {} ({})",
                grouped(index.len()),
                self.output.display(),
                size(index.bytes() as usize)
            ));
        }
        Ok(())
    }
}

impl Update {
    fn run(&self, global: &Global) -> Result<()> {
        let mut index = Index::open(&self.index)?;
        let about = About::read(&index);
        let numbers = index.ids()?.iter().filter_map(|id| id.parse::<usize>().ok()).max();
        let (texts, entries) = about.entries(&self.input, numbers.map_or(0, |highest| highest + 1))?;
        let model = model::load(&self.model, global)?;
        check_model(&index, &self.index, &model, self.model.truncate_dim, global.quiet)?;
        let arguments = ModelArguments { truncate_dim: about.truncate_dim, ..self.model.clone() };
        let vectors = encode(&model, &texts, &arguments, &about.prompt, global.quiet)?;
        let changed =
            index.upsert(&entries, vectors).with_context(|| self.input.input.display().to_string())?;
        if !global.quiet {
            terminal::say(format_args!(
                "added {} and replaced {}: {} texts in {}",
                grouped(changed.added),
                grouped(changed.replaced),
                grouped(index.len()),
                self.index.display()
            ));
        }
        Ok(())
    }
}

impl Delete {
    fn run(&self, global: &Global) -> Result<()> {
        let mut ids = self.ids.clone();
        if let Some(path) = &self.input {
            ids.extend(input::read(path, Some(Format::Txt), Columns::default())?.texts);
        }
        ids.retain(|id| !id.is_empty());
        let mut index = Index::open(&self.index)?;
        let before = index.len();
        let missing = index.delete(&ids)?;
        if let Some(first) = missing.first() {
            notice(
                global.quiet,
                format_args!(
                    "{} of {} ids are not in the index, such as \"{first}\"",
                    grouped(missing.len()),
                    grouped(ids.len())
                ),
            );
        }
        if !global.quiet {
            terminal::say(format_args!(
                "removed {}: {} texts in {}",
                grouped(before - index.len()),
                grouped(index.len()),
                self.index.display()
            ));
        }
        Ok(())
    }
}

impl Info {
    fn run(&self) -> Result<()> {
        let index = Index::open(&self.index)?;
        let manifest = index.manifest();
        let mut about = manifest.about.clone();
        about.remove("probe");
        about.retain(|_, value| !value.is_null());
        if self.json {
            let line = json!({
                "texts": index.len(), "dimensions": manifest.dimensions, "precision": manifest.precision().name(),
                "rescore": manifest.full && manifest.precision() != Precision::Float32,
                "similarity_fn": manifest.similarity().name(), "segments": manifest.segments.len(),
                "bytes": index.bytes(), "about": about,
            });
            return terminal::print(|out| writeln!(out, "{line}"));
        }
        terminal::print(|out| {
            writeln!(out, "{} texts, {}", grouped(index.len()), size(index.bytes() as usize))?;
            let whole =
                if manifest.full && manifest.precision() != Precision::Float32 { " and float32" } else { "" };
            writeln!(
                out,
                "vectors of {} dimensions in {}{whole}, compared by {}",
                manifest.dimensions,
                manifest.precision(),
                manifest.similarity()
            )?;
            for (name, value) in &about {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(out, "{name}: {value}")?;
            }
            Ok(())
        })
    }
}
