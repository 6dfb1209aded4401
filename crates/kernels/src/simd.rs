//! Instruction sets.

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// What the compiler makes of plain arrays.
    Portable,
}

impl Isa {
    /// Those of this machine, the best first.
    pub fn available() -> &'static [Isa] {
        &[Isa::Portable]
    }
}

/// The one in use.
pub fn isa() -> Isa {
    Isa::Portable
}

/// Whether `SENTIR_ISA` can be obeyed.
///
/// # Errors
/// If it names an unknown instruction set, or one that this machine lacks.
pub fn check_isa() -> Result<Isa, String> {
    Ok(Isa::Portable)
}
