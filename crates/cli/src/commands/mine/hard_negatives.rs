//! `sentir mine --hard-negatives`: training data whose negatives nearly answer.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sentir::hard_negatives::{HardNegativeOptions, Negatives, mine_hard_negatives};
use sentir::{Rows, SentenceTransformer, Task};
use serde_json::{Value, json};

use crate::arguments::{Global, PromptArguments, at_least_one};
use crate::input::{self, Columns, Format, Origin, Texts};
use crate::model::{self, Encoding};
use crate::terminal::{self, grouped, notice};

/// What rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Anchor, positive, negative: a row for each negative
    Triplet,
    /// Anchor, positive, negative_1, negative_2, …; pairs with too few negatives are left out
    NTuple,
    /// Anchor, text, and label 1 or 0 (with --output-scores, its score)
    LabeledPair,
    /// Anchor, a list of texts, a list of labels 1 and 0 (with --output-scores, of scores)
    LabeledList,
}

#[derive(Args)]
pub(super) struct HardNegatives {
    /// Mine negatives for pairs: texts of the corpus that are near to an anchor and are not its positive
    #[arg(long, requires = "positive_column", help_heading = "Hard negatives")]
    hard_negatives: bool,
    /// The column of the positives; --column names that of the anchors
    #[arg(long, value_name = "NAME", requires = "hard_negatives", help_heading = "Hard negatives")]
    positive_column: Option<String>,
    /// File of more texts to take negatives from [default: the positives alone]
    #[arg(long, value_name = "FILE", requires = "hard_negatives", help_heading = "Hard negatives")]
    corpus: Option<PathBuf>,
    /// The column of the corpus; needed if there is more than one
    #[arg(long, value_name = "NAME", requires = "corpus", help_heading = "Hard negatives")]
    corpus_column: Option<String>,
    /// Negatives per anchor
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one(), help_heading = "Hard negatives")]
    num_negatives: usize,
    /// Pass over the nearest so many
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Hard negatives")]
    range_min: usize,
    /// Look at the nearest so many [default: as many as may be needed]
    #[arg(long, value_name = "N", help_heading = "Hard negatives")]
    range_max: Option<usize>,
    /// Leave out candidates that are more alike
    #[arg(long, value_name = "X", requires = "hard_negatives", help_heading = "Hard negatives")]
    max_score: Option<f32>,
    /// Leave out candidates whose score is not this far below the positive's
    #[arg(long, value_name = "X", requires = "hard_negatives", help_heading = "Hard negatives")]
    absolute_margin: Option<f32>,
    /// Leave out candidates whose score is not this part below the positive's
    #[arg(long, value_name = "X", requires = "hard_negatives", help_heading = "Hard negatives")]
    relative_margin: Option<f32>,
    /// Take the nearest, or any that are left
    #[arg(long, value_name = "NAME", default_value = "top", value_parser = ["top", "random"], help_heading = "Hard negatives")]
    sampling_strategy: String,
    /// For random sampling
    #[arg(long, value_name = "N", default_value = "42", help_heading = "Hard negatives")]
    seed: u64,
    /// Positives may be among the negatives: for data with graded labels
    #[arg(long, requires = "hard_negatives", help_heading = "Hard negatives")]
    include_positives: bool,
    /// What rows are written
    #[arg(long, value_enum, default_value = "triplet", help_heading = "Hard negatives")]
    output_format: OutputFormat,
    /// Write scores too
    #[arg(long, requires = "hard_negatives", help_heading = "Hard negatives")]
    output_scores: bool,
}

impl HardNegatives {
    pub(super) fn wanted(&self) -> bool {
        self.hard_negatives
    }
}

/// The texts, each once, with numbers by which they are found again.
#[derive(Default)]
struct Unique {
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Unique {
    fn add(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), self.texts.len() - 1);
        self.texts.len() - 1
    }
}

pub(super) fn run(arguments: &super::Arguments, global: &Global) -> Result<()> {
    let own = &arguments.hard_negatives;
    let (Some(path), Some(anchor), Some(positive)) =
        (&arguments.input, &arguments.column, &own.positive_column)
    else {
        bail!("--hard-negatives needs --input, --column (the anchors) and --positive-column");
    };
    let columns = Columns {
        text: Some(anchor),
        shown: std::slice::from_ref(positive),
        option: "--column",
        format_option: "--input-format",
    };
    let pairs = input::read(path, arguments.input_format, columns)?;
    // In the order of sentence-transformers: the corpus, then positives that are not in it.
    let (mut queries, mut corpus) = (Unique::default(), Unique::default());
    if let Some(path) = &own.corpus {
        let columns = Columns {
            text: own.corpus_column.as_deref(),
            shown: &[],
            option: "--corpus-column",
            format_option: "--input-format",
        };
        input::read(path, None::<Format>, columns)?.texts.iter().for_each(|text| {
            corpus.add(text);
        });
    }
    let mut positives: Vec<Vec<usize>> = Vec::new();
    for (anchor, positive) in pairs.texts.iter().zip(&pairs.shown[0]) {
        let (query, row) = (queries.add(anchor), corpus.add(positive));
        positives.resize(queries.texts.len(), Vec::new());
        if !positives[query].contains(&row) {
            positives[query].push(row);
        }
    }
    let model = model::load(arguments.model()?, global)?;
    let (queries, corpus) = (queries.texts, corpus.texts);
    let query_vectors = encode(arguments, &model, &queries, Task::Query, "anchors", global.quiet)?;
    let corpus_vectors = encode(arguments, &model, &corpus, Task::Document, "corpus", global.quiet)?;
    let options = HardNegativeOptions {
        num_negatives: own.num_negatives,
        range_min: own.range_min,
        range_max: own.range_max,
        max_score: own.max_score,
        min_score: arguments.min_score,
        absolute_margin: own.absolute_margin,
        relative_margin: own.relative_margin,
        random: (own.sampling_strategy == "random").then_some(own.seed),
        include_positives: own.include_positives,
    };
    let found = mine_hard_negatives(&query_vectors, &corpus_vectors, &positives, &options)?;
    let mut format = own.output_format;
    if own.include_positives && format != OutputFormat::NTuple {
        notice(global.quiet, "--include-positives keeps the order of ranks: rows are written as n-tuple");
        format = OutputFormat::NTuple;
    }
    let writer =
        Writer { names: [anchor, positive], format, scores: own.output_scores, wanted: own.num_negatives };
    let (mut text, mut rows) = (String::new(), 0);
    for ((query, positives), found) in queries.iter().zip(&positives).zip(&found) {
        rows += writer.write(&mut text, query, positives, &corpus, found)?;
    }
    let without = found.iter().filter(|own| own.negatives.is_empty()).count();
    if without > 0 {
        notice(
            global.quiet,
            format_args!(
                "{} of {} anchors have no negative that the options allow",
                grouped(without),
                grouped(queries.len())
            ),
        );
    }
    match &arguments.output {
        Some(path) => {
            sentir::train::record::write_text(path, &text).with_context(|| path.display().to_string())?;
            if !global.quiet {
                terminal::say(format_args!("wrote {} rows to {}", grouped(rows), path.display()));
            }
            Ok(())
        }
        None => terminal::print(|out| out.write_all(text.as_bytes())),
    }
}

fn encode(
    arguments: &super::Arguments,
    model: &SentenceTransformer,
    texts: &[String],
    task: Task,
    what: &'static str,
    quiet: bool,
) -> Result<Rows> {
    let texts = Texts { texts: texts.to_vec(), shown: Vec::new(), origin: Origin::Arguments };
    let prompt: &PromptArguments = &arguments.prompt;
    let encoding = Encoding { arguments: arguments.model()?, prompt, task, normalize: true, quiet, what };
    Ok(encoding.sentences(model, &texts)?.embeddings)
}

struct Writer<'a> {
    names: [&'a str; 2],
    format: OutputFormat,
    scores: bool,
    wanted: usize,
}

impl Writer<'_> {
    /// The rows of one anchor; returns how many.
    fn write(
        &self,
        out: &mut String,
        query: &str,
        positives: &[usize],
        corpus: &[String],
        found: &Negatives,
    ) -> Result<usize> {
        let [anchor, positive] = self.names;
        let mut rows = 0;
        let mut row = |cells: Vec<(&str, Value)>| -> Result<()> {
            let mut seen = HashSet::new();
            if let Some((name, _)) = cells.iter().find(|(name, _)| !seen.insert(*name)) {
                bail!("two columns would be called \"{name}\"; rename that of the input");
            }
            // Columns keep their order: losses go by it.
            let cells: Vec<String> =
                cells.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
            writeln!(out, "{{{}}}", cells.join(", "))?;
            rows += 1;
            Ok(())
        };
        let pairs = positives.iter().zip(&found.positive_scores);
        match self.format {
            OutputFormat::Triplet => {
                for (&own, &score) in pairs {
                    for &(negative, negative_score) in &found.negatives {
                        let mut cells = vec![
                            (anchor, json!(query)),
                            (positive, json!(corpus[own])),
                            ("negative", json!(corpus[negative])),
                        ];
                        if self.scores {
                            cells.push(("scores", json!([score, negative_score])));
                        }
                        row(cells)?;
                    }
                }
            }
            OutputFormat::NTuple if found.negatives.len() == self.wanted => {
                let names: Vec<String> = (1..=self.wanted).map(|i| format!("negative_{i}")).collect();
                for (&own, &score) in pairs {
                    let mut cells = vec![(anchor, json!(query)), (positive, json!(corpus[own]))];
                    let negatives = names.iter().zip(&found.negatives);
                    cells.extend(negatives.map(|(name, (row, _))| (name.as_str(), json!(corpus[*row]))));
                    if self.scores {
                        let all: Vec<f32> = [score]
                            .into_iter()
                            .chain(found.negatives.iter().map(|(_, score)| *score))
                            .collect();
                        cells.push(("scores", json!(all)));
                    }
                    row(cells)?;
                }
            }
            OutputFormat::NTuple => {}
            OutputFormat::LabeledPair => {
                let positives = pairs.map(|(&row, &score)| (row, score, 1));
                let negatives = found.negatives.iter().map(|&(row, score)| (row, score, 0));
                for (text, score, label) in positives.chain(negatives) {
                    let last = if self.scores { ("score", json!(score)) } else { ("label", json!(label)) };
                    row(vec![(anchor, json!(query)), (positive, json!(corpus[text])), last])?;
                }
            }
            OutputFormat::LabeledList if found.negatives.is_empty() => {}
            OutputFormat::LabeledList => {
                for (&own, &score) in pairs {
                    let all: Vec<(usize, f32)> =
                        [(own, score)].into_iter().chain(found.negatives.iter().copied()).collect();
                    let texts: Vec<&str> = all.iter().map(|(row, _)| corpus[*row].as_str()).collect();
                    let last = if self.scores {
                        ("scores", json!(all.iter().map(|(_, score)| *score).collect::<Vec<_>>()))
                    } else {
                        ("labels", json!((0..all.len()).map(|at| u8::from(at == 0)).collect::<Vec<_>>()))
                    };
                    row(vec![(anchor, json!(query)), (positive, json!(texts)), last])?;
                }
            }
        }
        Ok(rows)
    }
}
