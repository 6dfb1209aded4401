//! How far are vectors from those of a teacher? `MSEEvaluator` of sentence-transformers 6.2 (`mse.py`).

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::Rows;

use super::{Evaluator, Watch, encode, named};
use crate::{Error, Result};

/// The mean of the squared differences of all components, times −100: `{name}_negative_mse`.
#[derive(Debug, Clone)]
pub struct Mse {
    name: String,
    texts: Vec<String>,
    teacher: Rows,
}

impl Mse {
    /// `texts` are what is encoded, `teacher` `[texts, width]` the vectors that should come out: of the same texts, or of what they translate.
    ///
    /// # Errors
    /// If there are no texts or not a vector for each.
    pub fn new(name: impl Into<String>, texts: Vec<String>, teacher: Rows) -> Result<Self> {
        if texts.is_empty() || texts.len() != teacher.rows() {
            let message = format!(
                "{} texts and {} vectors of a teacher cannot be compared",
                texts.len(),
                teacher.rows()
            );
            return Err(Error::Argument(message));
        }
        Ok(Self { name: name.into(), texts, teacher })
    }
}

impl Evaluator for Mse {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, "negative_mse")
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let rows = encode(model, &self.texts, Task::Any, [&self.name, "text"], watch)?;
        if rows.width() != self.teacher.width() {
            return Err(Error::Argument(format!(
                "the teacher's vectors have {} dimensions, those of the model {}",
                self.teacher.width(),
                rows.width()
            )));
        }
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        let sum: f64 = rows.as_slice().iter().zip(self.teacher.as_slice()).map(square).sum();
        Ok(vec![(self.primary_metric(model), -100.0 * sum / rows.as_slice().len() as f64)])
    }
}
