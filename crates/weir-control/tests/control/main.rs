//! Services of weir-control over a real database: what is measured, who is told.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod alerts;
mod events;
mod exposition;
mod metrics;
#[cfg(feature = "pulsar")]
mod pulsar;
mod series;
mod stage;
