//! The tensors of a model directory: safetensors or PyTorch's own format, in one file or several, memory-mapped.
//!
//! What a tensor means is not known here. All files are hostile until checked: nothing of them is executed, and no number in
//! them is believed before the bytes are there.

mod pickle;
mod safetensors;
mod torch;
mod view;
mod writer;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sentir_compute::WeightType;
use sentir_kernels::buffer::Bytes;
use sentir_kernels::mapped::Mapped;
use serde::Deserialize;

pub use view::{Dtype, SharedBytes, View};
pub(crate) use writer::{Entry, Writer};

use crate::{Error, Result, json, packed};

/// All tensors of one model or module, by name. Nothing is read before it is asked for.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, View>,
    packed: Option<WeightType>,
}

/// A file of weights in memory: mapped, or bytes that someone gave.
pub(crate) type Source = Arc<dyn Bytes>;

/// What a directory may have, in the order in which it is looked for; `.index.json` means several files.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// `*.index.json`: which file each tensor is in.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// The weights of a directory: packed ones, else `model.safetensors`, else its shards, else `pytorch_model.bin`, else its shards.
    ///
    /// # Errors
    /// If there are none, or one of the files is damaged.
    pub fn open(directory: &Path) -> Result<Self> {
        if let Some(kind) = packed::kind(directory)? {
            return Ok(Self { packed: Some(kind), ..Self::open_file(&directory.join(packed::FILE))? });
        }
        let Some(path) = NAMES.iter().map(|name| directory.join(name)).find(|path| path.exists()) else {
            let names = NAMES.join(", ");
            return Err(Error::invalid(directory, format!("there are no weights; looked for {names}")));
        };
        if path.extension().is_some_and(|extension| extension == "json") {
            Self::open_shards(path)
        } else {
            Self::open_file(&path)
        }
    }

    /// The weights of one file: safetensors if it is called so, else PyTorch's.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn open_file(path: &Path) -> Result<Self> {
        let mapped = Mapped::open(path).map_err(|e| Error::io(path, e))?;
        let tensors = parse(path, Arc::new(mapped))?;
        Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], tensors, packed: None })
    }

    /// The weights in `bytes`, which were read from `path`. For fuzzing.
    #[doc(hidden)]
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let tensors = parse(path, Arc::new(bytes))?;
        Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], tensors, packed: None })
    }

    fn open_shards(path: PathBuf) -> Result<Self> {
        let index: Index = json::read(&path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut shards: BTreeMap<&str, BTreeMap<String, View>> = BTreeMap::new();
        let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        for name in names {
            let mut parts = Path::new(name).components();
            if name.contains(['\\', '\0'])
                || !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
            {
                let message = format!("the file \"{}\" leaves the directory", shown(name));
                return Err(Error::invalid(&path, message));
            }
            shards.insert(name, Self::open_file(&directory.join(name))?.tensors);
        }
        let files = shards.keys().map(|name| directory.join(name)).collect();
        let mut tensors = BTreeMap::new();
        for (name, file) in &index.weight_map {
            let Some(view) = shards.get_mut(file.as_str()).and_then(|shard| shard.remove(name)) else {
                let message = format!("{}, where it should be, does not have it", shown(file));
                return Err(Error::tensor(&path, shown(name), message));
            };
            tensors.insert(name.clone(), view);
        }
        Ok(Self { path, files, tensors, packed: None })
    }

    /// The file, or the index of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of the encoder's matrices, if they are packed ([`crate::quantize_model`]).
    pub fn packed(&self) -> Option<WeightType> {
        self.packed
    }

    /// All files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = &View> {
        self.tensors.values()
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn get(&self, name: &str) -> Result<&View> {
        self.tensors.get(name).ok_or_else(|| {
            let like: Vec<&str> = self.closest(name).collect();
            let hint = if like.is_empty() {
                "the file has no tensors".to_owned()
            } else {
                format!("closest are {}", shown(&like.join(", ")))
            };
            Error::tensor(&self.path, name, format!("it is missing; {hint}"))
        })
    }

    /// The three names that share the longest end with `name`: prefixes are what differs most often.
    fn closest(&self, name: &str) -> impl Iterator<Item = &str> {
        let common =
            |other: &str| other.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count();
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_by_key(|other| std::cmp::Reverse(common(other)));
        names.into_iter().take(3)
    }
}

/// `.safetensors` is what it says; anything else is PyTorch's, whose two formats differ in the first bytes.
fn parse(path: &Path, source: Source) -> Result<BTreeMap<String, View>> {
    let bytes = (*source).as_ref();
    if bytes.starts_with(b"version https://git-lfs") {
        let message =
            "this is a pointer of Git LFS and not the file itself; run `git lfs pull` where it was cloned";
        return Err(Error::invalid(path, message));
    }
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        safetensors::parse(path, &source)
    } else if bytes.starts_with(b"PK\x03\x04") {
        torch::parse_zip(path, &source)
    } else {
        torch::parse_legacy(path, &source)
    }
}

/// A text out of a file for a message: its beginning, without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}
