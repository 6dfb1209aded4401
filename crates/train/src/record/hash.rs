//! The hash of a model's weights: any number that changes shows.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use crate::{Error, Result};

/// SHA-256 over all `.safetensors` files of a model directory, in the order of their paths: of each its path within the directory, its
/// length, its bytes. Checkpoints are not part of the model.
///
/// # Errors
/// If a file cannot be read, or there is none.
pub fn sha256_of_weights(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    find(directory, 2, &mut files)?;
    files.sort();
    if files.is_empty() {
        let message = "there are no weights (.safetensors) in the directory".to_owned();
        return Err(Error::Data { path: directory.to_owned(), row: None, message });
    }
    let mut digest = Context::new(&SHA256);
    for path in files {
        let io = |source| Error::Io { path: path.clone(), source };
        let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let mut file = File::open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        for part in [&(name.len() as u64).to_le_bytes(), name.as_bytes(), &length.to_le_bytes()] {
            digest.update(part);
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(io)? {
                0 => break,
                count => digest.update(&buffer[..count]),
            }
        }
    }
    Ok(digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn find(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let io = |source| Error::Io { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if depth > 1 && !name.starts_with("checkpoint-") && !name.starts_with('.') {
                find(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    Ok(())
}
