//! The command `sentir`.
#![forbid(unsafe_code)]

mod input;
mod interrupt;
mod output;

fn main() {}
