//! Any machine: arrays of eight numbers and loops, which the compiler turns into what the target always has (SSE2, NEON).

use super::Simd;

#[derive(Clone, Copy)]
pub(super) struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl Simd for Portable {
    type Vector = [f32; LANES];

    const LANES: usize = LANES;

    /// Of 32 registers of four lanes, 6 × 4 are accumulators; of the 16 of SSE2, 3 × 4.
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 3 };

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        *from.first_chunk().expect("a whole vector")
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::Vector {
        let mut v = [0.0; LANES];
        v.iter_mut().zip(from).for_each(|(v, from)| *v = *from);
        v
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut [f32]) {
        *to.first_chunk_mut().expect("a whole vector") = v;
    }

    #[inline(always)]
    fn store_part(self, v: Self::Vector, to: &mut [f32]) {
        to.iter_mut().zip(v).for_each(|(to, v)| *to = v);
    }

    #[inline(always)]
    unsafe fn load_from(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for eight readable numbers; the read asks for no alignment beyond that of a number.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        let mut out = c;
        for i in 0..LANES {
            // Without the instruction, `f32::mul_add` is a call of a function of the C library.
            let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
            out[i] = if fused { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
        }
        out
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn abs(self, a: Self::Vector) -> Self::Vector {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn copy_sign(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        let mut out = no;
        for i in 0..LANES {
            out[i] = if a[i] < b[i] { yes[i] } else { no[i] };
        }
        out
    }

    #[inline(always)]
    fn power_of_two(self, shifted: Self::Vector) -> Self::Vector {
        shifted.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    fn sum(self, v: Self::Vector) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}
