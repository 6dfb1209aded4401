//! Memory for packed weights: our own, in large pages where the system has them, or a part of a mapped file, from which words that are used often move
//! into our own.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use memmap2::{MmapMut, MmapRaw};

use crate::gemm::operand::as_bytes;
use crate::lines::{LINE, Lines};
use crate::mapped::Mapped;
use crate::threads;

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
    /// Of a region: the first word of it and how many.
    Region(Arc<MmapRaw>, usize, usize),
    /// A part of the bytes, aligned to words.
    Shared(Arc<dyn Bytes>, Range<usize>, Moving),
}

/// When shared words move into memory of our own.
struct Moving {
    /// How often they have been used, and at which use they move.
    uses: AtomicUsize,
    last: usize,
    /// The words, once they have moved.
    own: OnceLock<Box<Buffer>>,
}

/// Uses after which the first words of a file move. A file is in small pages, from which a single sentence is encoded a tenth to a quarter more slowly; to
/// copy a weight costs as much as some tens of uses lose (a hundred on a virtual machine that is slow to give memory). A process that encodes a few texts
/// and ends does not pay for it.
const STAYS: usize = 32;

/// Further uses within which all others move, one after the other: nobody waits for all of them at once.
const SPREAD: usize = 32;

impl Moving {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let last = STAYS + COUNT.fetch_add(1, Ordering::Relaxed) % SPREAD;
        Self { uses: AtomicUsize::new(0), last, own: OnceLock::new() }
    }
}

/// From this size on, words lie in regions of the system's memory, one beside the other, in large pages: walking through a weight touches a new page
/// every few hundred cycles, and a large page saves most of the look-ups. Each in memory of its own, weights of a few MiB would lie in large pages
/// only in part: reading them is half as fast where they do not.
const LARGE: usize = 1 << 20;

/// Bytes of a region at least: many large pages. What is not used of it is not there.
const REGION: usize = 32 << 20;

/// The region that has place, if any of its parts is still there, and how many bytes of it are taken.
static OPEN: Mutex<(Weak<MmapRaw>, usize)> = Mutex::new((Weak::new(), 0));

/// Bytes of a region that nobody else has or will have, zeros, from the beginning of a line on: the region, and the first of them. It goes back to
/// the system when the last of its parts is dropped.
fn part_of_a_region(bytes: usize) -> Option<(Arc<MmapRaw>, usize)> {
    let fresh = || {
        let map = MmapMut::map_anon(bytes.max(REGION)).ok()?;
        #[cfg(target_os = "linux")]
        // Only advice: without large pages it is slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Arc::<MmapRaw>::new(map.into()))
    };
    if bytes >= REGION {
        return Some((fresh()?, 0));
    }
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (last, taken) = (open.0.upgrade(), open.1);
    let (region, taken) = match last.filter(|region| bytes <= region.len() - taken) {
        Some(region) => (region, taken),
        None => (fresh()?, 0),
    };
    *open = (Arc::downgrade(&region), (taken + bytes).next_multiple_of(4 * LINE).min(region.len()));
    Some((region, taken))
}

impl Buffer {
    /// `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        Self::large(length).unwrap_or_else(|| Self(Storage::Lines(Lines::zeros(length), length)))
    }

    /// `length` zeros in large pages; `None` if they are few, or the system has no memory for them.
    fn large(length: usize) -> Option<Self> {
        let (region, first) = if length * 4 >= LARGE { part_of_a_region(length * 4)? } else { return None };
        Some(Self(Storage::Region(region, first / 4, length)))
    }

    /// The bytes `range` of `bytes`, or `None` if they are not there or not whole, aligned words. Large ones that are used often move into memory of our
    /// own, and the bytes are released ([`Bytes::release`]).
    pub fn shared(bytes: Arc<dyn Bytes>, range: Range<usize>) -> Option<Self> {
        let part = (*bytes).as_ref().get(range.clone())?;
        let whole = part.len().is_multiple_of(4) && part.as_ptr().cast::<u32>().is_aligned();
        whole.then(|| Self(Storage::Shared(bytes, range, Moving::new())))
    }

    /// Says that the words are used, once for each product. It is the time to move them; who reads them meanwhile may go on.
    pub(crate) fn used(&self) {
        /// Bytes that a thread copies at once.
        const PIECE: usize = 1 << 18;
        let Storage::Shared(bytes, range, moving) = &self.0 else { return };
        if moving.uses.fetch_add(1, Ordering::Relaxed) != moving.last {
            return;
        }
        let Some(mut own) = Self::large(range.len() / 4) else { return };
        threads::pieces(as_bytes(own.words_mut()), PIECE, |i, piece| {
            bytes.copy(range.start + i * PIECE, piece);
        });
        if moving.own.set(Box::new(own)).is_ok() {
            bytes.release(range.clone());
        }
    }

    /// The words.
    pub fn words(&self) -> &[u32] {
        let bytes = match &self.0 {
            Storage::Lines(lines, length) => return &lines.all()[..*length],
            Storage::Region(region, first, length) => {
                let start = region.as_ptr().cast::<u32>().wrapping_add(*first);
                // SAFETY: this part of the region belongs to this buffer alone, and to nobody else after it; a map begins at a page, and parts at a line,
                // so words are aligned; every bit pattern is valid.
                return unsafe { std::slice::from_raw_parts(start, *length) };
            }
            Storage::Shared(bytes, range, moving) => match moving.own.get() {
                Some(own) => return own.words(),
                None => &(**bytes).as_ref()[range.clone()],
            },
        };
        assert!(bytes.len().is_multiple_of(4) && bytes.as_ptr().cast::<u32>().is_aligned(), "whole words");
        // SAFETY: as many words as there are whole ones in the bytes, aligned; every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 4) }
    }

    /// The words of memory of our own, to be filled. Panics if they are somebody else's.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        match &mut self.0 {
            Storage::Lines(lines, length) => lines.words(*length),
            Storage::Region(region, first, length) => {
                let start = region.as_mut_ptr().cast::<u32>().wrapping_add(*first);
                // SAFETY: as in `words`; the buffer is borrowed exclusively.
                unsafe { std::slice::from_raw_parts_mut(start, *length) }
            }
            Storage::Shared(..) => panic!("a shared buffer is read-only"),
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Storage::Lines(..) => "own",
            Storage::Region(..) => "own, of a region",
            Storage::Shared(_, _, moving) if moving.own.get().is_some() => "own, once shared",
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
    fn buffers_of_a_region_are_apart() {
        let mut buffers: Vec<Buffer> = (0..40).map(|i| Buffer::zeros(LARGE / 4 + 100_003 * i)).collect();
        for (i, buffer) in buffers.iter_mut().enumerate() {
            assert_eq!(buffer.words().as_ptr().align_offset(64), 0);
            buffer.words_mut().fill(i as u32 + 1);
        }
        buffers.remove(7);
        let fresh = Buffer::zeros(REGION / 4);
        assert!(fresh.words().iter().all(|&word| word == 0));
        for buffer in &buffers {
            let words = buffer.words();
            assert!(words.iter().all(|word| *word == words[0]));
        }
        buffers.dedup_by_key(|buffer| buffer.words()[0]);
        assert_eq!(buffers.len(), 39);
    }

    /// Bytes that know how often they were released.
    struct Counted(Vec<u8>, AtomicUsize);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Bytes for Counted {
        fn release(&self, range: Range<usize>) {
            assert_eq!(range, LINE..LINE + LARGE);
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn large_shared_words_move_when_they_are_used_often() {
        let bytes = (0..LARGE + 2 * LINE).map(|i| (i * 7 % 251) as u8).collect();
        let bytes = Arc::new(Counted(bytes, AtomicUsize::new(0)));
        for (range, moves) in [(LINE..LINE + LARGE, 1), (LINE..LARGE, 0)] {
            let buffer = Buffer::shared(Arc::clone(&bytes) as Arc<dyn Bytes>, range.clone()).unwrap();
            let before = buffer.words();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..STAYS + SPREAD {
                            buffer.used();
                            assert_eq!(buffer.words(), before);
                        }
                    });
                }
            });
            assert_eq!(buffer.words(), before);
            assert_eq!(usize::from(buffer.words().as_ptr() != before.as_ptr()), moves);
            assert_eq!(bytes.1.load(Ordering::Relaxed), 1);
        }
        let unused = Buffer::shared(bytes, LINE..LINE + LARGE).unwrap();
        let before = unused.words().as_ptr();
        (0..STAYS).for_each(|_| unused.used());
        assert_eq!(unused.words().as_ptr(), before);
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
