//! A model without the tokens that one's texts never use: fewer rows in the embedding table, the same vectors.
//!
//! A multilingual model spends half of its size on tokens of languages that its user does not have. Taking out pieces that no
//! text is divided into changes no division: WordPiece takes the longest piece that fits, Unigram the pieces of the largest
//! score, and what was taken before still is. (A unigram model scores unknown characters by its smallest score, so the piece
//! that has it stays.) Byte-level BPE is built by merging, for which this does not hold; it is refused. The claim is not
//! trusted: every text is divided and encoded by both models, and the new one appears only if nothing differs.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};
use unicode_script::{Script, UnicodeScript};

use crate::directory::Original;
use crate::families::TransformerConfig;
use crate::tokens::Tokenizer;
use crate::weights::{Entry, View, Weights, Writer};
use crate::{EncodeOptions, Error, Result, SentenceTransformer, json};

const TOKENIZER: &str = "tokenizer.json";
/// Other forms of the vocabulary, which would contradict the new one.
const OTHER_FORMS: [&str; 4] = ["vocab.txt", "sentencepiece.bpe.model", "spiece.model", "vocab.json"];

/// What to keep besides the tokens of the texts, and how to follow the work.
#[derive(Clone, Copy, Default)]
pub struct PruneOptions<'a> {
    /// Scripts by their Unicode names (`Latin`, `Cyrillic`): all pieces in these, and those of digits and signs, stay.
    pub keep_scripts: &'a [String],
    /// Called while texts are encoded for the proof, with the number done and of all (twice the texts).
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    /// Ends the work with [`Error::Interrupted`] soon after it becomes true; nothing is left behind.
    pub interrupt: Option<&'a AtomicBool>,
}

/// What pruning did.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// Tokens before.
    pub tokens_before: usize,
    /// Tokens that stayed.
    pub tokens_after: usize,
    /// Bytes of the weights before.
    pub bytes_before: usize,
    /// Bytes of the weights after.
    pub bytes_after: usize,
    /// Texts on which both models were found to have the same tokens and the same vectors, bit for bit.
    pub texts_proved: usize,
}

/// Writes the model of `source` with the tokens that `texts` need into the new directory `target`, and proves on the texts
/// that nothing else changed. The prompts of the model count as texts, alone and before each text.
///
/// # Errors
/// If `target` exists, the model's tokenizer is not WordPiece or Unigram in a `tokenizer.json`, its weights are packed, a
/// script is unknown, or the proof fails.
pub fn prune_model(
    source: &Path,
    target: &Path,
    texts: &[String],
    options: PruneOptions<'_>,
) -> Result<Pruned> {
    if texts.is_empty() {
        return Err(Error::Argument("there are no texts to keep tokens of".to_owned()));
    }
    let scripts = options.keep_scripts.iter().map(|name| script(name)).collect::<Result<Vec<_>>>()?;
    let original = Original::with_transformer(source)?;
    let folder = original.transformer.as_path();
    let config_path = folder.join("config.json");
    let config: TransformerConfig = json::read(&config_path)?;
    let (family, shape) = config.translate(&config_path)?;
    let weights = Weights::open(folder)?;
    if weights.packed().is_some() {
        return Err(Error::invalid(
            folder,
            "its weights are packed; prune the original model, then quantize",
        ));
    }
    let path = folder.join(TOKENIZER);
    let mut file: Value = json::read(&path)?;
    let pieces = pieces(&path, &file)?;
    if pieces.len() > shape.vocabulary {
        let message =
            format!("it has {} tokens, but the model {} embeddings", pieces.len(), shape.vocabulary);
        return Err(Error::invalid(&path, message));
    }

    let before = SentenceTransformer::load(source.to_string_lossy())?;
    let tokenizer = before.reader.tokenizer();
    let mut keep = vec![false; pieces.len()];
    let prompts: Vec<&str> = before.prompts().iter().map(|(_, prompt)| prompt).chain([""]).collect();
    for ids in all_ids(tokenizer, texts, &prompts)? {
        ids.into_iter().for_each(|id| keep[id as usize] = true);
    }
    keep_special(&file, &pieces, &mut keep);
    for (piece, keep) in pieces.iter().zip(&mut keep) {
        *keep |= !scripts.is_empty() && is_written_in(piece, &scripts);
    }
    let mut renumbered: Vec<Option<u32>> = Vec::with_capacity(keep.len());
    let mut count = 0;
    for keep in keep {
        renumbered.push(keep.then_some(count));
        count += u32::from(keep);
    }
    rewrite_tokenizer(&mut file, &renumbered);

    let table = format!("{}{}.weight", family.names.prefix(&weights), family.names.words);
    original.make(target, &OTHER_FORMS, |new, own| {
        write_json(&own.join(TOKENIZER), &file)?;
        rewrite(&own.join("tokenizer_config.json"), |config| {
            if let Some(Value::Object(decoder)) = config.get_mut("added_tokens_decoder") {
                let new = |id: &str| renumbered.get(id.parse::<usize>().ok()?).copied().flatten();
                *decoder = std::mem::take(decoder)
                    .into_iter()
                    .filter_map(|(id, token)| Some((new(&id)?.to_string(), token)))
                    .collect();
            }
        })?;
        rewrite(&own.join("added_tokens.json"), |tokens| {
            tokens.values_mut().for_each(|id| renumber(id, &renumbered));
        })?;
        rewrite(&own.join("config.json"), |config| {
            config.insert("vocab_size".to_owned(), count.into());
            for (key, value) in config.iter_mut() {
                if key.ends_with("_token_id") {
                    renumber(value, &renumbered);
                }
            }
        })?;
        let bytes_after = write_weights(&own.join("model.safetensors"), &weights, &table, &renumbered)?;
        prove(&before, new, texts, &prompts, &renumbered, options)?;
        Ok(Pruned {
            tokens_before: pieces.len(),
            tokens_after: count as usize,
            bytes_before: weights.tensors().map(View::bytes).sum(),
            bytes_after,
            texts_proved: texts.len(),
        })
    })
}

fn script(name: &str) -> Result<Script> {
    Script::from_full_name(name).ok_or_else(|| {
        Error::Argument(format!(
            "\"{name}\" is no script of Unicode; use names such as Latin, Cyrillic, Greek, Arabic, Han"
        ))
    })
}

/// Whether a piece has no character of another script. The marks of the beginning and the middle of words are of none.
fn is_written_in(piece: &str, scripts: &[Script]) -> bool {
    piece.chars().all(|c| {
        let script = c.script();
        matches!(script, Script::Common | Script::Inherited) || scripts.contains(&script)
    })
}

/// The vocabulary of `tokenizer.json` in the order of ids.
fn pieces(path: &Path, file: &Value) -> Result<Vec<String>> {
    let invalid = |message: &str| Error::invalid(path, message);
    match &file["model"]["vocab"] {
        Value::Array(pieces) => {
            let text = |piece: &Value| piece.get(0).and_then(Value::as_str).map(str::to_owned);
            pieces
                .iter()
                .map(text)
                .collect::<Option<_>>()
                .ok_or_else(|| invalid("a piece of its vocabulary has no text"))
        }
        Value::Object(_) if !file["model"]["merges"].is_null() => Err(invalid(
            "its model is BPE, whose pieces are made of each other; only WordPiece and Unigram can be pruned",
        )),
        Value::Object(ids) => {
            let mut pieces = vec![None; ids.len()];
            for (piece, id) in ids {
                let place = id.as_u64().and_then(|id| pieces.get_mut(usize::try_from(id).ok()?));
                *place.ok_or_else(|| invalid("the ids of its vocabulary have gaps"))? = Some(piece.clone());
            }
            pieces.into_iter().collect::<Option<_>>().ok_or_else(|| invalid("two of its tokens have one id"))
        }
        _ => Err(invalid("it has no vocabulary")),
    }
}

/// The ids of every text with every prompt, and of every prompt, special tokens included, nothing cut.
fn all_ids(tokenizer: &Tokenizer, texts: &[String], prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
    let mut all = vec![tokenizer.special_ids()];
    for prompt in prompts {
        all.push(tokenizer.encode_plain(prompt)?);
        let ids: Vec<Result<Vec<u32>>> =
            texts.par_iter().map(|text| tokenizer.encode_plain(&format!("{prompt}{text}"))).collect();
        all.extend(ids.into_iter().collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}

/// Added tokens, the unknown one, and the piece with the smallest score.
fn keep_special(file: &Value, pieces: &[String], keep: &mut [bool]) {
    let mut set = |id: Option<u64>| {
        if let Some(keep) = id.and_then(|id| keep.get_mut(usize::try_from(id).ok()?)) {
            *keep = true;
        }
    };
    file["added_tokens"].as_array().into_iter().flatten().for_each(|token| set(token["id"].as_u64()));
    set(file["model"]["unk_id"].as_u64());
    let unknown = file["model"]["unk_token"].as_str();
    set(unknown.and_then(|unknown| pieces.iter().position(|piece| piece == unknown)).map(|id| id as u64));
    let scores =
        file["model"]["vocab"].as_array().into_iter().flatten().map(|piece| piece[1].as_f64().unwrap_or(0.0));
    set(scores.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id as u64));
}

fn renumber(value: &mut Value, renumbered: &[Option<u32>]) {
    let old = value.as_u64().and_then(|id| usize::try_from(id).ok());
    if let Some(new) = old.and_then(|old| renumbered.get(old).copied().flatten()) {
        *value = new.into();
    }
}

fn rewrite_tokenizer(file: &mut Value, renumbered: &[Option<u32>]) {
    match &mut file["model"]["vocab"] {
        Value::Array(pieces) => {
            let mut kept = renumbered.iter().map(Option::is_some);
            pieces.retain(|_| kept.next().unwrap_or(false));
        }
        Value::Object(ids) => {
            let new = |id: &Value| renumbered.get(usize::try_from(id.as_u64()?).ok()?).copied().flatten();
            let kept =
                std::mem::take(ids).into_iter().filter_map(|(piece, id)| Some((piece, new(&id)?.into())));
            *ids = kept.collect();
        }
        _ => {}
    }
    for pointer in ["/model/unk_id", "/padding/pad_id", "/post_processor/sep/1", "/post_processor/cls/1"] {
        if let Some(id) = file.pointer_mut(pointer) {
            renumber(id, renumbered);
        }
    }
    for token in file["added_tokens"].as_array_mut().into_iter().flatten() {
        renumber(&mut token["id"], renumbered);
    }
    if let Some(Value::Object(tokens)) = file.pointer_mut("/post_processor/special_tokens") {
        for token in tokens.values_mut() {
            token["ids"].as_array_mut().into_iter().flatten().for_each(|id| renumber(id, renumbered));
        }
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Error::invalid(path, error.to_string()))?;
    fs::write(path, text + "\n").map_err(|error| Error::io(path, error))
}

/// Changes a JSON file, if it is there.
fn rewrite(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<()> {
    let Some(mut value) = json::read_optional::<Map<String, Value>>(path)? else { return Ok(()) };
    change(&mut value);
    write_json(path, &value)
}

/// All tensors as they are, but for those with a row per token. Returns the number of their bytes.
fn write_weights(path: &Path, weights: &Weights, table: &str, renumbered: &[Option<u32>]) -> Result<usize> {
    let rows = weights.get(table)?.shape[0];
    let kept: Vec<usize> = (0..renumbered.len()).filter(|&id| renumbered[id].is_some()).collect();
    // A head over the vocabulary has a row per token too.
    let is_table = |view: &View| {
        view.shape.first() == Some(&rows)
            && (view.name == table || view.name.contains("predictions") || view.name.contains("lm_head"))
    };
    let mut views: Vec<&View> = weights.tensors().collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.dtype.size()));
    let entries: Vec<Entry> = views
        .iter()
        .map(|view| {
            let mut shape = view.shape.clone();
            let mut bytes = view.bytes();
            if is_table(view) {
                shape[0] = kept.len();
                bytes = bytes / rows * kept.len();
            }
            Entry { name: view.name.clone(), dtype: view.dtype.name(), shape, bytes }
        })
        .collect();
    let mut out = Writer::create(path, &entries)?;
    for view in views {
        let shared = view.shared_bytes();
        let bytes = shared.as_ref();
        if is_table(view) {
            let row = bytes.len() / rows;
            kept.iter().try_for_each(|&id| out.write(&bytes[id * row..][..row]))?;
        } else {
            out.write(bytes)?;
        }
        view.release();
    }
    out.finish()?;
    Ok(entries.iter().map(|entry| entry.bytes).sum())
}

/// Divides and encodes every text with both models.
fn prove(
    before: &SentenceTransformer,
    directory: &Path,
    texts: &[String],
    prompts: &[&str],
    renumbered: &[Option<u32>],
    options: PruneOptions<'_>,
) -> Result<()> {
    let after = SentenceTransformer::load(directory.to_string_lossy())?;
    let old = all_ids(before.reader.tokenizer(), texts, prompts)?;
    let new = all_ids(after.reader.tokenizer(), texts, prompts)?;
    let same = |old: &[u32], new: &[u32]| {
        old.len() == new.len()
            && old.iter().zip(new).all(|(&old, &new)| renumbered[old as usize] == Some(new))
    };
    let failed = |what: String| Error::invalid(before.path(), format!("{what}; nothing was written"));
    if let Some(at) = old.iter().zip(&new).position(|(old, new)| !same(old, new)) {
        // The special tokens, then for each prompt itself and the texts.
        let what = match at.checked_sub(1).map(|at| at % (texts.len() + 1)) {
            None => "the special tokens are".to_owned(),
            Some(0) => "a prompt is".to_owned(),
            Some(text) => format!("text {} is", text - 1),
        };
        return Err(failed(format!("without the other tokens, {what} divided differently")));
    }
    let encode = |model: &SentenceTransformer, done: usize| {
        let progress = |now: usize, _: usize| {
            if let Some(progress) = options.progress {
                progress(done + now, 2 * texts.len());
            }
        };
        let own =
            EncodeOptions { progress: Some(&progress), interrupt: options.interrupt, ..Default::default() };
        model.encode(texts, &own).map(|encoded| encoded.embeddings)
    };
    let (a, b) = (encode(before, 0)?, encode(&after, texts.len())?);
    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    match a.iter().zip(b.iter()).position(|(a, b)| bits(a) != bits(b)) {
        Some(text) => Err(failed(format!("without the other tokens, text {text} has another vector"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_those_of_unicode() {
        let scripts = ["Latin", "Cyrillic"].map(|name| script(name).unwrap());
        for (piece, expected) in [
            ("▁how", true),
            ("##ing", true),
            ("▁как", true),
            ("123", true),
            ("▁τι", false),
            ("日本", false),
            ("a語", false),
        ] {
            assert_eq!(is_written_in(piece, &scripts), expected, "{piece}");
        }
        assert!(script("Elvish").unwrap_err().to_string().contains("Latin, Cyrillic"));
    }
}
