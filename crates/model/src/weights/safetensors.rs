//! The safetensors format (<https://github.com/huggingface/safetensors#format>): the length of a header, the header in JSON, the
//! numbers. The header is checked here and not by the crate of that name, because its errors name no tensor and it takes the
//! last of two tensors of one name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Dtype, SharedBytes, Source, View, shown};
use crate::{Error, Result};

/// The longest header, as in the crate `safetensors` (`MAX_HEADER_SIZE` in `tensor.rs`).
const LONGEST: u64 = 100_000_000;

/// What the header says about a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    /// First byte and the one after the last, counted from the end of the header.
    data_offsets: (usize, usize),
}

/// The header: tensors by name.
struct Header(BTreeMap<String, Info>);

/// The tensors of a file. They follow each other without gap or overlap and fill the file.
pub(super) fn parse(path: &Path, source: &Source) -> Result<BTreeMap<String, View>> {
    let bytes = (**source).as_ref();
    let invalid = |message: String| {
        Error::invalid(path, format!("not a safetensors file: {message}; get the file again"))
    };
    let (length, rest) =
        bytes.split_first_chunk().ok_or_else(|| invalid(format!("it has only {} bytes", bytes.len())))?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST {
        return Err(invalid(format!("it claims a header of {length} bytes, more than {LONGEST}")));
    }
    let (header, data) =
        usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or_else(|| {
            invalid(format!("it claims a header of {length} bytes, but ends {} bytes later", rest.len()))
        })?;
    let header: Header =
        serde_json::from_slice(header).map_err(|e| invalid(format!("in the header, {e}")))?;

    let mut infos: Vec<(String, Info)> = header.0.into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let base = bytes.len() - data.len();
    let mut tensors = BTreeMap::new();
    let mut filled = 0;
    let mut before = String::new();
    for (name, info) in infos {
        let wrong = |message: String| Error::tensor(path, shown(&name), message + "; get the file again");
        let dtype = dtype(&info.dtype).ok_or_else(|| {
            Error::tensor(path, shown(&name), format!("its type {} is not supported", shown(&info.dtype)))
        })?;
        let (start, end) = info.data_offsets;
        if start < filled {
            return Err(wrong(format!("it begins at byte {start}, inside of \"{}\"", shown(&before))));
        }
        if start > filled {
            return Err(wrong(format!("nothing describes the {} bytes before it", start - filled)));
        }
        // In this order, a size of zero behind sizes that overflow is an overflow, as in the crate safetensors.
        let elements = info.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let needed = elements.and_then(|elements| elements.checked_mul(dtype.size()));
        let length = end
            .checked_sub(start)
            .ok_or_else(|| wrong(format!("it ends at byte {end}, before it begins")))?;
        if needed != Some(length) {
            let needed = needed.map_or("more than any file has".to_owned(), |needed| needed.to_string());
            let message =
                format!("its bytes are {length}, but {dtype} in the shape {:?} needs {needed}", info.shape);
            return Err(wrong(message));
        }
        let bytes =
            base.checked_add(start).and_then(|start| SharedBytes::new(source, start, length)).ok_or_else(
                || wrong(format!("it ends at byte {end}, but the file is cut off after {}", data.len())),
            )?;
        filled = end;
        before.clone_from(&name);
        tensors.insert(name.clone(), View::row_major(path, name, dtype, info.shape, bytes));
    }
    if filled != data.len() {
        return Err(invalid(format!("{} bytes follow after the last tensor", data.len() - filled)));
    }
    Ok(tensors)
}

fn dtype(name: &str) -> Option<Dtype> {
    [
        Dtype::F64,
        Dtype::F32,
        Dtype::F16,
        Dtype::Bf16,
        Dtype::I64,
        Dtype::I32,
        Dtype::I16,
        Dtype::I8,
        Dtype::U8,
        Dtype::Bool,
    ]
    .into_iter()
    .find(|dtype| dtype.name() == name)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names)
    }
}

/// Reads the entries of the header one after another, because a map of serde keeps the last of two with one name.
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut entries: M) -> Result<Header, M::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name == "__metadata__" {
                entries.next_value::<Option<BTreeMap<String, String>>>()?;
                continue;
            }
            let info: Info = entries.next_value()?;
            if tensors.contains_key(&name) {
                return Err(M::Error::custom(format!("two tensors have the name \"{}\"", shown(&name))));
            }
            tensors.insert(name, info);
        }
        Ok(Header(tensors))
    }
}
