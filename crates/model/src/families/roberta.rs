//! RoBERTa (<https://arxiv.org/abs/1907.11692>) and XLM-RoBERTa (<https://arxiv.org/abs/1911.02116>): BERT whose positions
//! begin after that of the padding token (transformers, `models/roberta`, `models/xlm_roberta`).

use super::{Family, Names, bert};
use crate::shape::Counting;

pub(super) const FAMILY: Family = Family {
    model_types: &["roberta", "xlm-roberta"],
    names: Names { prefixes: &["", "roberta."], ..bert::NAMES },
    counting: |padding| Counting::AfterPadding { padding },
};
