//! How well classes were predicted: precision, recall and F1 of each class, and means. Classes are numbers from zero; where nothing was predicted or
//! nothing is there, a share is 0 (`zero_division=0` of scikit-learn).

use crate::error::{Error, Result};

/// How often which class was predicted for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<usize>,
}

/// The shares of one class, or means over classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of what was predicted, what is right.
    pub precision: f64,
    /// Of what is there, what was predicted.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall)
    pub f1: f64,
    /// Rows of the class.
    pub support: usize,
}

impl Confusion {
    /// Counts true and predicted classes, both below `classes`. Source: `sklearn.metrics.confusion_matrix`.
    ///
    /// # Errors
    /// If the lists differ in length or are empty, or a class is not below `classes`.
    pub fn new(labels: &[usize], predicted: &[usize], classes: usize) -> Result<Self> {
        if labels.len() != predicted.len() {
            return Err(Error::LengthMismatch { left: labels.len(), right: predicted.len() });
        }
        if labels.is_empty() {
            return Err(Error::TooFew { what: "a report", needed: 1, unit: "rows", got: 0, remedy: "" });
        }
        if let Some(class) = labels.iter().chain(predicted).find(|&&class| class >= classes) {
            return Err(Error::Setting(format!("class {class} is not one of {classes}")));
        }
        let mut counts = vec![0; classes * classes];
        labels.iter().zip(predicted).for_each(|(label, own)| counts[label * classes + own] += 1);
        Ok(Self { classes, counts })
    }

    /// How many there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `predicted` was said of rows of class `label`.
    pub fn count(&self, label: usize, predicted: usize) -> usize {
        self.counts[label * self.classes + predicted]
    }

    fn of(&self, label: usize) -> Shares {
        let there: usize = (0..self.classes).map(|own| self.count(label, own)).sum();
        let said: usize = (0..self.classes).map(|other| self.count(other, label)).sum();
        let share = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let right = self.count(label, label);
        let f1 = if there + said == 0 { 0.0 } else { 2.0 * right as f64 / (there + said) as f64 };
        Shares { precision: share(right, said), recall: share(right, there), f1, support: there }
    }

    /// The shares of each class. Source: `sklearn.metrics.precision_recall_fscore_support`.
    pub fn by_class(&self) -> Vec<Shares> {
        (0..self.classes).map(|label| self.of(label)).collect()
    }

    /// The share of rows whose class is right.
    pub fn accuracy(&self) -> f64 {
        let right: usize = (0..self.classes).map(|label| self.count(label, label)).sum();
        right as f64 / self.counts.iter().sum::<usize>() as f64
    }

    /// Means over classes that are there or were predicted (`average="macro"`), or, `weighted`, each as often as its rows.
    pub fn mean(&self, weighted: bool) -> Shares {
        let all: usize = self.counts.iter().sum();
        let said = |label: usize| (0..self.classes).any(|other| self.count(other, label) > 0);
        let mut mean = Shares { precision: 0.0, recall: 0.0, f1: 0.0, support: all };
        let counted: Vec<Shares> = (0..self.classes)
            .map(|label| (label, self.of(label)))
            .filter(|(label, own)| own.support > 0 || said(*label))
            .map(|(_, own)| own)
            .collect();
        for own in &counted {
            let weight = if weighted { own.support as f64 / all as f64 } else { 1.0 / counted.len() as f64 };
            mean.precision += weight * own.precision;
            mean.recall += weight * own.recall;
            mean.f1 += weight * own.f1;
        }
        mean
    }
}

/// Expected calibration error: how far the probability of what was predicted is from how often it is right, over `bins` equal ranges of the
/// probability, each weighted by its rows (Naeini, Cooper and Hauskrecht 2015). `right` says of each row whether its prediction is.
///
/// # Errors
/// If the lists differ in length or are empty, or there are no bins.
pub fn expected_calibration_error(probabilities: &[f32], right: &[bool], bins: usize) -> Result<f64> {
    if probabilities.len() != right.len() || right.is_empty() || bins == 0 {
        return Err(Error::LengthMismatch { left: probabilities.len(), right: right.len() });
    }
    let mut sums = vec![(0.0, 0.0); bins];
    for (&probability, &right) in probabilities.iter().zip(right) {
        // (0, 1/bins], (1/bins, 2/bins], …
        let bin = ((f64::from(probability) * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        sums[bin].0 += f64::from(probability);
        sums[bin].1 += f64::from(u8::from(right));
    }
    Ok(sums.iter().map(|(said, right)| (said - right).abs()).sum::<f64>() / right.len() as f64)
}
