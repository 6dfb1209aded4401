//! What all new models have: tensors in f32, and settings without prompts.
//!
//! Not here: the rest of a model directory (`sentir_model::layout`).

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sentir_model::layout;
use serde_json::json;

use crate::{Error, Result};

/// A tensor by its name: shape and numbers.
pub(super) type Tensor = (String, Vec<usize>, Vec<f32>);

pub(super) fn tensors(path: &Path, tensors: &[Tensor]) -> Result<()> {
    let mut views = Vec::new();
    for (name, shape, values) in tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
        views.push((name, view.map_err(|error| Error::Argument(format!("{name}: {error}")))?));
    }
    Ok(layout::write_tensors(path, views)?)
}

pub(super) fn settings(directory: &Path) -> Result<()> {
    let settings = json!({"prompts": {}, "default_prompt_name": null, "similarity_fn_name": "cosine"});
    Ok(layout::write_json(&directory.join("config_sentence_transformers.json"), &settings)?)
}
