//! A loss over the first d numbers of each vector, for several d, so that short vectors serve too:
//! `loss = Σ_d weight_d · inner(x[..d] / max(‖x[..d]‖, 1e-12))` (`matryoshka.py`; Kusupati et al. 2022, arXiv 2205.13147).

use sentir_vectors::Rows;
use serde_json::{Map, Value, json};

use super::parameters::{Parameters, whole};
use super::softmax::{through_unit, unit};
use super::{Batch, Cached, Config, Gradients, Loss, error, from_name, gradients, zeros};
use crate::{Error, Result};

/// The least length of a vector.
const LEAST: f64 = 1e-12;

/// `MatryoshkaLoss` around another loss, whose columns and labels it needs. Labels as wide as the vectors are cut with them.
#[derive(Debug)]
pub struct Matryoshka {
    loss: Box<dyn Loss>,
    /// Numbers and weights, the most numbers first.
    dims: Vec<(usize, f64)>,
}

impl Matryoshka {
    /// Over the first `dims` numbers of each vector, with a weight for each; without weights, 1 each.
    ///
    /// # Errors
    /// If there are no dims, one is zero, there are not as many weights, or one is not finite.
    pub fn new(loss: Box<dyn Loss>, dims: &[usize], weights: Option<&[f64]>) -> Result<Self> {
        let wrong = |message: String| Err(Error::Argument(format!("MatryoshkaLoss: {message}")));
        let ones = vec![1.0; dims.len()];
        let weights = weights.unwrap_or(&ones);
        if dims.is_empty() || dims.contains(&0) {
            return wrong("matryoshka_dims must be at least one number above zero".to_owned());
        }
        if weights.len() != dims.len() || weights.iter().any(|weight| !weight.is_finite()) {
            return wrong(format!("matryoshka_weights must be {} numbers, one per dimension", dims.len()));
        }
        let mut dims: Vec<(usize, f64)> = dims.iter().copied().zip(weights.iter().copied()).collect();
        // Stable, as Python's.
        dims.sort_by_key(|&(dim, _)| std::cmp::Reverse(dim));
        Ok(Self { loss, dims })
    }

    pub(super) fn from_parameters(parameters: &mut Parameters<'_>) -> Result<Self> {
        let inner = parameters.get("loss", Value::Null);
        let dims = parameters.get("matryoshka_dims", Value::Null);
        let weights = parameters.get("matryoshka_weights", Value::Null);
        parameters.only("n_dims_per_step", json!(-1), "every step trains every dimension")?;
        let inner = match inner {
            Some(Value::String(name)) => from_name(name, &Map::new())?,
            Some(Value::Object(object)) if object.get("name").is_some_and(Value::is_string) => {
                let mut rest = object.clone();
                rest.remove("name");
                from_name(object["name"].as_str().unwrap_or_default(), &rest)?
            }
            _ => {
                return Err(
                    parameters.wrong("loss", "the name of a loss, or an object of name and its parameters")
                );
            }
        };
        let list = |value: &Value| value.as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
        let number = |value: &Value| value.as_u64().and_then(|dim| usize::try_from(dim).ok());
        let dims: Option<Vec<usize>> = dims.map(list).unwrap_or_default().iter().map(number).collect();
        let dims = dims.filter(|dims| !dims.is_empty());
        let dims = dims.ok_or_else(|| parameters.wrong("matryoshka_dims", "a list of whole numbers"))?;
        let weights: Option<Vec<f64>> = match weights {
            None | Some(Value::Null) => None,
            Some(value) => {
                let weights: Option<Vec<f64>> = list(value).iter().map(Value::as_f64).collect();
                Some(weights.ok_or_else(|| parameters.wrong("matryoshka_weights", "a list of numbers"))?)
            }
        };
        Self::new(inner, &dims, weights.as_deref())
    }
}

/// The first `dim` of every `width` numbers.
fn cut(rows: &Rows, width: usize, dim: usize) -> Result<Rows> {
    let parts = rows.width() / width;
    let values = rows.as_slice().chunks_exact(width).flat_map(|part| &part[..dim]).copied().collect();
    Ok(Rows::new(values, parts * dim)?)
}

impl Loss for Matryoshka {
    fn name(&self) -> &'static str {
        "MatryoshkaLoss"
    }

    /// As in sentence-transformers, `loss` is the name of the inner loss without its parameters.
    fn config(&self) -> Config {
        let (dims, weights): (Vec<usize>, Vec<Value>) = self.dims.iter().map(|&(d, w)| (d, whole(w))).unzip();
        vec![
            ("loss", json!(self.loss.name())),
            ("matryoshka_dims", json!(dims)),
            ("matryoshka_weights", json!(weights)),
            ("n_dims_per_step", json!(-1)),
        ]
    }

    fn check(&self, columns: usize, has_labels: bool) -> Result<()> {
        self.loss.check(columns, has_labels)
    }

    fn guide(&self) -> Option<&str> {
        self.loss.guide()
    }

    fn in_batch_negatives(&self) -> bool {
        self.loss.in_batch_negatives()
    }

    fn cached(&self) -> Option<Cached> {
        self.loss.cached()
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [_, width] = batch.shape(self)?;
        let (most, _) = self.dims[0];
        if most > width {
            return Err(error(self, format!("matryoshka_dims has {most}, but vectors have {width} numbers")));
        }
        let (mut value, mut sums) = (0.0, zeros(batch.columns));
        for &(dim, weight) in &self.dims {
            let cuts: Vec<Rows> = batch.columns.iter().map(|x| cut(x, width, dim)).collect::<Result<_>>()?;
            let units: Vec<Rows> = cuts.iter().map(|x| unit(x, LEAST)).collect::<Result<_>>()?;
            let is_vector = |labels: &&Rows| [width, width * cuts.len()].contains(&labels.width());
            let short = batch.labels.filter(is_vector).map(|labels| cut(labels, width, dim)).transpose()?;
            let labels = short.as_ref().or(batch.labels);
            let inner = self.loss.compute(Batch { columns: &units, labels, guide: batch.guide })?;
            value += weight * inner.value;
            for ((sum, x), gradient) in sums.iter_mut().zip(&cuts).zip(inner.columns) {
                let mut gradient = gradient.into_vec();
                through_unit(x, LEAST, &mut gradient);
                for (sum, gradient) in sum.chunks_exact_mut(width).zip(gradient.chunks_exact(dim)) {
                    sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += (weight * f64::from(*g)) as f32);
                }
            }
        }
        gradients(value, sums, width)
    }
}
