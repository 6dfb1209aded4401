//! A new model directory: there whole or not at all. What is in it is not known here.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::{Error, Result};

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    |source| Error::Io { path: path.to_owned(), source }
}

/// Where the directory `target` comes to be: one beside it, with a name that is not yet its own.
///
/// # Errors
/// If `target` exists, or nothing can be written beside it.
pub(super) fn aside(target: &Path) -> Result<tempfile::TempDir> {
    if target.exists() {
        let message =
            format!("{}: it exists already; choose a new directory, or remove it first", target.display());
        return Err(Error::Argument(message));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".sentir-new-").tempdir_in(parent).map_err(io(parent))
}

/// Makes `target` with what `write` puts into a directory beside it.
pub(super) fn create(target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = aside(target)?;
    write(temporary.path())?;
    let kept = temporary.keep();
    fs::rename(&kept, target).map_err(|error| {
        let _ = fs::remove_dir_all(&kept);
        io(target)(error)
    })
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let written = File::create(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(io(path))
}

/// modules.json in the layout that all releases of sentence-transformers read: classes with their folders, in order.
pub(super) fn write_modules(directory: &Path, modules: &[(&str, &str)]) -> Result<()> {
    let entries: Vec<Value> = (modules.iter().enumerate())
        .map(|(i, (class, folder))| {
            json!({"idx": i, "name": i.to_string(), "path": folder,
                   "type": format!("sentence_transformers.models.{class}")})
        })
        .collect();
    write_json(&directory.join("modules.json"), &Value::Array(entries))?;
    let settings = json!({"prompts": {}, "default_prompt_name": null, "similarity_fn_name": "cosine"});
    write_json(&directory.join("config_sentence_transformers.json"), &settings)
}

/// A tensor by its name: shape and numbers.
pub(super) type Tensor = (String, Vec<usize>, Vec<f32>);

pub(super) fn write_tensors(path: &Path, tensors: &[Tensor]) -> Result<()> {
    let failed = |error: safetensors::SafeTensorError| io(path)(std::io::Error::other(error));
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::new();
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(failed)?));
    }
    let format = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(format), path).map_err(failed)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(io(path))
}
