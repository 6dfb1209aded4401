//! Damaged and hostile tokenizer files: an error that names the file, or a tokenizer that works, never a panic.

mod common;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sentir_model::tokens::Tokenizer;
use serde_json::{Value, json};

const TEXTS: [&str; 6] =
    ["", "How do I upload a video?", "  Ёлка ＦＯＸ…\u{a0}x\u{301}  ", "<mask>[SEP]", "👨\u{200d}👩", "\0"];

/// Loads and uses a tokenizer; an error must name a file of the directory.
fn run(directory: &Path) -> Result<(), String> {
    let mut tokenizer = match Tokenizer::load(directory, false) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(directory.to_str().unwrap()), "no file is named: {message}");
            return Err(message);
        }
    };
    let _ = tokenizer.set_max_length(Some(8));
    for text in TEXTS {
        if let Ok(tokens) = tokenizer.encode("a: ", text) {
            let chunks = tokenizer.encode_chunks("a: ", text);
            assert!(tokens.cut > 0 || chunks.is_ok_and(|chunks| chunks == [tokens.ids]));
        }
        let _ = tokenizer.prompt_length(text);
    }
    Ok(())
}

/// A copy of a tiny model's tokenizer files, as it is: every part of tokenizer.json counts.
fn directory(base: &str, class: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let source = common::golden().join("models").join(base);
    fs::copy(source.join("tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
    let config = json!({"tokenizer_class": class, "model_max_length": 48});
    fs::write(directory.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    directory
}

fn tokenizer_json(base: &str) -> Value {
    let path = common::golden().join("models").join(base).join("tokenizer.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What becomes of a tokenizer.json after a change.
fn changed(base: &str, change: impl FnOnce(&mut Value)) -> Result<(), String> {
    let directory = directory(base, "PreTrainedTokenizerFast");
    let mut file = tokenizer_json(base);
    change(&mut file);
    fs::write(directory.path().join("tokenizer.json"), file.to_string()).unwrap();
    run(directory.path())
}

fn expect(result: Result<(), String>, part: &str) {
    let message = result.expect_err(part);
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

/// A character map: the double array, then the replacements.
fn charsmap(units: &[u32], replacements: &[u8]) -> String {
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend_from_slice(replacements);
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        (0..=group.len()).for_each(|i| text.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize])));
    }
    text
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    expect(
        changed("xlm-roberta", |file| file["model"]["unk_id"] = json!(10_000)),
        "unknown token is number 10000",
    );
    expect(changed("xlm-roberta", |file| file["model"]["vocab"] = json!([])), "empty");
    expect(changed("bert", |file| file["model"]["vocab"]["x"] = json!(4_000_000_000_u32)), "too large");
    expect(changed("bert", |file| file["model"]["vocab"]["x"] = json!(-1)), "line 1, column");
    expect(changed("bert", |file| file["model"]["type"] = json!("Other")), "\"Other\" is not supported");
    expect(changed("bert", |file| file["model"]["type"] = json!("Unigram")), "not one for a Unigram");
    expect(changed("bert", |file| file["normalizer"] = json!({"type": "Other"})), "normalizer Other");
    expect(
        changed("bert", |file| file["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0})),
        "length 0",
    );
    expect(
        changed("bert", |file| file["post_processor"]["special_tokens"] = json!({})),
        "no ids for its special token",
    );
    expect(changed("bert", |file| file["post_processor"]["single"] = json!([])), "leaves out the text");
    expect(changed("bert", |file| file["added_tokens"][0]["content"] = json!(7)), "without \"content\"");
    expect(changed("roberta", |file| file["model"]["dropout"] = json!(0.5)), "dropout");
    expect(
        changed("roberta", |file| file["model"]["merges"][0] = json!(["nothing", "there"])),
        "BPE model cannot be used",
    );
    expect(changed("roberta", |file| file["model"]["merges"][0] = json!("a b c")), "merge 0");
    expect(
        changed("roberta", |file| file["model"]["continuing_subword_prefix"] = json!("ééé")),
        "continuing_subword_prefix",
    );
    for map in [
        "*".to_owned(),
        "AAAA".to_owned(),
        charsmap(&[0; 8], b""),
        charsmap(&[1 << 20; 256], b""),
        charsmap(&[0x107; 256], b"x"),
        charsmap(&[0; 256], b"\xff"),
    ] {
        let change = |file: &mut Value| file["normalizer"]["precompiled_charsmap"] = json!(map);
        expect(changed("xlm-roberta", change), "normalizer");
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    for (key, value, part) in [
        ("model_max_length", json!("many"), "model_max_length"),
        ("model_max_length", json!(0), "model_max_length"),
        ("truncation_side", json!("up"), "truncation_side"),
        ("do_lower_case", json!("yes"), "do_lower_case"),
        ("unk_token", json!(3), "unk_token"),
        ("added_tokens_decoder", json!({"x": "y"}), "not a token id"),
        ("extra_special_tokens", json!(5), "extra_special_tokens"),
        ("tokenizer_class", json!("XLMRobertaTokenizer"), "its model is WordPiece"),
    ] {
        let directory = directory("bert", "BertTokenizer");
        let mut config = json!({"tokenizer_class": "BertTokenizer"});
        config[key] = value;
        fs::write(directory.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        expect(run(directory.path()), part);
    }
    let empty = tempfile::tempdir().unwrap();
    expect(run(empty.path()), "no tokenizer");
    fs::write(empty.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    fs::write(empty.path().join("vocab.txt"), b"[PAD]\n[UNK]\n\xff\n").unwrap();
    expect(run(empty.path()), "line 3");
    fs::write(empty.path().join("config.json"), r#"{"model_type": "roberta"}"#).unwrap();
    fs::write(empty.path().join("vocab.json"), r#"{"a": 0, "b": 1}"#).unwrap();
    fs::write(empty.path().join("merges.txt"), "#version: 0.2\na b\nnothing\n").unwrap();
    expect(run(empty.path()), "line 3");
}

#[test]
fn the_special_tokens_must_fit() {
    let mut tokenizer = Tokenizer::load(directory("bert", "BertTokenizer").path(), false).unwrap();
    assert!(tokenizer.set_max_length(Some(1)).unwrap_err().to_string().contains("at least 2"));
    assert!(tokenizer.set_max_length(Some(0)).is_err());
    tokenizer.set_max_length(Some(2)).unwrap();
    assert_eq!(tokenizer.encode("", "a b c").unwrap().ids, [2, 3]);
    assert!(tokenizer.encode_chunks("query: ", "a b c").unwrap_err().to_string().contains("no room"));
}

#[test]
fn a_sentencepiece_model_cut_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), r#"{"model_type": "xlm-roberta"}"#).unwrap();
    let path = directory.path().join("sentencepiece.bpe.model");
    let whole = fs::read(common::golden().join("models/xlm-roberta/sentencepiece.bpe.model")).unwrap();
    let mut refused = 0;
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        refused += usize::from(run(directory.path()).is_err());
    }
    assert!(refused > whole.len() / 2);
    fs::write(&path, &whole).unwrap();
    run(directory.path()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_sentencepiece_model_with_other_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), r#"{"model_type": "xlm-roberta"}"#).unwrap();
        let mut bytes = fs::read(common::golden().join("models/xlm-roberta/sentencepiece.bpe.model")).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(directory.path().join("sentencepiece.bpe.model"), bytes).unwrap();
        let _ = run(directory.path());
    }

    #[test]
    fn a_tokenizer_json_with_other_bytes(
        base in prop::sample::select(vec!["bert", "roberta", "xlm-roberta", "static"]),
        class in prop::sample::select(vec!["PreTrainedTokenizerFast", "BertTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let directory = directory(base, class);
        let path = directory.path().join("tokenizer.json");
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        let _ = run(directory.path());
    }

    /// Any value of the file replaced by another.
    #[test]
    fn a_tokenizer_json_with_other_values(
        base in prop::sample::select(vec!["bert", "roberta", "xlm-roberta"]),
        path in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        value in prop::sample::select(vec![
            json!(null), json!(true), json!(0), json!(-1), json!(1), json!(u32::MAX), json!(1e300), json!(""), json!("a"), json!("##"),
            json!("é"), json!([]), json!({}), json!(["a", "b"]), json!({"Regex": "("}), json!({"Regex": "(a*)*b"}), json!({"String": ""}),
            json!({"type": "Lowercase"}), json!({"type": "Strip", "strip_left": true, "strip_right": true}), json!({"type": "Nmt"}),
            json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x"}), json!({"type": "Prepend", "prepend": "▁"}),
            json!({"type": "Split", "pattern": {"Regex": "a*"}, "behavior": "Isolated", "invert": false}),
            json!({"type": "Digits", "individual_digits": true}), json!({"type": "Sequence", "pretokenizers": []}),
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
        ]),
    ) {
        let _ = changed(base, |file| {
            let mut at = file;
            for index in path {
                let children = at.as_object().map_or_else(|| at.as_array().map_or(0, Vec::len), serde_json::Map::len);
                if children == 0 {
                    break;
                }
                let child = index.index(children);
                at = if at.is_array() { &mut at[child] } else { at.as_object_mut().unwrap().values_mut().nth(child).unwrap() };
            }
            *at = value;
        });
    }
}
