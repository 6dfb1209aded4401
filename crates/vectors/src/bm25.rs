//! Okapi BM25: search by the words that texts share. Not by vectors: it is what an encoder has to beat.
//!
//! `score(query, document) = Σ idf(t) · tf·(k₁+1) / (tf + k₁·(1 − b + b·length/mean length))` over the terms `t` of the query,
//! a term that it has twice counted twice; `tf` is how often the document has the term (Robertson and Zaragoza 2009, "The
//! Probabilistic Relevance Framework: BM25 and Beyond", section 3.4). `idf(t) = ln(1 + (N − n + ½) / (n + ½))` for a term in `n`
//! of `N` documents: the weight of Robertson and Spärck Jones, with one added so that a term which most documents have does not
//! count against them, as in Lucene's `BM25Similarity`.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::top_k::Hit;

/// What texts are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terms {
    /// Lower-cased words: the longest runs of letters and digits, as Unicode has them.
    #[default]
    Words,
    /// All sequences of `shortest` to `longest` characters of those words, each with a space before and after it, so that
    /// beginnings and ends are told apart. Serves languages with many endings, and misspellings.
    Grams {
        /// At least 1.
        shortest: usize,
        /// At least `shortest`.
        longest: usize,
    },
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25Options {
    /// Default: words.
    pub terms: Terms,
    /// How much it counts that a term comes again: not at all with 0. Default: 1.2.
    pub k1: f64,
    /// How much long documents are held back, from 0, not at all, to 1. Default: 0.75.
    pub b: f64,
}

impl Default for Bm25Options {
    fn default() -> Self {
        Self { terms: Terms::Words, k1: 1.2, b: 0.75 }
    }
}

/// Documents, ready to be searched. It keeps what each document has of each term, not the texts.
#[derive(Debug, Clone)]
pub struct Bm25 {
    terms: Terms,
    rows: usize,
    /// For each term, the documents that have it and what it adds to their score, in the order of documents.
    postings: HashMap<String, Vec<(usize, f64)>>,
}

impl Bm25 {
    /// Indexes `texts`, the documents.
    ///
    /// # Errors
    /// If `k1` is negative or not finite, `b` not between 0 and 1, or the lengths of n-grams not an interval from 1 up.
    pub fn new<Text: AsRef<str>>(texts: &[Text], options: &Bm25Options) -> Result<Self> {
        let Bm25Options { terms, k1, b } = *options;
        if !(k1 >= 0.0 && k1.is_finite()) {
            return Err(Error::Setting(format!(
                "k1 of BM25 is {k1}: it must be a number from 0 up, usually 1.2"
            )));
        }
        if !(0.0..=1.0).contains(&b) {
            return Err(Error::Setting(format!(
                "b of BM25 is {b}: it must be between 0 and 1, usually 0.75"
            )));
        }
        if let Terms::Grams { shortest, longest } = terms
            && !(1..=longest).contains(&shortest)
        {
            let message =
                format!("no sequence has {shortest} to {longest} characters: use, for example, 3 to 5");
            return Err(Error::Setting(message));
        }
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let mut length = 0.0;
            each_term(text.as_ref(), terms, |term| {
                length += 1.0;
                let documents = match postings.get_mut(term) {
                    Some(documents) => documents,
                    None => postings.entry(term.to_owned()).or_default(),
                };
                match documents.last_mut() {
                    Some((last, count)) if *last == row => *count += 1.0,
                    _ => documents.push((row, 1.0)),
                }
            });
            lengths.push(length);
        }
        let rows = lengths.len();
        // There is a term only if there is a document with one: the mean is never that of no lengths, nor zero.
        let mean = lengths.iter().sum::<f64>() / rows as f64;
        for documents in postings.values_mut() {
            let n = documents.len() as f64;
            let idf = (1.0 + (rows as f64 - n + 0.5) / (n + 0.5)).ln();
            for (row, count) in documents {
                let slowed = k1 * (1.0 - b + b * lengths[*row] / mean);
                *count = idf * *count * (k1 + 1.0) / (*count + slowed);
            }
        }
        Ok(Self { terms, rows, postings })
    }

    /// Number of documents.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The `top_k` documents with the highest scores, best first; equal scores in the order of the documents. A document that
    /// shares no term with the query is not found, so there may be fewer.
    pub fn search(&self, query: &str, top_k: usize) -> Vec<Hit> {
        let mut scores = vec![0.0; self.rows];
        each_term(query, self.terms, |term| {
            for &(row, score) in self.postings.get(term).into_iter().flatten() {
                scores[row] += score;
            }
        });
        let found = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
        let mut hits: Vec<Hit> = found.map(|(index, score)| Hit { index, score: *score as f32 }).collect();
        hits.sort_by(|left, right| right.score.total_cmp(&left.score));
        hits.truncate(top_k);
        hits
    }
}

/// Calls `with` for each term of the text, in order.
/// Calls `with` for each word, as [`Terms::Words`] has them.
pub(crate) fn words(text: &str, with: impl FnMut(&str)) {
    each_term(text, Terms::Words, with);
}

fn each_term(text: &str, terms: Terms, mut with: impl FnMut(&str)) {
    let text = text.to_lowercase();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let Terms::Grams { shortest, longest } = terms else {
            with(word);
            continue;
        };
        let padded = format!(" {word} ");
        let bounds: Vec<usize> = padded.char_indices().map(|(at, _)| at).chain([padded.len()]).collect();
        for length in shortest..=longest.min(bounds.len() - 1) {
            for start in 0..bounds.len() - length {
                with(&padded[bounds[start]..bounds[start + length]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = ["The cat sat; the CAT slept.", "A dog", "the dog and a cat", ""];

    fn terms(text: &str, terms: Terms) -> Vec<String> {
        let mut found = Vec::new();
        each_term(text, terms, |term| found.push(term.to_owned()));
        found
    }

    #[test]
    fn words_and_grams() {
        assert_eq!(terms("Ёлка №12, straße—été_X!", Terms::Words), ["ёлка", "12", "straße", "été", "x"]);
        assert_eq!(terms("Да, 3", Terms::Grams { shortest: 3, longest: 4 }), [" да", "да ", " да ", " 3 "]);
        assert_eq!(terms("a", Terms::Grams { shortest: 4, longest: 9 }), [""; 0]);
        assert_eq!(terms(" .,\n", Terms::Words), [""; 0]);
    }

    /// Lengths 6, 2, 5 and 0, mean 3.25; "cat" is in two of four documents, "dog" in two, "slept" in one.
    #[test]
    fn scores_by_hand() {
        let index = Bm25::new(&TEXTS, &Bm25Options::default()).unwrap();
        assert_eq!(index.rows(), 4);
        let (two, one) = (2.0_f64.ln(), (1.0 + 3.5 / 1.5_f64).ln());
        let score =
            |idf: f64, tf: f64, length: f64| idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / 3.25));
        let expect = |query: &str, expected: &[(usize, f64)]| {
            let hits = index.search(query, 9);
            assert_eq!(
                hits.iter().map(|hit| hit.index).collect::<Vec<_>>(),
                expected.iter().map(|e| e.0).collect::<Vec<_>>()
            );
            for (hit, (_, expected)) in hits.iter().zip(expected) {
                assert!((f64::from(hit.score) - expected).abs() < 1e-6, "{query}: {hit:?} is not {expected}");
            }
        };
        expect("cat", &[(0, score(two, 2.0, 6.0)), (2, score(two, 1.0, 5.0))]);
        // 0.6931·2·2.2/(2+0.3+5.4/3.25) = 3.04985 / 3.96154
        assert!((f64::from(index.search("cat", 1)[0].score) - 0.769_86).abs() < 1e-5);
        expect("Dog?", &[(1, score(two, 1.0, 2.0)), (2, score(two, 1.0, 5.0))]);
        let both = score(two, 1.0, 5.0) * 2.0;
        let slept = score(one, 1.0, 6.0) + score(two, 2.0, 6.0);
        expect("cat dog slept", &[(0, slept), (2, both), (1, score(two, 1.0, 2.0))]);
        // What the query repeats counts again.
        expect("slept slept", &[(0, 2.0 * score(one, 1.0, 6.0))]);
        expect("horse", &[]);
        expect("", &[]);
    }

    #[test]
    fn equal_scores_are_in_the_order_of_the_documents() {
        let index =
            Bm25::new(&["b", "a", "a a", "a"], &Bm25Options { b: 0.0, k1: 0.0, ..Bm25Options::default() });
        let index = index.unwrap();
        let rows = |top_k| index.search("a", top_k).iter().map(|hit| hit.index).collect::<Vec<_>>();
        assert_eq!((rows(9), rows(2), rows(0)), (vec![1, 2, 3], vec![1, 2], vec![]));
        // A term that all documents have does not count against them.
        let common = Bm25::new(&["a", "a"], &Bm25Options::default()).unwrap();
        assert_eq!(common.search("a", 9).len(), 2);
        assert!(Bm25::new(&[""; 0], &Bm25Options::default()).unwrap().search("a", 9).is_empty());
        assert!(Bm25::new(&[""; 3], &Bm25Options::default()).unwrap().search("", 9).is_empty());
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let grams = |shortest, longest| Bm25Options {
            terms: Terms::Grams { shortest, longest },
            ..Bm25Options::default()
        };
        for (options, expected) in [
            (Bm25Options { k1: -0.1, ..Bm25Options::default() }, "k1 of BM25 is -0.1"),
            (Bm25Options { k1: f64::INFINITY, ..Bm25Options::default() }, "k1 of BM25 is inf"),
            (Bm25Options { b: f64::NAN, ..Bm25Options::default() }, "b of BM25 is NaN"),
            (Bm25Options { b: 1.5, ..Bm25Options::default() }, "b of BM25 is 1.5"),
            (grams(0, 3), "0 to 3 characters"),
            (grams(4, 3), "4 to 3 characters"),
        ] {
            let error = Bm25::new(&TEXTS, &options).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
