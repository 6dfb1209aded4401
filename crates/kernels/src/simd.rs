//! Instruction sets: which there are, which one is in use, and the vector of f32 that algorithms are generic over.
//!
//! An algorithm is a [`Kernel`]: a value that holds the operands, with one generic body. [`Isa::run`] compiles this body
//! once per instruction set. The bodies contain no intrinsics; those stand in the instances of [`Simd`], one file each:
//! `avx2.rs` and `portable.rs`. AVX-512 and NEON will be two more files here and two more variants of [`Isa`].

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod math;
mod portable;

use std::sync::OnceLock;

/// A value that proves that an instruction set is there, with the operations on its vectors of f32.
///
/// Everything is `#[inline(always)]`, so that it is compiled inside [`Isa::run`] with the features of the set. Lanes do
/// not influence each other: what a lane computes depends neither on its place nor on the others (but for [`Simd::sum`]).
pub trait Simd: Copy + Send + Sync {
    /// `LANES` numbers.
    type Vector: Copy;

    /// Numbers in a vector; at most 16.
    const LANES: usize;

    /// Rows of the largest tile of a matrix product whose accumulators fit into the registers: at most 6.
    const TILE_ROWS: usize;

    /// All lanes the same.
    fn splat(self, x: f32) -> Self::Vector;

    /// The first `LANES` numbers; panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::Vector;

    /// At most `LANES` numbers, then zeros.
    fn load_part(self, from: &[f32]) -> Self::Vector;

    /// Writes the first `LANES` numbers; panics if there are fewer.
    fn store(self, v: Self::Vector, to: &mut [f32]);

    /// Writes as many lanes as there is place for.
    fn store_part(self, v: Self::Vector, to: &mut [f32]);

    /// `LANES` numbers from a pointer without alignment.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_from(self, from: *const f32) -> Self::Vector;

    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a − b
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a · b
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a / b
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a · b + c, rounded once where the instruction set has it, else twice.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The smaller; b if one is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The larger; b if one is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// |a|
    fn abs(self, a: Self::Vector) -> Self::Vector;

    /// The magnitude of a with the sign of b.
    fn copy_sign(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Per lane: `yes` where a < b, else `no`.
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;

    /// 2ⁿ of the integer n in −126 … 127 that stands in the lowest bits of n + 1.5 · 2²³.
    fn power_of_two(self, shifted: Self::Vector) -> Self::Vector;

    /// The sum of all lanes, in one fixed order.
    fn sum(self, v: Self::Vector) -> f32;
}

/// An algorithm with its operands.
pub trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`: without, they would be compiled without the instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX2 and FMA: `avx2`.
    Avx2,
    /// Plain arrays, whatever the compiler makes of them: `portable`.
    Portable,
}

impl Isa {
    /// Those of this machine, the best first.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE
            .get_or_init(|| [Self::Avx2, Self::Portable].into_iter().filter(|isa| isa.is_here()).collect())
    }

    /// The name in `SENTIR_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_here(self) -> bool {
        self == Self::Portable || avx2::Avx2::new().is_some()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_here(self) -> bool {
        self == Self::Portable
    }

    /// Runs a kernel compiled for this instruction set. Panics if this machine lacks it.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx2 {
            return avx2::Avx2::new().expect("a machine with AVX2 and FMA").run(kernel);
        }
        assert_eq!(self, Self::Portable, "an instruction set of this machine");
        kernel.run(portable::Portable)
    }
}

/// The instruction set in use: the best of this machine, or the one that the environment variable `SENTIR_ISA` names
/// (`avx2` or `portable`). Chosen once. A name that cannot be obeyed is ignored here; programs ask [`check_isa`] first.
#[inline]
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| check_isa().unwrap_or(Isa::available()[0]))
}

/// What `SENTIR_ISA` asks for, or the best of this machine if it is not set or empty.
///
/// # Errors
/// If it names an unknown instruction set, or one that this machine lacks. The message says which there are.
pub fn check_isa() -> Result<Isa, String> {
    match std::env::var_os("SENTIR_ISA") {
        Some(name) if !name.is_empty() => parse(&name.to_string_lossy()),
        _ => Ok(Isa::available()[0]),
    }
}

fn parse(name: &str) -> Result<Isa, String> {
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
        let known = [Isa::Avx2, Isa::Portable].iter().any(|isa| isa.name() == name);
        let problem = if known { "is not available on this machine" } else { "is no known instruction set" };
        format!("SENTIR_ISA={name} {problem}; use one of: {}, or unset it", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_obeyed_or_explained() {
        for &isa in Isa::available() {
            assert_eq!(parse(isa.name()), Ok(isa));
        }
        let message = parse("avx9").unwrap_err();
        assert!(message.contains("SENTIR_ISA=avx9 is no known instruction set"), "{message}");
        assert!(message.contains("portable"), "{message}");
    }

    #[test]
    fn every_machine_has_the_portable_set() {
        assert_eq!(Isa::available().last(), Some(&Isa::Portable));
        assert!(Isa::available().contains(&isa()));
    }

    struct Parts<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Parts<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            let v = simd.load_part(self.0);
            simd.store_part(v, self.1);
            simd.sum(v)
        }
    }

    #[test]
    fn parts_of_vectors_touch_nothing_else() {
        let numbers: Vec<f32> = (1..=8).map(|i| i as f32).collect();
        for &isa in Isa::available() {
            for n in 0..=8 {
                let mut to = [-1.0; 8];
                let sum = isa.run(Parts(&numbers[..n], &mut to[..n]));
                assert_eq!(sum, numbers[..n].iter().sum::<f32>());
                assert_eq!((&to[..n], &to[n..]), (&numbers[..n], &[-1.0; 8][n..]));
            }
        }
    }
}
