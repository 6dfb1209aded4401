//! What is said about a classifier: shares of each class, the confusion of classes, and the texts that were mistaken; as text, JSON and a page.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Result;
use sentir::metrics::classification::{Confusion, Shares, expected_calibration_error};
use sentir::train::page::{escape, frame};
use serde_json::{Value, json};

use crate::terminal::{grouped, line};

/// More classes than this do not fit into a line as a matrix.
const MATRIX: usize = 12;
/// Mistakes that a page shows.
const MISTAKES: usize = 500;
/// Ranges of probability of the calibration error.
const BINS: usize = 15;

/// One level, judged.
pub(super) struct Judged {
    name: String,
    classes: Vec<String>,
    expected: Vec<usize>,
    /// The class and its probability.
    predicted: Vec<(usize, f32)>,
    confusion: Confusion,
    calibration: f64,
}

impl Judged {
    pub(super) fn new(
        name: &str,
        classes: &[String],
        expected: Vec<usize>,
        predicted: Vec<(usize, f32)>,
    ) -> Result<Self> {
        let own: Vec<usize> = predicted.iter().map(|(class, _)| *class).collect();
        let confusion = Confusion::new(&expected, &own, classes.len())?;
        let right: Vec<bool> = own.iter().zip(&expected).map(|(a, b)| a == b).collect();
        let sure: Vec<f32> = predicted.iter().map(|(_, probability)| *probability).collect();
        let calibration = expected_calibration_error(&sure, &right, BINS)?;
        let (name, classes) = (name.to_owned(), classes.to_vec());
        Ok(Self { name, classes, expected, predicted, confusion, calibration })
    }

    /// Pairs of different classes, how often the second was said of the first, the most often first.
    fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let n = self.classes.len();
        let pairs = (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let mut mistakes: Vec<(usize, usize, usize)> =
            pairs.map(|(a, b)| (self.confusion.count(a, b), a, b)).filter(|(count, ..)| *count > 0).collect();
        mistakes.sort_by(|x, y| y.0.cmp(&x.0).then(x.1.cmp(&y.1)).then(x.2.cmp(&y.2)));
        mistakes
    }
}

pub(super) struct Report {
    /// What the texts were held out by.
    pub(super) how: String,
    pub(super) texts: Vec<String>,
    pub(super) levels: Vec<Judged>,
}

impl Report {
    pub(super) fn json(&self) -> Value {
        let shares = |own: &Shares| json!({"precision": own.precision, "recall": own.recall, "f1-score": own.f1, "support": own.support});
        let levels = self.levels.iter().map(|level| {
            let classes: serde_json::Map<String, Value> =
                level.classes.iter().cloned().zip(level.confusion.by_class().iter().map(shares)).collect();
            let n = level.classes.len();
            let matrix: Vec<Vec<usize>> =
                (0..n).map(|a| (0..n).map(|b| level.confusion.count(a, b)).collect()).collect();
            json!({
                "name": level.name, "accuracy": level.confusion.accuracy(),
                "macro avg": shares(&level.confusion.mean(false)), "weighted avg": shares(&level.confusion.mean(true)),
                "expected_calibration_error": level.calibration, "labels": level.classes, "classes": classes,
                "confusion_matrix": matrix,
            })
        });
        json!({"held_out": self.how, "texts": self.texts.len(), "levels": levels.collect::<Vec<_>>()})
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (at, level) in self.levels.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            let confusion = &level.confusion;
            writeln!(
                out,
                "{}: accuracy {:.4} ({}: {} texts, {} classes; expected calibration error {:.3})\n",
                level.name,
                confusion.accuracy(),
                self.how,
                grouped(level.expected.len()),
                grouped(level.classes.len()),
                level.calibration
            )?;
            let width =
                level.classes.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(12, 40);
            writeln!(out, "{:width$}  precision  recall      f1   texts", "class")?;
            let mut row = |name: &str, own: &Shares| {
                let (name, Shares { precision, recall, f1, support }) = (line(name, width), own);
                writeln!(out, "{name:width$}     {precision:.4}  {recall:.4}  {f1:.4}  {support:>6}")
            };
            for (name, own) in level.classes.iter().zip(confusion.by_class()) {
                row(name, &own)?;
            }
            row("macro avg", &confusion.mean(false))?;
            row("weighted avg", &confusion.mean(true))?;
            let mistakes = level.mistakes();
            if level.classes.len() <= MATRIX {
                writeln!(
                    out,
                    "\npredicted:{:width$}{}",
                    "",
                    numbers(level.classes.len()),
                    width = width.saturating_sub(5)
                )?;
                for (label, name) in level.classes.iter().enumerate() {
                    write!(out, "{:>2} {:width$}", label + 1, line(name, width))?;
                    for own in 0..level.classes.len() {
                        write!(out, "{:>6}", confusion.count(label, own))?;
                    }
                    writeln!(out)?;
                }
            } else if !mistakes.is_empty() {
                writeln!(out, "\nmost often mistaken")?;
                for (count, label, own) in mistakes.iter().take(10) {
                    writeln!(out, "{count:>6}  {} as {}", level.classes[*label], level.classes[*own])?;
                }
            }
        }
        Ok(())
    }

    /// A page for each level one after the other: the matrix as a map of heat, the shares, and what was mistaken.
    pub(super) fn html(&self) -> Result<String> {
        let mut body = String::new();
        for level in &self.levels {
            level.page(&mut body, &self.texts, &self.how)?;
        }
        Ok(frame("Classes of texts", STYLE, &body, None))
    }
}

fn numbers(count: usize) -> String {
    (1..=count).map(|number| format!("{number:>6}")).collect()
}

const STYLE: &str = "
.matrix { overflow: auto; max-height: 46rem; border: 1px solid var(--grid); }
.matrix table { font-size: .8rem; }
.matrix td { width: 1.6rem; min-width: 1.6rem; height: 1.6rem; padding: 0 .2rem; text-align: center; border: 1px solid var(--grid);
  color: var(--faint); font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--heat, var(--paper)) var(--part, 0%), var(--paper)); }
.matrix td.right { --heat: var(--c2); color: var(--ink); } .matrix td.wrong { --heat: var(--c1); color: var(--ink); }
.matrix th { position: sticky; background: var(--paper); padding: .1rem .5rem; white-space: nowrap; }
.matrix thead th { top: 0; z-index: 1; font-size: .7rem; text-align: center; } .matrix tbody th { left: 0; max-width: 18rem; overflow: hidden; text-overflow: ellipsis; }
.note { color: var(--faint); }
summary { cursor: pointer; margin: .5rem 0; }
";

impl Judged {
    fn page(&self, body: &mut String, texts: &[String], how: &str) -> Result<()> {
        let confusion = &self.confusion;
        let name = escape(&self.name);
        writeln!(body, "<h2>{name}: accuracy {:.4}</h2>", confusion.accuracy())?;
        writeln!(
            body,
            "<p class=\"note\">{} texts in {} classes, held out by {}. Expected calibration error {:.3}.</p>",
            grouped(self.expected.len()),
            self.classes.len(),
            escape(how),
            self.calibration
        )?;
        writeln!(
            body,
            "<p class=\"note\">Rows are true classes, columns predicted ones, in the same order; the deeper the color, the larger the share of the row. Hover over a cell.</p>"
        )?;
        body.push_str("<div class=\"matrix\"><table>\n<thead><tr><th></th>");
        for (at, class) in self.classes.iter().enumerate() {
            write!(body, "<th title=\"{}\">{}</th>", escape(class), at + 1)?;
        }
        body.push_str("</tr></thead>\n<tbody>\n");
        for (label, class) in self.classes.iter().enumerate() {
            let class = escape(class);
            write!(body, "<tr><th scope=\"row\" title=\"{class}\">{} {class}</th>", label + 1)?;
            let all: usize = (0..self.classes.len()).map(|own| confusion.count(label, own)).sum();
            for (own, predicted) in self.classes.iter().enumerate() {
                let count = confusion.count(label, own);
                if count == 0 {
                    body.push_str("<td></td>");
                    continue;
                }
                let kind = if own == label { "right" } else { "wrong" };
                // Few of many must still be seen.
                let part = 10.0 + 70.0 * count as f64 / all as f64;
                write!(
                    body,
                    "<td class=\"{kind}\" style=\"--part:{part:.0}%\" title=\"{class} as {}: {count} of {all}\">{count}</td>",
                    escape(predicted)
                )?;
            }
            body.push_str("</tr>\n");
        }
        body.push_str("</tbody></table></div>\n");
        // Of many classes, what was mistaken says more.
        let open = if self.classes.len() > MATRIX { "" } else { " open" };
        write!(
            body,
            "<details{open}><summary>Shares of each class</summary>\n<table>\n<thead><tr><th>class</th>"
        )?;
        for head in ["precision", "recall", "F1", "texts"] {
            write!(body, "<th class=\"n\">{head}</th>")?;
        }
        body.push_str("</tr></thead>\n<tbody>\n");
        let means = [("macro avg", confusion.mean(false)), ("weighted avg", confusion.mean(true))];
        let by_class = self.classes.iter().map(String::as_str).zip(confusion.by_class());
        for (class, own) in by_class.chain(means) {
            writeln!(
                body,
                "<tr><td>{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{}</td></tr>",
                escape(class),
                own.precision,
                own.recall,
                own.f1,
                own.support
            )?;
        }
        body.push_str("</tbody></table></details>\n");
        // The surest mistakes first: they are the wrong labels, or what the classes do not tell apart.
        let mut wrong: Vec<usize> =
            (0..self.expected.len()).filter(|&row| self.predicted[row].0 != self.expected[row]).collect();
        wrong.sort_by(|&a, &b| self.predicted[b].1.total_cmp(&self.predicted[a].1).then(a.cmp(&b)));
        let shown = wrong.len().min(MISTAKES);
        writeln!(
            body,
            "<details open><summary>{} texts mistaken, the surest first{}</summary>\n<table>\n<thead><tr><th>text</th><th>is</th><th>predicted</th><th class=\"n\">probability</th></tr></thead>\n<tbody>",
            grouped(wrong.len()),
            if shown < wrong.len() { format!(" ({shown} shown)") } else { String::new() }
        )?;
        for &row in wrong.iter().take(MISTAKES) {
            let (class, probability) = self.predicted[row];
            writeln!(
                body,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{probability:.2}</td></tr>",
                escape(&line(&texts[row], 300)),
                escape(&self.classes[self.expected[row]]),
                escape(&self.classes[class])
            )?;
        }
        body.push_str("</tbody></table></details>\n");
        Ok(())
    }
}
