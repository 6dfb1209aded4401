//! Memory for the numbers of a tensor: where it begins decides how fast vectors are loaded and stored, never what is computed.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers in a line of the cache.
const LINE: usize = 16;
/// Lines in a page.
const PAGE: usize = 64;
/// From this many numbers on, buffers begin at different places of their pages.
const LARGE: usize = 16 * 1024;

/// A vector that begins at a line of the cache, so that no vector of 64 bytes lies in two; a large one at another line of its page than the
/// large ones before it. What a product reads and writes at the same row and column would else have addresses that end in the same twelve bits,
/// which processors take for the same address until they know better.
#[derive(Debug)]
pub(crate) struct Aligned {
    /// Also what lay beyond the end when it was longer: to clear that again would cost a pass over memory.
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let line = if length < LARGE { 0 } else { NEXT.fetch_add(17, Ordering::Relaxed) % PAGE };
        let unit = if length < LARGE { LINE } else { LINE * PAGE };
        let mut values = vec![0.0; length + line * LINE + unit];
        let start = values.as_ptr().align_offset(unit * size_of::<f32>()).min(unit) + line * LINE;
        values.truncate(start + length);
        Self { values, start, length }
    }

    /// More numbers, or fewer: those beyond the length so far are zeros.
    pub(crate) fn resize(&mut self, length: usize) {
        let old = self.length;
        if length <= self.capacity() {
            self.reuse(length);
            self[old.min(length)..].fill(0.0);
        } else {
            let mut larger = Self::zeros(length);
            larger[..old].copy_from_slice(self);
            *self = larger;
        }
    }

    /// So many numbers, whatever they are.
    pub(crate) fn reuse(&mut self, length: usize) {
        if length > self.capacity() {
            *self = Self::zeros(length);
        } else if self.values.len() < self.start + length {
            self.values.resize(self.start + length, 0.0);
        }
        self.length = length;
    }

    /// How many numbers fit without another allocation.
    pub(crate) fn capacity(&self) -> usize {
        self.values.capacity() - self.start
    }

    /// Gives back the room beyond `length` numbers. Where they begin may change.
    pub(crate) fn shrink_to(&mut self, length: usize) {
        self.values.truncate(self.start + length.max(self.length));
        self.values.shrink_to(self.start + length);
    }
}

impl From<&[f32]> for Aligned {
    fn from(numbers: &[f32]) -> Self {
        let mut own = Self::zeros(numbers.len());
        own.copy_from_slice(numbers);
        own
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..][..self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_it_grows_and_it_begins_at_a_line() {
        for length in [0, 1, 15, 16, 1000, LARGE - 1, LARGE, LARGE + 7] {
            let mut buffer = Aligned::zeros(length);
            assert!(buffer.len() == length && buffer.iter().all(|&x| x == 0.0));
            assert!(buffer.as_ptr().align_offset(64) == 0 && buffer.capacity() >= length);
            buffer.fill(3.0);
            buffer.resize(length / 2);
            buffer.resize(2 * length + 1);
            assert_eq!(buffer.as_ptr().align_offset(64), 0);
            let (old, new) = buffer.split_at(length / 2);
            assert!(old.iter().all(|&x| x == 3.0) && new.iter().all(|&x| x == 0.0), "{length}");
            assert_eq!(&*buffer.clone(), &*buffer);
            buffer.resize(length / 2);
            buffer.shrink_to(length / 2);
            assert!(buffer.iter().all(|&x| x == 3.0));
            for other in [2 * length + 1, length / 3, 3 * length] {
                buffer.reuse(other);
                assert_eq!((buffer.len(), buffer.as_ptr().align_offset(64)), (other, 0));
                buffer.fill(5.0);
            }
        }
    }

    #[test]
    fn large_buffers_begin_at_different_places_of_a_page() {
        let buffers: Vec<Aligned> = (0..4).map(|_| Aligned::zeros(LARGE)).collect();
        let mut places: Vec<usize> =
            buffers.iter().map(|buffer| buffer.as_ptr().align_offset(4096)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 4);
    }
}
