//! Text to token ids, as sentence-transformers and transformers make them from the files of a model directory.
//!
//! This is which files are read, what surrounds a text (special tokens, prompt), and what does not fit. It is not the
//! algorithms that divide a text: those are the crate `tokenizers`, which is given parts that were checked before
//! (`build`), because it panics on some that do not fit together. Only the unigram model is our own (`unigram`).

mod any_model;
mod build;
mod charsmap;
mod config;
mod json_file;
mod sentencepiece;
mod source;
mod unigram;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::{Error, Result};

thread_local! {
    static TOKENIZING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in the tokenizers library. A panic there (which some patterns of a `tokenizer.json` bring about)
/// becomes an [`Error`]; a panic hook that prints should leave it out.
pub fn tokenizing() -> bool {
    TOKENIZING.get()
}

/// The token ids of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What the encoder reads: special tokens and the prompt in, padding out, cut to the maximum length.
    pub ids: Vec<u32>,
    /// How many tokens did not fit.
    pub cut: usize,
}

type Inner = TokenizerImpl<
    any_model::AnyModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// What turns texts into token ids. Can be used from several threads at once.
pub struct Tokenizer {
    /// Without special tokens around the text, truncation and padding: those are done here.
    inner: Inner,
    /// Special tokens before every text.
    before: Vec<u32>,
    /// Special tokens after every text.
    after: Vec<u32>,
    /// Ids of the tokens that transformers calls special (`all_special_ids`).
    special: Vec<u32>,
    pad: Option<u32>,
    /// Long texts lose their beginning instead of their end.
    cut_left: bool,
    max_length: Option<usize>,
    model_max_length: Option<usize>,
    kind: &'static str,
    file: &'static str,
}

impl Tokenizer {
    /// The tokenizer of a model directory, as `AutoTokenizer` of transformers 5 loads it: from `tokenizer.json`, else
    /// `vocab.txt` (WordPiece), else `vocab.json` with `merges.txt` (byte-level BPE), else `sentencepiece.bpe.model`
    /// (XLM-RoBERTa).
    ///
    /// `tokenizer_config.json` counts, and so does the class of the tokenizer: `BertTokenizer`, `RobertaTokenizer` and
    /// `XLMRobertaTokenizer` take the vocabulary (and merges, character map, added tokens) of `tokenizer.json` and build the
    /// rest themselves, so that `do_lower_case` of `tokenizer_config.json` wins; every other class takes `tokenizer.json` as it
    /// is. Truncation and padding that are stored in `tokenizer.json` do nothing.
    ///
    /// `do_lower_case` is that of `sentence_bert_config.json`: texts are lowercased before everything else.
    ///
    /// The maximum length is that of `tokenizer_config.json` until [`Tokenizer::set_max_length`].
    ///
    /// # Errors
    /// If no file is there, or one is damaged or asks for what is not supported; the message names the file.
    pub fn load(directory: &Path, do_lower_case: bool) -> Result<Self> {
        source::load(directory, do_lower_case)
    }

    /// `tokenizer.json` of a directory and nothing else, as `StaticEmbedding` of sentence-transformers reads it: no other file
    /// counts, padding stored there does nothing, truncation stored there is the maximum length.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn load_json_alone(directory: &Path) -> Result<Self> {
        source::load_json_alone(&directory.join(source::TOKENIZER_JSON))
    }

    /// The ids of prompt and text as one string, with special tokens, cut to the maximum length as `truncation=True` of
    /// transformers cuts: at the end, or at the beginning where `truncation_side` of `tokenizer_config.json` is `left`. The
    /// special tokens are never cut.
    ///
    /// # Errors
    /// [`Error::Argument`] if the text has something that the vocabulary can express neither with its pieces nor with an
    /// unknown token.
    pub fn encode(&self, prompt: &str, text: &str) -> Result<Tokens> {
        let ids = self.encode_joined(prompt, text)?;
        let room = self.room();
        let cut = ids.len().saturating_sub(room);
        let kept = if self.cut_left { &ids[cut..] } else { &ids[..ids.len() - cut] };
        Ok(Tokens { ids: self.surround(&[], kept), cut })
    }

    /// The ids of prompt and text in chunks that fit the maximum length.
    ///
    /// The tokens of prompt and text as one string are divided: the first are the prompt's, as many as the prompt has by
    /// itself, the rest is the text's. The text's tokens are cut into consecutive pieces, as long as possible, the last one
    /// shorter; each chunk is a piece with the prompt's tokens and the special tokens. So the first chunk is what
    /// [`Tokenizer::encode`] gives where it cuts at the end, no token of the text is lost or read twice, and a text that fits
    /// is one chunk.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; [`Error::Argument`] if the prompt leaves no room for the text.
    pub fn encode_chunks(&self, prompt: &str, text: &str) -> Result<Vec<Vec<u32>>> {
        let ids = self.encode_joined(prompt, text)?;
        let room = self.room();
        if ids.len() <= room {
            return Ok(vec![self.surround(&[], &ids)]);
        }
        let own = if prompt.is_empty() { 0 } else { self.encode_plain(prompt)?.len() };
        let (prompt, text) = ids.split_at(own.min(ids.len()));
        if prompt.len() >= room {
            return Err(Error::Argument(format!(
                "the prompt has {} tokens, which leaves no room for a text in the {room} that fit; shorten the prompt or do not ask for chunks",
                prompt.len()
            )));
        }
        Ok(text.chunks(room - prompt.len()).map(|piece| self.surround(prompt, piece)).collect())
    }

    /// The ids of a text by itself: no special tokens, nothing cut (`add_special_tokens=False`).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        TOKENIZING.set(true);
        // The library only reads itself here, so that nothing is left half changed.
        let encoded = catch_unwind(AssertUnwindSafe(|| self.inner.encode_fast(text, false)));
        TOKENIZING.set(false);
        match encoded {
            Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
            Ok(Err(error)) => Err(Error::Argument(format!("the text cannot be tokenized ({error})"))),
            Err(_) => {
                let file = self.file;
                let message = format!("the rules of {file} fail on the text; a pattern may match nothing");
                Err(Error::Argument(message))
            }
        }
    }

    /// How many tokens pooling leaves out where the prompt is excluded: those of the prompt with special tokens, without the
    /// last if that is a special one (`_get_prompt_length` in `base/modules/transformer.py` of sentence-transformers). A
    /// prompt longer than the maximum length counts as cut.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let ids = self.encode("", prompt)?.ids;
        let ends_special = ids.last().is_some_and(|last| self.special.contains(last));
        Ok(ids.len() - usize::from(ends_special))
    }

    /// The ids of special tokens, those that stand around every text among them.
    pub(crate) fn special_ids(&self) -> Vec<u32> {
        let own = [&self.before[..], &self.after, &self.special].concat();
        own.into_iter().chain(self.pad).collect()
    }

    /// The most tokens that [`Tokenizer::encode`] gives, special tokens included. `None`: no limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Sets the most tokens that [`Tokenizer::encode`] gives, special tokens included.
    ///
    /// # Errors
    /// [`Error::Argument`] if not even the special tokens fit.
    pub fn set_max_length(&mut self, length: Option<usize>) -> Result<()> {
        let special = self.before.len() + self.after.len();
        if let Some(length) = length.filter(|&length| length < special || length == 0) {
            return Err(Error::Argument(format!(
                "max_seq_length is {length}, but the {special} special tokens alone take more; it must be at least {}",
                special.max(1)
            )));
        }
        self.max_length = length;
        Ok(())
    }

    /// `model_max_length` of `tokenizer_config.json`; `None` where it is missing or stands for "no limit" (1e30).
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the padding token, if there is one.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// The id of a token, if it is in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// What it is, for people: the kind, the vocabulary size, the file.
    pub fn description(&self) -> String {
        format!("{}, {} tokens, from {}", self.kind, self.vocab_size(), self.file)
    }

    /// Prompt and text as one string: a prompt without a space at its end joins the first word.
    fn encode_joined(&self, prompt: &str, text: &str) -> Result<Vec<u32>> {
        if prompt.is_empty() {
            self.encode_plain(text)
        } else {
            self.encode_plain(&format!("{prompt}{text}"))
        }
    }

    /// How many tokens fit beside the special ones.
    fn room(&self) -> usize {
        self.max_length
            .map_or(usize::MAX, |length| length.saturating_sub(self.before.len() + self.after.len()))
    }

    fn surround(&self, prompt: &[u32], ids: &[u32]) -> Vec<u32> {
        [&self.before, prompt, ids, &self.after].concat()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.description())
    }
}
