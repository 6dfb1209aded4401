//! One file per command: its arguments, and what it does.

pub(crate) mod card;
pub(crate) mod classify;
pub(crate) mod cluster;
pub(crate) mod dedup;
pub(crate) mod demo;
pub(crate) mod download;
pub(crate) mod encode;
pub(crate) mod evaluate;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod mine;
pub(crate) mod prune;
pub(crate) mod quantize;
pub(crate) mod search;
pub(crate) mod similarity;
pub(crate) mod train;
