//! Texts to vectors: tokens, batches, network, modules, and what is done to the vectors afterwards, in the order of
//! sentence-transformers (`SentenceTransformer.encode` in `sentence_transformer/model.py`): forward, truncate_dim, normalize.
//!
//! The vector of a text does not depend on what it is encoded together with, down to the last bit.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use sentir_compute::{Pass, Tensor};
use sentir_vectors::Rows;

use crate::batch::{PackedBatch, Plan};
use crate::prompts::Task;
use crate::sentence_transformer::{Reader, SentenceTransformer};
use crate::shape::Counting;
use crate::truncation::{Truncation, TruncationReport};
use crate::{Error, Result};

/// How to encode. The default is that of sentence-transformers: no prompt but the model's own default, not normalized.
#[derive(Clone, Default)]
pub struct EncodeOptions<'a> {
    /// Put before every text. Wins over `prompt_name`.
    pub prompt: Option<&'a str>,
    /// The name of one of the model's prompts.
    pub prompt_name: Option<&'a str>,
    /// Gives every vector unit length, after `truncate_dim`.
    pub normalize_embeddings: bool,
    /// Keeps the first so many components; in place of the model's own `truncate_dim`. At least 1.
    pub truncate_dim: Option<usize>,
    /// What happens to texts that are longer than the model reads.
    pub truncation: Truncation,
    /// How many tokens are computed together; more need more memory, and are slower once they do not fit into the caches.
    /// Does not change the vectors. `None`: 256 a thread, at least 512.
    pub batch_tokens: Option<usize>,
    /// Called from time to time with the number of texts done and of all texts.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    /// Ends the work with [`Error::Interrupted`] soon after it becomes true.
    pub interrupt: Option<&'a AtomicBool>,
}

/// Vectors, and what was not read of their texts.
#[derive(Debug)]
pub struct Encoded<Vectors = Rows> {
    /// In the order of the texts.
    pub embeddings: Vectors,
    /// Which texts were longer than the model reads.
    pub truncation: TruncationReport,
}

/// Tokens that go through the network as one sentence: a text, or a chunk of one.
pub(crate) struct Item {
    pub(crate) text: usize,
    pub(crate) ids: Vec<u32>,
}

/// The texts as tokens.
pub(crate) struct Tokenized {
    /// In the order of the texts.
    pub(crate) items: Vec<Item>,
    /// How many tokens of each item are the prompt's and not to be pooled.
    pub(crate) skip: usize,
    pub(crate) truncation: TruncationReport,
}

/// How many vectors go through the modules after pooling at once.
const ROWS_AT_ONCE: usize = 1024;

impl SentenceTransformer {
    /// One vector per text, `[texts, embedding_dimension]`.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that do not fit the model; [`Error::Text`] for a text that is too long (only with
    /// [`Truncation::Error`]), has a token without an embedding, or whose vector is not finite; [`Error::Interrupted`].
    pub fn encode<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        options: &EncodeOptions<'_>,
    ) -> Result<Encoded> {
        self.encode_task(texts, Task::Any, options)
    }

    /// [`SentenceTransformer::encode`] for questions: with the prompt `query` unless the options have one.
    pub fn encode_query<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        options: &EncodeOptions<'_>,
    ) -> Result<Encoded> {
        self.encode_task(texts, Task::Query, options)
    }

    /// [`SentenceTransformer::encode`] for what is searched: with the prompt `document` unless the options have one.
    pub fn encode_document<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        options: &EncodeOptions<'_>,
    ) -> Result<Encoded> {
        self.encode_task(texts, Task::Document, options)
    }

    /// [`SentenceTransformer::encode`] with the task as a value.
    pub fn encode_task<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        task: Task,
        options: &EncodeOptions<'_>,
    ) -> Result<Encoded> {
        self.encode_tokenized(self.tokenize(texts, task, options)?, options)
    }

    /// One vector per list of token ids, for callers with a tokenizer of their own: no prompt is put before them and no
    /// special tokens around them, and none may be too long. Of the options, those about prompts and truncation do nothing.
    ///
    /// # Errors
    /// [`Error::Text`] for a list that is too long or has an id without an embedding; else as [`SentenceTransformer::encode`].
    pub fn encode_ids(&self, ids: &[Vec<u32>], options: &EncodeOptions<'_>) -> Result<Encoded> {
        let max_seq_length = self.max_seq_length();
        let (limit, vocabulary) = (max_seq_length.unwrap_or(usize::MAX), self.reader.vocabulary());
        for (index, ids) in ids.iter().enumerate() {
            let message = if ids.len() > limit {
                format!("it has {} tokens; the model reads {limit}", ids.len())
            } else if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                format!("token {id} is beyond the embedding table of {vocabulary} rows")
            } else {
                continue;
            };
            return Err(Error::Text { index, message });
        }
        let items = ids.iter().enumerate().map(|(text, ids)| Item { text, ids: ids.clone() });
        let tokens_cut = vec![0; ids.len()];
        let truncation = TruncationReport { max_seq_length, policy: options.truncation, tokens_cut };
        self.encode_tokenized(Tokenized { items: items.collect(), skip: 0, truncation }, options)
    }

    fn encode_tokenized(&self, tokenized: Tokenized, options: &EncodeOptions<'_>) -> Result<Encoded> {
        if options.truncate_dim == Some(0) {
            return Err(Error::Argument("truncate_dim is 0; it must be at least 1".to_owned()));
        }
        let width = self.reader.width();
        let texts = tokenized.truncation.tokens_cut.len();
        let mut pooled = vec![0.0f32; tokenized.items.len() * width];
        self.run(&tokenized, options, texts, |pass, batch, items| {
            let vectors = self.pool(pass, batch);
            for (&item, vector) in items.iter().zip(pass.backend().download(&vectors).chunks_exact(width)) {
                pooled[item * width..][..width].copy_from_slice(vector);
            }
            pass.free(vectors);
        })?;
        if tokenized.items.len() > texts {
            pooled = average_chunks(&tokenized.items, &pooled, texts, width);
        }

        let mut rows = self.through_modules(pooled, width)?;
        check_finite(rows.iter())?;
        if let Some(dim) = options.truncate_dim.or(self.settings.truncate_dim) {
            rows.truncate_dim(dim)?;
        }
        if options.normalize_embeddings {
            rows.normalize();
        }
        Ok(Encoded { embeddings: rows, truncation: tokenized.truncation })
    }

    /// One vector per token of each text, special tokens and prompt included: the hidden states of the encoder's last layer,
    /// `[tokens, width]` for each text (`output_value="token_embeddings"` of sentence-transformers). No modules after the
    /// encoder, `truncate_dim` or `normalize_embeddings` apply to them.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode`]; [`Error::Argument`] for a static model and for [`Truncation::ChunkMean`].
    pub fn encode_tokens<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        task: Task,
        options: &EncodeOptions<'_>,
    ) -> Result<Encoded<Vec<Rows>>> {
        let Reader::Transformer(transformer, _) = &self.reader else {
            return Err(Error::Argument(
                "a static model has no token embeddings; encode sentences".to_owned(),
            ));
        };
        if options.truncation == Truncation::ChunkMean {
            let message = "chunk-mean averages sentence vectors; for token embeddings use truncate or error";
            return Err(Error::Argument(message.to_owned()));
        }
        let tokenized = self.tokenize(texts, task, options)?;
        let width = transformer.encoder.shape.width;
        let mut embeddings = vec![Rows::empty(width); texts.len()];
        let mut failure = None;
        self.run(&tokenized, options, texts.len(), |pass, batch, items| {
            let hidden = transformer.encoder.forward(pass, batch);
            let states = pass.backend().download(&hidden);
            pass.free(hidden);
            for (&item, own) in items.iter().zip(batch.offsets.windows(2)) {
                match Rows::new(states[own[0] * width..own[1] * width].to_vec(), width) {
                    Ok(rows) => embeddings[item] = rows,
                    Err(error) => failure = Some(error),
                }
            }
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        check_finite(embeddings.iter().map(Rows::as_slice))?;
        Ok(Encoded { embeddings, truncation: tokenized.truncation })
    }

    /// Tokens of all texts, cut as the options say.
    pub(crate) fn tokenize<Text: AsRef<str> + Sync>(
        &self,
        texts: &[Text],
        task: Task,
        options: &EncodeOptions<'_>,
    ) -> Result<Tokenized> {
        let prompt = self.settings.prompts.resolve(options.prompt, options.prompt_name, task)?;
        let tokenizer = self.reader.tokenizer();
        let (vocabulary, policy) = (self.reader.vocabulary(), options.truncation);

        let one = |index: usize| -> Result<(Vec<Vec<u32>>, usize)> {
            check_interrupt(options)?;
            let text = texts[index].as_ref();
            let (chunks, cut) = self.chunks(prompt, text, policy).map_err(|error| match error {
                Error::Argument(message) => Error::Text { index, message },
                other => other,
            })?;
            if cut > 0 && policy == Truncation::Error {
                let limit = tokenizer.max_length().unwrap_or_default();
                let message = format!(
                    "it has {cut} tokens more than the {limit} that the model reads; shorten it, or allow truncate or chunk-mean"
                );
                return Err(Error::Text { index, message });
            }
            if let Some(id) = chunks.iter().flatten().find(|&&id| id as usize >= vocabulary) {
                let message = format!(
                    "token {id} is beyond the embedding table of {vocabulary} rows: tokenizer and weights do not belong together"
                );
                return Err(Error::Text { index, message });
            }
            Ok((chunks, cut))
        };
        // The first error in the order of the texts, whatever the order in which threads find them.
        let tokenized: Vec<Result<_>> = (0..texts.len()).into_par_iter().map(one).collect();
        let mut items = Vec::with_capacity(texts.len());
        let mut tokens_cut = Vec::with_capacity(texts.len());
        for (text, result) in tokenized.into_iter().enumerate() {
            let (chunks, cut) = result?;
            items.extend(chunks.into_iter().map(|ids| Item { text, ids }));
            tokens_cut.push(cut);
        }
        let skip = match &self.reader {
            Reader::Transformer(_, pooling) if !pooling.include_prompt && !prompt.is_empty() => {
                tokenizer.prompt_length(prompt)?
            }
            _ => 0,
        };
        let truncation = TruncationReport { max_seq_length: tokenizer.max_length(), policy, tokens_cut };
        Ok(Tokenized { items, skip, truncation })
    }

    /// The tokens of one text, in one piece unless it is too long and to be read in chunks; and how many were too many.
    fn chunks(&self, prompt: &str, text: &str, policy: Truncation) -> Result<(Vec<Vec<u32>>, usize)> {
        let tokenizer = self.reader.tokenizer();
        let limit = tokenizer.max_length().unwrap_or(usize::MAX);
        if let Reader::Static(_) = &self.reader {
            // No special tokens, so that chunks are just pieces.
            let mut ids = tokenizer.encode_plain(&format!("{prompt}{text}"))?;
            let cut = ids.len().saturating_sub(limit);
            if cut > 0 && policy == Truncation::ChunkMean {
                return Ok((ids.chunks(limit.max(1)).map(<[u32]>::to_vec).collect(), cut));
            }
            ids.truncate(limit);
            return Ok((vec![ids], cut));
        }
        let tokens = tokenizer.encode(prompt, text)?;
        if tokens.cut > 0 && policy == Truncation::ChunkMean {
            return Ok((tokenizer.encode_chunks(prompt, text)?, tokens.cut));
        }
        Ok((vec![tokens.ids], tokens.cut))
    }

    /// Calls `each(pass, batch, items)` for every batch, `items` being the numbers of its sentences.
    fn run<'a>(
        &'a self,
        tokenized: &Tokenized,
        options: &EncodeOptions<'_>,
        texts: usize,
        mut each: impl FnMut(&mut Pass<'a>, &PackedBatch, &[usize]),
    ) -> Result<()> {
        let items = &tokenized.items;
        let lengths: Vec<usize> = items.iter().map(|item| item.ids.len()).collect();
        let budget = options.batch_tokens.unwrap_or_else(|| (256 * rayon::current_num_threads()).max(512));
        let plan = Plan::new(&lengths, budget.max(1));
        let counting = match &self.reader {
            Reader::Transformer(transformer, _) => transformer.encoder.shape.counting,
            Reader::Static(_) => Counting::FromZero,
        };
        let mut pass = Pass::inference(&*self.backend);
        for range in plan.batches {
            check_interrupt(options)?;
            let own = &plan.order[range.clone()];
            let sentences = own.iter().map(|&item| (items[item].ids.as_slice(), tokenized.skip));
            each(&mut pass, &PackedBatch::new(sentences, counting), own);
            if let Some(progress) = options.progress {
                // Exact without chunks, and with them never more than all.
                progress(range.end * texts / items.len(), texts);
            }
        }
        Ok(())
    }

    /// A batch to the vectors before the modules, `[sentences, reader width]`.
    pub(crate) fn pool<'a>(&'a self, pass: &mut Pass<'a>, batch: &PackedBatch) -> Tensor {
        match &self.reader {
            Reader::Transformer(transformer, pooling) => {
                let hidden = transformer.encoder.forward(pass, batch);
                let out =
                    sentir_compute::ops::pool(pass, &hidden, &batch.offsets, &batch.skip, &pooling.modes);
                pass.free(hidden);
                out
            }
            Reader::Static(embedding) => embedding.forward(pass, batch),
        }
    }

    /// The modules after pooling, some rows at a time.
    fn through_modules(&self, pooled: Vec<f32>, width: usize) -> Result<Rows> {
        if self.modules.is_empty() {
            return Ok(Rows::new(pooled, width)?);
        }
        let mut out = Vec::with_capacity(pooled.len() / width * self.dimension);
        let mut pass = Pass::inference(&*self.backend);
        for block in pooled.chunks(ROWS_AT_ONCE * width) {
            let x = self.backend.upload(block, width);
            let x = self.modules.iter().fold(x, |x, module| module.forward(&mut pass, x));
            out.extend(self.backend.download(&x));
            pass.free(x);
        }
        Ok(Rows::new(out, self.dimension)?)
    }
}

/// The mean of each text's chunks, weighted by their numbers of tokens.
fn average_chunks(items: &[Item], pooled: &[f32], texts: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; texts * width];
    let mut of_text = items.iter().zip(pooled.chunks_exact(width)).peekable();
    for (text, out) in out.chunks_exact_mut(width).enumerate() {
        let (mut sum, mut tokens) = (vec![0.0f64; width], 0usize);
        while let Some((item, vector)) = of_text.next_if(|(item, _)| item.text == text) {
            sum.iter_mut().zip(vector).for_each(|(sum, &x)| *sum += f64::from(x) * item.ids.len() as f64);
            tokens += item.ids.len();
        }
        // A text of one chunk is divided by what it was multiplied with: exact, since both fit into f64.
        out.iter_mut().zip(&sum).for_each(|(out, &sum)| *out = (sum / tokens as f64) as f32);
    }
    out
}

/// A vector that is not finite would silently spoil every comparison with it.
fn check_finite<'a>(mut vectors: impl Iterator<Item = &'a [f32]>) -> Result<()> {
    match vectors.position(|vector| vector.iter().any(|x| !x.is_finite())) {
        Some(index) => {
            let message = "its vector is not finite (NaN or infinity): the model's weights are damaged, or too large for f32";
            Err(Error::Text { index, message: message.to_owned() })
        }
        None => Ok(()),
    }
}

fn check_interrupt(options: &EncodeOptions<'_>) -> Result<()> {
    match options.interrupt {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Interrupted),
        _ => Ok(()),
    }
}
