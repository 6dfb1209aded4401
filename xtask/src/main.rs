//! What a developer of sentir runs: `cargo xtask check | test | tidy | golden | bench`. Each task is a file; this one knows only
//! their names.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program that talks to people

mod bench;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
Usage: cargo xtask TASK

  test      run all tests; ends with a line `N passed, N failed, N skipped`
  tidy      check the invariants of ARCHITECTURE.md that a program can check
  check     formatting, clippy, documentation, tidy and tests: everything that must hold
  golden    record golden/ again with Python: cargo xtask golden [--check] [--python PATH]
  bench     measure: cargo xtask bench encode|finetune|search|tasks|texts|train|xlmr-large [--python PATH] [--runs N] [--threads N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["test"] => test::run(),
        ["tidy"] => tidy::run(),
        ["check"] => check(),
        ["golden", rest @ ..] => golden(rest),
        ["bench", rest @ ..] => bench::run(rest),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[]).context("run cargo fmt --all")?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
    cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    tidy::run()?;
    test::run()
}

/// Runs every script that records, or, with `--check`, those that can compare.
fn golden(arguments: &[&str]) -> Result<()> {
    let python = option(arguments, "--python")?.unwrap_or(".venv/bin/python");
    let check = arguments.contains(&"--check");
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(root().join("golden"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    scripts.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("make_") && name.ends_with(".py")
    });
    scripts.sort();
    for script in scripts {
        let knows_check = std::fs::read_to_string(&script)?.contains("\"--check\"");
        if check && !knows_check {
            println!("{} cannot compare, only record: left out", script.display());
            continue;
        }
        let mut command = Command::new(python);
        command.current_dir(root()).arg(&script).args(check.then_some("--check"));
        run(&mut command)?;
    }
    Ok(())
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in a folder of the repository")
}

/// The value after an option.
fn option<'a>(arguments: &[&'a str], name: &str) -> Result<Option<&'a str>> {
    let Some(at) = arguments.iter().position(|&argument| argument == name) else { return Ok(None) };
    arguments.get(at + 1).copied().map(Some).with_context(|| format!("{name} needs a value"))
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("> cargo {}", arguments.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    run(command.current_dir(root()).args(arguments).envs(environment.iter().copied()))
}

fn run(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{:?} could not be started", command.get_program()))?;
    if !status.success() {
        bail!("{:?} failed: {status}", command.get_program());
    }
    Ok(())
}
