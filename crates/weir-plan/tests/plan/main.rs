//! Plans over a connector in memory: values, shapes, promises, refusals.

mod bench;
mod invariants;
mod lineage;
mod memory;
mod planning;
mod transforms;
