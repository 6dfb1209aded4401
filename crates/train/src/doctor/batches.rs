//! Texts that come up twice in a batch, where other rows of the batch are negatives: the second time, a right answer counts as a
//! wrong one. The batches are those of the first epoch.
//!
//! Exact and normalised repetitions are found by tables; texts that are merely alike by MinHash in bands, each text compared with
//! at most a few of each band, so that time stays linear whatever the texts are.

use std::collections::HashMap;

use rayon::prelude::*;

use super::texts::{Signature, alike, bands, close, normalise, shorten, signature};
use super::{Case, EXAMPLES, Example, Finding, Fix, Severity, of};
use crate::Result;
use crate::data::Dataset;
use crate::samplers::streams::keys;
use crate::samplers::{Batch, BatchSampler, Release, Sampler, Settings};

/// Rows that are normalised between two looks at the interrupt.
const PIECE: usize = 8192;
/// Texts of a band that a text is compared with.
const COMPARED: usize = 4;
/// Columns whose texts must not come up again: anchor and positive. A negative may be one for two rows.
const ROLES: usize = 2;

/// How two rows of a batch repeat each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Exact,
    Spelling,
    Alike,
}

/// A row with another one of its batch that repeats it, and the columns of the two texts.
#[derive(Debug, Clone, Copy)]
struct Hit {
    level: Level,
    row: (u32, usize),
    other: (u32, usize),
}

/// A data set, ready to be compared.
struct Compared<'a> {
    dataset: &'a Dataset,
    columns: usize,
    /// A number for each text, row by row.
    exact: Vec<u32>,
    /// A number for each normalised text, row by row.
    normal: Vec<u32>,
    /// Of the first columns, row by row.
    signatures: Vec<Option<Signature>>,
}

/// What was found in the batches of one data set at one level.
#[derive(Debug, Default)]
struct Count {
    batches: usize,
    rows: usize,
    examples: Vec<Example>,
}

pub(super) fn check(case: Case<'_>, epoch: &[Batch]) -> Result<Vec<Finding>> {
    let compared: Vec<Compared<'_>> =
        case.datasets.iter().map(|dataset| Compared::new(case, dataset)).collect::<Result<_>>()?;
    let now = counts(case, &compared, epoch)?;
    let sampler = case.arguments.batch_sampler;
    // What no_duplicates would leave.
    let mut later = None;
    if sampler != BatchSampler::NoDuplicates && now.iter().any(|[exact, ..]| exact.rows > 0) {
        let arguments = crate::arguments::TrainingArguments {
            batch_sampler: BatchSampler::NoDuplicates,
            order: Release::V6,
            ..case.arguments.clone()
        };
        let datasets: Vec<&Dataset> = case.datasets.iter().collect();
        if let Ok(sampler) = Sampler::new(&datasets, Settings::of(&arguments, datasets.len())) {
            later = Some(counts(case, &compared, &sampler.epoch(0))?);
        }
    }
    let mut findings = Vec::new();
    for (at, ([exact, spelling, near], dataset)) in now.into_iter().zip(case.datasets).enumerate() {
        let batches = epoch.iter().filter(|batch| batch.dataset == at).count();
        let said = |count: &Count, what: &str| {
            let (rows, hit) = (of(count.rows, "row"), of(count.batches, "batch"));
            format!(
                "{rows} in {hit} of {batches} (first epoch) whose anchor or positive {what} in another row of its batch, \
                 where it counts as a wrong answer"
            )
        };
        if exact.rows > 0 {
            let left = match later.as_ref().map(|later| &later[at]) {
                Some([_, spelling, near]) if spelling.rows + near.rows > 0 => format!(
                    " After that there remain {} that differ in case, white space or punctuation alone, and {} that look alike.",
                    of(spelling.rows, "row"),
                    near.rows
                ),
                Some(_) => " After that none remains.".to_owned(),
                None => String::new(),
            };
            let advice = match case.arguments.order {
                Release::V6 => {
                    format!("Set batch_sampler to \"no_duplicates\", which keeps equal texts apart.{left}")
                }
                Release::V3 => format!(
                    "Set batch_sampler to \"no_duplicates\", which keeps equal texts apart, and order to \"6.2\", which it needs.{left}"
                ),
            };
            let free = sampler == BatchSampler::BatchSampler && case.arguments.order == Release::V6;
            let fix = free.then_some(Fix::SetBatchSampler(BatchSampler::NoDuplicates));
            let finding =
                Finding::new("repeated_texts", Severity::Warning, said(&exact, "comes up again"), advice);
            findings.push(finding.of(dataset).with_examples(exact.examples).with_fix(fix));
        }
        if spelling.rows > 0 {
            let message = said(&spelling, "comes up again with other case, white space or punctuation");
            let many = spelling.rows * 100 >= dataset.len();
            let severity = if many { Severity::Warning } else { Severity::Note };
            let advice = "Write such texts in one way; then \"no_duplicates\" keeps them apart.";
            let finding = Finding::new("repeated_spelling", severity, message, advice);
            findings.push(finding.of(dataset).with_examples(spelling.examples));
        }
        if near.rows > 0 {
            let message = said(&near, "looks like one");
            let advice = "Read the examples. If such texts mean the same, keep one of them, or take a loss whose guide \
                          finds false negatives (GISTEmbedLoss).";
            let finding = Finding::new("alike_texts", Severity::Note, message, advice);
            findings.push(finding.of(dataset).with_examples(near.examples));
        }
    }
    Ok(findings)
}

/// What repeats in these batches, by data set and level.
fn counts(case: Case<'_>, compared: &[Compared<'_>], epoch: &[Batch]) -> Result<Vec<[Count; 3]>> {
    let hits: Vec<Vec<Hit>> = epoch
        .par_iter()
        .map(|batch| if case.stopped() { Vec::new() } else { compared[batch.dataset].hits(&batch.rows) })
        .collect();
    case.go_on()?;
    let mut counts: Vec<[Count; 3]> = compared.iter().map(|_| Default::default()).collect();
    for (batch, hits) in epoch.iter().zip(hits) {
        let own = &compared[batch.dataset];
        let mut seen = [false; 3];
        for hit in hits {
            let count = &mut counts[batch.dataset][hit.level as usize];
            count.rows += 1;
            count.batches += usize::from(!std::mem::replace(&mut seen[hit.level as usize], true));
            // Of the two rows of an example, the later one has the same to show.
            let shown = |other: &Example| other.rows.contains(&(hit.row.0 as usize + 1));
            if count.examples.len() < EXAMPLES && !count.examples.iter().any(shown) {
                count.examples.push(own.example(hit));
            }
        }
    }
    Ok(counts)
}

impl<'a> Compared<'a> {
    fn new(case: Case<'_>, dataset: &'a Dataset) -> Result<Self> {
        let columns = dataset.columns.len();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut normal = Vec::with_capacity(dataset.len() * columns);
        let mut signatures = Vec::new();
        for start in (0..dataset.len()).step_by(PIECE) {
            case.go_on()?;
            let end = dataset.len().min(start + PIECE);
            let texts: Vec<(String, Option<Signature>)> = (start * columns..end * columns)
                .into_par_iter()
                .map(|i| {
                    let text = normalise(&dataset.columns[i % columns].texts[i / columns]);
                    let signature = (i % columns < ROLES).then(|| signature(&text)).flatten();
                    (text, signature)
                })
                .collect();
            for (i, (text, signature)) in texts.into_iter().enumerate() {
                let next = numbers.len() as u32;
                normal.push(*numbers.entry(text).or_insert(next));
                if i % columns < ROLES {
                    signatures.push(signature);
                }
            }
        }
        Ok(Self { dataset, columns, exact: keys(dataset), normal, signatures })
    }

    /// The rows of a batch that another repeats, at the first level at which one does.
    fn hits(&self, rows: &[u32]) -> Vec<Hit> {
        let mut hits: Vec<Option<Hit>> = vec![None; rows.len()];
        for (level, keys) in [(Level::Exact, &self.exact), (Level::Spelling, &self.normal)] {
            self.equal(rows, level, keys, &mut hits);
        }
        for column in 0..self.columns.min(ROLES) {
            self.alike(rows, column, &mut hits);
        }
        hits.into_iter().flatten().collect()
    }

    fn equal(&self, rows: &[u32], level: Level, keys: &[u32], hits: &mut [Option<Hit>]) {
        // For each text the first place, and the first in another row.
        type Place = (u32, usize);
        let mut places: HashMap<u32, (Place, Option<Place>)> = HashMap::new();
        for &row in rows {
            for column in 0..self.columns {
                let key = keys[row as usize * self.columns + column];
                let (first, second) = places.entry(key).or_insert(((row, column), None));
                if first.0 != row {
                    second.get_or_insert((row, column));
                }
            }
        }
        for (&row, hit) in rows.iter().zip(hits).filter(|(_, hit)| hit.is_none()) {
            *hit = (0..self.columns.min(ROLES)).find_map(|column| {
                let (first, second) = places[&keys[row as usize * self.columns + column]];
                let other = if first.0 == row { second } else { Some(first) };
                other.map(|other| Hit { level, row: (row, column), other })
            });
        }
    }

    fn alike(&self, rows: &[u32], column: usize, hits: &mut [Option<Hit>]) {
        let roles = self.columns.min(ROLES);
        let mut tables: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
        for (at, &row) in rows.iter().enumerate() {
            let Some(own) = &self.signatures[row as usize * roles + column] else { continue };
            let mut tried: Vec<usize> = Vec::new();
            for band in bands(own) {
                let before = tables.entry(band).or_default();
                for &other_at in before.iter() {
                    let other = rows[other_at];
                    if tried.contains(&other_at) || (hits[at].is_some() && hits[other_at].is_some()) {
                        continue;
                    }
                    tried.push(other_at);
                    let key = |row: u32| self.normal[row as usize * self.columns + column];
                    let Some(others) = &self.signatures[other as usize * roles + column] else { continue };
                    let text = |row: u32| normalise(&self.dataset.columns[column].texts[row as usize]);
                    if key(row) != key(other) && close(own, others) && alike(&text(row), &text(other)) {
                        for (at, row, other) in [(at, row, other), (other_at, other, row)] {
                            let hit = Hit { level: Level::Alike, row: (row, column), other: (other, column) };
                            hits[at].get_or_insert(hit);
                        }
                    }
                }
                // Equal texts would fill the table and hide others.
                let key = |at: usize| self.normal[rows[at] as usize * self.columns + column];
                if before.len() < COMPARED && !before.iter().any(|&other| key(other) == key(at)) {
                    before.push(at);
                }
            }
        }
    }

    fn example(&self, hit: Hit) -> Example {
        let text = |(row, column): (u32, usize)| shorten(&self.dataset.columns[column].texts[row as usize]);
        let mut texts = vec![text(hit.row)];
        if hit.level != Level::Exact {
            texts.push(text(hit.other));
        }
        Example { rows: vec![hit.row.0 as usize + 1, hit.other.0 as usize + 1], texts }
    }
}
