//! The model card: the README.md of a model directory, which the Hugging Face Hub, its widgets and its search read. Made of a
//! [`TrainingRecord`] in the format of sentence-transformers 3.1 or 6: its headings, tables, figures, keys and citations, in words of our
//! own. Where arguments are printed that a run did not use, the card also says what really ran.
//!
//! Sources: `model_card_template.md` and `model_card.py` of sentence-transformers 3.1.1, `base/model_card.py` of 6.2. Texts of users are
//! escaped: whatever stands in a row of data, tables keep their columns, and the front matter gives it back as it was.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use self::markdown::{block, centered, code, escaped, table};
use self::parts::{
    details, duration, escaped_value, json_object, logged, new_module, old_module, rounded, shown_metric,
    thousands,
};
use self::yaml::Yaml;
use crate::arguments::table::{ARGUMENTS, OF_THE_CARD};
use crate::record::{DataFacts, TrainingRecord};

mod arguments_6;
mod citations;
mod markdown;
mod parts;
mod python;
#[cfg(test)]
mod tests;
mod yaml;

/// The release of sentence-transformers whose format a card has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// 3.1: `3.1`.
    V3,
    /// 6: `6`.
    #[default]
    V6,
}

/// Longer texts of samples are cut, as since 3.3.1.
const LONGEST_SAMPLE: usize = 1000;
/// Tasks that every model serves.
const TASKS: [&str; 2] = [
    "semantic textual similarity, semantic search, paraphrase mining, text classification, clustering, and more",
    "semantic textual similarity, semantic search, paraphrase mining, classification, clustering, and more",
];

/// The card.
#[must_use]
pub fn render(record: &TrainingRecord, style: Style) -> String {
    let mut out = format!("---\n{}---\n\n", front_matter(record, style));
    let card = Card { record, style };
    card.description(&mut out);
    card.usage(&mut out);
    card.evaluation(&mut out);
    stub(&mut out, "## Bias, Risks and Limitations", "What is known to go wrong with this model.");
    stub(&mut out, "### Recommendations", "What to do about it.");
    card.training(&mut out);
    card.citation(&mut out);
    for (heading, what) in [
        ("## Glossary", "Terms that readers may not know."),
        ("## Model Card Authors", "Who answers for this card."),
        ("## Model Card Contact", "Whom to ask."),
    ] {
        stub(&mut out, heading, what);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The facts of a card as JSON: what a template of one's own is given.
#[must_use]
pub fn facts(record: &TrainingRecord) -> Value {
    let mut facts = serde_json::to_value(record).unwrap_or_default();
    facts["arguments"] = Value::Object(record.arguments.iter().cloned().collect::<Map<_, _>>());
    facts["title"] = Value::from(title(record));
    facts
}

fn title(record: &TrainingRecord) -> String {
    match &record.model.base_model {
        Some(base) => format!("SentenceTransformer based on {base}"),
        None => "SentenceTransformer".to_owned(),
    }
}

/// A place that only people can fill: a comment.
fn stub(out: &mut String, heading: &str, what: &str) {
    let _ = write!(out, "<!--\n{heading}\n\n*{what}*\n-->\n\n");
}

/// Whether a base model is one of the hub, which links and tags can name.
fn on_hub(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let fits = |part: &&str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    parts.len() == 2 && parts.iter().all(fits)
}

fn front_matter(record: &TrainingRecord, style: Style) -> String {
    let mut entries: Vec<(&str, Yaml)> = Vec::new();
    let model = &record.model;
    if !model.language.is_empty() {
        entries.push(("language", Yaml::texts(&model.language)));
    }
    entries.extend(model.license.iter().map(|license| ("license", Yaml::text(license))));
    if let Some(base) = model.base_model.as_deref().filter(|base| on_hub(base)) {
        entries.push(("base_model", Yaml::text(base)));
    }
    entries.push(("library_name", Yaml::text("sentence-transformers")));
    entries.push(("pipeline_tag", Yaml::text("sentence-similarity")));
    let mut tags: Vec<String> =
        ["sentence-transformers", "sentence-similarity", "feature-extraction"].map(str::to_owned).into();
    if style == Style::V6 {
        tags.push("dense".to_owned());
    }
    tags.push("generated_from_trainer".to_owned());
    tags.push(format!("dataset_size:{}", record.datasets.iter().map(|dataset| dataset.size).sum::<usize>()));
    for dataset in &record.datasets {
        let tag = format!("loss:{}", dataset.loss);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    entries.push(("tags", Yaml::texts(tags)));
    if !model.datasets.is_empty() {
        entries.push(("datasets", Yaml::texts(&model.datasets)));
    }
    let widget = |widget: &crate::record::Widget| {
        Yaml::Map(vec![
            ("source_sentence", Yaml::text(&widget.source_sentence)),
            ("sentences", Yaml::texts(&widget.sentences)),
        ])
    };
    if !record.widget.is_empty() {
        entries.push(("widget", Yaml::List(record.widget.iter().map(widget).collect())));
    }
    if !record.evaluations.is_empty() {
        let names = record.evaluations.iter().flat_map(|own| &own.metrics).map(|(name, _)| name);
        entries.push(("metrics", Yaml::texts(names)));
        let results = record.evaluations.iter().map(|own| {
            let (kind, name) = task(&own.class);
            let data = own.name.as_deref().unwrap_or("Unknown");
            let metric = |(name, value): &(String, f64)| {
                Yaml::Map(vec![
                    ("type", Yaml::text(name)),
                    ("value", Yaml::Number(*value)),
                    ("name", Yaml::text(shown_metric(name))),
                ])
            };
            Yaml::Map(vec![
                ("task", Yaml::Map(vec![("type", Yaml::text(&kind)), ("name", Yaml::text(&name))])),
                ("dataset", Yaml::Map(vec![("name", Yaml::text(data)), ("type", Yaml::text("unknown"))])),
                ("metrics", Yaml::List(own.metrics.iter().map(metric).collect())),
            ])
        });
        let index = vec![("name", Yaml::text(title(record))), ("results", Yaml::List(results.collect()))];
        entries.push(("model-index", Yaml::List(vec![Yaml::Map(index)])));
    }
    yaml::document(&entries)
}

/// The type and the name of the task that an evaluator measures.
fn task(class: &str) -> (String, String) {
    let name = match class {
        "EmbeddingSimilarityEvaluator" => "Semantic Similarity".to_owned(),
        "MSEEvaluator" => "Knowledge Distillation".to_owned(),
        _ => {
            let mut name = String::new();
            for letter in class.strip_suffix("Evaluator").unwrap_or(class).chars() {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push(' ');
                }
                name.push(letter);
            }
            name
        }
    };
    (name.to_lowercase().replace(' ', "-"), name)
}

/// Evaluators that sentence-transformers does not have.
fn is_of_mteb(class: &str) -> bool {
    matches!(class, "BitextMiningEvaluator" | "ClassificationEvaluator" | "ClusteringEvaluator")
}

struct Card<'a> {
    record: &'a TrainingRecord,
    style: Style,
}

impl Card<'_> {
    fn is_new(&self) -> bool {
        self.style == Style::V6
    }

    fn description(&self, out: &mut String) {
        let model = &self.record.model;
        let link = |base: &str| match on_hub(base) {
            true => format!("[{base}](https://huggingface.co/{base})"),
            false => code(base),
        };
        let origin = match &model.base_model {
            Some(base) => format!("fine-tuned from {}", link(base)),
            None => "trained from scratch".to_owned(),
        };
        let tasks = TASKS[usize::from(self.is_new())];
        let _ = write!(
            out,
            "# {}\n\nA [sentence-transformers](https://www.SBERT.net) model, {origin} with sentir. A text becomes a vector of {} \
             dimensions, for {tasks}.\n\n## Model Details\n\n### Model Description\n",
            escaped(&title(self.record)),
            model.dimension
        );
        let mut fact = |name: &str, value: String| {
            let _ = writeln!(out, "- **{name}:** {value}");
        };
        fact("Model Type", "Sentence Transformer".to_owned());
        if let Some(base) = &model.base_model {
            let revision = model.base_revision.as_ref();
            let revision =
                revision.map_or(String::new(), |sha| format!(" <!-- at revision {} -->", escaped(sha)));
            fact("Base model", link(base) + &revision);
        }
        if let Some(length) = model.max_seq_length {
            fact("Maximum Sequence Length", format!("{length} tokens"));
        }
        let unit = if self.is_new() { "dimensions" } else { "tokens" };
        fact("Output Dimensionality", format!("{} {unit}", model.dimension));
        let similarity = match model.similarity.as_str() {
            "dot" => "Dot Product",
            "euclidean" => "Euclidean Distance",
            "manhattan" => "Manhattan Distance",
            _ => "Cosine Similarity",
        };
        fact("Similarity Function", similarity.to_owned());
        if self.is_new() {
            fact("Supported Modality", "Text".to_owned());
        }
        if !model.language.is_empty() {
            fact("Language", escaped(&model.language.join(", ")));
        }
        model.license.iter().for_each(|license| fact("License", escaped(license)));
        let repository = if self.is_new() { "huggingface" } else { "UKPLab" };
        let architecture = block("", &self.architecture(), 0);
        let _ = write!(
            out,
            "\n### Model Sources\n\n\
             - **Documentation:** [Sentence Transformers Documentation](https://sbert.net)\n\
             - **Repository:** [Sentence Transformers on GitHub](https://github.com/{repository}/sentence-transformers)\n\
             - **Hugging Face:** [Sentence Transformers on Hugging Face](https://huggingface.co/models?library=sentence-transformers)\n\n\
             ### Full Model Architecture\n\n{architecture}\n",
        );
    }

    /// As `print(model)` of that release shows it.
    fn architecture(&self) -> String {
        let mut lines = String::from("SentenceTransformer(\n");
        for (i, module) in self.record.model.modules.iter().enumerate() {
            let shown = if self.is_new() { new_module(module) } else { old_module(module) };
            let _ = writeln!(lines, "  ({i}): {shown}");
        }
        lines + ")"
    }

    fn usage(&self, out: &mut String) {
        let record = self.record;
        let texts: Vec<String> = match record.example.as_slice() {
            [] => ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
                .map(str::to_owned)
                .into(),
            example => example.to_vec(),
        };
        let list: String = texts.iter().map(|text| format!("    {},\n", python::text(text))).collect();
        let (n, dimension) = (texts.len(), record.model.dimension);
        let shell = "sentir encode --model path/to/this/directory \"a text\" --output vectors.npy\n\
             sentir search --model path/to/this/directory --corpus texts.txt \"what is looked for\"";
        let rust = "use sentir::{EncodeOptions, SentenceTransformer};\n\n\
             let model = SentenceTransformer::load(\"path/to/this/directory\")?;\n\
             let embeddings = model.encode(&[\"a text\", \"another\"], &EncodeOptions::default())?.embeddings;\n\
             let similarities = model.similarity(&embeddings, &embeddings)?;";
        let python = format!(
            "from sentence_transformers import SentenceTransformer\n\n\
             model = SentenceTransformer(\"path/to/this/directory\")  # or the id on the hub\n\
             sentences = [\n{list}]\n\
             embeddings = model.encode(sentences)\nprint(embeddings.shape)\n# [{n}, {dimension}]\n\n\
             similarities = model.similarity(embeddings, embeddings)\nprint(similarities.shape)\n# [{n}, {n}]"
        );
        let _ = write!(
            out,
            "## Usage\n\n### Direct Usage (Sentence Transformers)\n\nFrom the command line, with sentir:\n\n{}\nFrom Rust:\n\n{}\n\
             From Python, after `pip install -U sentence-transformers`:\n\n{}\n",
            block("bash", shell, 0),
            block("rust", rust, 0),
            block("python", &python, 0)
        );
        stub(out, "### Direct Usage (Transformers)", "How to use the network without its pooling.");
        stub(out, "### Downstream Usage (Sentence Transformers)", "How to fine-tune it further.");
        stub(out, "### Out-of-Scope Use", "What it is not to be used for.");
    }

    fn evaluation(&self, out: &mut String) {
        if self.record.evaluations.is_empty() {
            return;
        }
        out.push_str("## Evaluation\n\n### Metrics\n\n");
        for own in &self.record.evaluations {
            let _ = write!(out, "#### {}\n\n", task(&own.class).1);
            own.name.iter().for_each(|name| {
                let _ = writeln!(out, "* Dataset: {}", code(name));
            });
            let class = escaped(&own.class);
            if is_of_mteb(&own.class) {
                out.push_str(
                    "* Evaluated as [MTEB](https://github.com/embeddings-benchmark/mteb) does it\n\n",
                );
            } else {
                let _ = write!(
                    out,
                    "* Evaluated with [<code>{class}</code>](https://sbert.net/docs/package_reference/sentence_transformer/evaluation.html#sentence_transformers.sentence_transformer.evaluation.{class})\n\n"
                );
            }
            let rows: Vec<Vec<String>> = own
                .metrics
                .iter()
                .map(|(name, value)| {
                    let bold = if *name == own.primary { "**" } else { "" };
                    vec![
                        format!("{bold}{}{bold}", escaped(name)),
                        format!("{bold}{}{bold}", python::float(rounded(*value, 4))),
                    ]
                })
                .collect();
            let _ = writeln!(out, "{}", table(&["Metric", "Value"].map(str::to_owned), &rows, 0));
        }
    }

    fn training(&self, out: &mut String) {
        out.push_str("## Training Details\n\n");
        self.ran(out);
        for (kind, datasets) in
            [("Training", &self.record.datasets), ("Evaluation", &self.record.eval_datasets)]
        {
            if !datasets.is_empty() {
                let plural = if datasets.len() > 1 { "s" } else { "" };
                let _ = write!(out, "### {kind} Dataset{plural}\n\n");
                datasets.iter().for_each(|dataset| self.dataset(out, dataset, &kind.to_lowercase()));
            }
        }
        self.hyperparameters(out);
        self.logs(out);
        let record = self.record;
        if let Some(seconds) = record.seconds.filter(|_| self.is_new()) {
            let _ = write!(out, "### Training Time\n- **Training**: {}\n\n", duration(seconds));
        }
        out.push_str("### Framework Versions\n");
        for (name, version) in &record.versions {
            let _ = writeln!(out, "- {}: {}", escaped(name), escaped(version));
        }
        out.push('\n');
        if self.is_new() {
            out.push_str(
                "## Additional Resources\n\n- [How to train sentence-transformers models](https://sbert.net/docs/sentence_transformer/training_overview.html)\n\n",
            );
        }
    }

    /// What no list of arguments says.
    fn ran(&self, out: &mut String) {
        let record = self.record;
        if record.ran.is_empty() {
            return;
        }
        out.push_str("What really ran, also where an argument below has no effect in sentir:\n\n");
        let machine = record.machine.iter().map(|(name, value)| format!("{name} {value}"));
        let machine = machine.collect::<Vec<_>>().join(", ");
        for (name, value) in &record.ran {
            let _ = writeln!(out, "- **{}:** {}", escaped(name), escaped(value));
        }
        if let Some(joules) = record.joules {
            let _ = writeln!(out, "- **energy:** {:.4} kWh of the processor", joules / 3.6e6);
        }
        if !machine.is_empty() {
            let _ = writeln!(out, "- **machine:** {}", escaped(&machine));
        }
        for (name, sha) in
            record.datasets.iter().filter_map(|own| Some((own.name.as_deref(), own.sha256.as_ref()?)))
        {
            let _ = writeln!(out, "- **SHA-256 of {}:** {sha}", escaped(name.unwrap_or("the data")));
        }
        record.weights_sha256.iter().for_each(|sha| {
            let _ = writeln!(out, "- **SHA-256 of the weights:** {sha}");
        });
        for finding in &record.findings {
            let _ = writeln!(out, "- **the training doctor says:** {}", escaped(finding));
        }
        out.push('\n');
    }

    fn dataset(&self, out: &mut String, dataset: &DataFacts, kind: &str) {
        let name = dataset.name.as_deref().unwrap_or("Unnamed Dataset");
        let _ = write!(out, "#### {}\n\n\n", escaped(name));
        let columns: Vec<String> = dataset.columns.iter().map(|column| code(column)).collect();
        let listed = match columns.as_slice() {
            [first, second] => format!("{first} and {second}"),
            [others @ .., last] if !others.is_empty() => format!("{}, and {last}", others.join(", ")),
            columns => columns.concat(),
        };
        let _ = writeln!(out, "* Size: {} {kind} samples\n* Columns: {listed}", thousands(dataset.size));
        let cut = dataset.cut_texts.filter(|&cut| cut > 0);
        if let Some(cut) = cut {
            let _ = writeln!(out, "* Cut at the length limit: {} texts", thousands(cut));
        }
        let header: Vec<String> = dataset.columns.iter().map(|column| escaped(column)).collect();
        let most = if self.is_new() { 100 } else { 1000 };
        if let Some(own) = dataset.statistics.iter().find(|own| own.rows == most.min(dataset.size)) {
            let with_side = |name: &str, cells: Vec<String>| -> Vec<String> {
                std::iter::once(name.to_owned()).chain(cells).collect()
            };
            let mut rows =
                vec![with_side("type", own.columns.iter().map(|column| column.dtype.clone()).collect())];
            if self.is_new() {
                let modality = |dtype: &str| if dtype == "string" { "text" } else { "" }.to_owned();
                rows.push(with_side(
                    "modality",
                    own.columns.iter().map(|column| modality(&column.dtype)).collect(),
                ));
            }
            rows.push(with_side(
                "details",
                own.columns.iter().map(|column| details(&column.measure)).collect(),
            ));
            let _ = writeln!(out, "* Approximate statistics based on the first {} samples:", own.rows);
            out.push_str(&table(&with_side("", header.clone()), &rows, 2));
        }
        if !dataset.samples.is_empty() {
            let cell = |text: &String| {
                let cut: String = text.chars().take(LONGEST_SAMPLE).collect();
                code(&if cut.len() < text.len() { cut + "..." } else { cut })
            };
            let rows: Vec<Vec<String>> =
                dataset.samples.iter().map(|row| row.iter().map(cell).collect()).collect();
            let _ = write!(out, "* Samples:\n{}", table(&header, &rows, 2));
        }
        let class = &dataset.loss;
        let page = "https://sbert.net/docs/package_reference/sentence_transformer/losses.html";
        let _ = write!(out, "* Loss: [<code>{class}</code>]({page}#{})", class.to_lowercase());
        if dataset.loss_parameters.is_empty() {
            out.push('\n');
        } else {
            let parameters = block("json", &json_object(&dataset.loss_parameters), 2);
            let _ = write!(out, " with these parameters:\n{parameters}");
        }
        out.push('\n');
    }

    fn hyperparameters(&self, out: &mut String) {
        let record = self.record;
        let value = |name: &str| record.arguments.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        let changed = |name: &str| record.non_default.iter().any(|own| own == name);
        // Release 6 has other arguments, and other defaults of some, than the table that a record follows.
        let all: Vec<(&str, String)> = if self.is_new() {
            let of = |&(name, usual): &(&'static str, &str)| {
                let own = value(name).filter(|_| changed(name)).map(|value| escaped_value(name, value));
                (name, own.unwrap_or_else(|| usual.to_owned()))
            };
            arguments_6::ARGUMENTS.iter().map(of).collect()
        } else {
            let of_the_card = ARGUMENTS[..OF_THE_CARD].iter().map(|argument| argument.name);
            of_the_card.filter_map(|name| Some((name, escaped_value(name, value(name)?)))).collect()
        };
        let line = |(name, value): &(&str, String)| format!("- `{name}`: {value}\n");
        out.push_str("### Training Hyperparameters\n");
        let non_default: String = all.iter().filter(|(name, _)| changed(name)).map(line).collect();
        if !non_default.is_empty() {
            let _ = write!(out, "#### Non-Default Hyperparameters\n\n{non_default}\n");
        }
        let lines: String = all.iter().map(line).collect();
        let _ = write!(
            out,
            "#### All Hyperparameters\n<details><summary>Click to expand</summary>\n\n{lines}\n</details>\n\n"
        );
    }

    fn logs(&self, out: &mut String) {
        let record = self.record;
        let every = record.arguments.iter().find(|(name, _)| name == "logging_steps");
        let every = every.and_then(|(_, value)| value.as_u64()).unwrap_or(500).max(1);
        let primary: Vec<String> = record.evaluations.iter().map(|own| own.full_name(&own.primary)).collect();
        let primary: Vec<&str> = primary.iter().map(String::as_str).collect();
        let (names, rows) = logged(&record.log, every, record.best_step, &primary);
        if rows.is_empty() {
            return;
        }
        let header: Vec<String> =
            ["Epoch", "Step", "Training Loss"]
                .map(str::to_owned)
                .into_iter()
                .chain(names.iter().map(|name| {
                    if name == "eval_loss" { "Validation Loss".to_owned() } else { escaped(name) }
                }))
                .collect();
        out.push_str("### Training Logs\n");
        let long = rows.len() > 100;
        if long {
            out.push_str("<details><summary>Click to expand</summary>\n\n");
        }
        out.push_str(&centered(&header, &rows));
        if record.best_step.is_some() {
            out.push_str("\n* The bold row denotes the saved checkpoint.\n");
        }
        out.push_str(if long { "</details>\n\n" } else { "\n" });
    }

    fn citation(&self, out: &mut String) {
        let old = !self.is_new();
        let _ = write!(
            out,
            "## Citation\n\n### BibTeX\n\n#### Sentence Transformers\n{}\n",
            block("bibtex", &citations::of_the_library(), 0)
        );
        let mut classes: Vec<&str> = Vec::new();
        for dataset in &self.record.datasets {
            let inner = dataset.loss_parameters.iter().find(|(name, _)| name == "loss");
            let inner = inner.and_then(|(_, value)| value.as_str());
            for class in std::iter::once(dataset.loss.as_str()).chain(inner) {
                if !classes.contains(&class) {
                    classes.push(class);
                }
            }
        }
        for class in classes {
            if let Some(entry) = citations::of_loss(class, old) {
                let _ = write!(out, "#### {}\n{}\n", escaped(class), block("bibtex", &entry, 0));
            }
        }
    }
}
