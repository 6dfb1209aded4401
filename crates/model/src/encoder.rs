//! The transformer encoder: one for all families. It knows a shape and tensors, not files, texts or how to compute.
//!
//! Post-LN, as in <https://arxiv.org/abs/1706.03762>: each branch is added to its input and the sum is normalized.

use rayon::prelude::*;
use sentir_compute::ops::{self, Linear, Lookup, Norm};
use sentir_compute::{Activation, Backend, ParameterMut, Pass, Table, Tensor, WeightType};

use crate::batch::PackedBatch;
use crate::families::Names;
use crate::parameters::{self, Purpose, Trainable};
use crate::shape::EncoderShape;
use crate::weights::Weights;
use crate::{Error, Result};

/// An encoder with its weights on one backend.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub shape: EncoderShape,
    words: Table,
    positions: Table,
    token_types: Table,
    norm: Norm,
    layers: Vec<Layer>,
    /// What its tensors are called in the file that it came from.
    prefix: &'static str,
    names: &'static Names,
    norm_suffixes: [&'static str; 2],
    /// Whether training computes each layer twice rather than remember what is inside.
    pub gradient_checkpointing: bool,
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
        names: &'static Names,
        shape: EncoderShape,
        kind: Option<WeightType>,
        trainable: Trainable,
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
        let purpose = Purpose::of(kind, trainable, weights)?;
        let width = shape.width;
        let prefix = names.prefix(weights);
        let full = |name: &str| format!("{prefix}{name}");
        let table = |name: &str, rows| {
            parameters::table(weights, &format!("{prefix}{name}.weight"), rows, width, trainable)
        };
        let norm = |name: &str| parameters::norm(weights, &full(name), width, shape.epsilon, backend);

        let layer = |i: usize| -> Result<Layer> {
            let of_layer = |name: &str| full(&format!("{}.{i}.{name}", names.layer));
            let linear = |name: &str, outputs, inputs| {
                parameters::linear(weights, &[of_layer(name)], outputs, inputs, true, purpose, backend)
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
                    purpose,
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
            prefix,
            names,
            norm_suffixes: parameters::norm_suffixes(weights, &full(names.embeddings_norm)),
            gradient_checkpointing: false,
            shape,
        })
    }

    /// The hidden states of the last layer, `[tokens, width]`. Every id of the batch must be in the table.
    pub(crate) fn forward<'a>(&'a self, pass: &mut Pass<'a>, batch: &PackedBatch) -> Tensor {
        self.forward_through(pass, batch, self.layers.len())
    }

    /// The hidden states after so many layers.
    fn forward_through<'a>(&'a self, pass: &mut Pass<'a>, batch: &PackedBatch, layers: usize) -> Tensor {
        let types = vec![0; batch.ids.len()];
        let lookups = [
            Lookup { table: &self.words, ids: &batch.ids },
            Lookup { table: &self.token_types, ids: &types },
            Lookup { table: &self.positions, ids: &batch.positions },
        ];
        let embedded = ops::embed(pass, &lookups);
        let embedded = ops::layer_norm(pass, embedded, None, &self.norm);
        let mut hidden = ops::dropout(pass, embedded, self.shape.hidden_dropout);
        for layer in &self.layers[..layers] {
            hidden = if self.gradient_checkpointing {
                let offsets = batch.offsets.clone();
                pass.checkpoint(hidden, move |pass, hidden| self.layer(pass, layer, hidden, &offsets))
            } else {
                self.layer(pass, layer, hidden, &batch.offsets)
            };
        }
        hidden
    }

    /// Where the first number that is not finite comes up: `embeddings`, or the layer.
    pub(crate) fn first_not_finite<'a>(&'a self, pass: &mut Pass<'a>, batch: &PackedBatch) -> Option<String> {
        for layers in 0..=self.layers.len() {
            let hidden = self.forward_through(pass, batch, layers);
            let finite = pass.backend().download(&hidden).iter().all(|x| x.is_finite());
            pass.free(hidden);
            if !finite {
                return Some(match layers {
                    0 => "embeddings".to_owned(),
                    layers => format!("{}.{}", self.names.layer, layers - 1),
                });
            }
        }
        None
    }

    fn layer<'a>(
        &'a self,
        pass: &mut Pass<'a>,
        layer: &'a Layer,
        hidden: Tensor,
        offsets: &[usize],
    ) -> Tensor {
        let EncoderShape { hidden_dropout, attention_dropout, attention, activation, .. } = self.shape;
        let qkv = ops::linear(pass, &hidden, &layer.query_key_value, Activation::Identity);
        let kind = layer.query_key_value.weight.kind();
        let context = ops::attention(pass, &qkv, offsets, attention, attention_dropout, kind);
        pass.free(qkv);
        let branch = ops::linear(pass, &context, &layer.attention_output, Activation::Identity);
        pass.free(context);
        let branch = ops::dropout(pass, branch, hidden_dropout);
        let attended = ops::layer_norm(pass, branch, Some(&hidden), &layer.attention_norm);
        pass.free(hidden);

        let inner = ops::linear(pass, &attended, &layer.up, activation);
        let branch = ops::linear(pass, &inner, &layer.down, Activation::Identity);
        pass.free(inner);
        let branch = ops::dropout(pass, branch, hidden_dropout);
        let out = ops::layer_norm(pass, branch, Some(&attended), &layer.output_norm);
        pass.free(attended);
        out
    }

    /// The matrices of the first layer: their names, several if they are stacked, and the shape of each.
    pub(crate) fn matrices(&self) -> [(Vec<String>, [usize; 2]); 4] {
        let Self { prefix, names, .. } = *self;
        let own = |name: &str| format!("{prefix}{}.0.{name}.weight", names.layer);
        let (d, f) = (self.shape.width, self.shape.feed_forward);
        [
            ([names.query, names.key, names.value].map(own).into(), [d, d]),
            (vec![own(names.attention_output)], [d, d]),
            (vec![own(names.up)], [f, d]),
            (vec![own(names.down)], [d, f]),
        ]
    }

    /// All parameters, with the layer that they are in and the names of their tensors: several if they are stacked.
    pub(crate) fn parameters_mut(&mut self) -> Vec<LayerParameter<'_>> {
        let Self { prefix, names, norm_suffixes, .. } = *self;
        let mut all = Vec::new();
        for (name, table) in [
            (names.words, &mut self.words),
            (names.positions, &mut self.positions),
            (names.token_types, &mut self.token_types),
        ] {
            all.push((None, vec![format!("{prefix}{name}.weight")], ParameterMut::Table(table)));
        }
        let embeddings = format!("{prefix}{}", names.embeddings_norm);
        all.extend(of_norm(None, &embeddings, norm_suffixes, &mut self.norm));
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let own = |name: &str| format!("{prefix}{}.{i}.{name}", names.layer);
            let query_key_value = [names.query, names.key, names.value].map(own);
            all.extend(of_linear(i, &query_key_value, &mut layer.query_key_value));
            all.extend(of_linear(i, &[own(names.attention_output)], &mut layer.attention_output));
            all.extend(of_norm(
                Some(i),
                &own(names.attention_norm),
                norm_suffixes,
                &mut layer.attention_norm,
            ));
            all.extend(of_linear(i, &[own(names.up)], &mut layer.up));
            all.extend(of_linear(i, &[own(names.down)], &mut layer.down));
            all.extend(of_norm(Some(i), &own(names.output_norm), norm_suffixes, &mut layer.output_norm));
        }
        all
    }
}

/// A parameter, the layer that it is in, and the names of its tensors.
pub(crate) type LayerParameter<'a> = (Option<usize>, Vec<String>, ParameterMut<'a>);

fn of_norm<'a>(
    layer: Option<usize>,
    name: &str,
    suffixes: [&str; 2],
    norm: &'a mut Norm,
) -> [LayerParameter<'a>; 2] {
    let names = suffixes.map(|suffix| vec![format!("{name}.{suffix}")]);
    let [scale, shift] = names;
    [
        (layer, scale, ParameterMut::Vector(&mut norm.scale)),
        (layer, shift, ParameterMut::Vector(&mut norm.shift)),
    ]
}

fn of_linear<'a>(
    layer: usize,
    names: &[String],
    linear: &'a mut Linear,
) -> impl Iterator<Item = LayerParameter<'a>> {
    let tensors = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
    let (weights, biases) = (tensors("weight"), tensors("bias"));
    let bias = linear.bias.as_mut().map(|bias| (Some(layer), biases, ParameterMut::Vector(bias)));
    std::iter::once((Some(layer), weights, ParameterMut::Weight(&mut linear.weight))).chain(bias)
}
