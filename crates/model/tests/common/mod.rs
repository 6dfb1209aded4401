//! What tests of this crate share: the recorded cases of `golden/models`, put together as directories, the real model, and the
//! data folder beside the repository. The last two may be absent.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// `golden/` of the repository.
pub fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden"))
}

/// A path in the data folder beside the repository; `None`, said aloud, where it is absent.
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    present(
        test,
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path),
        "no data folder",
    )
}

/// The directory of the real model; `None`, said aloud, where it is absent.
pub fn minilm(test: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2"));
    present(test, path.to_owned(), "no model; scripts/fetch-minilm.sh gets it")
}

#[allow(clippy::print_stderr, reason = "a test that did not run must not look like one that passed")]
fn present(test: &str, path: PathBuf, why: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {test}: {why}: {}", path.display());
    None
}

/// All cases of `golden/models/cases.json`; `golden/README.md` says what their keys mean.
pub fn cases() -> Vec<Value> {
    let cases: Vec<Value> =
        serde_json::from_slice(&fs::read(golden().join("models/cases.json")).unwrap()).unwrap();
    assert!(!cases.is_empty());
    cases
}

/// The case of that name.
pub fn case(name: &str) -> Value {
    cases()
        .into_iter()
        .find(|case| case["name"] == name)
        .unwrap_or_else(|| panic!("no case is called {name}"))
}

/// The texts of a case.
pub fn texts(case: &Value) -> Vec<String> {
    case["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Writes the model directory of a case: `base`, without `remove`, then `copy`, then `files`.
pub fn assemble(case: &Value) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let models = golden().join("models");
    if let Some(base) = case["base"].as_str() {
        for entry in fs::read_dir(models.join(base)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    for name in case["remove"].as_array().unwrap() {
        fs::remove_file(directory.path().join(name.as_str().unwrap())).unwrap();
    }
    let target = |name: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (name, source) in case["copy"].as_object().unwrap() {
        fs::copy(models.join(source.as_str().unwrap()), target(name)).unwrap();
    }
    for (name, value) in case["files"].as_object().unwrap() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fs::write(target(name), text).unwrap();
    }
    directory
}
