//! The pieces of a Unigram vocabulary and their scores, learned from words with their counts.
//!
//! Kudo, "Subword Regularization" (ACL 2018, <https://arxiv.org/abs/1804.10959>), section 3.2: begin with the most frequent
//! substrings, find their probabilities by expectation and maximisation, drop those whose loss costs the likelihood of the
//! words least, and so on until as many are left as wanted. The crate `tokenizers` has a trainer too; its sums follow the
//! number of threads and its characters the order of a hash map, so that equal texts would not give equal files.
//!
//! Everything here has an order of its own: sums are made in pieces of fixed size, ties are broken by the text.

use std::collections::HashMap;

use rayon::prelude::*;

/// Longer words are cut: the time for a word then grows with its length alone, and no sum underflows.
const LONGEST_WORD: usize = 64;
/// Of more distinct words, the most frequent count.
const MOST_WORDS: usize = 200_000;
/// Substrings to begin with, for each piece that is wanted.
const SEEDS: usize = 20;
/// The part of the pieces that is left after each round.
const SHRINKING: f64 = 0.75;
/// Steps of expectation and maximisation in a round.
const STEPS: usize = 2;
/// A piece that is expected less often than this goes; a character stays and counts as that often.
const RARE: f64 = 0.5;
/// Words in a partial sum.
const CHUNK: usize = 4096;

/// A piece at a place in a word, in characters.
#[derive(Clone, Copy)]
struct Edge {
    start: u8,
    end: u8,
    piece: u32,
}

/// A word and all pieces in it, by where they start.
struct Word {
    count: f64,
    length: usize,
    edges: Vec<Edge>,
}

/// At most `vocabulary` pieces of at most `longest` characters, with the logarithms of their probabilities, from the most
/// probable to the least. All characters of the words are among them, but for the rarest if `vocabulary` is too small.
pub(super) fn train(words: &[(String, u64)], vocabulary: usize, longest: usize) -> Vec<(String, f64)> {
    let alphabet = alphabet(words, vocabulary);
    let known: HashMap<char, u64> = alphabet.iter().copied().collect();
    let parts = parts(words, &known);
    let seeds = seeds(&parts, longest, vocabulary.saturating_mul(SEEDS));
    let characters = alphabet.len();
    let mut texts: Vec<String> = alphabet.iter().map(|(character, _)| character.to_string()).collect();
    let mut weights: Vec<f64> = alphabet.iter().map(|&(_, count)| count as f64).collect();
    for (text, weight) in seeds {
        texts.push(text.to_owned());
        weights.push(weight as f64);
    }
    let total: f64 = weights.iter().sum();
    let scores = weights.iter().map(|weight| (weight / total).ln()).collect();
    let index: HashMap<&str, u32> = texts.iter().map(String::as_str).zip(0..).collect();
    let words =
        parts.par_iter().map(|&(text, count)| Word::new(text, count as f64, &index, longest)).collect();
    let mut model = Model { alive: vec![true; texts.len()], scores, words, characters };
    loop {
        for _ in 0..STEPS {
            model.step();
        }
        let alive = model.alive.iter().filter(|alive| **alive).count();
        if alive <= vocabulary {
            break;
        }
        let target = vocabulary.max((alive as f64 * SHRINKING) as usize);
        model.prune(target, &texts, &index, longest);
    }
    let Model { alive, scores, .. } = model;
    let all = texts.into_iter().zip(scores).zip(alive);
    let mut pieces: Vec<(String, f64)> = all.filter_map(|(piece, alive)| alive.then_some(piece)).collect();
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces
}

/// The most frequent characters.
fn alphabet(words: &[(String, u64)], most: usize) -> Vec<(char, u64)> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in words {
        for character in word.chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    let mut counts: Vec<(char, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|&(character, count)| (std::cmp::Reverse(count), character));
    counts.truncate(most);
    counts
}

/// The words without other characters, none too long, the most frequent of them.
fn parts<'a>(words: &'a [(String, u64)], known: &HashMap<char, u64>) -> Vec<(&'a str, u64)> {
    let mut parts = Vec::new();
    for (word, count) in words {
        for part in word.split(|character| !known.contains_key(&character)).filter(|part| !part.is_empty()) {
            let (mut start, mut length) = (0, 0);
            for (at, _) in part.char_indices() {
                if length == LONGEST_WORD {
                    parts.push((&part[start..at], *count));
                    (start, length) = (at, 0);
                }
                length += 1;
            }
            parts.push((&part[start..], *count));
        }
    }
    if parts.len() > MOST_WORDS {
        parts.sort_by_key(|&(text, count)| (std::cmp::Reverse(count), text));
        parts.truncate(MOST_WORDS);
    }
    parts
}

/// Substrings of two characters and more that come up at least twice, by how many characters of the words they cover.
fn seeds<'a>(parts: &[(&'a str, u64)], longest: usize, most: usize) -> Vec<(&'a str, u64)> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for &(text, count) in parts {
        let ends = boundaries(text);
        for start in 0..ends.len() - 1 {
            for length in 2..=longest.min(ends.len() - 1 - start) {
                *counts.entry(&text[ends[start]..ends[start + length]]).or_default() += count;
            }
        }
    }
    let mut seeds: Vec<(&str, u64)> = (counts.into_iter().filter(|(_, count)| *count > 1))
        .map(|(text, count)| (text, count * text.chars().count() as u64))
        .collect();
    seeds.sort_by_key(|&(text, weight)| (std::cmp::Reverse(weight), text));
    seeds.truncate(most);
    seeds
}

/// Where characters begin, and the end.
fn boundaries(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

impl Word {
    fn new(text: &str, count: f64, index: &HashMap<&str, u32>, longest: usize) -> Self {
        let ends = boundaries(text);
        let length = ends.len() - 1;
        let mut edges = Vec::new();
        for start in 0..length {
            for end in start + 1..=length.min(start + longest) {
                if let Some(&piece) = index.get(&text[ends[start]..ends[end]]) {
                    edges.push(Edge { start: start as u8, end: end as u8, piece });
                }
            }
        }
        Self { count, length, edges }
    }

    /// Adds how often each piece is expected in the word: its forward and backward probabilities over all divisions.
    fn expect(&self, scores: &[f64], expected: &mut [f64]) {
        let mut forward = [f64::NEG_INFINITY; LONGEST_WORD + 1];
        let mut backward = forward;
        forward[0] = 0.0;
        for edge in &self.edges {
            let way = forward[usize::from(edge.start)] + scores[edge.piece as usize];
            add_log(&mut forward[usize::from(edge.end)], way);
        }
        backward[self.length] = 0.0;
        for edge in self.edges.iter().rev() {
            let way = backward[usize::from(edge.end)] + scores[edge.piece as usize];
            add_log(&mut backward[usize::from(edge.start)], way);
        }
        for edge in &self.edges {
            let through = forward[usize::from(edge.start)] + scores[edge.piece as usize];
            let share = (through + backward[usize::from(edge.end)] - forward[self.length]).exp();
            expected[edge.piece as usize] += self.count * share;
        }
    }

    /// The most probable division (Viterbi), without the piece `but`. Of equals, the one found first.
    fn best(&self, scores: &[f64], but: Option<u32>) -> Vec<u32> {
        let mut best = [(f64::NEG_INFINITY, 0, 0); LONGEST_WORD + 1];
        best[0].0 = 0.0;
        for edge in self.edges.iter().filter(|edge| Some(edge.piece) != but) {
            let way = best[usize::from(edge.start)].0 + scores[edge.piece as usize];
            let end = &mut best[usize::from(edge.end)];
            if way > end.0 {
                *end = (way, usize::from(edge.start), edge.piece);
            }
        }
        let (mut pieces, mut at) = (Vec::new(), self.length);
        while at > 0 {
            let (_, start, piece) = best[at];
            pieces.push(piece);
            at = start;
        }
        pieces
    }
}

/// log(exp(sum) + exp(more))
fn add_log(sum: &mut f64, more: f64) {
    let (low, high) = if *sum < more { (*sum, more) } else { (more, *sum) };
    *sum = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
}

struct Model {
    /// The first pieces are the characters, which stay.
    characters: usize,
    alive: Vec<bool>,
    scores: Vec<f64>,
    words: Vec<Word>,
}

impl Model {
    /// A sum over all words, of a number per piece.
    fn sum(&self, add: impl Fn(&Word, &mut [f64]) + Sync) -> Vec<f64> {
        let chunks: Vec<Vec<f64>> = (self.words.par_chunks(CHUNK))
            .map(|words| {
                let mut own = vec![0.0; self.scores.len()];
                words.iter().for_each(|word| add(word, &mut own));
                own
            })
            .collect();
        let mut sum = vec![0.0; self.scores.len()];
        for own in chunks {
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        sum
    }

    /// Expectation and maximisation, the latter with a sparse prior: digamma in place of the logarithm (Liang and Klein,
    /// "Structured Bayesian Nonparametric Models with Variational Inference", ACL 2007 tutorial), as sentencepiece has it.
    fn step(&mut self) {
        let mut expected = self.sum(|word, sum| word.expect(&self.scores, sum));
        for (i, expected) in expected.iter_mut().enumerate() {
            if i < self.characters {
                *expected = expected.max(RARE);
            } else if *expected < RARE {
                self.alive[i] = false;
                *expected = 0.0;
            }
        }
        let total = digamma(expected.iter().sum());
        for (score, expected) in self.scores.iter_mut().zip(expected) {
            *score = if expected > 0.0 { digamma(expected) - total } else { f64::NEG_INFINITY };
        }
        self.forget();
    }

    /// Takes what is no longer alive out of the words.
    fn forget(&mut self) {
        let alive = &self.alive;
        self.words.par_iter_mut().for_each(|word| word.edges.retain(|edge| alive[edge.piece as usize]));
    }

    /// Keeps `target` pieces: the characters, and those without which the words would be the least probable. The
    /// probability without a piece is estimated by giving its occurrences to the pieces of its own second-best division.
    fn prune(&mut self, target: usize, texts: &[String], index: &HashMap<&str, u32>, longest: usize) {
        let counts = self.sum(|word, sum| {
            word.best(&self.scores, None).iter().for_each(|&piece| sum[piece as usize] += word.count);
        });
        let total: f64 = counts.iter().sum();
        let loss = |piece: usize| {
            let count = counts[piece];
            if !self.alive[piece] || count == 0.0 {
                return None;
            }
            let mut word = Word::new(&texts[piece], 1.0, index, longest);
            word.edges.retain(|edge| self.alive[edge.piece as usize]);
            let others = word.best(&self.scores, Some(piece as u32));
            let new_total = (total + count * (others.len() as f64 - 1.0)).ln();
            let without: f64 =
                others.iter().map(|&other| (counts[other as usize] + count).ln() - new_total).sum();
            Some((count * (count.ln() - total.ln() - without), piece))
        };
        let mut losses: Vec<(f64, usize)> =
            (self.characters..self.scores.len()).into_par_iter().filter_map(loss).collect();
        losses.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| texts[a.1].cmp(&texts[b.1])));
        losses.truncate(target.saturating_sub(self.characters));
        self.alive[self.characters..].fill(false);
        losses.iter().for_each(|&(_, piece)| self.alive[piece] = true);
        self.forget();
    }
}

/// The derivative of ln Γ for x > 0: ψ(x) = ψ(x + 1) − 1/x up to where the asymptotic series
/// ln x − 1/(2x) − 1/(12x²) + 1/(120x⁴) − 1/(252x⁶) is exact to 1e-10 (Abramowitz and Stegun, 6.3.5 and 6.3.18).
fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below += 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    x.ln() - 0.5 / x - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0)) - below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|&(word, count)| (word.to_owned(), count)).collect()
    }

    #[test]
    fn digamma_is_that_of_the_tables() {
        // Abramowitz and Stegun, 6.3.2 and 6.3.3: ψ(1) = −γ, ψ(1/2) = −γ − 2 ln 2; ψ(n + 1) = −γ + Σ 1/k.
        let gamma = 0.577_215_664_901_532_9;
        assert!((digamma(1.0) + gamma).abs() < 1e-10);
        assert!((digamma(0.5) + gamma + 2.0 * 2f64.ln()).abs() < 1e-10);
        let harmonic: f64 = (1..=40).map(|k| 1.0 / f64::from(k)).sum();
        assert!((digamma(41.0) + gamma - harmonic).abs() < 1e-10);
    }

    #[test]
    fn expectations_are_those_of_all_divisions() {
        let texts = ["a", "b", "ab", "ba", "aba"];
        let index: HashMap<&str, u32> = texts.into_iter().zip(0..).collect();
        let probabilities = [0.3f64, 0.2, 0.25, 0.15, 0.1];
        let scores = probabilities.map(f64::ln);
        let word = Word::new("aba", 2.0, &index, 3);
        let mut expected = [0.0; 5];
        word.expect(&scores, &mut expected);
        // a b a, ab a, a ba, aba
        let ways: [(f64, &[usize]); 4] =
            [(0.3 * 0.2 * 0.3, &[0, 1, 0]), (0.25 * 0.3, &[2, 0]), (0.3 * 0.15, &[0, 3]), (0.1, &[4])];
        let total: f64 = ways.iter().map(|(way, _)| way).sum();
        let mut naive = [0.0; 5];
        for (way, pieces) in ways {
            pieces.iter().for_each(|&piece| naive[piece] += 2.0 * way / total);
        }
        for (expected, naive) in expected.iter().zip(naive) {
            assert!((expected - naive).abs() < 1e-12, "{expected} {naive}");
        }
        assert_eq!(word.best(&scores, None), [4]);
        assert_eq!(word.best(&scores, Some(4)), [0, 2]); // from the end
    }

    #[test]
    fn frequent_strings_become_pieces_and_all_characters_stay() {
        let words =
            words(&[("walking", 9), ("talking", 7), ("walked", 8), ("talked", 6), ("king", 2), ("жук", 1)]);
        let pieces = train(&words, 24, 5);
        assert!(pieces.len() <= 24);
        let has = |text: &str| pieces.iter().any(|(piece, _)| piece == text);
        assert!("walkingtedжу".chars().all(|character| has(&character.to_string())), "{pieces:?}");
        // Stem and ending, wherever between them the cut is.
        let index: HashMap<&str, u32> = pieces.iter().map(|(piece, _)| piece.as_str()).zip(0..).collect();
        let scores: Vec<f64> = pieces.iter().map(|(_, score)| *score).collect();
        for word in ["walking", "talking", "walked", "talked"] {
            assert_eq!(Word::new(word, 1.0, &index, 5).best(&scores, None).len(), 2, "{word}: {pieces:?}");
        }
        assert!(pieces.iter().all(|(piece, score)| piece.chars().count() <= 5 && *score < 0.0));
        assert!(pieces.is_sorted_by(|a, b| a.1 >= b.1));
    }

    #[test]
    fn too_many_characters_lose_the_rarest() {
        let many: Vec<(String, u64)> =
            ('一'..).take(300).map(|c| (format!("{c}{c}"), u64::from(u32::from(c)))).collect();
        let pieces = train(&many, 100, 4);
        assert_eq!(pieces.len(), 100);
        assert!(
            pieces.iter().any(|(piece, _)| piece.starts_with(char::from_u32('一' as u32 + 299).unwrap()))
        );
        assert!(!pieces.iter().any(|(piece, _)| piece.starts_with('一')));
        assert!(train(&[], 10, 4).is_empty());
        assert!(train(&words(&[("x", 1)]), 0, 4).is_empty());
    }
}
