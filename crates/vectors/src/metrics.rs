//! Numbers that judge vectors against people.

pub mod correlation;
pub mod retrieval;
