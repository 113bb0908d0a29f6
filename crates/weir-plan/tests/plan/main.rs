//! Plans over a connector in memory: values, shapes, promises, refusals.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod aggregates;
mod bench;
mod changes;
mod inference;
mod invariants;
mod json_path;
mod joins;
mod lineage;
mod lookup;
mod memory;
mod nlp;
mod planning;
mod reshape;
mod split;
mod streaming;
mod quality;
mod transforms;
mod window;
