//! Statistics of the first rows of a data set, as the model cards of sentence-transformers have them (`model_card.py` of 3.1.1,
//! lines 564 to 625; `base/model_card.py` of 6.2).

use std::collections::BTreeMap;

use sentir_model::SentenceTransformer;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::Dataset;

/// Of the first rows of a data set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// So many rows, or all if there are fewer.
    pub rows: usize,
    /// A column each.
    pub columns: Vec<ColumnStatistics>,
}

/// Of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// What its values are called: `string`, `int`, `float`, `list`.
    pub dtype: String,
    /// What is measured.
    pub measure: Measure,
}

/// What is said of the values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Tokens of texts, special ones included.
    Tokens {
        /// The fewest.
        min: u64,
        /// The mean, rounded to two decimals.
        mean: f64,
        /// The most.
        max: u64,
    },
    /// Numbers, rounded to two decimals.
    Numbers {
        /// The smallest.
        min: f64,
        /// The mean.
        mean: f64,
        /// The largest.
        max: f64,
    },
    /// How many of the rows have each value, as a part.
    Shares(Vec<(String, f64)>),
    /// Lists of so many elements.
    Elements(u64),
}

impl Measure {
    /// Of texts with so many tokens.
    pub(crate) fn tokens(lengths: impl Iterator<Item = usize>) -> Self {
        let lengths: Vec<u64> = lengths.map(|length| length as u64).collect();
        Self::Tokens {
            min: lengths.iter().copied().min().unwrap_or(0),
            mean: rounded(lengths.iter().sum::<u64>() as f64 / lengths.len().max(1) as f64),
            max: lengths.iter().copied().max().unwrap_or(0),
        }
    }
}

/// Those of the first `rows` rows. Tokens are those of the model without a prompt, at most as many as it reads.
///
/// # Errors
/// If a text cannot be tokenized.
pub fn statistics(dataset: &Dataset, model: &SentenceTransformer, rows: usize) -> Result<Statistics> {
    let rows = rows.min(dataset.len());
    let mut columns = Vec::new();
    for column in &dataset.columns {
        let tokens = model.tokenize_texts(&column.texts[..rows], "")?;
        let measure = Measure::tokens(tokens.ids.iter().map(Vec::len));
        columns.push(ColumnStatistics { dtype: "string".to_owned(), measure });
    }
    if let Some(labels) = &dataset.labels {
        let width = labels.width();
        let values = &labels.values()[..rows * width];
        columns.push(if width > 1 {
            ColumnStatistics { dtype: "list".to_owned(), measure: Measure::Elements(width as u64) }
        } else if values.iter().all(|value| value.fract() == 0.0) {
            let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
            values.iter().for_each(|&value| *counts.entry(value as i64).or_default() += 1.0);
            let share = |(value, count): (i64, f64)| (value.to_string(), count / rows.max(1) as f64);
            let measure = Measure::Shares(counts.into_iter().map(share).collect());
            ColumnStatistics { dtype: "int".to_owned(), measure }
        } else {
            let measure = Measure::Numbers {
                min: rounded(values.iter().copied().fold(f64::INFINITY, f64::min)),
                mean: rounded(values.iter().sum::<f64>() / rows.max(1) as f64),
                max: rounded(values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            };
            ColumnStatistics { dtype: "float".to_owned(), measure }
        });
    }
    Ok(Statistics { rows, columns })
}

/// To two decimals, ties as the binary number lies.
fn rounded(x: f64) -> f64 {
    format!("{x:.2}").parse().unwrap_or(x)
}
