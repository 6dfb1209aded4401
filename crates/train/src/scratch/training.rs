//! A static model trained on one's own pairs of texts, in seconds, from nothing but them.
//!
//! The recipe is [`StaticTraining::default`]. It was chosen on the 400 development cases of `../shared/data/rutube` (questions
//! of real users to a support desk, 287 entries) with the example `static_from_scratch`: accuracy@1 and MRR@10, means of
//! three seeds; 0.01 between two rows is no difference, as one seed differs from another by that.
//!
//! | recipe | acc@1 | MRR@10 | | recipe | acc@1 | MRR@10 |
//! |---|---|---|---|---|---|---|
//! | not trained | 0.35 | 0.44 | | vocabulary 1000 | 0.503 | 0.622 |
//! | scale 7 (**the defaults**) | 0.540 | 0.661 | | vocabulary 4000 | 0.505 | 0.632 |
//! | scale 10 (all others) | 0.518 | 0.643 | | pieces of 4 characters | 0.520 | 0.637 |
//! | scale 20 | 0.489 | 0.605 | | pieces of 8 | 0.518 | 0.630 |
//! | scale 4 | 0.528 | 0.652 | | pieces of 16 | 0.502 | 0.612 |
//! | no typing errors | 0.503 | 0.635 | | 128 components | 0.509 | 0.630 |
//! | typing errors 0.5 | 0.530 | 0.648 | | 1024 components | 0.526 | 0.649 |
//! | learning rate 0.02 | 0.518 | 0.639 | | batches of 64 | 0.515 | 0.640 |
//! | learning rate 0.1 | 0.518 | 0.643 | | 10 epochs | 0.509 | 0.633 |
//!
//! Not here: the loop of a training ([`crate::trainer`]) and what a new model is (`static_model`).

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sentir_model::{LoadOptions, SentenceTransformer, Trainable, directory};

use super::static_model::{StaticOptions, write_static};
use super::typos::mistype;
use crate::arguments::{IntervalStrategy, TrainingArguments};
use crate::data::{Dataset, TextColumn};
use crate::losses::MultipleNegativesRanking;
use crate::order::Mt19937;
use crate::samplers::BatchSampler;
use crate::trainer::{Event, Trained, Training};
use crate::{Error, Result};

/// How a static model is made and trained.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticTraining {
    /// The new model.
    pub model: StaticOptions,
    /// Times that each pair is seen in an epoch, with other typing errors each time; 2.
    pub copies: usize,
    /// The probability of a typing error in a word; 0.3.
    pub typos: f64,
    /// The scale of cosines in the loss; 7. The 20 that is usual for transformers lets a table learn its texts by
    /// heart.
    pub scale: f64,
    /// More epochs than [`TrainingArguments::num_train_epochs`] are made until there are so many updates; 150.
    pub least_updates: usize,
    /// The rest: batches of 256 without a text twice, a learning rate of 0.05 after a warm-up of a tenth, 5 epochs, no
    /// weight decay.
    pub arguments: TrainingArguments,
}

impl Default for StaticTraining {
    fn default() -> Self {
        Self {
            model: StaticOptions::default(),
            copies: 2,
            typos: 0.3,
            scale: 7.0,
            least_updates: 150,
            arguments: TrainingArguments {
                per_device_train_batch_size: 256,
                learning_rate: 0.05,
                num_train_epochs: 5.0,
                warmup_ratio: Some(0.1),
                batch_sampler: BatchSampler::NoDuplicates,
                save_strategy: IntervalStrategy::No,
                ..TrainingArguments::default()
            },
        }
    }
}

/// Trains a static model on pairs of texts that mean the same, and writes it as the new directory `target`.
///
/// The vocabulary is that of all texts of the pairs. Training is `MultipleNegativesRankingLoss` over the two columns. Typing
/// errors go into the column with more distinct texts; the texts of the other one (the questions of a knowledge base, each
/// with its paraphrases and its answer) say which pairs must not be in one batch. The model that is returned is the one in
/// `target`, loaded for training.
///
/// # Errors
/// If the data has not two columns or no rows, if `target` exists, and as [`Training::run`]; then `target` is not there.
pub fn train_static(
    pairs: &Dataset,
    options: &StaticTraining,
    target: &Path,
    observer: &mut (dyn FnMut(Event<'_>) + Send),
    interrupt: &AtomicBool,
) -> Result<Trained> {
    let beside = directory::beside(target)?;
    let fresh = beside.path().join("fresh");
    let (data, arguments) = begin_static(pairs, options, &fresh)?;
    let loss = MultipleNegativesRanking { scale: options.scale, ..MultipleNegativesRanking::default() };
    let training = Training::new(load(&fresh)?, vec![data], &loss, &arguments, interrupt);
    let mut trained = training.run(observer)?;
    trained.model.save(target)?;
    trained.model = load(target)?;
    Ok(trained)
}

/// What [`train_static`] begins with: the new model, which is written as the directory `fresh`, the pairs with typing errors, and the
/// arguments with as many epochs as it takes.
///
/// # Errors
/// If the data has not two columns or no rows, or `fresh` exists.
pub fn begin_static(
    pairs: &Dataset,
    options: &StaticTraining,
    fresh: &Path,
) -> Result<(Dataset, TrainingArguments)> {
    if pairs.columns.len() != 2 {
        return Err(Error::Argument(format!(
            "data set \"{}\": {} columns of texts; a static model is trained on two, the texts of a pair",
            pairs.name,
            pairs.columns.len()
        )));
    }
    if !(0.0..=1.0).contains(&options.typos) || options.copies == 0 {
        let message =
            "typing errors: the probability must be from 0 to 1, and there must be at least one copy";
        return Err(Error::Argument(message.to_owned()));
    }
    options.arguments.check()?;
    write_static(&distinct_texts(pairs), &options.model, fresh)?;
    let data = mistyped(pairs, options)?;
    let mut arguments = options.arguments.clone();
    if arguments.max_updates().is_none() {
        let batches = data.len().div_ceil(arguments.per_device_train_batch_size);
        let updates = batches.div_ceil(arguments.gradient_accumulation_steps);
        let least = options.least_updates.div_ceil(updates.max(1));
        arguments.num_train_epochs = arguments.num_train_epochs.max(least as f64);
    }
    Ok((data, arguments))
}

/// The texts that a vocabulary is learned from, each once: how often a question is repeated says nothing of its words.
pub fn distinct_texts(data: &Dataset) -> Vec<&str> {
    let mut seen = HashSet::new();
    let texts = data.columns.iter().flat_map(|column| &column.texts).map(String::as_str);
    texts.filter(|text| seen.insert(*text)).collect()
}

fn load(directory: &Path) -> Result<SentenceTransformer> {
    let options = LoadOptions { trainable: Trainable::Everything, ..LoadOptions::default() };
    let path = directory.to_str().ok_or_else(|| {
        Error::Argument(format!("{}: the path is not UTF-8; choose another", directory.display()))
    })?;
    Ok(SentenceTransformer::load_with(path, &options)?)
}

/// The pairs as often as there are copies, with typing errors in the column with more distinct texts.
fn mistyped(pairs: &Dataset, options: &StaticTraining) -> Result<Dataset> {
    let distinct = |column: &TextColumn| column.texts.iter().collect::<HashSet<_>>().len();
    let changed = usize::from(distinct(&pairs.columns[1]) >= distinct(&pairs.columns[0]));
    let mut random = Mt19937::new(options.arguments.seed);
    let mut columns = Vec::new();
    for (i, column) in pairs.columns.iter().enumerate() {
        let copies = (0..options.copies).flat_map(|_| &column.texts);
        let texts = if i == changed && options.typos > 0.0 {
            copies.map(|text| mistype(text, options.typos, &mut random)).collect()
        } else {
            copies.cloned().collect()
        };
        columns.push(TextColumn { name: column.name.clone(), texts });
    }
    Dataset::new(&pairs.name, columns, None)
}
