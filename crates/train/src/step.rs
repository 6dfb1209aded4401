//! One step without its update: the texts of a batch through the model, the loss, and the way back to the gradients.
//!
//! With mini-batches, this is GradCache (Gao et al. 2021, <https://arxiv.org/abs/2101.06983>; `gradcache.py` of
//! sentence-transformers 6.2): vectors of all mini-batches first, without remembering anything; the loss and its gradient by
//! the vectors; then each mini-batch once more, with the same dropout, and back. Memory is that of one mini-batch, the
//! gradient that of the whole batch.

use std::ops::Range;

use sentir_compute::{Gradients, Memory, Pass, Randomness};
use sentir_model::SentenceTransformer;
use sentir_vectors::Rows;

use crate::losses::{Batch, Loss};
use crate::{Error, Result};

/// One text column of a batch.
#[derive(Debug, Clone)]
pub struct Column<'a> {
    /// The tokens of each text.
    pub ids: Vec<&'a [u32]>,
    /// How many first tokens of each are a prompt that is not pooled.
    pub skip: usize,
}

/// How a batch is cut for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MiniBatch {
    /// Not at all.
    #[default]
    Whole,
    /// So many texts at a time.
    Texts(usize),
    /// As many texts as have so many tokens together, but at least one.
    Tokens(usize),
}

/// What stays the same from step to step.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The model, loaded for training.
    pub model: &'a SentenceTransformer,
    /// The loss.
    pub loss: &'a dyn Loss,
    /// How a batch is cut.
    pub mini_batch: MiniBatch,
    /// The seed of dropout.
    pub seed: u64,
}

/// What a batch gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The loss.
    pub loss: f64,
    /// Tokens that went through the network, once each.
    pub tokens: usize,
}

/// Adds the gradients of `factor · loss` to `gradients`. `number` is the number of the batch in the run, which decides what
/// dropout drops.
///
/// # Errors
/// If the loss cannot be computed from such vectors, or is not finite ([`Error::NotFinite`]).
pub fn gradients_of(
    setting: Setting<'_>,
    columns: &[Column<'_>],
    labels: Option<&Rows>,
    guide: Option<&[Rows]>,
    number: u64,
    factor: f32,
    gradients: &mut Gradients,
    memory: &mut Memory,
) -> Result<Outcome> {
    let tokens = columns.iter().flat_map(|column| &column.ids).map(|ids| ids.len()).sum();
    let batch = |columns: &[Rows]| -> Result<_> {
        let found = setting.loss.compute(Batch { columns, labels, guide })?;
        if !found.value.is_finite() {
            return Err(Error::NotFinite(format!("the loss is {}", found.value)));
        }
        Ok(found)
    };
    let backend = setting.model.backend();
    let upload = |rows: &[f32], width: usize| {
        let scaled: Vec<f32> = rows.iter().map(|x| x * factor).collect();
        backend.upload(&scaled, width)
    };
    let forward = |pass: &mut Pass<'_>, column: &Column<'_>, part: Range<usize>| -> Rows {
        let out = forward(setting.model, pass, column, part);
        let rows = rows(backend.download(&out), out.width());
        pass.free(out);
        rows
    };
    if setting.mini_batch == MiniBatch::Whole {
        // Every column remembers until the loss is known.
        let mut passes = Vec::new();
        let mut outputs = Vec::new();
        let mut vectors = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            let random = randomness(setting.seed, number, i, 0);
            let mut pass = Pass::training(backend, random).with_memory(std::mem::take(memory));
            let out = self::forward(setting.model, &mut pass, column, 0..column.ids.len());
            vectors.push(rows(backend.download(&out), out.width()));
            outputs.push(out);
            // The next one takes what this one does not remember.
            *memory = pass.take_memory();
            passes.push(pass);
        }
        let found = batch(&vectors)?;
        for ((mut pass, out), d) in passes.into_iter().zip(outputs).zip(found.columns) {
            pass = pass.with_memory(std::mem::take(memory));
            let d = upload(d.as_slice(), d.width());
            pass.backward(&out, d, gradients);
            pass.free(out);
            *memory = pass.into_memory();
        }
        return Ok(Outcome { loss: found.value, tokens });
    }

    let mut vectors = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let mut all = Vec::new();
        let mut width = 1;
        for (j, part) in parts(&column.ids, setting.mini_batch).into_iter().enumerate() {
            let random = randomness(setting.seed, number, i, j);
            let mut pass = Pass::rehearsal(backend, random).with_memory(std::mem::take(memory));
            let own = forward(&mut pass, column, part);
            width = own.width();
            all.extend_from_slice(own.as_slice());
            *memory = pass.into_memory();
        }
        vectors.push(rows(all, width));
    }
    let found = batch(&vectors)?;
    for (i, (column, d)) in columns.iter().zip(&found.columns).enumerate() {
        for (j, part) in parts(&column.ids, setting.mini_batch).into_iter().enumerate() {
            let random = randomness(setting.seed, number, i, j);
            let mut pass = Pass::training(backend, random).with_memory(std::mem::take(memory));
            let out = self::forward(setting.model, &mut pass, column, part.clone());
            let own = &d.as_slice()[part.start * d.width()..part.end * d.width()];
            let d = upload(own, d.width());
            pass.backward(&out, d, gradients);
            pass.free(out);
            *memory = pass.into_memory();
        }
    }
    Ok(Outcome { loss: found.value, tokens })
}
