//! The samplers of one data set, as streams of batches. Several of them may share one generator, so each draws from it exactly
//! when the sampler of sentence-transformers does.
//!
//! Source: `sentence_transformers/base/sampler.py` of 6.2, and `torch/utils/data/sampler.py`.

use std::collections::{HashMap, VecDeque};

use crate::data::Dataset;
use crate::order::{Mt19937, randperm};
use crate::{Error, Result};

/// Batches, one after another.
pub(super) trait Stream {
    /// The rows of the next batch, or none at the end.
    fn next(&mut self, generator: &mut Mt19937) -> Option<Vec<u32>>;
}

/// `BatchSampler` over a `RandomSampler`.
pub(super) struct Permuted {
    rows: usize,
    size: usize,
    drop_last: bool,
    /// `RandomSampler` draws a permutation more when it is asked for a row after its last one; `SubsetRandomSampler` (3.1.1) does not.
    draws_at_end: bool,
    drawn: Option<Vec<u32>>,
    at: usize,
}

impl Permuted {
    pub(super) fn new(rows: usize, size: usize, drop_last: bool, draws_at_end: bool) -> Self {
        Self { rows, size, drop_last, draws_at_end, drawn: None, at: 0 }
    }
}

impl Stream for Permuted {
    fn next(&mut self, generator: &mut Mt19937) -> Option<Vec<u32>> {
        let drawn = self.drawn.get_or_insert_with(|| randperm(self.rows, generator));
        let batch = &drawn[self.at..self.rows.min(self.at + self.size)];
        if batch.len() < self.size && self.draws_at_end {
            self.draws_at_end = false;
            let _ = randperm(self.rows, generator);
        }
        self.at += batch.len();
        (!batch.is_empty() && (batch.len() == self.size || !self.drop_last)).then(|| batch.to_vec())
    }
}

/// Shuffles that may follow the first if that gave too few batches (`_MAX_RESAMPLE_PASSES`).
const MORE_PASSES: usize = 2;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// `NoDuplicatesBatchSampler`: rows that wait stand in a linked list in the order of the permutation.
pub(super) struct NoDuplicates<'a> {
    rows: usize,
    keys: &'a [u32],
    size: usize,
    drop_last: bool,
    announced: usize,
    seed: u64,
    passes: usize,
    yielded: usize,
    drawn: Vec<u32>,
    following: Vec<u32>,
    head: u32,
    /// For each text, the last batch that has it.
    last_in: Vec<u32>,
    batch: u32,
}

impl<'a> NoDuplicates<'a> {
    pub(super) fn new(
        rows: usize,
        keys: &'a [u32],
        size: usize,
        drop_last: bool,
        announced: usize,
        seed: u64,
    ) -> Self {
        let texts = keys.iter().max().map_or(0, |&key| key as usize + 1);
        Self {
            rows,
            keys,
            size,
            drop_last,
            announced,
            seed,
            passes: 0,
            yielded: 0,
            drawn: Vec::new(),
            following: Vec::new(),
            head: NONE,
            last_in: vec![0; texts],
            batch: 0,
        }
    }

    /// Takes what fits from the list, front to back.
    fn fill(&mut self) -> Vec<u32> {
        let columns = self.keys.len() / self.rows;
        self.batch += 1;
        let mut batch = Vec::with_capacity(self.size);
        let (mut previous, mut current) = (NONE, self.head);
        while current != NONE && batch.len() < self.size {
            let following = self.following[current as usize];
            let row = self.drawn[current as usize];
            let keys = &self.keys[row as usize * columns..][..columns];
            if keys.iter().any(|&key| self.last_in[key as usize] == self.batch) {
                previous = current;
            } else {
                keys.iter().for_each(|&key| self.last_in[key as usize] = self.batch);
                batch.push(row);
                if previous == NONE {
                    self.head = following;
                } else {
                    self.following[previous as usize] = following;
                }
            }
            current = following;
        }
        batch
    }
}

impl Stream for NoDuplicates<'_> {
    fn next(&mut self, generator: &mut Mt19937) -> Option<Vec<u32>> {
        loop {
            while self.head != NONE {
                if self.passes > 1 && self.yielded >= self.announced {
                    return None;
                }
                let batch = self.fill();
                if batch.len() == self.size || !self.drop_last {
                    self.yielded += 1;
                    return Some(batch);
                }
            }
            match self.passes {
                0 => generator.reseed(self.seed),
                _ if self.yielded == 0 || self.yielded >= self.announced || self.passes > MORE_PASSES => {
                    return None;
                }
                _ => {}
            }
            self.passes += 1;
            self.drawn = randperm(self.rows, generator);
            self.following = (1..self.rows as u32).chain([NONE]).collect();
            self.head = 0;
        }
    }
}

/// A number for each text of a data set, row by row; equal texts have equal numbers, whichever column they stand in.
pub(crate) fn keys(dataset: &Dataset) -> Vec<u32> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut keys = Vec::with_capacity(dataset.len() * dataset.columns.len());
    for row in 0..dataset.len() {
        for column in &dataset.columns {
            let next = numbers.len() as u32;
            keys.push(*numbers.entry(&column.texts[row]).or_insert(next));
        }
    }
    keys
}

/// `GroupByLabelBatchSampler`: labels take turns with two rows each, in an order drawn anew for each round.
pub(super) struct GroupByLabel<'a> {
    groups: &'a [Vec<u32>],
    size: usize,
    drop_last: bool,
    seed: u64,
    started: bool,
    queues: Vec<VecDeque<u32>>,
    /// Labels of this round, and how many of them had their turn.
    round: Vec<usize>,
    turn: usize,
    batch: Vec<u32>,
}

impl<'a> GroupByLabel<'a> {
    pub(super) fn new(groups: &'a [Vec<u32>], size: usize, drop_last: bool, seed: u64) -> Self {
        Self {
            groups,
            size,
            drop_last,
            seed,
            started: false,
            queues: Vec::new(),
            round: Vec::new(),
            turn: 0,
            batch: Vec::new(),
        }
    }

    fn start(&mut self, generator: &mut Mt19937) {
        self.started = true;
        generator.reseed(self.seed);
        for rows in self.groups {
            let drawn = randperm(rows.len(), generator);
            let pairs = drawn.len() / 2 * 2;
            self.queues.push(drawn[..pairs].iter().map(|&row| rows[row as usize]).collect());
        }
        self.round = (0..self.groups.len()).collect();
        self.turn = self.round.len();
    }

    /// Begins the next round; false if fewer than two labels are left.
    fn next_round(&mut self, generator: &mut Mt19937) -> bool {
        let last = self.round.last().copied();
        self.round.retain(|&label| !self.queues[label].is_empty());
        if self.round.len() < 2 {
            return false;
        }
        self.round =
            randperm(self.round.len(), generator).iter().map(|&at| self.round[at as usize]).collect();
        if !self.batch.is_empty() && Some(self.round[0]) == last {
            self.round.swap(0, 1);
        }
        self.turn = 0;
        true
    }
}

impl Stream for GroupByLabel<'_> {
    fn next(&mut self, generator: &mut Mt19937) -> Option<Vec<u32>> {
        if !self.started {
            self.start(generator);
        }
        loop {
            while self.turn < self.round.len() {
                let queue = &mut self.queues[self.round[self.turn]];
                self.turn += 1;
                // Queues hold pairs, and a label without one is not in the round.
                self.batch.extend(queue.pop_front());
                self.batch.extend(queue.pop_front());
                if self.batch.len() == self.size {
                    return Some(std::mem::take(&mut self.batch));
                }
            }
            if !self.next_round(generator) {
                let rest = std::mem::take(&mut self.batch);
                return (!self.drop_last && rest.len() >= 4).then_some(rest);
            }
        }
    }
}

/// The rows of each label that has at least two, labels in the order in which they first appear.
pub(super) fn groups(dataset: &Dataset, size: usize) -> Result<Vec<Vec<u32>>> {
    if size < 4 || size % 2 == 1 {
        return Err(Error::Argument(format!(
            "a batch of {size} rows with batch_sampler \"group_by_label\"; it must be an even number of at least 4"
        )));
    }
    let place = format!("data set \"{}\" with batch_sampler \"group_by_label\"", dataset.name);
    let Some(labels) = dataset.labels.as_ref().filter(|labels| labels.width() == 1) else {
        return Err(Error::Argument(format!(
            "{place}: no column of numbers named label, labels, score or scores; add one or choose another sampler"
        )));
    };
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for (row, &label) in labels.values().iter().enumerate() {
        // Adding zero makes -0 the 0 that it equals.
        let place = *places.entry((label + 0.0).to_bits()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(row as u32);
    }
    groups.retain(|rows| rows.len() >= 2);
    if groups.len() < 2 {
        return Err(Error::Argument(format!(
            "{place}: {} labels have two rows or more; at least two labels must",
            groups.len()
        )));
    }
    Ok(groups)
}

/// How many batches [`GroupByLabel`] makes: rounds stop when one label is left.
pub(super) fn grouped_batches(groups: &[Vec<u32>], size: usize, drop_last: bool) -> usize {
    let mut pairs: Vec<usize> = groups.iter().map(|rows| rows.len() / 2).collect();
    pairs.sort_unstable_by(|a, b| b.cmp(a));
    let rounds = pairs.get(1).copied().unwrap_or(0);
    let rows: usize = 2 * pairs.iter().map(|&count| count.min(rounds)).sum::<usize>();
    rows / size + usize::from(!drop_last && rows % size >= 4)
}
