//! The memory that training takes, from the shapes of what it keeps, and whether the machine has it.
//!
//! For a batch, in numbers of four bytes; T are all its tokens, L the layers, d and f the widths of states and of the feed-forward
//! part. What a layer leaves on the tape for its gradient (`sentir_compute::ops`):
//!
//! | operation | kept, per token |
//! |---|---|
//! | query, key and value | its operand d |
//! | attention | its operand 3 d; probabilities are computed again |
//! | attention output | its operand d |
//! | normalization | the sum before it, d |
//! | up | its operand d, and what the activation is given, f |
//! | down | its operand f |
//! | normalization | the sum before it, d |
//! | dropout | nothing: the mask is drawn again |
//!
//! which is 8 d + 2 f. Before the layers a normalization keeps d. So a batch takes
//!
//! - `T (L (8 d + 2 f) + d)`;
//! - with checkpointing `T (L d + d) + T (8 d + 2 f)`: the input of each layer, and one layer whole;
//! - in a cached loss the same with T the tokens of the largest mini-batch;
//! - and `T (3 d + max(f, 3 d))` for derivatives on their way and the last states, and twice the vectors of all texts.
//!
//! With LoRA, of the operands of products only those are kept whose matrix gets one, the gradient by such a matrix is made on the
//! way to that by the product, and a copy of it stays.
//!
//! Layers below the lowest parameter that is trained keep nothing without checkpointing. Beside it: parameters; a gradient for each trained number, but of
//! tables for rows that were looked up only; two moments of AdamW for each trained number. Not counted: buffers of kernels (some
//! megabytes a thread), the texts, and batches of later epochs that happen to be longer.

use std::ops::Range;

use sentir_model::Sizes;
use serde::Serialize;

use super::{Case, Finding, Fix, Severity, of};
use crate::samplers::Batch;
use crate::step::{MiniBatch, parts};

/// Bytes of a number.
const NUMBER: u64 = 4;
/// Token counts that are suggested are multiples of this.
const STEP: u64 = 64;

/// Bytes that training takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// The parameters.
    pub parameters: u64,
    /// Their gradients.
    pub gradients: u64,
    /// AdamW's two means of each number that is trained; with LoRA also its factors, and the matrices without them.
    pub moments: u64,
    /// What the largest batch of the first epoch leaves for its gradients, and the buffers on the way.
    pub activations: u64,
    /// All of it.
    pub total: u64,
    /// Tokens that are remembered at once, at most.
    pub tokens: u64,
    /// What the machine can still give, the parameters being loaded; none where that is not known.
    pub available: Option<u64>,
}

/// What is in memory at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    /// Tokens that go through the network together.
    pub tokens: u64,
    /// Texts of the whole batch, whose vectors the loss needs.
    pub texts: u64,
}

/// What is trained of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layers {
    /// Those that keep something without checkpointing.
    pub count: usize,
    /// Numbers that a layer keeps of the operands of its products, per token.
    pub operands: u64,
    /// Of a layer, numbers that are trained through LoRA, of the largest matrix, whose gradient is there for a moment, and of the copies of matrices.
    pub lora: Option<[usize; 3]>,
}

impl Layers {
    /// All of them are trained.
    pub(super) fn whole(sizes: &Sizes) -> Self {
        let operands = (3 * sizes.width + sizes.feed_forward) as u64;
        Self { count: sizes.layers, operands, lora: None }
    }

    fn of(case: Case<'_>, sizes: &Sizes) -> Self {
        let frozen = if case.frozen.embeddings || case.lora.is_some() { case.frozen.layers } else { 0 };
        let whole = Self { count: sizes.layers.saturating_sub(frozen), ..Self::whole(sizes) };
        let Some(lora) = case.lora else { return whole };
        let (mut operands, mut numbers) = (0, [0; 3]);
        for (names, [outputs, inputs]) in case.model.layer_matrices() {
            let parts = names.iter().filter(|name| lora.targets(name)).count();
            if parts > 0 {
                operands += inputs as u64;
                let own = [
                    parts * lora.r * (inputs + outputs),
                    names.len() * inputs * outputs,
                    parts * inputs * outputs,
                ];
                numbers = [numbers[0] + own[0], numbers[1].max(own[1]), numbers[2] + own[2]];
            }
        }
        Self { operands, lora: Some(numbers), ..whole }
    }
}

/// Bytes of [`MemoryEstimate::activations`].
pub(super) fn activations(sizes: &Sizes, layers: Layers, load: Load, checkpointing: bool) -> u64 {
    let [d, f, vector] = [sizes.width, sizes.feed_forward, sizes.vector].map(|width| width as u64);
    let inside = 5 * d + f + layers.operands;
    let layers = layers.count;
    let kept = d + if checkpointing { sizes.layers as u64 * d } else { layers as u64 * inside };
    let once = if checkpointing && layers > 0 { inside } else { 0 } + 3 * d + f.max(3 * d);
    NUMBER * (load.tokens * (kept + once) + 2 * load.texts * vector)
}

/// What is in memory at once of a batch, given the tokens of each text of each column.
pub(super) fn load(columns: &[Vec<u64>], cut: MiniBatch) -> Load {
    let sums = |part: &[u64]| part.iter().sum::<u64>();
    let texts = columns.iter().map(|column| column.len() as u64).sum();
    if cut == MiniBatch::Whole {
        return Load { tokens: columns.iter().map(|column| sums(column)).sum(), texts };
    }
    let parts = |column: &Vec<u64>| {
        let lengths: Vec<usize> = column.iter().map(|&length| length as usize).collect();
        let parts = parts(&lengths, cut);
        parts.into_iter().map(|part: Range<usize>| sums(&column[part])).max().unwrap_or(0)
    };
    Load { tokens: columns.iter().map(parts).max().unwrap_or(0), texts }
}

impl MemoryEstimate {
    /// `lengths` are the tokens of each text, by data set, column and row.
    pub(super) fn new(
        case: Case<'_>,
        epoch: &[Batch],
        lengths: &[Vec<Vec<u32>>],
        available: Option<u64>,
    ) -> Self {
        let sizes = case.model.sizes();
        let (cut, layers) = (MiniBatch::of(case.loss), Layers::of(case, &sizes));
        let columns = |batch: &Batch| -> Vec<Vec<u64>> {
            let tokens =
                |column: &Vec<u32>| batch.rows.iter().map(|&row| u64::from(column[row as usize])).collect();
            lengths[batch.dataset].iter().map(tokens).collect()
        };
        let bytes = |load: Load| activations(&sizes, layers, load, case.arguments.gradient_checkpointing);
        let loads = epoch.iter().map(|batch| load(&columns(batch), cut));
        let largest = loads.max_by_key(|&load| bytes(load)).unwrap_or_default();
        // Rows of tables that an update looks up: for each token a word, a position and a type at most.
        let tokens = |batch: &Batch| columns(batch).iter().flatten().sum::<u64>();
        let updates = epoch.chunks(case.arguments.gradient_accumulation_steps.max(1));
        let looked_up = 3 * updates.map(|update| update.iter().map(tokens).sum()).max().unwrap_or(0u64);

        let frozen_layers = case.frozen.layers.min(sizes.layers) * sizes.per_layer;
        let (tables, norm) = match case.frozen.embeddings {
            true => (0, 2 * sizes.width * usize::from(sizes.layers > 0)),
            false => (sizes.tables, 0),
        };
        let dense = sizes.parameters.saturating_sub(sizes.tables + frozen_layers + norm);
        let of_tables = (tables as u64).min(looked_up * sizes.width as u64);
        let parameters = NUMBER * sizes.parameters as u64;
        let mut gradients = NUMBER * (dense as u64 + of_tables);
        let mut moments = 2 * NUMBER * (dense + tables) as u64;
        if let Some(of_layer) = layers.lora {
            let [factors, matrix, copies] = of_layer.map(|numbers| NUMBER * numbers as u64);
            let all = |of_layer: u64| of_layer * layers.count as u64;
            (gradients, moments) = (matrix + 2 * all(factors), 3 * all(factors) + all(copies));
        }
        let activations = bytes(largest);
        Self {
            parameters,
            gradients,
            moments,
            activations,
            total: parameters + gradients + moments + activations,
            tokens: largest.tokens,
            available,
        }
    }
}

/// Whether the machine has the memory, and what would help.
pub(super) fn check(case: Case<'_>, estimate: &MemoryEstimate) -> Option<Finding> {
    let available = estimate.available?;
    // The parameters have been read already.
    let needed = estimate.total - estimate.parameters;
    if needed <= available {
        return None;
    }
    let message = format!(
        "training takes about {} beside the model, but the machine has {} left; {} of it are for a batch of {}",
        bytes(needed),
        bytes(available),
        bytes(estimate.activations),
        of(usize::try_from(estimate.tokens).unwrap_or(usize::MAX), "token")
    );
    let finding = |advice: String, fix| {
        Some(Finding::new("memory", Severity::Warning, message.clone(), advice).with_fix(fix))
    };
    let fixed = estimate.gradients + estimate.moments;
    let Some(room) = available.checked_sub(fixed).filter(|&room| room > 0) else {
        let advice = "Not even a batch of one text fits: freeze the embeddings or lower layers, or take a smaller model.";
        return finding(advice.to_owned(), None);
    };
    let sizes = case.model.sizes();
    let layers = Layers::of(case, &sizes);
    let on = case.arguments.gradient_checkpointing;
    let load = Load { tokens: estimate.tokens, texts: 0 };
    // The vectors of a batch stay however it is cut.
    let vectors = estimate.activations - activations(&sizes, layers, load, on);
    let with = activations(&sizes, layers, load, true) + vectors;
    let checkpointing = !on && layers.count > 0 && with < estimate.activations;
    let enough = checkpointing && with <= room;
    let mut advice = Vec::new();
    if enough {
        advice.push(format!(
            "Set gradient_checkpointing: a batch then takes {}, at a third more time.",
            bytes(with)
        ));
    } else if checkpointing {
        let message =
            "gradient_checkpointing alone is not enough, but makes of the following what fits larger.";
        advice.push(message.to_owned());
    }
    let size = case.arguments.per_device_train_batch_size as u64;
    if case.loss.in_batch_negatives() && layers.count > 0 {
        let one = activations(&sizes, layers, Load { tokens: 1, texts: 0 }, on);
        let fitting = room.saturating_sub(vectors) / one / STEP * STEP;
        if fitting >= STEP {
            let form =
                if case.loss.cached().is_some() { "Set" } else { "Take the cached form of the loss with" };
            advice.push(format!(
                "{form} mini_batch_num_tokens {fitting} or less: memory is then that of a mini-batch, and no negative is lost."
            ));
        }
    }
    if case.loss.cached().is_none() {
        // Memory grows with the tokens of a batch, and these with its rows.
        let fitting = (u128::from(size) * u128::from(room) / u128::from(estimate.activations.max(1))) as u64;
        if (1..size).contains(&fitting) {
            let or = if advice.is_empty() { "Set" } else { "Or set" };
            advice.push(format!("{or} per_device_train_batch_size to {fitting}."));
        }
    }
    if advice.is_empty() {
        advice.push(
            "Set max_seq_length or per_device_train_batch_size lower, or take a smaller model.".to_owned(),
        );
    }
    finding(advice.join(" "), enough.then_some(Fix::SetGradientCheckpointing))
}

/// Bytes that the system can give to programs, where the model computes on the processor: `MemAvailable` of /proc/meminfo, or what a
/// control group (version 2: a container) leaves, if that is less. None on other systems and devices.
pub(super) fn available(backend: &str) -> Option<u64> {
    if backend != "cpu" {
        return None;
    }
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let system = parse(&read("/proc/meminfo")?)?;
    let group = || {
        let [limit, used, details] =
            ["max", "current", "stat"].map(|name| read(&format!("/sys/fs/cgroup/memory.{name}")));
        left_in_group(&limit?, &used?, &details?)
    };
    Some(group().map_or(system, |left| left.min(system)))
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit less what is used, of which files that nobody reads any more are given up first. None without a limit (`max`).
fn left_in_group(limit: &str, used: &str, details: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let files = details.lines().find_map(|line| line.strip_prefix("inactive_file ")).and_then(number);
    let used = number(used)?.saturating_sub(files.unwrap_or(0));
    Some(number(limit)?.saturating_sub(used))
}

/// `1.5 GB`, in powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, "bytes");
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "MemTotal:       131927084 kB\nMemFree:        1 kB\nMemAvailable:   120 kB\n";
        assert_eq!(parse(text), Some(120 * 1024));
        assert_eq!(parse("MemTotal: 3 kB\n"), None);
        assert_eq!(parse("MemAvailable: many kB\n"), None);
        assert_eq!(available("a device of its own"), None);
        assert_eq!(left_in_group("1000\n", "700\n", "anon 5\ninactive_file 100\n"), Some(400));
        assert_eq!(left_in_group("1000\n", "1700\n", ""), Some(0));
        assert_eq!(left_in_group("max\n", "700\n", ""), None);
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(2_345_000_000), "2.3 GB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
    }
}
