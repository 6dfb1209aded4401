//! Memory that begins at a line of the cache: a vector, or a row of a tile, that lies across two lines takes twice as long to load.

/// Words, or numbers, in a line.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LINE]);

/// Words or numbers from the beginning of a line on, to be kept from one use to the next. It only grows, so that what is written next need not
/// be cleared.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// So many zeros, and what fills the last line.
    pub(crate) fn zeros(words: usize) -> Self {
        let mut lines = Self::default();
        lines.grow(words);
        lines
    }

    fn grow(&mut self, words: usize) {
        let lines = words.div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; LINE]));
        }
    }

    /// All words.
    pub(crate) fn all(&self) -> &[u32] {
        // SAFETY: a line is so many words, of weaker alignment and without anything between them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    /// The first words, whatever they are; there will be as many as that.
    pub(crate) fn words(&mut self, count: usize) -> &mut [u32] {
        self.grow(count);
        // SAFETY: so many words are there, of weaker alignment and without anything between them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), count) }
    }

    /// [`Lines::words`] as numbers.
    pub(crate) fn numbers(&mut self, count: usize) -> &mut [f32] {
        self.grow(count);
        // SAFETY: so many words are there, of the size of a number and stronger alignment; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_begin_at_a_line_and_keep_what_they_held() {
        let mut lines = Lines::zeros(3);
        assert_eq!(lines.all(), [0; LINE]);
        lines.words(3).copy_from_slice(&[1, 2, 1.5_f32.to_bits()]);
        for count in [0, 3, 16, 17, 100_000, 5] {
            assert_eq!(lines.numbers(count).len(), count);
            let words = lines.words(count);
            assert_eq!((words.len(), words.as_ptr().align_offset(64)), (count, 0));
        }
        assert_eq!(lines.numbers(3)[2], 1.5);
        assert!(lines.all()[3..].iter().all(|&word| word == 0));
    }
}
