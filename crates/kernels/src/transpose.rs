//! Transposes of matrices of words, block by block in registers.

use crate::simd::{Kernel, Simd};

/// `to[c * to_row + r] = from[r * from_row + c]` for r below `rows` and c below `columns`.
pub(crate) struct Transpose<'a> {
    pub(crate) from: &'a [u32],
    pub(crate) from_row: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) to: &'a mut [u32],
    pub(crate) to_row: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { from, from_row, rows, columns, to, to_row } = self;
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(columns <= from_row && from.len() >= (rows - 1) * from_row + columns, "rows to read");
        assert!(rows <= to_row && to.len() >= (columns - 1) * to_row + rows, "rows to write");
        let whole = |n: usize| n / S::LANES * S::LANES;
        for r in (0..whole(rows)).step_by(S::LANES) {
            for c in (0..whole(columns)).step_by(S::LANES) {
                // SAFETY: r + LANES ≤ rows and c + LANES ≤ columns, and both sides are as long as was checked above.
                unsafe {
                    let (from, to) =
                        (from.as_ptr().add(r * from_row + c), to.as_mut_ptr().add(c * to_row + r));
                    simd.transpose(from, from_row, to, to_row);
                }
            }
        }
        // What is right of the whole blocks, then what is below them.
        for r in 0..rows {
            let first = if r < whole(rows) { whole(columns) } else { 0 };
            for c in first..columns {
                to[c * to_row + r] = from[r * from_row + c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::Isa;

    proptest! {
        #[test]
        fn every_word_comes_to_its_place_and_nothing_else_changes(
            rows in 0usize..50, columns in 0usize..50, spare in 0usize..3,
        ) {
            let (from_row, to_row) = (columns + spare, rows + 2 - spare.min(2));
            let from: Vec<u32> = (0..rows * from_row).map(|i| i as u32).collect();
            let mut expected = vec![u32::MAX; columns * to_row];
            for r in 0..rows {
                for c in 0..columns {
                    expected[c * to_row + r] = from[r * from_row + c];
                }
            }
            for &isa in Isa::available() {
                let mut to = vec![u32::MAX; columns * to_row];
                isa.run(Transpose { from: &from, from_row, rows, columns, to: &mut to, to_row });
                prop_assert!(to == expected, "{isa:?}");
            }
        }
    }
}
