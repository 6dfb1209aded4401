//! The reference card, taken apart and put together again; hostile texts; what parsers other than ours find.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sentir_model::tokens::Tokenizer;
use sentir_model::{LoadOptions, SentenceTransformer, Trainable};
use serde_json::{Value, json};

use super::*;
use crate::arguments::TrainingArguments;
use crate::data::Dataset;
use crate::evaluate::{EvalLoss, InformationRetrieval, Query, Several};
use crate::losses::MultipleNegativesRanking;
use crate::record::{
    ColumnStatistics, Evaluation, Measure, Measured, Model, Module, Source, Statistics, Widget, collect,
};
use crate::trainer::Training;

/// A card in parts.
#[derive(Debug, PartialEq)]
struct Parsed {
    yaml: Value,
    headings: Vec<String>,
    /// The lines `- **name:** value`.
    facts: Vec<(String, String)>,
    tables: Vec<Vec<Vec<String>>>,
    /// Lists under headings: `- name: value`, without signs of code.
    lists: Vec<(String, Vec<(String, String)>)>,
    /// Blocks of code by language.
    blocks: Vec<(String, String)>,
    /// Lines that begin with a star.
    stars: Vec<String>,
    /// All lines outside of blocks of code.
    prose: String,
}

fn parse(card: &str) -> Parsed {
    let (front, body) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let yaml: Value = serde_yaml_ng::from_str(front).unwrap();
    let mut parsed = Parsed {
        yaml,
        headings: Vec::new(),
        facts: Vec::new(),
        tables: Vec::new(),
        lists: Vec::new(),
        blocks: Vec::new(),
        stars: Vec::new(),
        prose: String::new(),
    };
    let mut fence: Option<(String, String, String)> = None;
    let mut in_table = false;
    for line in body.lines() {
        let inner = line.trim_start();
        let ticks = inner.len() - inner.trim_start_matches('`').len();
        if let Some((mark, language, text)) = &mut fence {
            if ticks >= mark.len() && inner.trim() == mark {
                parsed.blocks.push((language.clone(), text.clone()));
                fence = None;
            } else {
                let _ = writeln!(text, "{line}");
            }
            continue;
        }
        if ticks >= 3 {
            fence = Some((inner[..ticks].to_owned(), inner[ticks..].to_owned(), String::new()));
            continue;
        }
        let _ = writeln!(parsed.prose, "{line}");
        if inner.starts_with('|') {
            let cells = inner.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            let cells: Vec<String> = cells.collect();
            if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| c == ':' || c == '-')) {
                continue;
            }
            if !in_table {
                parsed.tables.push(Vec::new());
            }
            parsed.tables.last_mut().unwrap().push(cells);
            in_table = true;
            continue;
        }
        in_table = false;
        if line.starts_with('#') {
            parsed.headings.push(line.to_owned());
            parsed.lists.push((line.to_owned(), Vec::new()));
        } else if let Some((name, value)) = line.strip_prefix("- **").and_then(|rest| rest.split_once(":** "))
        {
            parsed.facts.push((name.to_owned(), value.to_owned()));
        } else if let Some((name, value)) = line.strip_prefix("- ").and_then(|rest| rest.split_once(": ")) {
            let list = &mut parsed.lists.last_mut().unwrap().1;
            list.push((name.trim_matches('`').to_owned(), value.to_owned()));
        } else if line.starts_with("* ") {
            parsed.stars.push(line.to_owned());
        }
    }
    parsed.lists.retain(|(_, list)| !list.is_empty());
    parsed
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?}")).1;
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

/// What Python printed, as JSON.
fn from_python(text: &str) -> Value {
    let json =
        text.replace('\'', "\"").replace("None", "null").replace("True", "true").replace("False", "false");
    serde_json::from_str(&json).unwrap_or_else(|_| Value::from(text))
}

/// The settings of a module, in their order.
fn settings(line: &str) -> Vec<(String, Value)> {
    let inside = between(line, "({", "})");
    inside
        .split(", '")
        .map(|entry| {
            let (name, value) = entry.split_once("': ").unwrap();
            (name.trim_matches('\'').to_owned(), from_python(value))
        })
        .collect()
}

/// The facts of a card of style 3.1, as the record of a run.
fn record_of(card: &str) -> TrainingRecord {
    let parsed = parse(card);
    let fact = |name: &str| parsed.facts.iter().find(|(own, _)| own == name).unwrap().1.clone();
    let number = |text: &str| text.split(' ').next().unwrap().replace(',', "").parse::<usize>().unwrap();
    let list = |heading: &str| parsed.lists.iter().find(|(own, _)| own.ends_with(heading)).unwrap().1.clone();
    let architecture =
        &parsed.blocks.iter().find(|(_, text)| text.starts_with("SentenceTransformer(")).unwrap().1;
    let modules = architecture.lines().filter(|line| line.starts_with("  (")).map(|line| Module {
        class: between(line, "): ", "(").to_owned(),
        settings: settings(line),
        architecture: line
            .contains("Transformer model")
            .then(|| between(line, "model: ", " ").trim().to_owned()),
    });
    let [statistics, samples] = parsed.tables.as_slice() else { panic!("{} tables", parsed.tables.len()) };
    let columns: Vec<String> = samples[0].clone();
    let measure = |cell: &str| {
        let of = |name: &str| between(cell, &format!("{name}: "), " tokens").parse::<f64>().unwrap();
        Measure::Tokens { min: of("min") as u64, mean: of("mean"), max: of("max") as u64 }
    };
    let column =
        |(kind, cell): (&String, &String)| ColumnStatistics { dtype: kind.clone(), measure: measure(cell) };
    let star = |begin: &str| parsed.stars.iter().find_map(|line| line.strip_prefix(begin)).unwrap();
    let parameters: Value =
        serde_json::from_str(&parsed.blocks.iter().find(|(language, _)| language == "json").unwrap().1)
            .unwrap();
    let text = |cell: &String| between(cell, "<code>", "</code>").to_owned();
    let widget = parsed.yaml["widget"].as_array().unwrap().iter();
    let all = list("All Hyperparameters");
    // A value that is empty leaves nothing after the colon and its space.
    let arguments = all.iter().map(|(name, value)| (name.clone(), from_python(value)));
    TrainingRecord {
        model: Model {
            base_model: Some(parsed.yaml["base_model"].as_str().unwrap().to_owned()),
            base_revision: Some(between(&fact("Base model"), "revision ", " ").to_owned()),
            max_seq_length: Some(number(&fact("Maximum Sequence Length"))),
            dimension: number(&fact("Output Dimensionality")),
            similarity: fact("Similarity Function").split(' ').next().unwrap().to_lowercase(),
            modules: modules.collect(),
            ..Model::default()
        },
        datasets: vec![DataFacts {
            size: number(star("* Size: ")),
            columns,
            statistics: vec![Statistics {
                rows: number(star("* Approximate statistics based on the first ")),
                columns: statistics[1][1..].iter().zip(&statistics[2][1..]).map(column).collect(),
            }],
            samples: samples[1..].iter().map(|row| row.iter().map(text).collect()).collect(),
            loss: between(star("* Loss: "), "<code>", "</code>").to_owned(),
            loss_parameters: ["scale", "similarity_fct"]
                .map(|name| (name.to_owned(), parameters[name].clone()))
                .into(),
            ..DataFacts::default()
        }],
        arguments: arguments.collect(),
        non_default: list("Non-Default Hyperparameters").into_iter().map(|(name, _)| name).collect(),
        widget: widget.map(|widget| serde_json::from_value(widget.clone()).unwrap()).collect(),
        versions: list("Framework Versions"),
        ..TrainingRecord::default()
    }
}

/// Keys of bibliography entries and their fields, without regard to spaces, quotes and the order of lines.
fn entries(parsed: &Parsed) -> Vec<Vec<String>> {
    let plain = |line: &str| line.chars().filter(|c| !" \"{},".contains(*c)).collect::<String>();
    let blocks = parsed.blocks.iter().filter(|(language, _)| language == "bibtex");
    blocks.map(|(_, text)| text.lines().map(plain).filter(|line| !line.is_empty()).collect()).collect()
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_reference_card_comes_out_of_its_own_facts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/seed-card.md");
    let Ok(card) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: ../shared/reference/seed-card.md is not there");
        return;
    };
    let (expected, record) = (parse(&card), record_of(&card));
    assert_eq!((record.widget.len(), record.arguments.len(), record.non_default.len()), (5, 111, 4));
    let found = parse(&render(&record, Style::V3));
    assert_eq!(found.yaml, expected.yaml);
    assert_eq!(found.headings, expected.headings);
    assert_eq!(found.tables, expected.tables);
    assert_eq!(found.facts, expected.facts);
    assert_eq!(found.lists, expected.lists);
    assert_eq!(found.stars, expected.stars);
    for kind in ["", "json"] {
        let blocks = |parsed: &Parsed| -> Vec<String> {
            let own = parsed.blocks.iter().filter(|(language, _)| language == kind);
            own.map(|(_, text)| text.clone()).collect()
        };
        assert_eq!(blocks(&found), blocks(&expected));
    }
    let bibliography = entries(&found);
    assert_eq!(bibliography.len(), 2);
    assert_eq!(bibliography, entries(&expected));
}

/// Texts that mean something to Markdown, HTML, YAML or Python.
const HOSTILE: [&str; 14] = [
    "a | b || c",
    "`code` ``` and ````",
    "two\nlines\r\n\nand more",
    "---\ntitle: not front matter\n---",
    "\"double\" and 'single' \\ back",
    "🙂 👩‍👩‍👧 \u{1F600}",
    "שלום \u{202e}olleh\u{202c} عالم",
    "</code></td><script>alert(1)</script><!-- x -->",
    "- item: value # no comment",
    "yes",
    "1.0",
    " spaces around ",
    "\u{0}\u{7}\u{85}\u{2028}\u{feff}\u{fffd}\t",
    "{{ x }} {% y %} ${z} *a* _b_ [c](d) ~~e~~ & &amp;",
];

fn hostile(seed: usize) -> TrainingRecord {
    let long = "0123456789 слово ".repeat(640);
    let text = |i: usize| match (seed + i) % 15 {
        14 => long.clone(),
        i => HOSTILE[i].to_owned(),
    };
    let column = |name: String| {
        (
            name,
            ColumnStatistics {
                dtype: "string".to_owned(),
                measure: Measure::Tokens { min: 3, mean: 4.25, max: 9 },
            },
        )
    };
    let (columns, statistics) = [column(text(3)), column("sentence_1".to_owned())].into_iter().unzip();
    TrainingRecord {
        model: Model {
            base_model: Some(if seed.is_multiple_of(2) { "a-b/c_d.e".to_owned() } else { text(1) }),
            dimension: 8,
            similarity: "cosine".to_owned(),
            ..Model::default()
        },
        datasets: vec![DataFacts {
            name: Some(text(2)),
            size: 3,
            columns,
            statistics: vec![Statistics { rows: 3, columns: statistics }],
            samples: (0..3).map(|row| vec![text(2 * row), text(2 * row + 1)]).collect(),
            loss: "MultipleNegativesRankingLoss".to_owned(),
            ..DataFacts::default()
        }],
        arguments: vec![("prompts".to_owned(), json!({"query": text(5)}))],
        non_default: vec!["prompts".to_owned()],
        ran: vec![("note".to_owned(), text(6))],
        findings: vec![text(7)],
        evaluations: vec![Evaluation {
            class: "InformationRetrievalEvaluator".to_owned(),
            name: Some(text(8)),
            metrics: vec![("cosine_ndcg@10".to_owned(), 0.5), ("cosine_mrr@10".to_owned(), 1.0 / 3.0)],
            primary: "cosine_ndcg@10".to_owned(),
        }],
        widget: (0..3)
            .map(|i| Widget { source_sentence: text(i), sentences: vec![text(i + 5), text(i + 9)] })
            .collect(),
        example: (0..3).map(text).collect(),
        versions: vec![("sentir".to_owned(), "0".to_owned())],
        ..TrainingRecord::default()
    }
}

#[test]
fn hostile_texts_come_back_and_tables_keep_their_columns() {
    // In style 3.1, prompts are no argument.
    let mut headings = [None; 2];
    for seed in 0..15 {
        for style in [Style::V3, Style::V6] {
            let record = hostile(seed);
            let card = render(&record, style);
            let parsed = parse(&card);
            let widget = serde_json::to_value(&record.widget).unwrap();
            assert_eq!(parsed.yaml["widget"], widget, "{seed}");
            assert_eq!(parsed.yaml["model-index"][0]["results"][0]["metrics"][1]["value"], json!(1.0 / 3.0));
            for table in &parsed.tables {
                assert!(table.iter().all(|row| row.len() == table[0].len()), "{seed}: {table:?}");
            }
            assert_eq!(parsed.tables.len(), 3);
            // Nothing opens a comment, a section or a block that the card does not have.
            let sections = parsed.headings.len();
            let expected = *headings[usize::from(style == Style::V6)].get_or_insert(sections);
            assert_eq!(sections, expected, "{seed}: {:?}", parsed.headings);
            assert!(!parsed.prose.contains("<script"));
            assert_eq!(parsed.prose.matches("<!--").count(), parsed.prose.matches("-->").count());
        }
    }
}

/// 30 cards, read by huggingface_hub and PyYAML (`golden/check_cards.py`).
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_code_of_the_hub_reads_every_card() {
    let Some(python) = std::env::var_os("SENTIR_PYTHON") else {
        eprintln!("SKIPPED: SENTIR_PYTHON names no Python with huggingface_hub and PyYAML");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..15 {
        for (name, style) in [("3", Style::V3), ("6", Style::V6)] {
            let record = hostile(seed);
            let path = |end: &str| folder.path().join(format!("{seed}-{name}.{end}"));
            std::fs::write(path("md"), render(&record, style)).unwrap();
            let expected =
                json!({"widget": record.widget, "tables": 3, "base_model": record.model.base_model});
            std::fs::write(path("json"), expected.to_string()).unwrap();
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/check_cards.py");
    let output = std::process::Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("30 cards"), "{said}");
}

/// `golden/make_card.py`: the method of 3.1.1 over real questions.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn statistics_are_those_of_sentence_transformers() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let Ok(text) = std::fs::read_to_string(shared.join("data/rutube/pairs.jsonl")) else {
        eprintln!("SKIPPED: ../shared/data/rutube is not there");
        return;
    };
    let tokenizer = Tokenizer::load_json_alone(&shared.join("tokenizers/xlm-roberta")).unwrap();
    let golden = crate::golden::read("card.json");
    let rows = golden["rows"].as_u64().unwrap() as usize;
    assert_eq!(rows, 1000);
    for column in ["anchor", "positive"] {
        let lengths = text.lines().take(rows).map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            tokenizer.encode("", row[column].as_str().unwrap().trim()).unwrap().ids.len().min(512)
        });
        let own = &golden["statistics"][column];
        let expected = Measure::Tokens {
            min: own["min"].as_u64().unwrap(),
            mean: own["mean"].as_f64().unwrap(),
            max: own["max"].as_u64().unwrap(),
        };
        assert_eq!(Measure::tokens(lengths), expected, "{column}");
    }
}

/// `golden/make_card6.py`: the same training there and here. What depends on dropout is not compared.
#[test]
fn a_card_of_release_6_has_the_parts_of_theirs() {
    let golden = crate::golden::read("card6.json");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let pairs = Dataset::read("pairs", &[root.join("training/pairs.jsonl")], None).unwrap();
    let arguments = json!({
        "per_device_train_batch_size": 6, "num_train_epochs": 2, "learning_rate": 1e-4, "logging_steps": 2,
        "eval_strategy": "epoch", "save_strategy": "no",
    });
    let arguments = TrainingArguments::from_map(arguments.as_object().unwrap()).unwrap().0;
    let options = LoadOptions { trainable: Trainable::Everything, ..LoadOptions::default() };
    let model = SentenceTransformer::load_with(root.join("models/bert").to_str().unwrap(), &options).unwrap();
    let loss = MultipleNegativesRanking::default();
    let query = |(i, text): (usize, &String)| Query {
        id: i.to_string(),
        text: text.clone(),
        relevant: vec![i.to_string()],
    };
    let queries = pairs.columns[0].texts.iter().enumerate().map(query).collect();
    let corpus =
        pairs.columns[1].texts.iter().enumerate().map(|(i, text)| (i.to_string(), text.clone())).collect();
    let retrieval = InformationRetrieval::new("", queries, corpus).unwrap();
    let own = EvalLoss::new(vec![pairs.clone()], &loss, None, &arguments).unwrap();
    let evaluator = Several::new(vec![Box::new(retrieval), Box::new(own)]).unwrap();
    let interrupt = AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    let training = Training {
        evaluator: Some(&evaluator),
        output_dir: Some(folder.path()),
        ..Training::new(model, vec![pairs.clone()], &loss, &arguments, &interrupt)
    };
    let trained = training.run(&mut |_| ()).unwrap();
    let data = [pairs];
    let source = Source {
        directory: folder.path(),
        base_model: None,
        base_revision: None,
        datasets: &data,
        eval_datasets: &data,
        loss: &loss,
        arguments: &arguments,
        trained: &trained,
        notes: &[],
        joules: None,
        examination: None,
        evaluators: &[Measured {
            class: "InformationRetrievalEvaluator".to_owned(),
            name: String::new(),
            primary: "cosine_ndcg@10".to_owned(),
            metrics: Vec::new(),
        }],
    };
    let parsed = parse(&render(&collect(source).unwrap(), Style::V6));
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(parsed.headings, texts(&golden["headings"]));
    let mut keys: Vec<String> = parsed.yaml.as_object().unwrap().keys().cloned().collect();
    let mut expected = texts(&golden["yaml_keys"]);
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    let block = |kind: &str| parsed.blocks.iter().find(|(own, _)| own == kind).unwrap().1.clone();
    assert_eq!(block(""), golden["architecture"].as_str().unwrap());
    let parameters: Value = serde_json::from_str(&block("json")).unwrap();
    assert_eq!(parameters, golden["loss_parameters"]);
    let citations = parsed.blocks.iter().filter(|(own, _)| own == "bibtex");
    let keys: Vec<String> = citations.map(|(_, text)| between(text, "{", ",").to_owned()).collect();
    assert_eq!(keys, texts(&golden["citations"]));
    let list = parsed.lists.iter().find(|(heading, _)| heading.ends_with("All Hyperparameters")).unwrap();
    let theirs: Vec<(String, String)> = serde_json::from_value(golden["hyperparameters"].clone()).unwrap();
    assert_eq!(list.1.len(), theirs.len());
    for ((name, value), (their_name, their_value)) in list.1.iter().zip(&theirs) {
        assert_eq!(name, their_name);
        // The device is no argument here, and 2 epochs are the number 2.0.
        let apart = ["use_cpu", "dataloader_pin_memory"].contains(&name.as_str());
        let number = value.strip_suffix(".0").filter(|_| name == "num_train_epochs").unwrap_or(value);
        assert!(apart || number == their_value, "{name}: {value} and {their_value}");
    }
    let tables: Vec<Vec<Vec<String>>> = serde_json::from_value(golden["tables"].clone()).unwrap();
    assert_eq!(parsed.tables.len(), tables.len());
    // Statistics and samples are the same; of measurements and the log, names and places.
    assert_eq!(parsed.tables[1..5], tables[1..5]);
    let first = |table: &[Vec<String>], cells: usize| -> Vec<Vec<String>> {
        table.iter().map(|row| row[..cells].iter().map(|cell| cell.replace('*', "")).collect()).collect()
    };
    assert_eq!(first(&parsed.tables[0], 1), first(&tables[0], 1));
    assert_eq!(parsed.tables[5][0], tables[5][0]);
    // The model is measured before training, too.
    let rows: Vec<Vec<String>> = parsed.tables[5].iter().filter(|row| row[1] != "0").cloned().collect();
    assert_eq!(first(&rows, 2), first(&tables[5], 2));
    for (row, theirs) in rows.iter().zip(&tables[5]) {
        for (cell, their_cell) in row.iter().zip(theirs) {
            assert_eq!(cell == "-", their_cell == "-", "{row:?} {theirs:?}");
        }
    }
}
