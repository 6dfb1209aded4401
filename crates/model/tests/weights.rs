//! Weights files against what PyTorch reads from them, the errors of directories and indices, and damage of every kind.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::golden;
use half::{bf16, f16};
use proptest::prelude::*;
use sentir_model::Error;
use sentir_model::weights::{Dtype, View, Weights};
use serde_json::Value;

fn variant(name: &str) -> PathBuf {
    golden().join("models/variants").join(name)
}

fn dtype(name: &str) -> Dtype {
    match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::Bf16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        other => panic!("unknown type {other}"),
    }
}

/// All numbers of a tensor, in a type that holds each of the recorded ones.
fn numbers(view: &View) -> Vec<f64> {
    match view.dtype {
        Dtype::F64 => {
            let shared = view.shared_bytes();
            let numbers = shared.as_ref().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
            numbers.collect()
        }
        Dtype::Bool => view.shared_bytes().as_ref().iter().map(|&byte| f64::from(byte)).collect(),
        Dtype::F32 | Dtype::F16 | Dtype::Bf16 => view.to_f32().unwrap().into_iter().map(f64::from).collect(),
        _ => view.to_i64().unwrap().into_iter().map(|number| number as f64).collect(),
    }
}

#[test]
fn files_of_pytorch_have_the_numbers_that_pytorch_reads() {
    let record = fs::read(golden().join("weights/weights.json")).unwrap();
    let record: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&record).unwrap();
    assert!(record.len() >= 10);
    for (file, tensors) in &record {
        let weights = Weights::open_file(&golden().join("weights").join(file)).unwrap();
        let names: Vec<&str> = weights.tensors().map(|view| view.name.as_str()).collect();
        assert!(names.iter().eq(tensors.keys()), "{file}: {names:?}");
        for (name, expected) in tensors {
            let view = weights.get(name).unwrap();
            let shape: Vec<u64> = view.shape.iter().map(|&size| size as u64).collect();
            assert_eq!(serde_json::json!(shape), expected["shape"], "{file}: {name}");
            assert_eq!(view.dtype, dtype(expected["dtype"].as_str().unwrap()), "{file}: {name}");
            // Nine digits are a float32 exactly; the double nearest to them is not always that float32.
            let expected = expected["numbers"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
            let narrow = matches!(view.dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16);
            let expected: Vec<f64> = expected.map(|x| if narrow { f64::from(x as f32) } else { x }).collect();
            assert_eq!(numbers(view), expected, "{file}: {name}");
            assert_eq!(view.elements(), expected.len());
            assert_eq!(view.bytes(), view.shared_bytes().as_ref().len());
            assert_eq!(view.bytes(), expected.len() * view.dtype.size());
        }
    }
}

/// The tensors of the plain file, each rounded as `round` says.
fn plain(round: impl Fn(&str, f32) -> f32) -> BTreeMap<String, Vec<f32>> {
    let weights = Weights::open(&golden().join("models/bert-cased")).unwrap();
    let rounded = |view: &View| view.to_f32().unwrap().into_iter().map(|x| round(&view.name, x)).collect();
    weights.tensors().map(|view| (view.name.clone(), rounded(view))).collect()
}

fn assert_has(weights: &Weights, expected: &BTreeMap<String, Vec<f32>>, rename: impl Fn(&str) -> String) {
    assert!(expected.len() > 20);
    for (name, values) in expected {
        let view = weights.get(&rename(name)).unwrap();
        assert_eq!(&view.to_f32().unwrap(), values, "{}: {name}", weights.path().display());
    }
}

#[test]
fn every_variant_has_the_numbers_of_the_plain_file() {
    let exact = plain(|_, x| x);
    let same = str::to_owned;
    for file in ["zip.bin", "legacy.bin", "position-ids.safetensors"] {
        assert_has(&Weights::open_file(&variant(file)).unwrap(), &exact, same);
    }
    let (to_f16, to_bf16) = (|x| f16::from_f32(x).to_f32(), |x| bf16::from_f32(x).to_f32());
    let half = |name: &str| Weights::open_file(&variant(name)).unwrap();
    assert_has(&half("f16.safetensors"), &plain(|_, x| to_f16(x)), same);
    assert_has(&half("bf16.safetensors"), &plain(|_, x| to_bf16(x)), same);
    let mixed = plain(|name, x| match name {
        name if name.contains("layer.0") => to_f16(x),
        name if name.contains("layer.1") => to_bf16(x),
        _ => x,
    });
    assert_has(&half("mixed.safetensors"), &mixed, same);
    let views = plain(|name, x| if name == "pooler.dense.bias" { to_f16(x) } else { x });
    for file in ["views.bin", "views-legacy.bin"] {
        let weights = Weights::open_file(&variant(file)).unwrap();
        assert_has(&weights, &views, same);
        let positions = weights.get("embeddings.position_ids").unwrap().to_i64().unwrap();
        assert!(positions.iter().copied().eq(0..positions.len() as i64));
    }
    let old = |name: &str| {
        let name =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        format!("bert.{name}")
    };
    for file in ["pretraining.bin", "pretraining.safetensors"] {
        assert_has(&Weights::open_file(&variant(file)).unwrap(), &exact, old);
    }
}

/// A folder with copies of variants under other names, and files with that content.
fn folder(copies: &[(&str, &str)], files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in copies {
        fs::copy(variant(source), folder.path().join(name)).unwrap();
    }
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

#[test]
fn a_directory_is_searched_in_the_order_of_the_formats() {
    let shards = |stem: &str, extension: &str| -> Vec<String> {
        let mut names: Vec<String> =
            (1..=2).map(|i| format!("{stem}-0000{i}-of-00002.{extension}")).collect();
        names.push(format!("{stem}.{extension}.index.json"));
        names
    };
    let exact = plain(|_, x| x);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Each is found although all the later ones are there.
    for (names, single) in [
        (shards("pytorch_model", "bin"), None),
        (vec!["pytorch_model.bin".to_owned()], Some("zip.bin")),
        (shards("model", "safetensors"), None),
        (vec!["model.safetensors".to_owned()], Some("position-ids.safetensors")),
    ] {
        for name in &names {
            fs::copy(variant(single.unwrap_or(name)), path.join(name)).unwrap();
        }
        let weights = Weights::open(path).unwrap();
        assert_eq!(weights.path().file_name().unwrap().to_str(), names.last().map(String::as_str));
        assert_eq!(weights.files().len(), if single.is_some() { 1 } else { 2 });
        assert!(weights.files().iter().all(|file| file.is_file()));
        assert_has(&weights, &exact, str::to_owned);
    }
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let message = Weights::open(empty.path()).unwrap_err().to_string();
    for name in ["model.safetensors,", "model.safetensors.index.json", "pytorch_model.bin,"] {
        assert!(message.contains(name), "{message}");
    }
    let absent = empty.path().join("absent.safetensors");
    assert!(matches!(Weights::open_file(&absent), Err(Error::Io { path, .. }) if path == absent));

    let weights = Weights::open_file(&variant("pretraining.safetensors")).unwrap();
    let name = "embeddings.word_embeddings.weight";
    assert!(!weights.contains(name));
    match weights.get(name).unwrap_err() {
        Error::Tensor { tensor, message, .. } => {
            assert_eq!(tensor, name);
            assert!(message.contains("bert.embeddings.word_embeddings.weight"), "{message}");
        }
        other => panic!("{other}"),
    }
    let view = weights.get("cls.seq_relationship.weight").unwrap();
    assert!(view.expect_shape(&[2, 16]).is_ok());
    let message = view.expect_shape(&[16, 2]).unwrap_err().to_string();
    assert!(message.contains("[2, 16]") && message.contains("[16, 2]"), "{message}");
}

#[test]
fn an_index_does_not_leave_its_directory() {
    let shard = "model-00001-of-00002.safetensors";
    for name in
        ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "", ".", "..", r"..\\x", r"C:\\x", r"a\u0000b"]
    {
        let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
        let folder = folder(&[(shard, shard)], &[("model.safetensors.index.json", &index)]);
        let error = Weights::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{name}: {error}");
        assert!(error.to_string().contains("leaves the directory"), "{name}: {error}");
        assert!(!error.to_string().contains('\0'));
    }
}

#[test]
fn an_index_that_is_wrong_says_where() {
    let shard = "model-00001-of-00002.safetensors";
    let found = "embeddings.LayerNorm.bias";
    for (index, parts) in [
        (
            format!(r#"{{"weight_map": {{"{found}": "{shard}", "pooler.dense.bias": "{shard}"}}}}"#),
            &["tensor \"pooler.dense.bias\"", shard][..],
        ),
        (
            format!(r#"{{"weight_map": {{"{found}": "{shard}", "x": "model-00002-of-00002.safetensors"}}}}"#),
            &["model-00002-of-00002.safetensors: "],
        ),
        ("{\n\"weight_map\": 3}".to_owned(), &["index.json: line 2, column 15", "map"]),
        ("{}".to_owned(), &["index.json: line 1", "weight_map"]),
        (r#"{"weight_map": {"a": 1}}"#.to_owned(), &["index.json: line 1", "string"]),
        ("PK".to_owned(), &["index.json: line 1"]),
    ] {
        let folder = folder(&[(shard, shard)], &[("model.safetensors.index.json", &index)]);
        let message = Weights::open(folder.path()).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{index}\n{message}");
        }
    }
}

#[test]
fn a_file_that_is_something_else_says_what_to_do() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90\n";
    for name in ["model.safetensors", "pytorch_model.bin"] {
        for (content, part) in [(pointer, "git lfs pull"), ("", "get it again"), ("<html>", "get it again")] {
            let folder = folder(&[], &[(name, content)]);
            let message = Weights::open(folder.path()).unwrap_err().to_string();
            let again = message.contains("get the file again");
            assert!(message.contains(part) || again && part == "get it again", "{content}: {message}");
            assert!(message.contains(name), "{message}");
        }
    }
    let error = Weights::open_file(&golden()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "a directory is no file: {error}");
}

#[test]
fn numbers_that_are_not_finite_are_found() {
    let file = |dtype: &str, bytes: &[u8], count: usize| {
        let header = format!(
            r#"{{"t.weight":{{"dtype":"{dtype}","shape":[{count}],"data_offsets":[0,{}]}}}}"#,
            bytes.len()
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(bytes);
        Weights::from_bytes(Path::new("m.safetensors"), file).unwrap()
    };
    for (dtype, bytes, count, part) in [
        ("F32", [1.0f32, 2.0, f32::NAN].map(f32::to_le_bytes).concat(), 3, "number 2 is NaN"),
        ("F64", [f64::NEG_INFINITY, 0.0].map(f64::to_le_bytes).concat(), 2, "number 0 is -inf"),
        ("F64", [0.0, 1e300].map(f64::to_le_bytes).concat(), 2, "number 1 is inf"),
        ("F16", [f16::ONE, f16::INFINITY].map(f16::to_le_bytes).concat(), 2, "number 1 is inf"),
        ("BF16", [bf16::ONE, bf16::NAN].map(bf16::to_le_bytes).concat(), 2, "number 1 is NaN"),
        ("I64", vec![0; 16], 2, "its type is I64"),
        ("BOOL", vec![0; 2], 2, "its type is BOOL"),
    ] {
        let weights = file(dtype, &bytes, count);
        match weights.get("t.weight").unwrap().to_f32().unwrap_err() {
            Error::Tensor { tensor, message, .. } => {
                assert_eq!(tensor, "t.weight");
                assert!(message.contains(part), "{message}");
            }
            other => panic!("{other}"),
        }
    }
    let message = file("F32", &[0; 8], 2).get("t.weight").unwrap().to_i64().unwrap_err().to_string();
    assert!(message.contains("its type is F32"), "{message}");
}

/// Reads whatever can be read of a file that may be damaged. Nothing of it may panic, and sizes must agree.
fn read_all(path: &Path, bytes: Vec<u8>) -> bool {
    let length = bytes.len();
    let Ok(weights) = Weights::from_bytes(path, bytes) else { return false };
    for view in weights.tensors() {
        assert_eq!(view.elements() * view.dtype.size(), view.bytes());
        // A tensor that repeats its numbers may be larger than the file; those are tested elsewhere.
        if view.bytes() <= 4 * length {
            assert_eq!(view.shared_bytes().as_ref().len(), view.bytes());
            let numbers =
                view.to_f32().map(|values| values.len()).or(view.to_i64().map(|values| values.len()));
            assert!(numbers.is_err() || numbers.is_ok_and(|count| count == view.elements()));
        }
    }
    true
}

/// Files of each format, a few kilobytes each.
fn small_files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(golden().join("weights")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    paths.push(golden().join("models/modules/layer-norm-20.safetensors"));
    paths.push(golden().join("models/modules/dense-20-12.safetensors"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    for (path, bytes) in small_files() {
        assert!(read_all(&path, bytes.clone()), "{}", path.display());
        for length in 0..bytes.len() {
            assert!(!read_all(&path, bytes[..length].to_vec()), "{} at {length}", path.display());
        }
    }
    for name in ["zip.bin", "legacy.bin", "views-legacy.bin", "f16.safetensors"] {
        let bytes = fs::read(variant(name)).unwrap();
        for length in (0..bytes.len()).step_by(499) {
            assert!(!read_all(Path::new(name), bytes[..length].to_vec()), "{name} at {length}");
        }
    }
}

#[test]
fn any_byte_may_be_wrong() {
    let mut refused = 0;
    for (path, bytes) in small_files() {
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, bytes[at], !bytes[at]] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                refused += usize::from(!read_all(&path, changed));
            }
        }
    }
    assert!(refused > 10_000, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn several_bytes_may_be_wrong(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        moved in any::<(prop::sample::Index, prop::sample::Index, u8)>(),
    ) {
        let files = small_files();
        let (path, bytes) = which.get(&files);
        let mut changed = bytes.clone();
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        let (from, to, length) = moved;
        let (from, to) = (from.index(changed.len()), to.index(changed.len()));
        let length = usize::from(length).min(changed.len() - from.max(to));
        changed.copy_within(from..from + length, to);
        read_all(path, changed);
    }
}
