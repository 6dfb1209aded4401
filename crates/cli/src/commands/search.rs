//! `sentir search`: the texts of a corpus that are nearest to each question.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sentir::{Hit, Rows, SearchOptions, SentenceTransformer, Similarity, Task, search};
use serde::Serialize;

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
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// The column of the corpus that holds the texts; needed if there is more than one
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Format of the corpus, where the extension does not tell
    #[arg(long, value_name = "FORMAT", value_enum)]
    corpus_format: Option<Format>,
    /// More columns of the corpus to print with each hit, separated by commas
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
\"show\": {\"answer\": \"...\"} too.";

/// Encodes the corpus once, then answers.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let columns = Columns {
        text: arguments.column.as_deref(),
        shown: &arguments.show,
        option: "--column",
        format_option: "--corpus-format",
    };
    let corpus = input::read(&arguments.corpus, arguments.corpus_format, columns)?;
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
    let vectors = encoding.sentences(&model, &corpus)?.embeddings;
    let searcher = Searcher { arguments, quiet: global.quiet, model: &model, corpus: &corpus, vectors };
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

/// The answer to one question, for scripts.
#[derive(Serialize)]
struct QueryLine<'a> {
    query: usize,
    hits: Vec<HitLine<'a>>,
}

#[derive(Serialize)]
struct HitLine<'a> {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<BTreeMap<&'a str, &'a str>>,
}

/// A corpus ready to be searched.
struct Searcher<'a> {
    arguments: &'a Arguments,
    quiet: bool,
    model: &'a SentenceTransformer,
    corpus: &'a Texts,
    vectors: Rows,
}

impl Searcher<'_> {
    /// The hits of each question.
    fn find(&self, questions: &Texts) -> Result<Vec<Vec<Hit>>> {
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
        let similarity = self.arguments.similarity_fn.unwrap_or(self.model.similarity_function());
        Ok(search(&questions, &self.vectors, &SearchOptions { similarity, top_k: self.arguments.top_k })?)
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
        hits: &[Hit],
    ) -> io::Result<()> {
        let shown = |hit: &Hit| -> Vec<(&str, &str)> {
            let columns = self.arguments.show.iter().zip(&self.corpus.shown);
            columns.map(|(name, values)| (name.as_str(), values[hit.index].as_str())).collect()
        };
        if self.arguments.json {
            let hits = hits.iter().map(|hit| HitLine {
                index: hit.index,
                score: hit.score,
                show: (!self.arguments.show.is_empty()).then(|| shown(hit).into_iter().collect()),
            });
            serde_json::to_writer(&mut *out, &QueryLine { query: index, hits: hits.collect() })?;
            return writeln!(out);
        }
        const LETTERS: usize = 90;
        if let Some(question) = question {
            writeln!(out, "{index}: {}", line(question, LETTERS))?;
        }
        writeln!(out, "   score  index  text")?;
        for hit in hits {
            writeln!(
                out,
                "{:>8.4}  {:>5}  {}",
                hit.score,
                hit.index,
                line(&self.corpus.texts[hit.index], LETTERS)
            )?;
            for (name, value) in shown(hit) {
                for (number, line) in lines(value).enumerate() {
                    let label = if number == 0 { format!("{name}: ") } else { String::new() };
                    writeln!(out, "{:17}{label}{line}", "")?;
                }
            }
        }
        writeln!(out)
    }
}
