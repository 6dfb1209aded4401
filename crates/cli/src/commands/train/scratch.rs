//! `sentir train --from-scratch`: a new model in place of one that is there. It is made of the texts of the data before
//! training, in a folder that goes afterwards; from then on everything is as in any other training.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sentir::train::data::Dataset;
use sentir::train::scratch::{
    StaticTraining, TransformerOptions, begin_static, distinct_texts, write_transformer,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::settings::Settings;

/// What a new model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A table of vectors, the mean of which is the vector of a text: trained in seconds
    Static,
    /// A small BERT with mean pooling
    Transformer,
}

/// The options of a new model.
#[derive(Args)]
pub(super) struct Options {
    /// Make a new model of the texts of the data, in place of --model
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        conflicts_with_all = ["model", "revision"],
        help_heading = "New model"
    )]
    pub(super) from_scratch: Option<Kind>,
    /// Tokens of its vocabulary, at most [default: 2000 for static, 4000 for transformer]
    #[arg(long, value_name = "N", requires = "from_scratch", help_heading = "New model")]
    vocab_size: Option<usize>,
    /// Components of a vector [default: 256 for static, 128 for transformer]
    #[arg(long, value_name = "N", requires = "from_scratch", help_heading = "New model")]
    hidden_size: Option<usize>,
    /// Layers of a transformer [default: 2]
    #[arg(long, value_name = "N", requires = "from_scratch", help_heading = "New model")]
    num_hidden_layers: Option<usize>,
    /// Heads of attention of a transformer [default: 4]
    #[arg(long, value_name = "N", requires = "from_scratch", help_heading = "New model")]
    num_attention_heads: Option<usize>,
    /// Components between the two matrices of the feed-forward part of a transformer [default: 4 times the hidden size]
    #[arg(long, value_name = "N", requires = "from_scratch", help_heading = "New model")]
    intermediate_size: Option<usize>,
}

/// Arguments that serve a new model better than those for a model that has learned already; those that are given count more.
pub(super) fn defaults(kind: Kind) -> Map<String, Value> {
    let usual = StaticTraining::default().arguments;
    let defaults = match kind {
        Kind::Static => json!({
            "per_device_train_batch_size": usual.per_device_train_batch_size,
            "learning_rate": usual.learning_rate,
            "num_train_epochs": usual.num_train_epochs,
            "warmup_ratio": usual.warmup_ratio,
            "batch_sampler": usual.batch_sampler,
        }),
        Kind::Transformer => json!({
            "per_device_train_batch_size": 64,
            "learning_rate": 5e-4,
            "num_train_epochs": 10,
            "warmup_ratio": 0.1,
            "batch_sampler": usual.batch_sampler,
        }),
    };
    match defaults {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The scale of cosines in MultipleNegativesRankingLoss that a new model learns best with.
pub(super) fn scale(kind: Kind) -> Option<f64> {
    (kind == Kind::Static).then(|| StaticTraining::default().scale)
}

/// Makes the new model; the settings then name it. For a static model, the data becomes what it is trained on: copies with typing
/// errors. The folder must live until the training is over.
pub(super) fn begin(
    kind: Kind,
    options: &Options,
    settings: &mut Settings,
    datasets: &mut [Dataset],
) -> Result<TempDir> {
    let [data] = datasets else { bail!("--from-scratch learns from one data set; give all files to --data") };
    let folder = tempfile::tempdir().context("a temporary folder cannot be made")?;
    let fresh: PathBuf = folder.path().join("new");
    let seed = settings.arguments.seed;
    match kind {
        Kind::Static => {
            let of_layers =
                [options.num_hidden_layers, options.num_attention_heads, options.intermediate_size];
            if of_layers.iter().any(Option::is_some) {
                bail!(
                    "a static model has no layers: leave --num-hidden-layers, --num-attention-heads and --intermediate-size out"
                );
            }
            let mut own =
                StaticTraining { arguments: settings.arguments.clone(), ..StaticTraining::default() };
            own.model.seed = seed;
            own.model.dimension = options.hidden_size.unwrap_or(own.model.dimension);
            own.model.tokenizer.vocabulary = options.vocab_size.unwrap_or(own.model.tokenizer.vocabulary);
            if settings.says("num_train_epochs") {
                own.least_updates = 0;
            }
            (*data, settings.arguments) = begin_static(data, &own, &fresh)?;
            settings.data_note = Some(format!("{} copies of each pair, with typing errors", own.copies));
        }
        Kind::Transformer => {
            let mut own = TransformerOptions { seed, ..TransformerOptions::default() };
            own.width = options.hidden_size.unwrap_or(own.width);
            own.layers = options.num_hidden_layers.unwrap_or(own.layers);
            own.heads = options.num_attention_heads.unwrap_or(own.heads);
            own.feed_forward = options.intermediate_size.unwrap_or(own.width.saturating_mul(4));
            own.tokenizer.vocabulary = options.vocab_size.unwrap_or(own.tokenizer.vocabulary);
            own.max_length = settings.max_seq_length.unwrap_or(own.max_length);
            write_transformer(&distinct_texts(data), &own, &fresh)?;
        }
    }
    settings.model = fresh.to_str().context("the temporary folder has a name that is not UTF-8")?.to_owned();
    Ok(folder)
}
