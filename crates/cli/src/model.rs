//! From arguments to a loaded model and from texts to vectors: what the commands have in common. Errors about a text name
//! the file and line that it came from.

use anyhow::{Result, anyhow};
use sentir::download::DownloadOptions;
use sentir::{EncodeOptions, Encoded, LoadOptions, Rows, SentenceTransformer, Task, TruncationReport};

use crate::arguments::{Global, ModelArguments, PromptArguments};
use crate::commands::download;
use crate::input::{Origin, Texts};
use crate::interrupt::{self, Interrupted};
use crate::terminal::{Progress, grouped, notice};

/// Loads the model and says what was adjusted on the way.
pub(crate) fn load(arguments: &ModelArguments, global: &Global) -> Result<SentenceTransformer> {
    let model = find(
        &arguments.model,
        arguments.revision.as_deref(),
        LoadOptions {
            max_seq_length: arguments.max_seq_length,
            dtype: arguments.dtype,
            ..Default::default()
        },
        global.quiet,
    )?;
    for message in model.notices() {
        notice(global.quiet, message);
    }
    Ok(model)
}

/// Loads a model from a directory, the cache or the hub, with bars for what is downloaded.
pub(crate) fn find(
    id_or_path: &str,
    revision: Option<&str>,
    options: LoadOptions<'_>,
    quiet: bool,
) -> Result<SentenceTransformer> {
    let bars = download::Bars::new(quiet);
    let show = |file: &str, done: u64, total: Option<u64>| bars.show(file, done, total);
    let download = DownloadOptions {
        revision: revision.map(str::to_owned),
        progress: Some(&show),
        interrupt: Some(interrupt::flag()),
        ..Default::default()
    };
    let _polling = interrupt::polling();
    let options = LoadOptions { download, ..options };
    let model = SentenceTransformer::load_with(id_or_path, &options).map_err(download::explain)?;
    bars.clear();
    interrupt::check()?;
    Ok(model)
}

/// How to encode, besides what [`ModelArguments`] say.
#[derive(Clone, Copy)]
pub(crate) struct Encoding<'a> {
    /// The arguments of the command.
    pub(crate) arguments: &'a ModelArguments,
    /// The prompt, if the user has named or given one.
    pub(crate) prompt: &'a PromptArguments,
    /// What the texts are.
    pub(crate) task: Task,
    /// Whether vectors get unit length.
    pub(crate) normalize: bool,
    /// No progress, no notices.
    pub(crate) quiet: bool,
    /// What the texts are called in the progress bar.
    pub(crate) what: &'static str,
}

impl<'a> Encoding<'a> {
    /// Texts that are neither queries nor documents, with vectors as the model gives them.
    pub(crate) fn new(arguments: &'a ModelArguments, prompt: &'a PromptArguments, quiet: bool) -> Self {
        Self { arguments, prompt, task: Task::Any, normalize: false, quiet, what: "encoding" }
    }

    /// A vector per text.
    pub(crate) fn sentences(self, model: &SentenceTransformer, texts: &Texts) -> Result<Encoded> {
        self.run(
            texts,
            |options| model.encode_task(&texts.texts, self.task, options),
            |encoded| &encoded.truncation,
        )
    }

    /// A vector per token of each text.
    pub(crate) fn tokens(self, model: &SentenceTransformer, texts: &Texts) -> Result<Encoded<Vec<Rows>>> {
        self.run(
            texts,
            |options| model.encode_tokens(&texts.texts, self.task, options),
            |encoded| &encoded.truncation,
        )
    }

    fn run<T>(
        self,
        texts: &Texts,
        encode: impl FnOnce(&EncodeOptions<'_>) -> sentir::Result<T>,
        truncation: impl Fn(&T) -> &TruncationReport,
    ) -> Result<T> {
        let bar = Progress::new(self.quiet, self.what, "texts");
        let progress = |done: usize, total: usize| bar.set(done as u64, total as u64);
        let options = EncodeOptions {
            prompt: self.prompt.prompt.as_deref(),
            prompt_name: self.prompt.prompt_name.as_deref(),
            normalize_embeddings: self.normalize,
            truncate_dim: self.arguments.truncate_dim,
            truncation: self.arguments.truncation,
            batch_tokens: self.arguments.batch_tokens,
            progress: Some(&progress),
            interrupt: Some(interrupt::flag()),
        };
        let polling = interrupt::polling();
        let encoded = encode(&options).map_err(|error| explain(error, &texts.origin));
        drop(polling);
        drop(bar);
        let encoded = encoded?;
        tell_truncation(self.quiet, truncation(&encoded));
        Ok(encoded)
    }
}

/// An error of the library, with the place of the text in the user's files.
fn explain(error: sentir::Error, origin: &Origin) -> anyhow::Error {
    match error {
        sentir::Error::Interrupted => Interrupted::BEFORE_WRITING.into(),
        sentir::Error::Text { index, message } => anyhow!("{}: {message}", origin.place(index)),
        other => other.into(),
    }
}

/// One line about the texts that were too long.
fn tell_truncation(quiet: bool, report: &TruncationReport) {
    let (texts, tokens) = (report.texts(), report.tokens());
    let (Some(limit), true) = (report.max_seq_length, texts > 0) else { return };
    let what = match report.policy {
        sentir::Truncation::ChunkMean => "were read in chunks",
        _ => "were cut",
    };
    notice(
        quiet,
        format_args!(
            "{} of {} texts {what}: {} tokens beyond the limit of {limit} \
             (which ones: encode --truncation-report FILE; read them whole: --truncation chunk-mean)",
            grouped(texts),
            grouped(report.tokens_cut.len()),
            grouped(tokens),
        ),
    );
}
