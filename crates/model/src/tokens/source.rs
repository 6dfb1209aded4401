//! Which files a tokenizer is made of, and which class of transformers makes it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::Vocab;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::any_model::AnyModel;
use super::build::{self, Around};
use super::charsmap;
use super::config::{self, Config};
use super::json_file::{TokenizerFile, Vocabulary, split_merge};
use super::sentencepiece::{self, CONTROL, UNIGRAM, USER_DEFINED};
use super::unigram::Pieces;
use super::{Inner, Tokenizer};
use crate::{Error, Result, json};

pub(super) const TOKENIZER_JSON: &str = "tokenizer.json";
const VOCAB_TXT: &str = "vocab.txt";
const VOCAB_JSON: &str = "vocab.json";
const MERGES_TXT: &str = "merges.txt";
const SENTENCEPIECE: &str = "sentencepiece.bpe.model";

/// The classes of transformers that build a tokenizer in their own way, and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bert,
    Roberta,
    XlmRoberta,
    /// `PreTrainedTokenizerFast` (`TokenizersBackend`): what `tokenizer.json` says.
    AsItIs,
}

impl Class {
    fn of_name(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer" | "DistilBertTokenizer" => Self::Bert,
            "RobertaTokenizer" => Self::Roberta,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            _ => Self::AsItIs,
        }
    }

    /// That of a `model_type` (`TOKENIZER_MAPPING_NAMES` in `models/auto/tokenization_auto.py`).
    fn of_model(model_type: &str) -> Self {
        match model_type {
            "bert" | "distilbert" => Self::Bert,
            "roberta" => Self::Roberta,
            "xlm-roberta" => Self::XlmRoberta,
            _ => Self::AsItIs,
        }
    }

    /// That which `AutoTokenizer` chooses.
    fn choose(directory: &Path, config: &Config) -> Result<Self> {
        #[derive(Deserialize, Default)]
        struct ModelConfig {
            model_type: Option<Value>,
            tokenizer_class: Option<Value>,
        }
        if let Some(name) = &config.class {
            return Ok(Self::of_name(name));
        }
        let model: ModelConfig = json::read_optional(&directory.join("config.json"))?.unwrap_or_default();
        Ok(match (&model.tokenizer_class, &model.model_type) {
            (Some(Value::String(name)), _) => Self::of_name(name),
            (_, Some(Value::String(model_type))) => Self::of_model(model_type),
            _ => Self::AsItIs,
        })
    }

    /// Special tokens that are there if no file says otherwise.
    fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Roberta | Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::AsItIs => &[],
        }
    }

    /// Which special tokens it puts before and after a text; `None` if `tokenizer.json` says it.
    fn around(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bert | Self::Roberta => Some(("cls_token", "sep_token")),
            Self::XlmRoberta => Some(("bos_token", "eos_token")),
            Self::AsItIs => None,
        }
    }
}

/// Everything but the special tokens.
struct Parts {
    model: AnyModel,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Added before those of the configuration.
    added: Vec<AddedToken>,
    around: Option<Around>,
    /// The file they are from.
    file: &'static str,
    cut_left: bool,
    pad: Option<String>,
}

impl Parts {
    /// Parts without a normalizer, a pre-tokenizer and added tokens.
    fn new(file: &'static str, model: AnyModel) -> Self {
        Self {
            model,
            normalizer: None,
            pre_tokenizer: None,
            added: Vec::new(),
            around: None,
            file,
            cut_left: false,
            pad: None,
        }
    }
}

/// [`Tokenizer::load`].
pub(super) fn load(directory: &Path, do_lower_case: bool) -> Result<Tokenizer> {
    let mut config = Config::read(directory)?;
    let wanted = Class::choose(directory, &config)?;
    let there = |name: &str| directory.join(name).is_file();
    // Where nothing says which class it is, the file does.
    let fits = |class: Class, files: &[&str]| {
        [class, Class::AsItIs].contains(&wanted) && files.iter().all(|name| there(name))
    };
    let (class, file) = if there(TOKENIZER_JSON) {
        (wanted, TOKENIZER_JSON)
    } else if fits(Class::Bert, &[VOCAB_TXT]) {
        (Class::Bert, VOCAB_TXT)
    } else if fits(Class::Roberta, &[VOCAB_JSON, MERGES_TXT]) {
        (Class::Roberta, MERGES_TXT)
    } else if fits(Class::XlmRoberta, &[SENTENCEPIECE]) {
        (Class::XlmRoberta, SENTENCEPIECE)
    } else {
        let files = match wanted {
            Class::Bert => "tokenizer.json or vocab.txt",
            Class::Roberta => "tokenizer.json, or vocab.json with merges.txt",
            Class::XlmRoberta => "tokenizer.json or sentencepiece.bpe.model",
            Class::AsItIs => {
                "tokenizer.json, vocab.txt, vocab.json with merges.txt, or sentencepiece.bpe.model"
            }
        };
        return Err(Error::invalid(directory, format!("there is no tokenizer; it must have {files}")));
    };
    config.default_tokens(class.default_tokens());
    let path = directory.join(file);
    let parts = match file {
        TOKENIZER_JSON => from_json(&path, class, &config)?,
        VOCAB_TXT => bert(&path, VOCAB_TXT, read_vocab(&path)?, &config)?,
        MERGES_TXT => {
            let vocab = json::read(&directory.join(VOCAB_JSON))?;
            roberta(&path, MERGES_TXT, vocab, read_merges(&path)?, &config)?
        }
        _ => from_sentencepiece(&path, &mut config)?,
    };
    assemble(parts, class, &config, do_lower_case).map_err(|message| Error::invalid(&path, message))
}

/// [`Tokenizer::load_json_alone`].
pub(super) fn load_json_alone(path: &Path) -> Result<Tokenizer> {
    let file = TokenizerFile::read(path)?;
    let length = file.truncation.as_ref().and_then(|stored| stored.get("max_length")).and_then(Value::as_u64);
    let parts = as_it_is(path, file)?;
    let tokenizer = assemble(parts, Class::AsItIs, &Config::empty(path), false);
    let mut tokenizer = tokenizer.map_err(|message| Error::invalid(path, message))?;
    tokenizer.max_length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    Ok(tokenizer)
}

/// `tokenizer.json`, of which a class with a way of its own takes only a part.
fn from_json(path: &Path, class: Class, config: &Config) -> Result<Parts> {
    let mut file = TokenizerFile::read(path)?;
    if class == Class::AsItIs {
        return as_it_is(path, file);
    }
    let added = if config.decoder.is_some() { Vec::new() } else { added_tokens(path, &file)? };
    let (cut_left, pad) = (cuts_left(&file), stored_pad(&file));
    let merges = file.model.merges.take().map(|merges| merges.0).unwrap_or_default();
    let kind = file.model.kind().to_owned();
    let parts = match (class, kind.as_str(), file.model.vocab) {
        (Class::Bert, "WordPiece", Vocabulary::Ids(vocab)) => bert(path, TOKENIZER_JSON, vocab, config)?,
        (Class::Roberta, "BPE", Vocabulary::Ids(vocab)) => {
            roberta(path, TOKENIZER_JSON, vocab, merges, config)?
        }
        (Class::XlmRoberta, "Unigram", Vocabulary::Scores(vocab)) => {
            let charsmap = file.normalizer.as_ref().map_or(Ok(None), build::find_charsmap);
            let charsmap = charsmap.map_err(|message| Error::invalid(path, message))?;
            xlm_roberta(path, TOKENIZER_JSON, vocab, charsmap.as_deref(), config)?
        }
        _ => {
            let message = format!(
                "its model is {kind}, but the tokenizer class is {class:?}; correct tokenizer_class in \
                 tokenizer_config.json (PreTrainedTokenizerFast takes tokenizer.json as it is)"
            );
            return Err(Error::invalid(path, message));
        }
    };
    Ok(Parts { added, cut_left, pad, ..parts })
}

/// `tokenizer.json` as it is.
fn as_it_is(path: &Path, file: TokenizerFile) -> Result<Parts> {
    let added = added_tokens(path, &file)?;
    let (cut_left, pad) = (cuts_left(&file), stored_pad(&file));
    let parts = || {
        Ok(Parts {
            normalizer: file.normalizer.as_ref().map(build::normalizer).transpose()?,
            pre_tokenizer: file.pre_tokenizer.as_ref().map(build::pre_tokenizer).transpose()?,
            around: file.post_processor.as_ref().map(build::around).transpose()?,
            added,
            cut_left,
            pad,
            ..Parts::new(TOKENIZER_JSON, build::model(file.model)?)
        })
    };
    parts().map_err(|message: String| Error::invalid(path, message))
}

/// The added tokens of `tokenizer.json`, ordered by id.
fn added_tokens(path: &Path, file: &TokenizerFile) -> Result<Vec<AddedToken>> {
    let mut tokens = Vec::with_capacity(file.added_tokens.len());
    for value in &file.added_tokens {
        let id = value.get("id").and_then(Value::as_u64).unwrap_or(u64::MAX);
        tokens.push((id, config::added_token(path, "added_tokens", value)?));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

fn cuts_left(file: &TokenizerFile) -> bool {
    file.truncation.as_ref().and_then(|stored| stored.get("direction")).and_then(Value::as_str)
        == Some("Left")
}

fn stored_pad(file: &TokenizerFile) -> Option<String> {
    file.padding.as_ref()?.get("pad_token")?.as_str().map(str::to_owned)
}

/// `BertTokenizer` (`models/bert/tokenization_bert.py`).
fn bert(path: &Path, file: &'static str, vocab: Vocab, config: &Config) -> Result<Parts> {
    let unknown = config.token("unk_token").map_or("[UNK]", |token| &token.content);
    let model =
        build::word_piece(vocab, unknown, "##", 100).map_err(|message| Error::invalid(path, message))?;
    let normalizer = BertNormalizer::new(
        true,
        config.flag("tokenize_chinese_chars")?.unwrap_or(true),
        config.flag("strip_accents")?,
        config.flag("do_lower_case")?.unwrap_or(true),
    );
    Ok(Parts {
        normalizer: Some(normalizer.into()),
        pre_tokenizer: Some(BertPreTokenizer.into()),
        ..Parts::new(file, model)
    })
}

/// `RobertaTokenizer` (`models/roberta/tokenization_roberta.py`).
fn roberta(
    path: &Path,
    file: &'static str,
    vocab: Vocab,
    merges: Vec<(String, String)>,
    config: &Config,
) -> Result<Parts> {
    let model = build::byte_level_bpe(vocab, merges).map_err(|message| Error::invalid(path, message))?;
    let add_prefix_space = config.flag("add_prefix_space")?.unwrap_or(false);
    let split = ByteLevel::new(add_prefix_space, true, true);
    Ok(Parts { pre_tokenizer: Some(split.into()), ..Parts::new(file, model) })
}

/// `XLMRobertaTokenizer` (`models/xlm_roberta/tokenization_xlm_roberta.py`).
fn xlm_roberta(
    path: &Path,
    file: &'static str,
    vocab: Pieces,
    map: Option<&[u8]>,
    config: &Config,
) -> Result<Parts> {
    let invalid = |message| Error::invalid(path, message);
    let model = build::unigram(vocab, Some(3), false).map_err(invalid)?;
    let normalizer = map.map(charsmap::normalizer).transpose().map_err(invalid)?;
    let add_prefix_space = config.flag("add_prefix_space")?.unwrap_or(true);
    let scheme = if add_prefix_space { PrependScheme::Always } else { PrependScheme::Never };
    let split = PreTokenizers::new(vec![WhitespaceSplit.into(), Metaspace::new('▁', scheme, true).into()]);
    Ok(Parts {
        normalizer: normalizer.map(Into::into),
        pre_tokenizer: Some(split.into()),
        ..Parts::new(file, model)
    })
}

/// A sentencepiece model alone: ids as fairseq numbers them (`XLMRobertaConverter.convert_from_spm` in
/// `convert_slow_tokenizer.py`): four special tokens, the pieces without their first three, the mask.
fn from_sentencepiece(path: &Path, config: &mut Config) -> Result<Parts> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let model = sentencepiece::parse(&bytes).map_err(|message| Error::invalid(path, message))?;
    if model.model_type != UNIGRAM {
        let message =
            format!("its model type is {}; only unigram, {UNIGRAM}, is supported", model.model_type);
        return Err(Error::invalid(path, message));
    }
    let pieces = model.pieces.len();
    if pieces < 4 {
        let message = format!("it has {pieces} pieces; it must begin with <unk>, <s>, </s> and have others");
        return Err(Error::invalid(path, message));
    }
    if config.extra.is_empty() {
        let added = model.pieces.iter().filter(|piece| [CONTROL, USER_DEFINED].contains(&piece.kind));
        config.extra = added
            .map(|piece| AddedToken::from(piece.text.as_str(), piece.kind == CONTROL).normalized(false))
            .collect();
    }
    let special = |name: &str| config.token(name).map_or("", |token| &token.content);
    let mut vocab = Pieces::default();
    for name in ["bos_token", "pad_token", "eos_token", "unk_token"] {
        vocab.push(special(name), 0.0);
    }
    model.pieces.iter().skip(3).for_each(|piece| vocab.push(&piece.text, piece.score.into()));
    vocab.push(special("mask_token"), 0.0);
    let map = Some(model.charsmap).filter(|map| !map.is_empty());
    xlm_roberta(path, SENTENCEPIECE, vocab, map.as_deref(), config)
}

/// A token per line; its number is its id.
fn read_vocab(path: &Path) -> Result<Vocab> {
    let mut vocab = Vocab::default();
    for (id, line) in read_text(path)?.lines().enumerate() {
        let id = u32::try_from(id).map_err(|_| Error::invalid(path, "too many lines"))?;
        vocab.insert(line.trim_end().to_owned(), id);
    }
    if vocab.is_empty() {
        return Err(Error::invalid(path, "it is empty"));
    }
    Ok(vocab)
}

/// Two pieces per line, the most urgent first; a line that begins with `#version` is none.
fn read_merges(path: &Path) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::new();
    for (number, line) in
        read_text(path)?.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"))
    {
        merges.push(split_merge(line).ok_or_else(|| {
            Error::invalid(
                path,
                format!("line {}: {line:?} is not two pieces with a space between them", number + 1),
            )
        })?);
    }
    Ok(merges)
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(fs::read(path).map_err(|error| Error::io(path, error))?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::invalid(path, format!("line {line}: it is not UTF-8"))
    })
}

/// Puts the parts together and adds the special tokens in the order of `TokenizersBackend.__init__`
/// (`tokenization_utils_tokenizers.py`), which decides the ids of those that the vocabulary does not have.
fn assemble(parts: Parts, class: Class, config: &Config, do_lower_case: bool) -> Result<Tokenizer, String> {
    let kind = parts.model.kind();
    let normalizer = if do_lower_case { Some(lowercase_first(parts.normalizer)) } else { parts.normalizer };
    let mut inner = Inner::new(parts.model);
    let failed = |error: tokenizers::Error| format!("its special tokens cannot be used together: {error}");
    inner.with_normalizer(normalizer).map_err(failed)?;
    inner.with_pre_tokenizer(parts.pre_tokenizer);

    let mut tokens = parts.added;
    tokens.extend(config.decoder.iter().flatten().map(|(_, token)| token.clone()));
    for (_, token) in &config.listed {
        if tokens.iter().all(|known| known.content != token.content) {
            tokens.push(token.clone());
        }
    }
    for (_, token) in &config.named {
        if tokens.iter().all(|known| known.content != token.content) {
            tokens.push(token.clone().special(true));
        }
    }
    for token in &config.extra {
        if tokens.iter().all(|known| known.content != token.content) {
            tokens.push(token.clone());
        }
    }
    inner.add_tokens(tokens).map_err(failed)?;

    let id = |name: &str| config.token(name).and_then(|token| inner.token_to_id(&token.content));
    let (before, after) = match (class.around(), parts.around) {
        (Some((first, last)), _) => match (id(first), id(last)) {
            (Some(first), Some(last)) => (vec![first], vec![last]),
            _ => return Err(format!("there is no {first} or no {last}, which stand around every text")),
        },
        (None, around) => around.unwrap_or_default(),
    };
    let contents =
        config.named.iter().map(|(_, token)| token).chain(&config.extra).map(|token| &token.content);
    let special = contents.filter_map(|content| inner.token_to_id(content)).collect();
    let pad = id("pad_token").or_else(|| inner.token_to_id(parts.pad.as_deref()?));
    Ok(Tokenizer {
        before,
        after,
        special,
        pad,
        cut_left: config.cut_left.unwrap_or(parts.cut_left),
        max_length: config.model_max_length,
        model_max_length: config.model_max_length,
        kind,
        file: parts.file,
        inner,
    })
}

/// `do_lower_case` of sentence-transformers: nothing where the normalizer is, or has, a `Lowercase` (`_has_lowercase` in
/// `base/modules/transformer.py`); that of BERT is none.
fn lowercase_first(normalizer: Option<NormalizerWrapper>) -> NormalizerWrapper {
    let lowercases = |part: &NormalizerWrapper| matches!(part, NormalizerWrapper::Lowercase(_));
    let rest = match normalizer {
        None => Vec::new(),
        Some(NormalizerWrapper::Sequence(sequence)) => {
            let parts: Vec<NormalizerWrapper> = sequence.as_ref().to_vec();
            if parts.iter().any(lowercases) {
                return NormalizerWrapper::Sequence(sequence);
            }
            parts
        }
        Some(one) if lowercases(&one) => return one,
        Some(one) => vec![one],
    };
    Sequence::new(std::iter::once(Lowercase.into()).chain(rest).collect()).into()
}
