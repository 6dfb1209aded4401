//! PyTorch's own formats: a zip archive with a pickle and a file per storage (1.6 and later), and before that pickles and
//! storages one after another. Source: `torch/serialization.py`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::pickle::{self, Id, Pickled, Storage, Tensor, Value};
use super::{SharedBytes, Source, View, shown, zip};
use crate::{Error, Result};

/// Where the numbers of a storage are in the file.
type Storages = HashMap<String, SharedBytes>;

/// The first pickle of an old file: the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

fn damaged(path: &Path, message: &str) -> Error {
    Error::invalid(path, format!("not a PyTorch file: {message}"))
}

/// The tensors of an archive.
pub(super) fn parse_zip(path: &Path, source: &Source) -> Result<BTreeMap<String, View>> {
    let bytes = (**source).as_ref();
    let entries =
        zip::entries(bytes).map_err(|message| damaged(path, &format!("{message}; get the file again")))?;
    let roots = entries.keys().filter_map(|name| {
        name.strip_suffix("data.pkl").filter(|root| root.is_empty() || root.ends_with('/'))
    });
    let &[root] = roots.collect::<Vec<_>>().as_slice() else {
        return Err(damaged(path, "the archive does not have exactly one data.pkl"));
    };
    let slice = |name: &str| entries.get(name).map(|&(start, length)| &bytes[start..start + length]);
    if slice(&format!("{root}byteorder")).is_some_and(|order| order != b"little") {
        return Err(damaged(path, "its numbers are big-endian; save it again on a usual machine"));
    }
    let program = slice(&format!("{root}data.pkl")).unwrap_or_default();
    let pickled = pickle::run(program).map_err(|message| damaged(path, &message))?;
    let prefix = format!("{root}data/");
    let storages = entries.iter().filter_map(|(name, &(start, length))| {
        Some((name.strip_prefix(&prefix)?.to_owned(), SharedBytes::new(source, start, length)?))
    });
    tensors(path, &pickled, &storages.collect(), bytes.len())
}

/// The tensors of an old file: four pickles (magic number, version, machine, dictionary), the list of storages, the storages.
pub(super) fn parse_legacy(path: &Path, source: &Source) -> Result<BTreeMap<String, View>> {
    let bytes = (**source).as_ref();
    if !bytes.starts_with(LEGACY) {
        // If it is a pickle that does something else, that is the more useful message.
        if bytes.first() == Some(&0x80) {
            pickle::run(bytes).map_err(|message| damaged(path, &message))?;
        }
        return Err(damaged(path, "it is neither a zip archive nor a pickle of tensors; get the file again"));
    }
    let mut at = LEGACY.len();
    let mut next = || {
        let pickled = pickle::run(&bytes[at..]).map_err(|message| damaged(path, &message))?;
        at += pickled.length;
        Ok::<_, Error>(pickled)
    };
    next()?;
    let machine = next()?;
    let little = dictionary(&machine, machine.root).and_then(|entries| {
        entries
            .iter()
            .find(|(name, _)| name.as_str() == "little_endian")
            .map(|&(_, id)| matches!(machine.get(id), Value::Bool(true)))
    });
    if little == Some(false) {
        return Err(damaged(path, "its numbers are big-endian; save it again on a usual machine"));
    }
    let pickled = next()?;
    let keys = next()?;
    let Value::List(ids) = keys.get(keys.root) else {
        return Err(damaged(path, "it has no list of storages"));
    };

    // The size of a number is known only from the tensors that use the storage.
    let sizes: HashMap<&str, usize> = pickled
        .values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => match pickled.get(storage.key) {
                Value::Text(key) => Some((key.as_str(), storage.dtype.size())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let mut storages = Storages::new();
    for &id in ids {
        let (Value::Text(key), Some(head)) =
            (keys.get(id), bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()))
        else {
            return Err(damaged(path, "the file is cut off; get it again"));
        };
        let length = usize::try_from(i64::from_le_bytes(*head)).ok();
        let length = length.and_then(|length| length.checked_mul(*sizes.get(key.as_str())?));
        let storage = length.and_then(|length| SharedBytes::new(source, at + 8, length));
        let Some((storage, length)) = storage.zip(length) else {
            return Err(damaged(path, &format!("storage {} is cut off; get the file again", shown(key))));
        };
        storages.insert(key.clone(), storage);
        at += 8 + length;
    }
    tensors(path, &pickled, &storages, bytes.len())
}

/// The dictionary of that number, its keys as text; others are left out.
fn dictionary(pickled: &Pickled, id: Id) -> Option<Vec<(&String, Id)>> {
    let Value::Dict(entries) = pickled.get(id) else { return None };
    let text = |&(key, value): &(Id, Id)| match pickled.get(key) {
        Value::Text(key) => Some((key, value)),
        _ => None,
    };
    Some(entries.iter().filter_map(text).collect())
}

/// The longest name of a tensor.
const LONGEST_NAME: usize = 1000;

/// The tensors of the dictionary, or of its entry `state_dict`. What is no tensor is left out.
fn tensors(
    path: &Path,
    pickled: &Pickled,
    storages: &Storages,
    file_length: usize,
) -> Result<BTreeMap<String, View>> {
    let root = dictionary(pickled, pickled.root)
        .ok_or_else(|| damaged(path, "it holds no dictionary of tensors"))?;
    let inner = root
        .iter()
        .find(|(key, _)| key.as_str() == "state_dict")
        .and_then(|&(_, id)| dictionary(pickled, id));
    // Tensors may share a storage and repeat its numbers, but a small file shall not become large in memory.
    let mut budget = file_length.saturating_mul(8).saturating_add(64 << 20);
    let mut views = BTreeMap::new();
    for (name, id) in inner.unwrap_or(root) {
        let &Value::Tensor(tensor) = pickled.get(id) else { continue };
        if name.len() > LONGEST_NAME {
            return Err(damaged(path, &format!("it has a tensor with a name of {} bytes", name.len())));
        }
        let view = view(path, name, tensor, pickled, storages)?;
        budget = budget
            .checked_sub(view.bytes())
            .ok_or_else(|| damaged(path, "its tensors have far more numbers than the file"))?;
        views.insert(name.clone(), view);
    }
    Ok(views)
}

fn view(path: &Path, name: &str, tensor: Tensor, pickled: &Pickled, storages: &Storages) -> Result<View> {
    let wrong = |message: String| Error::tensor(path, shown(name), message + "; get the file again");
    let Storage { key, dtype, start } = tensor.storage;
    let Value::Text(key) = pickled.get(key) else { return Err(wrong("its storage has no name".to_owned())) };
    let storage = storages.get(key).ok_or_else(|| wrong(format!("its storage {} is missing", shown(key))))?;
    let shape = pickled.sizes(tensor.shape).map_err(wrong)?;
    let strides = pickled.sizes(tensor.strides).map_err(wrong)?;
    if shape.len() != strides.len() {
        return Err(wrong(format!("it has {} sizes but {} strides", shape.len(), strides.len())));
    }
    let offset = start
        .checked_add(tensor.offset)
        .ok_or_else(|| wrong("it begins outside of its storage".to_owned()))?;
    View::strided(path, name.to_owned(), dtype, shape, storage, (offset, strides))
}
