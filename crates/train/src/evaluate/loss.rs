//! The loss on data that is not trained on: `eval_loss` of the trainer of sentence-transformers 6.2 (`base/trainer.py`, and
//! `evaluation_loop` of transformers, which weighs a batch by its rows).

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use sentir_compute::{Memory, Pass};
use sentir_model::SentenceTransformer;
use sentir_vectors::Rows;

use super::{Evaluator, Watch};
use crate::arguments::TrainingArguments;
use crate::data::Dataset;
use crate::losses::{Batch, Loss};
use crate::prepared::Prepared;
use crate::samplers::{Sampler, Settings};
use crate::{Error, Result};

/// Computes the loss of training on other data, without dropout. The lower, the better. Batches have
/// `per_device_eval_batch_size` rows in the order of a training with the same seed, which counts where a loss compares the rows of a batch.
#[derive(Debug)]
pub struct EvalLoss<'a> {
    datasets: Vec<Dataset>,
    loss: &'a dyn Loss,
    guide: Option<&'a SentenceTransformer>,
    arguments: TrainingArguments,
    sampler: Sampler,
    /// Tokens do not change while a model is trained.
    prepared: OnceLock<Vec<Prepared>>,
}

impl<'a> EvalLoss<'a> {
    /// For these data sets; prompts, sampler and size of batches are those of the arguments.
    ///
    /// # Errors
    /// If the loss cannot be computed from such data, or a batch cannot be made.
    pub fn new(
        datasets: Vec<Dataset>,
        loss: &'a dyn Loss,
        guide: Option<&'a SentenceTransformer>,
        arguments: &TrainingArguments,
    ) -> Result<Self> {
        for dataset in &datasets {
            loss.check(dataset.columns.len(), dataset.labels.is_some())?;
        }
        let references: Vec<&Dataset> = datasets.iter().collect();
        let settings = Settings {
            batch_size: arguments.per_device_eval_batch_size,
            ..Settings::of(arguments, datasets.len())
        };
        let sampler = Sampler::new(&references, settings)?;
        let (arguments, prepared) = (arguments.clone(), OnceLock::new());
        Ok(Self { datasets, loss, guide, arguments, sampler, prepared })
    }

    fn prepared(&self, model: &SentenceTransformer, interrupt: Option<&AtomicBool>) -> Result<&[Prepared]> {
        if let Some(prepared) = self.prepared.get() {
            return Ok(prepared);
        }
        let prepared =
            Prepared::all(&self.datasets, model, self.loss, self.guide, &self.arguments, interrupt)?;
        Ok(self.prepared.get_or_init(|| prepared))
    }
}

impl Evaluator for EvalLoss<'_> {
    fn name(&self) -> &str {
        "eval"
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        "eval_loss".to_owned()
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let prepared = self.prepared(model, watch.interrupt)?;
        let (mut sum, mut rows) = (0.0, 0.0);
        let mut memory = Memory::default();
        let batches = self.sampler.epoch(0);
        let count = batches.len();
        for (done, batch) in batches.into_iter().enumerate() {
            watch.tell(["eval_loss", "batch"], done, count);
            if watch.is_over() {
                return Err(Error::Interrupted);
            }
            let ready = prepared[batch.dataset].batch(&self.datasets[batch.dataset], &batch)?;
            let mut columns = Vec::new();
            for column in &ready.columns {
                let mut pass = Pass::inference(model.backend()).with_memory(std::mem::take(&mut memory));
                let out = model.forward(&mut pass, column.texts(0..column.ids.len()));
                columns.push(Rows::new(model.backend().download(&out), out.width())?);
                pass.free(out);
                memory = pass.into_memory();
            }
            let (labels, guide) = (ready.labels.as_ref(), ready.guide.as_deref());
            let found = self.loss.compute(Batch { columns: &columns, labels, guide })?;
            sum += found.value * batch.rows.len() as f64;
            rows += batch.rows.len() as f64;
        }
        Ok(vec![("eval_loss".to_owned(), sum / rows)])
    }
}
