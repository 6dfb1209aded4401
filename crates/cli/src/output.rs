//! Vectors into a file. The file is written beside its final name and renamed when it is whole and on the disk, so
//! a full disk, a kill or Ctrl-C leave the old file or none. Everything that can be refused is refused before any computing.

mod json;
mod npy;
mod parquet;
mod safetensors;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::NamedTempFile;

use crate::interrupt;
use crate::terminal::explanation;

pub(crate) use json::write_lines;
pub(crate) use table::write_table;

/// The numbers of all vectors, row after row.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    /// `float32`.
    Float32(&'a [f32]),
    /// `int8`, and `binary` in which a number is eight components.
    Int8(&'a [i8]),
    /// `uint8`, and `ubinary` in which a number is eight components.
    Uint8(&'a [u8]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Float32(values) => values.len(),
            Self::Int8(values) => values.len(),
            Self::Uint8(values) => values.len(),
        }
    }
}

/// What is written.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    /// The numbers.
    pub(crate) values: Values<'a>,
    /// Numbers in a vector.
    pub(crate) dim: usize,
    /// The texts, in order.
    pub(crate) texts: &'a [String],
    /// For token embeddings, where each text's vectors begin, and the end of the last: one more than there are texts.
    /// `None` means one vector a text.
    pub(crate) offsets: Option<&'a [usize]>,
}

impl Vectors<'_> {
    /// Number of vectors.
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }
}

/// The format of an output file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Safetensors,
    Parquet,
    JsonLines,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        Ok(match extension.as_deref() {
            Some("npy") => Self::Npy,
            Some("safetensors") => Self::Safetensors,
            Some("parquet") => Self::Parquet,
            Some("jsonl" | "ndjson") => Self::JsonLines,
            Some("json") => Self::Json,
            _ => bail!(
                "{}: the extension of the output must be .npy, .safetensors, .parquet, .jsonl or .json",
                path.display()
            ),
        })
    }
}

/// Where the vectors will go: a place that exists and can be written.
pub(crate) struct Destination {
    format: Format,
    file: Replacement,
}

impl Destination {
    /// Checks extension and directory, and opens the temporary file.
    pub(crate) fn open(path: &Path, token_embeddings: bool) -> Result<Self> {
        let format = Format::of(path)?;
        if token_embeddings && format == Format::Npy {
            bail!(
                "{}: token embeddings have as many rows as each text has tokens, which .npy cannot hold; \
                 use .safetensors, .parquet or .jsonl",
                path.display()
            );
        }
        Ok(Self { format, file: Replacement::open(path)? })
    }

    /// Writes everything and gives the file its name.
    pub(crate) fn write(self, vectors: Vectors<'_>) -> Result<()> {
        self.file.write(|out| match self.format {
            Format::Npy => Ok(npy::write(out, vectors)?),
            Format::Safetensors => Ok(safetensors::write(out, vectors)?),
            Format::Parquet => Ok(parquet::write(out, vectors)?),
            Format::JsonLines => Ok(json::write_lines(out, vectors)?),
            Format::Json => Ok(json::write_array(out, vectors)?),
        })
    }
}

/// A file that takes its name only when it is whole.
pub(crate) struct Replacement {
    path: PathBuf,
    file: NamedTempFile,
}

impl Replacement {
    /// Opens the temporary file in the directory of `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            bail!("{}: this is a directory; add a file name", path.display());
        }
        // A link stays a link: what it points to is replaced.
        let path =
            if path.is_symlink() { path.canonicalize().unwrap_or(path.to_owned()) } else { path.to_owned() };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().with_context(|| format!("{}: not a file name", path.display()))?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        {
            // As any other file that a program creates: the umask decides, not the secrecy of temporary files.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(directory).map_err(|error| {
            let source = error.kind();
            let advice = match source {
                io::ErrorKind::NotFound => "the directory does not exist; create it first".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "no permission to write there; choose another place".to_owned()
                }
                io::ErrorKind::NotADirectory => {
                    "a part of the path is a file; choose another place".to_owned()
                }
                io::ErrorKind::StorageFull => "no space left; free some or choose another place".to_owned(),
                _ => format!("{error}; choose another place"),
            };
            anyhow!("{}: cannot be written: {advice}", path.display())
        })?;
        interrupt::remove_if_interrupted(file.path());
        Ok(Self { path, file })
    }

    /// Lets `fill` write, then syncs and renames. Without success nothing is left behind.
    pub(crate) fn write(mut self, fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>) -> Result<()> {
        let _polling = interrupt::polling();
        let written = {
            let mut out = BufWriter::with_capacity(1 << 20, Sink { file: self.file.as_file_mut() });
            let filled = fill(&mut out);
            match filled {
                Ok(()) => out.flush().map_err(anyhow::Error::from),
                Err(error) => {
                    // What is still in the buffer is of no use to anyone.
                    let _ = out.into_parts();
                    Err(error)
                }
            }
        };
        // An interrupted write is not a fault of the file, and a library on the way may have hidden the cause.
        interrupt::check()?;
        let named = |error: anyhow::Error| {
            anyhow!(
                "{}: {}; nothing was written (free some space or choose another place)",
                self.path.display(),
                explanation(&error)
            )
        };
        written.and_then(|()| Ok(self.file.as_file().sync_all()?)).map_err(named)?;
        interrupt::check()?;
        let temporary = self.file.path().to_owned();
        interrupt::finishing(&temporary, || self.file.persist(&self.path)).map_err(|error| {
            anyhow!("{}: cannot be replaced: {}; choose another place", self.path.display(), error.error)
        })?;
        // The rename itself must survive a power cut; not every file system lets a directory be synced.
        if let Some(parent) = self.path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let _ = File::open(parent).and_then(|directory| directory.sync_all());
        }
        Ok(())
    }
}

/// The temporary file; a write after Ctrl-C fails.
struct Sink<'a> {
    file: &'a mut File,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not `ErrorKind::Interrupted`: `write_all` would try again.
        interrupt::check().map_err(io::Error::other)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes numbers as little-endian bytes.
fn write_values(out: &mut dyn Write, values: Values<'_>) -> io::Result<()> {
    const CHUNK: usize = 16 * 1024;
    let mut bytes = Vec::with_capacity(4 * CHUNK);
    match values {
        Values::Float32(values) => {
            for chunk in values.chunks(CHUNK) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                out.write_all(&bytes)?;
            }
        }
        Values::Int8(values) => {
            for chunk in values.chunks(4 * CHUNK) {
                bytes.clear();
                bytes.extend(chunk.iter().map(|value| value.cast_unsigned()));
                out.write_all(&bytes)?;
            }
        }
        Values::Uint8(values) => out.write_all(values)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_the_extension() {
        assert_eq!(Format::of(Path::new("a.NPY")).unwrap(), Format::Npy);
        assert_eq!(Format::of(Path::new("a.b.ndjson")).unwrap(), Format::JsonLines);
        for path in ["a", "a.npz", "npy", ".npy"] {
            assert!(Format::of(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        std::fs::write(&path, "old").unwrap();
        let failed = Replacement::open(&path).unwrap().write(|out| {
            out.write_all(&[0; 3 << 20])?;
            bail!("full")
        });
        assert!(failed.unwrap_err().to_string().contains("x.json: full; nothing was written"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        Replacement::open(&path).unwrap().write(|out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target.json"), directory.path().join("link.json"));
        std::fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Replacement::open(&link).unwrap().write(|out| Ok(out.write_all(b"new")?)).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
