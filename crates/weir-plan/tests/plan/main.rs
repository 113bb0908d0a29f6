//! Plans over a connector in memory: values, shapes, promises, refusals.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod bench;
mod changes;
mod invariants;
mod json_path;
mod lineage;
mod lookup;
mod memory;
mod planning;
mod reshape;
mod split;
mod streaming;
mod transforms;
mod window;
