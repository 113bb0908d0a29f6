//! The narrow waist: a spec becomes a checked plan. Engine and runners translate only what is here.
#![deny(missing_docs)]

pub mod model;
pub mod transforms;

pub use model::*;
