//! Whether a model gives the vectors that something was made from: the vector of one fixed text, kept with it, is compared.
//!
//! Weights, pooling, dimensions and the type of the weights all show in it; the name of a directory does not.

use sentir_model::{EncodeOptions, SentenceTransformer, Task};
use sentir_vectors::{Rows, Similarity, similarity};

use crate::{Error, Result};

/// A text whose vector tells models apart.
const TEXT: &str = "Where does the river end? Где кончается река? 1024 § Wo der Fluß endet.";

/// From this cosine on, vectors are of one model, perhaps in other types of its weights.
const SAME: f32 = 0.98;

/// The vector of a fixed text, `[1, dimensions]`, of unit length.
///
/// # Errors
/// If the model cannot encode it.
pub fn probe(model: &SentenceTransformer, truncate_dim: Option<usize>) -> Result<Rows> {
    let options = EncodeOptions { truncate_dim, ..EncodeOptions::default() };
    let mut probe = model.encode_task(&[TEXT], Task::Any, &options)?.embeddings;
    probe.normalize();
    Ok(probe)
}

/// The cosine of the model's probe and the one that was `kept`: 1 for the same model, a little less if its weights are in another type.
///
/// # Errors
/// If `model` does not give the vectors that the probe was kept with: the dimensions differ, or the cosine is below 0.98. `made_with` is the model's
/// name then.
pub fn check(
    model: &SentenceTransformer,
    truncate_dim: Option<usize>,
    kept: &[f32],
    made_with: &str,
) -> Result<f32> {
    let probe = probe(model, truncate_dim)?;
    if kept.len() != probe.width() {
        return Err(Error::Argument(format!(
            "its vectors have {} dimensions, those of this model {}; it was made with {made_with}",
            kept.len(),
            probe.width()
        )));
    }
    let kept = Rows::new(kept.to_vec(), probe.width())?;
    let alike = similarity::pairwise(&probe, &kept, Similarity::Cosine)?[0];
    if alike.is_nan() || alike < SAME {
        return Err(Error::Argument(format!(
            "this model does not give the vectors that it was made from (the cosine of a test text is {alike:.4}); it was made with {made_with}"
        )));
    }
    Ok(alike)
}
