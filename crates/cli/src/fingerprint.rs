//! Whether a model gives the vectors that something was made from: the vector of one fixed text, kept with it, is compared.
//!
//! Weights, pooling, dimensions and the type of the weights all show in it; the name of a directory does not.

use std::path::Path;

use anyhow::{Result, bail};
use sentir::{EncodeOptions, Rows, SentenceTransformer, Similarity, Task};

use crate::terminal::notice;

/// A text whose vector tells models apart.
const PROBE: &str = "Where does the river end? Где кончается река? 1024 § Wo der Fluß endet.";

/// Its vector, of unit length.
pub(crate) fn probe(model: &SentenceTransformer, truncate_dim: Option<usize>) -> Result<Rows> {
    let options = EncodeOptions { truncate_dim, ..EncodeOptions::default() };
    let mut probe = model.encode_task(&[PROBE], Task::Any, &options)?.embeddings;
    probe.normalize();
    Ok(probe)
}

/// Fails if `model` does not give the vectors of `what`, which was made with the model called `named` and keeps the probe `kept`.
pub(crate) fn check(
    model: &SentenceTransformer,
    truncate_dim: Option<usize>,
    kept: &[f32],
    what: &Path,
    named: &str,
    quiet: bool,
) -> Result<()> {
    let probe = probe(model, truncate_dim)?;
    let what = what.display();
    if kept.len() != probe.width() {
        bail!(
            "{what}: its vectors have {} dimensions, those of this model {}; it was made with {named}",
            kept.len(),
            probe.width()
        );
    }
    let kept = Rows::new(kept.to_vec(), probe.width())?;
    let alike = sentir::similarity::pairwise(&probe, &kept, Similarity::Cosine)?[0];
    if alike.is_nan() || alike < 0.98 {
        bail!(
            "{what}: this model does not give the vectors that it was made from (the cosine of a test text is {alike:.4}); it was made with {named}"
        );
    }
    if alike < 0.9999 {
        notice(
            quiet,
            format_args!(
                "the vectors of this model are not quite those that {what} was made from (cosine {alike:.4}): was it made with another --dtype?"
            ),
        );
    }
    Ok(())
}
