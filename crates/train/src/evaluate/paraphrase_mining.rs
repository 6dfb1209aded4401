//! Are the pairs that mining finds first those that say the same? `ParaphraseMiningEvaluator` of sentence-transformers 6.2
//! (`paraphrase_mining.py`).

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sentir_model::{SentenceTransformer, Task};
use sentir_vectors::mine::{MineOptions, paraphrase_mining};

use super::{Evaluator, Watch, encode, jsonl, named};
use crate::{Error, Result};

/// Mines all texts by the cosine and goes through the pairs, the most alike first: `{name}_average_precision`, by which models are compared, and
/// `f1`, `precision`, `recall` and `threshold` where F1 is highest. Pairs that mining does not find count as missed.
#[derive(Debug, Clone)]
pub struct ParaphraseMining {
    name: String,
    texts: Vec<String>,
    /// The lower row first.
    duplicates: HashSet<(usize, usize)>,
    options: MineOptions,
}

impl ParaphraseMining {
    /// `duplicates` are pairs of rows of `texts`; with `transitive`, whatever is connected by them says the same.
    ///
    /// # Errors
    /// If there are fewer than two texts, or a pair is not of two rows.
    pub fn new(
        name: impl Into<String>,
        texts: Vec<String>,
        duplicates: &[(usize, usize)],
        transitive: bool,
        options: MineOptions,
    ) -> Result<Self> {
        if texts.len() < 2 {
            return Err(Error::Argument(format!("mining needs at least two texts; got {}", texts.len())));
        }
        if let Some((a, b)) = duplicates.iter().find(|(a, b)| a == b || *a.max(b) >= texts.len()) {
            return Err(Error::Argument(format!("the pair of texts {} and {} cannot be", a + 1, b + 1)));
        }
        let mut pairs: HashSet<(usize, usize)> =
            duplicates.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
        if transitive {
            // Each row's group is known by the lowest row in it.
            let mut group: Vec<usize> = (0..texts.len()).collect();
            fn top(group: &mut [usize], mut row: usize) -> usize {
                while group[row] != row {
                    group[row] = group[group[row]];
                    row = group[row];
                }
                row
            }
            for &(a, b) in duplicates {
                let (a, b) = (top(&mut group, a), top(&mut group, b));
                let (low, high) = (a.min(b), a.max(b));
                group[high] = low;
            }
            let groups: Vec<usize> = (0..texts.len()).map(|row| top(&mut group, row)).collect();
            pairs = pairs_of_groups(&groups);
        }
        Ok(Self { name: name.into(), texts, duplicates: pairs, options })
    }

    /// Reads texts, a JSON object a line: `{"text": "...", "group": "..."}`, where texts of one group say the same; or `{"id": "...", "text": "...",
    /// "duplicates": ["..."]}` with the ids of those that say the same. Other names of the keys: `fields` are those of text and group.
    ///
    /// # Errors
    /// [`Error::Data`] with file and line, [`Error::Io`], and those of [`ParaphraseMining::new`].
    pub fn from_jsonl(name: impl Into<String>, path: &Path, [text, group]: [&str; 2]) -> Result<Self> {
        let lines = jsonl::read(path)?;
        let texts = lines.iter().map(|line| line.string(text)).collect::<Result<Vec<_>>>()?;
        let options = MineOptions::default();
        if lines.iter().any(|line| line.has("duplicates")) {
            let mut rows = HashMap::new();
            for (row, line) in lines.iter().enumerate() {
                if rows.insert(line.id("id")?, row).is_some() {
                    return Err(line.error(format!("the id \"{}\" was there before", line.id("id")?)));
                }
            }
            let mut pairs = Vec::new();
            for (row, line) in lines.iter().enumerate().filter(|(_, line)| line.has("duplicates")) {
                for id in line.ids("duplicates")? {
                    match rows.get(&id) {
                        Some(&other) if other != row => pairs.push((row, other)),
                        Some(_) => return Err(line.error("a text is no duplicate of itself")),
                        None => return Err(line.error(format!("there is no text with the id \"{id}\""))),
                    }
                }
            }
            return Self::new(name, texts, &pairs, false, options);
        }
        let mut known = HashMap::new();
        let mut groups = Vec::with_capacity(lines.len());
        for line in &lines {
            let next = known.len();
            groups.push(*known.entry(line.id(group)?).or_insert(next));
        }
        let mut own = Self::new(name, texts, &[], false, options)?;
        own.duplicates = pairs_of_groups(&groups);
        Ok(own)
    }
}

/// All pairs of rows in one group.
fn pairs_of_groups(groups: &[usize]) -> HashSet<(usize, usize)> {
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    groups.iter().enumerate().for_each(|(row, group)| members.entry(*group).or_default().push(row));
    let pairs = members.values().flat_map(|rows| {
        rows.iter().enumerate().flat_map(|(at, &a)| rows[at + 1..].iter().map(move |&b| (a, b)))
    });
    pairs.collect()
}

impl Evaluator for ParaphraseMining {
    fn name(&self) -> &str {
        &self.name
    }

    fn primary_metric(&self, _: &SentenceTransformer) -> String {
        named(&self.name, "average_precision")
    }

    fn evaluate(&self, model: &SentenceTransformer, watch: Watch<'_>) -> Result<Vec<(String, f64)>> {
        let rows = encode(model, &self.texts, Task::Any, [&self.name, "text"], watch)?;
        let pairs = paraphrase_mining(&rows, &self.options, &mut |done, total| {
            watch.tell([&self.name, "pair"], done as usize, total as usize);
            !watch.is_over()
        });
        let pairs = match pairs {
            Err(sentir_vectors::Error::Interrupted) => return Err(Error::Interrupted),
            other => other?,
        };
        let total = self.duplicates.len() as f64;
        let (mut found, mut correct, mut sum) = (0, 0, 0.0);
        let (mut best, mut precision_there, mut recall_there, mut threshold) = (0.0, 0.0, 0.0, 0.0);
        for group in pairs.chunk_by(|left, right| left.score == right.score) {
            let new =
                group.iter().filter(|pair| self.duplicates.contains(&(pair.first, pair.second))).count();
            found += group.len();
            correct += new;
            if new == 0 {
                continue;
            }
            let (precision, recall) = (correct as f64 / found as f64, correct as f64 / total);
            sum += precision * new as f64;
            let f1 = 2.0 * precision * recall / (precision + recall);
            if f1 > best {
                (best, precision_there, recall_there) = (f1, precision, recall);
                let next = pairs[found.min(pairs.len() - 1)].score;
                threshold = (f64::from(group[0].score) + f64::from(next)) / 2.0;
            }
        }
        let average = if total > 0.0 { sum / total } else { 0.0 };
        let metric = |metric: &str, value: f64| (named(&self.name, metric), value);
        Ok(vec![
            metric("average_precision", average),
            metric("f1", best),
            metric("precision", precision_there),
            metric("recall", recall_there),
            metric("threshold", threshold),
        ])
    }
}
