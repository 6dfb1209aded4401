//! What is said if a model does not give the vectors that an index or a classifier was made from. How that is known is in the library.

use std::path::Path;

use anyhow::{Context, Result};
use sentir::SentenceTransformer;
use sentir::train::probe;

use crate::terminal::notice;

/// Fails if `model` does not give the vectors of `what`, which was made with the model called `named` and keeps the probe `kept`.
pub(crate) fn check(
    model: &SentenceTransformer,
    truncate_dim: Option<usize>,
    kept: &[f32],
    what: &Path,
    named: &str,
    quiet: bool,
) -> Result<()> {
    let what = what.display();
    let alike = probe::check(model, truncate_dim, kept, named).with_context(|| what.to_string())?;
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
