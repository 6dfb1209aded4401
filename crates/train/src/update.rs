//! The update of a step: which parameters are trained, the length of the gradient, and AdamW over all of them.
//!
//! Rows of an embedding table that no text has touched so far have no moments and no gradient: AdamW leaves them alone but
//! for weight decay, so they are not visited without one. The result is that of the dense update, bit for bit.

use std::path::PathBuf;

use rayon::prelude::*;
use sentir_compute::{GradientRef, Gradients, ParameterMut};
use sentir_model::{Parameter, SentenceTransformer};

use crate::optimizer::{Constants, Decay, Hyper, adamw_step, global_norm};
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
    pub(crate) width: usize,
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
}

impl Update {
    /// Asks for gradients by all parameters of `model` but the frozen ones. `decay` says which of them weight decay applies to.
    ///
    /// # Errors
    /// If there is nothing left to train, or a parameter has no gradient.
    pub fn new(model: &mut SentenceTransformer, frozen: Frozen, decay: Decay) -> Result<Self> {
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
            let (mut m, mut v) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            if touched.is_none() {
                // Pages of zeros that are read before they are written cost the system twice. Rows of a table may never be.
                [&mut m, &mut v].into_par_iter().for_each(|moment| moment.fill(0.0));
            }
            trained.push(Trained { folder, decays: decay.applies(&name), names, width, m, v, touched });
        }
        if trained.is_empty() {
            return Err(Error::Argument("every parameter is frozen; there is nothing to train".into()));
        }
        Ok(Self { trained })
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
        let gradient = |id: usize| gradients.get(id);
        let all: Vec<_> = (0..self.trained.len()).filter_map(gradient).collect();
        let norm = global_norm(all.iter().map(GradientRef::values));
        if norm.is_finite() {
            return Ok(norm);
        }
        let culprit = self.trained.iter().enumerate().find(|(id, _)| {
            gradient(*id).is_some_and(|gradient| !global_norm([gradient.values()]).is_finite())
        });
        let names = culprit.map_or_else(|| "all parameters".to_owned(), |(_, own)| own.names.join(", "));
        Err(Error::NotFinite(format!("the gradient by {names} is not finite")))
    }

    /// Updates every parameter by its gradient. Parameters without a gradient are left alone, as PyTorch does with those
    /// whose `grad` is `None`.
    pub fn apply(&mut self, model: &mut SentenceTransformer, gradients: &Gradients, hyper: &Hyper) {
        let mut parameters = model.parameters_mut();
        parameters.retain(|parameter| parameter.values.trained().is_some());
        for (id, (own, parameter)) in self.trained.iter_mut().zip(&mut parameters).enumerate() {
            let Some(gradient) = gradients.get(id) else { continue };
            let hyper = Hyper { weight_decay: if own.decays { hyper.weight_decay } else { 0.0 }, ..*hyper };
            parameter.values.update(|p| match &gradient {
                GradientRef::Dense(g) => adamw_step(p, g, &mut own.m, &mut own.v, hyper),
                GradientRef::Rows(rows, g) => {
                    let width = own.width;
                    let touched = own.touched.as_mut().expect("only a table has rows");
                    let mut place = vec![None; touched.len()];
                    for (at, &row) in rows.iter().enumerate() {
                        let row = row as usize;
                        place[row] = Some(at);
                        if !std::mem::replace(&mut touched[row], true) {
                            // Written before it is read, as above.
                            for moment in [&mut own.m, &mut own.v] {
                                moment[row * width..][..width].fill(0.0);
                            }
                        }
                    }
                    let zeros = vec![0.0; width];
                    let step = Constants::new(&hyper);
                    let rows = p.par_chunks_mut(width).zip(place).zip(touched.par_iter());
                    let state = own.m.par_chunks_mut(width).zip(own.v.par_chunks_mut(width));
                    rows.zip(state).with_min_len(64).for_each(
                        |(((p, place), &touched), (m, v))| match place {
                            Some(at) => step.run(p, &g[at * width..][..width], m, v),
                            None if touched => step.run(p, &zeros, m, v),
                            None if hyper.weight_decay > 0.0 => p.iter_mut().for_each(|p| *p *= step.keep),
                            None => {}
                        },
                    );
                }
            });
        }
    }

    /// The rows of a table that have moments; `None` of other parameters.
    pub(crate) fn touched(&self, id: usize) -> Option<Vec<u32>> {
        let touched = self.trained[id].touched.as_ref()?;
        Some((0..).zip(touched).filter(|(_, touched)| **touched).map(|(row, _)| row).collect())
    }

    /// Takes the moments of a parameter back, those of `rows` if they are given.
    ///
    /// # Errors
    /// A message, if they do not fit.
    pub(crate) fn restore(
        &mut self,
        id: usize,
        rows: Option<&[u32]>,
        m: &[f32],
        v: &[f32],
    ) -> Result<(), String> {
        let own = &mut self.trained[id];
        let expected = rows.map_or(own.m.len(), |rows| rows.len() * own.width);
        if m.len() != expected || v.len() != expected {
            return Err(format!("{} and {} moments where {expected} are expected", m.len(), v.len()));
        }
        let Some(rows) = rows else {
            own.m.copy_from_slice(m);
            own.v.copy_from_slice(v);
            return Ok(());
        };
        let touched = own.touched.as_mut().ok_or("rows of what is not a table")?;
        for ((&row, m), v) in rows.iter().zip(m.chunks_exact(own.width)).zip(v.chunks_exact(own.width)) {
            let row = row as usize;
            *touched.get_mut(row).ok_or_else(|| format!("row {row} of a table of fewer"))? = true;
            own.m[row * own.width..][..own.width].copy_from_slice(m);
            own.v[row * own.width..][..own.width].copy_from_slice(v);
        }
        Ok(())
    }
}
