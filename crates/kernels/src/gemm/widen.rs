//! Types of numbers that an instruction set does not multiply by itself, as types that it does: bf16 as f32, bytes as halves of 16
//! bits. A tile would convert its words for each row; here a word becomes two once, on either side, before the tiles.
//!
//! Nothing of a result changes: the products of a word are added in the same order as [`Simd::dot_bf16`] adds them without an
//! instruction for it, and sums of integers are exact.

use super::WeightType;
use super::operand::as_halves;
use super::tile::PANEL;
use crate::lines::Lines;
use crate::simd::{Isa, Kernel, Simd};

/// Rows for which a word of the weight is converted in the tile, which costs less than to write it and read it again.
const FEW: usize = 2;

/// Whether a product of `rows` rows with a weight of this type is one of wider words.
pub(super) fn widens(isa: Isa, kind: WeightType, rows: usize) -> bool {
    let fast = match kind {
        WeightType::F32 => true,
        WeightType::Bf16 => isa.has_fast_bf16(),
        WeightType::Int8 => isa.has_fast_int8(),
    };
    !fast && rows > FEW
}

/// Words of the left operand: word i becomes words 2 i and 2 i + 1. Its bytes are unsigned.
pub(super) struct WidenRows<'a> {
    pub(super) kind: WeightType,
    pub(super) words: &'a [u32],
    pub(super) to: &'a mut [u32],
}

impl Kernel for WidenRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // Loops that the compiler makes vectors of.
        let pairs = self.to.chunks_exact_mut(2).zip(self.words);
        match self.kind {
            WeightType::Bf16 => {
                pairs.for_each(|(to, word)| to.copy_from_slice(&[word << 16, word & 0xFFFF_0000]))
            }
            _ => pairs.for_each(|(to, word)| to.copy_from_slice(&[word & 0xFF_00FF, word >> 8 & 0xFF_00FF])),
        }
    }
}

/// `width` columns of the steps whose words begin at `panel`, as `to`: step i becomes steps 2 i and 2 i + 1, of `width` words each. `width` is
/// a multiple of [`Simd::LANES`], `kind` is bf16 or int8, whose bytes are signed.
#[inline(always)]
pub(super) fn widen_columns<'a, S: Simd>(
    _: S,
    kind: WeightType,
    panel: &[u32],
    width: usize,
    to: &'a mut Lines,
) -> &'a [u32] {
    let to = to.words(panel.len().div_ceil(PANEL) * 2 * width);
    for (from, to) in panel.chunks(PANEL).zip(to.chunks_exact_mut(2 * width)) {
        let (low, high) = to.split_at_mut(width);
        let lanes = low.chunks_exact_mut(S::LANES).zip(high.chunks_exact_mut(S::LANES));
        for (from, (low, high)) in from.chunks_exact(S::LANES).zip(lanes) {
            low.copy_from_slice(from);
            high.copy_from_slice(from);
            match kind {
                WeightType::Bf16 => {
                    low.iter_mut().for_each(|word| *word <<= 16);
                    high.iter_mut().for_each(|word| *word &= 0xFFFF_0000);
                }
                _ => {
                    as_halves(low).iter_mut().for_each(|half| *half = extended(*half << 8));
                    as_halves(high).iter_mut().for_each(|half| *half = extended(*half));
                }
            }
        }
    }
    to
}

/// The upper byte with its sign, in 16 bits.
#[inline(always)]
fn extended(half: u16) -> u16 {
    (half.cast_signed() >> 8).cast_unsigned()
}
