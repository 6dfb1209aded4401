//! What sections of a card are made of: statistics, rows of logs, modules, numbers.

use serde::Serialize as _;
use serde_json::Value;

use super::markdown::escaped;
use super::python;
use crate::arguments::table::ARGUMENTS;
use crate::log::LogEntry;
use crate::record::{Measure, Module};

/// `cosine_ndcg@10` as `Cosine Ndcg@10`.
pub(super) fn shown_metric(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters.flat_map(char::to_lowercase)).collect::<String>()
    };
    name.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// `4,792`
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The value of an argument in a line of a list.
pub(super) fn escaped_value(name: &str, value: &Value) -> String {
    let usual = ARGUMENTS.iter().find(|argument| argument.name == name).map(|argument| argument.default);
    let usual =
        usual.filter(|usual| value.is_object() && serde_json::from_str(usual).ok().as_ref() == Some(value));
    let text = usual.map_or_else(|| python::str(value), python::repr_of_json);
    // Arguments are ours, but for names of files and prompts.
    if text.contains(['\n', '<', '`', '|']) { escaped(&text) } else { text }
}

pub(super) fn details(measure: &Measure) -> String {
    let list = |items: Vec<String>| {
        let items: String = items.into_iter().map(|item| format!("<li>{item}</li>")).collect();
        format!("<ul>{items}</ul>")
    };
    match measure {
        Measure::Tokens { min, mean, max } => list(vec![
            format!("min: {min} tokens"),
            format!("mean: {} tokens", python::float(*mean)),
            format!("max: {max} tokens"),
        ]),
        Measure::Numbers { min, mean, max } => {
            let of = |name: &str, x: f64| format!("{name}: {}", python::float(x));
            list(vec![of("min", *min), of("mean", *mean), of("max", *max)])
        }
        Measure::Shares(shares) => {
            let about = if shares.len() > 1 { "~" } else { "" };
            list(
                shares
                    .iter()
                    .map(|(value, part)| format!("{}: {about}{:.2}%", escaped(value), part * 100.0))
                    .collect(),
            )
        }
        Measure::Elements(count) => list(vec![format!("size: {count} elements")]),
    }
}

/// The rows of the table of logs, and the names of the metrics after the loss: a row where the loss of `every` updates is
/// complete, and one for each measurement.
pub(super) fn logged(
    log: &[LogEntry],
    every: u64,
    best: Option<u64>,
    primary: &[&str],
) -> (Vec<String>, Vec<Vec<String>>) {
    let mut names: Vec<String> = Vec::new();
    for name in log.iter().flat_map(|entry| entry.metrics.keys()) {
        // Losses and what models are compared by: all metrics would make a table that nobody can read.
        let wanted = primary.is_empty() || primary.contains(&name.as_str()) || name.ends_with("loss");
        if wanted && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.sort_by_key(|name| !name.ends_with("loss"));
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    let mut losses = Vec::new();
    for entry in log {
        losses.extend(entry.loss);
        let due = entry.loss.is_some() && entry.step.is_multiple_of(every);
        if !due && entry.metrics.is_empty() {
            continue;
        }
        let mut row = vec![cell(rounded(entry.epoch, 4)), entry.step.to_string()];
        row.push(if due {
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            losses.clear();
            cell(mean)
        } else {
            "-".to_owned()
        });
        let shown = |name: &String| entry.metrics.get(name).map_or("-".to_owned(), |value| cell(*value));
        row.extend(names.iter().map(shown));
        // A measurement belongs to the row of its update.
        match rows.last_mut() {
            Some((step, last)) if *step == entry.step && !entry.metrics.is_empty() => {
                last[3..].clone_from_slice(&row[3..]);
            }
            _ => rows.push((entry.step, row)),
        }
    }
    let bold = |(step, row): (u64, Vec<String>)| {
        if best != Some(step) {
            return row;
        }
        row.into_iter().map(|cell| if cell == "-" { cell } else { format!("**{cell}**") }).collect()
    };
    (names, rows.into_iter().map(bold).collect())
}

/// As Python writes it with an indent of four.
pub(super) fn json_object(entries: &[(String, Value)]) -> String {
    let pretty = |value: &Value| {
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        let _ = value.serialize(&mut serializer);
        String::from_utf8_lossy(&bytes).replace('\n', "\n    ")
    };
    let entry =
        |(name, value): &(String, Value)| format!("    {}: {}", Value::from(name.as_str()), pretty(value));
    format!("{{\n{}\n}}", entries.iter().map(entry).collect::<Vec<_>>().join(",\n"))
}

/// A number in a table of transformers: four decimals, but fewer where it has fewer.
fn cell(x: f64) -> String {
    let shown = python::float(x);
    let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if decimals > 4 { format!("{x:.4}") } else { shown }
}

pub(super) fn old_module(module: &Module) -> String {
    let settings = python::dict(module.settings.iter().map(|(name, value)| (name.as_str(), value)));
    match (module.class.as_str(), &module.architecture) {
        ("StaticEmbedding", _) => {
            let sizes: Vec<String> = module.settings.iter().map(|(_, value)| python::repr(value)).collect();
            format!("StaticEmbedding(\n    (embedding): EmbeddingBag({}, mode='mean')\n  )", sizes.join(", "))
        }
        // The space at the end is theirs.
        (class, Some(network)) => format!("{class}({settings}) with Transformer model: {network} "),
        (class, None) if module.settings.is_empty() => format!("{class}()"),
        (class, None) => format!("{class}({settings})"),
    }
}

pub(super) fn new_module(module: &Module) -> String {
    let setting = |name: &str| module.settings.iter().find(|(own, _)| own == name).map(|(_, value)| value);
    match (module.class.as_str(), &module.architecture) {
        ("Transformer", Some(network)) => format!(
            "Transformer({{'transformer_task': 'feature-extraction', 'modality_config': {{'text': {{'method': 'forward', \
             'method_output_name': 'last_hidden_state'}}}}, 'module_output_name': 'token_embeddings', 'architecture': '{network}'}})"
        ),
        ("StaticEmbedding", _) => "StaticEmbedding({})".to_owned(),
        ("Normalize", _) => {
            "Normalize({'module_input_name': 'sentence_embedding', 'module_output_name': 'sentence_embedding'})".to_owned()
        }
        ("Pooling", _) => {
            const MODES: [(&str, &str); 6] = [
                ("pooling_mode_cls_token", "cls"),
                ("pooling_mode_max_tokens", "max"),
                ("pooling_mode_mean_tokens", "mean"),
                ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
                ("pooling_mode_weightedmean_tokens", "weightedmean"),
                ("pooling_mode_lasttoken", "lasttoken"),
            ];
            let on = MODES.iter().filter(|(key, _)| setting(key) == Some(&Value::Bool(true)));
            let on: Vec<Value> = on.map(|(_, mode)| Value::from(*mode)).collect();
            let mode = if on.len() == 1 { on[0].clone() } else { Value::from(on) };
            let entries = [
                ("embedding_dimension", setting("word_embedding_dimension").cloned().unwrap_or_default()),
                ("pooling_mode", mode),
                ("include_prompt", setting("include_prompt").cloned().unwrap_or(Value::Bool(true))),
            ];
            format!("Pooling({})", python::dict(entries.iter().map(|(name, value)| (*name, value))))
        }
        _ => old_module(module),
    }
}

pub(super) fn rounded(x: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (x * factor).round() / factor
}

pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} seconds"),
        s if s < 3600.0 => format!("{:.1} minutes", s / 60.0),
        s => format!("{:.1} hours", s / 3600.0),
    }
}
