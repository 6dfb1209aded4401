//! `LayerNorm` on sentence vectors: `torch.nn.LayerNorm` with its default ε of 1e-5.
//! Source: sentence-transformers 6.2, `sentence_transformer/modules/layer_norm.py`.

use std::path::Path;

use sentir_compute::Backend;
use sentir_compute::ops::Norm;
use serde::Deserialize;

use crate::weights::Weights;
use crate::{Error, Result, json, parameters};

#[derive(Deserialize)]
struct Config {
    dimension: usize,
}

/// Loads from the module's folder; `width` is that of the vectors it gets.
pub(super) fn load(folder: &Path, width: usize, backend: &dyn Backend) -> Result<Norm> {
    let path = folder.join("config.json");
    let config: Config = json::read(&path)?;
    if config.dimension != width {
        let message =
            format!("dimension is {}, but the vectors before it have {width} components", config.dimension);
        return Err(Error::invalid(&path, message));
    }
    parameters::norm(&Weights::open(folder)?, "norm", width, 1e-5, backend)
}
