//! The texts of `sentir demo`: the support desk of Verba, a service for audiobooks that does not exist. 120 questions with
//! answers, eight paraphrases of each to learn from, and questions of users that no model has seen in training.
//!
//! Paraphrases and held-out questions were written by hand, with typing errors and slang as they come. Here too is what retrieval is
//! measured with: a held-out question is to find its entry among the 120 by the questions of the entries alone.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use sentir_model::SentenceTransformer;
use sentir_vectors::bm25::{Bm25, Bm25Options};
use sentir_vectors::metrics::retrieval::{Cutoffs, retrieval};
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, TextColumn};
use crate::evaluate::{Evaluator, InformationRetrieval, Query, Watch};
use crate::{Error, Result};

/// The languages that there are texts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// English, `en`.
    English,
    /// Russian, `ru`.
    Russian,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Russian];

    /// The code of ISO 639-1.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
        }
    }

    /// Knowledge base, paraphrases and held-out questions, a JSON object a line.
    fn files(self) -> [(&'static str, &'static str); 3] {
        macro_rules! file {
            ($name:literal) => {
                ($name, include_str!(concat!("../demo/", $name)))
            };
        }
        match self {
            Self::English => {
                [file!("knowledge-base-en.jsonl"), file!("paraphrases-en.jsonl"), file!("questions-en.jsonl")]
            }
            Self::Russian => {
                [file!("knowledge-base-ru.jsonl"), file!("paraphrases-ru.jsonl"), file!("questions-ru.jsonl")]
            }
        }
    }
}

/// An entry of the knowledge base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// What is answered.
    pub answer: String,
}

/// A text that belongs to an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The id of the entry.
    pub id: String,
    /// The text.
    pub text: String,
}

/// How well held-out questions find their entries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// The part of questions whose entry comes first.
    #[serde(rename = "accuracy@1")]
    pub accuracy: f64,
    /// The mean of 1 / rank of the entry, 0 beyond the tenth.
    #[serde(rename = "mrr@10")]
    pub mrr: f64,
}

/// All texts of a language.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The knowledge base.
    pub entries: Vec<Entry>,
    /// What is learned from.
    pub paraphrases: Vec<Text>,
    /// What is measured with.
    pub held_out: Vec<Text>,
}

impl Demo {
    /// The texts of `language`.
    ///
    /// # Errors
    /// If one of the files of this program is not what it must be.
    pub fn of(language: Language) -> Result<Self> {
        let [entries, paraphrases, held_out] = language.files();
        Ok(Self { entries: lines(entries)?, paraphrases: lines(paraphrases)?, held_out: lines(held_out)? })
    }

    /// What is trained on: each question with its answer, and with each of its paraphrases.
    ///
    /// # Errors
    /// If a paraphrase belongs to no entry.
    pub fn pairs(&self) -> Result<Dataset> {
        let rows = self.rows();
        let mut pairs: Vec<(&str, &str)> =
            self.entries.iter().map(|entry| (&*entry.question, &*entry.answer)).collect();
        for paraphrase in &self.paraphrases {
            let row = *rows.get(&*paraphrase.id).ok_or_else(|| unknown(paraphrase))?;
            pairs.push((&self.entries[row].question, &paraphrase.text));
        }
        let column = |name: &str, texts: Vec<&str>| TextColumn {
            name: name.to_owned(),
            texts: texts.into_iter().map(str::to_owned).collect(),
        };
        let (questions, texts) = pairs.into_iter().unzip();
        Dataset::new("demo", vec![column("anchor", questions), column("positive", texts)], None)
    }

    /// How well `model` finds the entries of the held-out questions.
    ///
    /// # Errors
    /// If something cannot be encoded; [`Error::Interrupted`] soon after `interrupt` became true.
    pub fn measure(&self, model: &SentenceTransformer, interrupt: Option<&AtomicBool>) -> Result<Scores> {
        let query = |(i, text): (usize, &Text)| Query {
            id: (i + 1).to_string(),
            text: text.text.clone(),
            relevant: vec![text.id.clone()],
        };
        let queries = self.held_out.iter().enumerate().map(query).collect();
        let corpus = self.entries.iter().map(|entry| (entry.id.clone(), entry.question.clone())).collect();
        let metrics = InformationRetrieval::new("", queries, corpus)?
            .evaluate(model, Watch { interrupt, progress: None })?;
        Ok(Scores::of(&metrics, &format!("{}_", model.similarity_function())))
    }

    /// How well the words that questions share with entries find them ([`Bm25`]).
    ///
    /// # Errors
    /// If a held-out question belongs to no entry.
    pub fn measure_bm25(&self) -> Result<Scores> {
        let questions: Vec<&str> = self.entries.iter().map(|entry| &*entry.question).collect();
        let index = Bm25::new(&questions, &Bm25Options::default())?;
        let (cutoffs, rows) = (Cutoffs::default(), self.rows());
        let (mut rankings, mut relevant) = (Vec::new(), Vec::new());
        for text in &self.held_out {
            let hits = index.search(&text.text, cutoffs.depth());
            rankings.push(hits.iter().map(|hit| hit.index).collect::<Vec<_>>());
            relevant.push([*rows.get(&*text.id).ok_or_else(|| unknown(text))?]);
        }
        Ok(Scores::of(&retrieval(&rankings, &relevant, &cutoffs)?, ""))
    }

    fn rows(&self) -> HashMap<&str, usize> {
        self.entries.iter().enumerate().map(|(row, entry)| (&*entry.id, row)).collect()
    }
}

impl Scores {
    fn of(metrics: &[(String, f64)], prefix: &str) -> Self {
        let get = |name: &str| {
            let name = format!("{prefix}{name}");
            metrics.iter().find(|(own, _)| *own == name).map_or(f64::NAN, |(_, value)| *value)
        };
        Self { accuracy: get("accuracy@1"), mrr: get("mrr@10") }
    }
}

fn unknown(text: &Text) -> Error {
    Error::Argument(format!("\"{}\" belongs to \"{}\", which is no entry", text.text, text.id))
}

fn lines<T: for<'de> Deserialize<'de>>((name, text): (&str, &str)) -> Result<Vec<T>> {
    let parse = |(i, line)| {
        serde_json::from_str(line).map_err(|error| Error::Data {
            path: name.into(),
            row: Some(i + 1),
            message: error.to_string(),
        })
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Lower-cased words.
    fn words(text: &str) -> HashSet<String> {
        text.to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_texts_are_what_is_said_of_them() {
        for language in Language::ALL {
            let demo = Demo::of(language).unwrap();
            let code = language.code();
            assert_eq!(demo.entries.len(), 120, "{code}");
            assert!(demo.held_out.len() >= 200, "{code}: {}", demo.held_out.len());
            let rows = demo.rows();
            assert_eq!(rows.len(), 120, "{code}: ids differ");
            let mut counts = vec![0; 120];
            demo.paraphrases.iter().for_each(|text| counts[rows[&*text.id]] += 1);
            assert!(counts.iter().all(|&count| count == 8), "{code}: {counts:?}");
            let mut seen = HashSet::new();
            for text in demo.paraphrases.iter().chain(&demo.held_out) {
                assert!(seen.insert(&text.text), "{code}: twice: {}", text.text);
            }
            assert!(demo.entries.iter().all(|entry| !entry.answer.trim().is_empty()));
        }
    }

    /// What is measured with must not be learned by heart: of all words of two texts, at most seven of ten are common to them.
    #[test]
    fn held_out_questions_are_no_copies_of_what_is_learned_from() {
        for language in Language::ALL {
            let demo = Demo::of(language).unwrap();
            let known = demo.entries.iter().map(|entry| &entry.question);
            let known: Vec<(&String, HashSet<String>)> = known
                .chain(demo.paraphrases.iter().map(|text| &text.text))
                .map(|text| (text, words(text)))
                .collect();
            for text in &demo.held_out {
                let own = words(&text.text);
                for (other, words) in &known {
                    let common = own.intersection(words).count();
                    let all = own.len() + words.len() - common;
                    assert!(common * 10 <= all * 7, "{:?} and {other:?}", text.text);
                }
            }
        }
    }
}
