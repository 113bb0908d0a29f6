//! Plans over a connector in memory: values, shapes, promises, refusals.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod bench;
mod changes;
mod invariants;
mod lineage;
mod memory;
mod planning;
mod streaming;
mod transforms;
