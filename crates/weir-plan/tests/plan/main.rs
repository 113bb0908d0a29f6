//! Plans over a connector in memory: values, shapes, promises, refusals.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod aggregates;
mod bench;
mod changes;
mod engine;
mod flink;
mod gates;
mod inference;
mod invariants;
mod joined;
mod joins;
mod json_path;
mod keyed;
mod lineage;
mod lookup;
mod memory;
mod nlp;
mod planning;
mod quality;
mod reshape;
mod split;
mod sql_windows;
mod streaming;
mod transforms;
mod window;
