//! A training run as one HTML page that needs nothing else: no network, no script. Charts are SVG inside it (`report/chart.rs`);
//! each point says its numbers when it is hovered over, and colors follow the reader's light or dark setting.
//!
//! Not here: the log itself, and the model card.

use std::fmt::Write as _;

use self::chart::{Chart, Line, Point, number};
use crate::log::LogEntry;
use crate::page::{escape, frame};

mod chart;

/// What a page is made of. All texts may hold anything: they are escaped.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The heading, usually the name of the model.
    pub title: &'a str,
    /// What the run was, (name, value): model, loss, data, settings. In this order above the results.
    pub facts: &'a [(String, String)],
    /// The log, in the order of steps.
    pub entries: &'a [LogEntry],
}

const STYLE: &str = "
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--faint); font-size: .85rem; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--faint); font: 12px system-ui, sans-serif; }
svg .title { fill: var(--ink); font-size: 14px; font-weight: 600; }
svg .grid { stroke: var(--grid); }
svg .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
svg .touch { fill: transparent; }
svg g:hover > .dot { r: 5px; }
.line { stroke: var(--c); } .dot { fill: var(--c); }
";

/// The page.
pub fn html(report: &Report<'_>) -> String {
    let mut page = String::new();
    table(&mut page, &summary(report));
    let entries = report.entries;
    let metrics = metric_table(entries);
    if !metrics.is_empty() {
        page.push_str("<h2>Evaluation</h2>\n<table>\n<thead>\n<tr><th>metric</th>");
        page.push_str("<th class=\"n\">first</th><th class=\"n\">last</th><th class=\"n\">best</th><th class=\"n\">step of the best</th></tr>\n</thead>\n<tbody>\n");
        page.push_str(&metrics);
        page.push_str("</tbody>\n</table>\n");
    }
    if entries.is_empty() {
        page.push_str("<p>The log is empty: there is nothing to draw.</p>\n");
    } else {
        page.push_str("<h2>Course of the training</h2>\n<div class=\"charts\">\n");
        let steps = entries.iter().map(|entry| entry.step);
        let steps = [steps.clone().min(), steps.max()].map(Option::unwrap_or_default);
        for chart in charts(entries) {
            chart.draw(&mut page, steps);
        }
        page.push_str("</div>\n");
    }
    frame(report.title, STYLE, &page, None)
}

fn table(page: &mut String, rows: &[(String, String)]) {
    page.push_str("<table>\n<tbody>\n");
    for (name, value) in rows {
        // Writing into a string cannot fail; so throughout.
        let _ = writeln!(page, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    page.push_str("</tbody>\n</table>\n");
}

/// The facts that were given, then those of the log.
fn summary(report: &Report<'_>) -> Vec<(String, String)> {
    let mut rows = report.facts.to_vec();
    let mut add = |name: &str, value: String| rows.push((name.to_owned(), value));
    let Some(last) = report.entries.last() else { return rows };
    add("steps", format!("{} ({} epochs)", last.step, number(last.epoch)));
    let losses: Vec<(u64, f64)> = values(report.entries, |entry| entry.loss);
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        add(
            "loss",
            format!("{} at step {}, {} at step {}", number(first.1), first.0, number(last.1), last.0),
        );
        if let Some(best) = best(&losses, false) {
            add("lowest loss", format!("{} at step {}", number(best.1), best.0));
        }
    }
    let speeds = values(report.entries, |entry| entry.tokens_per_second);
    if !speeds.is_empty() {
        let mean = speeds.iter().map(|(_, speed)| speed).sum::<f64>() / speeds.len() as f64;
        add("tokens per second", format!("{} (mean of the log's entries)", number(mean)));
    }
    rows
}

/// (step, value) of the entries that have one.
fn values(entries: &[LogEntry], of: impl Fn(&LogEntry) -> Option<f64>) -> Vec<(u64, f64)> {
    entries.iter().filter_map(|entry| Some((entry.step, of(entry)?))).collect()
}

/// The earliest of the highest or of the lowest numbers.
fn best(values: &[(u64, f64)], highest: bool) -> Option<(u64, f64)> {
    let numbers = values.iter().copied().filter(|(_, value)| !value.is_nan());
    numbers
        .reduce(|best, other| if (other.1 > best.1) == highest && other.1 != best.1 { other } else { best })
}

/// Metrics are the better the higher, but for losses.
fn higher_is_better(metric: &str) -> bool {
    !metric.ends_with("loss")
}

/// All names of metrics, as sorted by a person: `@3` before `@10`.
fn metric_names(entries: &[LogEntry]) -> Vec<&str> {
    let mut names: Vec<&str> =
        entries.iter().flat_map(|entry| entry.metrics.keys()).map(String::as_str).collect();
    names.sort_by_key(|name| (family(name), cutoff(name), *name));
    names.dedup();
    names
}

/// The name without the cutoff: metrics of one family are drawn in one chart.
fn family(metric: &str) -> &str {
    if cutoff(metric).is_some() {
        metric.rsplit_once('@').map_or(metric, |(family, _)| family)
    } else {
        metric
    }
}

/// The k of `...@k`.
fn cutoff(metric: &str) -> Option<u64> {
    metric.rsplit_once('@')?.1.parse().ok()
}

/// A row for each metric.
fn metric_table(entries: &[LogEntry]) -> String {
    let mut rows = String::new();
    for name in metric_names(entries) {
        let values = values(entries, |entry| entry.metrics.get(name).copied());
        let cell = |value: Option<&(u64, f64)>| value.map_or(String::new(), |(_, value)| number(*value));
        let best = best(&values, higher_is_better(name));
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(name),
            cell(values.first()),
            cell(values.last()),
            cell(best.as_ref()),
            best.map_or(String::new(), |(step, _)| step.to_string()),
        );
    }
    rows
}

fn charts(entries: &[LogEntry]) -> Vec<Chart> {
    let line = |name: &str, of: &dyn Fn(&LogEntry) -> Option<f64>| Line {
        name: name.to_owned(),
        points: entries
            .iter()
            .filter_map(|entry| Some(Point { step: entry.step, epoch: entry.epoch, value: of(entry)? }))
            .collect(),
    };
    let single = |title: &str, unit: &str, of: &dyn Fn(&LogEntry) -> Option<f64>| Chart {
        title: title.to_owned(),
        unit: unit.to_owned(),
        lines: vec![line(title, of)],
    };
    let mut charts = vec![
        single("Training loss", "loss", &|entry| entry.loss),
        single("Learning rate", "learning rate", &|entry| entry.learning_rate),
        single("Gradient norm", "L2 norm before clipping", &|entry| entry.grad_norm),
        single("Speed", "tokens per second", &|entry| entry.tokens_per_second),
    ];
    for names in metric_names(entries).chunk_by(|left, right| family(left) == family(right)) {
        let lines = names.iter().map(|&name| line(name, &|entry| entry.metrics.get(name).copied()));
        let unit =
            if higher_is_better(names[0]) { "metric, higher is better" } else { "loss, lower is better" };
        charts.push(Chart {
            title: if names.len() == 1 { names[0] } else { family(names[0]) }.to_owned(),
            unit: unit.to_owned(),
            lines: lines.collect(),
        });
    }
    charts.retain(|chart| chart.lines.iter().any(|line| !line.points.is_empty()));
    charts
}

#[cfg(test)]
mod tests;
