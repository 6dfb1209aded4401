//! Matrices as a backend keeps them, prepared for products.
//!
//! Precision belongs here and nowhere else: an operation takes a [`Weight`] and does not ask what is inside.

use sentir_kernels::gemm::{PackedMatrix, WeightType};

/// The matrix of a linear layer, `[outputs, inputs]`, in the form that one backend multiplies with.
/// Made by [`crate::Backend::prepare`].
#[derive(Debug)]
pub struct Weight {
    outputs: usize,
    inputs: usize,
    pub(crate) storage: WeightStorage,
    /// Its number, if it is trained.
    pub(crate) parameter: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum WeightStorage {
    /// [`crate::Cpu`]: in the panels that the micro-kernel reads, in the type that was asked for.
    Packed(PackedMatrix),
    /// [`crate::Cpu`]: row-major in f32, because it changes; packed for each product in the type that was asked for.
    Plain { values: Vec<f32>, kind: WeightType },
    /// [`crate::Reference`]: row-major.
    F64(Vec<f64>),
}

impl Weight {
    pub(crate) fn new(outputs: usize, inputs: usize, storage: WeightStorage) -> Self {
        Self { outputs, inputs, storage, parameter: None }
    }

    /// The type in which products with it are computed.
    pub fn kind(&self) -> WeightType {
        match &self.storage {
            WeightStorage::Packed(matrix) => matrix.kind(),
            WeightStorage::Plain { kind, .. } => *kind,
            WeightStorage::F64(_) => WeightType::F32,
        }
    }

    /// Width of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Width of the operand.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}
