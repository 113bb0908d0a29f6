//! The connectors. A folder and a Cargo feature per system; [`registry`] is the open list.

#[cfg(feature = "postgres")]
pub mod postgres;
mod registry;

pub use registry::registry;
