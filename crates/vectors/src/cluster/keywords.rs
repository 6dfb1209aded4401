//! The words that tell clusters of texts apart: class-based tf-idf (Grootendorst 2022, BERTopic). A word of a cluster weighs
//! `tf · ln(1 + A / f)`: how often it comes in the cluster, how often in all texts (f), and the mean number of words of a cluster (A).

use std::collections::HashMap;

use crate::bm25::words;

/// For each cluster (labels from 0; negative ones belong to none) its heaviest words with their weights, `count` at most; equals in alphabetical
/// order. Words of one letter and numbers are left out.
pub fn keywords<Text: AsRef<str>>(texts: &[Text], labels: &[i64], count: usize) -> Vec<Vec<(String, f64)>> {
    let clusters = labels.iter().max().map_or(0, |last| (last + 1).max(0) as usize);
    let mut own: Vec<HashMap<String, f64>> = vec![HashMap::new(); clusters];
    let mut all: HashMap<String, f64> = HashMap::new();
    let mut total = 0.0;
    for (text, &label) in texts.iter().zip(labels).filter(|(_, label)| **label >= 0) {
        words(text.as_ref(), |word| {
            if word.chars().nth(1).is_none() || word.chars().all(char::is_numeric) {
                return;
            }
            *own[label as usize].entry(word.to_owned()).or_default() += 1.0;
            *all.entry(word.to_owned()).or_default() += 1.0;
            total += 1.0;
        });
    }
    let mean = total / clusters.max(1) as f64;
    let heaviest = own.into_iter().map(|own| {
        let weighted = own.into_iter().map(|(word, tf)| {
            let weight = tf * (1.0 + mean / all[&word]).ln();
            (word, weight)
        });
        let mut words: Vec<(String, f64)> = weighted.collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        words.truncate(count);
        words
    });
    heaviest.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let texts = ["the red bus, the bus", "the cat 12", "a cat sleeps; THE cat", "nothing of this"];
        let found = keywords(&texts, &[0, 1, 1, -1], 2);
        // Five words and six that count; five and a half in the mean. "the" comes four times, "bus" twice, "cat" three times.
        let weight = |tf: f64, f: f64| tf * (1.0 + 5.5 / f).ln();
        let expected = [
            [("bus", weight(2.0, 2.0)), ("red", weight(1.0, 1.0))],
            [("cat", weight(3.0, 3.0)), ("sleeps", weight(1.0, 1.0))],
        ];
        for (found, expected) in found.iter().zip(expected) {
            for ((word, got), (name, weight)) in found.iter().zip(expected) {
                assert!(word == name && (got - weight).abs() < 1e-12, "{found:?} for {expected:?}");
            }
        }
        assert!(keywords::<&str>(&[], &[], 3).is_empty());
    }
}
