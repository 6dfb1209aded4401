//! The parameters of a network as training sees them, and the gradients by them. How they are computed is in [`crate::ops`],
//! what is done with them is not in this crate.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::tensor::Storage;
use crate::weight::{TableStorage, WeightStorage};
use crate::{Backend, Table, Tensor, Weight};

/// A parameter of a network, to be trained.
#[derive(Debug)]
pub enum ParameterMut<'a> {
    /// The matrix of a linear layer.
    Weight(&'a mut Weight),
    /// A bias, or the scale or shift of a normalization.
    Vector(&'a mut Tensor),
    /// An embedding table.
    Table(&'a mut Table),
}

impl ParameterMut<'_> {
    /// Asks for gradients by this parameter, under the number `id` of [`Gradients`]; `None` freezes it.
    ///
    /// # Errors
    /// If its numbers cannot be trained: they are packed, or lie in a file.
    pub fn train(&mut self, id: Option<usize>) -> Result<(), String> {
        let (place, fixed) = match self {
            Self::Weight(weight) => {
                let packed = match &weight.storage {
                    WeightStorage::Packed(matrix) => Some(matrix.kind()),
                    WeightStorage::Plain { .. } | WeightStorage::F64(_) => None,
                };
                (&mut weight.parameter, packed.map(|kind| format!("a packed {kind} weight has no gradient")))
            }
            Self::Vector(tensor) => (&mut tensor.parameter, None),
            Self::Table(table) => {
                let fixed = matches!(table.storage, TableStorage::Bytes { .. });
                (
                    &mut table.parameter,
                    fixed.then(|| "a table that lies in its file has no gradient".to_owned()),
                )
            }
        };
        match fixed {
            Some(message) if id.is_some() => Err(message),
            _ => {
                *place = id;
                Ok(())
            }
        }
    }

    /// The numbers, row-major, if the parameter is trained.
    pub fn trained(&self) -> Option<Cow<'_, [f32]>> {
        let (id, single, double) = match self {
            Self::Weight(Weight { parameter, storage, .. }) => match storage {
                WeightStorage::Plain { values, .. } => (parameter, Some(values), None),
                WeightStorage::F64(values) => (parameter, None, Some(values)),
                WeightStorage::Packed(_) => (parameter, None, None),
            },
            Self::Vector(Tensor { parameter, storage, .. }) => match storage {
                Storage::F32(values) => (parameter, Some(values), None),
                Storage::F64(values) => (parameter, None, Some(values)),
            },
            Self::Table(Table { parameter, storage, .. }) => match storage {
                TableStorage::Numbers(values) => (parameter, Some(values), None),
                TableStorage::Bytes { .. } => (parameter, None, None),
            },
        };
        id.as_ref()?;
        let narrowed = || double.map(|values| Cow::Owned(values.iter().map(|&x| x as f32).collect()));
        single.map(|values| Cow::Borrowed(values.as_slice())).or_else(narrowed)
    }

    /// Number of rows and numbers per row. Vectors are one row.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Weight(weight) => [weight.outputs(), weight.inputs()],
            Self::Vector(tensor) => [tensor.rows(), tensor.width()],
            Self::Table(table) => [table.rows(), table.width()],
        }
    }

    /// Lets `change` read and write the numbers, row-major. Panics for those that [`ParameterMut::train`] refuses.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        let double = match self {
            Self::Weight(weight) => match &mut weight.storage {
                WeightStorage::Plain { values, .. } => return change(values),
                WeightStorage::F64(values) => values,
                WeightStorage::Packed(_) => panic!("a packed weight does not change"),
            },
            Self::Vector(tensor) => match &mut tensor.storage {
                Storage::F32(values) => return change(values),
                Storage::F64(values) => values,
            },
            Self::Table(table) => match &mut table.storage {
                TableStorage::Numbers(values) => return change(values),
                TableStorage::Bytes { .. } => panic!("a table in a file does not change"),
            },
        };
        let mut single: Vec<f32> = double.iter().map(|&x| x as f32).collect();
        change(&mut single);
        double.iter_mut().zip(single).for_each(|(double, single)| *double = single.into());
    }
}

/// The derivatives of a loss by parameters, summed over passes. Parameters are counted from 0, as [`ParameterMut::train`] numbers them.
#[derive(Debug, Default)]
pub struct Gradients {
    slots: HashMap<usize, Gradient>,
}

#[derive(Debug)]
enum Gradient {
    Dense(Tensor),
    Rows(RowGradients),
}

/// The gradient by a table of which few rows were looked up.
#[derive(Debug)]
struct RowGradients {
    /// Where the gradient of a row of the table stands, in the order in which rows came up.
    places: HashMap<u32, usize>,
    rows: Vec<u32>,
    /// `[rows.len(), width]` at the start; more is memory.
    values: Tensor,
}

/// A gradient, read.
#[derive(Debug)]
pub enum GradientRef<'a> {
    /// Row-major, as the parameter.
    Dense(Cow<'a, [f32]>),
    /// Rows of a table: their numbers, and one gradient `[width]` for each. All other rows have none.
    Rows(&'a [u32], Cow<'a, [f32]>),
}

impl Gradients {
    /// No gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum for a parameter of this shape, to be added to; zeros at first.
    pub(crate) fn dense(
        &mut self,
        id: usize,
        backend: &dyn Backend,
        rows: usize,
        width: usize,
    ) -> &mut Tensor {
        let slot = self.slots.entry(id).or_insert_with(|| Gradient::Dense(backend.tensor(rows, width)));
        match slot {
            Gradient::Dense(tensor) => tensor,
            Gradient::Rows(_) => panic!("parameter {id} is a table"),
        }
    }

    /// The sums for rows of a table, and where among them the row of each id is.
    pub(crate) fn rows(
        &mut self,
        id: usize,
        backend: &dyn Backend,
        ids: &[u32],
        width: usize,
    ) -> (&mut Tensor, Vec<usize>) {
        let slot = self.slots.entry(id).or_insert_with(|| {
            Gradient::Rows(RowGradients {
                places: HashMap::new(),
                rows: Vec::new(),
                values: backend.tensor(0, width),
            })
        });
        let Gradient::Rows(own) = slot else { panic!("parameter {id} is not a table") };
        let RowGradients { places, rows, values } = own;
        let place = |&id: &u32| {
            *places.entry(id).or_insert_with(|| {
                rows.push(id);
                rows.len() - 1
            })
        };
        let at = ids.iter().map(place).collect();
        if values.rows() < rows.len() {
            values.grow(rows.len());
        }
        (values, at)
    }

    /// The gradient by a parameter, if something depended on it.
    pub fn get(&self, id: usize) -> Option<GradientRef<'_>> {
        fn numbers(tensor: &Tensor, rows: usize) -> Cow<'_, [f32]> {
            let count = rows * tensor.width();
            match &tensor.storage {
                Storage::F32(values) => Cow::Borrowed(&values[..count]),
                Storage::F64(values) => Cow::Owned(values[..count].iter().map(|&x| x as f32).collect()),
            }
        }
        self.slots.get(&id).map(|gradient| match gradient {
            Gradient::Dense(tensor) => GradientRef::Dense(numbers(tensor, tensor.rows())),
            Gradient::Rows(own) => GradientRef::Rows(&own.rows, numbers(&own.values, own.rows.len())),
        })
    }

    /// All gradients become 0; memory is kept for the next step.
    pub fn clear(&mut self) {
        for gradient in self.slots.values_mut() {
            match gradient {
                Gradient::Dense(tensor) => tensor.clear(),
                Gradient::Rows(own) => {
                    own.places.clear();
                    own.rows.clear();
                    own.values.clear();
                }
            }
        }
    }
}

impl GradientRef<'_> {
    /// All numbers there are.
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Dense(values) | Self::Rows(_, values) => values,
        }
    }
}
