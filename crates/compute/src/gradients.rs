//! The parameters of a network as training sees them, and the gradients by them. How they are computed is in [`crate::ops`],
//! what is done with them is not in this crate.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::table::TableStorage;
use crate::tensor::Storage;
use crate::weight::WeightStorage;
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
                WeightStorage::Plain { values, .. } => (parameter, Some(values.as_slice()), None),
                WeightStorage::F64(values) => (parameter, None, Some(values)),
                WeightStorage::Packed(_) => (parameter, None, None),
            },
            Self::Vector(Tensor { parameter, storage, .. }) => match storage {
                Storage::F32(values) => (parameter, Some(&**values), None),
                Storage::F64(values) => (parameter, None, Some(values)),
            },
            Self::Table(Table { parameter, storage, .. }) => match storage {
                TableStorage::Numbers(values) => (parameter, Some(values.as_slice()), None),
                TableStorage::Bytes { .. } => (parameter, None, None),
            },
        };
        id.as_ref()?;
        let narrowed = || double.map(|values| Cow::Owned(values.iter().map(|&x| x as f32).collect()));
        single.map(Cow::Borrowed).or_else(narrowed)
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

/// What is kept of the gradient by a matrix, where all of it is not wanted.
pub trait Projection: Debug + Send + Sync {
    /// How many numbers that are.
    fn kept(&self) -> usize;

    /// Adds what `d`, a gradient by the matrix, row-major, gives to what is `kept`. It is linear in `d`.
    fn add(&self, d: &[f32], kept: &mut [f32]);
}

/// The derivatives of a loss by parameters, summed over passes. Parameters are counted from 0, as [`ParameterMut::train`] numbers them.
#[derive(Debug, Default)]
pub struct Gradients {
    slots: HashMap<usize, Gradient>,
    projections: HashMap<usize, Arc<dyn Projection>>,
    /// A gradient that is about to be projected; memory for the next.
    whole: Option<Tensor>,
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

    /// From now on, keeps of the gradient by a matrix what `projection` makes of it.
    pub fn project(&mut self, id: usize, projection: Arc<dyn Projection>) {
        self.projections.insert(id, projection);
    }

    /// Adds a gradient by a matrix: `add` adds it to the tensor of its shape that it is given.
    pub(crate) fn matrix(
        &mut self,
        id: usize,
        backend: &dyn Backend,
        [rows, width]: [usize; 2],
        add: impl FnOnce(&mut Tensor),
    ) {
        let Some(projection) = self.projections.get(&id).cloned() else {
            return add(self.dense(id, backend, rows, width));
        };
        let fits = |whole: &Tensor| (whole.rows(), whole.width()) == (rows, width);
        let mut whole = self.whole.take().filter(fits).unwrap_or_else(|| backend.tensor(rows, width));
        whole.clear();
        add(&mut whole);
        let d = numbers(&whole, rows);
        match &mut self.dense(id, backend, 1, projection.kept()).storage {
            Storage::F32(kept) => projection.add(&d, kept),
            Storage::F64(kept) => {
                let mut more = vec![0.0; kept.len()];
                projection.add(&d, &mut more);
                kept.iter_mut().zip(more).for_each(|(kept, more)| *kept += f64::from(more));
            }
        }
        drop(d);
        self.whole = Some(whole);
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

/// The first rows of a tensor.
fn numbers(tensor: &Tensor, rows: usize) -> Cow<'_, [f32]> {
    let count = rows * tensor.width();
    match &tensor.storage {
        Storage::F32(values) => Cow::Borrowed(&values[..count]),
        Storage::F64(values) => Cow::Owned(values[..count].iter().map(|&x| x as f32).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, backends, random, widen};
    use crate::ops::{Linear, linear};
    use crate::tape::Randomness;
    use crate::{Activation, Pass, WeightType};

    /// The sum of each row, and that of all.
    #[derive(Debug)]
    struct Sums {
        width: usize,
    }

    impl Projection for Sums {
        fn kept(&self) -> usize {
            5
        }

        fn add(&self, d: &[f32], kept: &mut [f32]) {
            for (row, d) in d.chunks_exact(self.width).enumerate() {
                kept[row] += d.iter().sum::<f32>();
                kept[4] += d.iter().sum::<f32>();
            }
        }
    }

    #[test]
    fn what_is_kept_is_that_of_the_whole_gradient() {
        for backend in backends() {
            let mut weight = backend.trainable(random(4 * 3, 1), 4, 3, WeightType::F32);
            ParameterMut::Weight(&mut weight).train(Some(7)).unwrap();
            let layer = Linear { weight, bias: None };
            let walk = |gradients: &mut Gradients, seed: u64| {
                let mut pass = Pass::training(backend, Randomness::default());
                let x = pass.leaf(backend.upload(&random(6 * 3, seed), 3), true);
                let y = linear(&mut pass, &x, &layer, Activation::Gelu);
                pass.free(x);
                pass.backward(&y, backend.upload(&random(6 * 4, seed + 1), 4), gradients);
            };
            let (mut whole, mut kept) = (Gradients::new(), Gradients::new());
            kept.project(7, Arc::new(Sums { width: 3 }));
            for step in 0..2 {
                for gradients in [&mut whole, &mut kept] {
                    gradients.clear();
                    // Gradients of several passes add up.
                    walk(gradients, 10 + step);
                    walk(gradients, 20 + step);
                }
                let mut expected = vec![0.0; 5];
                Sums { width: 3 }.add(whole.get(7).unwrap().values(), &mut expected);
                let kept = kept.get(7).unwrap();
                assert_close(kept.values(), &widen(&expected), 1e-5, backend.name());
            }
        }
    }
}
