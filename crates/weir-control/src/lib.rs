//! The platform's services: what `weir serve` and `weir worker` decide and do. No HTTP (weir-server), no SQL (weir-store), no data (every
//! run, connection test and preview is a process of its own, see [`worker`]).
//!
//! * [`platform`]: everything a service needs, made once;
//! * [`workbench`]: what the platform must know of pipelines and connectors; the binary implements it;
//! * [`config`]: settings and where each came from.
#![deny(missing_docs)]

pub mod config;
pub mod platform;
pub mod workbench;

pub use platform::Platform;
