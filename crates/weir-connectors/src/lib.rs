//! The connectors: a folder and a Cargo feature per system, one line each in [`registry`].

#[cfg(feature = "files")]
pub mod files;
pub mod registry;
