//! Arguments, the course of a training, prompts, memory.

use sentir_compute::{Gradients, Memory};

use super::*;
use crate::doctor::memory::{Layers, Load, activations};
use crate::optimizer::Decay;
use crate::step::{Column, MiniBatch, Setting, gradients_of};
use crate::update::Update;

#[test]
fn arguments_that_do_not_do_what_they_seem_to() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let base = arguments();
    let cases = [
        (
            TrainingArguments {
                gradient_accumulation_steps: 2,
                per_device_train_batch_size: 4,
                ..base.clone()
            },
            "accumulation",
            W,
            "cached form",
        ),
        (TrainingArguments { warmup_steps: 50.0, ..base.clone() }, "warmup", W, "0.1"),
        (TrainingArguments { warmup_ratio: Some(1.0), ..base.clone() }, "warmup", W, "0.1"),
        (TrainingArguments { num_train_epochs: 3.0, ..base.clone() }, "few_updates", W, "num_train_epochs"),
        (TrainingArguments { max_steps: 2, ..base.clone() }, "few_updates", W, "num_train_epochs"),
        (
            TrainingArguments { per_device_train_batch_size: 64, ..base.clone() },
            "large_batch",
            W,
            "12 or less",
        ),
        (TrainingArguments { learning_rate: 0.0, ..base.clone() }, "learning_rate", W, "2e-5"),
        (TrainingArguments { learning_rate: 0.01, ..base.clone() }, "learning_rate", W, "2e-5"),
        (TrainingArguments { learning_rate: f64::NAN, ..base.clone() }, "arguments", E, "Correct"),
        (
            TrainingArguments { per_device_train_batch_size: 64, dataloader_drop_last: true, ..base.clone() },
            "no_batches",
            E,
            "no training",
        ),
    ];
    for (arguments, code, severity, advice) in cases {
        let examination = run(&model, &data, &*mnrl(), &arguments);
        assert_eq!(codes(&examination), [(code, severity)], "{}", examination.to_text());
        assert!(examination.findings[0].advice.contains(advice), "{:?}", examination.findings[0]);
    }
    let empty = [dataset(&[], None)];
    assert!(codes(&run(&model, &empty, &*mnrl(), &base)).contains(&("no_batches", E)));
    assert!(codes(&run(&model, &[], &*mnrl(), &base)).contains(&("no_batches", E)));
}

#[test]
fn the_course_is_that_of_the_trainer() {
    // 12 rows in batches of 5: 3 batches, 2 updates an epoch, 8 in 4 epochs, of which 2 are the warm-up.
    let arguments = TrainingArguments {
        per_device_train_batch_size: 5,
        gradient_accumulation_steps: 2,
        num_train_epochs: 4.0,
        warmup_steps: 0.25,
        learning_rate: 1e-4,
        ..Default::default()
    };
    let examination = run(&bert(), &[dataset(&PAIRS, None)], &*mnrl(), &arguments);
    let course = examination.facts.course.as_ref().unwrap();
    assert_eq!(
        (course.batches_per_epoch, course.batches_in_first_epoch, course.rows_in_first_epoch),
        (3, 3, 12)
    );
    assert_eq!((course.updates_per_epoch, course.updates, course.epochs, course.warmup), (2, 8, 4, 2));
    assert_eq!(course.highest_rate, 1e-4);
    assert_eq!(course.rates.len(), 11);
    // By hand: rates 0, 1/2, 1, 5/6, 4/6, 3/6, 2/6, 1/6 of the highest.
    let at = |percent: usize| course.rates.iter().find(|rate| rate.percent == percent).unwrap();
    for (percent, update, rate) in
        [(0, 1, 0.0), (20, 2, 0.5), (30, 3, 1.0), (50, 5, 4.0 / 6.0), (100, 8, 1.0 / 6.0)]
    {
        assert_eq!(at(percent).update, update);
        assert!((at(percent).learning_rate - rate * 1e-4).abs() < 1e-18, "{percent} %");
    }
    let mut timed = examination.clone();
    timed.facts.seconds_per_update = Some(900.0);
    assert!(timed.to_text().contains("900.00 s an update, 2 h 0 min in all"), "{}", timed.to_text());
}

fn copy_as(name: &str, change: impl Fn(&mut Value)) -> (tempfile::TempDir, SentenceTransformer) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join(name);
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(golden("models/bert")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let path = to.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    let model = load(&to);
    (folder, model)
}

#[test]
fn e5_has_prompts() {
    let from = |name: &'static str| move |config: &mut Value| config["_name_or_path"] = json!(name);
    let plain = |_: &mut Value| {};
    let symmetric = dataset(&PAIRS, None);
    let search = columns(&["question", "answer"], &PAIRS.map(|row| row.to_vec()), None);
    let named = |pairs: [(&str, &str); 2]| {
        Some(Prompts::Named(pairs.map(|(name, prompt)| (name.to_owned(), prompt.to_owned())).into()))
    };
    let all = Some(Prompts::All("query: ".to_owned()));
    let both = named([("question", "query: "), ("answer", "passage: ")]);
    let models = [
        (copy_as("multilingual-e5-small", plain), true),
        (copy_as("tuned", from("intfloat/e5-base-v2")), true),
        (copy_as("models--intfloat--e5-small", plain), true),
        (copy_as("e50-base", from("someone/base500")), false),
        (copy_as("tuned", from("/data/e5/bert")), false),
    ];
    for ((_folder, model), is_e5) in &models {
        for (data, expected) in [(&symmetric, &all), (&search, &both)] {
            let (mut datasets, mut arguments) = (vec![data.clone()], arguments());
            let examination = run(model, &datasets, &*mnrl(), &arguments);
            let expected_codes = if *is_e5 { vec![("e5_prompts", W)] } else { Vec::new() };
            assert_eq!(codes(&examination), expected_codes, "{:?}", model.path());
            if *is_e5 {
                let tokens = examination.facts.datasets[0].columns[0].tokens;
                assert_eq!(fix(&examination, &mut datasets, &mut arguments).len(), 1);
                assert_eq!(&arguments.prompts, expected);
                let after = run(model, &datasets, &*mnrl(), &arguments);
                assert_eq!(codes(&after), []);
                assert!(after.facts.datasets[0].columns[0].tokens > tokens, "the prompt counts");
                assert_eq!(after.facts.datasets[0].columns[0].prompt, "query: ");
            }
        }
    }
    let (_folder, instruct) = copy_as("e5-large-instruct", plain);
    let examination = run(&instruct, std::slice::from_ref(&symmetric), &*mnrl(), &arguments());
    assert_eq!((codes(&examination), &examination.findings[0].fix), (vec![("e5_prompts", W)], &None));
    // Several data sets: by data set and column.
    let mut other = search.clone();
    other.name = "search".to_owned();
    let (mut datasets, mut arguments) = (vec![symmetric, other], arguments());
    let model = &models[0].0.1;
    let examination = run(model, &datasets, &*mnrl(), &arguments);
    fix(&examination, &mut datasets, &mut arguments);
    let prompts = arguments.prompts.unwrap();
    assert_eq!(prompts.of(Some("search"), "answer").unwrap(), Some("passage: "));
    assert_eq!(prompts.of(Some("train"), "positive").unwrap(), Some("query: "));
}

#[test]
fn prompts_meet_texts() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let with = |prompts: Value| TrainingArguments {
        prompts: Some(serde_json::from_value(prompts).unwrap()),
        ..arguments()
    };
    for (prompts, found) in [
        (json!("x: "), vec![]),
        (json!({"anchor": "x: "}), vec![]),
        (json!({"ancor": "x: "}), vec![("prompts", W)]),
        (json!({"train": "x: "}), vec![("prompts", W)]),
        (json!({"train": {"anchor": "x: "}}), vec![("prompts", E)]),
    ] {
        let examination = run(&model, &data, &*mnrl(), &with(prompts.clone()));
        let mut codes = codes(&examination);
        codes.dedup();
        assert_eq!(codes, found, "{prompts}: {}", examination.to_text());
    }
    let mut other = data[0].clone();
    other.name = "other".to_owned();
    let two = [data[0].clone(), other];
    for (prompts, found) in [
        (json!({"train": "x: "}), vec![]),
        (json!({"train": {"anchor": "x: "}}), vec![]),
        (json!({"train": {"ancor": "x: "}}), vec![("prompts", W)]),
    ] {
        assert_eq!(codes(&run(&model, &two, &*mnrl(), &with(prompts.clone()))), found, "{prompts}");
    }
    let (_folder, saved) = copy_as("saved", |_| {});
    let file = json!({"prompts": {"query": "find: "}, "default_prompt_name": null}).to_string();
    let path = saved.path().to_owned();
    std::fs::write(path.join("config_sentence_transformers.json"), file).unwrap();
    std::fs::write(
        path.join("modules.json"),
        json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
        ])
        .to_string(),
    )
    .unwrap();
    std::fs::create_dir(path.join("1_Pooling")).unwrap();
    let pooling = json!({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}).to_string();
    std::fs::write(path.join("1_Pooling/config.json"), pooling).unwrap();
    let examination = run(&load(&path), &data, &*mnrl(), &arguments());
    assert_eq!(codes(&examination), [("saved_prompts", N)]);
    assert!(examination.findings[0].message.contains("find: "));
}

/// The buffers of a real step are what the formula says.
#[test]
fn the_estimate_is_what_a_step_takes() {
    let mut model = bert();
    let texts: Vec<&str> = PAIRS.iter().flatten().copied().collect();
    let ids = |texts: &[&str]| model.tokenize_texts(texts, "").unwrap().ids;
    let tokens = [ids(&texts[..12]), ids(&texts[12..])];
    Update::new(&mut model, Frozen::default(), Decay::Trainer).unwrap();
    let sizes = model.sizes();
    let own = mnrl();
    for (cut, checkpointing) in [
        (MiniBatch::Whole, false),
        (MiniBatch::Whole, true),
        (MiniBatch::Texts(4), false),
        (MiniBatch::Tokens(40), true),
    ] {
        model.set_gradient_checkpointing(checkpointing);
        let columns: Vec<Column<'_>> = tokens
            .iter()
            .map(|ids| Column { ids: ids.iter().map(Vec::as_slice).collect(), skip: 0 })
            .collect();
        let setting = Setting { model: &model, loss: &*own, mini_batch: cut, seed: 1 };
        let (mut gradients, mut memory) = (Gradients::new(), Memory::default());
        // Not more after many steps than after one.
        for step in 0..4 {
            gradients_of(setting, &columns, None, None, step, 1.0, &mut gradients, &mut memory).unwrap();
        }
        let lengths: Vec<Vec<u64>> =
            tokens.iter().map(|ids| ids.iter().map(|ids| ids.len() as u64).collect()).collect();
        let estimate = activations(&sizes, Layers::whole(&sizes), memory::load(&lengths, cut), checkpointing);
        let taken = 4 * memory.numbers() as u64;
        assert!(estimate * 10 >= taken * 9, "{cut:?}, {checkpointing}: {estimate} of {taken}");
        // What is left at the end are buffers of the last mini-batch, where those are of several sizes and give room back.
        let most = if matches!(cut, MiniBatch::Tokens(_)) { 17 } else { 11 };
        assert!(estimate * 10 <= taken * most, "{cut:?}, {checkpointing}: {estimate} of {taken}");
    }
}

#[test]
fn memory_that_is_not_there_is_said_with_what_fits() {
    let model = bert();
    let data = [dataset(&PAIRS, None)];
    let base = arguments();
    let at = |arguments: &TrainingArguments, loss: &dyn Loss, available| {
        run_on(&model, &data, loss, arguments, Frozen::default(), available)
    };
    let whole = at(&base, &*mnrl(), None).facts.memory.unwrap();
    let update_count = Update::new(&mut bert(), Frozen::default(), Decay::Trainer).unwrap();
    assert_eq!(whole.moments, 8 * update_count.count() as u64);
    assert_eq!(whole.parameters, 4 * update_count.count() as u64);
    assert_eq!(whole.total, whole.parameters + whole.gradients + whole.moments + whole.activations);
    let needed = whole.total - whole.parameters;
    assert_eq!(codes(&at(&base, &*mnrl(), Some(needed))), []);

    let short = at(&base, &*mnrl(), Some(needed - 1));
    assert_eq!(codes(&short), [("memory", W)]);
    assert_eq!(short.findings[0].fix, Some(Fix::SetGradientCheckpointing));
    for what in ["gradient_checkpointing", "mini_batch_num_tokens", "per_device_train_batch_size to 11"] {
        assert!(short.findings[0].advice.contains(what), "{}", short.findings[0].advice);
    }
    let mut mended = base.clone();
    fix(&short, &mut data.to_vec(), &mut mended);
    assert!(mended.gradient_checkpointing);
    assert_eq!(codes(&at(&mended, &*mnrl(), Some(needed - 1))), []);

    // What is suggested fits.
    let fixed = whole.gradients + whole.moments;
    let tight = fixed + whole.activations / 3;
    let advice = at(&base, &*mnrl(), Some(tight)).findings[0].advice.clone();
    let (_, after) = advice.split_once("mini_batch_num_tokens ").unwrap();
    let tokens: usize = after.split(' ').next().unwrap().parse().unwrap();
    let cached = loss("cmnrl", json!({"mini_batch_num_tokens": tokens}));
    let estimate = at(&base, &*cached, Some(tight)).facts.memory.unwrap();
    assert!(estimate.tokens <= tokens as u64 && estimate.activations < whole.activations);

    let none = at(&base, &*mnrl(), Some(fixed));
    assert!(none.findings[0].advice.contains("freeze"), "{}", none.findings[0].advice);
    assert_eq!(none.findings[0].fix, None);
    let frozen = Frozen { embeddings: true, layers: 1 };
    let less = run_on(&model, &data, &*mnrl(), &base, frozen, None).facts.memory.unwrap();
    let counted = Update::new(&mut bert(), frozen, Decay::Trainer).unwrap();
    assert_eq!(less.moments, 8 * counted.count() as u64);
    assert_eq!(less.gradients, 4 * counted.count() as u64);
    assert!(less.activations < whole.activations);
    let huge = Load { tokens: 1 << 30, texts: 1 << 20 };
    assert!(activations(&model.sizes(), Layers::whole(&model.sizes()), huge, false) > 1 << 40);
}
