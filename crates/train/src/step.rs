//! One step without its update: the texts of a batch through the model, the loss, and the way back to the gradients.
//!
//! With mini-batches, this is GradCache (Gao et al. 2021, <https://arxiv.org/abs/2101.06983>; `gradcache.py` of
//! sentence-transformers 6.2): vectors of all mini-batches first, without remembering anything; the loss and its gradient by
//! the vectors; then each mini-batch once more, with the same dropout, and back. Memory is that of one mini-batch, the
//! gradient that of the whole batch.

use std::ops::Range;

pub use sentir_compute::{Gradients, Memory};
use sentir_compute::{Pass, Randomness};
use sentir_model::SentenceTransformer;
use sentir_vectors::Rows;

use crate::losses::{Batch, Cached, Loss};
use crate::{Error, Result};

/// One text column of a batch.
#[derive(Debug, Clone)]
pub struct Column<'a> {
    /// The tokens of each text.
    pub ids: Vec<&'a [u32]>,
    /// How many first tokens of each are a prompt that is not pooled.
    pub skip: usize,
}

impl Column<'_> {
    /// Some texts, as the network takes them.
    pub(crate) fn texts(&self, part: Range<usize>) -> impl Iterator<Item = (&[u32], usize)> {
        self.ids[part].iter().map(|&ids| (ids, self.skip))
    }

    /// The number of tokens of each text.
    fn lengths(&self) -> Vec<usize> {
        self.ids.iter().map(|ids| ids.len()).collect()
    }
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

impl MiniBatch {
    /// As the cached form of a loss wants it.
    pub fn of(loss: &dyn Loss) -> Self {
        match loss.cached() {
            None => Self::Whole,
            Some(Cached { tokens: Some(tokens), .. }) => Self::Tokens(tokens),
            Some(Cached { texts, .. }) => Self::Texts(texts),
        }
    }
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
    // In a buffer of the pass: one of its own would stay in the memory after each step.
    let upload = |pass: &mut Pass<'_>, rows: &[f32], width: usize| {
        let scaled: Vec<f32> = rows.iter().map(|x| x * factor).collect();
        pass.copy(&backend.upload(&scaled, width))
    };
    if setting.mini_batch == MiniBatch::Whole {
        // All columns go through the network together: a matrix that is trained is packed once for all of them.
        let random = randomness(setting.seed, number, 0, 0);
        let mut pass = Pass::training(backend, random).with_memory(std::mem::take(memory));
        let texts = columns.iter().flat_map(|column| column.texts(0..column.ids.len()));
        let out = setting.model.forward(&mut pass, texts);
        let (all, width) = (backend.download(&out), out.width());
        let mut rest = all.as_slice();
        let vectors: Vec<Rows> = columns
            .iter()
            .map(|column| {
                let (own, others) = rest.split_at(column.ids.len() * width);
                rest = others;
                rows(own.to_vec(), width)
            })
            .collect();
        let found = batch(&vectors)?;
        let d: Vec<f32> = found.columns.iter().flat_map(|d| d.as_slice()).copied().collect();
        let d = upload(&mut pass, &d, width);
        pass.backward(&out, d, gradients);
        pass.free(out);
        *memory = pass.into_memory();
        return Ok(Outcome { loss: found.value, tokens });
    }

    let mut vectors = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let mut all = Vec::new();
        let mut width = 1;
        for (j, part) in parts(&column.lengths(), setting.mini_batch).into_iter().enumerate() {
            let random = randomness(setting.seed, number, i, j);
            let mut pass = Pass::rehearsal(backend, random).with_memory(std::mem::take(memory));
            let out = setting.model.forward(&mut pass, column.texts(part));
            width = out.width();
            all.extend(backend.download(&out));
            pass.free(out);
            *memory = pass.into_memory();
        }
        vectors.push(rows(all, width));
    }
    let found = batch(&vectors)?;
    for (i, (column, d)) in columns.iter().zip(&found.columns).enumerate() {
        for (j, part) in parts(&column.lengths(), setting.mini_batch).into_iter().enumerate() {
            let random = randomness(setting.seed, number, i, j);
            let mut pass = Pass::training(backend, random).with_memory(std::mem::take(memory));
            let out = setting.model.forward(&mut pass, column.texts(part.clone()));
            let own = &d.as_slice()[part.start * d.width()..part.end * d.width()];
            let d = upload(&mut pass, own, d.width());
            pass.backward(&out, d, gradients);
            pass.free(out);
            *memory = pass.into_memory();
        }
    }
    Ok(Outcome { loss: found.value, tokens })
}

fn rows(values: Vec<f32>, width: usize) -> Rows {
    Rows::new(values, width).expect("a tensor is whole rows")
}

/// Masks of a pass begin at a number of their own: 2¹² masks a mini-batch, 2¹⁶ mini-batches, 2⁴ columns.
fn randomness(seed: u64, number: u64, column: usize, mini_batch: usize) -> Randomness {
    Randomness { seed, stream: number << 32 | (column as u64) << 28 | (mini_batch as u64) << 12 }
}

/// The mini-batches of a column, given the tokens of each text.
pub(crate) fn parts(lengths: &[usize], cut: MiniBatch) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (at, &length) in lengths.iter().enumerate() {
        let full = match cut {
            MiniBatch::Whole => false,
            MiniBatch::Texts(most) => at - start >= most,
            MiniBatch::Tokens(most) => tokens + length > most,
        };
        if full && at > start {
            parts.push(start..at);
            (start, tokens) = (at, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        parts.push(start..lengths.len());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mini_batches_cover_the_batch_in_order() {
        let lengths = [3, 1, 4, 9, 2, 2];
        assert_eq!(parts(&lengths, MiniBatch::Whole), vec![0..6; 1]);
        assert_eq!(parts(&lengths, MiniBatch::Texts(4)), [0..4, 4..6]);
        assert_eq!(parts(&lengths, MiniBatch::Tokens(8)), [0..3, 3..4, 4..6]);
        assert!(parts(&[], MiniBatch::Texts(2)).is_empty());
    }
}
