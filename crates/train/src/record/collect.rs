//! The record of a training that just ended, from its parts and the directory that it wrote.

use std::path::Path;

use sentir_model::SentenceTransformer;
use serde_json::{Map, Value};

use super::{DataFacts, Evaluation, Model, Module, TrainingRecord, Widget, sha256_of_weights, statistics};
use crate::arguments::TrainingArguments;
use crate::arguments::table::{ARGUMENTS, Treatment};
use crate::data::Dataset;
use crate::doctor::Examination;
use crate::losses::Loss;
use crate::order::{Mt19937, randperm};
use crate::trainer::Trained;
use crate::{Error, Result};

/// Rows of a data set whose statistics are kept: those of releases 6 and 3.1.
const STATISTICS: [usize; 2] = [100, 1000];
/// Rows that are shown.
const SAMPLES: usize = 3;
/// Examples for the page of a model.
const WIDGETS: usize = 5;

/// The parts of a training that ended.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where the model was written.
    pub directory: &'a Path,
    /// The id or directory of the model before training; none from scratch.
    pub base_model: Option<&'a str>,
    /// The commit of that.
    pub base_revision: Option<&'a str>,
    /// What was trained on.
    pub datasets: &'a [Dataset],
    /// What the loss was measured on.
    pub eval_datasets: &'a [Dataset],
    /// The loss.
    pub loss: &'a dyn Loss,
    /// The arguments.
    pub arguments: &'a TrainingArguments,
    /// What came of it.
    pub trained: &'a Trained,
    /// What is to be said of how it ran beside the arguments: frozen layers, LoRA, a preset.
    pub notes: &'a [(String, String)],
    /// Joules of the processor meanwhile, if they were counted.
    pub joules: Option<f64>,
    /// What the training doctor found.
    pub examination: Option<&'a Examination>,
    /// What measured the model.
    pub evaluators: &'a [Measured],
}

/// An evaluator whose metrics the log has.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Its class in sentence-transformers.
    pub class: String,
    /// The name of its data; may be empty.
    pub name: String,
    /// Its primary metric, as in the log.
    pub primary: String,
    /// The names of its metrics, as in the log; none if all that the log has are its own.
    pub metrics: Vec<String>,
}

/// Makes the record.
///
/// # Errors
/// If a text cannot be tokenized, or the directory cannot be read.
pub fn collect(source: Source<'_>) -> Result<TrainingRecord> {
    let Source { directory, trained, arguments, .. } = source;
    let model = &trained.model;
    let facts = |dataset: &Dataset| data_facts(dataset, source, model);
    let datasets: Vec<DataFacts> = source.datasets.iter().map(facts).collect::<Result<_>>()?;
    let eval_datasets: Vec<DataFacts> = source.eval_datasets.iter().map(facts).collect::<Result<_>>()?;
    let (all, non_default) = all_arguments(arguments);
    let (widget, example) = examples(source.datasets, arguments.seed);
    let log = trained.state.log.clone();
    let best = trained.state.best_step.filter(|_| arguments.load_best_model_at_end).map(|step| step as u64);
    let findings = source.examination.into_iter().flat_map(|examination| &examination.findings);
    let prompts = model.prompts().iter().map(|(name, prompt)| (name.to_owned(), prompt.to_owned()));
    Ok(TrainingRecord {
        model: Model {
            base_model: source.base_model.map(str::to_owned),
            base_revision: source.base_revision.map(str::to_owned),
            max_seq_length: model.max_seq_length(),
            dimension: model.embedding_dimension(),
            similarity: model.similarity_function().name().to_owned(),
            modules: modules(directory, model)?,
            prompts: prompts.collect(),
            ..Model::default()
        },
        datasets,
        eval_datasets,
        arguments: all,
        non_default,
        ran: ran(source),
        evaluations: evaluations(source, best),
        best_step: best,
        joules: source.joules,
        seconds: Some(log.iter().filter_map(|entry| entry.seconds).sum()),
        log,
        widget,
        example,
        findings: findings.map(|finding| finding.message.clone()).collect(),
        versions: vec![
            ("sentir".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (
                "Stands for".to_owned(),
                "the semantics of Sentence Transformers 6.2; no Python took part".to_owned(),
            ),
        ],
        machine: machine(),
        weights_sha256: Some(sha256_of_weights(directory)?),
        ..TrainingRecord::default()
    })
}

fn data_facts(dataset: &Dataset, source: Source<'_>, model: &SentenceTransformer) -> Result<DataFacts> {
    let mut columns: Vec<String> = dataset.columns.iter().map(|column| column.name.clone()).collect();
    columns.extend(dataset.labels.iter().map(|labels| labels.name().to_owned()));
    let sample = |row: usize| {
        let texts = dataset.columns.iter().map(|column| column.texts[row].clone());
        let labels = dataset.labels.iter().map(|labels| {
            let own = &labels.values()[row * labels.width()..][..labels.width()];
            let shown: Vec<String> = own.iter().map(f64::to_string).collect();
            if own.len() == 1 { shown[0].clone() } else { format!("[{}]", shown.join(", ")) }
        });
        texts.chain(labels).collect()
    };
    let mut cut = 0;
    for column in &dataset.columns {
        let prompt = source.arguments.prompt_of(source.datasets, dataset, &column.name)?;
        let tokens = model.tokenize_texts(&column.texts, prompt)?;
        cut += tokens.tokens_cut.iter().filter(|&&lost| lost > 0).count();
    }
    let named = source.datasets.len() > 1;
    Ok(DataFacts {
        name: named.then(|| dataset.name.clone()),
        size: dataset.len(),
        columns,
        statistics: STATISTICS
            .map(|rows| statistics(dataset, model, rows))
            .into_iter()
            .collect::<Result<_>>()?,
        samples: (0..dataset.len().min(SAMPLES)).map(sample).collect(),
        loss: source.loss.name().to_owned(),
        loss_parameters: source
            .loss
            .config()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        sha256: Some(dataset.sha256()),
        cut_texts: Some(cut),
    })
}

/// All arguments in the order of the table, with the values that were used, and the names of those that are no defaults.
fn all_arguments(arguments: &TrainingArguments) -> (Vec<(String, Value)>, Vec<String>) {
    let used = arguments.to_map();
    let (mut all, mut non_default) = (Vec::new(), Vec::new());
    for argument in ARGUMENTS {
        let usual: Value = serde_json::from_str(argument.default).unwrap_or_default();
        let own = used.get(argument.name).filter(|_| matches!(argument.treatment, Treatment::Implemented));
        let value = own.cloned().unwrap_or_else(|| usual.clone());
        // 1 and 1.0 are the same number, however they are written.
        let same = value == usual || matches!((value.as_f64(), usual.as_f64()), (Some(a), Some(b)) if a == b);
        if !same {
            non_default.push(argument.name.to_owned());
        }
        all.push((argument.name.to_owned(), if same { usual } else { value }));
    }
    (all, non_default)
}

/// What really ran.
fn ran(source: Source<'_>) -> Vec<(String, String)> {
    let Source { arguments, trained, .. } = source;
    let mut ran = Vec::new();
    let mut say = |name: &str, value: String| ran.push((name.to_owned(), value));
    let [updates, done] = [trained.updates.total, trained.state.global_step];
    say(
        "optimizer",
        format!(
            "AdamW, β {} and {}, ε {:e}, weight decay {} but for biases and norms, gradients limited to a norm of {}",
            arguments.adam_beta1,
            arguments.adam_beta2,
            arguments.adam_epsilon,
            arguments.weight_decay,
            arguments.max_grad_norm
        ),
    );
    let rates: Vec<f64> = trained.state.log.iter().filter_map(|entry| entry.learning_rate).collect();
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let kind = serde_json::to_value(arguments.lr_scheduler_type).unwrap_or_default();
    say(
        "schedule",
        format!(
            "{}, {} of {updates} updates are warm-up, highest rate used {highest:.3e}, last {:.3e}",
            kind.as_str().unwrap_or_default(),
            arguments.warmup(updates),
            rates.last().copied().unwrap_or_default()
        ),
    );
    say("updates", format!("{done} of {updates}, {:.2} epochs", trained.state.epoch));
    let sampler = serde_json::to_value(arguments.batch_sampler).unwrap_or_default();
    say(
        "batches",
        format!(
            "{} rows by {}, drawn anew in each epoch from seed {}",
            arguments.per_device_train_batch_size,
            sampler.as_str().unwrap_or_default(),
            arguments.seed
        ),
    );
    let [hidden, attention] = trained.model.dropout();
    say("dropout", format!("{hidden} of states, {attention} of attention"));
    say(
        "numbers",
        if arguments.bf16 { "products in bf16, weights and sums in f32" } else { "f32" }.to_owned(),
    );
    ran.extend(source.notes.iter().cloned());
    let differs = "the optimizer is sentir's own AdamW whatever optim says, the device is the processor, and what is said of \
                   loading, logging, uploading, compiling and several processes has no effect";
    ran.push(("where the arguments below say otherwise".to_owned(), differs.to_owned()));
    ran
}

/// The last measurement of the log, or that of the best model.
fn evaluations(source: Source<'_>, best: Option<u64>) -> Vec<Evaluation> {
    let mut measured = source.trained.state.log.iter().rev().filter(|entry| !entry.metrics.is_empty());
    let Some(entry) = measured.find(|entry| best.is_none_or(|best| entry.step == best)) else {
        return Vec::new();
    };
    let of = |own: &Measured| -> Option<Evaluation> {
        let without = |name: &str| {
            let rest = name.strip_prefix(own.name.as_str()).and_then(|rest| rest.strip_prefix('_'));
            rest.filter(|_| !own.name.is_empty()).unwrap_or(name).to_owned()
        };
        // The loss is in the log; it is no metric of an evaluator.
        let all = || entry.metrics.keys().filter(|name| !name.ends_with("loss")).cloned().collect();
        let names = if own.metrics.is_empty() { all() } else { own.metrics.clone() };
        let metrics = names.iter().filter_map(|name| Some((without(name), *entry.metrics.get(name)?)));
        let mut metrics: Vec<(String, f64)> = metrics.collect();
        // In the order of sentence-transformers: by kind, then by rank.
        metrics.sort_by_key(|(name, _)| {
            let (name, rank) = name.split_once('@').unwrap_or((name, ""));
            let kinds = ["accuracy", "precision", "recall", "ndcg", "mrr", "map"];
            (kinds.iter().position(|kind| name.ends_with(kind)), rank.parse::<u64>().unwrap_or(0))
        });
        (!metrics.is_empty()).then(|| Evaluation {
            class: own.class.clone(),
            name: (!own.name.is_empty()).then(|| own.name.clone()),
            metrics,
            primary: without(&own.primary),
        })
    };
    source.evaluators.iter().filter_map(of).collect()
}

/// Short rows of the first data set of pairs, each with the other halves of two more.
fn examples(datasets: &[Dataset], seed: u64) -> (Vec<Widget>, Vec<String>) {
    let Some(dataset) = datasets.iter().find(|dataset| dataset.columns.len() > 1) else {
        let texts = datasets.iter().flat_map(|dataset| &dataset.columns).flat_map(|column| &column.texts);
        return (Vec::new(), texts.take(SAMPLES).cloned().collect());
    };
    let [anchors, positives] = [0, 1].map(|i| &dataset.columns[i].texts);
    let mut rows: Vec<usize> = randperm(dataset.len(), &mut Mt19937::new(seed))
        .into_iter()
        .take(1000)
        .map(|row| row as usize)
        .collect();
    rows.retain(|&row| !anchors[row].trim().is_empty() && !positives[row].trim().is_empty());
    rows.sort_by_key(|&row| anchors[row].chars().count() + positives[row].chars().count());
    let mut widgets: Vec<Widget> = Vec::new();
    let mut others = rows.iter().copied().rev();
    for &row in &rows {
        let known = |text: &str| widgets.iter().any(|widget| widget.source_sentence == text);
        if widgets.len() == WIDGETS || known(&anchors[row]) {
            continue;
        }
        let mut sentences = vec![positives[row].clone()];
        while sentences.len() < 3 {
            let Some(other) = others.next() else { break };
            if anchors[other] != anchors[row] && !sentences.contains(&positives[other]) {
                sentences.push(positives[other].clone());
            }
        }
        widgets.push(Widget { source_sentence: anchors[row].clone(), sentences });
    }
    let example = widgets.last().map_or(Vec::new(), |widget| {
        std::iter::once(&widget.source_sentence).chain(&widget.sentences).take(SAMPLES).cloned().collect()
    });
    (widgets, example)
}

/// The modules as the directory that was written has them.
fn modules(directory: &Path, model: &SentenceTransformer) -> Result<Vec<Module>> {
    let read = |path: &Path| -> Result<Value> {
        let text = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|error| Error::Data {
            path: path.to_owned(),
            row: None,
            message: error.to_string(),
        })
    };
    let object = |path: &Path| -> Map<String, Value> {
        match read(path) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    };
    let Value::Array(listed) = read(&directory.join("modules.json"))? else { return Ok(Vec::new()) };
    let mut modules = Vec::new();
    for entry in listed {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let class = text("type").rsplit('.').next().unwrap_or_default().to_owned();
        let folder = directory.join(text("path"));
        let (file, order): (_, &[&str]) = match class.as_str() {
            "Transformer" => ("sentence_bert_config.json", &["max_seq_length", "do_lower_case"]),
            "Pooling" => (
                "config.json",
                &[
                    "word_embedding_dimension",
                    "pooling_mode_cls_token",
                    "pooling_mode_mean_tokens",
                    "pooling_mode_max_tokens",
                    "pooling_mode_mean_sqrt_len_tokens",
                    "pooling_mode_weightedmean_tokens",
                    "pooling_mode_lasttoken",
                    "include_prompt",
                ],
            ),
            "Dense" => ("config.json", &["in_features", "out_features", "bias", "activation_function"]),
            _ => ("config.json", &[]),
        };
        let config = object(&folder.join(file));
        if class == "StaticEmbedding" {
            let sizes = model.sizes();
            let rows = sizes.tables / sizes.width.max(1);
            let settings = [("num_embeddings", rows), ("embedding_dim", sizes.width)];
            let settings = settings.map(|(name, size)| (name.to_owned(), Value::from(size))).into();
            modules.push(Module { class, settings, architecture: None });
            continue;
        }
        let settings =
            order.iter().filter_map(|&key| Some((key.to_owned(), config.get(key)?.clone()))).collect();
        let architecture = (class == "Transformer").then(|| network(&object(&folder.join("config.json"))));
        modules.push(Module { class, settings, architecture });
    }
    Ok(modules)
}

/// The class that transformers would load a network as, without a head.
fn network(config: &Map<String, Value>) -> String {
    let name = match config.get("model_type").and_then(Value::as_str).unwrap_or_default() {
        "xlm-roberta" => "XLMRoberta",
        "roberta" => "Roberta",
        "bert" => "Bert",
        other => other,
    };
    format!("{name}Model")
}

/// The machine, as far as it tells.
fn machine() -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut say = |name: &str, value: String| facts.push((name.to_owned(), value));
    say("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = information.lines().find_map(|line| line.strip_prefix("model name"));
    if let Some((_, name)) = processor.and_then(|line| line.split_once(": ")) {
        say("processor", name.to_owned());
    }
    say("threads", rayon::current_num_threads().to_string());
    say("instruction set", sentir_model::isa().name().to_owned());
    facts
}
