//! Measures steps of fine-tuning as `benchmarks/engines/pytorch_train.py` does: 64 pairs of a workload of token ids,
//! MultipleNegativesRankingLoss, dropout, AdamW. Prints one JSON line; `benchmarks/README.md` names the keys.
//!
//!     cargo run --release -p sentir --example train_engine -- --model DIR --workload FILE
//!         [--dtype f32|bf16] [--threads N] [--steps N] [--pairs N] [--mini-batch N] [--gradient-checkpointing]
//!         [--freeze-embeddings] [--lora]

#![allow(clippy::print_stdout)]

mod engine;

use std::time::Instant;

use sentir::train::lora::Lora;
use sentir::train::losses::MultipleNegativesRanking;
use sentir::train::optimizer::{Decay, Hyper, clip_coefficient};
use sentir::train::step::{Column, Gradients, Memory, MiniBatch, Setting, gradients_of};
use sentir::train::update::{Frozen, Update};
use sentir::{LoadOptions, SentenceTransformer, Trainable, WeightType};
use serde_json::{Value, json};

use engine::{Arguments, Result, peak_memory};

fn main() -> Result<()> {
    let arguments = Arguments::read();
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let dtype = match arguments.option("--dtype").unwrap_or("f32") {
        "f32" => WeightType::F32,
        "bf16" => WeightType::Bf16,
        _ => return Err("--dtype is f32 or bf16".into()),
    };
    let (threads, steps, pairs) = (
        arguments.number("--threads", 2)?,
        arguments.number("--steps", 3)?,
        arguments.number("--pairs", 64)?,
    );
    let mini_batch = match arguments.number("--mini-batch", 0)? {
        0 => MiniBatch::Whole,
        texts => MiniBatch::Texts(texts),
    };
    let workload: Value = serde_json::from_str(&std::fs::read_to_string(arguments.needed("--workload")?)?)?;
    let ids: Vec<Vec<u32>> = serde_json::from_value(workload["ids"].clone())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let started = Instant::now();
    let frozen = Frozen { embeddings: has("--freeze-embeddings"), layers: 0 };
    let lora = has("--lora").then(Lora::default);
    let layers = frozen.embeddings || lora.is_some();
    let trainable = if layers { Trainable::Layers } else { Trainable::Everything };
    let options = LoadOptions { dtype: Some(dtype), trainable, ..LoadOptions::default() };
    let mut model = SentenceTransformer::load_with(arguments.needed("--model")?, &options)?;
    model.set_gradient_checkpointing(has("--gradient-checkpointing"));
    let lora = lora.as_ref().map(|lora| (lora, 42));
    let mut update = Update::with_lora(&mut model, frozen, Decay::Trainer, lora)?;
    let load_seconds = started.elapsed().as_secs_f64();

    let loss = MultipleNegativesRanking::default();
    let (mut gradients, mut memory) = (Gradients::new(), Memory::default());
    let (mut seconds, mut losses, mut tokens, mut update_seconds) = (Vec::new(), Vec::new(), 0, Vec::new());
    // The first step is there to warm up.
    for step in 0..=steps {
        let begun = Instant::now();
        update.begin(&mut gradients);
        let column = |column: usize| {
            let first = (2 * step + column) * pairs;
            Column { ids: (first..first + pairs).map(|at| ids[at % ids.len()].as_slice()).collect(), skip: 0 }
        };
        let setting = Setting { model: &model, loss: &loss, mini_batch, seed: 42 };
        let columns = [column(0), column(1)];
        let found =
            gradients_of(setting, &columns, None, None, step as u64, 1.0, &mut gradients, &mut memory)?;
        let updating = Instant::now();
        let norm = update.gradient_norm(&gradients)?;
        let hyper = Hyper {
            learning_rate: 2e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            update: step as u64 + 1,
            scale: clip_coefficient(norm, 1.0),
        };
        update.apply(&mut model, &gradients, &hyper);
        if step > 0 {
            seconds.push(begun.elapsed().as_secs_f64());
            update_seconds.push(updating.elapsed().as_secs_f64());
            losses.push(found.loss);
            tokens += found.tokens;
        }
    }
    let line = json!({
        "engine": "sentir",
        "dtype": dtype.name(),
        "isa": sentir::isa().name(),
        "workload": workload["name"],
        "pairs": pairs,
        "tokens": tokens / steps.max(1),
        "threads": threads,
        "step_seconds": seconds,
        "update_seconds": update_seconds,
        "losses": losses,
        "load_seconds": load_seconds,
        "peak_rss_bytes": peak_memory(),
    });
    println!("{line}");
    Ok(())
}
