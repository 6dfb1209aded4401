//! Requests to the hub: the list of a repository's files and the bytes of one. It writes no file and decides nothing
//! about the cache.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::environment::Settings;
use super::fetch::Hash;
use super::{DownloadOptions, files};
use crate::{Error, Result};

/// How long the hub may stay silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest wait between two tries, also where the hub asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The largest list of files that is read, in bytes.
const LISTING_LIMIT: u64 = 64 << 20;
/// Where a chain of redirections ends.
const MAX_REDIRECTS: usize = 10;

/// Why a request gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: no network, a wrong endpoint, a proxy.
    Unreachable(String),
    /// The connection broke; another try may succeed.
    Cut(String),
    /// The hub has trouble or wants fewer requests; it may say when to come back.
    Busy(String, Option<Duration>),
    /// The hub says no.
    Refused(String),
    /// The repository has no such revision.
    NoRevision(String),
    /// Not a matter of the hub.
    Other(Error),
}

impl Failure {
    /// As an error about the repository `id`.
    pub(super) fn into_error(self, id: &str) -> Error {
        match self {
            Self::Other(error) => error,
            other => Error::Hub { id: id.to_owned(), message: other.message().to_owned() },
        }
    }

    /// What happened and what to do.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Unreachable(message) | Self::Cut(message) | Self::Busy(message, _) => message,
            Self::Refused(message) | Self::NoRevision(message) => message,
            Self::Other(_) => "",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// One file of a repository.
#[derive(Clone, Debug)]
pub(super) struct RemoteFile {
    /// Relative to the repository, with `/`.
    pub(super) name: String,
    /// In bytes.
    pub(super) size: Option<u64>,
    /// Of its content; asked for separately where the list has none.
    pub(super) hash: Option<Hash>,
}

/// What a revision consists of.
#[derive(Debug)]
pub(super) struct Listing {
    /// 40 hexadecimal digits.
    pub(super) commit: String,
    /// All files; their names are safe.
    pub(super) files: Vec<RemoteFile>,
}

/// The hub, for one repository.
pub(super) struct Hub<'a> {
    agent: Agent,
    settings: &'a Settings,
    options: &'a DownloadOptions<'a>,
    origin: (String, String, u16),
    /// The repository.
    pub(super) id: &'a str,
}

impl<'a> Hub<'a> {
    pub(super) fn new(settings: &'a Settings, options: &'a DownloadOptions<'a>, id: &'a str) -> Result<Self> {
        let address = settings.endpoint.parse::<Uri>().ok().and_then(|uri| origin(&uri));
        let origin = address
            .ok_or_else(|| Error::Argument(format!("{:?} is not the address of a hub", settings.endpoint)))?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // followed here, where it is known which host may see the token
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .accept_encoding("identity") // sizes and ranges are those of the file
            .user_agent(concat!("sentir/", env!("CARGO_PKG_VERSION")));
        if ["localhost", "127.0.0.1", "[::1]"].contains(&origin.1.as_str()) {
            config = config.proxy(None); // a proxy's own loopback is not this machine's
        }
        if let Some(path) = &settings.certificates {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(path)?).build());
        }
        Ok(Self { agent: config.build().into(), settings, options, origin, id })
    }

    /// The files of a revision. Tries again while the hub is busy, up to `retries` times.
    pub(super) fn listing(&self, revision: &str, retries: usize) -> Result<Listing, Failure> {
        #[derive(Deserialize)]
        struct Lfs {
            sha256: Option<String>,
            size: Option<u64>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
            blob_id: Option<String>,
            lfs: Option<Lfs>,
        }
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            #[serde(default)]
            siblings: Vec<Sibling>,
        }
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.settings.endpoint,
            self.id,
            escape(revision)
        );
        let text = self.again(retries, || {
            let response = self.open(&url, Ask::All)?;
            let mut body = response.into_body();
            body.with_config().limit(LISTING_LIMIT).read_to_vec().map_err(|error| self.broken(&error))
        })?;
        let answer: Answer = serde_json::from_slice(&text).map_err(|error| {
            Failure::Refused(format!(
                "{} does not answer as a hub does ({error}); check HF_ENDPOINT",
                self.settings.endpoint
            ))
        })?;
        if !is_commit(&answer.sha) {
            return Err(Failure::Refused(format!(
                "{} names no commit; check HF_ENDPOINT",
                self.settings.endpoint
            )));
        }
        let mut files = Vec::new();
        for sibling in answer.siblings {
            if let Err(message) = files::check_name(&sibling.rfilename) {
                return Err(Error::Hub { id: self.id.to_owned(), message }.into());
            }
            // Of a large file git itself has only a pointer, with a hash and a size of its own.
            let (hash, size) = match sibling.lfs {
                Some(lfs) => (lfs.sha256, lfs.size.or(sibling.size)),
                None => (sibling.blob_id, sibling.size),
            };
            files.push(RemoteFile {
                name: sibling.rfilename,
                size,
                hash: hash.as_deref().and_then(Hash::parse),
            });
        }
        Ok(Listing { commit: answer.sha, files })
    }

    /// Hash and size of a file from the headers of the hub, for lists without them.
    pub(super) fn complete(&self, file: &RemoteFile, commit: &str) -> Result<RemoteFile, Failure> {
        let url = self.file_url(&file.name, commit);
        let response = self.again(self.options.retries, || self.open(&url, Ask::Headers))?;
        let headers = response.headers();
        let linked = header(headers, "x-linked-etag");
        let hash = linked
            .or_else(|| header(headers, "etag"))
            .and_then(|etag| Hash::parse(etag.trim_start_matches("W/").trim_matches('"')));
        if hash.is_none() {
            let message = format!(
                "{} gives no hash of the file {}, so it cannot be verified; use another hub",
                self.settings.endpoint, file.name
            );
            return Err(Failure::Refused(message));
        }
        let length = if response.status().is_success() { header(headers, "content-length") } else { None };
        let size = header(headers, "x-linked-size").or(length).and_then(|size| size.parse().ok());
        Ok(RemoteFile { name: file.name.clone(), size: file.size.or(size), hash })
    }

    /// The bytes of a file from `start` on.
    pub(super) fn file(&self, name: &str, commit: &str, start: u64) -> Result<Response<Body>, Failure> {
        self.open(&self.file_url(name, commit), Ask::From(start))
    }

    fn file_url(&self, name: &str, commit: &str) -> String {
        let path: Vec<String> = name.split('/').map(escape).collect();
        format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, self.id, path.join("/"))
    }

    /// Repeats what fails for a passing reason.
    fn again<T>(
        &self,
        retries: usize,
        mut request: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            match request() {
                Err(failure)
                    if failures < retries && matches!(failure, Failure::Cut(_) | Failure::Busy(..)) =>
                {
                    self.wait(failures, &failure)?;
                    failures += 1;
                }
                result => return result,
            }
        }
    }

    /// Sleeps before a further try, unless the hub asks for more patience than is reasonable or the user for none.
    pub(super) fn wait(&self, failures: usize, failure: &Failure) -> Result<(), Failure> {
        let doubled = self.options.retry_wait.saturating_mul(1 << failures.min(16));
        let mut wait = doubled.min(LONGEST_WAIT);
        if let Failure::Busy(message, Some(asked)) = failure {
            if *asked > LONGEST_WAIT {
                return Err(Failure::Refused(format!("{message}; try again in {} seconds", asked.as_secs())));
            }
            wait = *asked;
        }
        let end = Instant::now() + wait;
        loop {
            self.options.check_interrupt()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Sends a request and follows redirections. The token goes to the endpoint and nowhere else.
    fn open(&self, url: &str, ask: Ask) -> Result<Response<Body>, Failure> {
        let mut uri: Uri = url.parse().map_err(|_| Failure::Refused(format!("{url} is not an address")))?;
        for _ in 0..=MAX_REDIRECTS {
            self.options.check_interrupt()?;
            let at_home = origin(&uri).as_ref() == Some(&self.origin);
            let mut request = match ask {
                Ask::Headers => self.agent.head(&uri),
                Ask::All | Ask::From(_) => self.agent.get(&uri),
            };
            if let (Some(token), true) = (&self.settings.token, at_home) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Ask::From(start @ 1..) = ask {
                request = request.header("range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| self.broken(&error))?;
            let target = match header(response.headers(), "location") {
                Some(location) if response.status().is_redirection() => Some(follow(&uri, location)),
                _ => None,
            };
            match target {
                None => return self.check(response, ask),
                Some(None) => {
                    return Err(Failure::Refused(format!("{uri} redirects to an unreadable address")));
                }
                Some(Some(target)) => {
                    if uri.scheme_str() == Some("https") && target.scheme_str() != Some("https") {
                        return Err(Failure::Refused(format!("{uri} redirects to an unencrypted address")));
                    }
                    // The headers that describe the file are those of the hub, not of where the hub keeps it.
                    if ask == Ask::Headers
                        && (header(response.headers(), "x-linked-etag").is_some()
                            || origin(&target).as_ref() != Some(&self.origin))
                    {
                        return Ok(response);
                    }
                    uri = target;
                }
            }
        }
        Err(Failure::Refused(format!("{url} redirects more than {MAX_REDIRECTS} times")))
    }

    /// The response if it has what was asked for.
    fn check(&self, response: Response<Body>, ask: Ask) -> Result<Response<Body>, Failure> {
        let status = response.status();
        if status.is_success()
            || (status == StatusCode::RANGE_NOT_SATISFIABLE && matches!(ask, Ask::From(1..)))
        {
            return Ok(response);
        }
        let headers = response.headers();
        let said = header(headers, "x-error-message").map(clean).filter(|said| !said.is_empty());
        let said = said.map(|said| format!(" (\"{said}\")")).unwrap_or_default();
        let (endpoint, id, code) = (&self.settings.endpoint, self.id, status.as_u16());
        let page = format!("{endpoint}/{id}");
        let has_token = self.settings.token.is_some();
        let set_token = format!("set HF_TOKEN to a token from {endpoint}/settings/tokens");
        Err(match (code, header(headers, "x-error-code")) {
            (_, Some("RevisionNotFound")) => Failure::NoRevision(format!(
                "the repository has no such revision{said}: check the spelling, or leave it out for main"
            )),
            (404, Some("EntryNotFound")) => {
                Failure::Refused(format!("the hub lists a file that it does not have{said}; try again later"))
            }
            (_, Some("GatedRepo")) | (403, _) => {
                let then = if has_token { "use the token of that account".to_owned() } else { set_token };
                Failure::Refused(format!(
                    "access is restricted ({code}){said}: ask for access or accept the license at {page}, and {then}"
                ))
            }
            (401, _) if has_token => Failure::Refused(format!(
                "the hub does not know this model for this token ({code}){said}: check the spelling, or make a new token at {endpoint}/settings/tokens and set HF_TOKEN"
            )),
            (401, _) => Failure::Refused(format!(
                "there is no such public model at {endpoint} ({code}){said}: check the spelling; for a private model {set_token}"
            )),
            (404, _) => Failure::Refused(format!(
                "there is no such model at {endpoint} ({code}){said}: check the spelling; for a private model {set_token}"
            )),
            (429, _) => {
                let after = header(headers, "retry-after")
                    .and_then(|after| after.parse().ok())
                    .map(Duration::from_secs);
                Failure::Busy(
                    format!(
                        "the hub wants fewer requests ({code}){said}: wait a few minutes, or set HF_TOKEN for a higher limit"
                    ),
                    after,
                )
            }
            (408 | 500..=599, _) => {
                let after = header(headers, "retry-after")
                    .and_then(|after| after.parse().ok())
                    .map(Duration::from_secs);
                Failure::Busy(format!("the hub has trouble ({code}){said}: try again later"), after)
            }
            _ => Failure::Refused(format!(
                "{endpoint} answers with {code}{said}; check HF_ENDPOINT and the name of the model"
            )),
        })
    }

    /// A failure below HTTP.
    pub(super) fn broken(&self, error: &ureq::Error) -> Failure {
        let endpoint = &self.settings.endpoint;
        let text = error.to_string();
        if text.contains("certificate") {
            return Failure::Unreachable(format!(
                "{endpoint} shows no certificate that is trusted ({text}): if your network has certificates of its own, \
                 set SSL_CERT_FILE to a file with them"
            ));
        }
        let unreachable = match error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::InvalidProxyUrl => true,
            ureq::Error::Timeout(timeout) => {
                matches!(timeout, ureq::Timeout::Resolve | ureq::Timeout::Connect)
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
            ureq::Error::Io(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            ),
            _ => false,
        };
        // The resolver of the system has no error of its own kind.
        if unreachable || text.contains("lookup") {
            Failure::Unreachable(format!(
                "{endpoint} cannot be reached ({text}): check the network, the proxy and HF_ENDPOINT"
            ))
        } else {
            Failure::Cut(format!("the connection to {endpoint} broke ({text})"))
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Headers,
    All,
    From(u64),
}

/// The certificates in a PEM file, to be trusted.
fn certificates(path: &Path) -> Result<RootCerts> {
    let text = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let items = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() {
        return Err(Error::invalid(
            path,
            "there is no PEM certificate in it; correct or unset SSL_CERT_FILE",
        ));
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// A header as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether this is a full commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What others send, fit for a message.
fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(300).collect()
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().or(match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })?;
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The address that `location` means, seen from `base`.
fn follow(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let uri: Uri = text.parse().ok()?;
    origin(&uri).map(|_| uri)
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_are_said() {
        let base: Uri = "https://hub.example:8443/a/resolve/b?c=d".parse().unwrap();
        let cases = [
            ("https://cdn.example/x?y=z", "https://cdn.example/x?y=z"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/x/y", "https://hub.example:8443/x/y"),
            ("y", "https://hub.example:8443/a/resolve/y"),
        ];
        for (location, expected) in cases {
            assert_eq!(follow(&base, location).unwrap().to_string(), expected);
        }
        assert!(follow(&base, "ftp://cdn.example/x").is_none());
        assert!(follow(&base, "https://").is_none());
    }

    #[test]
    fn the_origin_is_scheme_host_and_port() {
        let origin = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(origin("https://Hub.example"), origin("https://hub.example:443/x"));
        assert_ne!(origin("https://hub.example"), origin("http://hub.example"));
        assert_ne!(origin("https://hub.example"), origin("https://hub.example:444"));
        assert_ne!(origin("https://hub.example"), origin("https://hub.example.evil"));
        assert_eq!(origin("http://a@hub.example:80"), origin("http://hub.example"));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(escape("a b?#ü.json"), "a%20b%3F%23%C3%BC.json");
    }
}
