//! The safetensors format (<https://github.com/huggingface/safetensors#format>). The crate of that name checks the header:
//! tensors follow each other without gap or overlap and fill the file, and no size overflows.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::tensor::{Dtype as Stored, SafeTensorError, SafeTensors};

use super::{Dtype, SharedBytes, Source, View};
use crate::{Error, Result};

/// The tensors of a file.
pub(super) fn parse(path: &Path, source: &Source) -> Result<BTreeMap<String, View>> {
    let bytes = (**source).as_ref();
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| explain(path, bytes, &error))?;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = dtype(info.dtype).ok_or_else(|| {
            Error::tensor(path, &name, format!("its type {:?} is not supported", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        let bytes = SharedBytes::new(source, 8 + header + start, end - start)
            .ok_or_else(|| Error::tensor(path, &name, "it lies outside the file"))?;
        let view =
            View { name: name.clone(), dtype, shape: info.shape.clone(), path: path.to_owned(), bytes };
        tensors.insert(name, view);
    }
    Ok(tensors)
}

fn dtype(stored: Stored) -> Option<Dtype> {
    Some(match stored {
        Stored::F64 => Dtype::F64,
        Stored::F32 => Dtype::F32,
        Stored::F16 => Dtype::F16,
        Stored::BF16 => Dtype::Bf16,
        Stored::I64 => Dtype::I64,
        Stored::I32 => Dtype::I32,
        Stored::I16 => Dtype::I16,
        Stored::I8 => Dtype::I8,
        Stored::U8 => Dtype::U8,
        Stored::BOOL => Dtype::Bool,
        _ => return None,
    })
}

/// What the crate found, in words and with what to do.
fn explain(path: &Path, bytes: &[u8], error: &SafeTensorError) -> Error {
    let damaged = match error {
        SafeTensorError::HeaderTooSmall => format!("the file has only {} bytes", bytes.len()),
        SafeTensorError::HeaderTooLarge => "the header says that it is longer than 100 MB".to_owned(),
        SafeTensorError::InvalidHeaderLength => {
            format!("the header says that it is longer than the file of {} bytes", bytes.len())
        }
        SafeTensorError::InvalidHeader(_) => "the header is not UTF-8".to_owned(),
        SafeTensorError::InvalidHeaderDeserialization(error) | SafeTensorError::JsonError(error) => {
            format!("the header is not what it should be: {error}")
        }
        SafeTensorError::InvalidOffset(name) => {
            return Error::tensor(
                path,
                name,
                "its bytes overlap those of another tensor or leave a gap; the file is damaged, get it again",
            );
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor has another number of bytes than its shape and type need".to_owned()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!(
                "the tensors of the header do not fill the file of {} bytes exactly: it is cut off, or has more than it should",
                bytes.len()
            )
        }
        SafeTensorError::ValidationOverflow => "the shape of a tensor is larger than any file".to_owned(),
        other => format!("the header is not valid ({other:?})"),
    };
    Error::invalid(path, format!("not a safetensors file: {damaged}; get the file again"))
}
