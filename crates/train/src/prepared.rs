//! Data sets as tokens, and batches of them as a step takes them.

use std::sync::atomic::AtomicBool;

use sentir_model::{SentenceTransformer, TokenizedTexts};
use sentir_vectors::Rows;

use crate::arguments::TrainingArguments;
use crate::data::Dataset;
use crate::losses::Loss;
use crate::samplers::Batch;
use crate::step::Column;
use crate::{Error, Result};

/// A data set, ready to be put into batches.
#[derive(Debug)]
pub(crate) struct Prepared {
    columns: Vec<TokenizedTexts>,
    guides: Option<Vec<Rows>>,
}

/// What a loss is computed from, beside the vectors.
pub(crate) struct Ready<'a> {
    pub columns: Vec<Column<'a>>,
    pub labels: Option<Rows>,
    pub guide: Option<Vec<Rows>>,
}

impl Prepared {
    /// All texts as tokens with their prompts; with a `guide` that the loss wants, its vectors of them too.
    pub(crate) fn all(
        datasets: &[Dataset],
        model: &SentenceTransformer,
        loss: &dyn Loss,
        guide: Option<&SentenceTransformer>,
        arguments: &TrainingArguments,
        interrupt: Option<&AtomicBool>,
    ) -> Result<Vec<Self>> {
        let guide = guide.filter(|_| loss.guide().is_some());
        let mut all = Vec::new();
        for dataset in datasets {
            let mut columns = Vec::new();
            let mut guides = Vec::new();
            for column in &dataset.columns {
                let prompt = arguments.prompt_of(datasets, dataset, &column.name)?;
                let tokens = model
                    .tokenize_texts(&column.texts, prompt)
                    .map_err(|error| in_column(error, dataset, &column.name))?;
                columns.push(tokens);
                if let Some(guide) = guide {
                    let options =
                        sentir_model::EncodeOptions { prompt: Some(prompt), interrupt, ..Default::default() };
                    guides.push(guide.encode(&column.texts, &options)?.embeddings);
                }
            }
            all.push(Self { columns, guides: loss.guide().is_some().then_some(guides) });
        }
        Ok(all)
    }

    /// The rows of a batch; `dataset` is the one that this was made of.
    pub(crate) fn batch(&self, dataset: &Dataset, batch: &Batch) -> Result<Ready<'_>> {
        let column = |texts| {
            let TokenizedTexts { ids, skip, .. }: &TokenizedTexts = texts;
            let ids = batch.rows.iter().map(|&row| ids[row as usize].as_slice()).collect();
            Column { ids, skip: *skip }
        };
        let labels = match &dataset.labels {
            Some(labels) => Some(labels.rows(&batch.rows)?),
            None => None,
        };
        let pick = |rows: &Rows| {
            let values = batch.rows.iter().flat_map(|&row| rows.row(row as usize).iter().copied());
            Rows::new(values.collect(), rows.width())
        };
        let guide = match &self.guides {
            Some(guides) => Some(guides.iter().map(pick).collect::<Result<Vec<_>, _>>()?),
            None => None,
        };
        Ok(Ready { columns: self.columns.iter().map(column).collect(), labels, guide })
    }
}

fn in_column(error: sentir_model::Error, dataset: &Dataset, column: &str) -> Error {
    match error {
        sentir_model::Error::Text { index, message } => {
            Error::Argument(format!("{}, row {}, column \"{column}\": {message}", dataset.name, index + 1))
        }
        other => other.into(),
    }
}
