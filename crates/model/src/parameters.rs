//! Tensors of a weights file as the parameters of operations, their shapes checked.

use std::sync::Arc;

use sentir_compute::ops::{Linear, Norm};
use sentir_compute::{Backend, Table, TableType, WeightType};

use crate::weights::{Dtype, Weights};
use crate::{Error, Result, packed};

/// The tensor `name` as an embedding table that stays where it is, `[rows, width]`.
pub(crate) fn table(weights: &Weights, name: &str, rows: usize, width: usize) -> Result<Table> {
    let view = weights.get(name)?;
    view.expect_shape(&[rows, width])?;
    let kind = match view.dtype {
        Dtype::F32 => TableType::F32,
        Dtype::F16 => TableType::F16,
        Dtype::Bf16 => TableType::Bf16,
        // Double precision has no table of its own: it is narrowed once.
        _ => return owned_table(view.to_f32()?, width).ok_or_else(|| empty(weights, name)),
    };
    Table::new(rows, width, kind, Arc::new(view.shared_bytes())).ok_or_else(|| empty(weights, name))
}

/// Numbers as a table.
pub(crate) fn owned_table(values: Vec<f32>, width: usize) -> Option<Table> {
    let rows = values.len().checked_div(width)?;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Table::new(rows, width, TableType::F32, Arc::new(bytes))
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
    kind: WeightType,
    backend: &dyn Backend,
) -> Result<Linear> {
    let all = names.len() * outputs;
    let weight = if weights.packed().is_some() {
        backend.packed(packed::matrix(weights, &names[0], all, inputs, kind)?)
    } else {
        backend.prepare(&stacked(weights, names, "weight", &[outputs, inputs])?, all, inputs, kind)
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
    let get = |new: &str, old: &str| -> Result<_> {
        let (new, old) = (format!("{name}.{new}"), format!("{name}.{old}"));
        let found = if !weights.contains(&new) && weights.contains(&old) { old } else { new };
        let view = weights.get(&found)?;
        view.expect_shape(&[width])?;
        Ok(backend.upload(&view.to_f32()?, width))
    };
    Ok(Norm { scale: get("weight", "gamma")?, shift: get("bias", "beta")?, epsilon })
}
