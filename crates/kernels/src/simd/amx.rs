//! x86-64 with AMX: eight registers of tiles, each sixteen rows of sixteen words, and products of two of them.
//!
//! Rust has no stable intrinsics for it, so the instructions stand here as assembly. The compiler never uses the registers of tiles
//! by itself, so they keep what one block of assembly leaves for the next. They are described in Intel's Software Developer's Manual, volume 1,
//! chapter 18, the products in volume 2 (TDPBF16PS, TDPBUSD).

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::matrix::{
    MATRIX_COLUMNS, MATRIX_ROWS, MATRIX_STEPS, MatrixOperands, MatrixSums, MatrixUnit, Meanwhile, PARTS,
};

/// Rows and words of a tile.
const TILE: usize = 16;
/// Bytes from one row of sums to the next.
const SUMS_ROW: usize = MATRIX_COLUMNS * 4;

/// Whether the processor has AMX for bf16 and int8, and the system lets this process use it.
pub(super) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        const BF16_TILES_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        let leaf = __cpuid_count(7, 0);
        leaf.edx & BF16_TILES_INT8 == BF16_TILES_INT8 && is_permitted()
    })
}

/// Asks the system for the registers, which are so large that a process must.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    /// ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of Linux (Documentation/arch/x86/xstate.rst).
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: takes two numbers and touches no memory of ours; a system that does not know it answers with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The unit, as it is set up in this thread: the registers are the thread's, so the value stays there.
pub(super) struct Amx {
    /// For how many rows, and parts of A; 0 before the first product.
    set_up: (usize, usize),
    this_thread: PhantomData<*const ()>,
}

impl Amx {
    /// Panics if the machine lacks it.
    #[inline]
    pub(super) fn new() -> Self {
        assert!(is_here(), "AMX");
        Self { set_up: (0, 0), this_thread: PhantomData }
    }

    /// Sets registers up for so many rows. Up to sixteen: sums are registers 0 to 3, side by side, A is 4, or in three parts 4 to 6, and B the
    /// others up to 7. More: sums are 0 and 1 above 2 and 3, A is 4 above 5, B is 6 and 7 side by side. This makes all of them zero.
    #[inline(always)]
    fn set_up(&mut self, rows: usize, parts: usize) {
        /// What LDTILECFG reads: the palette, then, from byte 16 on, bytes per row, and from byte 48 on, rows.
        #[repr(align(64))]
        struct Setting([u8; 64]);

        assert!((1..=MATRIX_ROWS).contains(&rows), "{rows} rows");
        if self.set_up == (rows, parts) {
            return;
        }
        self.set_up = (rows, parts);
        let mut setting = Setting([0; 64]);
        setting.0[0] = 1;
        let upper = rows.min(TILE) as u8;
        let tiles = if rows <= TILE {
            std::array::from_fn(|i| if i < 4 + parts { upper } else { TILE as u8 })
        } else {
            let lower = (rows - TILE) as u8;
            [upper, upper, lower, lower, upper, lower, TILE as u8, TILE as u8]
        };
        for (i, rows) in tiles.into_iter().enumerate() {
            setting.0[16 + 2 * i] = 4 * TILE as u8;
            setting.0[48 + i] = rows;
        }
        // SAFETY: a value of this type is there only where AMX is and may be used; the setting is one of palette 1, whose tiles have at most
        // sixteen rows of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &setting, options(nostack, readonly, preserves_flags));
        }
    }
}

impl Amx {
    /// Rows and columns of the sums that `begin_split` began. Panics if it did not: registers would not be set up for them.
    #[inline(always)]
    fn split(&self) -> (usize, usize) {
        let (rows, parts) = self.set_up;
        assert!(parts == PARTS, "begin_split comes before");
        (rows, Self::columns(rows))
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: as in `set_up`. Registers in their first state cost nothing when the system changes threads.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

/// Zero into the registers of sums, or what is in memory.
macro_rules! start {
    ($add:expr, $first:expr, $second:expr) => {
        if $add {
            asm!(
                "tileloadd tmm0, [{first} + {row}]",
                "tileloadd tmm1, [{first} + {row} + 64]",
                "tileloadd tmm2, [{second} + {row}]",
                "tileloadd tmm3, [{second} + {row} + 64]",
                first = in(reg) $first,
                second = in(reg) $second,
                row = in(reg) SUMS_ROW,
                options(nostack, readonly, preserves_flags),
            );
        } else {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem, preserves_flags));
        }
    };
}

/// The registers of sums into memory.
macro_rules! store {
    ($first:expr, $second:expr) => {
        asm!(
            "tilestored [{first} + {row}], tmm0",
            "tilestored [{first} + {row} + 64], tmm1",
            "tilestored [{second} + {row}], tmm2",
            "tilestored [{second} + {row} + 64], tmm3",
            first = in(reg) $first,
            second = in(reg) $second,
            row = in(reg) SUMS_ROW,
            options(nostack, preserves_flags),
        )
    };
}

/// [`MatrixUnit::multiply`] for one type: they differ in one instruction.
macro_rules! multiply {
    ($name:ident, $product:literal) => {
        #[inline(always)]
        unsafe fn $name(
            &mut self,
            rows: usize,
            o: MatrixOperands,
            add: bool,
            sums: &mut MatrixSums,
            meanwhile: &mut impl Meanwhile,
        ) {
            assert!(rows <= sums.len(), "{rows} rows of {}", sums.len());
            self.set_up(rows, 1);
            let (a_row, b_row) = (4 * o.a_row, 4 * o.b_step);
            let sums: *mut f32 = sums.as_mut_ptr().cast();
            if rows <= TILE {
                // SAFETY: the caller vouches for A and B; `sums` has these rows, and registers are set up for them, so that no instruction reads
                // or writes others.
                unsafe {
                    start!(add, sums, sums.add(2 * TILE));
                    for step in (0..o.steps).step_by(MATRIX_STEPS) {
                        let b = o.b.add(step * o.b_step);
                        asm!(
                            "tileloadd tmm4, [{a} + {a_row}]",
                            "tileloadd tmm5, [{b} + {b_row}]",
                            concat!($product, " tmm0, tmm4, tmm5"),
                            "tileloadd tmm6, [{b} + {b_row} + 64]",
                            concat!($product, " tmm1, tmm4, tmm6"),
                            "tileloadd tmm7, [{b} + {b_row} + 128]",
                            concat!($product, " tmm2, tmm4, tmm7"),
                            "tileloadd tmm5, [{b} + {b_row} + 192]",
                            concat!($product, " tmm3, tmm4, tmm5"),
                            a = in(reg) o.a.add(step),
                            a_row = in(reg) a_row,
                            b = in(reg) b,
                            b_row = in(reg) b_row,
                            options(nostack, readonly, preserves_flags),
                        );
                        meanwhile.more(0);
                    }
                    store!(sums, sums.add(2 * TILE));
                }
                return;
            }
            for column in (0..MATRIX_COLUMNS).step_by(2 * TILE) {
                // SAFETY: as above; here the sums of the lower rows are sixteen rows further on.
                unsafe {
                    let upper = sums.add(column);
                    start!(add, upper, upper.add(TILE * MATRIX_COLUMNS));
                    for step in (0..o.steps).step_by(MATRIX_STEPS) {
                        asm!(
                            "tileloadd tmm6, [{b} + {b_row}]",
                            "tileloadd tmm4, [{a} + {a_row}]",
                            concat!($product, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{b} + {b_row} + 64]",
                            concat!($product, " tmm1, tmm4, tmm7"),
                            "tileloadd tmm5, [{lower} + {a_row}]",
                            concat!($product, " tmm2, tmm5, tmm6"),
                            concat!($product, " tmm3, tmm5, tmm7"),
                            a = in(reg) o.a.add(step),
                            lower = in(reg) o.a.add(step + TILE * o.a_row),
                            a_row = in(reg) a_row,
                            b = in(reg) o.b.add(step * o.b_step + column),
                            b_row = in(reg) b_row,
                            options(nostack, readonly, preserves_flags),
                        );
                        meanwhile.more(0);
                    }
                    store!(upper, upper.add(TILE * MATRIX_COLUMNS));
                }
            }
        }
    };
}

impl Amx {
    multiply!(multiply_bf16, "tdpbf16ps");
    multiply!(multiply_i8, "tdpbusd");
}

impl MatrixUnit for Amx {
    #[inline(always)]
    unsafe fn multiply(
        &mut self,
        group: usize,
        rows: usize,
        o: MatrixOperands,
        add: bool,
        sums: &mut MatrixSums,
        meanwhile: &mut impl Meanwhile,
    ) {
        // SAFETY: the caller vouches for A and B.
        unsafe {
            match group {
                2 => self.multiply_bf16(rows, o, add, sums, meanwhile),
                4 => self.multiply_i8(rows, o, add, sums, meanwhile),
                other => panic!("words of {other} numbers"),
            }
        }
    }

    #[inline(always)]
    fn columns(rows: usize) -> usize {
        if rows <= TILE { 4 * TILE } else { 2 * TILE }
    }

    #[inline(always)]
    fn begin_split(&mut self, rows: usize) {
        self.set_up(rows, PARTS);
        // SAFETY: registers are set up.
        unsafe { start!(false, std::ptr::null::<f32>(), std::ptr::null::<f32>()) };
    }

    #[inline(always)]
    unsafe fn add_split(&mut self, o: MatrixOperands, meanwhile: &mut impl Meanwhile) {
        let (rows, _) = self.split();
        let (a_row, b_row, b_part) = (4 * o.a_row, 4 * o.b_step, o.b_step / PARTS);
        for step in (0..o.steps).step_by(MATRIX_STEPS) {
            let (a, b) = (o.a.wrapping_add(PARTS * step), o.b.wrapping_add(step * o.b_step));
            let (b2, b3) = (b.wrapping_add(b_part), b.wrapping_add(2 * b_part));
            if rows <= TILE {
                // The parts of A stay in registers 4 to 6; sixteen columns of a part of B are multiplied with some of them.
                macro_rules! part {
                    ($moment:expr, $b:expr, $sums:literal, $column:literal, $($a:literal),+) => {
                        asm!(
                            concat!("tileloadd tmm7, [{b} + {b_row} + ", $column, "]"),
                            $(concat!("tdpbf16ps ", $sums, ", ", $a, ", tmm7"),)+
                            b = in(reg) $b,
                            b_row = in(reg) b_row,
                            options(nostack, readonly, preserves_flags),
                        );
                        meanwhile.more($moment);
                    };
                }
                macro_rules! all_columns {
                    ($moment:expr, $b:expr, $($a:literal),+) => {
                        part!($moment, $b, "tmm0", "0", $($a),+);
                        part!($moment + 1, $b, "tmm1", "64", $($a),+);
                        part!($moment + 2, $b, "tmm2", "128", $($a),+);
                        part!($moment + 3, $b, "tmm3", "192", $($a),+);
                    };
                }
                // SAFETY: the caller vouches for A and B; registers are set up for these rows, so that no instruction reads others.
                unsafe {
                    asm!(
                        "tileloadd tmm4, [{a} + {a_row}]",
                        "tileloadd tmm5, [{a} + {a_row} + 64]",
                        "tileloadd tmm6, [{a} + {a_row} + 128]",
                        a = in(reg) a,
                        a_row = in(reg) a_row,
                        options(nostack, readonly, preserves_flags),
                    );
                    all_columns!(0, b3, "tmm4");
                    all_columns!(4, b2, "tmm4", "tmm5");
                    all_columns!(8, b, "tmm5", "tmm6", "tmm4");
                }
                continue;
            }
            // Loads a tile.
            macro_rules! load {
                ($tile:literal, $at:expr, $row:expr, $offset:literal) => {
                    asm!(
                        concat!("tileloadd ", $tile, ", [{at} + {row} + ", $offset, "]"),
                        at = in(reg) $at,
                        row = in(reg) $row,
                        options(nostack, readonly, preserves_flags),
                    )
                };
            }
            // A part of A: its upper rows are register 4, its lower ones 5.
            macro_rules! a {
                ($offset:literal) => {
                    load!("tmm4", a, a_row, $offset);
                    load!("tmm5", a.wrapping_add(TILE * o.a_row), a_row, $offset);
                };
            }
            // A part of B: its first columns are register 6, the others 7.
            macro_rules! b {
                ($b:expr) => {
                    load!("tmm6", $b, b_row, "0");
                    load!("tmm7", $b, b_row, "64");
                };
            }
            macro_rules! products {
                ($moment:literal) => {
                    asm!(
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        options(nostack, readonly, preserves_flags),
                    );
                    meanwhile.more($moment);
                };
            }
            // SAFETY: as above. The order is that of few rows, so that sums are the same; each four products share an operand with the next.
            unsafe {
                // A₁ B₃, A₁ B₂
                a!("0");
                b!(b3);
                products!(0);
                b!(b2);
                products!(1);
                // A₂ B₂, A₂ B₁
                a!("64");
                products!(2);
                b!(b);
                products!(3);
                // A₃ B₁, A₁ B₁
                a!("128");
                products!(4);
                a!("0");
                products!(5);
            }
        }
    }

    #[inline(always)]
    fn end_split(&mut self, column: usize, sums: &mut MatrixSums) {
        let (rows, columns) = self.split();
        assert!(
            rows <= sums.len() && column + columns <= MATRIX_COLUMNS,
            "{rows} rows, {columns} columns from {column} on"
        );
        let upper = sums.as_mut_ptr().cast::<f32>().wrapping_add(column);
        let second = upper.wrapping_add(if rows <= TILE { 2 * TILE } else { TILE * MATRIX_COLUMNS });
        // SAFETY: `sums` has these rows and columns, and registers are set up for them.
        unsafe { store!(upper, second) };
    }
}
