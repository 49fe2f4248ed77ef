//! Tests that cross crates: end to end, window, oracles.

pub mod fashion;
pub mod kit;
