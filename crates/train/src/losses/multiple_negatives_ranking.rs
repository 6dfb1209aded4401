//! In-batch negatives (InfoNCE): of all texts of a batch, a query's own document should be the most similar.
//!
//! `loss = −1/B Σ_i (s⁺_i − log Z_i)`, with Z_i the sum of exp over the scores of the chosen directions, joint or per direction
//! (`multiple_negatives_ranking.py`; van den Oord et al. 2018, arXiv 1807.03748; directions: Li et al. 2023, arXiv 2308.03281;
//! hardness: Lan et al. 2025, arXiv 2503.04812, equation 5). [`Cached`] makes it `CachedMultipleNegativesRankingLoss`.

use serde_json::{Value, json};

use super::pairs::name_of;
use super::parameters::Parameters;
use super::softmax::{Columns, Comparison, log_sum_exp};
use super::{Batch, Cached, Config, Gradients, Loss, check_columns, gradients};
use crate::{Error, Result};

/// What is compared with what. `query` is column 0, documents are the others, column 1 being the positives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A query with all documents, its own positive among them.
    QueryToDoc,
    /// A query with all other queries.
    QueryToQuery,
    /// The positive with all queries.
    DocToQuery,
    /// The positive with all documents of other queries.
    DocToDoc,
}

/// Over what a softmax is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartitionMode {
    /// One over all directions.
    #[default]
    Joint,
    /// One per direction; their logarithms are averaged.
    PerDirection,
}

/// Which documents get a penalty for being similar to the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardnessMode {
    /// Those of other queries.
    InBatchNegatives,
    /// The hard negatives of the query itself.
    HardNegatives,
    /// Both.
    AllNegatives,
}

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RankingSimilarity {
    /// `cos_sim`
    #[default]
    Cosine,
    /// `dot_score`
    Dot,
}

const DIRECTIONS: [(&str, Direction); 4] = [
    ("query_to_doc", Direction::QueryToDoc),
    ("query_to_query", Direction::QueryToQuery),
    ("doc_to_query", Direction::DocToQuery),
    ("doc_to_doc", Direction::DocToDoc),
];
const PARTITION_MODES: [(&str, PartitionMode); 2] =
    [("joint", PartitionMode::Joint), ("per_direction", PartitionMode::PerDirection)];
const HARDNESS_MODES: [(&str, HardnessMode); 3] = [
    ("in_batch_negatives", HardnessMode::InBatchNegatives),
    ("hard_negatives", HardnessMode::HardNegatives),
    ("all_negatives", HardnessMode::AllNegatives),
];
const SIMILARITIES: [(&str, RankingSimilarity); 2] =
    [("cos_sim", RankingSimilarity::Cosine), ("dot_score", RankingSimilarity::Dot)];

/// `MultipleNegativesRankingLoss`: columns query, positive, any number of hard negatives; labels are not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct MultipleNegativesRanking {
    /// Factor of similarities, the inverse of a temperature, above zero. Default: 20.
    pub scale: f64,
    /// Default: cosine.
    pub similarity: RankingSimilarity,
    /// With [`Direction::QueryToDoc`] among them. Default: that alone.
    pub directions: Vec<Direction>,
    /// Default: joint. Per direction, the directions must each contain the positive pair: query to doc and doc to query.
    pub partition_mode: PartitionMode,
    /// Default: none.
    pub hardness_mode: Option<HardnessMode>,
    /// Factor α of the penalty α·similarity, which has no gradient and no scale; not negative. Default: 0.
    pub hardness_strength: f64,
    /// Whether, and how, the network works in mini-batches. Default: not.
    pub cached: Option<Cached>,
}

impl Default for MultipleNegativesRanking {
    fn default() -> Self {
        Self {
            scale: 20.0,
            similarity: RankingSimilarity::Cosine,
            directions: vec![Direction::QueryToDoc],
            partition_mode: PartitionMode::Joint,
            hardness_mode: None,
            hardness_strength: 0.0,
            cached: None,
        }
    }
}

impl MultipleNegativesRanking {
    pub(super) fn from_parameters(parameters: &mut Parameters<'_>, cached: bool) -> Result<Self> {
        let mut loss = Self::base(parameters, cached)?;
        let default = json!(["query_to_doc"]);
        if let Some(value) = parameters.get("directions", default) {
            let names = match value {
                Value::Array(names) => names.as_slice(),
                name => std::slice::from_ref(name),
            };
            let direction = |name| parameters.one_of("directions", name, &DIRECTIONS);
            loss.directions = names.iter().map(direction).collect::<Result<_>>()?;
        }
        loss.partition_mode = parameters.choice("partition_mode", &PARTITION_MODES)?;
        loss.hardness_mode = match parameters.get("hardness_mode", Value::Null) {
            None | Some(Value::Null) => None,
            Some(value) => Some(parameters.one_of("hardness_mode", value, &HARDNESS_MODES)?),
        };
        loss.hardness_strength = parameters.number("hardness_strength", 0.0)?;
        loss.valid()?;
        Ok(loss)
    }

    /// The parameters that the symmetric form has too.
    pub(super) fn base(parameters: &mut Parameters<'_>, cached: bool) -> Result<Self> {
        let scale = parameters.positive("scale", 20.0)?;
        let similarity = parameters.choice("similarity_fct", &SIMILARITIES)?;
        let cached = parameters.cached(cached)?;
        parameters.one_device()?;
        Ok(Self { scale, similarity, cached, ..Self::default() })
    }

    /// What the constructor of sentence-transformers checks.
    fn valid(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::Argument(format!("{}: {message}", self.name())));
        let per_direction = self.partition_mode == PartitionMode::PerDirection;
        let without_positive = [Direction::QueryToQuery, Direction::DocToDoc];
        if self.scale.is_nan() || self.scale <= 0.0 {
            wrong("scale must be above zero")
        } else if !self.directions.contains(&Direction::QueryToDoc) {
            wrong("directions must contain query_to_doc, which has the positive pair")
        } else if per_direction
            && self.directions.iter().any(|direction| without_positive.contains(direction))
        {
            wrong(
                "partition_mode per_direction goes with the directions query_to_doc and doc_to_query only, since the others \
                 have no positive pair: use partition_mode joint",
            )
        } else if self.hardness_strength.is_nan() || self.hardness_strength < 0.0 {
            wrong("hardness_strength must not be negative")
        } else {
            Ok(())
        }
    }

    /// The comparisons of all directions in the order of sentence-transformers, each with its direction.
    fn comparisons(&self, columns: usize) -> (Vec<Comparison>, Vec<Direction>) {
        let documents = || 1..columns;
        let chosen = DIRECTIONS.iter().filter(|(_, direction)| self.directions.contains(direction));
        let all = chosen.flat_map(|&(_, direction)| -> Vec<(Comparison, Direction)> {
            match direction {
                Direction::QueryToDoc => documents().map(|d| ([0, d], direction)).collect(),
                Direction::QueryToQuery => vec![([0, 0], direction)],
                Direction::DocToQuery => vec![([1, 0], direction)],
                Direction::DocToDoc => documents().map(|d| ([1, d], direction)).collect(),
            }
        });
        all.unzip()
    }

    /// The factor α of the similarity of query i with document j of column `column`.
    fn hardness(&self, column: usize, is_own: bool) -> f64 {
        let applies = match self.hardness_mode {
            None => false,
            Some(HardnessMode::InBatchNegatives) => !is_own,
            Some(HardnessMode::HardNegatives) => is_own && column > 1,
            Some(HardnessMode::AllNegatives) => !is_own || column > 1,
        };
        if applies { self.hardness_strength } else { 0.0 }
    }

    /// The loss of row `i`, and its derivatives in the place of the similarities.
    fn row(
        &self,
        i: usize,
        comparisons: &[Comparison],
        directions: &[Direction],
        similarities: &mut [&mut [f32]],
        batch: usize,
    ) -> f64 {
        // exp(score − log Z) with the logarithm of the direction.
        let score = |matrix: usize, j: usize, similarity: f32| -> f64 {
            let direction = directions[matrix];
            if i == j && matches!(direction, Direction::QueryToQuery | Direction::DocToDoc) {
                return f64::NEG_INFINITY;
            }
            let hardness = match direction {
                Direction::QueryToDoc => self.hardness(comparisons[matrix][1], i == j),
                _ => 0.0,
            };
            f64::from(similarity) * (self.scale + hardness)
        };
        let scores = |direction: Option<Direction>| {
            let matrices = similarities.iter().enumerate();
            let chosen =
                matrices.filter(move |(m, _)| direction.is_none_or(|direction| directions[*m] == direction));
            chosen.flat_map(move |(m, row)| row.iter().enumerate().map(move |(j, &s)| score(m, j, s)))
        };
        let parts: Vec<(Option<Direction>, f64)> = match self.partition_mode {
            PartitionMode::Joint => vec![(None, log_sum_exp(scores(None)))],
            PartitionMode::PerDirection => {
                let mut different = directions.to_vec();
                different.dedup();
                different.into_iter().map(|d| (Some(d), log_sum_exp(scores(Some(d))))).collect()
            }
        };
        let share = 1.0 / parts.len() as f64;
        let loss =
            share * parts.iter().map(|(_, log_z)| log_z).sum::<f64>() - score(0, i, similarities[0][i]);
        for (matrix, row) in similarities.iter_mut().enumerate() {
            let part = parts.iter().find(|(part, _)| part.is_none_or(|part| part == directions[matrix]));
            let log_z = part.map_or(f64::INFINITY, |(_, log_z)| *log_z);
            for (j, x) in row.iter_mut().enumerate() {
                let positive = f64::from(u8::from(matrix == 0 && i == j));
                let probability = (score(matrix, j, *x) - log_z).exp() * share;
                *x = ((probability - positive) * self.scale / batch as f64) as f32;
            }
        }
        loss
    }
}

impl Loss for MultipleNegativesRanking {
    fn name(&self) -> &'static str {
        match self.cached {
            None => "MultipleNegativesRankingLoss",
            Some(_) => "CachedMultipleNegativesRankingLoss",
        }
    }

    fn config(&self) -> Config {
        let directions: Vec<&str> = self.directions.iter().map(|&d| name_of(&DIRECTIONS, d)).collect();
        let mut config = vec![
            ("scale", json!(self.scale)),
            ("similarity_fct", json!(name_of(&SIMILARITIES, self.similarity))),
        ];
        if let Some(cached) = self.cached {
            config.push(("mini_batch_size", json!(cached.texts)));
            config.push(("mini_batch_num_tokens", json!(cached.tokens)));
        }
        config.extend([
            ("gather_across_devices", json!(false)),
            ("directions", json!(directions)),
            ("partition_mode", json!(name_of(&PARTITION_MODES, self.partition_mode))),
            ("hardness_mode", json!(self.hardness_mode.map(|mode| name_of(&HARDNESS_MODES, mode)))),
            ("hardness_strength", json!(self.hardness_strength)),
        ]);
        config
    }

    fn check(&self, columns: usize, _: bool) -> Result<()> {
        self.valid()?;
        let roles = "at least two text columns: query, positive and, if there are any, hard negatives";
        check_columns(self, columns, usize::MAX, roles, 2)
    }

    fn in_batch_negatives(&self) -> bool {
        true
    }

    fn cached(&self) -> Option<Cached> {
        self.cached
    }

    fn compute(&self, batch: Batch<'_>) -> Result<Gradients> {
        let [rows, width] = batch.shape(self)?;
        let (comparisons, directions) = self.comparisons(batch.columns.len());
        let least = (self.similarity == RankingSimilarity::Cosine).then_some(1e-12);
        let (value, sums) = Columns::sum(batch.columns, least, &comparisons, None, |i, similarities, _| {
            self.row(i, &comparisons, &directions, similarities, rows)
        })?;
        gradients(value / rows as f64, sums, width)
    }
}
