//! A new model directory, there whole or not at all: from nothing, or a copy of another one that is changed. What is in it is
//! not known here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::modules::{self, Kind};
use crate::{Error, Result};

/// Files of weights, for whatever tool.
const WEIGHTS: [&str; 7] = ["safetensors", "bin", "onnx", "h5", "msgpack", "ot", "pt"];

/// A folder beside the new directory `target`, on its file system; it goes when it is dropped.
///
/// # Errors
/// If `target` exists, or nothing can be written beside it.
pub fn beside(target: &Path) -> Result<tempfile::TempDir> {
    if target.exists() {
        let message = "it exists already; choose a new directory, or remove it first";
        return Err(Error::invalid(target, message));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new().prefix(".sentir-new-").tempdir_in(parent);
    temporary.map_err(|error| Error::io(parent, error))
}

/// Makes the directory `target`, whole or not at all, with what `fill` puts into a folder that then takes its name.
///
/// # Errors
/// If `target` exists or cannot be made, and as `fill`.
pub fn create<T, E: From<Error>>(target: &Path, fill: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
    let temporary = beside(target)?;
    let result = fill(temporary.path())?;
    let kept = temporary.keep();
    fs::rename(&kept, target).map_err(|error| {
        let _ = fs::remove_dir_all(&kept);
        Error::io(target, error)
    })?;
    Ok(result)
}

/// Writes a file, which appears under its name whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let io = |source| Error::io(path, source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".sentir-").tempfile_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, content).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        // What others may read like any other file of the directory.
        use std::os::unix::fs::PermissionsExt as _;
        let _ = fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644));
    }
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// A model directory.
pub(crate) struct Original<'a> {
    pub path: &'a Path,
    /// The folder of the first module, the transformer or the static table: in it or itself.
    pub transformer: PathBuf,
    /// The folders of all modules.
    folders: Vec<PathBuf>,
}

impl<'a> Original<'a> {
    /// [`Original::of`], which refuses a static model.
    pub(crate) fn with_transformer(path: &'a Path) -> Result<Self> {
        match modules::read(path)? {
            Some(listed) if listed[0].kind == Kind::StaticEmbedding => Err(Error::invalid(
                path,
                "a static model has no transformer; this is for models that have one",
            )),
            _ => Self::of(path),
        }
    }

    /// Looks at the list of modules; a directory without one is a transformer.
    pub(crate) fn of(path: &'a Path) -> Result<Self> {
        let listed = modules::read(path)?;
        let folders: Vec<PathBuf> = listed.iter().flatten().map(|module| module.folder.clone()).collect();
        let transformer = folders.first().cloned().unwrap_or(path.to_owned());
        Ok(Self { path, transformer, folders })
    }

    /// Makes `target`: a copy without the weights of the transformer and the files called `left_out`, then whatever
    /// `change` does to it, given the new directory and the folder of the transformer in it. Then it takes its name.
    pub(crate) fn make<T>(
        &self,
        target: &Path,
        left_out: &[&str],
        change: impl FnOnce(&Path, &Path) -> Result<T>,
    ) -> Result<T> {
        create(target, |new| {
            self.copy(new, left_out)?;
            let inside = self.transformer.strip_prefix(self.path).unwrap_or(Path::new(""));
            change(new, &new.join(inside))
        })
    }

    /// Copies everything but the weights of the first module and the files called `left_out` into an existing directory.
    pub(crate) fn copy(&self, target: &Path, left_out: &[&str]) -> Result<()> {
        let mut all = vec![self.path.to_owned()];
        all.extend(self.folders.iter().filter(|folder| *folder != self.path && folder.is_dir()).cloned());
        for from in all {
            let to = target.join(from.strip_prefix(self.path).unwrap_or(Path::new("")));
            fs::create_dir_all(&to).map_err(|error| Error::io(&to, error))?;
            for entry in fs::read_dir(&from).map_err(|error| Error::io(&from, error))? {
                let path = entry.map_err(|error| Error::io(&from, error))?.path();
                let name = path.file_name().unwrap_or_default();
                let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
                let shown = name.to_string_lossy();
                let skipped = WEIGHTS.contains(&extension)
                    || shown.ends_with(".index.json")
                    || left_out.contains(&&*shown);
                if path.is_file() && !(from == self.transformer && skipped) {
                    fs::copy(&path, to.join(name)).map_err(|error| Error::io(&path, error))?;
                }
            }
        }
        Ok(())
    }
}
