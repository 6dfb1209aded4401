//! Where the cache lies, where the hub is, with which token: the options, then the environment, then the defaults, by the
//! rules of huggingface_hub (constants.py, utils/_auth.py). It reads variables and the token file and nothing else.

use std::path::{Path, PathBuf};

use super::DownloadOptions;
use crate::{Error, Result};

/// The hub if nothing else is said.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What one call works with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Without a slash at the end.
    pub(super) endpoint: String,
    /// Holds the folders `models--ORG--NAME`.
    pub(super) cache_dir: PathBuf,
    /// Sent to the endpoint only.
    pub(super) token: Option<String>,
    /// PEM certificates to trust in place of those of Mozilla: a company's, for example.
    pub(super) certificates: Option<PathBuf>,
    /// Why the network must not be used, if so.
    pub(super) offline: Option<&'static str>,
}

/// A variable; empty counts as not set.
fn variable(options: &DownloadOptions<'_>, name: &str) -> Option<String> {
    let value = match options.environment {
        Some(look_up) => look_up(name),
        None => std::env::var(name).ok(),
    };
    value.filter(|value| !value.is_empty())
}

/// The user's home directory.
pub(super) fn home(options: &DownloadOptions<'_>) -> Option<PathBuf> {
    variable(options, if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from)
}

/// `HF_HOME`, or where it is by default.
fn hugging_face_home(options: &DownloadOptions<'_>) -> Result<PathBuf> {
    if let Some(path) = path_variable(options, "HF_HOME") {
        return Ok(path);
    }
    if let Some(path) = variable(options, "XDG_CACHE_HOME") {
        return Ok(Path::new(&path).join("huggingface"));
    }
    let home = home(options).ok_or_else(|| {
        Error::Argument(
            "no home directory is known for the cache of models: set HF_HOME to a folder".to_owned(),
        )
    })?;
    Ok(home.join(".cache").join("huggingface"))
}

/// A variable that holds a path; a leading `~` is the home directory.
fn path_variable(options: &DownloadOptions<'_>, name: &str) -> Option<PathBuf> {
    let value = variable(options, name)?;
    match (value.strip_prefix('~'), home(options)) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Some(home.join(rest.trim_start_matches('/')))
        }
        _ => Some(PathBuf::from(value)),
    }
}

/// `_is_true` of constants.py.
fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}

/// The folder of the cache.
pub(super) fn cache_dir(options: &DownloadOptions<'_>) -> Result<PathBuf> {
    if let Some(path) = &options.cache_dir {
        return Ok(path.clone());
    }
    for name in ["SENTENCE_TRANSFORMERS_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
        if let Some(path) = path_variable(options, name) {
            return Ok(path);
        }
    }
    Ok(hugging_face_home(options)?.join("hub"))
}

/// The token, from the options, the environment or the file, without surrounding white space.
fn token(options: &DownloadOptions<'_>) -> Result<Option<String>> {
    let (token, source) = if let Some(token) = &options.token {
        (token.clone(), "the option token".to_owned())
    } else if is_true(variable(options, "HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
        return Ok(None);
    } else if let Some(token) = variable(options, "HF_TOKEN") {
        (token, "HF_TOKEN".to_owned())
    } else if let Some(token) = variable(options, "HUGGING_FACE_HUB_TOKEN") {
        (token, "HUGGING_FACE_HUB_TOKEN".to_owned())
    } else {
        let path = match path_variable(options, "HF_TOKEN_PATH") {
            Some(path) => path,
            None => match hugging_face_home(options) {
                Ok(home) => home.join("token"),
                Err(_) => return Ok(None), // a cache folder was given and there is no home: then there is no token file
            },
        };
        match std::fs::read_to_string(&path) {
            Ok(token) => (token, path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, error)),
        }
    };
    let token = token.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // The token itself stays out of the message.
        return Err(Error::Argument(format!(
            "the access token in {source} has characters that no token has; copy it anew"
        )));
    }
    Ok((!token.is_empty()).then(|| token.to_owned()))
}

impl Settings {
    /// Reads options and environment.
    pub(super) fn read(options: &DownloadOptions<'_>) -> Result<Self> {
        let endpoint = options.endpoint.clone().or_else(|| variable(options, "HF_ENDPOINT"));
        let endpoint =
            endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()).trim_end_matches('/').to_owned();
        let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if rest.is_none_or(str::is_empty) || !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Argument(format!(
                "{endpoint:?} is not the address of a hub: HF_ENDPOINT has the form {DEFAULT_ENDPOINT}"
            )));
        }
        // TRANSFORMERS_OFFLINE counts only where HF_HUB_OFFLINE is not set (constants.py).
        let offline = match variable(options, "HF_HUB_OFFLINE") {
            Some(value) => is_true(Some(value)).then_some("HF_HUB_OFFLINE is set"),
            None => {
                is_true(variable(options, "TRANSFORMERS_OFFLINE")).then_some("TRANSFORMERS_OFFLINE is set")
            }
        };
        let offline = if options.local_files_only { Some("only local files are allowed") } else { offline };
        let certificates =
            ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"].into_iter().find_map(|name| path_variable(options, name));
        Ok(Self { endpoint, cache_dir: cache_dir(options)?, token: token(options)?, certificates, offline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let look_up = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&DownloadOptions { environment: Some(&look_up), ..Default::default() })
    }

    #[test]
    fn the_cache_lies_where_huggingface_hub_has_it() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "~/f")], "/h/f/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HF_HUB_CACHE", "/c"), ("SENTENCE_TRANSFORMERS_HOME", "/s")], "/s"),
        ];
        for (variables, expected) in cases {
            assert_eq!(read(variables).unwrap().cache_dir, Path::new(expected), "{variables:?}");
        }
        assert!(read(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn the_token_comes_from_the_environment_and_then_from_the_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(directory.path().join("other"), " hf_other ").unwrap();
        let home = ("HF_HOME", directory.path().to_str().unwrap());
        let other = directory.path().join("other");
        let token = |variables: &[(&str, &str)]| read(variables).unwrap().token;
        assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[home, ("HF_TOKEN_PATH", other.to_str().unwrap())]).as_deref(), Some("hf_other"));
        assert_eq!(token(&[home, ("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_old"));
        assert_eq!(
            token(&[home, ("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_TOKEN", "hf_new")]).as_deref(),
            Some("hf_new")
        );
        assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let message = read(&[home, ("HF_TOKEN", "hf_a\r\nX-Other: b")]).unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN") && !message.contains("hf_a"), "{message}");
    }

    #[test]
    fn offline_and_endpoint_are_read_as_huggingface_hub_reads_them() {
        let home = ("HF_HOME", "/f");
        let offline = |variables: &[(&str, &str)]| read(variables).unwrap().offline.is_some();
        assert!(!offline(&[home]));
        assert!(offline(&[home, ("HF_HUB_OFFLINE", "1")]));
        assert!(offline(&[home, ("HF_HUB_OFFLINE", "true")]));
        assert!(offline(&[home, ("TRANSFORMERS_OFFLINE", "yes")]));
        assert!(!offline(&[home, ("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]));
        assert_eq!(read(&[home]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(
            read(&[home, ("HF_ENDPOINT", "http://localhost:1/")]).unwrap().endpoint,
            "http://localhost:1"
        );
        for endpoint in ["huggingface.co", "https://", "ftp://x", "https://a b"] {
            assert!(read(&[home, ("HF_ENDPOINT", endpoint)]).is_err(), "{endpoint}");
        }
    }
}
