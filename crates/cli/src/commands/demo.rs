//! `sentir demo`: the whole way from a knowledge base to a model that answers, on texts that come with the program. Needs neither a
//! network nor a model. What is measured, and the texts, are in `sentir::train::demo`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use sentir::train::arguments::TrainingArguments;
use sentir::train::demo::{Demo, Language, Scores};
use sentir::train::doctor::{self, Case};
use sentir::train::losses::MultipleNegativesRanking;
use sentir::train::record::{self, Evaluation, Source, TrainingRecord};
use sentir::train::scratch::{StaticTraining, train_static, write_static};
use sentir::train::trainer::{Event, Preset, Trained};
use sentir::train::update::Frozen;
use sentir::{EncodeOptions, SearchOptions, SentenceTransformer, directory, search};
use serde::Serialize;

use crate::arguments::Global;
use crate::interrupt::{self, Interrupted};
use crate::terminal::{self, grouped};

/// Train a small model on a built-in knowledge base and see how well it answers: no network, no model needed
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The language of the texts
    #[arg(long, value_name = "CODE", default_value = "en", value_parser = ["en", "ru"])]
    language: String,
    /// The new directory for the model and the texts
    #[arg(long, value_name = "DIR", default_value = "sentir-demo")]
    out: PathBuf,
    /// Decides what the model begins with, the order of the data and the typing errors in it
    #[arg(long, value_name = "N", default_value = "42")]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sentir demo
  sentir demo --language ru --out verba-ru
  sentir demo --json

The texts are those of a support desk that does not exist: 120 questions with
answers, 960 paraphrases to learn from, and more than 200 questions of users,
worded differently, that are only measured with. A vocabulary and a table of
vectors are learned from the texts alone, which takes some seconds.";

/// What is printed with `--json`.
#[derive(Serialize)]
struct Outcome {
    path: PathBuf,
    language: &'static str,
    entries: usize,
    paraphrases: usize,
    held_out: usize,
    findings: Vec<doctor::Finding>,
    updates: usize,
    seconds: f64,
    bm25: Scores,
    before: Scores,
    after: Scores,
    samples: Vec<Sample>,
}

/// A held-out question and what the model finds first.
#[derive(Serialize)]
struct Sample {
    question: String,
    found: String,
    answer: String,
    score: f32,
    right: bool,
}

/// Makes the directory, whole or not at all.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let language = Language::ALL.into_iter().find(|language| language.code() == arguments.language);
    let language = language.context("an unknown language")?;
    if arguments.out.exists() {
        bail!(
            "{} exists already; remove it first, or name another directory with --out",
            arguments.out.display()
        );
    }
    let demo = Demo::of(language)?;
    let say = |message: std::fmt::Arguments<'_>| {
        if !global.quiet && !arguments.json {
            terminal::say(message);
        }
    };
    say(format_args!(
        "Verba, a service that does not exist: {} questions with answers, {} paraphrases to learn from, {} held-out \
         questions to measure with.",
        demo.entries.len(),
        demo.paraphrases.len(),
        demo.held_out.len()
    ));
    let polling = interrupt::polling();
    let outcome = directory::create(&arguments.out, |new| make(&demo, language, arguments, new, &say))
        .map_err(|error: anyhow::Error| match error.downcast_ref() {
            Some(sentir::train::Error::Interrupted) => Interrupted::BEFORE_WRITING.into(),
            _ => error,
        })?;
    drop(polling);
    terminal::answer(arguments.json, &outcome, |out| write(out, &outcome))
}

/// Trains, measures and writes everything into `new`.
fn make(
    demo: &Demo,
    language: Language,
    arguments: &Arguments,
    new: &Path,
    say: &(dyn Fn(std::fmt::Arguments<'_>) + Sync),
) -> Result<Outcome> {
    let flag = interrupt::flag();
    let pairs = demo.pairs()?;
    let mut options = StaticTraining::default();
    (options.arguments.seed, options.model.seed) = (arguments.seed, arguments.seed);

    let fresh = tempfile::tempdir_in(new).with_context(|| new.display().to_string())?;
    let fresh = fresh.path().join("fresh");
    let texts: Vec<&String> = pairs.columns.iter().flat_map(|column| &column.texts).collect();
    write_static(&texts, &options.model, &fresh)?;
    let untrained = SentenceTransformer::load(fresh.to_str().context("the path is not UTF-8")?)?;
    let before = demo.measure(&untrained, Some(flag))?;
    let bm25 = demo.measure_bm25()?;

    let loss = MultipleNegativesRanking { scale: options.scale, ..MultipleNegativesRanking::default() };
    let data = [pairs];
    let examination = doctor::examine(Case {
        datasets: &data,
        model: &untrained,
        loss: &loss,
        arguments: &options.arguments,
        preset: Preset::default(),
        frozen: Frozen::default(),
        lora: None,
        interrupt: flag,
    })?;
    let found = examination.to_findings();
    say(format_args!(
        "\nThe training doctor looks at the data: {}",
        if found.is_empty() { "nothing to mend." } else { "" }
    ));
    if !found.is_empty() {
        say(format_args!("{found}"));
    }
    say(format_args!(
        "\nTraining a vocabulary of {} pieces and a table of {} components, from nothing but these texts ...",
        options.model.tokenizer.vocabulary, options.model.dimension
    ));
    let begun = Instant::now();
    let model = new.join("model");
    let trained = train_static(
        &data[0],
        &options,
        &model,
        &mut |event| {
            if let Event::Update(entry) = event
                && entry.step.is_multiple_of(50)
            {
                say(format_args!("  update {}: loss {:.3}", entry.step, entry.loss.unwrap_or(f64::NAN)));
            }
        },
        flag,
    )?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = demo.measure(&trained.model, Some(flag))?;
    let samples = samples(demo, &trained)?;
    // So many epochs as it took.
    let arguments_used =
        TrainingArguments { num_train_epochs: trained.updates.epochs as f64, ..options.arguments.clone() };
    let record = record::collect(Source {
        directory: &model,
        base_model: None,
        base_revision: None,
        datasets: &data,
        eval_datasets: &[],
        loss: &loss,
        arguments: &arguments_used,
        trained: &trained,
        notes: &[("data".to_owned(), format!("{} copies of each pair, with typing errors", options.copies))],
        joules: None,
        examination: Some(&examination),
        evaluators: &[],
    })?;
    let record = TrainingRecord {
        model: record::Model { language: vec![language.code().to_owned()], ..record.model.clone() },
        evaluations: vec![Evaluation {
            class: "InformationRetrievalEvaluator".to_owned(),
            name: Some("held-out questions".to_owned()),
            metrics: vec![
                ("cosine_accuracy@1".to_owned(), after.accuracy),
                ("cosine_mrr@10".to_owned(), after.mrr),
            ],
            primary: "cosine_accuracy@1".to_owned(),
        }],
        ..record
    };
    super::card::write_record(&record, &model)?;

    let rows = |file: &str, lines: String| {
        let path = new.join(file);
        std::fs::write(&path, lines).with_context(|| path.display().to_string())
    };
    rows("knowledge-base.jsonl", lines(&demo.entries)?)?;
    rows("questions.jsonl", lines(&demo.held_out)?)?;
    let [anchors, positives] = [0, 1].map(|i| &data[0].columns[i].texts);
    let pairs: Vec<_> = anchors
        .iter()
        .zip(positives)
        .map(|(anchor, positive)| serde_json::json!({"anchor": anchor, "positive": positive}))
        .collect();
    rows("pairs.jsonl", lines(&pairs)?)?;
    Ok(Outcome {
        path: arguments.out.clone(),
        language: language.code(),
        entries: demo.entries.len(),
        paraphrases: demo.paraphrases.len(),
        held_out: demo.held_out.len(),
        findings: examination.findings,
        updates: trained.state.global_step,
        seconds,
        bm25,
        before,
        after,
        samples,
    })
}

fn lines(rows: &[impl Serialize]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        writeln!(text, "{}", serde_json::to_string(row)?)?;
    }
    Ok(text)
}

/// Three held-out questions, from the beginning, the middle and the end.
fn samples(demo: &Demo, trained: &Trained) -> Result<Vec<Sample>> {
    let model = &trained.model;
    let count = demo.held_out.len();
    let chosen = [count / 6, count / 2, count * 5 / 6].map(|i| &demo.held_out[i]);
    let questions: Vec<&str> = demo.entries.iter().map(|entry| &*entry.question).collect();
    let options = EncodeOptions::default();
    let corpus = model.encode_document(&questions, &options)?.embeddings;
    let queries = model.encode_query(&chosen.map(|text| &*text.text), &options)?.embeddings;
    let found = search(&queries, &corpus, &SearchOptions { top_k: 1, ..SearchOptions::default() })?;
    let sample = |(text, hits): (&sentir::train::demo::Text, &Vec<sentir::Hit>)| {
        let hit = hits.first()?;
        let entry = &demo.entries[hit.index];
        Some(Sample {
            question: text.text.clone(),
            found: entry.question.clone(),
            answer: entry.answer.clone(),
            score: hit.score,
            right: entry.id == text.id,
        })
    };
    Ok(chosen.into_iter().zip(&found).filter_map(sample).collect())
}

fn write(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    let Outcome { path, bm25, before, after, .. } = outcome;
    writeln!(out, "{} updates in {:.1} s.\n", grouped(outcome.updates), outcome.seconds)?;
    writeln!(out, "Held-out questions that find their entry among {}:", outcome.entries)?;
    writeln!(out, "{:36} accuracy@1   MRR@10", "")?;
    for (name, scores) in [
        ("words in common (BM25)", bm25),
        ("the model before training", before),
        ("the model after training", after),
    ] {
        writeln!(out, "  {name:34}      {:.3}    {:.3}", scores.accuracy, scores.mrr)?;
    }
    writeln!(out, "\nThree of them:")?;
    for sample in &outcome.samples {
        let note = if sample.right { "" } else { "   (another entry would be right)" };
        writeln!(out, "\n  {}", sample.question)?;
        writeln!(out, "  {:.2}  {}{note}", sample.score, sample.found)?;
        writeln!(out, "        {}", sample.answer)?;
    }
    let shown = path.display();
    // As it was called: it may not be in the path.
    let program = std::env::args().next().unwrap_or_else(|| "sentir".to_owned());
    let (question, other) = match outcome.language {
        "ru" => ("карта не проходит при оплате", "en"),
        _ => ("my card does not go through", "ru"),
    };
    writeln!(
        out,
        "\nIn {shown}: model (sentence-transformers opens it too; README.md is its card), knowledge-base.jsonl, pairs.jsonl, questions.jsonl"
    )?;
    writeln!(out, "\nNext:")?;
    writeln!(
        out,
        "  {program} search --model {shown}/model --corpus {shown}/knowledge-base.jsonl \\\n      --column question --show answer \"{question}\""
    )?;
    writeln!(
        out,
        "  {program} train --from-scratch static --data your-pairs.jsonl --columns anchor,positive --out your-model"
    )?;
    writeln!(out, "  {program} demo --language {other} --out {shown}-{other}")
}
