//! `sentir download`: a model from the Hugging Face hub into the cache. Also the bars that other commands show when they
//! download a model on their way.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Result, anyhow};
use clap::Args;
use sentir::download::{self, DownloadOptions, Source};
use serde::Serialize;

use crate::arguments::Global;
use crate::interrupt::{self, Interrupted};
use crate::terminal::{self, Progress, notice, size};

/// Fetch a model from the Hugging Face hub and print its directory
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The id of the model, such as sentence-transformers/all-MiniLM-L6-v2
    #[arg(value_name = "ID")]
    id: String,
    /// Branch, tag or commit [default: main]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The folder to keep models in [default: that of the Python libraries]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Print one JSON object: {"path": "...", "source": "hub", "id": "...", "commit": "..."}
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  sentir download sentence-transformers/all-MiniLM-L6-v2

Environment: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
mean what they mean to the Python libraries. A download that was cut goes on
where it stopped.";

/// Downloads what is missing.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<()> {
    let bars = Bars::new(global.quiet);
    let show = |file: &str, done: u64, total: Option<u64>| bars.show(file, done, total);
    let options = DownloadOptions {
        revision: arguments.revision.clone(),
        cache_dir: arguments.cache_dir.clone(),
        progress: Some(&show),
        interrupt: Some(interrupt::flag()),
        ..Default::default()
    };
    let polling = interrupt::polling();
    let found = download::resolve(&arguments.id, &options).map_err(explain)?;
    drop(polling);
    bars.clear();
    if let Some(message) = &found.notice {
        notice(global.quiet, message);
    }
    let source = match found.source {
        Source::LocalDirectory => "local",
        Source::Cache => "cache",
        Source::Hub => "hub",
    };
    terminal::print(|out| {
        if arguments.json {
            let line = Found {
                path: found.path.display().to_string(),
                source,
                id: found.id.as_deref(),
                commit: found.commit.as_deref(),
            };
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)
        } else {
            writeln!(out, "{}", found.path.display())
        }
    })
}

/// What was found, for scripts.
#[derive(Serialize)]
struct Found<'a> {
    path: String,
    source: &'static str,
    id: Option<&'a str>,
    commit: Option<&'a str>,
}

/// An error of looking for or loading a model; an interrupted download says that it will go on.
pub(crate) fn explain(error: sentir::Error) -> anyhow::Error {
    match error {
        sentir::Error::Interrupted => {
            Interrupted("interrupted; what was downloaded is kept and continued next time").into()
        }
        // The library names the file; here it is known that somebody meant a whole model.
        sentir::Error::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => anyhow!(
            "{}: there is no such file; a model directory must hold it: copy or download the model again, \
             or check the path",
            path.display()
        ),
        other => other.into(),
    }
}

/// A bar for the file that is being downloaded; without a terminal, a line for each file that is done.
pub(crate) struct Bars {
    quiet: bool,
    current: Mutex<Option<(String, Progress)>>,
}

impl Bars {
    /// No bar yet.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, current: Mutex::new(None) }
    }

    /// Progress of one file, as [`DownloadOptions::progress`] reports it.
    pub(crate) fn show(&self, file: &str, done: u64, total: Option<u64>) {
        let mut current = self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.as_ref().is_none_or(|(name, _)| name != file) {
            *current = Some((file.to_owned(), Progress::new(self.quiet, file, "bytes")));
        }
        if let Some((_, bar)) = &*current {
            bar.set(done, total.unwrap_or(done.max(1)));
            if total == Some(done) {
                bar.leave(format_args!("downloaded {file}, {}", size(done as usize)));
            }
        }
    }

    /// Takes the bar from the screen.
    pub(crate) fn clear(&self) {
        *self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}
