//! Which rows go into which batch: the samplers of sentence-transformers, batch for batch, as pure functions of seed and
//! epoch. Training goes on in the middle of an epoch by skipping the batches that were done.
//!
//! Not here: random numbers ([`crate::order`]), texts in batches, the number of updates ([`crate::schedule`]).

pub(crate) mod streams;

use serde::{Deserialize, Serialize};

use crate::arguments::TrainingArguments;
use crate::data::Dataset;
use crate::order::{Mt19937, UNSEEDED, randperm};
use crate::{Error, Result};
use streams::{GroupByLabel, NoDuplicates, Permuted, Stream};

/// How the rows of one data set become batches (`batch_sampler` of the training arguments).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSampler {
    /// Contiguous pieces of a permutation.
    #[default]
    BatchSampler,
    /// No text twice in a batch, in whichever columns: a row that would repeat one waits for a later batch. The hashed variant of
    /// sentence-transformers gives the same batches, and is this one.
    #[serde(alias = "no_duplicates_hashed")]
    NoDuplicates,
    /// Labels take turns with two rows each, so that every batch has several labels and two rows of each.
    GroupByLabel,
}

/// How several data sets take turns (`multi_dataset_batch_sampler`). A batch is always of one data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiDatasetBatchSampler {
    /// A batch of each in turn until the first has no more; the rest of the others is not seen in this epoch.
    RoundRobin,
    /// All batches of all, in random order.
    #[default]
    Proportional,
}

/// Which release's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Release {
    /// sentence-transformers 6.2 with transformers 5 and accelerate 1.15.
    #[default]
    #[serde(rename = "6.2")]
    V6,
    /// sentence-transformers 3.1.1 with accelerate 0.34, `batch_sampler` only: one data set goes on with the same random numbers
    /// from epoch to epoch, and several have the same order in each epoch (unless the seed is 0, which counted as none).
    #[serde(rename = "3.1")]
    V3,
}

/// What decides the batches beside the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How one data set becomes batches.
    pub batch_sampler: BatchSampler,
    /// How several take turns. `None` is one data set that was not given as a dictionary of data sets; a dictionary of one is ordered
    /// differently from its data set alone.
    pub multi: Option<MultiDatasetBatchSampler>,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Whether a last batch of fewer rows is left out.
    pub drop_last: bool,
    /// The seed.
    pub seed: u64,
    /// Another seed for the order of one data set under [`BatchSampler::BatchSampler`], the only place where it counts in 6.2.
    pub data_seed: Option<u64>,
    /// Which release's order.
    pub release: Release,
}

impl Settings {
    /// What the arguments of a training say, for so many data sets.
    #[must_use]
    pub fn of(arguments: &TrainingArguments, datasets: usize) -> Self {
        Self {
            batch_sampler: arguments.batch_sampler,
            multi: (datasets > 1).then_some(arguments.multi_dataset_batch_sampler),
            batch_size: arguments.per_device_train_batch_size,
            drop_last: arguments.dataloader_drop_last,
            seed: arguments.seed,
            data_seed: arguments.data_seed,
            release: arguments.order,
        }
    }
}

/// Rows of one data set that are trained on together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which data set.
    pub dataset: usize,
    /// Its rows, in the order of the batch.
    pub rows: Vec<u32>,
}

/// The batches of a training.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Settings,
    parts: Vec<Part>,
}

/// What a sampler knows of one data set.
#[derive(Debug, Clone)]
struct Part {
    rows: usize,
    /// For `NoDuplicates`, a number for each text: the columns of row 0, of row 1, ...; equal texts have equal numbers.
    keys: Vec<u32>,
    /// For `GroupByLabel`, the rows of each label, in the order in which labels first appear.
    groups: Vec<Vec<u32>>,
    /// Batches that an epoch of it is announced with.
    batches: usize,
}

impl Sampler {
    /// Looks at the data and prepares what the samplers need of it.
    ///
    /// # Errors
    /// If a data set is empty or too small for one batch, if there are several but `multi` is none, or if the data or the batch size do not
    /// fit the sampler.
    pub fn new(datasets: &[&Dataset], settings: Settings) -> Result<Self> {
        if settings.batch_size == 0 {
            return Err(Error::Argument("the batch size is 0; it must be at least 1".into()));
        }
        if settings.multi.is_none() && datasets.len() != 1 {
            return Err(Error::Argument(format!(
                "{} data sets where one is expected; choose how they take turns with multi_dataset_batch_sampler",
                datasets.len()
            )));
        }
        if settings.release == Release::V3 && settings.batch_sampler != BatchSampler::BatchSampler {
            return Err(Error::Argument(
                "the order of 3.1 is there for batch_sampler \"batch_sampler\" only; leave the order at 6.2"
                    .into(),
            ));
        }
        let parts: Vec<Part> =
            datasets.iter().map(|dataset| Part::new(dataset, &settings)).collect::<Result<_>>()?;
        let sampler = Self { settings, parts };
        if sampler.batches_per_epoch() == 0 {
            return Err(Error::Argument(format!(
                "no batch: the data has fewer rows than a batch of {}; lower per_device_train_batch_size or leave \
                 dataloader_drop_last off",
                sampler.settings.batch_size
            )));
        }
        Ok(sampler)
    }

    /// The batches that an epoch is announced with, which the number of updates follows from (`len` of the data loader).
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        let each = self.parts.iter().map(|part| part.batches);
        match self.settings.multi {
            Some(MultiDatasetBatchSampler::RoundRobin) => each.min().unwrap_or(0) * self.parts.len(),
            _ => each.sum(),
        }
    }

    /// The batches of an epoch (from 0), those that the trainer trains on. With [`BatchSampler::NoDuplicates`] there can be fewer than
    /// [`Self::batches_per_epoch`] if too few texts are distinct; more are never made, as transformers 5 does not ask for more. (The order
    /// of 3.1 may have a batch more with round robin, as it had there.)
    ///
    /// The same bits for the same data, settings and epoch, on any machine.
    #[must_use]
    pub fn epoch(&self, epoch: usize) -> Vec<Batch> {
        let seed = self.settings.seed;
        match self.settings.release {
            Release::V6 => {
                // accelerate puts a sampler with a seed of its own in the place of a single data set's random sampler.
                let alone = self.settings.multi.is_none()
                    && self.settings.batch_sampler == BatchSampler::BatchSampler;
                let seed = if alone { self.settings.data_seed.unwrap_or(seed) } else { seed };
                let seed = seed.wrapping_add(epoch as u64);
                let mut batches = self.run(&mut Mt19937::new(seed), seed);
                batches.truncate(self.batches_per_epoch());
                batches
            }
            Release::V3 => {
                // One generator for all epochs; the samplers of several data sets set it back, unless its seed is 0.
                let mut generator = Mt19937::new(if seed == 0 { UNSEEDED } else { seed });
                let resets = match self.settings.multi {
                    None => false,
                    Some(MultiDatasetBatchSampler::RoundRobin) => seed != 0,
                    Some(MultiDatasetBatchSampler::Proportional) => true,
                };
                if resets {
                    generator.reseed(seed);
                } else {
                    for _ in 0..epoch {
                        self.run(&mut generator, seed);
                    }
                }
                self.run(&mut generator, seed)
            }
        }
    }

    /// One pass of the samplers, all of which draw from the same generator when their batches are asked for.
    fn run(&self, generator: &mut Mt19937, seed: u64) -> Vec<Batch> {
        let mut streams: Vec<Box<dyn Stream + '_>> =
            self.parts.iter().map(|part| self.stream(part, seed)).collect();
        let mut batches = Vec::new();
        match self.settings.multi {
            None => {
                // Announced batches bound what is asked for: with many repeated texts each row may become a batch.
                let most = self.batches_per_epoch();
                while batches.len() < most
                    && let Some(rows) = streams[0].next(generator)
                {
                    batches.push(Batch { dataset: 0, rows });
                }
            }
            Some(MultiDatasetBatchSampler::RoundRobin) => loop {
                let mut round = Vec::with_capacity(streams.len());
                for (dataset, stream) in streams.iter_mut().enumerate() {
                    match stream.next(generator) {
                        Some(rows) => round.push(Batch { dataset, rows }),
                        None if self.settings.release == Release::V3 => {
                            batches.append(&mut round);
                            return batches;
                        }
                        None => return batches,
                    }
                }
                batches.append(&mut round);
            },
            Some(MultiDatasetBatchSampler::Proportional) => {
                let turns: Vec<usize> = (self.parts.iter().enumerate())
                    .flat_map(|(dataset, part)| std::iter::repeat_n(dataset, part.batches))
                    .collect();
                for turn in randperm(turns.len(), generator) {
                    let dataset = turns[turn as usize];
                    if let Some(rows) = streams[dataset].next(generator) {
                        batches.push(Batch { dataset, rows });
                    }
                }
            }
        }
        batches
    }

    fn stream<'a>(&self, part: &'a Part, seed: u64) -> Box<dyn Stream + 'a> {
        let Settings { batch_size, drop_last, release, .. } = self.settings;
        match self.settings.batch_sampler {
            BatchSampler::BatchSampler => {
                Box::new(Permuted::new(part.rows, batch_size, drop_last, release == Release::V6))
            }
            BatchSampler::NoDuplicates => {
                Box::new(NoDuplicates::new(part.rows, &part.keys, batch_size, drop_last, part.batches, seed))
            }
            BatchSampler::GroupByLabel => {
                Box::new(GroupByLabel::new(&part.groups, batch_size, drop_last, seed))
            }
        }
    }
}

impl Part {
    fn new(dataset: &Dataset, settings: &Settings) -> Result<Self> {
        let rows = dataset.len();
        if rows == 0 || u32::try_from(rows).is_err() {
            return Err(Error::Argument(format!(
                "data set \"{}\": {rows} rows; it must have at least one, and less than 2³²",
                dataset.name
            )));
        }
        let size = settings.batch_size;
        let mut part = Self {
            rows,
            keys: Vec::new(),
            groups: Vec::new(),
            batches: if settings.drop_last { rows / size } else { rows.div_ceil(size) },
        };
        match settings.batch_sampler {
            BatchSampler::BatchSampler => {}
            BatchSampler::NoDuplicates => part.keys = streams::keys(dataset),
            BatchSampler::GroupByLabel => {
                part.groups = streams::groups(dataset, size)?;
                part.batches = streams::grouped_batches(&part.groups, size, settings.drop_last);
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests;
