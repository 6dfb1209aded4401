//! Rows as points of a plane whose neighbors are those of the rows: t-SNE (van der Maaten and Hinton 2008; by Barnes and Hut's tree, van der Maaten
//! 2014). The loop is that of the crate bhtsne; what it begins with, the neighbors and the first places, is made here.

use bhtsne::{Neighbor, tSNE};

use super::check;
use super::plane::principal_components;
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::similarity::Similarity;
use crate::top_k::{SearchOptions, search};

/// How points are placed; the defaults are those of `sklearn.manifold.TSNE`, 1.9.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TsneOptions {
    /// About how many neighbors count. Default: 30; a third of the rows where there are fewer than ninety.
    pub perplexity: f64,
    /// Steps. Default: 1000.
    pub max_iter: usize,
}

impl Default for TsneOptions {
    fn default() -> Self {
        Self { perplexity: 30.0, max_iter: 1000 }
    }
}

/// How coarsely far points are taken together.
const THETA: f64 = 0.5;
/// Fewer rows than this have no neighborhoods: they are laid out by [`principal_components`].
const FEW: usize = 8;

/// Points `[n, 2]` for rows `[n, width]`, compared by the distance of unit vectors, `√(2 − 2 cos)`. They begin at their principal components.
/// `progress` is told how many steps of how many were made.
///
/// The result is the same each time and does not depend on the number of threads: the loop runs on one.
///
/// # Errors
/// If there are fewer than two rows, or a row is not finite.
pub fn t_sne(
    rows: &Rows,
    options: &TsneOptions,
    mut progress: impl FnMut(usize, usize) + Send,
) -> Result<Rows> {
    check(rows, 2)?;
    let first = principal_components(rows)?;
    let count = rows.rows();
    // Too few, or all in one place.
    if count < FEW || first.iter().all(|point| point == first.row(0)) {
        return Ok(first);
    }
    // The crate takes three neighbors for each unit of perplexity.
    let perplexity = options.perplexity.clamp(1.0, ((count - 1) / 3) as f64);
    let wanted = ((3.0 * perplexity) as usize).min(count - 1);
    let options_of_search = SearchOptions { similarity: Similarity::Cosine, top_k: wanted + 1 };
    let neighbors = search(rows, rows, &options_of_search)?.into_iter().enumerate().map(|(row, hits)| {
        // Among more equal rows than are wanted, the row itself may be missing.
        let others = hits.into_iter().filter(|hit| hit.index != row).take(wanted);
        let distance = |score: f32| (2.0 - 2.0 * f64::from(score)).max(0.0).sqrt();
        others.map(|hit| Neighbor { index: hit.index, distance: distance(hit.score) }).collect()
    });
    let neighbors: Vec<Vec<Neighbor<f64>>> = neighbors.collect();
    // As small as scikit-learn has it, so that distances do not count before forces do.
    let across: f64 = first.iter().map(|point| f64::from(point[0]).powi(2)).sum::<f64>() / count as f64;
    let begin: Vec<f64> = first.as_slice().iter().map(|&x| f64::from(x) * 1e-4 / across.sqrt()).collect();
    let samples = vec![(); count];
    // Several threads would add up in an order of their own.
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let alone = alone.map_err(|error| Error::Setting(format!("no thread could be started: {error}")))?;
    let points = alone.install(|| {
        let mut steps = tSNE::<f64, (), 2>::new(&samples);
        steps.perplexity(perplexity).epochs(options.max_iter).initial_embedding(begin);
        steps.epoch_callback(|done, _| progress(done, options.max_iter));
        steps.barnes_hut_with_neighbors(THETA, &neighbors).embedding()
    });
    Rows::new(points.into_iter().map(|x| x as f32).collect(), 2)
}
