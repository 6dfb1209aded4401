//! The operations, one file each, in one order: the formula with shapes and source, the function that a network calls,
//! what its gradient needs and how it is computed, the naive f64 loops that specify both, and tests.

mod activation;
mod add;
mod attention;
mod dropout;
mod embed;
mod layer_norm;
mod linear;
mod pool;
mod unit_length;

#[cfg(test)]
pub(crate) mod testing;

pub use add::add;
pub use attention::{AttentionShape, attention};
pub use dropout::dropout;
pub use embed::{Lookup, embed};
pub use layer_norm::{Norm, layer_norm};
pub use linear::{Linear, linear};
pub use pool::{PoolingMode, pool};
pub use unit_length::unit_length;

pub(crate) use {
    activation::{naive as naive_activation, naive_slope as naive_activation_slope},
    add::naive as naive_add,
    attention::{naive as naive_attention, naive_grad as naive_attention_grad},
    dropout::naive as naive_dropout,
    embed::{naive as naive_embed, naive_scatter_add},
    layer_norm::{naive as naive_layer_norm, naive_grad as naive_layer_norm_grad},
    linear::{naive as naive_linear, naive_input_grad, naive_weight_grad},
    pool::{factors as pool_factors, naive as naive_pool, naive_grad as naive_pool_grad},
    unit_length::{naive as naive_unit_length, naive_grad as naive_unit_length_grad},
};
