//! The models that divide words: those of the crate `tokenizers`, and `unigram` of our own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::TrainerWrapper;
use tokenizers::{Model, ModelWrapper, Result, Token};

use super::unigram::Unigram;

pub(super) enum AnyModel {
    Unigram(Unigram),
    Other(ModelWrapper),
}

impl AnyModel {
    /// Its kind, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unigram(_) | Self::Other(ModelWrapper::Unigram(_)) => "Unigram",
            Self::Other(ModelWrapper::BPE(_)) => "BPE",
            Self::Other(ModelWrapper::WordPiece(_)) => "WordPiece",
            Self::Other(ModelWrapper::WordLevel(_)) => "WordLevel",
        }
    }
}

impl From<ModelWrapper> for AnyModel {
    fn from(model: ModelWrapper) -> Self {
        Self::Other(model)
    }
}

/// Hands on to whichever it is.
macro_rules! hand_on {
    ($self:ident.$method:ident($($argument:ident),*)) => {
        match $self {
            AnyModel::Unigram(model) => model.$method($($argument),*),
            AnyModel::Other(model) => model.$method($($argument),*),
        }
    };
}

impl Model for AnyModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, text: &str) -> Result<Vec<Token>> {
        hand_on!(self.tokenize(text))
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        hand_on!(self.token_to_id(token))
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        hand_on!(self.id_to_token(id))
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        hand_on!(self.get_vocab())
    }

    fn get_vocab_size(&self) -> usize {
        hand_on!(self.get_vocab_size())
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        hand_on!(self.save(folder, prefix))
    }

    fn get_trainer(&self) -> TrainerWrapper {
        hand_on!(self.get_trainer())
    }
}
