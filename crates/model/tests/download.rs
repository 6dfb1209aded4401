//! The download against a hub on this machine: the first time, from the cache, continued, refused, attacked.

mod hub_server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hub_server::{Framing, Hub, Model, Reply, Request};
use sentir_model::Error;
use sentir_model::download::{DownloadOptions, Resolved, Source, list_cached, resolve};

const ID: &str = "org/tiny";
/// What a download leaves of `Model::bert`, sorted.
const NEEDED: [&str; 8] = [
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
];

fn no_variables(_: &str) -> Option<String> {
    None
}

/// Options that see neither this machine's environment nor its cache.
fn options<'a>(hub: &Hub, cache: &Path) -> DownloadOptions<'a> {
    DownloadOptions {
        endpoint: Some(hub.hub.url.clone()),
        cache_dir: Some(cache.to_owned()),
        retry_wait: Duration::from_millis(1),
        environment: Some(&no_variables),
        ..Default::default()
    }
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn files_below(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(current) = waiting.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/"), path);
            }
        }
    }
    found
}

/// The snapshot has exactly the files of the model, byte for byte.
fn assert_complete(resolved: &Resolved, model: &Model) {
    let found = files_below(&resolved.path);
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), NEEDED);
    for (name, path) in found {
        assert_eq!(std::fs::read(path).unwrap(), model.files[&name], "{name}");
    }
}

fn repository(cache: &Path) -> PathBuf {
    cache.join("models--org--tiny")
}

/// The one partial file in the cache.
fn partial(cache: &Path) -> PathBuf {
    let mut found = files_below(&repository(cache).join("blobs"));
    found.retain(|name, _| name.ends_with(".incomplete"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_values().next().unwrap()
}

fn weights_hash(model: &Model) -> String {
    Model::hash("model.safetensors", &model.files["model.safetensors"])
}

fn message(result: Result<Resolved, Error>) -> String {
    result.unwrap_err().to_string()
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn the_first_download_has_the_layout_of_huggingface_hub_and_the_second_needs_no_file() {
    let (cache, model) = (cache(), Model::bert(ID));
    let hub = Hub::start(model.clone());
    let calls = Mutex::new(Vec::new());
    let progress = |name: &str, done: u64, total: Option<u64>| {
        calls.lock().unwrap().push((name.to_owned(), done, total))
    };
    let first =
        resolve(ID, &DownloadOptions { progress: Some(&progress), ..options(&hub, cache.path()) }).unwrap();
    assert_eq!((first.source, first.id.as_deref()), (Source::Hub, Some(ID)));
    assert_eq!((first.commit.as_deref(), &first.notice), (Some(model.commit.as_str()), &None));
    assert_eq!(first.path, repository(cache.path()).join("snapshots").join(&model.commit));
    assert_complete(&first, &model);
    assert_eq!(std::fs::read_to_string(repository(cache.path()).join("refs/main")).unwrap(), model.commit);
    let blobs: Vec<String> = files_below(&repository(cache.path()).join("blobs")).into_keys().collect();
    let mut expected: Vec<String> =
        NEEDED.iter().map(|name| Model::hash(name, &model.files[*name])).collect();
    expected.sort();
    assert_eq!(blobs, expected);
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(first.path.join("1_Pooling/config.json")).unwrap(),
        Path::new("../../../blobs")
            .join(Model::hash("1_Pooling/config.json", &model.files["1_Pooling/config.json"]))
    );
    let size = model.files["model.safetensors"].len() as u64;
    let calls = calls.into_inner().unwrap();
    let weights: Vec<_> = calls.iter().filter(|(name, _, _)| name == "model.safetensors").collect();
    assert_eq!((weights[0].1, weights.last().unwrap().1), (0, size));
    assert!(
        weights.windows(2).all(|pair| pair[0].1 <= pair[1].1)
            && weights.iter().all(|call| call.2 == Some(size))
    );
    hub.hub.take();
    hub.storage.take();

    let second = resolve(ID, &options(&hub, cache.path())).unwrap();
    assert_eq!(second, Resolved { source: Source::Cache, ..first.clone() });
    assert_eq!((hub.hub.take().len(), hub.storage.take().len()), (1, 0));

    let pinned = DownloadOptions { revision: Some(model.commit.clone()), ..options(&hub, cache.path()) };
    assert_eq!(resolve(ID, &pinned).unwrap().path, first.path);
    assert!(hub.hub.take().is_empty(), "a commit in the cache is not asked for");

    let without_network = options(&hub, cache.path());
    drop(hub);
    let third = resolve(ID, &without_network).unwrap();
    assert_eq!((third.source, &third.path), (Source::Cache, &first.path));
    assert_says(&third.notice.unwrap(), &["cannot be reached", "copy in the cache"]);
}

#[test]
fn branches_tags_and_commits_are_revisions() {
    let mut model = Model::bert(ID);
    model.revisions = vec!["main".to_owned(), "v1.0".to_owned(), "refs/pr/7".to_owned()];
    let hub = Hub::start(model.clone());
    for revision in ["v1.0", "refs/pr/7", &model.commit] {
        let cache = cache();
        let options = DownloadOptions { revision: Some(revision.to_owned()), ..options(&hub, cache.path()) };
        assert_complete(&resolve(ID, &options).unwrap(), &model);
        let reference = repository(cache.path()).join("refs").join(revision);
        assert_eq!(
            std::fs::read_to_string(reference).ok(),
            (revision != model.commit).then(|| model.commit.clone())
        );
    }
}

#[test]
fn a_new_commit_on_a_branch_brings_only_what_has_changed() {
    let (cache, old) = (cache(), Model::bert(ID));
    let mut new = old.clone();
    new.commit = "f".repeat(40);
    new.files.insert("README.md".to_owned(), b"# A better model\n".to_vec());
    let before = Hub::start(old.clone());
    resolve(ID, &options(&before, cache.path())).unwrap();
    let after = Hub::start(new.clone());
    let resolved = resolve(ID, &options(&after, cache.path())).unwrap();
    assert_complete(&resolved, &new);
    assert_eq!(resolved.source, Source::Hub);
    let asked: Vec<String> = after.hub.take().into_iter().map(|request| request.path).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].ends_with("/README.md"));
    assert!(after.storage.take().is_empty());
    let listed = list_cached(&options(&after, cache.path())).unwrap();
    let references: Vec<_> =
        listed.iter().map(|model| (model.commit.as_str(), model.references.clone())).collect();
    assert_eq!(references, [(old.commit.as_str(), vec![]), (new.commit.as_str(), vec!["main".to_owned()])]);
}

#[test]
fn a_cut_download_is_continued_where_it_was_cut() {
    let (cache, model) = (cache(), Model::bert(ID));
    let half = model.files["model.safetensors"].len() / 2;
    let hub = Hub::start_with(
        model.clone(),
        |_, reply| reply,
        move |request, mut reply| {
            if !request.headers.contains_key("range") {
                reply.cut = Some(half);
            }
            reply
        },
    );
    assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
    let ranges: Vec<Option<String>> =
        hub.storage.take().into_iter().map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={half}-"))]);
}

#[test]
fn a_connection_that_always_breaks_is_an_error_that_keeps_what_came() {
    let (cache, model) = (cache(), Model::bert(ID));
    let size = model.files["model.safetensors"].len();
    let broken = std::sync::Arc::new(AtomicBool::new(true));
    let state = broken.clone();
    let hub = Hub::start_with(
        model.clone(),
        |_, reply| reply,
        move |request, mut reply| {
            if state.load(Ordering::SeqCst) {
                reply.cut = Some(if request.headers.contains_key("range") { 0 } else { 1000 });
            }
            reply
        },
    );
    let options = DownloadOptions { retries: 3, ..options(&hub, cache.path()) };
    let text = message(resolve(ID, &options));
    assert_says(&text, &[ID, "model.safetensors", &format!("1000 of {size} bytes"), "continues"]);
    assert_eq!(hub.storage.take().len(), 4);
    assert_eq!(std::fs::metadata(partial(cache.path())).unwrap().len(), 1000);
    assert!(!repository(cache.path()).join("snapshots").exists(), "an incomplete snapshot is not visible");

    broken.store(false, Ordering::SeqCst);
    assert_complete(&resolve(ID, &options).unwrap(), &model);
    assert_eq!(hub.storage.take()[0].headers["range"], "bytes=1000-");
}

#[test]
fn a_server_without_ranges_gives_the_whole_file_again() {
    let (cache, model) = (cache(), Model::bert(ID));
    let content = model.files["model.safetensors"].clone();
    let hub = Hub::start_with(
        model.clone(),
        |_, reply| reply,
        move |request, _| {
            let mut reply = Reply::new(200, content.clone());
            reply.cut = (!request.headers.contains_key("range")).then_some(700);
            reply
        },
    );
    assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
}

#[test]
fn a_damaged_partial_file_is_replaced() {
    let model = Model::bert(ID);
    let size = model.files["model.safetensors"].len();
    for length in [100, size, size + 1] {
        let cache = cache();
        let hub = Hub::start(model.clone());
        let blobs = repository(cache.path()).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{}.incomplete", weights_hash(&model))), vec![7; length]).unwrap();
        assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let refuse = |code: u16, error: &'static str, said: &'static str| {
        Hub::start_with(
            Model::bert(ID),
            move |_, _| {
                let reply = Reply::new(code, "{}").header("x-error-message", said);
                if error.is_empty() { reply } else { reply.header("x-error-code", error) }
            },
            |_, reply| reply,
        )
    };
    let token = Some("hf_secret".to_owned());
    let cases: [(u16, &str, Option<String>, &[&str]); 9] = [
        (404, "RepoNotFound", None, &["no such model", "404", "spelling", "HF_TOKEN"]),
        (401, "RepoNotFound", None, &["no such public model", "401", "spelling", "HF_TOKEN"]),
        (401, "", token.clone(), &["does not know this model for this token", "401", "/settings/tokens"]),
        (
            403,
            "GatedRepo",
            token.clone(),
            &["restricted", "403", "/org/tiny", "license", "token of that account"],
        ),
        (401, "GatedRepo", None, &["restricted", "401", "/org/tiny", "HF_TOKEN"]),
        (404, "RevisionNotFound", None, &["no such revision", "main"]),
        (429, "", None, &["fewer requests", "429", "HF_TOKEN"]),
        (503, "", None, &["the hub has trouble", "503", "later"]),
        (418, "", None, &["418", "HF_ENDPOINT"]),
    ];
    for (code, error, token, parts) in cases {
        let (cache, hub) = (cache(), refuse(code, error, "What the hub said"));
        let text = message(resolve(ID, &DownloadOptions { token, ..options(&hub, cache.path()) }));
        assert_says(&text, parts);
        assert_says(&text, &[ID, "\"What the hub said\""]);
        assert!(!text.contains("hf_secret"));
        assert_eq!(hub.hub.take().len(), if code == 429 || code == 503 { 6 } else { 1 }, "{code}");
    }
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let text = message(resolve(
        ID,
        &DownloadOptions { revision: Some("v9".to_owned()), ..options(&hub, cache.path()) },
    ));
    assert_says(&text, &["no such revision", "Not here"]);
    assert_says(
        &message(resolve("other", &options(&hub, cache.path()))),
        &["sentence-transformers/other", "spelling"],
    );
}

#[test]
fn a_refusal_with_a_copy_in_the_cache_is_a_notice() {
    let (cache, model) = (cache(), Model::bert(ID));
    let down = std::sync::Arc::new(AtomicBool::new(false));
    let state = down.clone();
    let hub = Hub::start_with(
        model.clone(),
        move |_, reply| if state.load(Ordering::SeqCst) { Reply::new(503, "") } else { reply },
        |_, reply| reply,
    );
    resolve(ID, &options(&hub, cache.path())).unwrap();
    down.store(true, Ordering::SeqCst);
    hub.hub.take();
    let resolved = resolve(ID, &options(&hub, cache.path())).unwrap();
    assert_says(&resolved.notice.clone().unwrap(), &[ID, "503", "cache"]);
    assert_complete(&resolved, &model);
    assert_eq!(hub.hub.take().len(), 1, "with a copy at hand nobody waits");
}

#[test]
fn a_busy_hub_is_asked_again() {
    for code in [429, 500, 502, 503] {
        let (cache, model) = (cache(), Model::bert(ID));
        let left = AtomicUsize::new(3);
        let hub = Hub::start_with(
            model.clone(),
            move |_, reply| {
                let busy =
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                if busy { Reply::new(code, "").header("retry-after", "0") } else { reply }
            },
            |request, reply| {
                if request.headers.contains_key("range") { reply } else { Reply { cut: Some(99), ..reply } }
            },
        );
        assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
    }
    let cache = cache();
    let hub = Hub::start_with(
        Model::bert(ID),
        |_, _| Reply::new(429, "").header("retry-after", "300"),
        |_, reply| reply,
    );
    assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &["429", "try again in 300 seconds"]);
}

#[test]
fn wrong_content_is_removed_and_named() {
    for name in ["model.safetensors", "config.json"] {
        let (cache, model) = (cache(), Model::bert(ID));
        let (path, hash) = (format!("/resolve/{}/{name}", model.commit), weights_hash(&model));
        let spoil = move |request: &Request, mut reply: Reply| {
            let meant = request.path.ends_with(&path) || request.path.contains(&hash);
            if let (true, Some(byte)) = (meant, reply.body.last_mut()) {
                *byte ^= 1;
            }
            reply
        };
        let hub = Hub::start_with(model.clone(), spoil.clone(), spoil);
        let text = message(resolve(ID, &options(&hub, cache.path())));
        assert_says(&text, &[ID, name, &Model::hash(name, &model.files[name]), "removed"]);
        let left = files_below(&repository(cache.path()).join("blobs")).into_keys();
        assert!(left.into_iter().all(|file| !file.starts_with(&Model::hash(name, &model.files[name]))));
        assert!(!repository(cache.path()).join("snapshots").exists());
    }
}

#[test]
fn wrong_sizes_are_errors() {
    for (framing, endless, change) in [
        (Framing::Length, false, 1isize),
        (Framing::Length, false, -1),
        (Framing::Chunked, true, 0),
        (Framing::Close, true, 0),
    ] {
        let (cache, model) = (cache(), Model::bert(ID));
        let hub = Hub::start_with(
            model,
            |_, reply| reply,
            move |_, mut reply| {
                let length = reply.body.len().saturating_add_signed(change);
                reply.body.resize(length, 0);
                Reply { framing, endless, ..reply }
            },
        );
        let text = message(resolve(ID, &options(&hub, cache.path())));
        assert_says(&text, &["model.safetensors", "bytes", "should have", "removed"]);
        let left = files_below(&repository(cache.path()).join("blobs"));
        assert!(left.keys().all(|name| !name.ends_with(".incomplete")), "{left:?}");
    }
}

#[test]
fn bodies_of_unknown_length_are_read() {
    for framing in [Framing::Chunked, Framing::Close] {
        for described in [true, false] {
            let (cache, mut model) = (cache(), Model::bert(ID));
            model.described = described;
            let hub = Hub::start_with(
                model.clone(),
                move |_, reply| Reply { framing, ..reply },
                move |_, reply| Reply { framing, ..reply },
            );
            assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
        }
    }
}

#[test]
fn a_list_without_hashes_is_completed_by_headers() {
    let (cache, mut model) = (cache(), Model::bert(ID));
    model.described = false;
    let hub = Hub::start(model.clone());
    assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model);
    assert_eq!(hub.hub.take().iter().filter(|request| request.method == "HEAD").count(), NEEDED.len());
    assert!(files_below(&repository(cache.path()).join("blobs")).contains_key(&weights_hash(&model)));

    let cache = self::cache();
    let hub = Hub::start_with(
        model,
        |_, mut reply| {
            reply.headers.retain(|(name, _)| !name.ends_with("etag"));
            reply
        },
        |_, reply| reply,
    );
    assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &["no hash", "modules.json"]);
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_one_else() {
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let variables = |name: &str| (name == "HF_TOKEN").then(|| "hf_secret".to_owned());
    resolve(ID, &DownloadOptions { environment: Some(&variables), ..options(&hub, cache.path()) }).unwrap();
    let asked = hub.hub.take();
    assert_eq!(asked.len(), 1 + NEEDED.len());
    assert!(asked.iter().all(|request| request.headers["authorization"] == "Bearer hf_secret"));
    let stored = hub.storage.take();
    assert_eq!(stored.len(), 1);
    assert!(stored.iter().all(|request| !request.headers.contains_key("authorization")), "{stored:?}");

    let cache = self::cache();
    resolve(ID, &options(&hub, cache.path())).unwrap();
    assert!(hub.hub.take().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn a_renamed_repository_is_followed_and_a_circle_is_not() {
    let (cache, model) = (cache(), Model::bert(ID));
    let renamed = |path: &str| path.contains("org/old").then(|| path.replace("org/old", ID));
    let hub = Hub::start_with(
        model.clone(),
        move |request, reply| match renamed(&request.path) {
            Some(path) => Reply::new(307, "").header("location", path),
            None => reply,
        },
        |_, reply| reply,
    );
    let resolved = resolve("org/old", &options(&hub, cache.path())).unwrap();
    assert_complete(&resolved, &model);

    let cache = self::cache();
    let hub = Hub::start_with(
        model,
        |request, _| Reply::new(302, "").header("location", request.path.clone()),
        |_, reply| reply,
    );
    assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &["redirects more than 10 times"]);
}

#[test]
fn hostile_names_stop_everything() {
    for name in
        ["../../evil", "/tmp/evil", r"..\evil", r"C:\evil", "a//b", "1_Pooling/../../config.json", "x\u{0}y"]
    {
        let (cache, mut model) = (cache(), Model::bert(ID));
        model.files.insert(name.to_owned(), b"evil".to_vec());
        let hub = Hub::start(model);
        assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &[ID, "outside the cache"]);
        assert_eq!(hub.hub.take().len(), 1);
        assert!(files_below(cache.path()).is_empty());
    }
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let cases: [(&str, &str); 5] = [
        ("<html>login</html>", "does not answer as a hub does"),
        (r#"{"siblings": []}"#, "does not answer as a hub does"),
        (r#"{"sha": "../../x", "siblings": []}"#, "names no commit"),
        (r#"{"sha": "0123456789abcdef0123456789abcdef01234567"}"#, "no model.safetensors"),
        ("", "does not answer as a hub does"),
    ];
    for (body, part) in cases {
        let cache = cache();
        let hub = Hub::start_with(Model::bert(ID), move |_, _| Reply::new(200, body), |_, reply| reply);
        assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &[ID, part]);
    }
    let (cache, mut model) = (cache(), Model::bert(ID));
    model.files.insert("modules.json".to_owned(), b"[{".to_vec());
    let hub = Hub::start(model);
    assert_says(&message(resolve(ID, &options(&hub, cache.path()))), &["line 1"]);
    let (cache, mut model) = (self::cache(), Model::bert(ID));
    model.files.retain(|name, _| !name.ends_with(".safetensors") && name != "pytorch_model.bin");
    let hub = Hub::start(model);
    assert_says(
        &message(resolve(ID, &options(&hub, cache.path()))),
        &["no model.safetensors", "pytorch_model.bin"],
    );
}

#[test]
fn offline_uses_the_cache_and_says_what_it_lacks() {
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let online = options(&hub, cache.path());
    let variables = |name: &str| (name == "HF_HUB_OFFLINE").then(|| "1".to_owned());
    let offline = DownloadOptions { environment: Some(&variables), ..options(&hub, cache.path()) };
    let local = DownloadOptions { local_files_only: true, ..options(&hub, cache.path()) };
    assert_says(
        &message(resolve(ID, &offline)),
        &[ID, "not in the cache", "HF_HUB_OFFLINE is set", "download it once"],
    );
    assert_says(&message(resolve(ID, &local)), &["only local files are allowed"]);
    assert!(hub.hub.take().is_empty());

    let resolved = resolve(ID, &online).unwrap();
    hub.hub.take();
    for options in [&offline, &local] {
        assert_eq!(resolve(ID, options).unwrap(), Resolved { source: Source::Cache, ..resolved.clone() });
    }
    let other = DownloadOptions { revision: Some("v1".to_owned()), ..offline.clone() };
    assert_says(&message(resolve(ID, &other)), &["revision v1"]);
    std::fs::remove_file(resolved.path.join("model.safetensors")).unwrap();
    std::fs::remove_file(resolved.path.join("1_Pooling/config.json")).unwrap();
    assert_says(&message(resolve(ID, &offline)), &["lacks", "1_Pooling/config.json, model.safetensors"]);
    assert!(list_cached(&offline).unwrap().is_empty());
    assert!(hub.hub.take().is_empty());
    assert_complete(&resolve(ID, &online).unwrap(), &Model::bert(ID));
}

#[test]
fn without_network_and_cache_the_error_names_the_hub() {
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let options = options(&hub, cache.path());
    let url = hub.hub.url.clone();
    drop(hub);
    assert_says(&message(resolve(ID, &options)), &[ID, &url, "cannot be reached", "HF_ENDPOINT"]);
}

#[test]
fn the_cache_is_where_the_environment_says() {
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let folder = cache.path().to_str().unwrap().to_owned();
    for (name, inside) in [("HF_HOME", "hub"), ("HF_HUB_CACHE", ""), ("SENTENCE_TRANSFORMERS_HOME", "")] {
        let base = format!("{folder}/{name}");
        let url = hub.hub.url.clone();
        let variables = |variable: &str| match variable {
            "HF_ENDPOINT" => Some(url.clone()),
            _ => (variable == name).then(|| base.clone()),
        };
        let options = DownloadOptions { environment: Some(&variables), ..Default::default() };
        let resolved = resolve(ID, &options).unwrap();
        assert!(
            resolved.path.starts_with(Path::new(&base).join(inside).join("models--org--tiny")),
            "{resolved:?}"
        );
        let listed = list_cached(&options).unwrap();
        assert_eq!((listed.len(), listed[0].id.as_str(), &listed[0].path), (1, ID, &resolved.path));
        let bytes: usize = NEEDED.iter().map(|name| Model::bert(ID).files[*name].len()).sum();
        assert_eq!((listed[0].bytes, &listed[0].references[..]), (bytes as u64, &["main".to_owned()][..]));
    }
}

#[test]
fn certificates_that_are_none_are_an_error() {
    let (cache, hub) = (cache(), Hub::start(Model::bert(ID)));
    let path = cache.path().join("company.pem");
    let variables = |name: &str| (name == "SSL_CERT_FILE").then(|| path.to_str().unwrap().to_owned());
    let options = DownloadOptions { environment: Some(&variables), ..options(&hub, cache.path()) };
    assert_says(&message(resolve(ID, &options)), &["company.pem"]);
    std::fs::write(&path, "not a certificate").unwrap();
    assert_says(&message(resolve(ID, &options)), &["company.pem", "no PEM certificate", "SSL_CERT_FILE"]);
}

#[test]
fn threads_download_each_file_once() {
    let (cache, model) = (cache(), Model::bert(ID));
    let slow = |_: &Request, reply: Reply| {
        std::thread::sleep(Duration::from_millis(20));
        reply
    };
    let hub = Hub::start_with(model.clone(), slow, slow);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_complete(&resolve(ID, &options(&hub, cache.path())).unwrap(), &model));
        }
    });
    assert_eq!(hub.storage.take().len(), 1);
    assert_eq!(hub.hub.take().len(), 6 + NEEDED.len());
}

/// Not a test of its own: what the other processes of the next test run.
#[test]
#[ignore = "a part of processes_download_each_file_once"]
fn one_of_several_processes() {
    let (Ok(endpoint), Ok(cache)) = (std::env::var("SENTIR_TEST_HUB"), std::env::var("SENTIR_TEST_CACHE"))
    else {
        return;
    };
    let options = DownloadOptions {
        endpoint: Some(endpoint),
        cache_dir: Some(PathBuf::from(cache)),
        environment: Some(&no_variables),
        ..Default::default()
    };
    assert_complete(&resolve(ID, &options).unwrap(), &Model::bert(ID));
}

#[test]
fn processes_download_each_file_once() {
    let (cache, model) = (cache(), Model::bert(ID));
    let slow = |_: &Request, reply: Reply| {
        std::thread::sleep(Duration::from_millis(50));
        reply
    };
    let hub = Hub::start_with(model, slow, slow);
    let start = |_| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_of_several_processes", "--ignored"])
            .env("SENTIR_TEST_HUB", &hub.hub.url)
            .env("SENTIR_TEST_CACHE", cache.path())
            .output()
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..3).map(|number| scope.spawn(move || start(number))).collect();
        for process in running {
            let output = process.join().unwrap().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
    });
    assert_eq!(hub.storage.take().len(), 1);
}

#[test]
fn an_interrupted_download_is_continued() {
    let (cache, model) = (cache(), Model::bert(ID));
    let hub = Hub::start(model.clone());
    let interrupt = AtomicBool::new(false);
    let progress = |name: &str, done: u64, _: Option<u64>| {
        if name == "model.safetensors" && done > 0 {
            interrupt.store(true, Ordering::SeqCst);
        }
    };
    let options = DownloadOptions {
        progress: Some(&progress),
        interrupt: Some(&interrupt),
        ..options(&hub, cache.path())
    };
    assert!(matches!(resolve(ID, &options), Err(Error::Interrupted)));
    let kept = std::fs::metadata(partial(cache.path())).unwrap().len();
    assert!(kept > 0);
    hub.storage.take();
    let resumed = DownloadOptions { progress: None, interrupt: None, ..options };
    assert_complete(&resolve(ID, &resumed).unwrap(), &model);
    let size = model.files["model.safetensors"].len() as u64;
    let ranges: Vec<_> =
        hub.storage.take().into_iter().map(|request| request.headers.get("range").cloned()).collect();
    let expected = if kept == size { vec![] } else { vec![Some(format!("bytes={kept}-"))] };
    assert_eq!(ranges, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let (cache, model) = (cache(), Model::bert(ID));
    let hub = Hub::start(model.clone());
    let blobs = repository(cache.path()).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::os::unix::fs::symlink("/dev/full", blobs.join(format!("{}.incomplete", weights_hash(&model))))
        .unwrap();
    assert_says(
        &message(resolve(ID, &options(&hub, cache.path()))),
        &["disk is full", "model.safetensors", "HF_HOME"],
    );
}

#[test]
fn a_directory_needs_no_hub() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/bert");
    let options = DownloadOptions { endpoint: Some("nonsense".to_owned()), ..Default::default() };
    let resolved = resolve(folder, &options).unwrap();
    let expected = Resolved {
        path: folder.into(),
        source: Source::LocalDirectory,
        id: None,
        commit: None,
        notice: None,
    };
    assert_eq!(resolved, expected);
    assert_says(&message(resolve("./absent", &options)), &["./absent", "no such directory"]);
}

/// Runs a Python script with huggingface_hub, or says that there is none.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn python(test: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let python = std::env::var("SENTIR_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&python).args(["-c", "import huggingface_hub"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {test}: {python} has no huggingface_hub (set SENTIR_PYTHON to one that has)");
        return None;
    }
    let output = Command::new(&python).args(["-c", script]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn huggingface_hub_reads_our_cache() {
    let (cache, model) = (cache(), Model::bert(ID));
    let hub = Hub::start(model.clone());
    let resolved = resolve(ID, &options(&hub, cache.path())).unwrap();
    let script = "
import os, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
cache = sys.argv[1]
info = scan_cache_dir(cache)
assert not info.warnings, info.warnings
[repo] = info.repos
[revision] = repo.revisions
print(repo.repo_id, repo.repo_type, sorted(revision.refs), revision.commit_hash, len(revision.files))
print(os.path.realpath(snapshot_download(repo.repo_id, cache_dir=cache, local_files_only=True)))
print(os.path.realpath(hf_hub_download(repo.repo_id, 'model.safetensors', cache_dir=cache, local_files_only=True)))
";
    let folder = cache.path().to_str().unwrap();
    let Some(text) = python("huggingface_hub_reads_our_cache", script, &[folder]) else { return };
    let real = |path: PathBuf| path.canonicalize().unwrap().display().to_string();
    let expected = format!(
        "{ID} model ['main'] {} {}\n{}\n{}\n",
        model.commit,
        NEEDED.len(),
        real(resolved.path.clone()),
        real(resolved.path.join("model.safetensors"))
    );
    assert_eq!(text, expected);
}

#[test]
fn we_read_the_cache_of_huggingface_hub() {
    let (cache, model) = (cache(), Model::bert(ID));
    let hub = Hub::start(model.clone());
    let script = "
import sys
from huggingface_hub import hf_hub_download
endpoint, cache, repo, *files = sys.argv[1:]
for file in files:
    hf_hub_download(repo, file, cache_dir=cache, endpoint=endpoint, token=False)
";
    let first = [&hub.hub.url, cache.path().to_str().unwrap(), ID];
    // Without the weights first: that is not yet a model.
    let without: Vec<&str> = NEEDED.into_iter().filter(|name| *name != "model.safetensors").collect();
    let Some(_) = python("we_read_the_cache_of_huggingface_hub", script, &[&first[..], &without].concat())
    else {
        return;
    };
    let offline = DownloadOptions { local_files_only: true, ..options(&hub, cache.path()) };
    assert_says(&message(resolve(ID, &offline)), &["lacks model.safetensors"]);
    python("we_read_the_cache_of_huggingface_hub", script, &[&first[..], &["model.safetensors"]].concat())
        .unwrap();
    hub.hub.take();
    assert_complete(&resolve(ID, &offline).unwrap(), &model);
    assert!(hub.hub.take().is_empty());
    assert_eq!(resolve(ID, &options(&hub, cache.path())).unwrap().source, Source::Cache);
    assert_eq!(hub.hub.take().len(), 1);
}
