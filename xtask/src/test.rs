//! All tests of the workspace, with a count that includes what was skipped. `cargo test` alone would hide the reasons.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What the lines of `cargo test` add up to.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Lines that begin with `SKIPPED:`, each once.
    skipped: Vec<String>,
}

impl Count {
    /// Takes one line of output into account.
    fn read(&mut self, line: &str) {
        // With several threads, a test's own output may stand before or after the words of the harness.
        if let Some(at) = line.find("SKIPPED: ") {
            let reason = line[at..].trim().to_owned();
            if !self.skipped.contains(&reason) {
                self.skipped.push(reason);
            }
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = result.split(word).next()?;
            before.split_whitespace().next_back()?.parse::<usize>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.ignored += number(" ignored").unwrap_or(0);
    }
}

/// Runs them. The model that some need is fetched first; where that fails, they are skipped and say so.
pub(crate) fn run() -> Result<()> {
    let fetch = crate::root().join("scripts/fetch-minilm.sh");
    let fetched = Command::new("sh")
        .arg(fetch)
        .current_dir(crate::root())
        .status()
        .context("sh could not be started")?;
    if !fetched.success() {
        println!("The real model could not be fetched: the tests that need it are skipped.");
    }

    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(crate::root()).args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo could not be started")?;
    let mut count = Count::default();
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        count.read(&line);
    }
    let status = child.wait()?;

    println!();
    for reason in &count.skipped {
        println!("{reason}");
    }
    // A test that skipped itself has passed for the harness.
    let passed = count.passed.saturating_sub(count.skipped.len());
    println!("{passed} passed, {} failed, {} skipped", count.failed, count.skipped.len() + count.ignored);
    if !status.success() || count.failed > 0 {
        bail!("tests failed");
    }
    if passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s",
            "SKIPPED: one: there is no data",
            "test b ... SKIPPED: one: there is no data",
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.05s",
        ] {
            count.read(line);
        }
        let skipped = vec!["SKIPPED: one: there is no data".to_owned()];
        assert_eq!(count, Count { passed: 15, failed: 1, ignored: 2, skipped });
    }
}
