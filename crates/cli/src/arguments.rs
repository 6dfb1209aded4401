//! The arguments that several commands share, and the list of commands. Those of one command are in its own file.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use sentir::{Precision, Similarity, Truncation, WeightType};

use crate::commands::{
    card, classify, cluster, dedup, demo, download, encode, evaluate, index, inspect, mine, prune, quantize,
    search, similarity, train,
};
use crate::input::{self, Columns, Format, Texts};

/// Sentence embeddings: encode texts, compare them, search in them, fine-tune models
#[derive(Parser)]
#[command(name = "sentir", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sentir search --model models/all-MiniLM-L6-v2 --corpus examples/faq.jsonl \\
      --column question --show answer
  sentir encode --model models/all-MiniLM-L6-v2 --input texts.txt \\
      --output vectors.npy
  sentir help encode

Exit codes: 0 done, 1 error, 2 wrong arguments, 130 interrupted.";

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Demo(demo::Arguments),
    Encode(encode::Arguments),
    Similarity(similarity::Arguments),
    Search(search::Arguments),
    Index(index::Arguments),
    Mine(mine::Arguments),
    Classify(classify::Arguments),
    Cluster(Box<cluster::Arguments>),
    Dedup(dedup::Arguments),
    Inspect(inspect::Arguments),
    Quantize(quantize::Arguments),
    Prune(prune::Arguments),
    Train(Box<train::Arguments>),
    Card(card::Arguments),
    Evaluate(Box<evaluate::Arguments>),
    Download(download::Arguments),
}

/// What holds for every command.
#[derive(Args)]
pub(crate) struct Global {
    /// Number of threads to compute with [default: one per core]
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print results and errors only: no progress, no notices
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

/// Which model, and how it reads texts.
#[derive(Args, Clone, Default)]
pub(crate) struct ModelArguments {
    /// A model directory, or the id of a model on the Hugging Face hub
    #[arg(long, value_name = "DIR|ID", help_heading = "Model")]
    pub(crate) model: String,
    /// Branch, tag or commit on the hub
    #[arg(long, value_name = "REVISION", help_heading = "Model")]
    pub(crate) revision: Option<String>,
    /// The type of the encoder's weights and products: bf16 and int8 are faster and smaller, and change the vectors a little
    /// [default: that of a quantized model, else f32]
    #[arg(long, value_name = "TYPE", value_parser = weight_type(), help_heading = "Model")]
    pub(crate) dtype: Option<WeightType>,
    /// Read at most so many tokens of a text, in place of the model's own limit
    #[arg(long, value_name = "N", value_parser = at_least_one(), help_heading = "Model")]
    pub(crate) max_seq_length: Option<usize>,
    /// What to do with texts that are longer than the model reads
    #[arg(long, value_name = "POLICY", default_value = "truncate", value_parser = truncation(), help_heading = "Model")]
    pub(crate) truncation: Truncation,
    /// Keep the first so many components of each vector
    #[arg(long, value_name = "N", value_parser = at_least_one(), help_heading = "Model")]
    pub(crate) truncate_dim: Option<usize>,
    /// How many tokens are computed together; changes speed and memory, not the vectors [default: 256 a thread, at
    /// least 512]
    #[arg(long, value_name = "N", value_parser = at_least_one(), help_heading = "Model")]
    pub(crate) batch_tokens: Option<usize>,
}

/// A file of texts.
#[derive(Args, Clone)]
pub(crate) struct InputArguments {
    /// File of texts: .txt, .jsonl, .csv, .tsv or .parquet; "-" is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Format of the input, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) input_format: Option<Format>,
    /// The column that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Option<String>,
}

impl InputArguments {
    /// The texts, and the columns `shown` beside them.
    pub(crate) fn read(&self, shown: &[String]) -> anyhow::Result<Texts> {
        let columns = Columns {
            text: self.column.as_deref(),
            shown,
            option: "--column",
            format_option: "--input-format",
        };
        input::read(&self.input, self.input_format, columns)
    }
}

/// What is put before the texts.
#[derive(Args, Clone, Default)]
pub(crate) struct PromptArguments {
    /// The name of one of the model's prompts, put before every text
    #[arg(long, value_name = "NAME", conflicts_with = "prompt", help_heading = "Model")]
    pub(crate) prompt_name: Option<String>,
    /// A prompt of your own, put before every text
    #[arg(long, value_name = "TEXT", help_heading = "Model")]
    pub(crate) prompt: Option<String>,
}

/// A number from one up.
pub(crate) fn at_least_one() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..).map(|number| number as usize)
}

/// The precisions by name.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of(Precision::ALL.map(|precision| (precision, precision.name())))
}

/// The types of weights by name.
pub(crate) fn weight_type() -> impl TypedValueParser<Value = WeightType> {
    one_of(WeightType::ALL)
}

/// The types that a table of token embeddings is rounded to, by name.
pub(crate) fn embeddings_type() -> impl TypedValueParser<Value = WeightType> {
    one_of([WeightType::Bf16, WeightType::Int8].map(|kind| (kind, kind.name())))
}

/// The similarity functions by name.
pub(crate) fn similarity_function() -> impl TypedValueParser<Value = Similarity> {
    one_of(Similarity::ALL.map(|similarity| (similarity, similarity.name())))
}

fn truncation() -> impl TypedValueParser<Value = Truncation> {
    one_of(Truncation::ALL)
}

fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    known: [(T, &'static str); N],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(known.map(|(_, name)| name)).try_map(move |given| {
        let found = known.iter().find(|(_, name)| *name == given);
        found.map(|(value, _)| *value).ok_or("not one of the known names")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("sentir {}", command.get_name())),
                "{}: {help}",
                command.get_name()
            );
        }
    }
}
