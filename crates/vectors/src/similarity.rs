//! How alike two vectors are. Nothing here knows what the vectors stand for.
//!
//! Source of the four functions: `util/similarity.py` of sentence-transformers. Higher is always more alike, so the two
//! distances are negated.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use sentir_kernels::{distance, gemm};

use crate::error::{Error, Result};
use crate::rows::Rows;

/// A similarity function, by the names of sentence-transformers: `cosine` (the default), `dot`, `euclidean`, `manhattan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Similarity {
    /// `â·b̂` with `x̂ = x / max(‖x‖₂, 1e-12)`
    #[default]
    Cosine,
    /// `a·b`
    Dot,
    /// `−‖a − b‖₂`
    Euclidean,
    /// `−‖a − b‖₁`
    Manhattan,
}

impl Similarity {
    /// All of them, in the order of sentence-transformers.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    /// The name in `config_sentence_transformers.json` (`similarity_fn_name`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }
}

impl fmt::Display for Similarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Similarity {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|similarity| similarity.name() == name).ok_or_else(|| Error::UnknownName {
            name: name.to_owned(),
            what: "similarity function",
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Rows of either side whose distances are computed together.
const BLOCK: usize = 64;

/// Every vector of `a` against every vector of `b`: `[a.rows, b.rows]`.
///
/// A score depends on its two vectors alone, to the bit: not on their places, their company or the number of threads. The
/// distances are computed from differences, so those of nearly equal vectors are as exact as the others (`torch.cdist`
/// subtracts large squares from each other when there are more than 25 rows).
///
/// # Errors
/// If the widths differ or `b` is empty, since there is no matrix without columns. An empty `a` gives no rows.
pub fn matrix(a: &Rows, b: &Rows, similarity: Similarity) -> Result<Rows> {
    check_widths(a, b)?;
    if b.is_empty() {
        return Err(Error::TooFew {
            what: "a similarity matrix",
            needed: 1,
            unit: "vectors to compare with",
            got: 0,
            remedy: "",
        });
    }
    let (a, b) = (prepared(a, similarity), prepared(b, similarity));
    let (width, columns) = (a.width(), b.rows());
    let mut scores = vec![0.0; a.rows() * columns];
    match similarity {
        // The product divides itself among the threads.
        Similarity::Cosine | Similarity::Dot => {
            block(a.as_slice(), b.as_slice(), width, similarity, &mut scores)
        }
        Similarity::Euclidean | Similarity::Manhattan => scores
            .par_chunks_mut(BLOCK.saturating_mul(columns))
            .zip(a.as_slice().par_chunks(BLOCK.saturating_mul(width)))
            .for_each(|(scores, a)| block(a, b.as_slice(), width, similarity, scores)),
    }
    Rows::new(scores, columns)
}

/// Vector `i` of `a` against vector `i` of `b`, for each `i`.
///
/// # Errors
/// If the widths or the numbers of rows differ.
pub fn pairwise(a: &Rows, b: &Rows, similarity: Similarity) -> Result<Vec<f32>> {
    check_widths(a, b)?;
    if a.rows() != b.rows() {
        return Err(Error::LengthMismatch { left: a.rows(), right: b.rows() });
    }
    let (a, b) = (prepared(a, similarity), prepared(b, similarity));
    let width = a.width();
    if matches!(similarity, Similarity::Cosine | Similarity::Dot) {
        let mut scores = vec![0.0; a.rows()];
        // Rows are counted in 32 bits there.
        const AT_ONCE: usize = 1 << 30;
        for (at, scores) in scores.chunks_mut(AT_ONCE).enumerate() {
            let pairs: Vec<(u32, u32)> = (0..scores.len() as u32).map(|i| (i, i)).collect();
            let [a, b] = [&a, &b].map(|rows| &rows.as_slice()[(at * AT_ONCE).saturating_mul(width)..]);
            gemm::dots(a, b, width, &pairs, scores);
        }
        return Ok(scores);
    }
    let pairs = a.as_slice().par_chunks_exact(width).zip(b.as_slice().par_chunks_exact(width));
    Ok(pairs
        .map(|(a, b)| {
            let mut score = [0.0];
            block(a, b, width, similarity, &mut score);
            score[0]
        })
        .collect())
}

/// Vectors can be compared only if they are of one width.
pub(crate) fn check_widths(a: &Rows, b: &Rows) -> Result<()> {
    if a.width() == b.width() {
        Ok(())
    } else {
        Err(Error::WidthMismatch { left: a.width(), right: b.width() })
    }
}

/// The vectors as [`block`] takes them: of unit length for cosine.
pub(crate) fn prepared(rows: &Rows, similarity: Similarity) -> Cow<'_, Rows> {
    let mut rows = Cow::Borrowed(rows);
    if similarity == Similarity::Cosine {
        rows.to_mut().normalize();
    }
    rows
}

/// Scores of prepared vectors, `a` `[m, width]` against `b` `[n, width]`, into `scores` `[m, n]`.
pub(crate) fn block(a: &[f32], b: &[f32], width: usize, similarity: Similarity, scores: &mut [f32]) {
    let (m, n) = (a.len() / width, b.len() / width);
    let distance: fn(&[f32], &[f32]) -> f32 = match similarity {
        Similarity::Cosine | Similarity::Dot => return gemm::gemm_nt(a, m, b, n, width, scores),
        Similarity::Euclidean => |a, b| distance::squared_euclidean(a, b).sqrt(),
        Similarity::Manhattan => distance::manhattan,
    };
    // Some rows of `b` at a time, so that they stay in the cache for all of `a`.
    for (start, b) in (0..n).step_by(BLOCK).zip(b.chunks(BLOCK.saturating_mul(width))) {
        for (a, scores) in a.chunks_exact(width).zip(scores.chunks_exact_mut(n)) {
            for (b, score) in b.chunks_exact(width).zip(&mut scores[start..]) {
                // Not a negation: equal vectors score 0, not -0.
                *score = 0.0 - distance(a, b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for similarity in Similarity::ALL {
            assert_eq!(similarity.to_string().parse(), Ok(similarity));
        }
        assert_eq!(Similarity::default().name(), "cosine");
        let error = "cos".parse::<Similarity>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"cos\" is not a similarity function: use one of cosine, dot, euclidean, manhattan"
        );
    }

    #[test]
    fn shapes() {
        let (wide, narrow) = (Rows::new(vec![1.0; 6], 3).unwrap(), Rows::new(vec![1.0; 6], 2).unwrap());
        for similarity in Similarity::ALL {
            let mismatch = Error::WidthMismatch { left: 3, right: 2 };
            assert_eq!(matrix(&wide, &narrow, similarity), Err(mismatch.clone()));
            assert_eq!(pairwise(&wide, &narrow, similarity), Err(mismatch));
            let none = Rows::empty(3);
            assert_eq!(matrix(&none, &wide, similarity).unwrap().shape(), [0, 2]);
            assert!(matches!(matrix(&wide, &none, similarity), Err(Error::TooFew { got: 0, .. })));
            assert_eq!(pairwise(&none, &none, similarity), Ok(vec![]));
            let widest = Rows::empty(usize::MAX);
            assert_eq!(pairwise(&widest, &widest, similarity), Ok(vec![]));
            assert_eq!(pairwise(&none, &wide, similarity), Err(Error::LengthMismatch { left: 0, right: 2 }));
        }
    }

    #[test]
    fn distances_of_nearly_equal_vectors_are_exact() {
        let a = Rows::new((0..384_u16).map(|i| 1000.0 + f32::from(i)).collect(), 384).unwrap();
        let mut moved = a.as_slice().to_vec();
        moved[7] += 0.25;
        let b = Rows::new(moved, 384).unwrap();
        assert_eq!(pairwise(&a, &b, Similarity::Euclidean).unwrap(), [-0.25]);
        assert_eq!(pairwise(&a, &b, Similarity::Manhattan).unwrap(), [-0.25]);
        let same = pairwise(&a, &a, Similarity::Euclidean).unwrap();
        assert!(same[0] == 0.0 && same[0].is_sign_positive());
    }
}
