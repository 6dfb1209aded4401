//! What integration tests share: the recorded cases of `golden/models`, and where data that may be missing is.

#![allow(dead_code)] // each test binary uses a part of it

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// The folder of recorded truth.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

/// `golden/models/cases.json`; what a case is, says `golden/README.md`.
pub fn cases() -> Vec<Value> {
    let path = golden().join("models/cases.json");
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

/// The case of that name.
pub fn case(name: &str) -> Value {
    cases().into_iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no case {name:?}"))
}

/// Writes the model directory of a case: the base, without `remove`, then `copy`, then `files`.
pub fn assemble(case: &Value) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let models = golden().join("models");
    if let Some(base) = case["base"].as_str() {
        for entry in std::fs::read_dir(models.join(base)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
    }
    for name in case["remove"].as_array().unwrap() {
        std::fs::remove_file(directory.path().join(name.as_str().unwrap())).unwrap();
    }
    for (name, source) in case["copy"].as_object().unwrap() {
        let target = directory.path().join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(models.join(source.as_str().unwrap()), target).unwrap();
    }
    for (name, contents) in case["files"].as_object().unwrap() {
        let target = directory.path().join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let text = contents.as_str().map_or_else(|| contents.to_string(), str::to_owned);
        std::fs::write(target, text).unwrap();
    }
    directory
}

/// The texts of a case.
pub fn texts(case: &Value) -> Vec<String> {
    case["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// A folder of data that may lie beside the repository; says so loudly if it does not.
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    found(test, Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path))
}

/// The real model that `scripts/fetch-minilm.sh` fetches; says so loudly if it is not there.
pub fn minilm(test: &str) -> Option<PathBuf> {
    found(test, Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/all-MiniLM-L6-v2"))
}

fn found(test: &str, path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {test}: {} is not there", path.display());
    None
}
