//! Directories with packed weights: the same vectors as packing at load, and what is wrong is said.

mod common;

use std::fs;
use std::path::Path;

use sentir_model::{
    EncodeOptions, Error, LoadOptions, QuantizeOptions, SentenceTransformer, WeightType, quantize_model,
};
use sentir_vectors::Rows;
use serde_json::{Value, json};

const BERT: &str = "bert: lasttoken, dense-dense-layer-norm-normalize, 2.7.0";
const XLM_ROBERTA: &str = "xlm-roberta: mean_sqrt_len_tokens, dense-tanh, 2.7.0";

fn load(path: &Path, dtype: Option<WeightType>) -> Result<SentenceTransformer, Error> {
    SentenceTransformer::load_with(path.to_str().unwrap(), &LoadOptions { dtype, ..Default::default() })
}

fn encode(model: &SentenceTransformer, texts: &[String]) -> Rows {
    model.encode(texts, &EncodeOptions::default()).unwrap().embeddings
}

/// A quantized copy of a case, beside the original.
fn quantized(case: &Value, dtype: WeightType) -> (tempfile::TempDir, std::path::PathBuf) {
    let original = common::assemble(case);
    let target = original.path().with_extension("packed");
    let report = quantize_model(original.path(), &target, dtype, QuantizeOptions::default()).unwrap();
    assert_eq!(report.len(), 8, "four matrices a layer, two layers");
    let most = match dtype {
        WeightType::F32 => 0.0,
        WeightType::Bf16 => 0.004,
        WeightType::Int8 => 0.01,
    };
    assert!(report.iter().all(|matrix| matrix.relative_error <= most), "{report:?}");
    (original, target)
}

#[test]
fn packed_in_the_file_is_packed_at_load() {
    for name in [BERT, XLM_ROBERTA] {
        let case = common::case(name);
        let texts = common::texts(&case);
        for (dtype, _) in WeightType::ALL {
            let (original, target) = quantized(&case, dtype);
            let at_load = encode(&load(original.path(), Some(dtype)).unwrap(), &texts);
            let in_file = load(&target, None).unwrap();
            assert_eq!(encode(&in_file, &texts), at_load, "{name}, {dtype}");
            assert!(load(&target, Some(dtype)).is_ok());
            assert!(!target.join("model.safetensors").exists());
            let exact = encode(&load(original.path(), None).unwrap(), &texts);
            for (a, b) in at_load.iter().zip(exact.iter()) {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                assert!(cosine > 0.998, "{name}, {dtype}: {cosine}");
            }
            fs::remove_dir_all(target).unwrap();
        }
    }
}

#[test]
fn a_rounded_table_gives_the_vectors_of_the_rounded_numbers() {
    for name in [BERT, XLM_ROBERTA] {
        let case = common::case(name);
        let texts = common::texts(&case);
        let original = common::assemble(&case);
        let path = original.path().join("model.safetensors");
        let exact = encode(&load(original.path(), None).unwrap(), &texts);
        let words = |name: &String| name.ends_with("word_embeddings.weight");
        for (kind, most) in [(WeightType::Bf16, 0.003), (WeightType::Int8, 0.01)] {
            let target = original.path().with_extension("rounded");
            let options = QuantizeOptions { embeddings: Some(kind), ..Default::default() };
            let report = quantize_model(original.path(), &target, WeightType::F32, options).unwrap();
            let (table, matrices) = report.split_last().unwrap();
            assert!(table.name.ends_with("word_embeddings") && matrices.len() == 8, "{report:?}");
            assert!((1e-4..most).contains(&table.relative_error), "{}", table.relative_error);
            assert!(matrices.iter().all(|matrix| matrix.relative_error == 0.0));
            let rounded = encode(&load(&target, None).unwrap(), &texts);

            // The same model with the rounded numbers in its table, by the definition.
            let plain = original.path().with_extension("plain");
            copy(original.path(), &plain);
            let bytes = fs::read(&path).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let numbers = |view: &safetensors::tensor::TensorView<'_>| -> Vec<f32> {
                view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            };
            let name = file.names().into_iter().map(str::to_owned).find(words).unwrap();
            let view = file.tensor(&name).unwrap();
            let (mut values, width) = (numbers(&view), view.shape()[1]);
            for row in values.chunks_exact_mut(width) {
                let scale = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
                for x in row.iter_mut() {
                    *x = match kind {
                        WeightType::Int8 if scale > 0.0 => (*x / scale).round_ties_even() * scale,
                        WeightType::Int8 => 0.0,
                        _ => half::bf16::from_f32(*x).to_f32(),
                    };
                }
            }
            let at = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            let mut changed = bytes.clone();
            let new: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            changed[at..at + new.len()].copy_from_slice(&new);
            fs::write(plain.join("model.safetensors"), changed).unwrap();
            assert_eq!(rounded, encode(&load(&plain, None).unwrap(), &texts), "{name}, {kind}");
            assert_ne!(rounded, exact);

            if kind == WeightType::Int8 {
                let packed = target.join("packed.safetensors");
                let size = |path: &Path| fs::metadata(path).unwrap().len();
                let whole = original.path().with_extension("whole");
                let options = QuantizeOptions::default();
                quantize_model(original.path(), &whole, WeightType::F32, options).unwrap();
                let saved = size(&whole.join("packed.safetensors")) - size(&packed);
                assert!(saved > (values.len() * 5 / 2) as u64, "of four bytes a number, {saved} in all");
                fs::remove_dir_all(&whole).unwrap();
                // An int8 table without its scales.
                let bytes = fs::read(&packed).unwrap();
                let from = b"word_embeddings.scales";
                let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
                let mut damaged = bytes.clone();
                damaged[at..at + from.len()].copy_from_slice(b"word_embeddings.scalez");
                fs::write(&packed, damaged).unwrap();
                let message = message(load(&target, None));
                assert!(message.contains("word_embeddings.scales"), "{message}");
            }
            fs::remove_dir_all(&target).unwrap();
            fs::remove_dir_all(&plain).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).map(|_| ()).unwrap()
        }
    }
}

#[test]
fn a_text_has_the_same_bits_in_every_type() {
    let case = common::case(XLM_ROBERTA);
    let original = common::assemble(&case);
    let texts: Vec<String> = (0..64).map(|i| "the quiet lake and two boats ".repeat(1 + i * 7 % 5)).collect();
    for (dtype, _) in WeightType::ALL {
        let model = load(original.path(), Some(dtype)).unwrap();
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let alone: Vec<Rows> =
            pool(1).install(|| texts.iter().map(|text| encode(&model, std::slice::from_ref(text))).collect());
        for threads in [1, 2] {
            let all = pool(threads).install(|| encode(&model, &texts));
            for (row, alone) in all.iter().zip(&alone) {
                let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(row), bits(alone.row(0)), "{dtype}, {threads} threads");
            }
        }
    }
}

fn message<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_quantized_or_loaded_says_why() {
    let case = common::case(BERT);
    let (original, target) = quantized(&case, WeightType::Int8);
    let again = |source: &Path, target: &Path| {
        message(quantize_model(source, target, WeightType::Int8, QuantizeOptions::default()))
    };
    assert!(again(original.path(), &target).contains("exists already"));
    // In a folder of its own: other tests write beside their models.
    let beside = tempfile::tempdir().unwrap();
    let other = beside.path().join("other");
    assert!(again(&target, &other).contains("packed already"));
    assert!(message(load(&target, Some(WeightType::Bf16))).contains("packed in int8; for bf16"));

    let description = target.join("packed.json");
    let good = fs::read_to_string(&description).unwrap();
    for (text, part) in [
        (good.replace('1', "3"), "format version is 3"),
        (good.replace("int8", "int4"), "dtype \"int4\" is not known"),
        (good.replace("int8", "bf16"), "words are not a packed bf16 weight"),
        ("{".to_owned(), "line 1"),
    ] {
        fs::write(&description, text).unwrap();
        let message = message(load(&target, None));
        assert!(message.contains(part), "{message}");
    }
    fs::write(&description, good).unwrap();
    let file = target.join("packed.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    assert!(message(load(&target, None)).contains("cut off"));

    // A scale that is not a number.
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!((8 + length) % 64, 0, "matrices begin at multiples of 64 bytes");
    let name = header.as_object().unwrap().keys().find(|name| name.ends_with(".scales")).unwrap();
    let at = 8 + length + usize::try_from(header[name]["data_offsets"][0].as_u64().unwrap()).unwrap();
    let mut damaged = bytes;
    damaged[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, damaged).unwrap();
    assert!(message(load(&target, None)).contains("NaN"));
    fs::remove_dir_all(&target).unwrap();

    let nothing = tempfile::tempdir().unwrap();
    fs::write(nothing.path().join("config.json"), json!({"model_type": "bert"}).to_string()).unwrap();
    assert!(again(nothing.path(), &other).contains("there are no weights"));
    assert!(!other.exists());
    assert!(
        fs::read_dir(other.parent().unwrap())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".sentir-new-") })
    );
}
