//! The platform's services: what `weir serve` and `weir worker` decide and do. No HTTP (weir-server), no SQL (weir-store), no data (every
//! run, connection test and preview is a process of its own, see [`worker`]).
//!
//! * [`platform`]: everything a service needs, made once;
//! * [`workbench`]: what the platform must know of pipelines and connectors; the binary implements it;
//! * [`runs`]: asking for runs, and what follows when one ends; [`worker`]: executing them;
//! * [`jobs`], [`connections`]: what users store; [`templates`]: ready pipelines; [`journal`]: a job's logs; [`dead_letters`]: what it could not process;
//! * [`schedule`]: when jobs run by themselves; [`seal`]: secrets at rest;
//! * [`monitoring`]: what is measured and watched; [`events`]: who is told;
//! * [`telemetry`]: spans and log lines;
//! * [`files`]: where tenants' files are;
//! * [`access`]: who asks; [`config`]: settings and where each came from.
#![deny(missing_docs)]

pub mod access;
pub mod config;
pub mod connections;
pub mod dead_letters;
pub mod events;
pub mod files;
pub mod jobs;
pub mod journal;
pub mod monitoring;
pub mod platform;
pub mod positions;
pub mod runs;
pub mod schedule;
pub mod seal;
pub mod telemetry;
pub mod templates;
#[cfg(test)]
mod testing;
pub mod workbench;
pub mod worker;

pub use platform::{Platform, vault_keeper};
