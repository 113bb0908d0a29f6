//! What logs of changes, and sinks that apply them by key, have in common, whatever their system. Pure: no I/O, no SQL.
//!
//! | what | where |
//! | --- | --- |
//! | changes that wait for a flush, collapsed to the last one per key | `pending` |
//! | which of them need the same statement | `groups` |
//! | what differs between two shapes of a stream, in words, and whether the contract allows it | `shapes` |
//! | how a log's resume point is kept | `position` |
//!
//! Not here: how rows travel, and the statements themselves; they are the connectors' own.

pub(crate) mod groups;
#[cfg(test)]
pub(crate) mod model;
pub(crate) mod pending;
pub(crate) mod position;
#[cfg(test)]
pub(crate) mod seeds;
pub(crate) mod shapes;
