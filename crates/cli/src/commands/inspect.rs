//! `sentir inspect`: what a model is made of, and how it will be used.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use sentir::{Description, LoadOptions, WeightsDescription};

use crate::arguments::Global;
use crate::model;
use crate::terminal::{self, grouped, size};

/// Show what a model is made of and how it will be used
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A model directory, or the id of a model on the Hugging Face hub
    #[arg(value_name = "MODEL")]
    model: String,
    /// Branch, tag or commit on the hub
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  sentir inspect models/all-MiniLM-L6-v2";

/// Loads the model, so that what is shown is what would be used.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let description =
        model::find(&arguments.model, arguments.revision.as_deref(), LoadOptions::default(), global.quiet)?
            .describe()?;
    terminal::answer(arguments.json, &description, |out| write(out, &description))
}

fn write(out: &mut dyn Write, model: &Description) -> io::Result<()> {
    let mut field = |name: &str, value: &str| writeln!(out, "{name:<14}{value}");
    field("model", &model.path.display().to_string())?;
    field("dimensions", &model.embedding_dimension.to_string())?;
    if let Some(dim) = model.truncate_dim {
        field("truncate_dim", &format!("{dim}, as the model says"))?;
    }
    field("parameters", &grouped(model.parameters))?;
    field(
        "tokens read",
        &model.max_seq_length.map_or("all of a text".to_owned(), |most| format!("{most} of a text")),
    )?;
    field("tokenizer", &model.tokenizer)?;
    field("similarity", model.similarity_fn_name)?;
    for (number, (name, prompt)) in model.prompts.iter().enumerate() {
        let default =
            if model.default_prompt_name.as_ref() == Some(name) { " (used by default)" } else { "" };
        field(if number == 0 { "prompts" } else { "" }, &format!("{name} = {prompt:?}{default}"))?;
    }
    for (number, module) in model.modules.iter().enumerate() {
        let label = if number == 0 { "modules" } else { "" };
        field(label, &format!("{number} {}: {}", module.kind, module.details))?;
        if let Some(weights) = &module.weights {
            field("", &format!("  {}", describe(weights)))?;
        }
    }
    for notice in &model.notices {
        field("notice", notice)?;
    }
    Ok(())
}

fn describe(weights: &WeightsDescription) -> String {
    let name = |file: &std::path::PathBuf| {
        file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
    };
    let files = match weights.files.as_slice() {
        [first, .., last] => format!("{} files, {} to {}", weights.files.len(), name(first), name(last)),
        files => files.iter().map(name).collect(),
    };
    let types: Vec<String> =
        weights.dtypes.iter().map(|(dtype, count)| format!("{} {dtype}", grouped(*count))).collect();
    format!("{files}: {}, {} tensors, {}", size(weights.bytes), weights.tensors, types.join(", "))
}
