//! The update of a step: which parameters are trained, the length of the gradient, and AdamW over all of them.
//!
//! With [`Lora`], what is trained of a matrix are the factors of a product that is added to it, and nothing else is trained.
//!
//! Rows of an embedding table that no text has touched so far have no moments and no gradient: AdamW leaves them alone but
//! for weight decay, so they are not visited without one. The result is that of the dense update, bit for bit.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use sentir_compute::{GradientRef, Gradients, ParameterMut};
use sentir_model::{Parameter, SentenceTransformer};
use serde::Serialize;

use crate::lora::{Adapter, Lora};
use crate::optimizer::{Constants, Decay, Hyper, adamw_step, global_norm};
use crate::order::Mt19937;
use crate::{Error, Result};

/// Which parameters stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
    /// What is trained in place of the matrix.
    pub(crate) adapter: Option<Adapter>,
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
        Self::with_lora(model, frozen, decay, None)
    }

    /// [`Update::new`]; with `lora`, only of its matrices in layers that are not frozen, and only of the products that are added
    /// to them. The seed decides what these begin with.
    ///
    /// # Errors
    /// As [`Update::new`], and if `lora` fits no matrix.
    pub fn with_lora(
        model: &mut SentenceTransformer,
        frozen: Frozen,
        decay: Decay,
        lora: Option<(&Lora, u64)>,
    ) -> Result<Self> {
        if let Some((lora, _)) = lora {
            lora.check()?;
        }
        let mut random = Mt19937::new(lora.map_or(0, |(_, seed)| seed));
        let mut known = BTreeSet::new();
        let mut trained = Vec::new();
        // The reader's parameters outside of its layers come first: tables, then the normalization after them.
        let (mut in_reader, layers) = (true, model.layers());
        if frozen.layers > layers {
            let message = format!("{} layers are to be frozen, but the model has {layers}", frozen.layers);
            return Err(Error::Argument(message));
        }
        for Parameter { folder, names, layer, mut values } in model.parameters_mut() {
            in_reader &= layer.is_none();
            let mut is_frozen = layer.map_or(in_reader && frozen.embeddings, |layer| layer < frozen.layers);
            let mut parts = Vec::new();
            if let Some((lora, _)) = lora {
                if layer.is_some() && matches!(values, ParameterMut::Weight(_)) {
                    parts.extend((0..names.len()).filter(|&i| lora.targets(&names[i])));
                    known.extend(names.iter().map(|name| module(name).to_owned()));
                }
                is_frozen |= parts.is_empty();
            }
            let id = (!is_frozen).then_some(trained.len());
            let name = names.first().cloned().unwrap_or_default();
            values.train(id).map_err(|message| Error::Argument(format!("{name}: {message}")))?;
            if is_frozen {
                continue;
            }
            let [rows, width] = values.shape();
            if let Some((lora, _)) = lora {
                let matrix = values.trained().unwrap_or_default();
                let adapter = Adapter::new(lora, parts, [rows / names.len(), width], &matrix, &mut random);
                let numbers = adapter.factors.values.len();
                let (m, v) = (vec![0.0; numbers], vec![0.0; numbers]);
                let (adapter, touched) = (Some(adapter), None);
                let decays = decay.applies("lora_A.weight");
                trained.push(Trained { folder, decays, names, width, m, v, touched, adapter });
                continue;
            }
            let touched = matches!(values, ParameterMut::Table(_)).then(|| vec![false; rows]);
            let (mut m, mut v) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            if touched.is_none() {
                // Pages of zeros that are read before they are written cost the system twice. Rows of a table may never be.
                [&mut m, &mut v].into_par_iter().for_each(|moment| moment.fill(0.0));
            }
            let (decays, adapter) = (decay.applies(&name), None);
            trained.push(Trained { folder, decays, names, width, m, v, touched, adapter });
        }
        if let (Some((lora, _)), true) = (lora, trained.is_empty()) {
            let known: Vec<String> = known.into_iter().collect();
            return Err(Error::Argument(format!(
                "lora_target_modules {} fit no matrix of a layer that is trained; there are {}",
                lora.target_modules.join(", "),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
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

    /// Whether what is trained are products that are added to matrices.
    pub fn has_adapters(&self) -> bool {
        self.trained.iter().any(|own| own.adapter.is_some())
    }

    /// Before the first pass of a step: gradients become 0, and of those by matrices with a product of LoRA only those by its factors will be kept.
    pub fn begin(&self, gradients: &mut Gradients) {
        gradients.clear();
        for (id, own) in self.trained.iter().enumerate() {
            if let Some(adapter) = &own.adapter {
                gradients.project(id, Arc::new(adapter.factors.clone()));
            }
        }
    }

    /// ‖gradient‖₂ over all parameters (`torch.nn.utils.get_total_norm`). The order of the sum does not depend on threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the name of the first parameter whose gradient is not finite.
    pub fn gradient_norm(&self, gradients: &Gradients) -> Result<f64> {
        let all: Vec<_> = (0..self.trained.len()).filter_map(|id| gradients.get(id)).collect();
        let norm = global_norm(all.iter().map(GradientRef::values));
        if norm.is_finite() {
            return Ok(norm);
        }
        let culprit =
            self.trained.iter().enumerate().find(|&(id, _)| {
                gradients.get(id).is_some_and(|own| !global_norm([own.values()]).is_finite())
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
            if let Some(adapter) = &mut own.adapter {
                adamw_step(&mut adapter.factors.values, gradient.values(), &mut own.m, &mut own.v, hyper);
                parameter.values.update(|matrix| adapter.merge(matrix));
                continue;
            }
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

    /// Takes the factors of a parameter's product back; the matrix is not touched.
    ///
    /// # Errors
    /// A message, if they do not fit.
    pub(crate) fn restore_adapter(&mut self, id: usize, values: &[f32]) -> Result<(), String> {
        let adapter = self.trained[id].adapter.as_mut().ok_or("a product where there is none")?;
        if values.len() != adapter.factors.values.len() {
            return Err(format!(
                "{} numbers where {} are expected",
                values.len(),
                adapter.factors.values.len()
            ));
        }
        adapter.factors.values.copy_from_slice(values);
        Ok(())
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

/// The last part of the name of a module: `query` of `encoder.layer.0.attention.self.query.weight`.
fn module(tensor: &str) -> &str {
    let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
    module.rsplit('.').next().unwrap_or(module)
}
