//! Running the binary, and model directories to run it on: those of golden/models, put together as golden/README.md says.

#![allow(dead_code, unreachable_pub, reason = "a module of each test binary, which uses a part of it")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// golden/models.
pub fn golden() -> PathBuf {
    root().join("golden/models")
}

/// golden/models/cases.json.
pub fn cases() -> &'static [Value] {
    static CASES: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let text = std::fs::read_to_string(golden().join("cases.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    });
    &CASES
}

/// One of them by name.
pub fn case(name: &str) -> &'static Value {
    cases().iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no golden case \"{name}\""))
}

/// Puts the model directory of a case together.
pub fn assemble(case: &Value, directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    if let Some(base) = case["base"].as_str() {
        for entry in std::fs::read_dir(golden().join(base)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
        }
    }
    for file in case["remove"].as_array().unwrap() {
        std::fs::remove_file(directory.join(file.as_str().unwrap())).unwrap();
    }
    for (path, source) in case["copy"].as_object().unwrap() {
        let target = directory.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(golden().join(source.as_str().unwrap()), target).unwrap();
    }
    for (path, contents) in case["files"].as_object().unwrap() {
        let target = directory.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let text = contents.as_str().map_or_else(|| contents.to_string(), str::to_owned);
        std::fs::write(target, text).unwrap();
    }
}

/// The model of a case in a directory of its own.
pub fn model(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    assemble(case(name), directory.path());
    directory
}

/// The texts of a case.
pub fn texts(case: &Value) -> Vec<String> {
    case["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// A matrix of JSON.
pub fn matrix(value: &Value) -> Vec<Vec<f32>> {
    let numbers = |row: &Value| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    value.as_array().unwrap().iter().map(numbers).collect()
}

/// Panics if the vectors are further apart than 1e-5 per component.
pub fn assert_close(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of vectors");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}: width of vector {index}");
        for (found, expected) in found.iter().zip(expected) {
            // Relative where a component is above one, as golden/README.md has it.
            assert!(
                (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                "{what}: vector {index}: {found} {expected}"
            );
        }
    }
}

/// What the binary answered.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Panics unless it was a success; gives standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// The binary, cut off from the network and from the caches and settings of whoever runs the tests.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentir"));
    command.env_remove("SENTIR_ISA").env_remove("HF_TOKEN").env("HF_HUB_OFFLINE", "1");
    command.env("HF_HOME", std::env::temp_dir().join("sentir-tests-without-cache"));
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "HF_ENDPOINT"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary with nothing on standard input.
pub fn sentir<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Answer {
    sentir_reading(arguments, b"")
}

/// A tiny model of random weights, as it lies in golden/models.
pub fn bert() -> String {
    path(golden().join("bert"))
}

/// Runs the binary, which must succeed.
pub fn done(words: &[&str]) -> Answer {
    let answer = sentir(words);
    assert_eq!(answer.code, Some(0), "{words:?}: {}", answer.stderr);
    answer
}

/// Runs the binary with `input` on standard input.
pub fn sentir_reading<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Answer {
    let mut command = command();
    command.args(arguments);
    finish(command, input)
}

/// Runs a command to its end.
pub fn finish(mut command: Command, input: &[u8]) -> Answer {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A process that fails early does not read; that is no failure of ours.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

/// The names in a directory, sorted; hidden ones too.
pub fn listing(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A path as an argument.
pub fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// A numpy file: (descr, rows, columns, bytes of the numbers). Read by the letter of numpy's format description, and
/// by other means than the binary's own reader.
pub fn read_npy(path: &Path) -> (String, usize, usize, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(bytes[8]) + 256 * usize::from(bytes[9]);
    assert_eq!((10 + length) % 64, 0, "numbers begin at a multiple of 64");
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.ends_with('\n') && header.is_ascii());
    let header = header.trim_end();
    let inside = header.strip_prefix("{'descr': '").unwrap().strip_suffix("), }").unwrap();
    let (descr, shape) = inside.split_once("', 'fortran_order': False, 'shape': (").unwrap();
    let (rows, columns) = shape.split_once(", ").unwrap();
    (descr.to_owned(), rows.parse().unwrap(), columns.parse().unwrap(), bytes[10 + length..].to_vec())
}

/// The rows of a float32 numpy file.
pub fn read_npy_f32(path: &Path) -> Vec<Vec<f32>> {
    let (descr, rows, columns, bytes) = read_npy(path);
    assert_eq!((descr.as_str(), bytes.len()), ("<f4", 4 * rows * columns));
    let values: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    values.chunks(columns).map(<[f32]>::to_vec).collect()
}

/// Writes lines.
pub fn write_lines<S: AsRef<str>>(path: &Path, lines: impl IntoIterator<Item = S>) {
    let text: String = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
    std::fs::write(path, text).unwrap();
}
