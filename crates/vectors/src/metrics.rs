//! Numbers that judge vectors against people.

pub mod correlation;
