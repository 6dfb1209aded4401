//! The cache of huggingface_hub on disk: where things lie, what is complete, what is there. It never uses the network.
//!
//! ```text
//! models--ORG--NAME/refs/REVISION          the commit of a branch or tag
//! models--ORG--NAME/blobs/HASH             the content of a file
//! models--ORG--NAME/snapshots/COMMIT/FILE  a link to its blob
//! .locks/models--ORG--NAME/HASH.lock       held while HASH is written
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};

use super::fetch::Hash;
use super::files::{self, ModuleEntry};
use super::hub::is_commit;
use super::{DownloadOptions, environment};
use crate::{Error, Result};

/// One repository in the cache.
pub(super) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
    layout: CacheRepo,
}

/// What the cache has of a revision.
pub(super) struct Snapshot {
    pub(super) commit: String,
    pub(super) path: PathBuf,
    /// Files that a model needs and that are not there.
    pub(super) missing: Vec<String>,
    /// Whether nothing but what is there can belong to the model: false if modules.json may exist on the hub.
    pub(super) certain: bool,
}

impl Repository {
    pub(super) fn new(cache_dir: &Path, id: &str) -> Self {
        let name = Repo::model(id.to_owned()).folder_name();
        Self {
            folder: cache_dir.join(&name),
            locks: cache_dir.join(".locks").join(&name),
            layout: Cache::new(cache_dir.to_owned()).model(id.to_owned()),
        }
    }

    pub(super) fn blob(&self, hash: &Hash) -> PathBuf {
        self.layout.blob_path(hash.digits())
    }

    pub(super) fn partial(&self, hash: &Hash) -> PathBuf {
        self.layout.blob_path(&format!("{}.incomplete", hash.digits()))
    }

    pub(super) fn lock(&self, hash: &Hash) -> PathBuf {
        self.locks.join(format!("{}.lock", hash.digits()))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// Makes the folders that a download writes to.
    pub(super) fn create(&self) -> Result<()> {
        for folder in [&self.folder.join("blobs"), &self.locks] {
            std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        Ok(())
    }

    /// What is there of a branch, tag or commit.
    pub(super) fn find(&self, revision: &str) -> Option<Snapshot> {
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?.trim().to_owned()
        };
        if !is_commit(&commit) {
            return None;
        }
        let path = self.snapshot(&commit);
        let modules = path.join("modules.json");
        let none_on_hub = self.folder.join(".no_exist").join(&commit).join("modules.json");
        let certain = modules.is_file() || none_on_hub.is_file();
        path.is_dir().then(|| Snapshot { missing: missing(&path), commit, path, certain })
    }

    /// Gives a snapshot its file: a relative link to the blob, or a copy where links are not possible.
    pub(super) fn link(&self, commit: &str, name: &str, hash: &Hash) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", hash.digits()));
        let is_there = || std::fs::read_link(&path).is_ok_and(|known| known == target);
        if is_there() {
            return Ok(());
        }
        // A link appears at once. Others who load the same model make the same one.
        let folder = path.parent().unwrap_or(&self.folder);
        let made = std::fs::create_dir_all(folder).and_then(|()| make_link(&target, &path));
        if made.is_ok() || is_there() {
            return Ok(());
        }
        // Something else is in its place, or there are no links here.
        replace(&path, |new| match make_link(&target, new) {
            Ok(()) => Ok(()),
            Err(_) => std::fs::copy(self.blob(hash), new).map(|_| ()),
        })
    }

    /// Notes which commit a branch or tag means.
    pub(super) fn write_reference(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        if revision == commit || std::fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        replace(&path, |new| std::fs::write(new, commit))
    }

    /// Notes that a commit has no such file, as huggingface_hub does, so that the next one need not ask.
    pub(super) fn write_absence(&self, commit: &str, name: &str) {
        let folder = self.folder.join(".no_exist").join(commit);
        // Only a note: without it the hub is asked again.
        let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), ""));
    }
}

/// Puts a file where `path` is, at once or not at all: others may be reading. (`create_ref` of hf-hub writes in place.)
fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let io = |error| Error::io(path, error);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io(std::io::ErrorKind::InvalidInput.into()));
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut new = name.to_owned();
    // A name of its own for each process and thread.
    new.push(format!(".{}-{:?}.tmp", std::process::id(), std::thread::current().id()));
    let new = folder.join(new);
    make(&new).and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        let _ = std::fs::remove_file(&new);
        io(error)
    })
}

#[cfg(unix)]
fn make_link(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn make_link(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(not(any(unix, windows)))]
fn make_link(_target: &Path, _path: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// What a directory lacks of a model, as far as can be told without the hub.
fn missing(directory: &Path) -> Vec<String> {
    let read = std::fs::read(directory.join("modules.json")).ok();
    let modules: Option<Vec<ModuleEntry>> =
        read.as_deref().and_then(|text| serde_json::from_slice(text).ok());
    let mut missing = Vec::new();
    let mut need = |folder: &str, name: &str| {
        let name = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if !directory.join(&name).is_file() && !missing.contains(&name) {
            missing.push(name);
        }
    };
    let mut weighty = Vec::new();
    match &modules {
        None => {
            need("", "config.json");
            weighty.push(String::new());
        }
        Some(modules) => {
            for module in modules {
                let folder = module.folder().to_owned();
                if !folder.is_empty() && files::check_name(&folder).is_err() {
                    continue; // the reader of modules.json refuses it
                }
                match module.class.rsplit('.').next() {
                    Some("Pooling") => need(&folder, "config.json"),
                    Some("Transformer" | "Dense" | "LayerNorm") => {
                        need(&folder, "config.json");
                        weighty.push(folder);
                    }
                    Some("StaticEmbedding") => {
                        need(&folder, "tokenizer.json");
                        weighty.push(folder);
                    }
                    _ => {}
                }
            }
        }
    }
    for folder in weighty {
        let names = files::missing_weights(&directory.join(&folder));
        missing.extend(
            names.into_iter().map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }),
        );
    }
    missing
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// `ORG/NAME`.
    pub id: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The branches and tags that mean this commit, sorted.
    pub references: Vec<String>,
    /// The directory to load.
    pub path: PathBuf,
    /// The size of its files in bytes; files that two snapshots share count in both.
    pub bytes: u64,
}

/// The models in the cache that can be loaded without the network, by id and commit. No cache is no models.
///
/// # Errors
/// If the cache cannot be read, or its place is not known.
pub fn list_cached(options: &DownloadOptions<'_>) -> Result<Vec<CachedModel>> {
    let cache_dir = environment::cache_dir(options)?;
    let mut found = Vec::new();
    for folder in folders(&cache_dir)? {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(id) = name.strip_prefix("models--") else { continue };
        let mut references: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut names = Vec::new();
        walk(&folder.join("refs"), &mut |path, _| names.push(path.to_owned()))?;
        for path in names {
            let name =
                path.strip_prefix(folder.join("refs")).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if let Ok(commit) = std::fs::read_to_string(&path) {
                references.entry(commit.trim().to_owned()).or_default().push(name);
            }
        }
        for path in folders(&folder.join("snapshots"))? {
            let Some(commit) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_commit(name))
            else {
                continue;
            };
            if !missing(&path).is_empty() {
                continue;
            }
            let mut bytes = 0u64;
            walk(&path, &mut |_, size| bytes = bytes.saturating_add(size))?;
            let mut references = references.get(commit).cloned().unwrap_or_default();
            references.sort();
            found.push(CachedModel {
                id: id.replacen("--", "/", 1),
                commit: commit.to_owned(),
                references,
                path,
                bytes,
            });
        }
    }
    found.sort_by(|a, b| (&a.id, &a.commit).cmp(&(&b.id, &b.commit)));
    Ok(found)
}

/// The folders in a folder; none if it does not exist.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(path, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(path, error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Every file below a folder with its size, links followed to files but not to folders.
fn walk(path: &Path, visit: &mut dyn FnMut(&Path, u64)) -> Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        waiting.extend(folders(&folder)?);
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if let Ok(metadata) = std::fs::metadata(entry.path())
                && metadata.is_file()
            {
                visit(&entry.path(), metadata.len());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn what_a_model_needs_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(missing(folder.path()), ["config.json", "model.safetensors"]);
        let modules = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"path": "2_Dense/", "type": "sentence_transformers.models.Dense"},
            {"path": "../../x", "type": "sentence_transformers.models.Dense"},
            {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
        let index = r#"{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors", "c": "../x"}}"#;
        write(
            folder.path(),
            &[("modules.json", modules), ("config.json", "{}"), ("model.safetensors.index.json", index)],
        );
        write(folder.path(), &[("model-1-of-2.safetensors", ""), ("2_Dense/config.json", "{}")]);
        let expected =
            ["1_Pooling/config.json", "../x", "model-2-of-2.safetensors", "2_Dense/model.safetensors"];
        assert_eq!(missing(folder.path()), expected);
        write(folder.path(), &[("1_Pooling/config.json", "{}"), ("2_Dense/pytorch_model.bin", "")]);
        write(folder.path(), &[("model-2-of-2.safetensors", ""), ("model.safetensors", "")]);
        assert!(missing(folder.path()).is_empty());
    }

    #[test]
    fn references_and_commits_that_are_none_are_not_followed() {
        let cache = tempfile::tempdir().unwrap();
        let repository = Repository::new(cache.path(), "org/name");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        repository.write_reference("refs/pr/1", commit).unwrap();
        assert!(repository.find("refs/pr/1").is_none(), "there is no snapshot");
        std::fs::create_dir_all(repository.snapshot(commit)).unwrap();
        assert_eq!(repository.find("refs/pr/1").unwrap().commit, commit);
        write(cache.path(), &[("models--org--name/refs/main", "../../../x")]);
        assert!(repository.find("main").is_none());
        let names: Vec<_> =
            std::fs::read_dir(cache.path().join("models--org--name/refs/refs/pr")).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays");
    }
}
