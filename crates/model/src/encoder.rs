//! The transformer encoder: one for all families. It knows a shape and tensors, not files, texts or how to compute.
//!
//! Post-LN, as in <https://arxiv.org/abs/1706.03762>: each branch is added to its input and the sum is normalized.

use rayon::prelude::*;
use sentir_compute::ops::{self, Linear, Lookup, Norm};
use sentir_compute::{Activation, Backend, Pass, Table, Tensor, WeightType};

use crate::batch::PackedBatch;
use crate::families::Names;
use crate::shape::EncoderShape;
use crate::weights::Weights;
use crate::{Error, Result, parameters};

/// An encoder with its weights on one backend.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub shape: EncoderShape,
    words: Table,
    positions: Table,
    token_types: Table,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value in one matrix, `[3 * width, width]`: one product in place of three.
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

impl Encoder {
    /// Takes the tensors of `shape` out of `weights`, matrices in the type `kind` (default: that of packed
    /// weights, else f32). Others that are there (a pooler, a head) are left alone.
    pub(crate) fn load(
        weights: &Weights,
        names: &Names,
        shape: EncoderShape,
        kind: Option<WeightType>,
        backend: &dyn Backend,
    ) -> Result<Self> {
        let kind = match (weights.packed(), kind) {
            (Some(packed), Some(wanted)) if packed != wanted => {
                let message =
                    format!("its weights are packed in {packed}; for {wanted}, load the original model");
                return Err(Error::invalid(weights.path(), message));
            }
            (packed, wanted) => packed.or(wanted).unwrap_or_default(),
        };
        let width = shape.width;
        let prefix = names.prefix(weights);
        let full = |name: &str| format!("{prefix}{name}");
        let table =
            |name: &str, rows| parameters::table(weights, &format!("{prefix}{name}.weight"), rows, width);
        let norm = |name: &str| parameters::norm(weights, &full(name), width, shape.epsilon, backend);

        let layer = |i: usize| -> Result<Layer> {
            let of_layer = |name: &str| full(&format!("{}.{i}.{name}", names.layer));
            let linear = |name: &str, outputs, inputs| {
                parameters::linear(weights, &[of_layer(name)], outputs, inputs, true, kind, backend)
            };
            let norm = |name: &str| parameters::norm(weights, &of_layer(name), width, shape.epsilon, backend);
            let query_key_value = [names.query, names.key, names.value].map(of_layer);
            Ok(Layer {
                query_key_value: parameters::linear(
                    weights,
                    &query_key_value,
                    width,
                    width,
                    true,
                    kind,
                    backend,
                )?,
                attention_output: linear(names.attention_output, width, width)?,
                attention_norm: norm(names.attention_norm)?,
                up: linear(names.up, shape.feed_forward, width)?,
                down: linear(names.down, width, shape.feed_forward)?,
                output_norm: norm(names.output_norm)?,
            })
        };
        // A number of layers that nothing backs is an error before memory is asked for.
        weights.get(&full(&format!("{}.{}.{}.bias", names.layer, shape.layers - 1, names.query)))?;
        Ok(Self {
            words: table(names.words, shape.vocabulary)?,
            positions: table(names.positions, shape.positions)?,
            token_types: table(names.token_types, shape.token_types)?,
            norm: norm(names.embeddings_norm)?,
            // `collect` gives the error of the first layer that has one.
            layers: (0..shape.layers)
                .into_par_iter()
                .map(layer)
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Result<_>>()?,
            shape,
        })
    }

    /// The hidden states of the last layer, `[tokens, width]`. Every id of the batch must be in the table.
    pub(crate) fn forward(&self, pass: &mut Pass<'_>, batch: &PackedBatch) -> Tensor {
        let types = vec![0; batch.ids.len()];
        let lookups = [
            Lookup { table: &self.words, ids: &batch.ids },
            Lookup { table: &self.token_types, ids: &types },
            Lookup { table: &self.positions, ids: &batch.positions },
        ];
        let embedded = ops::embed(pass, &lookups);
        let mut hidden = ops::layer_norm(pass, embedded, None, &self.norm);
        for layer in &self.layers {
            hidden = self.layer(pass, layer, hidden, &batch.offsets);
        }
        hidden
    }

    fn layer(&self, pass: &mut Pass<'_>, layer: &Layer, hidden: Tensor, offsets: &[usize]) -> Tensor {
        let qkv = ops::linear(pass, &hidden, &layer.query_key_value, Activation::Identity);
        let context = ops::attention(pass, &qkv, offsets, self.shape.attention);
        pass.free(qkv);
        let branch = ops::linear(pass, &context, &layer.attention_output, Activation::Identity);
        pass.free(context);
        let attended = ops::layer_norm(pass, branch, Some(&hidden), &layer.attention_norm);
        pass.free(hidden);

        let inner = ops::linear(pass, &attended, &layer.up, self.shape.activation);
        let branch = ops::linear(pass, &inner, &layer.down, Activation::Identity);
        pass.free(inner);
        let out = ops::layer_norm(pass, branch, Some(&attended), &layer.output_norm);
        pass.free(attended);
        out
    }
}
