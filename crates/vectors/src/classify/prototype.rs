//! The nearest prototype: a class is the mean of its rows, each of unit length, and a row belongs to the nearest by the cosine. For a handful of
//! examples a class, where there is little to learn weights from. `NearestCentroid` of scikit-learn over unit vectors; Snell, Swersky and Zemel
//! 2017.

use super::{Classifier, check};
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::similarity::{Similarity, matrix};

/// What cosines are multiplied with before the softmax that makes probabilities of them: the scale of MultipleNegativesRankingLoss.
pub const SCALE: f32 = 20.0;

/// A unit vector a class, `[classes, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestPrototype {
    prototypes: Rows,
}

impl NearestPrototype {
    /// The prototypes of `rows` `[n, width]`, whose classes are numbers from zero without gaps.
    ///
    /// # Errors
    /// If there are fewer than two classes, or a row is not finite.
    pub fn fit(rows: &Rows, labels: &[usize]) -> Result<Self> {
        let classes = check(rows, labels)?;
        let width = rows.width();
        let mut unit = rows.clone();
        unit.normalize();
        let mut sums = vec![0.0f64; classes * width];
        for (row, &label) in unit.iter().zip(labels) {
            sums[label * width..][..width].iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let mut prototypes = Rows::new(sums.into_iter().map(|sum| sum as f32).collect(), width)?;
        prototypes.normalize();
        Ok(Self { prototypes })
    }

    /// From prototypes `[classes, width]`, as a file has them.
    ///
    /// # Errors
    /// If there are fewer than two, or a number is not finite.
    pub fn from_parts(prototypes: Rows) -> Result<Self> {
        if prototypes.rows() < 2 || prototypes.as_slice().iter().any(|x| !x.is_finite()) {
            return Err(Error::Setting("prototypes are of two classes or more, and finite".to_owned()));
        }
        Ok(Self { prototypes })
    }

    /// `[classes, width]`
    pub fn prototypes(&self) -> &Rows {
        &self.prototypes
    }
}

impl Classifier for NearestPrototype {
    /// Cosines times [`SCALE`].
    fn decision_function(&self, rows: &Rows) -> Result<Rows> {
        let scores = matrix(rows, &self.prototypes, Similarity::Cosine)?;
        let width = scores.width();
        Rows::new(scores.into_vec().into_iter().map(|score| SCALE * score).collect(), width)
    }
}
