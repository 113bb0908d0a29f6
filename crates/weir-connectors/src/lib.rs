//! The connectors: one folder and one Cargo feature per system, one line each in [`registry`].

#[cfg(feature = "http")]
pub mod http;
mod registry;

pub use registry::registry;
