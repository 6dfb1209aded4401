//! What is wrong with a row by itself, or with rows that say the same: blank texts, one text in two columns, repetitions, texts
//! that give another away, labels. Not what rows do to each other in a batch ([`super::batches`]).

use std::collections::HashMap;

use rayon::prelude::*;
use sentir_vectors::Rows;

use super::texts::{is_blank, normalise, shorten};
use super::{Case, EXAMPLES, Example, Finding, Fix, Severity, of};
use crate::data::{Dataset, Labels};
use crate::losses::Batch;
use crate::samplers::streams::keys;
use crate::{Error, Result};

/// Letters that a normalised text must have for it to count that another contains it.
const LONG: usize = 16;

/// All findings about the rows of one data set.
pub(super) fn check(case: Case<'_>, at: usize) -> Result<Vec<Finding>> {
    let dataset = &case.datasets[at];
    let (rows, columns) = (dataset.len(), dataset.columns.len());
    let keys = keys(dataset);
    let of_row = |row: usize| &keys[row * columns..(row + 1) * columns];
    let blank: Vec<bool> = (0..rows)
        .into_par_iter()
        .map(|row| dataset.columns.iter().any(|column| is_blank(&column.texts[row])))
        .collect();
    case.go_on()?;
    let readable = || (0..rows).filter(|&row| !blank[row]);
    // A loss that needs no labels does not read those that there are.
    let labelled = dataset.labels.is_some() && case.loss.check(columns, false).is_err();
    let mut found = Vec::new();
    let drop = |rows: &[usize]| {
        Some(Fix::DropRows { dataset: at, rows: rows.iter().map(|&row| row as u32).collect() })
    };

    let empty: Vec<usize> = (0..rows).filter(|&row| blank[row]).collect();
    if !empty.is_empty() {
        let message =
            format!("{} of {rows} with an empty text, or one of white space alone", of(empty.len(), "row"));
        let advice = "All empty texts have the same vector, so such rows teach nothing. Fill them in or leave them out.";
        let fix = drop(&empty);
        found.push((Finding::new("empty_texts", Severity::Warning, message, advice).with_fix(fix), empty));
    }

    if columns > 1 && !labelled {
        let same: Vec<usize> = readable().filter(|&row| of_row(row)[0] == of_row(row)[1]).collect();
        let names = format!("\"{}\" and \"{}\"", dataset.columns[0].name, dataset.columns[1].name);
        if !same.is_empty() && same.len() == rows {
            let message = format!(
                "{names} have the same text in all {}: only dropout tells them apart",
                of(rows, "row")
            );
            let (severity, advice) = if case.model.dropout() == [0.0; 2] {
                let advice = "This model has no dropout, so the two vectors are always equal. Give real pairs, or dropout.";
                (Severity::Warning, advice)
            } else {
                (Severity::Note, "That is SimCSE without labels, if it is meant; real pairs teach more.")
            };
            found.push((Finding::new("identical_columns", severity, message, advice), same));
        } else if !same.is_empty() {
            let message = format!(
                "{names} have the same text in {} of {rows}: only dropout tells them apart",
                of(same.len(), "row")
            );
            let advice = "Such rows teach next to nothing. Leave them out, or give them another text.";
            let fix = drop(&same);
            found.push((
                Finding::new("identical_columns", Severity::Warning, message, advice).with_fix(fix),
                same,
            ));
        }
    }
    let wrong: Vec<usize> = readable()
        .filter(|&row| columns > 2 && of_row(row)[2..].iter().any(|key| of_row(row)[..2].contains(key)))
        .collect();
    if !wrong.is_empty() {
        let message = format!(
            "{} of {rows} with a hard negative that is the anchor or the positive of the same row",
            of(wrong.len(), "row")
        );
        let advice =
            "The same text is to be near and far at once. Choose another negative, or leave the rows out.";
        let fix = drop(&wrong);
        found.push((
            Finding::new("negative_is_positive", Severity::Warning, message, advice).with_fix(fix),
            wrong,
        ));
    }

    let (repeated, contradictory) =
        repetitions(dataset.labels.as_ref().filter(|_| labelled), readable(), of_row);
    if !repeated.is_empty() {
        let message = format!(
            "{} of {rows} that another row before has said in all columns",
            of(repeated.len(), "row")
        );
        let severity = if case.loss.in_batch_negatives() { Severity::Warning } else { Severity::Note };
        let advice = "Repetitions only weigh rows; if no weights are meant, leave them out.";
        let fix = drop(&repeated);
        found.push((Finding::new("repeated_rows", severity, message, advice).with_fix(fix), repeated));
    }
    if !contradictory.is_empty() {
        let message = format!(
            "{} of {rows} with the texts of a row before, but another label",
            of(contradictory.len(), "row")
        );
        let advice = "Only one of the labels can be learned. Correct them, or give their mean.";
        found.push((Finding::new("contradictory_labels", Severity::Warning, message, advice), contradictory));
    }
    case.go_on()?;
    if columns > 1 && !labelled {
        let readable: Vec<usize> = readable().collect();
        found.extend(contained(dataset, &readable));
    }

    let mut findings: Vec<Finding> = (found.into_iter())
        .map(|(finding, rows)| finding.of(dataset).with_examples(examples(dataset, &rows)))
        .collect();
    case.go_on()?;
    match &dataset.labels {
        Some(labels) if labelled && rows > 0 => findings.extend(check_labels(case, dataset, labels)),
        Some(labels) if !labelled => {
            let message = format!("{} does not read the label \"{}\"", case.loss.name(), labels.name());
            let advice = "Leave the column out, or choose a loss that learns from it.";
            findings.push(Finding::new("unused_labels", Severity::Note, message, advice).of(dataset));
        }
        _ => {}
    }
    Ok(findings)
}

/// The first of these rows, with their texts.
fn examples(dataset: &Dataset, rows: &[usize]) -> Vec<Example> {
    let texts = |row: usize| dataset.columns.iter().map(|column| shorten(&column.texts[row])).collect();
    rows.iter().take(EXAMPLES).map(|&row| Example { rows: vec![row + 1], texts: texts(row) }).collect()
}

/// Rows whose texts an earlier row has, with the same label and with another.
fn repetitions<'a>(
    labels: Option<&Labels>,
    rows: impl Iterator<Item = usize>,
    of_row: impl Fn(usize) -> &'a [u32],
) -> (Vec<usize>, Vec<usize>) {
    let label =
        |row: usize| labels.map(|labels| &labels.values()[row * labels.width()..(row + 1) * labels.width()]);
    let mut first: HashMap<&[u32], usize> = HashMap::new();
    let (mut repeated, mut contradictory) = (Vec::new(), Vec::new());
    for row in rows {
        let earlier = *first.entry(of_row(row)).or_insert(row);
        if earlier != row {
            if label(earlier) == label(row) { repeated.push(row) } else { contradictory.push(row) }
        }
    }
    (repeated, contradictory)
}

/// Rows in which a text contains a whole other one, so that matching words is enough.
fn contained(dataset: &Dataset, rows: &[usize]) -> Vec<(Finding, Vec<usize>)> {
    // 0: the positive has the anchor in it, 1: the anchor the positive, 2: a negative the positive.
    let kind = |row: usize| {
        let texts: Vec<String> = dataset.columns.iter().map(|column| normalise(&column.texts[row])).collect();
        let within = |part: &str, whole: &str| {
            part.len() < whole.len() && part.chars().nth(LONG - 1).is_some() && whole.contains(part)
        };
        match &texts[..] {
            [anchor, positive, ..] if within(anchor, positive) => Some(0),
            [anchor, positive, ..] if within(positive, anchor) => Some(1),
            [_, positive, negatives @ ..] if negatives.iter().any(|text| within(positive, text)) => Some(2),
            _ => None,
        }
    };
    let kinds: Vec<Option<usize>> = rows.par_iter().map(|&row| kind(row)).collect();
    let name = |column: usize| dataset.columns.get(column).map_or("", |column| &column.name);
    let what = [
        format!("\"{}\" has the whole of \"{}\" in it", name(1), name(0)),
        format!("\"{}\" has the whole of \"{}\" in it", name(0), name(1)),
        format!("a hard negative has the whole of \"{}\" in it", name(1)),
    ];
    let mut found = Vec::new();
    for (number, what) in what.into_iter().enumerate() {
        let own = |(&row, kind): (&usize, &Option<usize>)| (*kind == Some(number)).then_some(row);
        let hit: Vec<usize> = rows.iter().zip(&kinds).filter_map(own).collect();
        if hit.is_empty() {
            continue;
        }
        let message = format!("{} of {}: {what}", of(hit.len(), "row"), rows.len());
        let severity = if hit.len() * 10 >= rows.len() { Severity::Warning } else { Severity::Note };
        let advice = if number == 2 {
            "Such a negative says all that the positive says, so it may be none. Choose another."
        } else {
            "The model can solve such rows by matching words, which real texts may not allow. Take the repeated part out."
        };
        found.push((Finding::new("contained_texts", severity, message, advice), hit));
    }
    found
}

fn check_labels(case: Case<'_>, dataset: &Dataset, labels: &Labels) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rows = labels.values().chunks_exact(labels.width());
    let first = rows.next().unwrap_or_default();
    if dataset.len() > 1 && rows.all(|row| row == first) {
        let shown = if labels.width() == 1 { format!("{}", first[0]) } else { "the same vector".to_owned() };
        let message =
            format!("the label \"{}\" is {shown} in all {}", labels.name(), of(dataset.len(), "row"));
        let advice = "A label that never changes teaches no difference. Look where it comes from, or take a loss without labels.";
        findings.push(Finding::new("constant_labels", Severity::Warning, message, advice).of(dataset));
    }
    // The loss itself knows what labels it takes: each distinct one is given to it with vectors that mean nothing. A loss with
    // a guide has no use for labels.
    if case.loss.guide().is_some() || case.loss.check(dataset.columns.len(), true).is_err() {
        return findings;
    }
    let vector = Rows::new(vec![1.0; case.model.embedding_dimension()], case.model.embedding_dimension());
    let Ok(vector) = vector else { return findings };
    let columns = vec![vector; dataset.columns.len()];
    let refused = |label: &[f64]| {
        let label = Rows::new(label.iter().map(|&value| value as f32).collect(), labels.width()).ok()?;
        case.loss.compute(Batch { columns: &columns, labels: Some(&label), guide: None }).err()
    };
    let mut known: HashMap<u64, bool> = HashMap::new();
    let (mut wrong, mut why) = (Vec::new(), None);
    for (row, label) in labels.values().chunks_exact(labels.width()).enumerate() {
        let mut try_one = || {
            let error = refused(label);
            let bad = error.is_some();
            why = why.take().or(error);
            bad
        };
        // Vectors are all of one width, which is all that can be wrong with them.
        let bad = match labels.width() {
            1 => *known.entry(label[0].to_bits()).or_insert_with(try_one),
            _ if row == 0 => try_one(),
            _ => break,
        };
        if bad {
            wrong.push(row);
        }
    }
    let Some(why) = why.map(|error: Error| error.to_string()) else { return findings };
    let count = if labels.width() == 1 { wrong.len() } else { dataset.len() };
    // The loss speaks of a batch of one row.
    let why = why.replace("the label of row 0 of the batch", "a label");
    let message = format!("{} with a label that the loss refuses: {why}", of(count, "row"));
    let advice = format!("Correct the values of \"{}\", or choose a loss for such labels.", labels.name());
    let shown = wrong.iter().take(EXAMPLES).map(|&row| Example {
        rows: vec![row + 1],
        texts: if labels.width() == 1 { vec![labels.values()[row].to_string()] } else { Vec::new() },
    });
    let finding = Finding::new("label_out_of_range", Severity::Error, message, advice).of(dataset);
    findings.push(finding.with_examples(shown.collect()));
    findings
}
