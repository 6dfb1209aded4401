//! One file from the hub to `blobs/`: continued where it was cut, verified, and only then given its name. It does not
//! choose files and knows nothing of snapshots.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use ring::digest;

use super::DownloadOptions;
use super::cache::Repository;
use super::hub::{Failure, Hub, RemoteFile, header};
use crate::{Error, Result};

/// How many bytes are read at once; the interrupt flag is looked at as often.
const CHUNK: usize = 64 << 10;

/// What identifies the content of a file, in lower-case hexadecimal digits. Also its name in `blobs/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of the content: files in large-file storage.
    Sha256(String),
    /// Of `"blob " + size + "\0" + content`: files that git keeps itself.
    GitSha1(String),
}

impl Hash {
    /// Tells the two apart by their length.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        match text.len() {
            40 => Some(Self::GitSha1(text.to_owned())),
            64 => Some(Self::Sha256(text.to_owned())),
            _ => None,
        }
    }

    /// The digits.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::GitSha1(digits) => digits,
        }
    }

    /// Whether the file at `path` has this hash.
    fn fits(&self, path: &Path, options: &DownloadOptions<'_>) -> Result<bool> {
        let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
        let mut context = match self {
            Self::Sha256(_) => digest::Context::new(&digest::SHA256),
            Self::GitSha1(_) => {
                let size = file.metadata().map_err(|error| Error::io(path, error))?.len();
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                context
            }
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            options.check_interrupt()?;
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => context.update(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(path, error)),
            }
        }
        let found: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(found == self.digits())
    }
}

/// Downloads `file` into the cache, if another process has not done so meanwhile.
pub(super) fn fetch(
    hub: &Hub<'_>,
    repository: &Repository,
    options: &DownloadOptions<'_>,
    file: &RemoteFile,
    hash: &Hash,
    commit: &str,
) -> Result<()> {
    let blob = repository.blob(hash);
    let partial = repository.partial(hash);
    let _lock = lock(&repository.lock(hash), options)?;
    if let Ok(metadata) = blob.metadata()
        && file.size.is_none_or(|size| size == metadata.len())
    {
        return Ok(());
    }
    let download = Download { hub, options, file, commit, partial: &partial };
    let mut continued = download.run()?;
    loop {
        if hash.fits(&partial, options)? {
            break;
        }
        remove(&partial)?;
        if !continued {
            return Err(download.error(format!(
                "the file {} did not arrive as the hub describes it (its hash is not {}) and was removed; try again, \
                 and if it happens again, the hub or something between is at fault",
                file.name,
                hash.digits()
            )));
        }
        // What an earlier download had left was damaged: once more, from the beginning.
        continued = download.run()?;
    }
    std::fs::rename(&partial, &blob).map_err(|error| Error::io(&blob, error))
}

/// Waits for the lock of a file. Where the file system has no locks, the hash still tells whether the file is whole.
fn lock(path: &Path, options: &DownloadOptions<'_>) -> Result<Option<File>> {
    let io = |error| Error::io(path, error);
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    loop {
        options.check_interrupt()?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// One file under way.
struct Download<'a> {
    hub: &'a Hub<'a>,
    options: &'a DownloadOptions<'a>,
    file: &'a RemoteFile,
    commit: &'a str,
    partial: &'a Path,
}

impl Download<'_> {
    /// Gets all bytes into the partial file. True if some of them were there before.
    fn run(&self) -> Result<bool> {
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.partial)
            .map_err(|error| Error::io(self.partial, error))?;
        let length = |output: &File| {
            output.metadata().map(|data| data.len()).map_err(|error| Error::io(self.partial, error))
        };
        let mut done = length(&output)?;
        if self.file.size.is_some_and(|size| done > size) {
            done = self.start_over(&output)?;
        }
        let continued = done > 0;
        let mut failures = 0;
        self.report(done);
        while self.file.size != Some(done) {
            let before = done;
            let failure = match self.part(&mut output, &mut done) {
                Ok(()) if self.file.size.is_none_or(|size| size == done) => break,
                Ok(()) => Failure::Cut("the connection ended early".to_owned()),
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Cut(_) | Failure::Busy(..) | Failure::Unreachable(_)) {
                return Err(failure.into_error(self.hub.id));
            }
            if done >= before.saturating_add(CHUNK as u64) {
                failures = 0; // as long as it goes on, the number of cuts does not matter
            }
            if failures == self.options.retries {
                let of = self.file.size.map(|size| format!(" of {size}")).unwrap_or_default();
                return Err(self.error(format!(
                    "the file {} is not complete: {}; {done}{of} bytes have arrived and are kept, the same command continues there",
                    self.file.name,
                    failure.message()
                )));
            }
            self.hub.wait(failures, &failure).map_err(|failure| failure.into_error(self.hub.id))?;
            failures += 1;
        }
        output.sync_all().map_err(|error| Error::io(self.partial, error))?;
        self.report(done);
        Ok(continued)
    }

    /// One request: appends what it brings and counts it in `done`.
    fn part(&self, output: &mut File, done: &mut u64) -> Result<(), Failure> {
        let response = self.hub.file(&self.file.name, self.commit, *done)?;
        let start = match response.status().as_u16() {
            206 => {
                let range = header(response.headers(), "content-range")
                    .and_then(|range| range.strip_prefix("bytes "));
                range.and_then(|range| range.split_once('-')).and_then(|(start, _)| start.trim().parse().ok())
            }
            200 => Some(0),
            _ => None, // no such range: what is here is not the beginning of what is there
        };
        if start != Some(*done) {
            *done = self.start_over(output)?;
        }
        if start != Some(*done) {
            return Err(Failure::Cut(
                "the hub sends another part of the file than it was asked for".to_owned(),
            ));
        }
        let encoded = response.headers().contains_key("content-encoding");
        let length =
            header(response.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
        if let (Some(size), Some(length), false) = (self.file.size, length, encoded)
            && done.checked_add(length) != Some(size)
        {
            return Err(self.wrong_size(done.saturating_add(length), size));
        }
        let mut reader = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            self.options.check_interrupt()?;
            let read = match reader.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Cut(format!("the connection broke ({error})"))),
            };
            let total = done.saturating_add(read as u64);
            if let Some(size) = self.file.size.filter(|size| total > *size) {
                return Err(self.wrong_size(total, size));
            }
            output.write_all(&chunk[..read]).map_err(|error| self.write_error(error))?;
            *done = total;
            self.report(total);
        }
    }

    fn start_over(&self, output: &File) -> Result<u64> {
        output.set_len(0).map_err(|error| Error::io(self.partial, error))?;
        Ok(0)
    }

    fn wrong_size(&self, found: u64, size: u64) -> Failure {
        let message = format!(
            "the hub sends {found} bytes or more for the file {}, which should have {size}; what arrived was removed, try again later",
            self.file.name
        );
        match remove(self.partial) {
            Ok(()) => Failure::Refused(message),
            Err(error) => Failure::Other(error),
        }
    }

    fn write_error(&self, error: std::io::Error) -> Error {
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            let size = self.file.size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
            let message = format!(
                "the disk is full: the file {}{size} does not fit; make room, or set HF_HOME to a folder on another disk",
                self.file.name
            );
            return Error::invalid(self.partial, message);
        }
        Error::io(self.partial, error)
    }

    fn report(&self, done: u64) {
        if let Some(progress) = self.options.progress {
            progress(&self.file.name, done, self.file.size);
        }
    }

    fn error(&self, message: String) -> Error {
        Error::Hub { id: self.hub.id.to_owned(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum_and_git() {
        // `printf 'hello\n' | sha256sum` and `printf 'hello\n' | git hash-object --stdin`.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        let options = DownloadOptions::default();
        for digits in [
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        ] {
            assert!(Hash::parse(digits).unwrap().fits(&path, &options).unwrap());
        }
        assert!(!Hash::parse(&"0".repeat(64)).unwrap().fits(&path, &options).unwrap());
        for text in ["", "ce01", "../../x", &"g".repeat(40), &"A".repeat(64)] {
            assert!(Hash::parse(text).is_none(), "{text:?}");
        }
    }
}
