//! Does a classifier on the model's vectors find the right classes? `LabelAccuracyEvaluator` of sentence-transformers 6.2 (`label_accuracy.py`), whose
//! head is that of a `SoftmaxLoss`; here it is a [`TextClassifier`], of texts or of pairs.

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::classify::pair_features;

use super::{Evaluator, Watch, encode, named};
use crate::classifier::TextClassifier;
use crate::{Error, Result, probe};

/// The share of texts, or of pairs of texts, whose class is predicted right: `{name}_accuracy`. Of a classifier with two levels, the finer counts.
#[derive(Debug, Clone)]
pub struct LabelAccuracy {
    name: String,
    classifier: TextClassifier,
    texts: Vec<String>,
    /// The other texts of pairs.
    others: Option<Vec<String>>,
    labels: Vec<Option<usize>>,
}

impl LabelAccuracy {
    /// `texts`, for a classifier of pairs with `others` beside them, and the names of their classes. A class that the classifier does not know is never
    /// right.
    ///
    /// # Errors
    /// If there are no texts or not a class for each, or pairs where texts must be or the other way round.
    pub fn new(
        name: impl Into<String>,
        classifier: TextClassifier,
        texts: Vec<String>,
        others: Option<Vec<String>>,
        classes: &[String],
    ) -> Result<Self> {
        let count = texts.len();
        if count == 0 || classes.len() != count || others.as_ref().is_some_and(|others| others.len() != count)
        {
            let message = format!("{count} texts and {} classes cannot be compared", classes.len());
            return Err(Error::Argument(message));
        }
        if classifier.pairs != others.is_some() {
            let (own, given) =
                if classifier.pairs { ("pairs of texts", "texts") } else { ("texts", "pairs") };
            return Err(Error::Argument(format!("the classifier is one of {own}, but {given} are given")));
        }
        let known = classifier.levels.last().map_or(&[][..], |level| &level.classes);
        let labels = classes.iter().map(|class| known.iter().position(|own| own == class)).collect();
        Ok(Self { name: name.into(), classifier, texts, others, labels })
    }
}

impl Evaluator for LabelAccuracy {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, "accuracy")
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let TextClassifier { truncate_dim, probe: kept, model: made_with, .. } = &self.classifier;
        probe::check(model, *truncate_dim, kept, made_with).map_err(|error| {
            Error::Argument(format!("the classifier does not belong to this model: {error}"))
        })?;
        let side = |texts: &[String], what| {
            let mut rows = encode(model, texts, Task::Any, [&self.name, what], watch)?;
            if let Some(dimensions) = *truncate_dim {
                rows.truncate_dim(dimensions)?;
            }
            Ok::<_, Error>(rows)
        };
        let mut rows = side(&self.texts, "text")?;
        if let Some(others) = &self.others {
            rows = pair_features(&rows, &side(others, "second text")?)?;
        }
        let found = self.classifier.predict(&rows)?;
        let found = found.last().map_or(&[][..], Vec::as_slice);
        let right = found.iter().zip(&self.labels).filter(|(found, label)| Some(found.best()) == **label);
        Ok(vec![(self.primary_metric(model), right.count() as f64 / self.labels.len() as f64)])
    }

    fn check_training(&self) -> Result<()> {
        let message = "label accuracy measures by a classifier that was made with one model, and training changes the model; \
                       measure it afterwards with sentir evaluate";
        Err(Error::Argument(message.to_owned()))
    }
}
