//! Token ids against transformers 5 (golden/make_tokens.py): nasty texts through tiny tokenizers in many configurations, and the
//! real tokenizer of XLM-RoBERTa on nasty and on real texts, from tokenizer.json and from sentencepiece.bpe.model.

mod common;

use std::fs;
use std::path::Path;

use sentir_model::tokens::Tokenizer;
use serde_json::{Value, json};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn recorded(name: &str) -> Value {
    read(&common::golden().join("tokens").join(name))
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn nasty() -> Vec<String> {
    serde_json::from_value(recorded("cases.json")["nasty"].clone()).unwrap()
}

#[test]
fn every_configuration_has_the_ids_of_transformers() {
    let nasty = nasty();
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in recorded("cases.json")["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let texts: Vec<String> = match &case["texts"] {
            Value::Null => nasty.clone(),
            texts => texts
                .as_array()
                .unwrap()
                .iter()
                .map(|text| match text.as_u64() {
                    Some(index) => nasty[index as usize].clone(),
                    None => text.as_str().unwrap().to_owned(),
                })
                .collect(),
        };
        let directory = common::assemble(case);
        let mut tokenizer =
            Tokenizer::load(directory.path(), false).unwrap_or_else(|error| panic!("{name}: {error}"));
        tokenizer.set_max_length(None).unwrap();
        let length = case["max_seq_length"].as_u64().map(|length| length as usize);
        for (text, expected) in texts.iter().zip(case["token_ids"].as_array().unwrap()) {
            let expected = numbers(expected);
            let whole = tokenizer.encode("", text).unwrap();
            assert_eq!(whole.cut, 0);
            let mut tokens = whole.clone();
            if length.is_some() {
                tokenizer.set_max_length(length).unwrap();
                tokens = tokenizer.encode("", text).unwrap();
                assert_eq!(tokens.ids.len() + tokens.cut, whole.ids.len(), "{name}: {text:?}");
                tokenizer.set_max_length(None).unwrap();
            }
            if tokens.ids != expected {
                wrong.push(format!("{name}: {text:?}: {:?} is not {expected:?}", tokens.ids));
            }
            compared += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 3000, "only {compared} texts");
}

/// FNV-1a of 64 bits over little-endian u32 (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv(numbers: impl Iterator<Item = u32>) -> u64 {
    numbers
        .flat_map(u32::to_le_bytes)
        .fold(0xCBF2_9CE4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The real tokenizer from one of its files, alone in a directory.
fn real(test: &str, file: &str) -> Option<Tokenizer> {
    let source = common::shared(test, "tokenizers/xlm-roberta")?;
    let directory = tempfile::tempdir().unwrap();
    fs::copy(source.join(file), directory.path().join(file)).unwrap();
    fs::write(directory.path().join("config.json"), r#"{"model_type": "xlm-roberta"}"#).unwrap();
    let tokenizer = Tokenizer::load(directory.path(), false).unwrap();
    assert_eq!(tokenizer.vocab_size(), 250_002);
    assert_eq!((tokenizer.pad_id(), tokenizer.token_to_id("<mask>")), (Some(1), Some(250_001)));
    Some(tokenizer)
}

/// The strings of a line of JSON in the order of its keys, which `serde_json::Value` does not keep.
fn strings(line: &str) -> Vec<String> {
    struct Strings(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Strings {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;
            impl<'de> serde::de::Visitor<'de> for InOrder {
                type Value = Strings;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                    let mut found = Vec::new();
                    while let Some((_, value)) = map.next_entry::<String, Value>()? {
                        found.extend(value.as_str().map(str::to_owned));
                    }
                    Ok(Strings(found))
                }
            }
            deserializer.deserialize_map(InOrder)
        }
    }
    serde_json::from_str::<Strings>(line).unwrap().0
}

fn real_texts(test: &str, file: &str) {
    let Some(tokenizer) = real(test, file) else { return };
    let record = &recorded("xlm-roberta.json")[file];
    let nasty = nasty();
    assert_eq!(record["nasty"].as_array().unwrap().len(), nasty.len());
    for (text, expected) in nasty.iter().zip(record["nasty"].as_array().unwrap()) {
        assert_eq!(tokenizer.encode("", text).unwrap().ids, numbers(expected), "{text:?}");
    }
    let folder = common::shared(test, "data/rutube").unwrap();
    let mut lines = 0;
    for (name, expected) in record["rutube"].as_object().unwrap() {
        let (mut total, mut hashes) = (0, String::new());
        for line in fs::read_to_string(folder.join(name)).unwrap().lines() {
            let ids: Vec<Vec<u32>> =
                strings(line).iter().map(|text| tokenizer.encode("", text).unwrap().ids).collect();
            total += ids.iter().map(Vec::len).sum::<usize>();
            let with_lengths =
                ids.iter().flat_map(|ids| std::iter::once(ids.len() as u32).chain(ids.iter().copied()));
            hashes += &format!("{:08x}", fnv(with_lengths) as u32);
            lines += 1;
            let so_far = expected["hashes"].as_str().unwrap().get(..hashes.len());
            assert!(so_far == Some(&hashes), "{name}: other ids in line {}", hashes.len() / 8);
        }
        assert_eq!(json!(total), expected["ids"], "{name}");
        assert_eq!(json!(hashes), expected["hashes"], "{name}");
    }
    assert_eq!(lines, 4931);
}

#[test]
fn the_real_tokenizer_from_tokenizer_json() {
    real_texts("the_real_tokenizer_from_tokenizer_json", "tokenizer.json");
}

#[test]
fn the_real_tokenizer_from_sentencepiece() {
    real_texts("the_real_tokenizer_from_sentencepiece", "sentencepiece.bpe.model");
}

#[test]
fn the_published_encodings_of_xlm_roberta() {
    for file in ["tokenizer.json", "sentencepiece.bpe.model"] {
        let Some(tokenizer) = real("the_published_encodings_of_xlm_roberta", file) else { return };
        let path = common::shared(
            "the_published_encodings_of_xlm_roberta",
            "tokenizers/xlm-roberta/gold_encodings.json",
        )
        .unwrap();
        let gold = read(&path);
        let gold = gold["gold"].as_array().unwrap();
        assert!(!gold.is_empty());
        for one in gold {
            let text = one["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode("", text).unwrap().ids, numbers(&one["ids"]), "{file}: {text:?}");
        }
    }
}
