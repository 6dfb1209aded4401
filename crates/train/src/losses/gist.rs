//! In-batch negatives, of which a guide model removes those that it takes for positives (GISTEmbed).
//!
//! Cross-entropy over `cos / temperature` of anchor i with all positives, with all anchors (`contrast_anchors`), with all
//! negatives, and of positive i with all positives (`contrast_positives`); left out is what the guide finds more similar than the
//! pair i, less a margin (`gist_embed.py`, `cached_gist_embed.py`; Solatorio 2024, arXiv 2402.16829).

use serde_json::{Value, json};

use super::pairs::name_of;
use super::parameters::Parameters;
use super::softmax::{Columns, Comparison, log_sum_exp};
use super::{Batch, Cached, Config, Gradients, Loss, check_columns, error, gradients, same_shape};
use crate::Result;

/// How far below the similarity of the pair others must stay, in the eyes of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarginStrategy {
    /// `pair − margin`
    #[default]
    Absolute,
    /// `pair − |pair| margin`
    Relative,
}

const STRATEGIES: [(&str, MarginStrategy); 2] =
    [("absolute", MarginStrategy::Absolute), ("relative", MarginStrategy::Relative)];
/// The least length in `torch.nn.CosineSimilarity`.
const LEAST: f64 = 1e-8;

/// `GISTEmbedLoss`: columns anchor, positive and, if there is one, negative; the cached form takes several negatives.
/// [`Batch::guide`] must have the vectors of the guide. Labels are not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Gist {
    /// The directory or name of the guide model.
    pub guide: String,
    /// Above zero. Default: 0.01.
    pub temperature: f64,
    /// Default: absolute.
    pub margin_strategy: MarginStrategy,
    /// Default: 0.
    pub margin: f64,
    /// Default: yes.
    pub contrast_anchors: bool,
    /// Default: yes.
    pub contrast_positives: bool,
    /// Whether, and how, the network works in mini-batches. Default: not.
    pub cached: Option<Cached>,
}

impl Gist {
    /// The defaults, with a guide.
    pub fn new(guide: impl Into<String>) -> Self {
        Self {
            guide: guide.into(),
            temperature: 0.01,
            margin_strategy: MarginStrategy::Absolute,
            margin: 0.0,
            contrast_anchors: true,
            contrast_positives: true,
            cached: None,
        }
    }

    pub(super) fn from_parameters(parameters: &mut Parameters<'_>, cached: bool) -> Result<Self> {
        let guide = parameters.get("guide", Value::Null).and_then(Value::as_str);
        let temperature = parameters.positive("temperature", 0.01)?;
        let cached = parameters.cached(cached)?;
        let margin_strategy = parameters.choice("margin_strategy", &STRATEGIES)?;
        let margin = parameters.number("margin", 0.0)?;
        let contrast_anchors = parameters.flag("contrast_anchors", true)?;
        let contrast_positives = parameters.flag("contrast_positives", true)?;
        parameters.one_device()?;
        let guide =
            guide.ok_or_else(|| parameters.wrong("guide", "the directory or name of the guide model"))?;
        let guide = guide.to_owned();
        Ok(Self { guide, temperature, margin_strategy, margin, contrast_anchors, contrast_positives, cached })
    }

    /// In the order of sentence-transformers.
    fn comparisons(&self, columns: usize) -> Vec<Comparison> {
        let mut all = vec![[0, 1]];
        all.extend(self.contrast_anchors.then_some([0, 0]));
        all.extend(self.contrast_positives.then_some([1, 1]));
        all.extend((2..columns).map(|negative| [0, negative]));
        all
    }

    /// The loss of row `i`, and its derivatives in the place of the similarities.
    fn row(&self, i: usize, similarities: &mut [&mut [f32]], guides: &[&mut [f32]], batch: usize) -> f64 {
        let pair = f64::from(guides[0][i]);
        let most = match self.margin_strategy {
            MarginStrategy::Absolute => pair - self.margin,
            MarginStrategy::Relative => pair - pair.abs() * self.margin,
        };
        let is_positive = |matrix: usize, j: usize| matrix == 0 && i == j;
        let score = |matrix: usize, j: usize, similarity: f32| {
            if f64::from(guides[matrix][j]) > most && !is_positive(matrix, j) {
                f64::NEG_INFINITY
            } else {
                f64::from(similarity) / self.temperature
            }
        };
        let scores = similarities
            .iter()
            .enumerate()
            .flat_map(|(m, row)| row.iter().enumerate().map(move |(j, &s)| score(m, j, s)));
        let log_z = log_sum_exp(scores);
        let loss = log_z - score(0, i, similarities[0][i]);
        for (matrix, row) in similarities.iter_mut().enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                let positive = f64::from(u8::from(is_positive(matrix, j)));
                let probability = (score(matrix, j, *x) - log_z).exp();
                *x = ((probability - positive) / self.temperature / batch as f64) as f32;
            }
        }
        loss
    }
}

impl Loss for Gist {
    fn name(&self) -> &'static str {
        if self.cached.is_some() { "CachedGISTEmbedLoss" } else { "GISTEmbedLoss" }
    }

    fn config(&self) -> Config {
        let mut config = vec![("guide", json!(self.guide)), ("temperature", json!(self.temperature))];
        if let Some(cached) = self.cached {
            config.push(("mini_batch_size", json!(cached.texts)));
            config.push(("mini_batch_num_tokens", json!(cached.tokens)));
        }
        config.extend([
            ("margin_strategy", json!(name_of(&STRATEGIES, self.margin_strategy))),
            ("margin", json!(self.margin)),
            ("contrast_anchors", json!(self.contrast_anchors)),
            ("contrast_positives", json!(self.contrast_positives)),
            ("gather_across_devices", json!(false)),
        ]);
        config
    }

    fn check(&self, columns: usize, _: bool) -> Result<()> {
        if self.temperature.is_nan() || self.temperature <= 0.0 {
            return Err(error(self, "temperature must be above zero".to_owned()));
        }
        if self.cached.is_some() {
            let roles = "at least two text columns: anchor, positive and, if there are any, negatives";
            check_columns(self, columns, usize::MAX, roles, 2)
        } else {
            let roles = "two or three text columns: anchor, positive, negative (CachedGISTEmbedLoss takes more negatives)";
            check_columns(self, columns, 3, roles, 2)
        }
    }

    fn guide(&self) -> Option<&str> {
        Some(&self.guide)
    }

    fn in_batch_negatives(&self) -> bool {
        true
    }

    fn cached(&self) -> Option<Cached> {
        self.cached
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let guides =
            batch.guide.ok_or_else(|| error(self, "it needs the vectors of the guide model".to_owned()))?;
        if guides.len() != batch.columns.len() || same_shape(self, "the guide's column", guides)?[0] != rows {
            let got = format!("{} columns of {} rows", guides.len(), guides.first().map_or(0, |g| g.rows()));
            return Err(error(self, format!("the guide gave {got} for {} of {rows}", batch.columns.len())));
        }
        let comparisons = self.comparisons(guides.len());
        let guides = Columns::new(guides, Some(LEAST), &comparisons)?;
        let row = |i: usize, similarities: &mut [&mut [f32]], guides: &[&mut [f32]]| {
            self.row(i, similarities, guides, rows)
        };
        let (value, sums) = Columns::sum(batch.columns, Some(LEAST), &comparisons, Some(&guides), row)?;
        gradients(value / rows as f64, sums, width)
    }
}
