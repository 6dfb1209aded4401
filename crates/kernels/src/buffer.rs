//! Memory for packed weights: our own, in large pages where the system has them, or a part of a mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::lines::Lines;
use crate::mapped::Mapped;

/// Bytes that stay where they are for as long as somebody holds them: in memory, or in a mapped file.
pub trait Bytes: AsRef<[u8]> + Send + Sync {
    /// Says that a part will not be read again soon. Where it can come back from a file, it no longer counts as memory of
    /// this process.
    fn release(&self, _: Range<usize>) {}

    /// Copies the bytes from `at` on. Those of a file are read, which adds nothing to the memory of this process. Panics if they are not there.
    fn copy(&self, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.as_ref()[at..][..to.len()]);
    }
}

impl Bytes for Vec<u8> {}

impl Bytes for Mapped {
    fn release(&self, range: Range<usize>) {
        Self::release(self, range);
    }

    fn copy(&self, at: usize, to: &mut [u8]) {
        Self::copy(self, at, to);
    }
}

/// Words of four bytes, read-only once filled.
pub struct Buffer(Storage);

enum Storage {
    /// As many words of it as this.
    Lines(Lines, usize),
    Map(MmapMut),
    /// A part of the bytes, aligned to words.
    Shared(Arc<dyn Bytes>, Range<usize>),
}

/// From this size on, memory comes from the system directly, in large pages: walking through a weight touches a new page
/// every few hundred cycles, and a large page saves most of the look-ups.
const LARGE: usize = 1 << 20;

impl Buffer {
    /// `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let bytes = length * 4;
        if bytes >= LARGE
            && let Ok(map) = MmapMut::map_anon(bytes)
        {
            #[cfg(target_os = "linux")]
            // Only advice: without large pages it is slower.
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self(Storage::Map(map));
        }
        Self(Storage::Lines(Lines::zeros(length), length))
    }

    /// The bytes `range` of `bytes`, or `None` if they are not there or not whole, aligned words.
    pub fn shared(bytes: Arc<dyn Bytes>, range: Range<usize>) -> Option<Self> {
        let part = (*bytes).as_ref().get(range.clone())?;
        let whole = part.len().is_multiple_of(4) && part.as_ptr().cast::<u32>().is_aligned();
        whole.then_some(Self(Storage::Shared(bytes, range)))
    }

    /// The words.
    pub fn words(&self) -> &[u32] {
        let bytes = match &self.0 {
            Storage::Lines(lines, length) => return &lines.all()[..*length],
            Storage::Map(map) => map.as_ref(),
            Storage::Shared(bytes, range) => &(**bytes).as_ref()[range.clone()],
        };
        assert!(bytes.len().is_multiple_of(4) && bytes.as_ptr().cast::<u32>().is_aligned(), "whole words");
        // SAFETY: as many words as there are whole ones in the bytes, aligned; every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 4) }
    }

    /// The words of memory of our own, to be filled. Panics if they are somebody else's.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        match &mut self.0 {
            Storage::Lines(lines, length) => lines.words(*length),
            // SAFETY: a map begins at a page, hence aligned; its length is a multiple of four as `zeros` made it; every bit
            // pattern is valid, and it is borrowed exclusively.
            Storage::Map(map) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), map.len() / 4)
            },
            Storage::Shared(..) => panic!("a shared buffer is read-only"),
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Storage::Lines(..) => "own",
            Storage::Map(_) => "own, mapped",
            Storage::Shared(..) => "shared",
        };
        write!(f, "Buffer({kind}, {} words)", self.words().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_there_to_be_written_and_read() {
        for length in [0, 1, 1000, LARGE / 4, LARGE / 4 + 3] {
            let mut buffer = Buffer::zeros(length);
            assert!(buffer.words().iter().all(|&word| word == 0));
            assert_eq!(buffer.words_mut().len(), length);
            if length > 0 {
                buffer.words_mut()[length - 1] = 7;
                assert_eq!(buffer.words()[length - 1], 7);
            }
        }
    }

    #[test]
    fn shared_bytes_must_be_there_whole_and_aligned() {
        let words: Vec<u32> = (1..=8).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let first = bytes.as_ptr().align_offset(4);
        let shared: Arc<dyn Bytes> = Arc::new(bytes);
        let of = |range| Buffer::shared(Arc::clone(&shared), range);
        assert_eq!(of(first..first + 4).unwrap().words().len(), 1);
        assert!(of(first + 1..first + 5).is_none(), "not aligned");
        assert!(of(first..first + 6).is_none(), "not whole");
        assert!(of(first..first + 400).is_none(), "not there");
    }
}
