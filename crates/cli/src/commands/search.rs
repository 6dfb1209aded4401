//! `sentir search`: the texts of a corpus that are nearest to each question.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::index::{Found, Index, Store};
use sentir::{Hit, Rows, SearchOptions, SentenceTransformer, Similarity, Task, search};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{Global, ModelArguments, PromptArguments, at_least_one, similarity_function};
use crate::input::{self, Columns, Format, Origin, Texts};
use crate::model::{self, Encoding};
use crate::terminal::{self, line, lines};

/// Find the nearest texts of a corpus
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The question; without it, and without --queries, questions are read from standard input, one a line
    #[arg(conflicts_with = "queries")]
    question: Option<String>,
    /// File of texts to search in: .txt, .jsonl, .csv, .tsv or .parquet
    #[arg(long, value_name = "FILE", required_unless_present = "index")]
    corpus: Option<PathBuf>,
    /// An index to search in, from sentir index
    #[arg(long, value_name = "DIR", conflicts_with_all = ["corpus", "column", "corpus_format", "corpus_prompt", "corpus_prompt_name", "similarity_fn"])]
    index: Option<PathBuf>,
    /// The column of the corpus that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Format of the corpus, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    corpus_format: Option<Format>,
    /// More columns of the corpus, or of what the index keeps, to print with each hit, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    show: Vec<String>,
    /// File of questions
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// The column of the questions; needed if there is more than one
    #[arg(long, value_name = "NAME", requires = "queries")]
    query_column: Option<String>,
    /// Format of the questions, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum, requires = "queries")]
    queries_format: Option<Format>,
    /// How many texts to find for each question
    #[arg(long, short = 'k', value_name = "N", default_value = "10", value_parser = at_least_one())]
    top_k: usize,
    #[command(flatten)]
    model: ModelArguments,
    /// The name of the model's prompt for questions [default: query, if there is one]
    #[arg(long, value_name = "NAME", conflicts_with = "prompt", help_heading = "Model")]
    prompt_name: Option<String>,
    /// A prompt of your own for questions
    #[arg(long, value_name = "TEXT", help_heading = "Model")]
    prompt: Option<String>,
    /// The name of the model's prompt for the corpus [default: document, passage or corpus, if there is one]
    #[arg(long, value_name = "NAME", conflicts_with = "corpus_prompt", help_heading = "Model")]
    corpus_prompt_name: Option<String>,
    /// A prompt of your own for the corpus
    #[arg(long, value_name = "TEXT", help_heading = "Model")]
    corpus_prompt: Option<String>,
    /// How vectors are compared [default: the model's own, else cosine]
    #[arg(long, value_name = "NAME", value_parser = similarity_function())]
    similarity_fn: Option<Similarity>,
    /// Print a JSON object per question: {"query": 0, "hits": [{"index": 5, "score": 0.83}, ...]}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir search --model models/all-MiniLM-L6-v2 --corpus examples/faq.jsonl \\
      --column question --show answer \"how can I put a clip online\"
  sentir search --model models/all-MiniLM-L6-v2 --corpus examples/faq.jsonl \\
      --column question --queries examples/questions.jsonl --query-column text \\
      --top-k 3 --json
  sentir search --model models/all-MiniLM-L6-v2 --corpus examples/faq.jsonl \\
      --column question --show answer

The last one asks for questions until Ctrl-D. Indices count the lines or rows
of the files from zero, a header not counted. With --show, a hit in JSON has
\"show\": {\"answer\": \"...\"} too; with --index, it has \"id\" in place of \"index\".";

/// Encodes the corpus once, or opens the index, then answers.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let texts = match &arguments.corpus {
        Some(path) => {
            let columns = Columns {
                text: arguments.column.as_deref(),
                shown: &arguments.show,
                option: "--column",
                format_option: "--corpus-format",
            };
            Some(input::read(path, arguments.corpus_format, columns)?)
        }
        None => None,
    };
    let queries = match (&arguments.queries, &arguments.question) {
        (Some(path), _) => {
            let columns = Columns {
                text: arguments.query_column.as_deref(),
                shown: &[],
                option: "--query-column",
                format_option: "--queries-format",
            };
            Some(input::read(path, arguments.queries_format, columns)?)
        }
        (None, Some(question)) => Some(one(question)),
        (None, None) => None,
    };
    let model = model::load(&arguments.model, global)?;
    let corpus = match (texts, &arguments.index) {
        (Some(texts), _) => {
            let prompt = PromptArguments {
                prompt_name: arguments.corpus_prompt_name.clone(),
                prompt: arguments.corpus_prompt.clone(),
            };
            let encoding = Encoding {
                arguments: &arguments.model,
                prompt: &prompt,
                task: Task::Document,
                normalize: false,
                quiet: global.quiet,
                what: "corpus",
            };
            let vectors = encoding.sentences(&model, &texts)?.embeddings;
            Corpus::Texts { texts, vectors }
        }
        (None, Some(path)) => {
            let index = Index::open(path)?;
            super::index::check_model(&index, path, &model, arguments.model.truncate_dim, global.quiet)?;
            Corpus::Index(index)
        }
        (None, None) => bail!("give --corpus or --index"),
    };
    let searcher = Searcher { arguments, quiet: global.quiet, model: &model, corpus };
    match queries {
        Some(queries) => {
            let hits = searcher.find(&queries)?;
            terminal::print(|out| {
                let many = queries.texts.len() > 1;
                for (index, (question, hits)) in queries.texts.iter().zip(&hits).enumerate() {
                    searcher.write(out, index, many.then_some(question.as_str()), hits)?;
                }
                Ok(())
            })
        }
        None => searcher.converse(),
    }
}

fn one(question: &str) -> Texts {
    Texts { texts: vec![question.to_owned()], shown: Vec::new(), origin: Origin::Arguments }
}

/// What is searched in.
enum Corpus {
    Texts { texts: Texts, vectors: Rows },
    Index(Index),
}

/// A text that was found.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    score: f32,
    /// With an index, whose file may be far away.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    show: BTreeMap<String, String>,
}

/// The answer to one question, for scripts.
#[derive(Serialize)]
struct QueryLine<'a> {
    query: usize,
    hits: &'a [Answer],
}

/// A corpus ready to be searched.
struct Searcher<'a> {
    arguments: &'a Arguments,
    quiet: bool,
    model: &'a SentenceTransformer,
    corpus: Corpus,
}

impl Searcher<'_> {
    /// The hits of each question.
    fn find(&self, questions: &Texts) -> Result<Vec<Vec<Answer>>> {
        let prompt = PromptArguments {
            prompt_name: self.arguments.prompt_name.clone(),
            prompt: self.arguments.prompt.clone(),
        };
        let encoding = Encoding {
            arguments: &self.arguments.model,
            prompt: &prompt,
            task: Task::Query,
            normalize: false,
            quiet: self.quiet,
            what: "questions",
        };
        let questions = encoding.sentences(self.model, questions)?.embeddings;
        let top_k = self.arguments.top_k;
        match &self.corpus {
            Corpus::Texts { texts, vectors } => {
                let similarity = self.arguments.similarity_fn.unwrap_or(self.model.similarity_function());
                let found = search(&questions, vectors, &SearchOptions { similarity, top_k })?;
                let shown = |row: usize| {
                    let columns = self.arguments.show.iter().zip(&texts.shown);
                    columns.map(|(name, values)| (name.clone(), values[row].clone())).collect()
                };
                let answer = |hit: Hit| Answer {
                    index: Some(hit.index),
                    id: None,
                    score: hit.score,
                    text: None,
                    show: shown(hit.index),
                };
                Ok(found.into_iter().map(|hits| hits.into_iter().map(answer).collect()).collect())
            }
            Corpus::Index(index) => {
                let found = index.search(&questions, top_k)?;
                found
                    .into_iter()
                    .map(|hits| hits.into_iter().map(|hit| self.of_index(hit)).collect())
                    .collect()
            }
        }
    }

    fn of_index(&self, found: Found) -> Result<Answer> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut show = BTreeMap::new();
        for name in &self.arguments.show {
            let Some(value) = found.entry.get(name) else {
                let kept: Vec<&str> = found.entry.keys().map(String::as_str).collect();
                bail!("--show {name}: the index keeps {}; build it with --show {name}", kept.join(", "));
            };
            show.insert(name.clone(), text(value));
        }
        Ok(Answer {
            index: None,
            id: Some(found.id),
            score: found.score,
            text: found.entry.get("text").map(text),
            show,
        })
    }

    /// Answers the lines of standard input one by one until its end.
    fn converse(&self) -> Result<()> {
        let prompting = !self.quiet && io::stdin().is_terminal();
        terminal::invite(self.quiet, "type a question and press Enter; end with Ctrl-D");
        let mut question = Vec::new();
        for index in 0.. {
            if prompting {
                let _ = write!(io::stderr(), "> ");
            }
            question.clear();
            let read = io::stdin().lock().read_until(b'\n', &mut question);
            if read.context("standard input cannot be read")? == 0 {
                break;
            }
            let question = std::str::from_utf8(&question).with_context(|| {
                format!("standard input: line {}: not valid UTF-8; type it again", index + 1)
            })?;
            let question = question.trim_end_matches(['\r', '\n']);
            // Nobody asks for nothing at a terminal; in a file the line counts.
            if question.is_empty() && prompting {
                continue;
            }
            let hits = self.find(&one(question))?;
            terminal::print(|out| self.write(out, index, None, &hits[0]))?;
        }
        if prompting {
            terminal::say("");
        }
        Ok(())
    }

    /// The hits of question `index`, for scripts or for people.
    fn write(
        &self,
        out: &mut dyn Write,
        index: usize,
        question: Option<&str>,
        hits: &[Answer],
    ) -> io::Result<()> {
        if self.arguments.json {
            serde_json::to_writer(&mut *out, &QueryLine { query: index, hits })?;
            return writeln!(out);
        }
        const LETTERS: usize = 90;
        if let Some(question) = question {
            writeln!(out, "{index}: {}", line(question, LETTERS))?;
        }
        let key = if matches!(self.corpus, Corpus::Index(_)) { "id" } else { "index" };
        writeln!(out, "   score  {key:>5}  text")?;
        for hit in hits {
            let (key, text) = match (&self.corpus, hit.index) {
                (Corpus::Texts { texts, .. }, Some(row)) => (row.to_string(), texts.texts[row].as_str()),
                _ => (hit.id.clone().unwrap_or_default(), hit.text.as_deref().unwrap_or_default()),
            };
            writeln!(out, "{:>8.4}  {:>5}  {}", hit.score, line(&key, 20), line(text, LETTERS))?;
            // In the order in which they were asked for.
            for name in &self.arguments.show {
                let value = hit.show.get(name).map_or("", String::as_str);
                for (number, line) in lines(value).enumerate() {
                    let label = if number == 0 { format!("{name}: ") } else { String::new() };
                    writeln!(out, "{:17}{label}{line}", "")?;
                }
            }
        }
        writeln!(out)
    }
}
