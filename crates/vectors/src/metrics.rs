//! Numbers that judge vectors against people.

pub mod binary;
pub mod classification;
pub mod clustering;
pub mod correlation;
pub mod retrieval;
