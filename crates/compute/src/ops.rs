//! The operations, one file each, in one order: the formula with shapes and source, the function that a network calls,
//! the naive f64 loops that specify it, and its tests. What an operation's gradient needs will stand between the last two.

mod activation;
mod add;
mod attention;
mod embed;
mod layer_norm;
mod linear;
mod pool;
mod unit_length;

#[cfg(test)]
pub(crate) mod testing;

pub use add::add;
pub use attention::{AttentionShape, attention};
pub use embed::{Lookup, embed};
pub use layer_norm::{Norm, layer_norm};
pub use linear::{Linear, linear};
pub use pool::{PoolingMode, pool};
pub use unit_length::unit_length;

pub(crate) use {
    activation::naive as naive_activation, add::naive as naive_add, attention::naive as naive_attention,
    embed::naive as naive_embed, layer_norm::naive as naive_layer_norm, linear::naive as naive_linear,
    pool::naive as naive_pool, unit_length::naive as naive_unit_length,
};
