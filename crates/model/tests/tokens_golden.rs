//! Token ids of every recorded case: what sentence-transformers gave its encoder (golden/make_models.py).

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Case;
use sentir_model::tokens::Tokenizer;
use serde_json::Value;

fn read(path: &Path) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

/// The prompt that a case is encoded with, by the rules of section "prompts" of sentence-transformers.
fn prompt(case: &Case, directory: &Path) -> String {
    let settings = read(&directory.join("config_sentence_transformers.json"));
    let saved = |name: &str| settings["prompts"][name].as_str().unwrap_or("").to_owned();
    let asked = &case.0["encode"];
    match (asked["prompt"].as_str(), asked["prompt_name"].as_str(), asked["task"].as_str()) {
        (Some(prompt), _, _) => prompt.to_owned(),
        (_, Some(name), _) => saved(name),
        (_, _, Some(task)) => saved(task),
        // A directory saved as another kind of model loses its prompts.
        _ if settings["model_type"].as_str().is_some_and(|kind| kind != "SentenceTransformer") => String::new(),
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
        let Some(expected) = case.token_ids() else { continue };
        let directory = tempfile::tempdir().unwrap();
        case.assemble(directory.path());
        let folder = folder(directory.path());
        let lower = read(&folder.join("sentence_bert_config.json"))["do_lower_case"].as_bool().unwrap_or(false);
        let mut tokenizer = Tokenizer::load(&folder, lower).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        tokenizer.set_max_length(case.max_seq_length()).unwrap();
        let prompt = prompt(&case, directory.path());
        for (text, expected) in case.texts().into_iter().zip(expected) {
            let tokens = tokenizer.encode(&prompt, text).unwrap();
            if tokens.ids != expected {
                wrong.push(format!("{}: {text:?}: {:?} is not {expected:?}", case.name(), tokens.ids));
            }
            assert_eq!(tokens.cut == 0, tokenizer.encode_chunks(&prompt, text).map_or(false, |chunks| chunks == [tokens.ids]), "{}", case.name());
            compared += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 900, "only {compared} texts");
}
