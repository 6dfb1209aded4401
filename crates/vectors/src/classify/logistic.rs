//! Logistic regression: the probability of a class is the softmax of linear scores (with two classes, the logistic function of one), with weights
//! that are kept small.
//!
//! `LogisticRegression` of scikit-learn 1.9 with `solver="lbfgs"` (`linear_model/_logistic.py`, `_linear_loss.py`): the mean of the rows' losses,
//! weighted, plus ‖W‖² / (2 C Σ weights); intercepts are free. Losses and gradients are sums in f64 over products in f32.

use sentir_kernels::gemm::{Epilogue, PackedMatrix, WeightType, gemm};

use super::lbfgs::minimize;
use super::{Classifier, check};
use crate::error::{Error, Result};
use crate::products::{Right, transpose};
use crate::rows::Rows;

/// How weights are learned; names and defaults are those of scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogisticOptions {
    /// The inverse of how small weights are kept. Default: 1.
    pub c: f64,
    /// Whether classes count the same, however many rows they have (`class_weight="balanced"`). Default: no.
    pub balanced: bool,
    /// Learning ends when no component of the gradient is above it. Default: 1e-4.
    pub tol: f64,
    /// Most steps. Default: 100.
    pub max_iter: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { c: 1.0, balanced: false, tol: 1e-4, max_iter: 100 }
    }
}

/// Weights `[classes, width]` and an intercept a class. Of two classes, the first has zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    weights: Rows,
    intercepts: Vec<f32>,
}

/// A model and whether its learning came to an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The model.
    pub model: LogisticRegression,
    /// Steps that were taken.
    pub iterations: usize,
    /// Whether the gradient came below the tolerance; if not, allow more steps.
    pub converged: bool,
}

impl LogisticRegression {
    /// Learns from `rows` `[n, width]` and their classes, numbers from zero without gaps. The same bits on any number of threads.
    ///
    /// # Errors
    /// If there are fewer than two classes, a row is not finite, or an option is out of range.
    pub fn fit(rows: &Rows, labels: &[usize], options: &LogisticOptions) -> Result<Fitted> {
        let classes = check(rows, labels)?;
        if !(options.c > 0.0 && options.c.is_finite() && options.tol > 0.0) {
            return Err(Error::Setting(format!(
                "C is {} and tol {}: both must be positive",
                options.c, options.tol
            )));
        }
        let (count, width) = (rows.rows(), rows.width());
        let mut sizes = vec![0.0; classes];
        labels.iter().for_each(|&label| sizes[label] += 1.0);
        let weight_of = |label: usize| {
            if options.balanced { count as f64 / (classes as f64 * sizes[label]) } else { 1.0 }
        };
        let total: f64 = labels.iter().map(|&label| weight_of(label)).sum();
        let penalty = 1.0 / (options.c * total);
        // Two classes need one set of weights; more have one each.
        let outputs = if classes == 2 { 1 } else { classes };
        let packed_rows = Right::new(rows.as_slice(), width);
        let function = |x: &[f64], gradient: &mut [f64]| {
            let (weights, intercepts) = x.split_at(outputs * width);
            let narrow: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
            let bias: Vec<f32> = intercepts.iter().map(|&b| b as f32).collect();
            let packed = PackedMatrix::pack(&narrow, outputs, width, WeightType::F32);
            let mut scores = vec![0.0; count * outputs];
            let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
            gemm(rows.as_slice(), count, &packed, epilogue, &mut scores);
            // Scores become the derivatives of the mean loss by themselves.
            let mut loss = 0.0;
            for (scores, &label) in scores.chunks_exact_mut(outputs).zip(labels) {
                let weight = weight_of(label) / total;
                loss += weight * slope(scores, label, weight);
            }
            let by_weight = packed_rows.product(&transpose(&scores, outputs));
            for ((gradient, by_weight), w) in gradient.iter_mut().zip(&by_weight).zip(weights) {
                *gradient = f64::from(*by_weight) + penalty * w;
            }
            for (output, gradient) in gradient[outputs * width..].iter_mut().enumerate() {
                *gradient = scores[output..].iter().step_by(outputs).map(|&d| f64::from(d)).sum();
            }
            loss + 0.5 * penalty * weights.iter().map(|w| w * w).sum::<f64>()
        };
        let found = minimize(vec![0.0; outputs * (width + 1)], options.tol, options.max_iter, function);
        let (weights, intercepts) = found.x.split_at(outputs * width);
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let (mut weights, mut intercepts) = (narrow(weights), narrow(intercepts));
        if classes == 2 {
            weights.splice(0..0, vec![0.0; width]);
            intercepts.insert(0, 0.0);
        }
        let model = Self { weights: Rows::new(weights, width)?, intercepts };
        Ok(Fitted { model, iterations: found.iterations, converged: found.converged })
    }

    /// From weights `[classes, width]` and intercepts, as a file has them.
    ///
    /// # Errors
    /// If there is not an intercept for each class, there are fewer than two, or a number is not finite.
    pub fn from_parts(weights: Rows, intercepts: Vec<f32>) -> Result<Self> {
        if weights.rows() != intercepts.len() {
            return Err(Error::LengthMismatch { left: weights.rows(), right: intercepts.len() });
        }
        if weights.rows() < 2 || weights.as_slice().iter().chain(&intercepts).any(|x| !x.is_finite()) {
            return Err(Error::Setting(
                "weights of a classifier are of two classes or more, and finite".to_owned(),
            ));
        }
        Ok(Self { weights, intercepts })
    }

    /// `[classes, width]`
    pub fn weights(&self) -> &Rows {
        &self.weights
    }

    /// One a class.
    pub fn intercepts(&self) -> &[f32] {
        &self.intercepts
    }
}

/// The loss of one row; its scores become the derivatives, times `weight`.
fn slope(scores: &mut [f32], label: usize, weight: f64) -> f64 {
    if let [score] = scores {
        let (x, sign) = (f64::from(*score), if label == 1 { 1.0 } else { -1.0 });
        // log(1 + exp(−sx)), without overflow.
        let loss = (-sign * x).max(0.0) + (-x.abs()).exp().ln_1p();
        *score = (-weight * sign / (1.0 + (sign * x).exp())) as f32;
        return loss;
    }
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|&score| f64::from(score - largest).exp()).sum();
    let loss = sum.ln() - f64::from(scores[label] - largest);
    for (class, score) in scores.iter_mut().enumerate() {
        let probability = f64::from(*score - largest).exp() / sum;
        *score = (weight * (probability - f64::from(u8::from(class == label)))) as f32;
    }
    loss
}

impl Classifier for LogisticRegression {
    fn decision_function(&self, rows: &Rows) -> Result<Rows> {
        crate::similarity::check_widths(rows, &self.weights)?;
        let classes = self.intercepts.len();
        let packed = PackedMatrix::pack(self.weights.as_slice(), classes, rows.width(), WeightType::F32);
        let mut scores = vec![0.0; rows.rows() * classes];
        let epilogue = Epilogue { bias: Some(&self.intercepts), ..Epilogue::default() };
        gemm(rows.as_slice(), rows.rows(), &packed, epilogue, &mut scores);
        Rows::new(scores, classes)
    }
}
