//! `sentir quantize`: a model directory with packed weights, ready at once when it is loaded, and what that costs.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sentir::{
    LoadOptions, MatrixError, QuantizeOptions, Rows, SearchOptions, SentenceTransformer, Similarity, Task,
    WeightType, search,
};
use serde::Serialize;

use crate::arguments::{Global, ModelArguments, PromptArguments, embeddings_type, weight_type};
use crate::input::{self, Columns, Format, Texts};
use crate::interrupt::{self, Interrupted};
use crate::model::{self, Encoding};
use crate::terminal::{self, Progress, size};

/// Write a model directory with smaller, faster weights
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
    /// The type of the encoder's weights
    #[arg(long, value_name = "TYPE", default_value = "int8", value_parser = weight_type())]
    dtype: WeightType,
    /// The type of the table of token embeddings, most of a multilingual model: bf16, or int8 with a scale per token [default: as it is]
    #[arg(long, value_name = "TYPE", value_parser = embeddings_type())]
    embeddings_dtype: Option<WeightType>,
    /// Print what it did to each matrix
    #[arg(long)]
    report: bool,
    /// File of your own texts to compare with the original on: .txt, .jsonl, .csv, .tsv or .parquet
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// The column of that file that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME", requires = "check")]
    column: Option<String>,
    /// Format of that file, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum, requires = "check")]
    check_format: Option<Format>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir quantize models/all-MiniLM-L6-v2 minilm-int8
  sentir quantize models/all-MiniLM-L6-v2 minilm-bf16 --dtype bf16 --report
  sentir quantize models/all-MiniLM-L6-v2 minilm-int8 --check examples/faq.jsonl \\
      --column question
  sentir quantize models/all-MiniLM-L6-v2 minilm-tiny --embeddings-dtype int8

The directory is used like any other (--model minilm-int8), by sentir only:
keep the original for other tools. Positions and the modules after pooling
stay as they are, and so does the table of token embeddings unless asked for.";

/// What is printed with `--json`.
#[derive(Serialize)]
struct Outcome {
    path: PathBuf,
    dtype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    embeddings_dtype: Option<&'static str>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    matrices: Option<Vec<MatrixError>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
}

/// How far the vectors of the quantized model are from those of the original.
#[derive(Serialize)]
struct Check {
    texts: usize,
    mean_cosine: f64,
    smallest_cosine: f64,
    /// Zero-based, in the file.
    smallest_cosine_text: usize,
    /// Of each text's nearest others, the part that is the same for both: `neighbors` of them.
    same_neighbors: f64,
    neighbors: usize,
}

/// Quantizes, then compares.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let texts = match &arguments.check {
        Some(path) => {
            let columns = Columns {
                text: arguments.column.as_deref(),
                shown: &[],
                option: "--column",
                format_option: "--check-format",
            };
            Some(input::read(path, arguments.check_format, columns)?)
        }
        None => None,
    };
    let original =
        model::find(&arguments.model, arguments.revision.as_deref(), LoadOptions::default(), global.quiet)?;
    let bar = Progress::new(global.quiet, "quantizing", "matrices");
    let progress = |done: usize, total: usize| bar.set(done as u64, total as u64);
    let options = QuantizeOptions {
        embeddings: arguments.embeddings_dtype,
        progress: Some(&progress),
        interrupt: Some(interrupt::flag()),
    };
    let polling = interrupt::polling();
    let quantized = sentir::quantize_model(original.path(), &arguments.out, arguments.dtype, options);
    drop(polling);
    drop(bar);
    let matrices = quantized.map_err(|error| match error {
        sentir::Error::Interrupted => Interrupted::BEFORE_WRITING.into(),
        other => anyhow::Error::from(other),
    })?;
    let check = match &texts {
        Some(texts) => Some(compare(&original, arguments, texts, global)?),
        None => None,
    };
    let outcome = Outcome {
        path: arguments.out.clone(),
        dtype: arguments.dtype.name(),
        embeddings_dtype: arguments.embeddings_dtype.map(WeightType::name),
        bytes: bytes(&arguments.out)?,
        matrices: arguments.report.then_some(matrices),
        check,
    };
    terminal::answer(arguments.json, &outcome, |out| write(out, &outcome))
}

/// Encodes the texts with both models.
fn compare(
    original: &SentenceTransformer,
    arguments: &Arguments,
    texts: &Texts,
    global: &Global,
) -> Result<Check> {
    const NEIGHBORS: usize = 10;
    let quantized = model::find(&arguments.out.to_string_lossy(), None, LoadOptions::default(), true)?;
    let (model_arguments, prompt) = (ModelArguments::default(), PromptArguments::default());
    let encode = |model: &SentenceTransformer, what| -> Result<Rows> {
        let encoding = Encoding {
            arguments: &model_arguments,
            prompt: &prompt,
            task: Task::Any,
            normalize: true,
            quiet: global.quiet,
            what,
        };
        Ok(encoding.sentences(model, texts)?.embeddings)
    };
    let (a, b) = (encode(original, "original")?, encode(&quantized, "quantized")?);
    let cosines = sentir::similarity::pairwise(&a, &b, Similarity::Cosine)?;
    let (smallest_cosine_text, smallest) =
        cosines.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f32::NAN));
    // One more than wanted, since each text is its own nearest.
    let options = SearchOptions { similarity: Similarity::Cosine, top_k: NEIGHBORS + 1 };
    let (near, near_quantized) = (search(&a, &a, &options)?, search(&b, &b, &options)?);
    let (mut same, mut all) = (0, 0);
    for (text, (near, other)) in near.iter().zip(&near_quantized).enumerate() {
        let nearest = near.iter().map(|hit| hit.index).filter(|&index| index != text).take(NEIGHBORS);
        let other: Vec<usize> =
            other.iter().map(|hit| hit.index).filter(|&index| index != text).take(NEIGHBORS).collect();
        all += other.len();
        same += nearest.filter(|index| other.contains(index)).count();
    }
    Ok(Check {
        texts: cosines.len(),
        mean_cosine: cosines.iter().map(|&cosine| f64::from(cosine)).sum::<f64>() / cosines.len() as f64,
        smallest_cosine: smallest.into(),
        smallest_cosine_text,
        same_neighbors: if all > 0 { same as f64 / all as f64 } else { 1.0 },
        neighbors: NEIGHBORS,
    })
}

/// The size of a directory.
fn bytes(path: &std::path::Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

fn write(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let bytes = usize::try_from(outcome.bytes).unwrap_or(usize::MAX);
    let embeddings =
        outcome.embeddings_dtype.map_or(String::new(), |dtype| format!(", token embeddings {dtype}"));
    writeln!(out, "{}: {}{embeddings}, {}", outcome.path.display(), outcome.dtype, size(bytes))?;
    if let Some(matrices) = &outcome.matrices {
        writeln!(out, "\nrelative error  shape        matrix")?;
        for matrix in matrices {
            let shape = format!("{} × {}", matrix.outputs, matrix.inputs);
            writeln!(out, "{:>14.5}  {shape:<11}  {}", matrix.relative_error, matrix.name)?;
        }
    }
    if let Some(check) = &outcome.check {
        writeln!(
            out,
            "\n{} texts: cosine to the original {:.5} on average, {:.5} at worst (text {}); \
             {:.1} % of the {} nearest texts are the same",
            check.texts,
            check.mean_cosine,
            check.smallest_cosine,
            check.smallest_cosine_text,
            100.0 * check.same_neighbors,
            check.neighbors
        )?;
    }
    Ok(())
}
