//! Which files of a repository a sentence-transformers model is made of. It knows names only; nothing is read here but
//! `modules.json`.

use serde::Deserialize;

/// The entry of modules.json that matters for the choice of files.
#[derive(Deserialize)]
pub(super) struct ModuleEntry {
    /// The folder, relative to the model; empty for the model's own.
    #[serde(default)]
    pub(super) path: String,
    /// The class, for example `sentence_transformers.models.Pooling`.
    #[serde(default, rename = "type")]
    pub(super) class: String,
}

/// The names of weights, the preferred first: whole or in parts with an index.
const WEIGHTS: [(&str, &str, &str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json", "model-", ".safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-", ".bin"),
];

/// Folders of exports for other engines.
const OTHER_ENGINES: [&str; 6] = ["onnx", "openvino", "coreml", "tf", "flax", "gguf"];

/// Configurations, tokenizers and the card.
fn is_companion(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "modules.json",
        "tokenizer.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "unigram.json",
        "README.md",
    ];
    NAMES.contains(&name)
        || name.ends_with("config.json")
        || (name.starts_with("config") && name.ends_with(".json"))
        || name.ends_with(".model") // SentencePiece
}

/// Refuses names that could be written outside the folder of the model.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let bytes = name.as_bytes();
    let drive = bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    let leaves = name.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if drive || leaves || name.contains('\\') || name.contains(char::is_control) || name.len() > 1024 {
        return Err(format!(
            "the repository lists a file {:?}, a name that could be written outside the cache; nothing is downloaded",
            name.chars().take(100).collect::<String>()
        ));
    }
    Ok(())
}

impl ModuleEntry {
    /// Its folder, without `./` and without a slash at the end.
    pub(super) fn folder(&self) -> &str {
        self.path.trim_start_matches("./").trim_matches('/')
    }
}

/// The folders that modules.json names, the model's own included if a module is there; without modules.json only that.
pub(super) fn folders(modules: Option<&[ModuleEntry]>) -> Vec<String> {
    let Some(modules) = modules else { return vec![String::new()] };
    modules.iter().map(|module| module.folder().to_owned()).collect()
}

/// The part of `name` below `folder`, if it lies there.
fn below<'a>(name: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() { Some(name) } else { name.strip_prefix(folder)?.strip_prefix('/') }
}

/// The files to download: companions in the model's folder and anywhere below the folders of modules, and the weights
/// of each folder that has some, safetensors if there are.
pub(super) fn choose<'a>(names: &[&'a str], folders: &[String]) -> Vec<&'a str> {
    let mut chosen: Vec<&str> = Vec::new();
    for &name in names {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let of_module = folders
            .iter()
            .any(|module| if module.is_empty() { folder.is_empty() } else { below(name, module).is_some() });
        if folder.split('/').any(|part| OTHER_ENGINES.contains(&part)) || !(of_module || folder.is_empty()) {
            continue;
        }
        if is_companion(file) || (of_module && is_weights(names, folder, file)) {
            chosen.push(name);
        }
    }
    chosen
}

/// Whether `file` belongs to the weights that are read in `folder`.
fn is_weights(names: &[&str], folder: &str, file: &str) -> bool {
    let has = |file: &str| names.iter().any(|name| below(name, folder) == Some(file));
    for (whole, index, start, end) in WEIGHTS {
        if has(whole) {
            return file == whole;
        }
        if has(index) {
            return file == index || (file.starts_with(start) && file.ends_with(end));
        }
    }
    false
}

/// Whether any of `chosen` is a file of weights.
pub(super) fn has_weights(chosen: &[&str]) -> bool {
    let file = |name: &str| name.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    chosen
        .iter()
        .map(|name| file(name))
        .any(|file| WEIGHTS.iter().any(|(whole, index, _, _)| file == *whole || file == *index))
}

/// What a folder on disk lacks of the weights that are read in it: nothing, or names.
pub(super) fn missing_weights(folder: &std::path::Path) -> Vec<String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    for (whole, index, _, _) in WEIGHTS {
        if folder.join(whole).is_file() {
            return Vec::new();
        }
        if let Ok(text) = std::fs::read(folder.join(index)) {
            let Ok(index) = serde_json::from_slice::<Index>(&text) else { return vec![index.to_owned()] };
            let parts: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
            return parts
                .into_iter()
                .filter(|part| check_name(part).is_err() || !folder.join(part).is_file())
                .collect();
        }
    }
    vec![WEIGHTS[0].0.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(paths: &[&str]) -> Vec<ModuleEntry> {
        paths.iter().map(|path| ModuleEntry { path: (*path).to_owned(), class: String::new() }).collect()
    }

    #[test]
    fn a_usual_repository_gives_its_model_and_no_exports() {
        let names = [
            ".gitattributes",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "README.md",
            "config.json",
            "config_sentence_transformers.json",
            "data_config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "modules.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "openvino/openvino_model.bin",
            "pytorch_model.bin",
            "rust_model.ot",
            "sentence_bert_config.json",
            "sentencepiece.bpe.model",
            "tf_model.h5",
            "tokenizer.json",
            "train_script.py",
            "vocab.txt",
        ];
        let chosen = choose(&names, &folders(Some(&entries(&["", "1_Pooling", "2_Dense", "3_Normalize"]))));
        let expected = [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "README.md",
            "config.json",
            "config_sentence_transformers.json",
            "data_config.json",
            "model.safetensors",
            "modules.json",
            "sentence_bert_config.json",
            "sentencepiece.bpe.model",
            "tokenizer.json",
            "vocab.txt",
        ];
        assert_eq!(chosen, expected);
        assert!(has_weights(&chosen));
    }

    #[test]
    fn weights_are_taken_per_folder_and_in_parts() {
        let names = ["config.json", "pytorch_model.bin", "model.fp16.safetensors"];
        assert_eq!(choose(&names, &folders(None)), ["config.json", "pytorch_model.bin"]);
        let names = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
        ];
        assert_eq!(choose(&names, &folders(None)), names[..3]);
        let names = [
            "modules.json",
            "model.safetensors",
            "0_Transformer/pytorch_model.bin",
            "checkpoint-5/model.safetensors",
        ];
        let chosen = choose(&names, &folders(Some(&entries(&["0_Transformer"]))));
        assert_eq!(chosen, ["modules.json", "0_Transformer/pytorch_model.bin"]);
        assert!(!has_weights(&choose(&["config.json", "onnx/model.onnx"], &folders(None))));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "../x",
            "a/../../x",
            "/etc/passwd",
            r"..\x",
            r"C:\x",
            "C:x",
            "",
            "a//b",
            "./a",
            "a/",
            "a\0b",
            "a\nb",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["config.json", "1_Pooling/config.json", "a..b", "..."] {
            check_name(name).unwrap();
        }
    }
}
