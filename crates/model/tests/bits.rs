//! A text has the same vector, bit for bit, alone, first, in the middle or last of a batch, and with any number of threads.

#![allow(clippy::print_stdout)] // figures for whoever runs it with --nocapture

mod common;

use std::sync::LazyLock;

use proptest::prelude::*;
use sentir_model::{EncodeOptions, SentenceTransformer};

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// The vector of `text` among 63 others, as bits.
fn among(
    model: &SentenceTransformer,
    text: &str,
    others: &[String],
    position: usize,
    batch_tokens: usize,
) -> Vec<u32> {
    let mut texts: Vec<&str> = others.iter().map(String::as_str).collect();
    texts.insert(position, text);
    let options = EncodeOptions { batch_tokens: Some(batch_tokens), ..EncodeOptions::default() };
    let embeddings = model.encode(&texts, &options).unwrap().embeddings;
    embeddings.row(position).iter().map(|x| x.to_bits()).collect()
}

fn check(model: &SentenceTransformer, text: &str, others: &[String]) -> Result<(), TestCaseError> {
    let alone = pool(1).install(|| among(model, text, &[], 0, 2048));
    for threads in [1, 2, 3] {
        pool(threads).install(|| {
            for position in [0, 1, others.len() / 2, others.len()] {
                for batch_tokens in [512, 100_000] {
                    let bits = among(model, text, others, position, batch_tokens);
                    prop_assert_eq!(&alone, &bits, "{} threads, position {}", threads, position);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

static TINY: LazyLock<Vec<SentenceTransformer>> = LazyLock::new(|| {
    let names = [
        "bert: lasttoken, dense-dense-layer-norm-normalize, 2.7.0",
        "roberta: weightedmean+max+cls, normalize, 6.2.0",
        "xlm-roberta: mean_sqrt_len_tokens, dense-tanh, 2.7.0",
    ];
    let load = |name: &str| {
        SentenceTransformer::load(common::assemble(&common::case(name)).path().to_str().unwrap()).unwrap()
    };
    names.map(load).into()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn tiny_models(text in "[a-zа-я .,!?]{0,160}", others in prop::collection::vec("[a-zа-я .,!?]{0,120}", 63)) {
        for model in TINY.iter() {
            check(model, &text, &others)?;
        }
    }
}

#[test]
fn the_real_model() {
    let Some(path) = common::minilm("the_real_model (same bits)") else { return };
    let model = SentenceTransformer::load(path.to_str().unwrap()).unwrap();
    let words =
        ["how", "do", "I", "upload", "a", "video", "without", "losing", "quality", "in", "the", "evening"];
    let sentence = |length: usize| {
        (0..length).map(|i| words[(i * 7 + length) % words.len()]).collect::<Vec<_>>().join(" ")
    };
    let others: Vec<String> = (0..63).map(|i| sentence(1 + i * 5 % 47)).collect();
    for length in [2, 13, 300] {
        check(&model, &sentence(length), &others).unwrap();
    }
}
