//! Parts of `tokenizer.json` as parts of the crate `tokenizers`. What makes that crate panic, or do something at random, is
//! refused here.

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::Sequence;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::any_model::AnyModel;
use super::charsmap;
use super::json_file::{ModelPart, Vocabulary};
use super::unigram::{Pieces, Unigram};

/// What went wrong, without the file: the caller knows it.
type Result<T> = std::result::Result<T, String>;

/// Ids from here on are no row of any table, and adding tokens behind them would overflow.
const TOO_LARGE: u32 = 1 << 30;

/// Special tokens before and after a text.
pub(super) type Around = (Vec<u32>, Vec<u32>);

/// The model as the file has it.
pub(super) fn model(part: ModelPart) -> Result<AnyModel> {
    let kind = part.kind().to_owned();
    match (kind.as_str(), part.vocab) {
        ("WordPiece", Vocabulary::Ids(vocab)) => {
            let prefix = part.continuing_subword_prefix.unwrap_or_else(|| "##".to_owned());
            let longest = part.max_input_chars_per_word.unwrap_or(100);
            word_piece(vocab, part.unk_token.as_deref().unwrap_or("[UNK]"), &prefix, longest)
        }
        ("BPE", Vocabulary::Ids(vocab)) => {
            if part.dropout.is_some_and(|dropout| dropout != 0.0) {
                return Err(
                    "the BPE model has a dropout, which makes the same text different tokens; set it to null"
                        .to_owned(),
                );
            }
            let merges = part.merges.map(|merges| merges.0).unwrap_or_default();
            let prefix = part.continuing_subword_prefix.unwrap_or_default();
            if let Some((a, b)) = merges.iter().find(|(_, b)| !b.starts_with(&prefix)) {
                return Err(format!(
                    "the merge of {a:?} and {b:?} does not begin with the continuing_subword_prefix {prefix:?}"
                ));
            }
            let mut builder = BPE::builder()
                .vocab_and_merges(checked(vocab)?, merges)
                .fuse_unk(part.fuse_unk.unwrap_or(false))
                .byte_fallback(part.byte_fallback.unwrap_or(false))
                .ignore_merges(part.ignore_merges.unwrap_or(false));
            if !prefix.is_empty() {
                builder = builder.continuing_subword_prefix(prefix);
            }
            if let Some(unknown) = part.unk_token {
                builder = builder.unk_token(unknown);
            }
            if let Some(suffix) = part.end_of_word_suffix {
                builder = builder.end_of_word_suffix(suffix);
            }
            Ok(ModelWrapper::from(
                builder.build().map_err(|error| format!("the BPE model cannot be used: {error}"))?,
            )
            .into())
        }
        ("WordLevel", Vocabulary::Ids(vocab)) => {
            let unknown = part.unk_token.unwrap_or_else(|| "<unk>".to_owned());
            let model = WordLevel::builder().vocab(checked(vocab)?).unk_token(unknown).build();
            Ok(ModelWrapper::from(
                model.map_err(|error| format!("the WordLevel model cannot be used: {error}"))?,
            )
            .into())
        }
        ("Unigram", Vocabulary::Scores(vocab)) => {
            unigram(vocab, part.unk_id, part.byte_fallback.unwrap_or(false))
        }
        ("WordPiece" | "BPE" | "WordLevel" | "Unigram", _) => {
            Err(format!("the vocabulary is not one for a {kind} model"))
        }
        _ => Err(format!(
            "the model type \"{kind}\" is not supported; supported are WordPiece, BPE, Unigram, WordLevel"
        )),
    }
}

/// A WordPiece model. Words of more than `longest` characters are unknown.
pub(super) fn word_piece(vocab: Vocab, unknown: &str, prefix: &str, longest: usize) -> Result<AnyModel> {
    let model = WordPiece::builder()
        .vocab(checked(vocab)?)
        .unk_token(unknown.to_owned())
        .continuing_subword_prefix(prefix.to_owned())
        .max_input_chars_per_word(longest)
        .build();
    Ok(ModelWrapper::from(model.map_err(|error| format!("the WordPiece model cannot be used: {error}"))?)
        .into())
}

/// The byte-level BPE model of RoBERTa: without an unknown token.
pub(super) fn byte_level_bpe(vocab: Vocab, merges: Vec<(String, String)>) -> Result<AnyModel> {
    let model = BPE::builder()
        .vocab_and_merges(checked(vocab)?, merges)
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(String::new())
        .build();
    Ok(ModelWrapper::from(model.map_err(|error| format!("the BPE model cannot be used: {error}"))?).into())
}

/// A unigram model.
pub(super) fn unigram(vocab: Pieces, unknown: Option<usize>, byte_fallback: bool) -> Result<AnyModel> {
    if vocab.len() == 0 {
        return Err("the vocabulary is empty".to_owned());
    }
    let model = Unigram::new(vocab, unknown, byte_fallback);
    model.map(AnyModel::Unigram).map_err(|error| format!("the unigram model cannot be used: {error}"))
}

/// The normalizer as the file has it.
pub(super) fn normalizer(value: &Value) -> Result<NormalizerWrapper> {
    match kind(value) {
        Some("Sequence") => {
            let parts = value
                .get("normalizers")
                .and_then(Value::as_array)
                .ok_or("the normalizer Sequence has no list \"normalizers\"")?;
            let parts: Vec<NormalizerWrapper> = parts.iter().map(normalizer).collect::<Result<_>>()?;
            Ok(Sequence::new(parts).into())
        }
        Some("Precompiled") => {
            let bytes = precompiled_charsmap(value)?;
            Ok(charsmap::normalizer(&bytes)?.into())
        }
        Some(kind) => serde_json::from_value(value.clone())
            .map_err(|error| format!("the normalizer {kind} cannot be used: {error}")),
        None => Err("a normalizer has no \"type\"".to_owned()),
    }
}

/// The character map of the first Precompiled normalizer, also in a Sequence.
pub(super) fn find_charsmap(value: &Value) -> Result<Option<Vec<u8>>> {
    let parts = match kind(value) {
        Some("Sequence") => value.get("normalizers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
        _ => std::slice::from_ref(value),
    };
    parts.iter().find(|part| kind(part) == Some("Precompiled")).map(precompiled_charsmap).transpose()
}

fn precompiled_charsmap(value: &Value) -> Result<Vec<u8>> {
    let text = value.get("precompiled_charsmap").and_then(Value::as_str);
    text.and_then(base64).ok_or_else(|| "the precompiled_charsmap of the normalizer is not base64".to_owned())
}

/// The pre-tokenizer as the file has it.
pub(super) fn pre_tokenizer(value: &Value) -> Result<PreTokenizerWrapper> {
    check_pre_tokenizer(value)?;
    serde_json::from_value(value.clone())
        .map_err(|error| format!("the pre_tokenizer cannot be used: {error}"))
}

fn check_pre_tokenizer(value: &Value) -> Result<()> {
    match kind(value) {
        Some("Sequence") => {
            let parts = value.get("pretokenizers").and_then(Value::as_array);
            parts
                .ok_or("the pre_tokenizer Sequence has no list \"pretokenizers\"")?
                .iter()
                .try_for_each(check_pre_tokenizer)
        }
        Some("FixedLength") if value.get("length").and_then(Value::as_u64) == Some(0) => {
            Err("the pre_tokenizer FixedLength has the length 0".to_owned())
        }
        Some(_) => Ok(()),
        None => Err("a pre_tokenizer has no \"type\"".to_owned()),
    }
}

/// What the post-processor puts around a text.
pub(super) fn around(value: &Value) -> Result<Around> {
    match kind(value) {
        Some("ByteLevel") => Ok(Around::default()), // only moves offsets
        Some("TemplateProcessing") => template(value),
        Some("BertProcessing" | "RobertaProcessing") => {
            let id = |name: &str| value.get(name)?.get(1).and_then(as_id);
            match (id("cls"), id("sep")) {
                (Some(cls), Some(sep)) => Ok((vec![cls], vec![sep])),
                _ => Err("the post_processor has no ids for \"cls\" and \"sep\"".to_owned()),
            }
        }
        Some("Sequence") => {
            let parts = value
                .get("processors")
                .and_then(Value::as_array)
                .ok_or("the post_processor Sequence has no list \"processors\"")?;
            let mut all = parts.iter().map(around).collect::<Result<Vec<_>>>()?;
            all.retain(|(before, after)| !before.is_empty() || !after.is_empty());
            if all.len() > 1 {
                return Err("the post_processor Sequence adds special tokens twice, which is not supported"
                    .to_owned());
            }
            Ok(all.pop().unwrap_or_default())
        }
        other => Err(format!("the post_processor {:?} is not supported", other.unwrap_or_default())),
    }
}

fn template(value: &Value) -> Result<Around> {
    let pieces =
        value.get("single").and_then(Value::as_array).ok_or("the post_processor has no list \"single\"")?;
    let (mut before, mut after, mut seen) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        if let Some(sequence) = piece.get("Sequence") {
            if seen || sequence.get("id").and_then(Value::as_str) != Some("A") {
                return Err(
                    "the post_processor must have the text, \"A\", exactly once in \"single\"".to_owned()
                );
            }
            seen = true;
        } else {
            let name = piece.get("SpecialToken").and_then(|token| token.get("id")).and_then(Value::as_str);
            let name = name.ok_or("a piece of the post_processor is neither Sequence nor SpecialToken")?;
            let token = value.get("special_tokens").and_then(|tokens| tokens.get(name));
            let ids = token.and_then(|token| token.get("ids")).and_then(Value::as_array);
            let ids: Option<Vec<u32>> = ids.and_then(|ids| ids.iter().map(as_id).collect());
            let ids =
                ids.ok_or_else(|| format!("the post_processor has no ids for its special token {name:?}"))?;
            if seen { &mut after } else { &mut before }.extend(ids);
        }
    }
    if seen { Ok((before, after)) } else { Err("the post_processor leaves out the text".to_owned()) }
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| id < TOO_LARGE)
}

fn kind(value: &Value) -> Option<&str> {
    value.get("type").and_then(Value::as_str)
}

fn checked(vocab: Vocab) -> Result<Vocab> {
    match vocab.iter().find(|(_, id)| **id >= TOO_LARGE) {
        Some((token, id)) => Err(format!("the token {token:?} has the id {id}, which is too large")),
        None => Ok(vocab),
    }
}

/// RFC 4648, section 4. `None` if it is not that.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for &character in group {
            let value = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        match group.len() {
            1 => return None,
            length => bytes.extend_from_slice(&bits.to_be_bytes()[1..length]),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648, section 10.
        for (text, expected) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(expected.as_bytes()));
        }
        assert_eq!(base64("+/+/"), Some(vec![0xFB, 0xFF, 0xBF]));
        assert_eq!(base64("Zm9*"), None);
        assert_eq!(base64("Zm9vY"), None);
    }
}
