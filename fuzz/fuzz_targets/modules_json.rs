//! Any bytes as modules.json: an error or modules whose folders lie inside the model directory.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(folders) = sentir_model::module_folders(Path::new("model/modules.json"), bytes) {
        for folder in folders {
            let inner = folder.strip_prefix("model").expect("in the directory");
            assert!(inner.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)));
        }
    }
});
