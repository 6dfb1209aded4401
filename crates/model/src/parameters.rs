//! Tensors of a weights file as the parameters of operations, their shapes checked.

use std::sync::Arc;

use sentir_compute::ops::{Linear, Norm};
use sentir_compute::{Backend, Table, TableType, WeightType};

use crate::weights::{Dtype, Weights};
use crate::{Error, Result, packed};

/// What of a model can be trained once it is loaded. What can stays in memory in full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trainable {
    /// Nothing: weights are packed for encoding.
    #[default]
    Nothing,
    /// All but the embedding tables, which stay in the mapped file.
    Layers,
    /// All.
    Everything,
}

/// What the matrix of a linear layer is loaded for, and the type of products with it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Encode(WeightType),
    Train(WeightType),
}

impl Purpose {
    /// Refuses to train what has no gradient.
    pub(crate) fn of(kind: WeightType, trainable: Trainable, weights: &Weights) -> Result<Self> {
        if trainable == Trainable::Nothing {
            return Ok(Self::Encode(kind));
        }
        if let Some(packed) = weights.packed() {
            let message = format!(
                "its weights are packed in {packed}, which has no gradient; train the original model"
            );
            return Err(Error::invalid(weights.path(), message));
        }
        if kind == WeightType::Int8 {
            return Err(Error::Argument("int8 has no gradient; train in f32 or bf16".to_owned()));
        }
        Ok(Self::Train(kind))
    }
}

/// The tensor `name` as an embedding table, `[rows, width]`; it stays where it is unless it is to be trained.
pub(crate) fn table(
    weights: &Weights,
    name: &str,
    rows: usize,
    width: usize,
    trainable: Trainable,
) -> Result<Table> {
    let view = weights.get(name)?;
    view.expect_shape(&[rows, width])?;
    if trainable == Trainable::Everything {
        let values = view.to_f32()?;
        view.release();
        return Table::trainable(values, width).ok_or_else(|| empty(weights, name));
    }
    let kind = match view.dtype {
        Dtype::F32 => TableType::F32,
        Dtype::F16 => TableType::F16,
        Dtype::Bf16 => TableType::Bf16,
        Dtype::I8 => TableType::Int8,
        // Double precision has no table of its own: it is narrowed once.
        _ => return owned_table(view.to_f32()?, width).ok_or_else(|| empty(weights, name)),
    };
    let mut scales = Vec::new();
    if kind == TableType::Int8 {
        let of_rows = weights.get(&packed::scales_name(name))?;
        of_rows.expect_shape(&[rows])?;
        scales = of_rows.to_f32()?;
    }
    Table::new(rows, width, kind, Arc::new(view.shared_bytes()), scales).ok_or_else(|| empty(weights, name))
}

/// Numbers as a table.
pub(crate) fn owned_table(values: Vec<f32>, width: usize) -> Option<Table> {
    let rows = values.len().checked_div(width)?;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Table::new(rows, width, TableType::F32, Arc::new(bytes), Vec::new())
}

fn empty(weights: &Weights, name: &str) -> Error {
    Error::tensor(weights.path(), name, "the table has no columns")
}

/// The layer `name` (`.weight` and, if `bias`, `.bias`), or several of one shape stacked to one with as many times
/// the outputs; its matrix in the type `kind`, from where it is packed or packed now.
pub(crate) fn linear(
    weights: &Weights,
    names: &[String],
    outputs: usize,
    inputs: usize,
    bias: bool,
    purpose: Purpose,
    backend: &dyn Backend,
) -> Result<Linear> {
    let all = names.len() * outputs;
    let matrix = || stacked(weights, names, "weight", &[outputs, inputs]);
    let weight = match purpose {
        Purpose::Encode(kind) if weights.packed().is_some() => {
            backend.packed(packed::matrix(weights, &names[0], all, inputs, kind)?)
        }
        Purpose::Encode(kind) => backend.prepare(&matrix()?, all, inputs, kind),
        Purpose::Train(kind) => backend.trainable(matrix()?, all, inputs, kind),
    };
    let bias = if bias { Some(stacked(weights, names, "bias", &[outputs])?) } else { None };
    Ok(Linear { weight, bias: bias.map(|bias| backend.upload(&bias, all)) })
}

/// The tensors `name.suffix` of one shape, one after another.
pub(crate) fn stacked(
    weights: &Weights,
    names: &[String],
    suffix: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    for name in names {
        let view = weights.get(&format!("{name}.{suffix}"))?;
        view.expect_shape(shape)?;
        let part = view.to_f32()?;
        // What is made of it stays; the file is not needed again.
        view.release();
        // One layer, the most frequent case, moves; only a stack is copied.
        if values.is_empty() { values = part } else { values.extend_from_slice(&part) }
    }
    Ok(values)
}

/// The layer normalization `name`. Checkpoints from before 2019 call its parameters `gamma` and `beta`, as TensorFlow did.
pub(crate) fn norm(
    weights: &Weights,
    name: &str,
    width: usize,
    epsilon: f64,
    backend: &dyn Backend,
) -> Result<Norm> {
    let get = |suffix: &str| -> Result<_> {
        let view = weights.get(&format!("{name}.{suffix}"))?;
        view.expect_shape(&[width])?;
        Ok(backend.upload(&view.to_f32()?, width))
    };
    let [scale, shift] = norm_suffixes(weights, name);
    Ok(Norm { scale: get(scale)?, shift: get(shift)?, epsilon })
}

/// What scale and shift of the layer normalization `name` are called.
pub(crate) fn norm_suffixes(weights: &Weights, name: &str) -> [&'static str; 2] {
    let has = |suffix: &str| weights.contains(&format!("{name}.{suffix}"));
    if !has("weight") && has("gamma") { ["gamma", "beta"] } else { ["weight", "bias"] }
}
