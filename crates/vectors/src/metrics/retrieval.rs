//! How good rankings are, given which documents are relevant: the metrics of `InformationRetrievalEvaluator` of
//! sentence-transformers 6.2 (`sentence_transformer/evaluation/information_retrieval.py`). Where rankings come from is not
//! known here; a document is its row in the corpus.

use std::collections::HashSet;

use crate::error::{Error, Result};

/// Up to which ranks each metric looks: the `k` of its name. The defaults are those of sentence-transformers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutoffs {
    /// Default: 1, 3, 5, 10.
    pub accuracy: Vec<usize>,
    /// Default: 1, 3, 5, 10.
    pub precision_recall: Vec<usize>,
    /// Default: 10.
    pub ndcg: Vec<usize>,
    /// Default: 10.
    pub mrr: Vec<usize>,
    /// Default: 100.
    pub map: Vec<usize>,
}

impl Default for Cutoffs {
    fn default() -> Self {
        let few = vec![1, 3, 5, 10];
        Self { accuracy: few.clone(), precision_recall: few, ndcg: vec![10], mrr: vec![10], map: vec![100] }
    }
}

impl Cutoffs {
    /// How long a ranking must be for all metrics: the largest of all cutoffs.
    pub fn depth(&self) -> usize {
        self.all().copied().max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &usize> {
        [&self.accuracy, &self.precision_recall, &self.ndcg, &self.mrr, &self.map].into_iter().flatten()
    }
}

/// The ranking of one query with each document judged.
#[derive(Debug)]
struct Judged {
    /// Of each rank, whether its document is relevant.
    hits: Vec<bool>,
    /// How many documents are relevant, found or not; at least one.
    relevant: usize,
}

impl Judged {
    /// `ranking`: rows of documents, best first, none twice. `relevant`: rows of the relevant ones, in any order, at least
    /// one; twice is as good as once.
    ///
    /// # Errors
    /// A sentence on what is wrong with the two.
    fn new(ranking: &[usize], relevant: &[usize]) -> Result<Self, String> {
        let relevant: HashSet<usize> = relevant.iter().copied().collect();
        if relevant.is_empty() {
            return Err(
                "it has no relevant document: leave it out, as no ranking is right or wrong".to_owned()
            );
        }
        let mut seen = HashSet::new();
        if let Some(twice) = ranking.iter().find(|row| !seen.insert(**row)) {
            return Err(format!("document {twice} stands twice in its ranking: rank each document once"));
        }
        Ok(Self {
            hits: ranking.iter().map(|row| relevant.contains(row)).collect(),
            relevant: relevant.len(),
        })
    }

    fn first(&self, k: usize) -> &[bool] {
        &self.hits[..k.min(self.hits.len())]
    }

    fn hits(&self, k: usize) -> f64 {
        self.first(k).iter().filter(|hit| **hit).count() as f64
    }

    /// 1 if one of the first `k` is relevant, else 0.
    fn accuracy(&self, k: usize) -> f64 {
        f64::from(u8::from(self.first(k).contains(&true)))
    }

    /// The relevant ones among the first `k`, by `k`: also where the corpus has fewer than `k`.
    fn precision(&self, k: usize) -> f64 {
        self.hits(k) / k as f64
    }

    /// The relevant ones among the first `k`, by all relevant ones.
    fn recall(&self, k: usize) -> f64 {
        self.hits(k) / self.relevant as f64
    }

    /// 1 by the rank (from 1) of the first relevant one; 0 if it is not among the first `k`.
    fn reciprocal_rank(&self, k: usize) -> f64 {
        self.first(k).iter().position(|hit| *hit).map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
    }

    /// `Σ 1 / log₂(rank + 1)` over the relevant ones among the first `k`, by the most that this can be.
    fn ndcg(&self, k: usize) -> f64 {
        let gain = |index: usize| 1.0 / ((index + 2) as f64).log2();
        let found: f64 =
            self.first(k).iter().enumerate().filter(|(_, hit)| **hit).map(|(index, _)| gain(index)).sum();
        found / (0..k.min(self.relevant)).map(gain).sum::<f64>()
    }

    /// The sum of the precisions at the ranks of the relevant ones among the first `k`, by how many could be there.
    fn average_precision(&self, k: usize) -> f64 {
        let (mut found, mut sum) = (0.0, 0.0);
        for (index, _) in self.first(k).iter().enumerate().filter(|(_, hit)| **hit) {
            found += 1.0;
            sum += found / (index + 1) as f64;
        }
        sum / k.min(self.relevant) as f64
    }
}

/// The mean of each metric over all queries, between 0 and 1, as (name, value): `accuracy@1`, ..., `precision@1`, ...,
/// `recall@1`, ..., `ndcg@10`, `mrr@10`, `map@100`, in this order, which is that of sentence-transformers.
///
/// `rankings` are rows of the corpus for each query, best first, at least [`Cutoffs::depth`] of them where the corpus has so
/// many; `relevant` are the rows that are right, for each query.
///
/// # Errors
/// If there are no queries, the lists differ in length, a cutoff is zero, a query has no relevant documents
/// (sentence-transformers leaves such queries out), or a document stands twice in a ranking.
pub fn retrieval<Ranking: AsRef<[usize]>, Relevant: AsRef<[usize]>>(
    rankings: &[Ranking],
    relevant: &[Relevant],
    cutoffs: &Cutoffs,
) -> Result<Vec<(String, f64)>> {
    if rankings.len() != relevant.len() {
        return Err(Error::LengthMismatch { left: rankings.len(), right: relevant.len() });
    }
    let too_few = |what, unit| Error::TooFew { what, needed: 1, unit, got: 0, remedy: "" };
    if rankings.is_empty() {
        return Err(too_few("a metric of retrieval", "queries"));
    }
    if cutoffs.all().any(|k| *k == 0) {
        return Err(too_few("a metric of retrieval at k", "ranks to look at"));
    }
    let mut judged = Vec::new();
    for (query, (ranking, relevant)) in rankings.iter().zip(relevant).enumerate() {
        let one = Judged::new(ranking.as_ref(), relevant.as_ref());
        judged.push(one.map_err(|message| Error::Ranking { query, message })?);
    }
    type Metric = fn(&Judged, usize) -> f64;
    let metrics: [(&str, &[usize], Metric); 6] = [
        ("accuracy", &cutoffs.accuracy, Judged::accuracy),
        ("precision", &cutoffs.precision_recall, Judged::precision),
        ("recall", &cutoffs.precision_recall, Judged::recall),
        ("ndcg", &cutoffs.ndcg, Judged::ndcg),
        ("mrr", &cutoffs.mrr, Judged::reciprocal_rank),
        ("map", &cutoffs.map, Judged::average_precision),
    ];
    let mut means = Vec::new();
    for (name, cutoffs, metric) in metrics {
        for &k in cutoffs {
            let sum: f64 = judged.iter().map(|judged| metric(judged, k)).sum();
            means.push((format!("{name}@{k}"), sum / judged.len() as f64));
        }
    }
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: relevant at ranks 2 and 4 of five, one more relevant document not found.
    #[test]
    fn one_query_by_hand() {
        let judged = Judged::new(&[7, 3, 8, 1, 0], &[1, 9, 3, 3]).unwrap();
        assert_eq!((judged.accuracy(1), judged.accuracy(2), judged.accuracy(9)), (0.0, 1.0, 1.0));
        assert_eq!((judged.precision(4), judged.precision(10)), (0.5, 0.2));
        assert_eq!(judged.recall(4), 2.0 / 3.0);
        assert_eq!((judged.reciprocal_rank(1), judged.reciprocal_rank(2)), (0.0, 0.5));
        // 1/2 at rank 2 and 2/4 at rank 4; three could be there, or two among two.
        assert_eq!(judged.average_precision(10), 1.0 / 3.0);
        assert_eq!(judged.average_precision(2), 0.25);
        let log3 = 3.0_f64.log2();
        let ndcg = (1.0 / log3 + 1.0 / 5.0_f64.log2()) / (1.0 + 1.0 / log3 + 0.5);
        assert!((judged.ndcg(5) - ndcg).abs() < 1e-15);
    }

    #[test]
    fn what_cannot_be_judged_is_an_error() {
        let judge = |rankings: &[Vec<usize>], relevant: &[Vec<usize>], cutoffs: &Cutoffs| {
            retrieval(rankings, relevant, cutoffs).unwrap_err().to_string()
        };
        let defaults = Cutoffs::default();
        let (one, none): ([Vec<usize>; 1], [Vec<usize>; 0]) = ([vec![0]], []);
        assert_eq!(
            judge(&one, &none, &defaults),
            "1 and 0 entries cannot be paired: pass two of the same length"
        );
        assert_eq!(judge(&none, &none, &defaults), "a metric of retrieval needs at least 1 queries, got 0");
        let zero = Cutoffs { mrr: vec![10, 0], ..Cutoffs::default() };
        assert_eq!(
            judge(&one, &one, &zero),
            "a metric of retrieval at k needs at least 1 ranks to look at, got 0"
        );
        let message = judge(&[vec![0], vec![4]], &[vec![0], vec![]], &defaults);
        assert!(message.starts_with("query 1: it has no relevant document"), "{message}");
        let message = judge(&[vec![2, 5, 2]], &one, &defaults);
        assert!(message.starts_with("query 0: document 2 stands twice"), "{message}");
    }
}
