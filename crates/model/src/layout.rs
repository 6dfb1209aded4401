//! The files that a model directory is written of, in the layout of sentence-transformers 5.3 and before, which 2.3 to 6.2
//! open.
//!
//! Not here: how such files are read (`modules`, `settings`, [`crate::weights`]), and that a directory is there whole or not at
//! all ([`crate::directory`]).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use sentir_compute::ops::PoolingMode;
use serde_json::{Value, json};

use crate::modules::{MODES, mode_names};
use crate::{Error, Result};

/// Writes and syncs a file of JSON.
///
/// # Errors
/// If it cannot be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let written = File::create(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Error::io(path, error))
}

/// Writes `modules.json`, the list of modules in order: the name of each (its number, if empty), its class, as `Transformer`,
/// and its folder.
///
/// # Errors
/// If it cannot be written.
pub fn write_modules(directory: &Path, modules: &[(&str, &str, &str)]) -> Result<()> {
    let entries = modules.iter().enumerate().map(|(i, (name, class, folder))| {
        let class = format!("sentence_transformers.models.{class}");
        let name = if name.is_empty() { i.to_string() } else { (*name).to_owned() };
        json!({"idx": i, "name": name, "path": folder, "type": class})
    });
    write_json(&directory.join("modules.json"), &entries.collect())
}

/// The configuration of a pooling of vectors of `width` components: a boolean a mode, side by side in a fixed order; modes in
/// another order can only be said to 5.4 and later.
pub fn pooling_config(width: usize, modes: &[PoolingMode], include_prompt: bool) -> Value {
    let on: Vec<PoolingMode> =
        MODES.iter().map(|(mode, _)| *mode).filter(|mode| modes.contains(mode)).collect();
    if on != modes {
        let names = mode_names(modes);
        return json!({"embedding_dimension": width, "pooling_mode": names, "include_prompt": include_prompt});
    }
    let has = |mode: PoolingMode| modes.contains(&mode);
    json!({
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": has(PoolingMode::Cls),
        "pooling_mode_mean_tokens": has(PoolingMode::Mean),
        "pooling_mode_max_tokens": has(PoolingMode::Max),
        "pooling_mode_mean_sqrt_len_tokens": has(PoolingMode::MeanSqrtLen),
        "pooling_mode_weightedmean_tokens": has(PoolingMode::WeightedMean),
        "pooling_mode_lasttoken": has(PoolingMode::LastToken),
        "include_prompt": include_prompt,
    })
}

/// Writes and syncs a file of tensors as transformers does.
///
/// # Errors
/// If it cannot be written.
pub fn write_tensors<'data, Name: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (Name, TensorView<'data>)>,
) -> Result<()> {
    let format = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(tensors, Some(format), path)
        .map_err(|error| Error::io(path, std::io::Error::other(error)))?;
    #[cfg(unix)]
    {
        // The library makes it readable for its owner alone, unlike all other files of a model.
        use std::os::unix::fs::PermissionsExt as _;
        let all = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(path, all).map_err(|error| Error::io(path, error))?;
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| Error::io(path, error))
}
