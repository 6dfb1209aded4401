//! A file in memory without reading it. The only memory map of the project.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// A file mapped read-only: pages are read when they are touched and can be dropped by the system at any time.
///
/// **The risk:** the file stays the file. If another process writes into it, the bytes change under the reader; if it is
/// truncated, touching a page beyond its new end kills the process (SIGBUS). Files that are replaced by renaming a new
/// one over them are safe, because the map keeps the old one. Every reader of a map must therefore treat its content as
/// untrusted each time, and may not assume that two reads agree.
#[derive(Debug)]
pub struct Mapped {
    /// Nothing for an empty file, which systems refuse to map.
    map: Option<Mmap>,
    file: File,
}

impl Mapped {
    /// Maps the whole file.
    ///
    /// # Errors
    /// If it cannot be opened, is no regular file, or cannot be mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if metadata.len() == 0 {
            return Ok(Self { map: None, file });
        }
        // SAFETY: the map is private to this value and only lent as `&[u8]`, all of whose bit patterns are valid. That
        // nobody changes the file meanwhile cannot be ensured by a program; it is the documented risk of this type.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map: Some(map), file })
    }

    /// Copies the bytes from `at` on by reading them: touching the map would make them, and their neighbors (64 KiB, or 2 MiB where the system keeps
    /// files in large pages), a part of this process. Panics if they are not there.
    pub fn copy(&self, at: usize, to: &mut [u8]) {
        let mapped = &self[at..][..to.len()];
        #[cfg(unix)]
        if std::os::unix::fs::FileExt::read_exact_at(&self.file, to, at as u64).is_ok() {
            return;
        }
        to.copy_from_slice(mapped);
    }

    /// Lets the system drop the pages of a part that will not be read again soon: they no longer count as memory of this
    /// process. If it is read all the same, it is read from the file again.
    pub fn release(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let (Some(map), Some(_)) = (&self.map, self.get(range.clone())) {
            // SAFETY: the map is read-only and backed by a file, so that dropped pages come back as they were. That it is
            // only advice makes its failure no matter.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for content in [&b""[..], b"x", &[7; 10_000]] {
            std::fs::write(&path, content).unwrap();
            let mapped = Mapped::open(&path).unwrap();
            assert_eq!(&*mapped, content);
            let mut copy = vec![1; content.len() / 2];
            mapped.copy(content.len() / 3, &mut copy);
            assert_eq!(copy, content[content.len() / 3..][..copy.len()]);
            mapped.release(content.len() / 3..content.len());
            mapped.release(0..content.len() + 1);
            assert_eq!(&*mapped, content);
            assert_eq!(mapped.as_ref(), content);
        }
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            Mapped::open(&directory.path().join("absent")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(Mapped::open(directory.path()).is_err(), "a directory is not mapped");
    }
}
