//! Runs: asking for one, stopping one ([`RunService`]), and what follows when an attempt has ended ([`lifecycle`]). Executing them is
//! [`crate::worker`].

pub mod lifecycle;
mod service;

pub use service::RunService;
