//! The update of a step: which parameters are trained, the length of the gradient, and AdamW over all of them.
//!
//! Rows of an embedding table that no text has touched so far have no moments and no gradient: AdamW leaves them alone but
//! for weight decay, so they are not visited without one. The result is that of the dense update, bit for bit.

use std::path::PathBuf;

use rayon::prelude::*;
use sentir_compute::{GradientRef, Gradients, ParameterMut};
use sentir_model::{Parameter, SentenceTransformer};

use crate::optimizer::{AdamW, adamw_step};
use crate::{Error, Result};

/// Which parameters stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frozen {
    /// The embedding tables and the normalization after them.
    pub embeddings: bool,
    /// So many of the lowest layers of the encoder.
    pub layers: usize,
}

/// A parameter that is trained, and the moments that AdamW keeps of it.
#[derive(Debug)]
pub struct Trained {
    /// The folder of its module.
    pub folder: PathBuf,
    /// Its tensors.
    pub names: Vec<String>,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Numbers per row.
    width: usize,
    /// Mean of gradients.
    pub m: Vec<f32>,
    /// Mean of squared gradients.
    pub v: Vec<f32>,
    /// Of a table, which rows have moments.
    touched: Option<Vec<bool>>,
}

/// All parameters that are trained.
#[derive(Debug)]
pub struct Update {
    trained: Vec<Trained>,
    /// Updates so far.
    pub steps: u64,
}

/// Numbers that one thread updates at least.
const CHUNK: usize = 1 << 14;

impl Update {
    /// Asks for gradients by all parameters of `model` but the frozen ones. `decays` says by the name of a tensor whether weight
    /// decay applies to it.
    ///
    /// # Errors
    /// If there is nothing left to train, or a parameter has no gradient.
    pub fn new(
        model: &mut SentenceTransformer,
        frozen: Frozen,
        decays: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut trained = Vec::new();
        // The reader's parameters outside of its layers come first: tables, then the normalization after them.
        let (mut in_reader, layers) = (true, model.layers());
        if frozen.layers > layers {
            let message = format!("{} layers are to be frozen, but the model has {layers}", frozen.layers);
            return Err(Error::Argument(message));
        }
        for Parameter { folder, names, layer, mut values } in model.parameters_mut() {
            in_reader &= layer.is_none();
            let is_frozen = layer.map_or(in_reader && frozen.embeddings, |layer| layer < frozen.layers);
            let id = (!is_frozen).then_some(trained.len());
            let name = names.first().cloned().unwrap_or_default();
            values.train(id).map_err(|message| Error::Argument(format!("{name}: {message}")))?;
            if is_frozen {
                continue;
            }
            let [rows, width] = values.shape();
            let touched = matches!(values, ParameterMut::Table(_)).then(|| vec![false; rows]);
            let (m, v) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            trained.push(Trained { folder, decays: decays(&name), names, width, m, v, touched });
        }
        if trained.is_empty() {
            return Err(Error::Argument("every parameter is frozen; there is nothing to train".into()));
        }
        Ok(Self { trained, steps: 0 })
    }

    /// The parameters, in the order of their numbers in [`Gradients`].
    pub fn trained(&self) -> &[Trained] {
        &self.trained
    }

    /// Number of numbers that are trained.
    pub fn count(&self) -> usize {
        self.trained.iter().map(|own| own.m.len()).sum()
    }

    /// ‖gradient‖₂ over all parameters (`torch.nn.utils.get_total_norm`). The order of the sum does not depend on threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the name of the first parameter whose gradient is not finite.
    pub fn gradient_norm(&self, gradients: &Gradients) -> Result<f64> {
        let mut total = 0.0;
        for (id, own) in self.trained.iter().enumerate() {
            let Some(gradient) = gradients.get(id) else { continue };
            let squares = |chunk: &[f32]| chunk.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            let parts: Vec<f64> = gradient.values().par_chunks(CHUNK).map(squares).collect();
            let sum: f64 = parts.iter().sum();
            if !sum.is_finite() {
                return Err(Error::NotFinite(format!("the gradient by {} is not finite", own.names.join(", "))));
            }
            total += sum;
        }
        Ok(total.sqrt())
    }

    /// Updates every parameter with its gradient times `factor` (that of clipping). Parameters without a gradient are left
    /// alone, as PyTorch does with those whose `grad` is `None`.
    pub fn apply(
        &mut self,
        model: &mut SentenceTransformer,
        gradients: &Gradients,
        factor: f32,
        learning_rate: f64,
        weight_decay: f64,
        optimizer: &AdamW,
    ) {
        self.steps += 1;
        let steps = self.steps;
        let mut parameters = model.parameters_mut();
        parameters.retain(|parameter| parameter.values.trained().is_some());
        for (id, (own, parameter)) in self.trained.iter_mut().zip(&mut parameters).enumerate() {
            let Some(gradient) = gradients.get(id) else { continue };
            let hyper = AdamW {
                learning_rate,
                weight_decay: if own.decays { weight_decay } else { 0.0 },
                ..*optimizer
            };
            let update = |p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]| {
                let g: Vec<f32> = g.iter().map(|g| g * factor).collect();
                adamw_step(p, &g, m, v, &hyper, steps);
            };
            parameter.values.update(|p| match &gradient {
                GradientRef::Dense(g) => {
                    let state = own.m.par_chunks_mut(CHUNK).zip(own.v.par_chunks_mut(CHUNK));
                    let numbers = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
                    numbers.zip(state).for_each(|((p, g), (m, v))| update(p, g, m, v));
                }
                GradientRef::Rows(rows, g) => {
                    let width = own.width;
                    let touched = own.touched.as_mut().expect("only a table has rows");
                    let mut place = vec![None; touched.len()];
                    for (at, &row) in rows.iter().enumerate() {
                        place[row as usize] = Some(at);
                        touched[row as usize] = true;
                    }
                    let zeros = vec![0.0; width];
                    let decay = 1.0 - (hyper.learning_rate * hyper.weight_decay) as f32;
                    let rows = p.par_chunks_mut(width).zip(place).zip(touched.par_iter());
                    let state = own.m.par_chunks_mut(width).zip(own.v.par_chunks_mut(width));
                    rows.zip(state).for_each(|(((p, place), &touched), (m, v))| match place {
                        Some(at) => update(p, &g[at * width..][..width], m, v),
                        None if touched => update(p, &zeros, m, v),
                        None if hyper.weight_decay > 0.0 => p.iter_mut().for_each(|p| *p *= decay),
                        None => {}
                    });
                }
            });
        }
    }

    /// Takes moments back that were saved. `m` and `v` are found by the names of the first tensor of each parameter.
    ///
    /// # Errors
    /// If one is missing or has another size.
    pub fn restore(&mut self, steps: u64, mut find: impl FnMut(&str) -> Result<Vec<f32>>) -> Result<()> {
        self.steps = steps;
        for own in &mut self.trained {
            for (what, place) in [("m", &mut own.m), ("v", &mut own.v)] {
                let name = state_name(&own.folder, &own.names[0], what);
                let found = find(&name)?;
                if found.len() != place.len() {
                    let message = format!("{name} has {} numbers; {} are expected", found.len(), place.len());
                    return Err(Error::Argument(message));
                }
                place.copy_from_slice(&found);
            }
            if let Some(touched) = &mut own.touched {
                let rows = own.m.chunks_exact(own.width).zip(own.v.chunks_exact(own.width));
                for (touched, (m, v)) in touched.iter_mut().zip(rows) {
                    // A row whose moments are all 0 is updated alike whether it counts as touched or not.
                    *touched = m.iter().chain(v).any(|&x| x != 0.0);
                }
            }
        }
        Ok(())
    }
}

/// What the moments of a parameter are called in a checkpoint.
pub fn state_name(folder: &std::path::Path, tensor: &str, what: &str) -> String {
    let folder = folder.to_string_lossy().replace('\\', "/");
    if folder.is_empty() { format!("{tensor}.{what}") } else { format!("{folder}/{tensor}.{what}") }
}
