//! Texts as tokens: what the length limit cuts off, and the prompts without which a model of the E5 family works less well.

use std::collections::BTreeMap;

use serde::Serialize;

use super::texts::shorten;
use super::{Case, EXAMPLES, Example, Finding, Fix, Prompts, Severity, of};
use crate::Result;
use crate::data::Dataset;

/// Texts that are tokenized between two looks at the interrupt.
const PIECE: usize = 8192;
/// The prompts of E5 (<https://huggingface.co/intfloat/multilingual-e5-large>): for texts of one kind, and for what is searched.
const QUERY: &str = "query: ";
const PASSAGE: &str = "passage: ";
/// Names of columns that say that short questions stand beside longer texts.
const QUESTIONS: [&str; 3] = ["query", "question", "search"];
const PASSAGES: [&str; 6] = ["passage", "document", "answer", "context", "paragraph", "doc"];

/// A column of texts in tokens, prompt and special tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// What stands before each text in training.
    pub prompt: String,
    /// Tokens that the model reads of all texts.
    pub tokens: usize,
    /// Tokens that it reads of the longest.
    pub longest: usize,
    /// Texts of which the end is cut off.
    pub cut_texts: usize,
    /// Tokens that are cut off, of all texts.
    pub cut_tokens: usize,
}

/// The tokens of a data set.
pub(super) struct Counted {
    pub findings: Vec<Finding>,
    pub facts: Vec<ColumnFacts>,
    /// Tokens of each text of each column; none if a text has none.
    pub lengths: Option<Vec<Vec<u32>>>,
}

/// Counts the tokens of a data set as training will read them.
pub(super) fn count(case: Case<'_>, at: usize) -> Result<Counted> {
    let dataset = &case.datasets[at];
    let mut counted = Counted { findings: Vec::new(), facts: Vec::new(), lengths: Some(Vec::new()) };
    // The tokens that each row loses in its longest text.
    let mut cut = vec![0; dataset.len()];
    for column in &dataset.columns {
        let mut facts = ColumnFacts { name: column.name.clone(), ..ColumnFacts::default() };
        match case.arguments.prompt_of(case.datasets, dataset, &column.name) {
            Ok(prompt) => facts.prompt = prompt.to_owned(),
            // Said once, not for each column.
            Err(_) if !counted.findings.is_empty() => {}
            Err(error) => {
                let advice = "Give prompts by column, or one for all texts.";
                counted
                    .findings
                    .push(Finding::new("prompts", Severity::Error, error.to_string(), advice).of(dataset));
            }
        }
        let mut lengths = Vec::with_capacity(dataset.len());
        for (start, piece) in (0..).step_by(PIECE).zip(column.texts.chunks(PIECE)) {
            case.go_on()?;
            match case.model.tokenize_texts(piece, &facts.prompt) {
                Ok(tokens) => {
                    lengths.extend(tokens.ids.iter().map(|ids| ids.len() as u32));
                    for (row, &lost) in (start..).zip(&tokens.tokens_cut) {
                        facts.cut_texts += usize::from(lost > 0);
                        facts.cut_tokens += lost;
                        cut[row] = lost.max(cut[row]);
                    }
                }
                Err(error) => {
                    counted.findings.push(refused(dataset, &column.name, start, &column.texts, error));
                    counted.lengths = None;
                    break;
                }
            }
        }
        facts.tokens = lengths.iter().map(|&length| length as usize).sum();
        facts.longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        counted.facts.push(facts);
        if let Some(all) = &mut counted.lengths {
            all.push(lengths);
        }
    }
    counted.findings.extend(check_cut(case, dataset, &cut, &counted.facts));
    Ok(counted)
}

fn refused(
    dataset: &Dataset,
    column: &str,
    start: usize,
    texts: &[String],
    error: sentir_model::Error,
) -> Finding {
    let mut examples = Vec::new();
    let message = match error {
        sentir_model::Error::Text { index, message } => {
            let row = start + index;
            let text = texts.get(row).map_or(String::new(), |text| shorten(text));
            examples.push(Example { rows: vec![row + 1], texts: vec![text] });
            format!("column \"{column}\", row {}: {message}", row + 1)
        }
        other => format!("column \"{column}\": {other}"),
    };
    let advice = "Correct the text or leave the row out.";
    Finding::new("not_tokenized", Severity::Error, message, advice).of(dataset).with_examples(examples)
}

fn check_cut(case: Case<'_>, dataset: &Dataset, cut: &[usize], facts: &[ColumnFacts]) -> Option<Finding> {
    let rows = cut.iter().filter(|&&lost| lost > 0).count();
    if rows == 0 {
        return None;
    }
    let limit = case.model.max_seq_length().unwrap_or_default();
    let columns: Vec<String> = (facts.iter().filter(|facts| facts.cut_texts > 0))
        .map(|facts| {
            format!(
                "{} of \"{}\" ({} tokens, which is {:.1} % of the column)",
                of(facts.cut_texts, "text"),
                facts.name,
                facts.cut_tokens,
                100.0 * facts.cut_tokens as f64 / (facts.cut_tokens + facts.tokens) as f64
            )
        })
        .collect();
    let most = cut.iter().max().copied().unwrap_or(0);
    let message = format!(
        "{} of {} with a text longer than {limit} tokens, of which the rest is not read: {}; at most {} of one text",
        of(rows, "row"),
        cut.len(),
        columns.join(", "),
        of(most, "token")
    );
    let advice = match case.model.sizes().positions.filter(|&positions| positions > limit) {
        Some(positions) => format!(
            "Set max_seq_length to {}: the model has positions for {positions}. Longer texts cost more memory and time.",
            positions.min(limit + most)
        ),
        None => {
            "The model reads no more. Divide such texts, or put what matters at their beginning.".to_owned()
        }
    };
    let many = rows * 20 >= cut.len();
    let severity = if many { Severity::Warning } else { Severity::Note };
    let mut order: Vec<usize> = (0..cut.len()).filter(|&row| cut[row] > 0).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(cut[row]));
    let example = |&row: &usize| {
        let longest = dataset.columns.iter().max_by_key(|column| column.texts[row].len());
        Example {
            rows: vec![row + 1],
            texts: longest.map(|column| shorten(&column.texts[row])).into_iter().collect(),
        }
    };
    let examples = order.iter().take(EXAMPLES).map(example).collect();
    Some(Finding::new("cut_texts", severity, message, advice).of(dataset).with_examples(examples))
}

/// Prompts that are missing or meet no text.
pub(super) fn check_prompts(case: Case<'_>) -> Option<Finding> {
    if let Some(prompts) = &case.arguments.prompts {
        return check_names(case, prompts);
    }
    if let Some(name) = e5_name(case) {
        return Some(e5(case, &name));
    }
    let saved: Vec<String> = (case.model.prompts().iter().filter(|(_, prompt)| !prompt.is_empty()))
        .map(|(name, prompt)| format!("\"{name}\": \"{prompt}\""))
        .collect();
    if saved.is_empty() {
        return None;
    }
    let message =
        format!("the model was saved with prompts ({}), which training does not use", saved.join(", "));
    let advice = "If texts will be encoded with them, set prompts so that training sees the same.";
    Some(Finding::new("saved_prompts", Severity::Note, message, advice))
}

/// Whether prompts are by names that the data does not have.
fn check_names(case: Case<'_>, prompts: &Prompts) -> Option<Finding> {
    let has_dataset =
        |name: &str| case.datasets.len() > 1 && case.datasets.iter().any(|own| own.name == name);
    let has_column = |dataset: Option<&str>, name: &str| {
        let datasets = case.datasets.iter().filter(|own| dataset.is_none_or(|dataset| own.name == dataset));
        datasets.flat_map(|own| &own.columns).any(|column| column.name == name)
    };
    let strange: Vec<String> = match prompts {
        Prompts::All(_) => Vec::new(),
        Prompts::Named(names) => (names.keys())
            .filter(|name| !has_dataset(name) && !has_column(None, name))
            .map(|name| format!("\"{name}\""))
            .collect(),
        Prompts::Nested(all) => (all.iter())
            .flat_map(|(dataset, names)| names.keys().map(move |name| (dataset, name)))
            .filter(|(dataset, name)| !has_column(Some(dataset), name))
            .map(|(dataset, name)| format!("\"{dataset}\", \"{name}\""))
            .collect(),
    };
    if strange.is_empty() {
        return None;
    }
    let message = format!("prompts are given for what the data does not have: {}", strange.join("; "));
    let columns: Vec<String> = case
        .datasets
        .iter()
        .map(|own| {
            let columns: Vec<&str> = own.columns.iter().map(|column| column.name.as_str()).collect();
            format!("\"{}\" has {}", own.name, columns.join(", "))
        })
        .collect();
    let advice = format!("Name columns as the data does: {}.", columns.join("; "));
    Some(Finding::new("prompts", Severity::Warning, message, advice))
}

/// A model of the E5 family is trained without its prompts.
fn e5(case: Case<'_>, name: &str) -> Finding {
    let found = format!("the model is of the E5 family ({name}), and training has no prompts");
    if name.to_lowercase().contains("instruct") {
        let advice = "Its authors trained it with \"Instruct: …\\nQuery: \" before queries and nothing before documents. Set \
                      prompts so by column, with your task in words.";
        return Finding::new("e5_prompts", Severity::Warning, found, advice);
    }
    let asymmetric: Vec<bool> = case.datasets.iter().map(is_search).collect();
    let of_columns = |dataset: &Dataset, asymmetric: bool| -> BTreeMap<String, String> {
        let columns = dataset.columns.iter().enumerate();
        columns
            .map(|(i, column)| {
                (column.name.clone(), if asymmetric && i > 0 { PASSAGE } else { QUERY }.to_owned())
            })
            .collect()
    };
    let (prompts, advice) = match case.datasets {
        _ if asymmetric.iter().all(|asymmetric| !asymmetric) => {
            let advice = "Set prompts to \"query: \", as its authors recommend for texts of one kind, and encode with it later. If \
                          the data is questions with passages, \"query: \" for the questions and \"passage: \" for the others.";
            (Prompts::All(QUERY.to_owned()), advice)
        }
        datasets => {
            let all: Vec<_> = datasets.iter().zip(&asymmetric).collect();
            let prompts = match &all[..] {
                [(dataset, asymmetric)] => Prompts::Named(of_columns(dataset, **asymmetric)),
                all => Prompts::Nested(
                    all.iter()
                        .map(|(dataset, own)| (dataset.name.clone(), of_columns(dataset, **own)))
                        .collect(),
                ),
            };
            let advice = "Set prompts to \"query: \" for the questions and \"passage: \" for what answers them, as its authors \
                          recommend for search, and encode with them later. For texts of one kind, \"query: \" everywhere.";
            (prompts, advice)
        }
    };
    Finding::new("e5_prompts", Severity::Warning, found, advice).with_fix(Some(Fix::SetPrompts(prompts)))
}

/// What says that the model is of the E5 family: the last part of its path, its folder in the cache of the hub, or the
/// `_name_or_path` of its config.json.
fn e5_name(case: Case<'_>) -> Option<String> {
    let is_e5 = |name: &str| {
        name.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|part| matches!(part, "e5" | "me5"))
    };
    let path = case.model.path();
    let mut names: Vec<String> =
        path.file_name().into_iter().map(|name| name.to_string_lossy().into()).collect();
    names.extend(
        path.components()
            .map(|component| component.as_os_str().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("models--")),
    );
    // A config.json that cannot be read says nothing about the family; loading has complained before.
    let config = std::fs::read(path.join("config.json")).ok();
    let config: Option<serde_json::Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    names.extend(config.and_then(|config| {
        // Of a path, only the last folder says what the model is.
        let stored = config.get("_name_or_path")?.as_str()?.trim_end_matches(['/', '\\']);
        stored.rsplit(['/', '\\']).next().map(str::to_owned)
    }));
    names.into_iter().find(|name| is_e5(name)).map(|name| shorten(&name))
}

/// Whether a data set is for search, short questions with longer texts: by the names of its columns, else by the second texts
/// being twice as long as the first. Pairs with labels are texts of one kind.
fn is_search(dataset: &Dataset) -> bool {
    let [first, second, ..] = &dataset.columns[..] else { return false };
    let named = |name: &str, names: &[&str]| {
        name.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|part| names.contains(&part))
    };
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    dataset.labels.is_none()
        && (named(&first.name, &QUESTIONS)
            || named(&second.name, &PASSAGES)
            || bytes(&second.texts) > 2 * bytes(&first.texts))
}
