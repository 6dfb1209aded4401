//! Ten steps of fine-tuning give PyTorch's ten losses, and the first step PyTorch's gradients, on every backend
//! (`golden/make_training.py`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sentir_compute::{Backend, Cpu, GradientRef, Gradients, Memory, Reference};
use sentir_model::weights::Weights;
use sentir_model::{LoadOptions, SentenceTransformer, TokenizedTexts, Trainable};
use sentir_train::losses::Loss;
use sentir_train::optimizer::{Decay, Hyper, clip_coefficient};
use sentir_train::step::{Column, MiniBatch, Setting, gradients_of};
use sentir_train::update::{Frozen, Update};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

struct Pairs(Vec<[String; 2]>);

fn pairs() -> Pairs {
    let text = std::fs::read_to_string(golden().join("training/pairs.jsonl")).unwrap();
    let parse = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        ["anchor", "positive"].map(|column| row[column].as_str().unwrap().to_owned())
    };
    Pairs(text.lines().map(parse).collect())
}

fn load(name: &str, backend: Arc<dyn Backend>) -> SentenceTransformer {
    let path = golden().join("models").join(name);
    let options =
        LoadOptions { trainable: Trainable::Everything, backend: Some(backend), ..LoadOptions::default() };
    let mut model = SentenceTransformer::load_with(path.to_str().unwrap(), &options).unwrap();
    model.set_dropout([0.0; 2]);
    model
}

fn batch<'a>(columns: &'a [TokenizedTexts; 2], rows: std::ops::Range<usize>) -> Vec<Column<'a>> {
    let column = |texts: &'a TokenizedTexts| Column {
        ids: texts.ids[rows.clone()].iter().map(Vec::as_slice).collect(),
        skip: texts.skip,
    };
    columns.iter().map(column).collect()
}

fn check(name: &str, backend: Arc<dyn Backend>, mini_batch: MiniBatch, checkpointing: bool) {
    let record: Value =
        serde_json::from_slice(&std::fs::read(golden().join("training/record.json")).unwrap()).unwrap();
    let number = |key: &str| record[key].as_f64().unwrap();
    let expected = &record["models"][name];
    let expected_gradients =
        Weights::open_file(&golden().join(format!("training/{name}-gradients.safetensors"))).unwrap();
    let what = format!("{name} on {}, {mini_batch:?}", backend.name());

    let mut model = load(name, backend);
    model.set_gradient_checkpointing(checkpointing);
    let Pairs(pairs) = pairs();
    let columns = [0, 1].map(|column| {
        let texts: Vec<&str> = pairs.iter().map(|row| row[column].as_str()).collect();
        model.tokenize_texts(&texts, "").unwrap()
    });
    let mut update = Update::new(&mut model, Frozen::default(), Decay::Trainer).unwrap();
    let before: Vec<Vec<f32>> =
        model.parameters_mut().iter().map(|p| p.values.trained().unwrap().into_owned()).collect();
    let loss = sentir_train::losses::MultipleNegativesRanking::default();
    let (mut gradients, mut memory) = (Gradients::new(), Memory::default());
    let size = number("batch_size") as usize;
    for step in 0..10 {
        gradients.clear();
        let setting = Setting { model: &model, loss: &loss as &dyn Loss, mini_batch, seed: 1 };
        let start = step * size % pairs.len();
        let columns = batch(&columns, start..start + size);
        let outcome =
            gradients_of(setting, &columns, None, None, step as u64, 1.0, &mut gradients, &mut memory)
                .unwrap();
        let wanted = expected["losses"][step].as_f64().unwrap();
        let error = (outcome.loss - wanted).abs() / wanted;
        assert!(error <= 1e-5, "{what}: loss {step} is {}, PyTorch: {wanted}", outcome.loss);
        if step == 0 {
            let compared = compare_gradients(&update, &gradients, &expected_gradients, &what);
            let all: BTreeSet<String> = expected_gradients.tensors().map(|view| view.name.clone()).collect();
            assert_eq!(compared, all, "{what}: every gradient of PyTorch has one of ours");
        }
        let norm = update.gradient_norm(&gradients).unwrap();
        let wanted = expected["gradient_norms"][step].as_f64().unwrap();
        assert!((norm - wanted).abs() <= 1e-4 * wanted, "{what}: norm {step} is {norm}, PyTorch: {wanted}");
        let hyper = Hyper {
            learning_rate: number("learning_rate") * (10 - step) as f64 / 10.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: number("weight_decay"),
            update: step as u64 + 1,
            scale: clip_coefficient(norm, number("max_grad_norm")),
        };
        update.apply(&mut model, &gradients, &hyper);
        if step == 0 {
            for (parameter, before) in model.parameters_mut().iter().zip(&before) {
                let after = parameter.values.trained().unwrap();
                assert!(*after != before[..], "{what}: {:?} has not changed", parameter.names);
            }
        }
    }
}

/// ‖Δ‖/‖g‖ per tensor at most 1e-4. Returns the names of the tensors.
fn compare_gradients(
    update: &Update,
    gradients: &Gradients,
    expected: &Weights,
    what: &str,
) -> BTreeSet<String> {
    let mut compared = BTreeSet::new();
    for (id, own) in update.trained().iter().enumerate() {
        let width = expected.get(&own.names[0]).unwrap().shape.last().copied().unwrap();
        let flat = match gradients.get(id).unwrap() {
            GradientRef::Dense(values) => values.into_owned(),
            GradientRef::Rows(rows, values) => {
                let mut dense = vec![0.0; own.m.len()];
                for (&row, values) in rows.iter().zip(values.chunks_exact(width)) {
                    dense[row as usize * width..][..width].copy_from_slice(values);
                }
                dense
            }
        };
        for (name, part) in own.names.iter().zip(flat.chunks_exact(flat.len() / own.names.len())) {
            let wanted = expected.get(name).unwrap().to_f32().unwrap();
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let difference = norm(&mut part.iter().zip(&wanted).map(|(a, b)| a - b));
            let length = norm(&mut wanted.iter().copied());
            // The gradient by the biases of keys is 0, since a softmax does not see a shift: all that is there is rounding.
            let close = difference <= 1e-4 * length || (name.contains("key.bias") && difference <= 1e-6);
            assert!(close, "{what}: {name} differs by {difference} of {length}");
            compared.insert(name.clone());
        }
    }
    compared
}

#[test]
fn ten_steps_give_the_losses_and_gradients_of_pytorch() {
    for name in ["bert", "xlm-roberta"] {
        for backend in [Arc::new(Cpu) as Arc<dyn Backend>, Arc::new(Reference)] {
            check(name, backend, MiniBatch::Whole, false);
        }
    }
}

#[test]
fn mini_batches_and_checkpoints_give_the_same() {
    for name in ["bert", "xlm-roberta"] {
        check(name, Arc::new(Cpu), MiniBatch::Texts(4), false);
        check(name, Arc::new(Cpu), MiniBatch::Tokens(20), true);
        check(name, Arc::new(Cpu), MiniBatch::Whole, true);
    }
}
