//! Finds the directory of a model: on this machine, in the cache of the Hugging Face hub, or on the hub.
//!
//! [`resolve`] takes what the user wrote. An existing directory is used as it is; anything else is the id of a
//! repository, whose files are downloaded once into the cache that the Python libraries use too, in their layout: what
//! either downloads, the other finds. It loads nothing and knows nothing of tensors; `crate::SentenceTransformer` does.
//!
//! Of the crate `hf-hub` this module uses the layout of the cache ([`hf_hub::Cache`], [`hf_hub::Repo`]). Its client is
//! not used: it verifies no hash, names partial files differently from other tools, takes its settings from the process
//! alone and cannot be interrupted. The requests are made with `ureq` and rustls, the client that `hf-hub` brings along;
//! the hashes come from `ring`, which rustls brings along.
//!
//! A file is written as `blobs/HASH.incomplete`, continued where it was cut, and moved to `blobs/HASH` only after its hash
//! is found right. A snapshot gets its links when all of its files are there, and the reference to it is written last.
//! Other processes are kept out by the lock files of huggingface_hub.

mod cache;
mod environment;
mod fetch;
mod files;
mod hub;
mod identity;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Error, Result};

use cache::{Repository, Snapshot};
use environment::Settings;
use fetch::Hash;
use files::ModuleEntry;
use hub::{Failure, Hub, Listing, RemoteFile};
use identity::Named;

pub use cache::{CachedModel, list_cached};

/// Takes the name of a file in the repository, its bytes so far, and its size if known.
pub type Progress<'a> = dyn Fn(&str, u64, Option<u64>) + Sync + 'a;
/// Takes the name of a variable and gives its value if it is set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + Sync + 'a;

/// The largest modules.json that is read, in bytes.
const MODULES_LIMIT: u64 = 1 << 20;

/// Where to look for a model and how to download it. The default is what the environment says.
///
/// # Environment
/// As in huggingface_hub: `HF_HOME`, `HF_HUB_CACHE` (`HUGGINGFACE_HUB_CACHE`), `XDG_CACHE_HOME`, `HF_TOKEN`
/// (`HUGGING_FACE_HUB_TOKEN`), `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`
/// (`TRANSFORMERS_OFFLINE`); as in sentence-transformers: `SENTENCE_TRANSFORMERS_HOME`; proxies: `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, always those of the process; certificates to trust: `SSL_CERT_FILE`,
/// `REQUESTS_CA_BUNDLE`. Read at each call.
#[derive(Clone)]
pub struct DownloadOptions<'a> {
    /// A branch, a tag or a commit. Default: `main`.
    pub revision: Option<String>,
    /// The access token for private and gated models. Default: `HF_TOKEN`, then the file that `hf auth login` writes.
    pub token: Option<String>,
    /// The address of the hub. Default: `HF_ENDPOINT`, then `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The folder that holds `models--ORG--NAME`. Default: `SENTENCE_TRANSFORMERS_HOME`, `HF_HUB_CACHE`, `HF_HOME/hub`,
    /// `~/.cache/huggingface/hub`, the first that is set.
    pub cache_dir: Option<PathBuf>,
    /// Never uses the network. Default: false, or true where `HF_HUB_OFFLINE` says so.
    pub local_files_only: bool,
    /// Called at the beginning of each file, as bytes arrive, and at its end. Files already in the cache are not reported.
    pub progress: Option<&'a Progress<'a>>,
    /// Setting it stops the download with [`Error::Interrupted`]; what has arrived is kept and continued next time.
    pub interrupt: Option<&'a AtomicBool>,
    /// How often in a row a request may fail without new bytes before the download does. Default: 5.
    pub retries: usize,
    /// The wait before the first retry; it doubles for each further one, up to 30 seconds. Default: 1 second.
    pub retry_wait: Duration,
    /// Looks up environment variables. Default: those of the process.
    pub environment: Option<&'a Environment<'a>>,
}

impl Default for DownloadOptions<'_> {
    fn default() -> Self {
        Self {
            revision: None,
            token: None,
            endpoint: None,
            cache_dir: None,
            local_files_only: false,
            progress: None,
            interrupt: None,
            retries: 5,
            retry_wait: Duration::from_secs(1),
            environment: None,
        }
    }
}

impl DownloadOptions<'_> {
    /// An error as soon as the caller wants to stop.
    fn check_interrupt(&self) -> Result<()> {
        match self.interrupt {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Where a model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user gave a directory.
    LocalDirectory,
    /// All files were in the cache.
    Cache,
    /// At least one file was downloaded.
    Hub,
}

/// A model directory on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The directory.
    pub path: PathBuf,
    /// Where it was found.
    pub source: Source,
    /// The repository, `ORG/NAME`, if it is one.
    pub id: Option<String>,
    /// The commit of the repository, 40 hexadecimal digits, if it is one.
    pub commit: Option<String>,
    /// What the user should know although it worked: the hub was not reached and the cached copy is used.
    pub notice: Option<String>,
}

/// Finds a model by what the user calls it, and downloads it if it is not on this machine.
///
/// An existing directory is the model. What can only be a path (`./x`, `~/x`, `/x`, `a/b/c`, with a backslash) must exist.
/// Anything else is an id, `ORG/NAME`; a name alone belongs to the organization `sentence-transformers`, except for the
/// first models of the hub, such as `bert-base-uncased`.
///
/// A branch or tag is asked for at the hub each time, a commit that is in the cache is not. If the hub cannot be reached
/// or refuses, a complete copy in the cache is used and [`Resolved::notice`] says so. Of a repository only the model is
/// downloaded: the configurations, the tokenizer, the card, and the weights as safetensors, or as `.bin` where there are
/// no safetensors.
///
/// # Errors
/// If the directory does not exist, the hub does not give the model, a file does not arrive whole, the cache cannot be
/// written, or the caller interrupts. Files that did not arrive whole are continued by the next call.
pub fn resolve(id_or_path: &str, options: &DownloadOptions<'_>) -> Result<Resolved> {
    let id = match identity::parse(id_or_path, environment::home(options).as_deref())? {
        Named::Directory(path) => {
            return Ok(Resolved {
                path,
                source: Source::LocalDirectory,
                id: None,
                commit: None,
                notice: None,
            });
        }
        Named::Id(id) => id,
    };
    let revision = options.revision.as_deref().unwrap_or("main");
    identity::check_revision(revision)?;
    let settings = Settings::read(options)?;
    let repository = Repository::new(&settings.cache_dir, &id);
    let cached = repository.find(revision);
    let complete = cached.as_ref().filter(|snapshot| snapshot.missing.is_empty());
    let from_cache = |snapshot: &Snapshot, notice| Resolved {
        path: snapshot.path.clone(),
        source: Source::Cache,
        id: Some(id.clone()),
        commit: Some(snapshot.commit.clone()),
        notice,
    };
    if let Some(snapshot) = complete
        && (settings.offline.is_some() || (hub::is_commit(revision) && snapshot.certain))
    {
        return Ok(from_cache(snapshot, None));
    }
    if let Some(reason) = settings.offline {
        let missing = cached.map_or_else(
            || {
                format!(
                    "the model in revision {revision} is not in the cache {}",
                    settings.cache_dir.display()
                )
            },
            |snapshot| {
                format!(
                    "the cache lacks {} of the model in {}",
                    snapshot.missing.join(", "),
                    snapshot.path.display()
                )
            },
        );
        let message = format!(
            "{missing}, and {reason}: download it once with a network, or give the directory of a copy"
        );
        return Err(Error::Hub { id, message });
    }

    let hub = Hub::new(&settings, options, &id)?;
    // With a copy at hand there is no reason to wait for a hub that is busy.
    let retries = if complete.is_some() { 0 } else { options.retries };
    let listing = match (hub.listing(revision, retries), complete) {
        (Ok(listing), _) => listing,
        (Err(failure @ (Failure::Other(_) | Failure::NoRevision(_))), _) | (Err(failure), None) => {
            return Err(failure.into_error(&id));
        }
        (Err(failure), Some(snapshot)) => {
            let notice = format!("{id}: {}. The copy in the cache is used.", failure.message());
            return Ok(from_cache(snapshot, Some(notice)));
        }
    };
    let downloaded = download(&hub, &repository, options, &listing)?;
    match repository.write_reference(revision, &listing.commit) {
        Err(error) if downloaded => return Err(error),
        _ => {} // a cache that cannot be written is good enough to read
    }
    Ok(Resolved {
        path: repository.snapshot(&listing.commit),
        source: if downloaded { Source::Hub } else { Source::Cache },
        id: Some(id.clone()),
        commit: Some(listing.commit),
        notice: None,
    })
}

/// Completes the snapshot of a commit. False if there was nothing to do.
fn download(
    hub: &Hub<'_>,
    repository: &Repository,
    options: &DownloadOptions<'_>,
    listing: &Listing,
) -> Result<bool> {
    let commit = &listing.commit;
    let refuse = |message: &str| Err(Error::Hub { id: hub.id.to_owned(), message: message.to_owned() });
    let mut links = Vec::new();
    // modules.json says where to look for the rest.
    let modules = match listing.files.iter().find(|file| file.name == "modules.json") {
        None => None,
        Some(file) => {
            if file.size.is_some_and(|size| size > MODULES_LIMIT) {
                return refuse("its modules.json is too large to be one");
            }
            let path = obtain(hub, repository, options, file, commit, &mut links)?;
            let text = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
            let modules: Vec<ModuleEntry> =
                serde_json::from_slice(&text).map_err(|error| Error::json(&path, &error))?;
            Some(modules)
        }
    };
    let names: Vec<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
    let chosen = files::choose(&names, &files::folders(modules.as_deref()));
    if !files::has_weights(&chosen) {
        return refuse(
            "the repository has no model.safetensors and no pytorch_model.bin where a model has them; it is not one that sentir can read",
        );
    }
    for file in &listing.files {
        if file.name != "modules.json" && chosen.contains(&file.name.as_str()) {
            obtain(hub, repository, options, file, commit, &mut links)?;
        }
    }
    // Last of all, so that a snapshot has its files or has none of them.
    for (name, hash) in &links {
        repository.link(commit, name, hash)?;
    }
    if modules.is_none() && !links.is_empty() {
        repository.write_absence(commit, "modules.json");
    }
    Ok(!links.is_empty())
}

/// Where the content of a file lies, downloaded if need be. What the snapshot does not have yet is added to `links`.
fn obtain(
    hub: &Hub<'_>,
    repository: &Repository,
    options: &DownloadOptions<'_>,
    file: &RemoteFile,
    commit: &str,
    links: &mut Vec<(String, Hash)>,
) -> Result<PathBuf> {
    options.check_interrupt()?;
    let path = repository.snapshot(commit).join(&file.name);
    if let Ok(metadata) = path.metadata()
        && metadata.is_file()
        && file.size.is_none_or(|size| size == metadata.len())
    {
        return Ok(path);
    }
    let completed = match &file.hash {
        Some(_) => file.clone(),
        None => hub.complete(file, commit).map_err(|failure| failure.into_error(hub.id))?,
    };
    let Some(hash) = completed.hash.clone() else {
        return Err(Error::Hub {
            id: hub.id.to_owned(),
            message: format!("the hub gives no hash of {}", file.name),
        });
    };
    repository.create()?;
    fetch::fetch(hub, repository, options, &completed, &hash, commit)?;
    let blob = repository.blob(&hash);
    links.push((file.name.clone(), hash));
    Ok(blob)
}
