//! The unigram model (<https://arxiv.org/abs/1804.10959>): a text is divided into the pieces whose scores have the largest sum.
//! Results are those of `Unigram` in `models/unigram/model.rs` of the crate `tokenizers`, whose trie of hash maps takes a
//! quarter of a gigabyte and half a second for the 250,000 pieces of XLM-RoBERTa. This one has them in one table.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::{Model, Token};

/// What a character that no piece begins with loses against the lowest score (`K_UNK_PENALTY`, sentencepiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f64 = 10.0;

/// Pieces with their scores, in the order of ids.
#[derive(Default)]
pub(super) struct Pieces {
    /// All pieces, one after another: a text for each would be a quarter of a million allocations.
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    scores: Vec<f64>,
}

impl Pieces {
    pub(super) fn push(&mut self, piece: &str, score: f64) {
        self.text.push_str(piece);
        self.ends.push(self.text.len());
        self.scores.push(score);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, id: usize) -> Option<&str> {
        let start = if id == 0 { 0 } else { *self.ends.get(id - 1)? };
        self.text.get(start..*self.ends.get(id)?)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|id| self.get(id))
    }
}

/// Pieces and what finds them in a text.
pub(super) struct Unigram {
    pieces: Pieces,
    ids: Trie,
    unknown: Option<u32>,
    unknown_score: f64,
    byte_fallback: bool,
}

/// The best way to the end of a piece.
#[derive(Clone, Copy)]
struct Best {
    id: u32,
    score: f64,
    /// Where the piece begins; nothing ends here yet if `None`.
    start: Option<usize>,
}

impl Unigram {
    /// The model of `pieces`. Of two with one text, the last counts. What the pieces cannot express is `unknown`, one token for
    /// all that is side by side, or, with `byte_fallback`, the pieces `<0x00>` to `<0xFF>` of its bytes, if they are there.
    ///
    /// # Errors
    /// If there are more pieces than ids, or `unknown` is none of them.
    pub(super) fn new(pieces: Pieces, unknown: Option<usize>, byte_fallback: bool) -> Result<Self, String> {
        if let Some(unknown) = unknown.filter(|&unknown| unknown >= pieces.len()) {
            return Err(format!(
                "the unknown token is number {unknown}, but there are only {} tokens",
                pieces.len()
            ));
        }
        let words: Vec<&[u8]> = pieces.iter().map(str::as_bytes).collect();
        let ids = Trie::new(&words).ok_or("it has too many pieces")?;
        let unknown_score = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY;
        let unknown = unknown.map(|unknown| unknown as u32);
        Ok(Self { pieces, ids, unknown, unknown_score, byte_fallback })
    }

    /// The pieces of a text with the largest sum of scores, as (start, id) from the last to the first (Viterbi, as
    /// `encode_optimized` there). Of two ways with one sum, the first that is found from the left wins.
    fn best_path(&self, text: &str) -> Result<Vec<(usize, u32)>, &'static str> {
        let mut best = vec![Best { id: 0, score: 0.0, start: None }; text.len() + 1];
        let offer = |to: &mut Best, id: u32, score: f64, start: usize| {
            if to.start.is_none() || score > to.score {
                *to = Best { id, score, start: Some(start) };
            }
        };
        for (start, character) in text.char_indices() {
            let (score, length) = (best[start].score, character.len_utf8());
            let (mut node, mut single) = (Trie::ROOT, false);
            for (i, &byte) in text.as_bytes()[start..].iter().enumerate() {
                let Some(child) = self.ids.child(node, byte) else { break };
                node = child;
                if let Some(id) = self.ids.value(node) {
                    offer(&mut best[start + i + 1], id, self.pieces.scores[id as usize] + score, start);
                    single |= i + 1 == length;
                }
            }
            if !single {
                let to = &mut best[start + length];
                let candidate = self.unknown_score + score;
                if to.start.is_none() || candidate > to.score {
                    let id = self
                        .unknown
                        .ok_or("it has what no piece expresses, and there is no unknown token")?;
                    offer(to, id, candidate, start);
                }
            }
        }
        let (mut path, mut end) = (Vec::new(), text.len());
        while let Some(start) = best[end].start {
            path.push((start, best[end].id));
            end = start;
        }
        Ok(path)
    }

    /// Appends the token of a part of a text that is a piece, or of all that is unknown side by side.
    fn push(&self, part: &str, start: usize, tokens: &mut Vec<Token>) -> Result<(), &'static str> {
        let offsets = (start, start + part.len());
        let id = match self.ids.get(part.as_bytes()) {
            Some(id) => id,
            None => {
                let byte = |byte: u8| {
                    let piece = format!("<0x{byte:02X}>");
                    self.ids.get(piece.as_bytes()).map(|id| Token::new(id, piece, offsets))
                };
                let bytes: Option<Vec<Token>> =
                    if self.byte_fallback { part.bytes().map(byte).collect() } else { None };
                if let Some(bytes) = bytes {
                    tokens.extend(bytes);
                    return Ok(());
                }
                self.unknown.ok_or("there is no unknown token")?
            }
        };
        tokens.push(Token::new(id, part.to_owned(), offsets));
        Ok(())
    }
}

impl Model for Unigram {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        let path = self.best_path(text)?;
        let mut tokens = Vec::with_capacity(path.len());
        let mut pieces = path.into_iter().rev().peekable();
        while let Some((start, id)) = pieces.next() {
            while Some(id) == self.unknown && pieces.peek().is_some_and(|&(_, next)| next == id) {
                pieces.next();
            }
            let end = pieces.peek().map_or(text.len(), |&(next, _)| next);
            self.push(&text[start..end], start, &mut tokens)?;
        }
        Ok(tokens)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token.as_bytes())
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.pieces.get(id as usize).map(str::to_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.pieces.iter().map(str::to_owned).zip(0..).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.pieces.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("this model is only read".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        UnigramTrainer::default().into()
    }
}

/// No value.
const NONE: u32 = u32::MAX;
/// Bits of the number of a node.
const NODE: u32 = 28;

/// Words of bytes with their numbers. All edges are in one table with open addressing: (node, byte) → child.
struct Trie {
    /// Key and child in one word; zero where there is none, since nothing leads to the root. A power of two of them.
    edges: Vec<u64>,
    /// Odd, and not known before: nobody can choose words that all meet in one place.
    multiplier: u64,
    /// The number of the word that ends in each node, or [`NONE`].
    values: Vec<u32>,
}

impl Trie {
    const ROOT: u32 = 0;

    /// Of equal words, the last counts. `None` if there are too many.
    fn new(words: &[&[u8]]) -> Option<Self> {
        let count = u32::try_from(words.len()).ok().filter(|&count| count < NONE)?;
        // In order, a word begins where the one before it does: of what is common, nothing has to be looked up.
        let head = |word: &[u8]| {
            let mut bytes = [0; 16];
            let length = word.len().min(16);
            bytes[..length].copy_from_slice(&word[..length]);
            u128::from_be_bytes(bytes)
        };
        let mut order: Vec<(u128, u32)> =
            words.iter().zip(0..count).map(|(word, i)| (head(word), i)).collect();
        order.par_sort_unstable_by(|&(a, i), &(b, j)| {
            a.cmp(&b).then_with(|| (words[i as usize], i).cmp(&(words[j as usize], j)))
        });
        let sorted = || order.iter().map(|&(_, i)| words[i as usize]);
        let before = || std::iter::once(&[][..]).chain(sorted());
        let nodes =
            1 + sorted().zip(before()).map(|(word, last)| word.len() - common(word, last)).sum::<usize>();
        if nodes >> NODE != 0 {
            return None;
        }
        let multiplier = RandomState::new().build_hasher().finish() | 1;
        let edges = vec![0; (nodes * 3 / 2).next_power_of_two().max(2)];
        let mut trie = Self { edges, multiplier, values: Vec::with_capacity(nodes) };
        trie.values.push(NONE);
        let mut path = vec![Self::ROOT];
        for ((word, last), &(_, value)) in sorted().zip(before()).zip(&order) {
            let known = common(word, last);
            path.truncate(known + 1);
            for &byte in &word[known..] {
                let child = trie.values.len() as u32;
                let key = Self::key(path[path.len() - 1], byte);
                let at = trie.find(key);
                trie.edges[at] = key << NODE | u64::from(child);
                trie.values.push(NONE);
                path.push(child);
            }
            trie.values[path[word.len()] as usize] = value;
        }
        Some(trie)
    }

    fn key(node: u32, byte: u8) -> u64 {
        u64::from(node) << 8 | u64::from(byte)
    }

    /// Where the edge is, or where it would be.
    fn find(&self, key: u64) -> usize {
        let bits = self.edges.len().trailing_zeros();
        let mut at = (key.wrapping_mul(self.multiplier) >> (64 - bits)) as usize;
        while self.edges[at] != 0 && self.edges[at] >> NODE != key {
            at = (at + 1) & (self.edges.len() - 1);
        }
        at
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let edge = self.edges[self.find(Self::key(node, byte))];
        (edge != 0).then_some((edge & ((1 << NODE) - 1)) as u32)
    }

    fn value(&self, node: u32) -> Option<u32> {
        Some(self.values[node as usize]).filter(|&value| value != NONE)
    }

    fn get(&self, word: &[u8]) -> Option<u32> {
        let node = word.iter().try_fold(Self::ROOT, |node, &byte| self.child(node, byte))?;
        self.value(node)
    }
}

/// How many bytes two words begin with are the same.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use tokenizers::models::unigram::Unigram as Original;

    use super::*;

    /// Numbers below `end`, always the same.
    fn random(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        move |end| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % end
        }
    }

    #[test]
    fn tokens_are_those_of_the_crate() {
        // Few letters, so that pieces overlap; few scores, so that sums are equal; characters of one to four bytes.
        let letters = ["a", "b", "c", "é", "東", "😀", "▁"];
        for seed in 0..300 {
            let mut below = random(seed);
            let mut word = |longest: usize, letters: &[&str]| -> String {
                (0..below(longest)).map(|_| letters[below(letters.len())]).collect()
            };
            let mut pieces: Vec<String> = (0..60).map(|_| word(5, &letters[..6])).collect();
            let texts: Vec<String> = (0..40).map(|_| word(24, &letters)).collect();
            let mut below = random(seed + 1000);
            let byte_fallback = seed % 3 == 0;
            if byte_fallback {
                // Those of the last letter, or not all of them.
                let bytes = "▁".bytes().skip(below(2));
                pieces.extend(bytes.map(|byte| format!("<0x{byte:02X}>")));
            }
            let pieces: Vec<(String, f64)> =
                pieces.into_iter().map(|piece| (piece, -(below(6) as f64) / 2.0)).collect();
            let unknown = if seed % 5 == 4 { None } else { Some(below(pieces.len())) };
            let original = Original::from(pieces.clone(), unknown, byte_fallback).unwrap();
            let mut own = Pieces::default();
            pieces.iter().for_each(|(piece, score)| own.push(piece, *score));
            let own = Unigram::new(own, unknown, byte_fallback).unwrap();
            for text in &texts {
                match (original.tokenize(text), own.tokenize(text)) {
                    (Ok(expected), Ok(found)) => assert_eq!(found, expected, "{seed} {text:?}"),
                    (expected, found) => assert_eq!(found.is_err(), expected.is_err(), "{seed} {text:?}"),
                }
            }
            assert_eq!(own.get_vocab(), original.get_vocab());
            assert_eq!(own.get_vocab_size(), original.get_vocab_size());
            for (id, (piece, _)) in pieces.iter().enumerate() {
                assert_eq!(own.token_to_id(piece), original.token_to_id(piece));
                assert_eq!(own.id_to_token(id as u32).as_ref(), Some(piece));
            }
            assert_eq!(own.id_to_token(pieces.len() as u32), None);
            assert_eq!(own.token_to_id("abcabcabc"), original.token_to_id("abcabcabc"));
        }
    }

    #[test]
    fn a_large_table_has_its_words_and_no_others() {
        // Some of them longer than what they are sorted by first, and equal up to there.
        let word = |i: u32| {
            format!("{}{}", ["", "sixteen letters and "][i as usize % 2], i.wrapping_mul(2_654_435_761))
        };
        let words: Vec<String> = (0..20_000).map(word).collect();
        let bytes: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let trie = Trie::new(&bytes).unwrap();
        assert!(bytes.iter().zip(0..).all(|(word, value)| trie.get(word) == Some(value)));
        for absent in ["", "x", "sixteen letters and", "sixteen letters and 1x"] {
            assert_eq!(trie.get(absent.as_bytes()), None);
        }
        let trie = Trie::new(&[b"a\0", b"", b"a", b"a"]).unwrap();
        assert_eq!(
            [&b"a\0"[..], b"", b"a", b"b"].map(|word| trie.get(word)),
            [Some(0), Some(1), Some(3), None]
        );
        assert_eq!(Trie::new(&[]).unwrap().get(b""), None);
    }
}
