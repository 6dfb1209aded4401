//! The training doctor: looks at data, model and arguments before the first step of a fine-tuning, says what will go wrong or
//! be wasted, and mends what can be mended without a decision.
//!
//! Nothing is trained or encoded here; texts are tokenized, and the batches of the first epoch are those that the trainer will
//! make. All of it is linear in the number of texts and the same on every machine, but for the memory that the machine has.

mod batches;
mod course;
mod memory;
mod mend;
mod report;
mod rows;
mod texts;
mod tokens;

use std::sync::atomic::{AtomicBool, Ordering};

use sentir_model::SentenceTransformer;
use serde::{Serialize, Serializer};

use crate::arguments::{Prompts, TrainingArguments};
use crate::data::Dataset;
use crate::lora::Lora;
use crate::losses::Loss;
use crate::samplers::{BatchSampler, Sampler, Settings};
use crate::trainer::Preset;
use crate::update::Frozen;
use crate::{Error, Result};

pub use course::{Course, Rate};
pub use memory::MemoryEstimate;
pub use mend::fix;
pub use texts::shorten;
pub use tokens::ColumnFacts;

/// Examples that a finding shows at most.
pub const EXAMPLES: usize = 3;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training cannot begin, or will stop.
    Error,
    /// Training works, but not as was probably meant.
    Warning,
    /// Something to know.
    Note,
}

/// Rows that show what a finding means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Rows of the data set, from 1.
    pub rows: Vec<usize>,
    /// Their texts as far as they matter here, by [`shorten`].
    pub texts: Vec<String>,
}

/// What [`fix`] does about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// Sets `batch_sampler`.
    SetBatchSampler(BatchSampler),
    /// Sets `prompts`.
    SetPrompts(Prompts),
    /// Sets `gradient_checkpointing` to true.
    SetGradientCheckpointing,
    /// Leaves rows out.
    DropRows {
        /// Which data set, from 0.
        dataset: usize,
        /// The rows, from 0, ascending. In JSON, how many they are.
        #[serde(serialize_with = "count")]
        rows: Vec<u32>,
    },
}

fn count<S: Serializer>(rows: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(rows.len() as u64)
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind of thing, for programs; stays the same from release to release.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The data set that it is about, if it is about one.
    pub dataset: Option<String>,
    /// What was found, with numbers.
    pub message: String,
    /// At most [`EXAMPLES`] of it.
    pub examples: Vec<Example>,
    /// What to do.
    pub advice: String,
    /// What [`fix`] would do.
    pub fix: Option<Fix>,
}

impl Finding {
    fn new(code: &'static str, severity: Severity, message: String, advice: impl Into<String>) -> Self {
        let (dataset, examples, fix) = (None, Vec::new(), None);
        Self { code, severity, dataset, message, examples, advice: advice.into(), fix }
    }

    fn of(mut self, dataset: &Dataset) -> Self {
        self.dataset = Some(dataset.name.clone());
        self
    }

    fn with_examples(mut self, examples: Vec<Example>) -> Self {
        self.examples = examples;
        self
    }

    fn with_fix(mut self, fix: Option<Fix>) -> Self {
        self.fix = fix;
        self
    }
}

/// What a data set is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetFacts {
    /// Its name.
    pub name: String,
    /// Rows.
    pub rows: usize,
    /// Its columns of texts; without numbers of tokens if a text cannot be tokenized.
    pub columns: Vec<ColumnFacts>,
    /// The name of the label and numbers in a row of it.
    pub labels: Option<(String, usize)>,
}

/// What was measured and computed on the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// The data.
    pub datasets: Vec<DatasetFacts>,
    /// Batches, updates, learning rates; none where no batch can be made.
    pub course: Option<Course>,
    /// The memory that training takes; none where no batch can be made or a text cannot be tokenized.
    pub memory: Option<MemoryEstimate>,
    /// Seconds that an update takes: none here, for the caller who has measured the first.
    pub seconds_per_update: Option<f64>,
}

/// What the doctor has to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// The most severe first.
    pub findings: Vec<Finding>,
    /// What was measured and computed.
    pub facts: Facts,
}

impl Examination {
    /// How many findings are as severe as this.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Everything that is looked at.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The data.
    pub datasets: &'a [Dataset],
    /// The model, which may be loaded in whichever way.
    pub model: &'a SentenceTransformer,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// The arguments.
    pub arguments: &'a TrainingArguments,
    /// Whose habits the training has.
    pub preset: Preset,
    /// What the training will leave as it is.
    pub frozen: Frozen,
    /// What it trains in place of all else.
    pub lora: Option<&'a Lora>,
    /// Soon after it became true, the examination ends.
    pub interrupt: &'a AtomicBool,
}

impl Case<'_> {
    /// Whether the caller has had enough.
    fn stopped(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn go_on(&self) -> Result<()> {
        if self.stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Looks at everything.
///
/// # Errors
/// [`Error::Interrupted`] once it is interrupted. What is wrong with the training is no error but a finding.
pub fn examine(case: Case<'_>) -> Result<Examination> {
    examine_with(case, memory::available(case.model.backend().name()))
}

/// [`examine`] on a machine with so many bytes left.
fn examine_with(case: Case<'_>, available: Option<u64>) -> Result<Examination> {
    let mut findings = course::check_arguments(case);
    let mut facts = Vec::new();
    let mut lengths = Vec::new();
    findings.extend(tokens::check_prompts(case));
    for (at, dataset) in case.datasets.iter().enumerate() {
        case.go_on()?;
        if let Err(error) = case.loss.check(dataset.columns.len(), dataset.labels.is_some()) {
            let advice = "Choose another loss, or other columns; `columns` says which, and in which order.";
            findings.push(Finding::new("loss", Severity::Error, error.to_string(), advice).of(dataset));
        }
        findings.extend(rows::check(case, at)?);
        let counted = tokens::count(case, at)?;
        findings.extend(counted.findings);
        facts.push(DatasetFacts {
            name: dataset.name.clone(),
            rows: dataset.len(),
            columns: counted.facts,
            labels: dataset.labels.as_ref().map(|labels| (labels.name().to_owned(), labels.width())),
        });
        lengths.push(counted.lengths);
    }
    let references: Vec<&Dataset> = case.datasets.iter().collect();
    let (mut course, mut memory) = (None, None);
    match Sampler::new(&references, Settings::of(case.arguments, references.len())) {
        Err(error) => {
            let advice = "Without a batch there is no training.";
            findings.push(Finding::new("no_batches", Severity::Error, error.to_string(), advice));
        }
        Ok(sampler) => {
            let epoch = sampler.epoch(0);
            case.go_on()?;
            if case.loss.in_batch_negatives() {
                findings.extend(batches::check(case, &epoch)?);
            }
            let own = Course::new(case, sampler.batches_per_epoch(), &epoch);
            findings.extend(course::check(case, &own));
            course = Some(own);
            if let Some(lengths) = lengths.into_iter().collect::<Option<Vec<_>>>() {
                let estimate = MemoryEstimate::new(case, &epoch, &lengths, available);
                findings.extend(memory::check(case, &estimate));
                memory = Some(estimate);
            }
        }
    }
    // Stable: those of one severity stay in the order in which they were looked for.
    findings.sort_by_key(|finding| finding.severity);
    Ok(Examination { findings, facts: Facts { datasets: facts, course, memory, seconds_per_update: None } })
}

/// `3 rows`, `1 row`.
fn of(count: usize, what: &str) -> String {
    let plural = if count == 1 {
        ""
    } else if what.ends_with("tch") {
        "es"
    } else {
        "s"
    };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests;
