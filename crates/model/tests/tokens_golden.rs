//! Token ids of every recorded case: what sentence-transformers gave its encoder (golden/make_models.py).

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use sentir_model::tokens::Tokenizer;
use serde_json::Value;

fn read(path: &Path) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

/// The prompt that a case is encoded with, by the rules of section "prompts" of sentence-transformers.
fn prompt(case: &Value, directory: &Path) -> String {
    let settings = read(&directory.join("config_sentence_transformers.json"));
    let saved = |name: &str| settings["prompts"][name].as_str().unwrap_or("").to_owned();
    let asked = &case["encode"];
    match (asked["prompt"].as_str(), asked["prompt_name"].as_str(), asked["task"].as_str()) {
        (Some(prompt), _, _) => prompt.to_owned(),
        (_, Some(name), _) => saved(name),
        (_, _, Some(task)) => saved(task),
        // A directory saved as another kind of model loses its prompts.
        _ if settings["model_type"].as_str().is_some_and(|kind| kind != "SentenceTransformer") => {
            String::new()
        }
        _ => settings["default_prompt_name"].as_str().map(saved).unwrap_or_default(),
    }
}

/// The folder of the encoder.
fn folder(directory: &Path) -> PathBuf {
    let modules = read(&directory.join("modules.json"));
    directory.join(modules[0]["path"].as_str().unwrap_or(""))
}

#[test]
fn every_case_has_the_ids_of_sentence_transformers() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in common::cases() {
        let name = &case["name"];
        let Some(expected) = case.get("token_ids").and_then(Value::as_array) else { continue };
        let directory = common::assemble(&case);
        let folder = folder(directory.path());
        let lower =
            read(&folder.join("sentence_bert_config.json"))["do_lower_case"].as_bool().unwrap_or(false);
        let mut tokenizer = Tokenizer::load(&folder, lower).unwrap_or_else(|error| panic!("{name}: {error}"));
        tokenizer.set_max_length(case["max_seq_length"].as_u64().map(|length| length as usize)).unwrap();
        let prompt = prompt(&case, directory.path());
        for (text, expected) in common::texts(&case).iter().zip(expected) {
            let tokens = tokenizer.encode(&prompt, text).unwrap();
            let expected: Vec<u32> = serde_json::from_value(expected.clone()).unwrap();
            if tokens.ids != expected {
                wrong.push(format!("{name}: {text:?}: {:?} is not {expected:?}", tokens.ids));
            }
            compared += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 900, "only {compared} texts");
}

#[test]
fn chunks_hold_every_token_of_the_text_once() {
    let directory = common::assemble(&common::case("bert: plain"));
    let mut tokenizer = Tokenizer::load(directory.path(), false).unwrap();
    let (prompt, text) = ("query: ", "How do I upload a video? The old mill near the lake. никто не ждал");
    let whole = tokenizer.encode_plain(&format!("{prompt}{text}")).unwrap();
    let own = tokenizer.encode_plain(prompt).unwrap();
    assert!(whole.starts_with(&own));
    let smallest = own.len() + 3; // two special tokens and one of the text
    for length in smallest..whole.len() + 4 {
        tokenizer.set_max_length(Some(length)).unwrap();
        let chunks = tokenizer.encode_chunks(prompt, text).unwrap();
        let tokens = tokenizer.encode(prompt, text).unwrap();
        assert_eq!(chunks[0], tokens.ids);
        assert_eq!(tokens.cut, (whole.len() + 2).saturating_sub(length));
        assert_eq!(chunks.len() == 1, tokens.cut == 0);
        let mut joined = own.clone();
        for (number, chunk) in chunks.iter().enumerate() {
            assert!(chunk.len() <= length && (number + 1 == chunks.len() || chunk.len() == length));
            let inner = chunk.strip_prefix(&[2]).and_then(|rest| rest.strip_suffix(&[3])).unwrap();
            joined.extend(inner.strip_prefix(own.as_slice()).unwrap());
        }
        assert_eq!(joined, whole);
    }
    tokenizer.set_max_length(Some(smallest - 1)).unwrap();
    assert!(tokenizer.encode_chunks(prompt, text).is_err());
    assert_eq!(tokenizer.prompt_length(prompt).unwrap(), own.len() + 1);
}

/// A static model reads tokenizer.json alone; what is stored there about truncation counts.
#[test]
fn a_static_model_reads_tokenizer_json_alone() {
    let directory = common::assemble(&common::case("bert-cased: tokenizer.json with truncation and padding"));
    let alone = Tokenizer::load_json_alone(directory.path()).unwrap();
    assert_eq!((alone.max_length(), alone.model_max_length()), (Some(9), None));
    let full = Tokenizer::load(directory.path(), false).unwrap();
    assert_eq!((full.max_length(), full.model_max_length(), full.pad_id()), (Some(48), Some(48), Some(0)));
    assert_eq!(alone.encode_plain("The fox").unwrap(), full.encode_plain("The fox").unwrap());
    assert!(
        full.description().starts_with("WordPiece, ")
            && full.description().ends_with(" tokens, from tokenizer.json")
    );
}
