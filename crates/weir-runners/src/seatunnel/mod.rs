//! Apache SeaTunnel.

pub mod client;
