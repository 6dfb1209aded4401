//! What people see: results on standard output, everything else on standard error.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Nobody reads standard output any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes results to standard output. A closed pipe becomes [`Closed`].
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("standard output cannot be written"),
    }
}

/// Writes a result to standard output, as JSON or as `write` has it for people.
pub(crate) fn answer(
    json: bool,
    value: &impl Serialize,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    print(|out| {
        if !json {
            return write(out);
        }
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

/// Says something beside the results, unless told to be quiet.
pub(crate) fn notice(quiet: bool, message: impl fmt::Display) {
    if !quiet {
        say(format_args!("notice: {message}"));
    }
}

/// Tells somebody at a terminal what to type. Says nothing where the input is a file or a pipe.
pub(crate) fn invite(quiet: bool, message: &str) {
    if !quiet && io::stdin().is_terminal() {
        say(message);
    }
}

/// A line on standard error. Nobody listening is no reason to stop.
pub(crate) fn say(message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// An error and what caused it, each said once: many errors already name their cause.
pub(crate) fn explanation(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

/// A text in one line of at most `most` characters, without what would control the terminal.
pub(crate) fn line(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().map(plain).take(most + 1).collect();
    if shown.chars().count() > most {
        shown = shown.chars().take(most - 1).chain(['…']).collect();
    }
    shown
}

/// A text with its line feeds, without what would control the terminal.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| line.chars().map(plain).collect())
}

fn plain(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

/// A bar on standard error that appears when work takes long, and only on a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    shown: OnceLock<()>,
    wanted: bool,
}

impl Progress {
    /// Work of which nothing is seen before half a second.
    const PATIENCE: Duration = Duration::from_millis(500);

    /// A bar called `what`, `unit` being what is counted.
    pub(crate) fn new(quiet: bool, what: &str, unit: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = if unit == "bytes" {
            "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left".to_owned()
        } else {
            format!("{{prefix}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left")
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Self { bar, begun: Instant::now(), shown: OnceLock::new(), wanted: !quiet }
    }

    /// `done` of `total` are done.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if self.wanted && io::stderr().is_terminal() && self.begun.elapsed() > Self::PATIENCE {
            self.shown.get_or_init(|| self.bar.set_draw_target(ProgressDrawTarget::stderr()));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// What stands before the bar from now on.
    pub(crate) fn describe(&self, what: impl fmt::Display) {
        self.bar.set_prefix(what.to_string());
    }

    /// Says that it is done, in a line that stays.
    pub(crate) fn leave(&self, message: impl fmt::Display) {
        if self.wanted {
            self.bar.suspend(|| say(message));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `1`, `12 345`: digits in groups of three, for people.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let mut out = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        out.push(' ');
        out.extend(group.iter().map(|&digit| char::from(digit)));
    }
    out
}

/// `3.2 MB`: a size in decimal units.
pub(crate) fn size(bytes: usize) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 1000.0 || unit == "GB" {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes any size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_control_the_terminal() {
        assert_eq!(line("a\x1b[31m\nb", 20), "a [31m b");
        assert_eq!(line("длинный", 4), "дли…");
        assert_eq!(line("длин", 4), "длин");
        assert_eq!(lines("a\tb\r\nc\x07").collect::<Vec<_>>(), ["a b", "c "]);
    }

    #[test]
    fn a_cause_is_said_once() {
        let error =
            anyhow::anyhow!("the disk is full").context("x.npy: the disk is full").context("cannot write");
        assert_eq!(explanation(&error), "cannot write: x.npy: the disk is full");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped),
            ["0", "12", "123", "1 234", "123 456", "1 234 567"]
        );
        assert_eq!(
            [999, 1_500, 90_868_376, 2_239_618_048].map(size),
            ["999 bytes", "1.5 kB", "90.9 MB", "2.2 GB"]
        );
    }
}
