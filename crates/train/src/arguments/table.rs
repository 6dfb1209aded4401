//! Every argument that a model card of sentence-transformers 3.1.1 lists, in its order, then those that other releases or we
//! have: what becomes of it here. `docs/training-arguments.md` is this table.

use std::fmt::Write as _;

use serde_json::Value;

/// What becomes of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It does what it does in sentence-transformers.
    Implemented,
    /// Any value is taken; why none changes anything.
    NoEffect(&'static str),
    /// Values other than the default are an error: why, and what to do.
    Refused(&'static str),
}

/// An argument.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its default, in JSON.
    pub default: &'static str,
    /// What becomes of it.
    pub treatment: Treatment,
}

/// How many of [`ARGUMENTS`], from the first on, are those of the card.
pub const OF_THE_CARD: usize = 111;

const ONE_PROCESS: &str = "training is one process on one device; leave it out";
const DEVICE: &str = "the device is chosen where the model is loaded";
const HUB: &str =
    "nothing is uploaded while training; push the finished directory with a tool of your choice";
const LOG: &str = "the caller decides what is shown";
const COMPILE: &str = "there is no PyTorch to compile; kernels are compiled already; leave it out";
const OLD: &str = "it is a name that was given up; leave it out";
const LOADING: &str = "texts are in memory and tokenized on all threads; nothing is to be loaded";
const EVALUATION: &str = "evaluation computes metrics from vectors, and collects no outputs of the network";
const F16: &str = "numbers of 16 bits are bfloat16 here, which needs no scaling of the loss; set bf16";
const LENGTH: &str = "batches are made by batch_sampler, and there is no padding to save; leave it out";

const fn does(name: &'static str, default: &'static str) -> Argument {
    Argument { name, default, treatment: Treatment::Implemented }
}

const fn idle(name: &'static str, default: &'static str, reason: &'static str) -> Argument {
    Argument { name, default, treatment: Treatment::NoEffect(reason) }
}

const fn no(name: &'static str, default: &'static str, reason: &'static str) -> Argument {
    Argument { name, default, treatment: Treatment::Refused(reason) }
}

/// All arguments that are known.
#[rustfmt::skip] // a line for each, as a table has it
pub const ARGUMENTS: &[Argument] = &[
    no("overwrite_output_dir", "false", "a directory in use is left alone; sentir train has --overwrite-output-dir"),
    idle("do_predict", "false", "the Trainer does not read it"),
    does("eval_strategy", "\"no\""),
    idle("prediction_loss_only", "true", "sentence-transformers always sets it to true"),
    does("per_device_train_batch_size", "8"),
    does("per_device_eval_batch_size", "8"),
    no("per_gpu_train_batch_size", "null", "it is a name that was given up; set per_device_train_batch_size"),
    no("per_gpu_eval_batch_size", "null", "it is a name that was given up; leave it out"),
    does("gradient_accumulation_steps", "1"),
    idle("eval_accumulation_steps", "null", EVALUATION),
    idle("torch_empty_cache_steps", "null", "there is no cache of PyTorch"),
    does("learning_rate", "5e-05"),
    does("weight_decay", "0.0"),
    does("adam_beta1", "0.9"),
    does("adam_beta2", "0.999"),
    does("adam_epsilon", "1e-08"),
    does("max_grad_norm", "1.0"),
    does("num_train_epochs", "3.0"),
    does("max_steps", "-1"),
    does("lr_scheduler_type", "\"linear\""),
    no("lr_scheduler_kwargs", "{}", "the schedules here take no more parameters; choose one with lr_scheduler_type"),
    does("warmup_ratio", "null"),
    does("warmup_steps", "0"),
    idle("log_level", "\"passive\"", LOG),
    idle("log_level_replica", "\"warning\"", LOG),
    idle("log_on_each_node", "true", LOG),
    idle("logging_nan_inf_filter", "true", "a loss or gradient that is not a number stops the training with an error"),
    no("save_safetensors", "true", "weights are written as safetensors only; convert the result if you need another format"),
    idle("save_on_each_node", "false", "there is one node"),
    no("save_only_model", "false", "a checkpoint always holds all that resuming needs; use the finished model where only that is wanted"),
    idle("restore_callback_states_from_checkpoint", "false", "there are no callbacks with a state"),
    idle("no_cuda", "false", DEVICE),
    idle("use_cpu", "false", DEVICE),
    idle("use_mps_device", "false", DEVICE),
    does("seed", "42"),
    does("data_seed", "null"),
    no("jit_mode_eval", "false", COMPILE),
    no("use_ipex", "false", COMPILE),
    does("bf16", "false"),
    no("fp16", "false", F16),
    idle("fp16_opt_level", "\"O1\"", "it belongs to fp16, which is not there"),
    no("half_precision_backend", "\"auto\"", "there is one; leave it out"),
    no("bf16_full_eval", "false", "evaluation runs in the precision of training; set bf16"),
    no("fp16_full_eval", "false", F16),
    no("tf32", "null", "products are f32 or bfloat16; set bf16 for speed"),
    no("local_rank", "0", ONE_PROCESS),
    no("ddp_backend", "null", ONE_PROCESS),
    no("tpu_num_cores", "null", ONE_PROCESS),
    no("tpu_metrics_debug", "false", ONE_PROCESS),
    no("debug", "[]", "it is about PyTorch's internals; leave it out"),
    does("dataloader_drop_last", "false"),
    idle("dataloader_num_workers", "0", LOADING),
    idle("dataloader_prefetch_factor", "null", LOADING),
    no("past_index", "-1", "models that keep their past are not sentence encoders; leave it out"),
    idle("disable_tqdm", "false", LOG),
    idle("remove_unused_columns", "true", "all columns of a data set are used; choose them where it is read"),
    no("label_names", "null", "a column named label, labels, score or scores is the label; rename the column"),
    does("load_best_model_at_end", "false"),
    no("ignore_data_skip", "false", "training resumes at the very batch where it stopped, at no cost; leave it out"),
    no("fsdp", "[]", ONE_PROCESS),
    no("fsdp_min_num_params", "0", ONE_PROCESS),
    no("fsdp_config", "{\"min_num_params\": 0, \"xla\": false, \"xla_fsdp_v2\": false, \"xla_fsdp_grad_ckpt\": false}", ONE_PROCESS),
    no("fsdp_transformer_layer_cls_to_wrap", "null", ONE_PROCESS),
    no("accelerator_config", "{\"split_batches\": false, \"dispatch_batches\": null, \"even_batches\": true, \"use_seedable_sampler\": true, \"non_blocking\": false, \"gradient_accumulation_kwargs\": null}", ONE_PROCESS),
    no("deepspeed", "null", ONE_PROCESS),
    no("label_smoothing_factor", "0.0", "it has no effect in sentence-transformers, whose losses do not read it; leave it out"),
    no("optim", "\"adamw_torch\"", "the optimizer is AdamW in f32; leave it out"),
    no("optim_args", "null", "AdamW is set by adam_beta1, adam_beta2, adam_epsilon and weight_decay"),
    no("adafactor", "false", "the optimizer is AdamW in f32; leave it out"),
    no("group_by_length", "false", LENGTH),
    idle("length_column_name", "\"length\"", "it belongs to group_by_length, which is not there"),
    no("ddp_find_unused_parameters", "null", ONE_PROCESS),
    no("ddp_bucket_cap_mb", "null", ONE_PROCESS),
    no("ddp_broadcast_buffers", "false", ONE_PROCESS),
    idle("dataloader_pin_memory", "true", LOADING),
    idle("dataloader_persistent_workers", "false", LOADING),
    idle("skip_memory_metrics", "true", "memory is not measured"),
    idle("use_legacy_prediction_loop", "false", EVALUATION),
    no("push_to_hub", "false", HUB),
    no("resume_from_checkpoint", "null", "resuming is an option of the call, as in the Trainer, which does not read this argument"),
    idle("hub_model_id", "null", HUB),
    idle("hub_strategy", "\"every_save\"", HUB),
    idle("hub_private_repo", "false", HUB),
    idle("hub_always_push", "false", HUB),
    does("gradient_checkpointing", "false"),
    idle("gradient_checkpointing_kwargs", "null", "they choose between implementations of PyTorch; there is one"),
    idle("include_inputs_for_metrics", "false", EVALUATION),
    idle("eval_do_concat_batches", "true", EVALUATION),
    no("fp16_backend", "\"auto\"", "there is one; leave it out"),
    idle("push_to_hub_model_id", "null", HUB),
    idle("push_to_hub_organization", "null", HUB),
    idle("mp_parameters", "\"\"", "it is for a service that is not used"),
    no("auto_find_batch_size", "false", "the batch size decides the negatives, so it is never changed behind your back; lower per_device_train_batch_size"),
    idle("full_determinism", "false", "training is always deterministic"),
    no("torchdynamo", "null", COMPILE),
    idle("ray_scope", "\"last\"", "there is no search for hyperparameters with Ray"),
    idle("ddp_timeout", "1800", "there is one process"),
    no("torch_compile", "false", COMPILE),
    no("torch_compile_backend", "null", COMPILE),
    no("torch_compile_mode", "null", COMPILE),
    no("dispatch_batches", "null", OLD),
    no("split_batches", "null", OLD),
    idle("include_tokens_per_second", "false", LOG),
    idle("include_num_input_tokens_seen", "false", LOG),
    no("neftune_noise_alpha", "null", "noise on embeddings is not implemented; dropout is the noise that there is"),
    no("optim_target_modules", "null", "the optimizer is AdamW for all parameters; leave it out"),
    idle("batch_eval_metrics", "false", EVALUATION),
    no("eval_on_start", "false", "evaluate the model before you train it"),
    idle("eval_use_gather_object", "false", EVALUATION),
    does("batch_sampler", "\"batch_sampler\""),
    does("multi_dataset_batch_sampler", "\"proportional\""),
    // Beyond the card.
    does("eval_steps", "null"),
    does("save_strategy", "\"steps\""),
    does("save_steps", "500"),
    does("save_total_limit", "null"),
    does("logging_steps", "500"),
    does("metric_for_best_model", "null"),
    does("greater_is_better", "null"),
    does("prompts", "null"),
    does("order", "\"6.2\""),
    no("logging_strategy", "\"steps\"", "the log has a line for each update; leave it out"),
    no("router_mapping", "{}", "models with a router are not supported"),
    no("learning_rate_mapping", "{}", "all parameters have the one learning_rate"),
    idle("output_dir", "null", "the directory is named where training is called"),
    idle("do_train", "false", "the Trainer does not read it"),
    idle("do_eval", "false", "the Trainer does not read it; see eval_strategy"),
    idle("report_to", "null", "nothing is reported to a service"),
    idle("run_name", "null", "nothing is reported to a service"),
    idle("logging_dir", "null", "nothing is reported to a service"),
];

impl Argument {
    /// Whether a value is the default, however it is written: 1 and 1.0 are the same, and so are null, false and what is empty.
    #[must_use]
    pub fn is_default(&self, value: &Value) -> bool {
        let default = serde_json::from_str(self.default).unwrap_or(Value::Null);
        value.is_null() || (unset(value) && unset(&default)) || same(value, &default)
    }
}

fn unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The argument of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| argument.name == name)
}

/// The name that needs the fewest changed letters, if they are few.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let most = (name.chars().count() / 3).max(2);
    let (distance, nearest) =
        ARGUMENTS.iter().map(|argument| (distance(name, argument.name), argument.name)).min()?;
    (distance <= most).then_some(nearest)
}

/// Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals" (1966): one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let changed = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The documentation: `docs/training-arguments.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Training arguments\n\n\
         What becomes of each argument of sentence-transformers. The list is the code's own (`crates/train/src/arguments/table.rs`), and a\n\
         test compares the two. A name that is not here is an error, which suggests the nearest.\n\n\
         - **implemented**: does what it does in sentence-transformers 6.2.\n\
         - **no effect**: any value is taken, and one that is not the default is reported with the reason.\n\
         - **refused**: a value other than the default is an error, which says what to do.\n\n\
         ## In model cards of sentence-transformers 3.1.1\n\n",
    );
    rows(&mut text, &ARGUMENTS[..OF_THE_CARD]);
    text.push_str("\n## Others\n\n`order` is ours: `\"3.1\"` gives the order of rows of sentence-transformers 3.1.1.\n\n");
    rows(&mut text, &ARGUMENTS[OF_THE_CARD..]);
    text
}

fn rows(text: &mut String, arguments: &[Argument]) {
    text.push_str("| argument | default | here | why, and what to do |\n|---|---|---|---|\n");
    for Argument { name, default, treatment } in arguments {
        let (kind, reason) = match treatment {
            Treatment::Implemented => ("implemented", ""),
            Treatment::NoEffect(reason) => ("no effect", *reason),
            Treatment::Refused(reason) => ("refused", *reason),
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "| `{name}` | `{default}` | {kind} | {reason} |");
    }
}
