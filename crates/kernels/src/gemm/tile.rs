//! The innermost loop of products and of attention: a small tile of A · B, kept in registers.
//!
//! All types of numbers share it, because all operands are words of four bytes: one f32, two bf16 or four int8.

use std::hint::black_box;

use super::operand::{as_words, as_words_mut};
use crate::lines::LINE;
use crate::simd::Simd;

/// Columns of a panel: the words of B that stand side by side for one step.
pub(crate) const PANEL: usize = 64;
/// Most rows of a tile.
pub(crate) const MOST_ROWS: usize = 6;

/// Steps after which a tile asks for what is needed later.
const ASK_EVERY: usize = 2;

/// The sums of a tile, row by row. Vectors that lie across lines of the cache would cost twice.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Sums(pub(crate) [[f32; PANEL]; MOST_ROWS]);

impl Sums {
    pub(crate) const ZERO: Self = Self([[0.0; PANEL]; MOST_ROWS]);
}

/// What a word holds and how two of them are multiplied.
pub(crate) trait Kind: Copy + Send + Sync {
    /// Numbers in a word.
    const GROUP: usize;

    /// A vector of words.
    type Operand<S: Simd>: Copy;
    /// A vector of sums.
    type Sum<S: Simd>: Copy;

    /// `LANES` words.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load<S: Simd>(simd: S, from: *const u32) -> Self::Operand<S>;

    /// One word in all lanes.
    ///
    /// # Safety
    /// It must be readable.
    unsafe fn splat<S: Simd>(simd: S, from: *const u32) -> Self::Operand<S>;

    /// Where the sums of `LANES` columns of a row start.
    ///
    /// # Safety
    /// For [`Integers`], an integer must be readable at `zero` and `LANES` at `totals`.
    unsafe fn start<S: Simd>(simd: S, zero: *const i32, totals: *const i32) -> Self::Sum<S>;

    /// Sums of `LANES` columns as [`Kind::keep`] left them.
    fn resume<S: Simd>(simd: S, from: &[f32]) -> Self::Sum<S>;

    /// Adds the products of a step.
    fn step<S: Simd>(simd: S, a: Self::Operand<S>, b: Self::Operand<S>, sum: Self::Sum<S>) -> Self::Sum<S>;

    /// The sums as they are, to be resumed.
    fn keep<S: Simd>(simd: S, sum: Self::Sum<S>, to: &mut [f32]);

    /// The sums as f32.
    fn finish<S: Simd>(simd: S, sum: Self::Sum<S>) -> S::Vector;
}

/// One f32 a word.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl Kind for F32 {
    const GROUP: usize = 1;
    type Operand<S: Simd> = S::Vector;
    type Sum<S: Simd> = S::Vector;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u32) -> S::Vector {
        // SAFETY: the caller vouches for the words; every word is a number.
        unsafe { simd.load_from(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const u32) -> S::Vector {
        // SAFETY: the caller vouches for the word.
        simd.splat(f32::from_bits(unsafe { *from }))
    }

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, _: *const i32, _: *const i32) -> S::Vector {
        simd.splat(0.0)
    }

    #[inline(always)]
    fn resume<S: Simd>(simd: S, from: &[f32]) -> S::Vector {
        simd.load(from)
    }

    #[inline(always)]
    fn step<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector {
        simd.mul_add(a, b, sum)
    }

    #[inline(always)]
    fn keep<S: Simd>(simd: S, sum: S::Vector, to: &mut [f32]) {
        simd.store(sum, to);
    }

    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::Vector) -> S::Vector {
        sum
    }
}

/// Two bf16 a word.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Kind for Bf16 {
    const GROUP: usize = 2;
    type Operand<S: Simd> = S::Words;
    type Sum<S: Simd> = S::Vector;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u32) -> S::Words {
        // SAFETY: the caller vouches for the words.
        unsafe { simd.words_from(from) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const u32) -> S::Words {
        // SAFETY: the caller vouches for the word.
        simd.splat_word(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, _: *const i32, _: *const i32) -> S::Vector {
        simd.splat(0.0)
    }

    #[inline(always)]
    fn resume<S: Simd>(simd: S, from: &[f32]) -> S::Vector {
        simd.load(from)
    }

    #[inline(always)]
    fn step<S: Simd>(simd: S, a: S::Words, b: S::Words, sum: S::Vector) -> S::Vector {
        simd.dot_bf16(a, b, sum)
    }

    #[inline(always)]
    fn keep<S: Simd>(simd: S, sum: S::Vector, to: &mut [f32]) {
        simd.store(sum, to);
    }

    #[inline(always)]
    fn finish<S: Simd>(_: S, sum: S::Vector) -> S::Vector {
        sum
    }
}

/// Integers, `GROUP` a word, unsigned bytes in A and signed ones in B. In A, a byte per row stands for zero; the sums start at
/// −(this byte) · Σ B, which takes it out.
#[derive(Clone, Copy)]
pub(crate) struct Integers<const GROUP: usize>;

/// Four bytes a word.
pub(crate) type Int8 = Integers<4>;
/// Two bytes a word, each in 16 bits.
pub(crate) type Int16 = Integers<2>;

impl<const GROUP: usize> Kind for Integers<GROUP> {
    const GROUP: usize = GROUP;
    type Operand<S: Simd> = S::Words;
    type Sum<S: Simd> = S::Words;

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u32) -> S::Words {
        // SAFETY: the caller vouches for the words.
        unsafe { simd.words_from(from) }
    }

    #[inline(always)]
    unsafe fn splat<S: Simd>(simd: S, from: *const u32) -> S::Words {
        // SAFETY: the caller vouches for the word.
        simd.splat_word(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn start<S: Simd>(simd: S, zero: *const i32, totals: *const i32) -> S::Words {
        // SAFETY: the caller vouches for the integers.
        let (zero, totals) = unsafe { (*zero, simd.words_from(totals.cast())) };
        simd.mul_words(simd.splat_word(zero.wrapping_neg().cast_unsigned()), totals)
    }

    #[inline(always)]
    fn resume<S: Simd>(simd: S, from: &[f32]) -> S::Words {
        // SAFETY: so many words are readable.
        unsafe { simd.words_from(as_words(&from[..S::LANES]).as_ptr()) }
    }

    #[inline(always)]
    fn step<S: Simd>(simd: S, a: S::Words, b: S::Words, sum: S::Words) -> S::Words {
        if GROUP == 4 { simd.dot_i8(a, b, sum) } else { simd.dot_i16(a, b, sum) }
    }

    #[inline(always)]
    fn keep<S: Simd>(simd: S, sum: S::Words, to: &mut [f32]) {
        simd.store_words(sum, as_words_mut(to));
    }

    #[inline(always)]
    fn finish<S: Simd>(simd: S, sum: S::Words) -> S::Vector {
        simd.integers_to_f32(sum)
    }
}

/// Where a tile finds its operands, in words: A(row, step) at `a + row * a_row + step * a_step`, B(step, column) at
/// `b + step * b_step + column`; and, for [`Integers`] only, the byte that stands for zero in each row of A and the total of each
/// column of B.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) a: *const u32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) b: *const u32,
    pub(crate) b_step: usize,
    pub(crate) zeros: *const i32,
    pub(crate) totals: *const i32,
    pub(crate) steps: usize,
    /// The words of B that come next, for what brings them into another form.
    pub(crate) next: &'a [u32],
    /// Whether they are all steps of the sums.
    pub(crate) turn: Turn,
    /// What will be needed later: steps ask for it, so that it is there then.
    pub(crate) later: &'a [u32],
    /// Words of it for each step: so many that memory is as busy in all steps. None if `later` is empty.
    pub(crate) later_step: usize,
    /// What the caller reads and writes after the tile: steps ask for it too.
    pub(crate) expected: Option<Expected>,
}

/// Which of the steps of its sums a tile takes. By default all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Turn {
    /// Not the first: the sums are resumed.
    pub(crate) resumes: bool,
    /// Not the last: the sums are kept.
    pub(crate) keeps: bool,
    /// Which of the sums they are that are kept at once.
    pub(crate) place: usize,
}

/// Where the caller writes a tile and what it adds to it: the places of the first row, and how many numbers a row lies after the one
/// before.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) places: [*const f32; 2],
    pub(crate) row: usize,
}

/// Σ over steps of A(row, step) · B(step, column), for M rows and N vectors of columns, each sum in the order of steps;
/// row i of the result is `to.0[i]`. Between calls that keep and resume, sums lie in `to`, which changes no bit of them.
///
/// # Safety
/// What `Operands` describes for M rows, N vectors and all steps must be readable.
#[inline(always)]
unsafe fn tile<S: Simd, K: Kind, const M: usize, const N: usize>(simd: S, o: Operands<'_>, to: &mut Sums) {
    // Arrays are filled by loops: `array::from_fn` is a call where the compiler has inlined enough, and a call in the
    // innermost loop takes all sums out of the registers and back.
    // SAFETY: the caller vouches for what lies at `o.zeros` for M rows and at `o.totals` for N vectors.
    let start = |i: usize, v: usize| unsafe {
        K::start(simd, o.zeros.wrapping_add(i), o.totals.wrapping_add(v * S::LANES))
    };
    let mut sums = [[start(0, 0); N]; M];
    if o.turn.resumes {
        for i in 0..M {
            for v in 0..N {
                sums[i][v] = K::resume(simd, &to.0[i][v * S::LANES..]);
            }
        }
    } else {
        for i in 0..M {
            for v in 0..N {
                sums[i][v] = start(i, v);
            }
        }
    }
    // Each row has a pointer of its own. The compiler, if it knew what they have in common, would compute them from each other in each step,
    // which takes the place of products in the processor.
    let mut rows = [o.a; M];
    for i in 0..M {
        rows[i] = black_box(o.a.wrapping_add(i * o.a_row));
    }
    let (mut at, mut b) = (0, o.b);
    let mut later = o.later.as_ptr();
    let mut asked = later;
    for step in 0..o.steps {
        if step % ASK_EVERY == 0 {
            later = later.wrapping_add(ASK_EVERY * o.later_step);
            while asked < later {
                simd.prefetch(asked);
                asked = asked.wrapping_add(LINE);
            }
            // One line after another: all at once, they would keep the lines of operands waiting.
            let lines = (N * S::LANES).div_ceil(LINE);
            let (row, line) = (step / ASK_EVERY / lines, step / ASK_EVERY % lines);
            if row < M
                && let Some(expected) = o.expected
            {
                for place in expected.places {
                    simd.prefetch(place.wrapping_add(row * expected.row + line * LINE));
                }
            }
        }
        // SAFETY: the caller vouches for the N vectors of this step.
        let load = |v: usize| unsafe { K::load(simd, b.add(v * S::LANES)) };
        let mut columns = [load(0); N];
        for v in 1..N {
            columns[v] = load(v);
        }
        for i in 0..M {
            // SAFETY: the caller vouches for row i of this step.
            let row = unsafe { K::splat(simd, rows[i].add(at)) };
            for v in 0..N {
                sums[i][v] = K::step(simd, row, columns[v], sums[i][v]);
            }
        }
        (at, b) = (at + o.a_step, b.wrapping_add(o.b_step));
    }
    if o.turn.keeps {
        for i in 0..M {
            for v in 0..N {
                K::keep(simd, sums[i][v], &mut to.0[i][v * S::LANES..]);
            }
        }
    } else {
        for i in 0..M {
            for v in 0..N {
                simd.store(K::finish(simd, sums[i][v]), &mut to.0[i][v * S::LANES..]);
            }
        }
    }
}

/// [`tile`] for `rows` rows and N vectors of columns.
///
/// # Safety
/// That of [`tile`] for `rows` rows, at most [`MOST_ROWS`] and `S::TILE_ROWS`.
#[inline(always)]
pub(crate) unsafe fn rows<S: Simd, K: Kind, const N: usize>(
    simd: S,
    rows: usize,
    o: Operands<'_>,
    to: &mut Sums,
) {
    // SAFETY: the caller vouches for the operands of this number of rows.
    unsafe {
        match rows {
            1 => tile::<S, K, 1, N>(simd, o, to),
            2 => tile::<S, K, 2, N>(simd, o, to),
            3 => tile::<S, K, 3, N>(simd, o, to),
            4 if S::TILE_ROWS >= 4 => tile::<S, K, 4, N>(simd, o, to),
            5 if S::TILE_ROWS >= 5 => tile::<S, K, 5, N>(simd, o, to),
            6 if S::TILE_ROWS >= 6 => tile::<S, K, 6, N>(simd, o, to),
            _ => panic!("a tile of {rows} rows"),
        }
    }
}

/// Columns of the widest tile.
#[inline(always)]
pub(crate) const fn width<S: Simd>() -> usize {
    S::TILE_VECTORS * S::LANES
}

/// [`tile`] for `rows` rows of the widest tile.
///
/// # Safety
/// That of [`rows`].
#[inline(always)]
pub(crate) unsafe fn widest<S: Simd, K: Kind>(simd: S, count: usize, o: Operands<'_>, to: &mut Sums) {
    // SAFETY: the caller vouches for the operands.
    unsafe {
        match S::TILE_VECTORS {
            2 => rows::<S, K, 2>(simd, count, o, to),
            4 => rows::<S, K, 4>(simd, count, o, to),
            other => panic!("a tile of {other} vectors"),
        }
    }
}

/// Rows of the next tile of `left`: as many as fit, but the last two tiles are about equal, because a tile of one or two
/// rows waits for its sums.
#[inline(always)]
pub(crate) fn next_rows(left: usize, most: usize) -> usize {
    if left <= most {
        left
    } else if left < most + 4 {
        left.div_ceil(2).min(most)
    } else {
        most
    }
}
