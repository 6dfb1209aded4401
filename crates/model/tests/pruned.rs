//! Models without the tokens that are never used: the same vectors, in fewer rows.

#![allow(clippy::print_stdout)] // figures for whoever runs it with --nocapture

mod common;

use std::fs;
use std::path::Path;

use sentir_model::{
    EncodeOptions, Error, PruneOptions, Pruned, QuantizeOptions, SentenceTransformer, WeightType,
};
use sentir_model::{prune_model, quantize_model};
use serde_json::Value;

const BERT: &str = "bert: lasttoken, dense-dense-layer-norm-normalize, 2.7.0";
const XLM_ROBERTA: &str = "xlm-roberta: mean_sqrt_len_tokens, dense-tanh, 2.7.0";

fn prune(source: &Path, target: &Path, texts: &[String], scripts: &[&str]) -> Result<Pruned, Error> {
    let scripts: Vec<String> = scripts.iter().map(|&name| name.to_owned()).collect();
    prune_model(source, target, texts, PruneOptions { keep_scripts: &scripts, ..Default::default() })
}

fn vectors(path: &Path, texts: &[String]) -> Vec<f32> {
    let model = SentenceTransformer::load(path.to_str().unwrap()).unwrap();
    model.encode(texts, &EncodeOptions::default()).unwrap().embeddings.as_slice().to_vec()
}

#[test]
fn a_pruned_model_has_the_same_vectors_in_fewer_rows() {
    for name in [BERT, XLM_ROBERTA] {
        let case = common::case(name);
        let original = common::assemble(&case);
        let texts: Vec<String> = common::texts(&case).into_iter().take(4).collect();
        let target = original.path().with_extension("pruned");
        let pruned = prune(original.path(), &target, &texts, &[]).unwrap();
        assert!(pruned.tokens_after < pruned.tokens_before, "{pruned:?}");
        assert!(pruned.bytes_after < pruned.bytes_before, "{pruned:?}");
        assert_eq!(vectors(original.path(), &texts), vectors(&target, &texts), "{name}");
        let config: Value = serde_json::from_slice(&fs::read(target.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["vocab_size"], pruned.tokens_after);
        assert!(!target.join("vocab.txt").exists() && !target.join("sentencepiece.bpe.model").exists());
        // What other texts are made of stays with their script.
        let other = original.path().with_extension("latin");
        let wider = prune(original.path(), &other, &texts, &["Latin", "Cyrillic"]).unwrap();
        assert!(wider.tokens_after > pruned.tokens_after, "{wider:?}");
        let again = prune(&target, &original.path().with_extension("again"), &texts, &[]).unwrap();
        assert_eq!((again.tokens_before, again.tokens_after), (pruned.tokens_after, pruned.tokens_after));
        for directory in ["pruned", "latin", "again"] {
            fs::remove_dir_all(original.path().with_extension(directory)).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_pruned_says_why() {
    let texts = ["a boat".to_owned()];
    let message = |result: Result<Pruned, Error>| result.expect_err("it was accepted").to_string();
    let roberta = common::assemble(&common::case("roberta: weightedmean+max+cls, normalize, 6.2.0"));
    let target = roberta.path().with_extension("pruned");
    assert!(message(prune(roberta.path(), &target, &texts, &[])).contains("BPE"));
    let bert = common::assemble(&common::case(BERT));
    assert!(message(prune(bert.path(), &target, &[], &[])).contains("no texts"));
    assert!(message(prune(bert.path(), &target, &texts, &["Elvish"])).contains("no script"));
    assert!(message(prune(bert.path(), roberta.path(), &texts, &[])).contains("exists already"));
    let packed = bert.path().with_extension("packed");
    quantize_model(bert.path(), &packed, WeightType::Int8, QuantizeOptions::default()).unwrap();
    assert!(message(prune(&packed, &target, &texts, &[])).contains("then quantize"));
    fs::remove_dir_all(packed).unwrap();
    assert!(!target.exists());
}

/// The reconstructed tokenizer of XLM-RoBERTa, 250,002 tokens, on real questions and answers in Russian.
#[test]
fn a_large_vocabulary_and_real_texts() {
    const TEST: &str = "a_large_vocabulary_and_real_texts";
    let Some(tokenizer) = common::shared(TEST, "tokenizers/xlm-roberta/tokenizer.json") else { return };
    let Some(rutube) = common::shared(TEST, "data/rutube") else { return };
    let lines = |name: &str, key: &str| -> Vec<String> {
        let text = fs::read_to_string(rutube.join(name)).unwrap();
        let value =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()[key].as_str().unwrap().to_owned();
        text.lines().map(value).collect()
    };
    let texts =
        [lines("kb.jsonl", "question"), lines("kb.jsonl", "answer"), lines("cases-dev.jsonl", "text")]
            .concat();
    // The tiny encoder, with a table of as many rows as the vocabulary needs.
    let original = common::assemble(&common::case(XLM_ROBERTA));
    fs::copy(tokenizer, original.path().join("tokenizer.json")).unwrap();
    fs::remove_file(original.path().join("sentencepiece.bpe.model")).ok();
    let (rows, width) = (250_002usize, 32usize);
    let path = original.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let table: Vec<u8> = (0..rows * width)
        .flat_map(|i| ((i * 2_654_435_761 % 1009) as f32 / 1009.0 - 0.5).to_le_bytes())
        .collect();
    let views = tensors.tensors().into_iter().map(|(name, view)| {
        let view = if name == "embeddings.word_embeddings.weight" {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![rows, width], &table).unwrap()
        } else {
            view
        };
        (name, view)
    });
    let written = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    fs::write(&path, written).unwrap();
    let config = original.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap().replace("\"vocab_size\": 282", "\"vocab_size\": 250002");
    fs::write(&config, text).unwrap();

    let target = original.path().with_extension("pruned");
    let pruned = prune(original.path(), &target, &texts, &[]).unwrap();
    let size = |path: &Path| fs::metadata(path.join("tokenizer.json")).unwrap().len();
    println!("{pruned:?}; tokenizer.json {} bytes in place of {}", size(&target), size(original.path()));
    assert_eq!(pruned.texts_proved, texts.len());
    assert!(pruned.tokens_after < 10_000, "{pruned:?}");
    fs::remove_dir_all(target).unwrap();
}
