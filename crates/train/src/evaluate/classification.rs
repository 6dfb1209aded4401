//! Do vectors tell classes apart, if only few examples are known? Classification as MTEB defines it (`abstasks/classification.py`): logistic
//! regression on some texts of each class, measured on others, several times.

use std::collections::{BTreeSet, HashMap};

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::Rows;
use sentir_vectors::classify::Classifier;
use sentir_vectors::classify::logistic::{LogisticOptions, LogisticRegression};
use sentir_vectors::metrics::binary::average_precision;
use sentir_vectors::metrics::classification::Confusion;

use super::{Evaluator, Watch, encode, named};
use crate::order::Mt19937;
use crate::{Error, Result};

/// Means over the experiments of `{name}_accuracy`, by which models are compared, `f1`, `precision` and `recall`, each as the mean over classes
/// and, `…_weighted`, over texts; with two classes also `ap`, the average precision of what was predicted for the second of them.
///
/// Each experiment learns from [`Classification::SAMPLES_PER_LABEL`] texts of each class, which are the first of an order that is shuffled again for each:
/// the same texts as in MTEB, whose seed is 42. Classes are in alphabetical order.
#[derive(Debug, Clone)]
pub struct Classification {
    name: String,
    /// Texts that any experiment learns from, and the experiments: places among them.
    train: Vec<String>,
    experiments: Vec<Vec<usize>>,
    train_labels: Vec<usize>,
    test: Vec<String>,
    test_labels: Vec<usize>,
    classes: usize,
}

impl Classification {
    /// Texts of each class that are learned from.
    pub const SAMPLES_PER_LABEL: usize = 8;
    /// Experiments.
    pub const EXPERIMENTS: usize = 10;
    const SEED: u64 = 42;

    /// `train` and `test` are texts and their classes. A class that only comes in `test` is never right.
    ///
    /// # Errors
    /// If there is nothing to learn from or to measure with, or only one class.
    pub fn new(
        name: impl Into<String>,
        train: Vec<(String, String)>,
        test: Vec<(String, String)>,
    ) -> Result<Self> {
        if train.is_empty() || test.is_empty() {
            return Err(Error::Argument(
                "an evaluation of classes needs texts to learn from and others to measure with".to_owned(),
            ));
        }
        // Those of training come first: they are what is learned.
        let mut names: Vec<&String> =
            train.iter().map(|(_, class)| class).collect::<BTreeSet<_>>().into_iter().collect();
        if names.len() < 2 {
            return Err(Error::Argument(format!(
                "all texts are of the class \"{}\"; give two or more",
                names[0]
            )));
        }
        let learned = names.len();
        names.extend(
            test.iter()
                .map(|(_, class)| class)
                .filter(|class| names[..learned].binary_search(class).is_err())
                .collect::<BTreeSet<_>>(),
        );
        let place: HashMap<&String, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        let labels = |texts: &[(String, String)]| texts.iter().map(|(_, class)| place[class]).collect();
        let (all_labels, test_labels): (Vec<usize>, Vec<usize>) = (labels(&train), labels(&test));
        let classes = names.len();
        let chosen = samples(&all_labels, learned);
        let mut used: Vec<usize> = chosen.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        let at = |row: &usize| used.partition_point(|other| other < row);
        Ok(Self {
            name: name.into(),
            experiments: chosen.iter().map(|rows| rows.iter().map(at).collect()).collect(),
            train_labels: used.iter().map(|&row| all_labels[row]).collect(),
            train: used.iter().map(|&row| train[row].0.clone()).collect(),
            test: test.into_iter().map(|(text, _)| text).collect(),
            test_labels,
            classes,
        })
    }
}

/// The rows that each experiment learns from: `_undersample_data` of MTEB. The order is shuffled as numpy's `RandomState` does (`_legacy` in
/// `mtrand.pyx`), always from the same seed, but not begun anew.
fn samples(labels: &[usize], classes: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let experiments = (0..Classification::EXPERIMENTS).map(|_| {
        let mut random = Mt19937::new(Classification::SEED);
        for last in (1..order.len()).rev() {
            // Numbers of as many bits as `last` has, until one is not above it.
            let mask = u32::MAX >> (last as u32).leading_zeros();
            let other = loop {
                let other = (random.next_u32() & mask) as usize;
                if other <= last {
                    break other;
                }
            };
            order.swap(last, other);
        }
        let mut counts = vec![0; classes];
        let first = |row: &&usize| {
            counts[labels[**row]] += 1;
            counts[labels[**row]] <= Classification::SAMPLES_PER_LABEL
        };
        order.iter().filter(first).copied().collect()
    });
    experiments.collect()
}

impl Evaluator for Classification {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, "accuracy")
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let side = |texts: &[String], what| encode(model, texts, Task::Any, [&self.name, what], watch);
        let train = side(&self.train, "text to learn from")?;
        let test = side(&self.test, "text")?;
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for (done, rows) in self.experiments.iter().enumerate() {
            watch.tell([&self.name, "experiment"], done, self.experiments.len());
            if watch.is_over() {
                return Err(Error::Interrupted);
            }
            let values = rows.iter().flat_map(|&row| train.row(row)).copied().collect();
            let labels: Vec<usize> = rows.iter().map(|&row| self.train_labels[row]).collect();
            let learned = LogisticRegression::fit(
                &Rows::new(values, train.width())?,
                &labels,
                &LogisticOptions::default(),
            )?;
            let predicted = learned.model.predict(&test)?;
            let found = Confusion::new(&self.test_labels, &predicted, self.classes)?;
            let (mean, weighted) = (found.mean(false), found.mean(true));
            let mut metrics = vec![
                ("accuracy", found.accuracy()),
                ("f1", mean.f1),
                ("f1_weighted", weighted.f1),
                ("precision", mean.precision),
                ("precision_weighted", weighted.precision),
                ("recall", mean.recall),
                ("recall_weighted", weighted.recall),
            ];
            if self.classes == 2 {
                let scores: Vec<f64> = predicted.iter().map(|&class| class as f64).collect();
                let second: Vec<bool> = self.test_labels.iter().map(|&class| class == 1).collect();
                metrics.push(("ap", average_precision(&scores, &second)?));
            }
            if sums.is_empty() {
                sums = metrics;
            } else {
                sums.iter_mut().zip(metrics).for_each(|((_, sum), (_, value))| *sum += value);
            }
        }
        let mean = |(metric, sum)| (named(&self.name, metric), sum / self.experiments.len() as f64);
        Ok(sums.into_iter().map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.random.RandomState(42).shuffle` of ten numbers, twice over.
    #[test]
    fn texts_are_drawn_as_numpy_draws_them() {
        let labels: Vec<usize> = (0..10).map(|row| row % 2).collect();
        let found = samples(&labels, 2);
        assert_eq!(found[0], [8, 1, 5, 0, 7, 2, 9, 4, 3, 6]);
        assert_eq!(found[1], [3, 1, 2, 8, 4, 5, 6, 7, 0, 9]);
        let labels: Vec<usize> = (0..100).map(|row| row % 3).collect();
        let found = samples(&labels, 3);
        assert_eq!(found.len(), 10);
        for rows in &found {
            for class in 0..3 {
                assert_eq!(rows.iter().filter(|&&row| labels[row] == class).count(), 8);
            }
        }
        assert_ne!(found[0], found[1]);
    }
}
