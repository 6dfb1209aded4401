//! A hub on this machine for the tests of the download: a few lines of HTTP/1.1 over `std::net`, the answers of the
//! real hub's API, and a second server that keeps the large files, as the real one has. Any answer can be replaced.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ring::digest;
use serde_json::json;

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// How the end of the body is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    Close,
}

/// What a server answers.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    pub(crate) framing: Framing,
    /// The body begins again and again until the client goes.
    pub(crate) endless: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            framing: Framing::Length,
            endless: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The bytes from where the request asks for them.
    fn part_of(content: &[u8], request: &Request) -> Self {
        let range =
            request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.and_then(|start| start.parse::<usize>().ok()) {
            None => Self::new(200, content),
            Some(start) if start >= content.len() => {
                Self::new(416, "").header("content-range", format!("bytes */{}", content.len()))
            }
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                Self::new(206, &content[start..]).header("content-range", range)
            }
        }
    }

    fn send(&self, stream: &mut TcpStream, head_only: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} status\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.framing {
            Framing::Length => head += &format!("content-length: {}\r\n", self.body.len()),
            Framing::Chunked => head += "transfer-encoding: chunked\r\n",
            Framing::Close => {}
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if head_only {
            return Ok(());
        }
        let sent = &self.body[..self.cut.unwrap_or(self.body.len()).min(self.body.len())];
        loop {
            if self.framing == Framing::Chunked {
                for part in sent.chunks(1000) {
                    write!(stream, "{:x}\r\n", part.len())?;
                    stream.write_all(part)?;
                    stream.write_all(b"\r\n")?;
                }
                if !self.endless && self.cut.is_none() {
                    stream.write_all(b"0\r\n\r\n")?;
                }
            } else {
                stream.write_all(sent)?;
            }
            if !self.endless {
                return stream.flush();
            }
        }
    }
}

/// A server with one thread per connection; it ends when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (log, stopped) = (requests.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, log) = (answer.clone(), log.clone());
                std::thread::spawn(move || {
                    let Ok(mut stream) = stream else { return };
                    let Some(request) = read_request(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    // A client may go when it has seen enough.
                    let _ = answer(&request).send(&mut stream, request.method == "HEAD");
                });
            }
        });
        Self { url, requests, stop, thread: Some(thread) }
    }

    /// What was asked for since the last time.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream).take(1 << 20);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    Some(Request { method, path, headers })
}

/// A repository as the hub describes it.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) id: String,
    /// The revisions besides the commit itself.
    pub(crate) revisions: Vec<String>,
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Whether the list of files has sizes and hashes.
    pub(crate) described: bool,
}

impl Model {
    /// The tiny BERT of golden/, as a sentence-transformers repository with files that nobody needs.
    pub(crate) fn bert(id: &str) -> Self {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/models/bert"));
        let mut files = BTreeMap::new();
        for name in
            ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
        {
            files.insert(name.to_owned(), std::fs::read(folder.join(name)).unwrap());
        }
        let modules = json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]);
        files.insert("modules.json".to_owned(), modules.to_string().into_bytes());
        files.insert("1_Pooling/config.json".to_owned(), br#"{"pooling_mode": "mean"}"#.to_vec());
        files.insert("README.md".to_owned(), b"# A model\n".to_vec());
        for name in [
            "pytorch_model.bin",
            "onnx/model.onnx",
            "train.py",
            ".gitattributes",
            "checkpoint-1/model.safetensors",
        ] {
            files.insert(name.to_owned(), b"not needed".to_vec());
        }
        let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
        Self { id: id.to_owned(), revisions: vec!["main".to_owned()], commit, files, described: true }
    }

    pub(crate) fn is_large(name: &str) -> bool {
        [".safetensors", ".bin", ".onnx"].iter().any(|end| name.ends_with(end))
    }

    /// The hash by which the hub knows a file: that of the content for large files, that of git for others.
    pub(crate) fn hash(name: &str, content: &[u8]) -> String {
        if Self::is_large(name) {
            return hex(digest::digest(&digest::SHA256, content).as_ref());
        }
        let blob = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
    }

    fn knows(&self, revision: &str) -> bool {
        let revision = revision.replace("%2F", "/");
        revision == self.commit || self.revisions.contains(&revision)
    }

    fn listing(&self) -> Reply {
        let siblings = self.files.iter().map(|(name, content)| {
            let hash = Self::hash(name, content);
            match (self.described, Self::is_large(name)) {
                (false, _) => json!({"rfilename": name}),
                (true, false) => json!({"rfilename": name, "size": content.len(), "blobId": hash}),
                (true, true) => json!({"rfilename": name, "size": content.len(), "blobId": "0".repeat(40),
                    "lfs": {"sha256": hash, "size": content.len(), "pointerSize": 130}}),
            }
        });
        let siblings: Vec<_> = siblings.collect();
        Reply::new(200, json!({"id": self.id, "sha": self.commit, "siblings": siblings}).to_string())
    }

    /// What the hub answers; large files are at `storage`.
    fn answer(&self, request: &Request, storage: &str) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let missing = |code: &str| {
            Reply::new(404, "{}").header("x-error-code", code).header("x-error-message", "Not here")
        };
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let Some(revision) = rest.strip_prefix(&format!("{}/revision/", self.id)) else {
                return missing("RepoNotFound");
            };
            return if self.knows(revision) { self.listing() } else { missing("RevisionNotFound") };
        }
        let found =
            path.strip_prefix(&format!("/{}/resolve/", self.id)).and_then(|rest| rest.split_once('/'));
        let Some((revision, name)) = found else { return missing("RepoNotFound") };
        if !self.knows(revision) {
            return missing("RevisionNotFound");
        }
        let Some(content) = self.files.get(name) else { return missing("EntryNotFound") };
        let hash = Self::hash(name, content);
        if Self::is_large(name) {
            return Reply::new(302, "")
                .header("location", format!("{storage}/{hash}?signature=x"))
                .header("x-linked-etag", format!("\"{hash}\""))
                .header("x-linked-size", content.len().to_string())
                .header("x-repo-commit", self.commit.clone());
        }
        Reply::part_of(content, request)
            .header("etag", format!("\"{hash}\""))
            .header("x-repo-commit", self.commit.clone())
    }

    /// What the storage of large files answers.
    fn stored(&self, request: &Request) -> Reply {
        let hash = request.path.trim_start_matches('/').split('?').next().unwrap_or_default();
        let found = self
            .files
            .iter()
            .find(|(name, content)| Self::is_large(name) && Self::hash(name, content) == hash);
        found.map_or_else(|| Reply::new(404, ""), |(_, content)| Reply::part_of(content, request))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hub and its storage.
pub(crate) struct Hub {
    pub(crate) hub: Server,
    pub(crate) storage: Server,
}

impl Hub {
    pub(crate) fn start(model: Model) -> Self {
        Self::start_with(model, |_, reply| reply, |_, reply| reply)
    }

    /// `hub` and `storage` may change what is answered.
    pub(crate) fn start_with(
        model: Model,
        hub: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
        storage: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let model = Arc::new(model);
        let kept = model.clone();
        let storage = Server::start(move |request| storage(request, kept.stored(request)));
        let url = storage.url.clone();
        let hub = Server::start(move |request| hub(request, model.answer(request, &url)));
        Self { hub, storage }
    }
}
