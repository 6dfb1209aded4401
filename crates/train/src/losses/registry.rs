//! Losses by name: of the class in sentence-transformers, or a short one.

use serde_json::{Map, Value};

use super::parameters::Parameters;
use super::{
    Angle, CoSent, Contrastive, CosineSimilarity, Gist, Loss, MarginMse, Matryoshka, Mse,
    MultipleNegativesRanking, MultipleNegativesSymmetricRanking, OnlineContrastive, Triplet,
};
use crate::{Error, Result};

type Build = fn(&mut Parameters<'_>) -> Result<Box<dyn Loss>>;

struct Entry {
    name: &'static str,
    short: &'static str,
    data: &'static str,
    build: Build,
}

const ENTRIES: [Entry; 15] = [
    Entry {
        name: "MultipleNegativesRankingLoss",
        short: "mnrl",
        data: "query, positive[, negatives]",
        build: |p| Ok(Box::new(MultipleNegativesRanking::from_parameters(p, false)?)),
    },
    Entry {
        name: "CachedMultipleNegativesRankingLoss",
        short: "cmnrl",
        data: "query, positive[, negatives]",
        build: |p| Ok(Box::new(MultipleNegativesRanking::from_parameters(p, true)?)),
    },
    Entry {
        name: "MultipleNegativesSymmetricRankingLoss",
        short: "symmetric-mnrl",
        data: "query, positive[, negatives]",
        build: |p| Ok(Box::new(MultipleNegativesSymmetricRanking::from_parameters(p, false)?)),
    },
    Entry {
        name: "CachedMultipleNegativesSymmetricRankingLoss",
        short: "symmetric-cmnrl",
        data: "query, positive[, negatives]",
        build: |p| Ok(Box::new(MultipleNegativesSymmetricRanking::from_parameters(p, true)?)),
    },
    Entry {
        name: "GISTEmbedLoss",
        short: "gist",
        data: "anchor, positive[, negative]; a guide model",
        build: |p| Ok(Box::new(Gist::from_parameters(p, false)?)),
    },
    Entry {
        name: "CachedGISTEmbedLoss",
        short: "cached-gist",
        data: "anchor, positive[, negatives]; a guide model",
        build: |p| Ok(Box::new(Gist::from_parameters(p, true)?)),
    },
    Entry {
        name: "CoSENTLoss",
        short: "cosent",
        data: "two texts, score",
        build: |p| Ok(Box::new(CoSent::from_parameters(p)?)),
    },
    Entry {
        name: "AnglELoss",
        short: "angle",
        data: "two texts, score; or anchor, positive, negatives",
        build: |p| Ok(Box::new(Angle::from_parameters(p)?)),
    },
    Entry {
        name: "CosineSimilarityLoss",
        short: "cosine-similarity",
        data: "two texts, score from -1 to 1",
        build: |p| Ok(Box::new(CosineSimilarity::from_parameters(p)?)),
    },
    Entry {
        name: "TripletLoss",
        short: "triplet",
        data: "anchor, positive, negative",
        build: |p| Ok(Box::new(Triplet::from_parameters(p)?)),
    },
    Entry {
        name: "ContrastiveLoss",
        short: "contrastive",
        data: "two texts, label 0 or 1",
        build: |p| Ok(Box::new(Contrastive::from_parameters(p)?)),
    },
    Entry {
        name: "OnlineContrastiveLoss",
        short: "online-contrastive",
        data: "two texts, label 0 or 1",
        build: |p| Ok(Box::new(OnlineContrastive::from_parameters(p)?)),
    },
    Entry {
        name: "MSELoss",
        short: "mse",
        data: "texts, the teacher's vector",
        build: |p| Ok(Box::new(Mse::from_parameters(p)?)),
    },
    Entry {
        name: "MarginMSELoss",
        short: "margin-mse",
        data: "query, positive, negatives, margins or scores",
        build: |p| Ok(Box::new(MarginMse::from_parameters(p)?)),
    },
    Entry {
        name: "MatryoshkaLoss",
        short: "matryoshka",
        data: "what the inner loss needs",
        build: |p| Ok(Box::new(Matryoshka::from_parameters(p)?)),
    },
];

/// A loss in words, for help texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The class of sentence-transformers.
    pub name: &'static str,
    /// The short name.
    pub short: &'static str,
    /// The columns and labels that it needs.
    pub data: &'static str,
    /// Parameters and their defaults; null stands for none.
    pub parameters: Vec<(&'static str, Value)>,
}

/// All losses.
pub fn catalogue() -> Vec<Description> {
    ENTRIES.iter().map(Entry::describe).collect()
}

impl Entry {
    fn describe(&self) -> Description {
        let none = Map::new();
        let mut parameters = Parameters::new(self.name, &none);
        // What is missing is an error only after all parameters were read; their names alone are wanted here.
        drop((self.build)(&mut parameters));
        let Self { name, short, data, .. } = *self;
        Description { name, short, data, parameters: parameters.known }
    }
}

/// The loss of that name, `MultipleNegativesRankingLoss` or `mnrl`, with `parameters` by their names in sentence-transformers and
/// the defaults for the rest. `MatryoshkaLoss` takes as `loss` a name, or an object `{"name": …, parameters}`.
///
/// # Errors
/// If there is no such loss or parameter, or a value is not valid; the message lists what there is.
pub fn from_name(name: &str, parameters: &Map<String, Value>) -> Result<Box<dyn Loss>> {
    let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name || entry.short == name) else {
        let names: Vec<String> =
            ENTRIES.iter().map(|entry| format!("{} ({})", entry.name, entry.short)).collect();
        return Err(Error::Argument(format!("there is no loss \"{name}\": use one of {}", names.join(", "))));
    };
    let known: Vec<&str> = entry.describe().parameters.into_iter().map(|(name, _)| name).collect();
    if let Some(unknown) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        let message = format!("{}: unknown parameter {unknown}: use {}", entry.name, known.join(", "));
        return Err(Error::Argument(message));
    }
    (entry.build)(&mut Parameters::new(entry.name, parameters))
}
