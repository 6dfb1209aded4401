//! An examination as lines for people: findings, the most severe first, then the data, the course of the training and its
//! memory. No colours, and no character that texts of the data could bring in to change what is shown.

use std::fmt::Write as _;

use super::memory::bytes;
use super::texts::{is_hidden, shorten};
use super::{Course, Examination, Finding, Fix, MemoryEstimate, Severity, of};

impl Examination {
    /// Errors and warnings alone, in plain lines; nothing if there are none.
    #[must_use]
    pub fn to_findings(&self) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Note) {
            finding.write(&mut text);
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The examination in plain lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let counts: Vec<String> =
            [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
                .into_iter()
                .filter(|&(severity, _)| self.count(severity) > 0)
                .map(|(severity, name)| of(self.count(severity), name))
                .collect();
        if counts.is_empty() {
            text.push_str("Nothing stands out.\n");
        } else {
            line(&mut text, format_args!("{}", counts.join(", ")));
        }
        for finding in &self.findings {
            text.push('\n');
            finding.write(&mut text);
        }
        for dataset in &self.facts.datasets {
            text.push('\n');
            line(&mut text, format_args!("data \"{}\": {}", shorten(&dataset.name), of(dataset.rows, "row")));
            for column in &dataset.columns {
                let mean = column.tokens as f64 / dataset.rows.max(1) as f64;
                let prompt = match column.prompt.as_str() {
                    "" => String::new(),
                    prompt => format!(", behind \"{}\"", escape(prompt)),
                };
                let name = shorten(&column.name);
                line(
                    &mut text,
                    format_args!("  {name}: {mean:.1} tokens a text, {} the longest{prompt}", column.longest),
                );
            }
            if let Some((name, width)) = &dataset.labels {
                let what = if *width == 1 { "a number".to_owned() } else { format!("{width} numbers") };
                line(&mut text, format_args!("  {}: the label, {what} a row", shorten(name)));
            }
        }
        if let Some(course) = &self.facts.course {
            course.write(&mut text, self.facts.seconds_per_update);
        }
        if let Some(memory) = &self.facts.memory {
            memory.write(&mut text);
        }
        text
    }
}

/// A line of its own. Writing to a String does not fail.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{what}");
}

impl Finding {
    fn write(&self, text: &mut String) {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let dataset =
            self.dataset.as_ref().map_or(String::new(), |name| format!(" in \"{}\"", shorten(name)));
        line(text, format_args!("{severity}{dataset} ({}): {}", self.code, escape(&self.message)));
        for example in &self.examples {
            let rows: Vec<String> = example.rows.iter().map(usize::to_string).collect();
            let rows = format!("row{} {}", if rows.len() == 1 { "" } else { "s" }, rows.join(" and "));
            let texts: Vec<String> = example.texts.iter().map(|text| format!("\"{text}\"")).collect();
            let colon = if texts.is_empty() { "" } else { ": " };
            line(text, format_args!("  {rows}{colon}{}", texts.join(" | ")));
        }
        line(text, format_args!("  {}", escape(&self.advice)));
        if let Some(fix) = &self.fix {
            let what = match fix {
                Fix::SetBatchSampler(_) => "setting batch_sampler".to_owned(),
                Fix::SetPrompts(_) => "setting prompts".to_owned(),
                Fix::SetGradientCheckpointing => "setting gradient_checkpointing".to_owned(),
                Fix::DropRows { rows, .. } => format!("leaving {} out", of(rows.len(), "row")),
            };
            line(text, format_args!("  Can be mended by {what}."));
        }
    }
}

impl Course {
    fn write(&self, text: &mut String, seconds: Option<f64>) {
        text.push('\n');
        line(
            text,
            format_args!(
                "course: {} an epoch, {} an epoch, {} in all over {}; warm-up {}",
                of(self.batches_per_epoch, "batch"),
                of(self.updates_per_epoch, "update"),
                of(self.updates, "update"),
                of(self.epochs, "epoch"),
                of(self.warmup, "update")
            ),
        );
        let rates: Vec<String> =
            self.rates.iter().map(|rate| format!("{} % {:.2e}", rate.percent, rate.learning_rate)).collect();
        line(text, format_args!("  learning rate: {}", rates.join(", ")));
        if let Some(seconds) = seconds {
            let total = seconds * self.updates as f64;
            line(text, format_args!("  time: {seconds:.2} s an update, {} in all", duration(total)));
        }
    }
}

impl MemoryEstimate {
    fn write(&self, text: &mut String) {
        text.push('\n');
        let available =
            self.available.map_or(String::new(), |available| format!("; {} are left", bytes(available)));
        line(text, format_args!("memory: about {}{available}", bytes(self.total)));
        line(
            text,
            format_args!(
                "  parameters {}, gradients {}, AdamW {}, the largest batch {} ({} tokens at once)",
                bytes(self.parameters),
                bytes(self.gradients),
                bytes(self.moments),
                bytes(self.activations),
                self.tokens
            ),
        );
    }
}

/// Names in messages come from files: what could move the cursor or turn the line around becomes visible.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Hours and minutes.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds:.0} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
