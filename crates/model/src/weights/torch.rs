//! PyTorch's own formats: a zip archive with a pickle and a file per storage (1.6 and later), and before that pickles and
//! storages one after another. Source: `torch/serialization.py`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::pickle::{self, Id, Pickled, Tensor, Value};
use super::{SharedBytes, Source, View};
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
        zip_entries(bytes).map_err(|message| damaged(path, &format!("{message}; get the file again")))?;
    let root = entries
        .keys()
        .find_map(|name| name.strip_suffix("data.pkl").filter(|root| root.is_empty() || root.ends_with('/')));
    let root = root.ok_or_else(|| damaged(path, "the archive has no data.pkl"))?;
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
            Value::Storage(storage) => Some((storage.key.as_str(), storage.dtype.size())),
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
            return Err(damaged(path, &format!("storage {key} is cut off; get the file again")));
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
    // Tensors that are not contiguous are copied, all of them together at most as much as the file has.
    let mut budget = file_length;
    let mut views = BTreeMap::new();
    for (name, id) in inner.unwrap_or(root) {
        let Value::Tensor(tensor) = pickled.get(id) else { continue };
        let bytes =
            bytes(tensor, storages, &mut budget).map_err(|message| Error::tensor(path, name, message))?;
        let view = View {
            name: name.clone(),
            dtype: tensor.storage.dtype,
            shape: tensor.shape.clone(),
            path: path.to_owned(),
            bytes,
        };
        views.insert(name.clone(), view);
    }
    Ok(views)
}

/// The bytes of a tensor: where they are if they are contiguous, else a copy.
fn bytes(tensor: &Tensor, storages: &Storages, budget: &mut usize) -> Result<SharedBytes, String> {
    let storage = storages.get(&tensor.storage.key);
    let storage = storage
        .ok_or_else(|| format!("its storage {} is missing; get the file again", tensor.storage.key))?;
    let too_large = || "it is larger than its storage; the file is damaged".to_owned();
    let size = tensor.storage.dtype.size();
    let available = storage.as_ref().len() / size;
    let elements =
        tensor.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).ok_or_else(too_large)?;
    let start = tensor.storage.start.checked_add(tensor.offset).ok_or_else(too_large)?;
    if elements == 0 {
        return storage.part(0, 0).ok_or_else(too_large);
    }
    let last = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(start, |at, (&n, &stride)| at.checked_add((n - 1).checked_mul(stride)?));
    if last.is_none_or(|last| last >= available) || elements > available {
        return Err(too_large());
    }
    let mut expected = 1;
    let contiguous = tensor.shape.iter().zip(&tensor.strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    });
    if contiguous {
        return storage.part(start * size, elements * size).ok_or_else(too_large);
    }
    *budget = budget.checked_sub(elements * size).ok_or("the tensors of the file overlap too much")?;
    let all = storage.as_ref();
    let mut copy = Vec::with_capacity(elements * size);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..elements {
        let at = start + index.iter().zip(&tensor.strides).map(|(i, stride)| i * stride).sum::<usize>();
        copy.extend_from_slice(&all[at * size..][..size]);
        // The next index, the last dimension running fastest.
        for (i, &n) in index.iter_mut().zip(&tensor.shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    let length = copy.len();
    let source: Source = Arc::new(copy);
    SharedBytes::new(&source, 0, length).ok_or_else(too_large)
}

/// Name → start and length of the entries of a zip archive, all of which must be stored as they are
/// (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3 and 4.5.3).
fn zip_entries(bytes: &[u8]) -> Result<HashMap<String, (usize, usize)>, String> {
    let cut = || "the archive is cut off".to_owned();
    let u16_at = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u64::from(u16::from_le_bytes(b)));
    let u32_at = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u64::from(u32::from_le_bytes(b)));
    let u64_at = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u64::from_le_bytes(b));
    // The end of the directory is at the end of the file, before a comment of at most 65,535 bytes.
    let first = bytes.len().saturating_sub(22 + 65_535);
    let end = (first..bytes.len().saturating_sub(21))
        .rev()
        .find(|&at| bytes[at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(cut)?;
    let (mut count, mut at) = (u16_at(end + 10).ok_or_else(cut)?, u32_at(end + 16).ok_or_else(cut)?);
    if let Some(locator) = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(b"PK\x06\x07")) {
        let large = u64_at(locator + 8).and_then(|at| usize::try_from(at).ok()).ok_or_else(cut)?;
        if bytes.get(large..).is_none_or(|rest| !rest.starts_with(b"PK\x06\x06")) {
            return Err(cut());
        }
        count = u64_at(large + 32).ok_or_else(cut)?;
        at = u64_at(large + 48).ok_or_else(cut)?;
    }
    let mut at = usize::try_from(at).map_err(|_| cut())?;
    let mut entries = HashMap::new();
    for _ in 0..count {
        if bytes.get(at..).is_none_or(|rest| !rest.starts_with(b"PK\x01\x02")) {
            return Err(cut());
        }
        let field = |offset: usize| u16_at(at + offset).map(|n| n as usize).ok_or_else(cut);
        let (name_length, extra_length, comment_length) = (field(28)?, field(30)?, field(32)?);
        let name = bytes.get(at + 46..at + 46 + name_length).ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let large = |offset: usize| u32_at(at + offset).ok_or_else(cut);
        let (mut packed, mut size, mut local) = (large(20)?, large(24)?, large(42)?);
        // The 64-bit values are in the order of the 32-bit ones that are all ones.
        let mut extra = at + 46 + name_length;
        let extra_end = extra + extra_length;
        while extra + 4 <= extra_end {
            let (kind, length) =
                (u16_at(extra).ok_or_else(cut)?, u16_at(extra + 2).ok_or_else(cut)? as usize);
            if kind == 1 {
                let mut value = extra + 4;
                for wide in [&mut size, &mut packed, &mut local]
                    .into_iter()
                    .filter(|wide| **wide == u64::from(u32::MAX))
                {
                    *wide = u64_at(value).ok_or_else(cut)?;
                    value += 8;
                }
            }
            extra += 4 + length;
        }
        if field(10)? != 0 || packed != size {
            return Err(format!("{} is compressed, which PyTorch does not do", name.escape_debug()));
        }
        let (size, local) =
            (usize::try_from(size).map_err(|_| cut())?, usize::try_from(local).map_err(|_| cut())?);
        if bytes.get(local..).is_none_or(|rest| !rest.starts_with(b"PK\x03\x04")) {
            return Err(cut());
        }
        let head = |offset: usize| u16_at(local + offset).map(|n| n as usize).ok_or_else(cut);
        let start = local + 30 + head(26)? + head(28)?;
        if start.checked_add(size).is_none_or(|end| end > bytes.len()) {
            return Err(cut());
        }
        entries.insert(name, (start, size));
        at = extra_end + comment_length;
    }
    Ok(entries)
}
