//! What tests of this crate share: the recorded cases of `golden/models`, put together as directories, and the data folder
//! beside the repository, which may be absent.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// `golden/` of the repository.
pub fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden"))
}

/// The data folder beside the repository, or a path in it; `None`, said aloud, where it is absent.
#[allow(clippy::print_stderr)]
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let found = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("SKIPPED: {test}: there is no {}", found.display());
    None
}

/// All cases of `golden/models/cases.json`; `golden/README.md` says what their keys mean.
pub fn cases() -> Vec<Case> {
    let text = fs::read_to_string(golden().join("models/cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    cases.into_iter().map(Case).collect()
}

/// One case as the file has it.
pub struct Case(pub Value);

impl Case {
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    pub fn texts(&self) -> Vec<&str> {
        self.0["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    pub fn max_seq_length(&self) -> Option<usize> {
        self.0["max_seq_length"].as_u64().map(|length| length as usize)
    }

    /// Per text, the ids that the encoder reads; `None` for static models.
    pub fn token_ids(&self) -> Option<Vec<Vec<u32>>> {
        self.0.get("token_ids").map(|ids| serde_json::from_value(ids.clone()).unwrap())
    }

    /// Writes the model directory: `base`, without `remove`, then `copy`, then `files`.
    pub fn assemble(&self, directory: &Path) {
        let models = golden().join("models");
        if let Some(base) = self.0["base"].as_str() {
            for entry in fs::read_dir(models.join(base)).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
            }
        }
        for name in self.0["remove"].as_array().unwrap() {
            fs::remove_file(directory.join(name.as_str().unwrap())).unwrap();
        }
        let target = |name: &str| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for (name, source) in self.0["copy"].as_object().unwrap() {
            fs::copy(models.join(source.as_str().unwrap()), target(name)).unwrap();
        }
        for (name, value) in self.0["files"].as_object().unwrap() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fs::write(target(name), text).unwrap();
        }
    }
}
