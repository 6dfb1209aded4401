//! The invariants of ARCHITECTURE.md that a program can check. Each rule is a function of one file or of the list of
//! dependencies, with a test that it finds what it is for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The most lines that a source file has. Tables of cases in `tests/` may be longer.
const LONGEST: usize = 600;

/// What each crate of the workspace may depend on inside of it.
const ARROWS: [(&str, &[&str]); 9] = [
    ("sentir-kernels", &[]),
    ("sentir-compute", &["sentir-kernels"]),
    ("sentir-vectors", &["sentir-kernels"]),
    ("sentir-model", &["sentir-kernels", "sentir-compute", "sentir-vectors"]),
    ("sentir-train", &["sentir-compute", "sentir-model", "sentir-vectors"]),
    ("sentir-index", &["sentir-model", "sentir-vectors"]),
    ("sentir", &["sentir-index", "sentir-model", "sentir-train", "sentir-vectors"]),
    ("sentir-cli", &["sentir"]),
    ("xtask", &[]),
];

/// What only the leaves may use.
const LEAVES: [&str; 2] = ["sentir-cli", "xtask"];
const ONLY_IN_LEAVES: [&str; 4] = ["anyhow", "clap", "ctrlc", "indicatif"];

/// Checks the repository.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let files = tracked_files()?;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(crate::root().join(path)) else { continue };
        findings.extend(check_file(path, &text));
    }
    findings.extend(check_dependencies(&metadata()?));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings of tidy", findings.len());
    }
    println!("tidy: {} files, nothing found", files.len());
    Ok(())
}

fn tracked_files() -> Result<Vec<PathBuf>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .args(arguments)
        .current_dir(crate::root())
        .output()
        .context("git could not be started")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let paths = String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect::<Vec<_>>();
    if paths.is_empty() {
        bail!("git lists no files");
    }
    Ok(paths.into_iter().filter(|path| crate::root().join(path).is_file()).collect())
}

fn metadata() -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(crate::root())
        .output()?;
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

/// All rules about one file, as lines `path:line: what is wrong: what to do`.
fn check_file(path: &Path, text: &str) -> Vec<String> {
    let name = path.to_string_lossy().replace('\\', "/");
    let mut findings: Vec<(usize, String)> = Vec::new();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let prose_or_code =
        matches!(extension, "rs" | "toml" | "md" | "py" | "sh" | "yml") || name.starts_with(".ci/");
    if prose_or_code {
        findings.extend(formatting(text));
        findings.extend(foreign_words(text));
    }
    if extension == "rs" {
        findings.extend(opening(text));
        if !name.contains("/tests/") {
            findings.extend(length(text));
        }
        findings.extend(unsafe_code(&name, text));
    }
    if extension == "md" {
        findings.extend(links(path, text));
    }
    findings.into_iter().map(|(line, message)| format!("{name}:{line}: {message}")).collect()
}

fn formatting(text: &str) -> Vec<(usize, String)> {
    let trailing = text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t']));
    let mut findings: Vec<_> =
        trailing.map(|(i, _)| (i + 1, "white space at the end of the line: remove it".to_owned())).collect();
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push((text.lines().count(), "no line feed at the end of the file: add one".to_owned()));
    }
    findings
}

/// Marks of unfinished work, and paths of one machine. Put together here so that this file does not find itself.
fn foreign_words(text: &str) -> Vec<(usize, String)> {
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["/ho", "me/"], ["/wo", "rk/"], ["/ro", "ot/"]]
        .map(|halves| halves.concat());
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            findings.push((
                i + 1,
                format!("\"{word}\" does not belong into the repository: finish it, or make it relative"),
            ));
        }
    }
    findings
}

fn opening(text: &str) -> Option<(usize, String)> {
    (!text.starts_with("//! "))
        .then(|| (1, "the file does not open with what it is: begin with //!".to_owned()))
}

fn length(text: &str) -> Option<(usize, String)> {
    let lines = text.lines().count();
    (lines > LONGEST).then(|| (lines, format!("{lines} lines are more than {LONGEST}: divide the file")))
}

/// `unsafe` only in the kernels; every other crate forbids it in its root.
fn unsafe_code(name: &str, text: &str) -> Vec<(usize, String)> {
    if name.starts_with("crates/kernels/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let root = ["src/lib.rs", "src/main.rs"].iter().any(|root| name.ends_with(root));
    if root && !text.contains("#![forbid(unsafe_code)]") {
        findings.push((1, "the crate does not forbid unsafe code: add #![forbid(unsafe_code)]".to_owned()));
    }
    for (i, line) in text.lines().enumerate() {
        // Without comments and without what stands between quotes.
        let code: String = line.split("//").next().unwrap_or_default().split('"').step_by(2).collect();
        if code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
            findings.push((
                i + 1,
                "unsafe outside crates/kernels: move it there, behind a safe function".to_owned(),
            ));
        }
    }
    findings
}

/// Links of a Markdown file into the repository lead somewhere.
fn links(path: &Path, text: &str) -> Vec<(usize, String)> {
    let folder = crate::root().join(path.parent().unwrap_or(Path::new("")));
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                findings.push((i + 1, format!("the link to {target} leads nowhere: correct it")));
            }
        }
    }
    findings
}

/// The arrows between the crates, and what only the leaves may use.
fn check_dependencies(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into();
    let empty = Vec::new();
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().unwrap_or(&empty) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(arrows) = allowed.get(name) else {
            findings.push(format!(
                "{name}: the crate has no place in ARCHITECTURE.md: give it one there and in tidy"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap_or(&empty) {
            let other = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            if allowed.contains_key(other) && !arrows.contains(&other) && !for_tests {
                findings
                    .push(format!("{name} must not depend on {other}: see the arrows in ARCHITECTURE.md"));
            }
            if ONLY_IN_LEAVES.contains(&other) && !LEAVES.contains(&name) {
                findings
                    .push(format!("{name} must not depend on {other}, which is for programs, not libraries"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let good = "//! What it is.\n#![forbid(unsafe_code)]\n";
        assert_eq!(check_file(Path::new("crates/model/src/lib.rs"), good), Vec::<String>::new());
        let word = ["un", "safe"].concat();
        let unfinished = format!("//! {}: later\n", ["TO", "DO"].concat());
        for (path, text, part) in [
            ("a.rs", "fn main() {}\n".to_owned(), "a.rs:1: the file does not open"),
            ("a.rs", format!("//! x\n{}", "\n".repeat(600)), "a.rs:601: 601 lines"),
            ("crates/model/src/lib.rs", "//! x\n".to_owned(), "does not forbid"),
            ("crates/model/src/a.rs", format!("//! x\n{word} {{}}\n"), "a.rs:2: unsafe outside"),
            ("a.toml", "a = 1 \n".to_owned(), "a.toml:1: white space"),
            ("a.md", "text".to_owned(), "no line feed"),
            ("a.rs", unfinished, "does not belong"),
            ("a.md", "[x](nowhere/at/all.md)\n".to_owned(), "nowhere/at/all.md leads nowhere"),
        ] {
            let findings = check_file(Path::new(path), &text);
            assert!(findings.iter().any(|finding| finding.contains(part)), "{path}: {part}: {findings:?}");
        }
        assert!(
            check_file(Path::new("crates/kernels/src/a.rs"), &format!("//! x\n{word} {{}}\n")).is_empty()
        );
    }

    #[test]
    fn arrows_that_point_the_wrong_way_are_found() {
        let package = |name: &str, dependency: &str, kind: Value| serde_json::json!({"packages": [{"name": name, "dependencies": [{"name": dependency, "kind": kind}]}]});
        assert!(check_dependencies(&package("sentir-model", "sentir-compute", Value::Null)).is_empty());
        assert!(check_dependencies(&package("sentir-vectors", "sentir-compute", "dev".into())).is_empty());
        assert_eq!(check_dependencies(&package("sentir-vectors", "sentir-compute", Value::Null)).len(), 1);
        assert_eq!(check_dependencies(&package("sentir-model", "clap", Value::Null)).len(), 1);
        assert_eq!(check_dependencies(&package("unknown", "serde", Value::Null)).len(), 1);
    }
}
