//! Ctrl-C: exit code 130, one line, and neither a half-written file nor a lost older one.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{case, listing, path};

/// A directory with a model, many texts and an older output.
fn prepared(texts: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    common::assemble(case("bert: plain"), &directory.path().join("model"));
    let text =
        "the boat crossed the quiet lake before sunrise and nobody expected it to arrive on time ".repeat(3);
    common::write_lines(&directory.path().join("in.txt"), (0..texts).map(|n| format!("{n} {text}")));
    std::fs::create_dir(directory.path().join("out")).unwrap();
    std::fs::write(directory.path().join("out/x.jsonl"), "old").unwrap();
    directory
}

fn start(directory: &Path, more: &[&str]) -> Child {
    let own = |name: &str| path(directory.join(name));
    let mut command = common::command();
    command.args([
        "encode",
        "--model",
        &own("model"),
        "--input",
        &own("in.txt"),
        "--output",
        &own("out/x.jsonl"),
    ]);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn press(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the temporary file satisfies `ready`. False if the process ended before.
fn wait_for(child: &mut Child, directory: &Path, ready: impl Fn(u64) -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let temporary = listing(&directory.join("out")).into_iter().find(|name| name.starts_with('.'));
        let length = temporary.and_then(|name| std::fs::metadata(directory.join("out").join(name)).ok());
        if length.is_some_and(|metadata| ready(metadata.len())) {
            return true;
        }
        if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// It ended by the interrupt, and the older output is all there is.
fn assert_interrupted(child: Child, directory: &Path) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.ends_with("error: interrupted; nothing was written\n") && !stderr.contains("panicked"),
        "{stderr}"
    );
    assert_eq!(output.stdout, b"");
    assert_eq!(listing(&directory.join("out")), ["x.jsonl"]);
    assert_eq!(std::fs::read(directory.join("out/x.jsonl")).unwrap(), b"old");
}

#[test]
fn while_encoding() {
    let directory = prepared(100_000);
    let mut child = start(directory.path(), &[]);
    assert!(wait_for(&mut child, directory.path(), |_| true), "it ended too early");
    std::thread::sleep(Duration::from_millis(500));
    press(&child);
    assert_interrupted(child, directory.path());
}

#[test]
fn while_writing() {
    // Few texts and many numbers: a long time of writing.
    let directory = prepared(2000);
    let mut child = start(directory.path(), &["--output-value", "token_embeddings"]);
    assert!(wait_for(&mut child, directory.path(), |length| length > 0), "it ended too early");
    press(&child);
    assert_interrupted(child, directory.path());
}

#[test]
fn twice() {
    let directory = prepared(100_000);
    let mut child = start(directory.path(), &[]);
    assert!(wait_for(&mut child, directory.path(), |_| true), "it ended too early");
    std::thread::sleep(Duration::from_millis(300));
    press(&child);
    press(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(listing(&directory.path().join("out")), ["x.jsonl"]);
}

#[test]
fn while_waiting_for_texts() {
    let directory = prepared(1);
    let own = |name: &str| path(directory.path().join(name));
    let mut command = common::command();
    command.args(["encode", "--model", &own("model"), "--output", &own("out/x.jsonl")]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_for(&mut child, directory.path(), |_| true), "it ended too early");
    let begun = Instant::now();
    // Standard input stays open (waiting for the process would close it): it must not wait for more.
    let input = child.stdin.take();
    press(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(input);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(listing(&directory.path().join("out")), ["x.jsonl"]);
}
