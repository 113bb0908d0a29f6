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

use arrow::datatypes::Schema;
use weir_error::{Error, Kind, Result};

/// Values are found by position, so changes must look as their stream does now; anything else is a fault of ours.
pub(crate) fn look_like(stream: &Schema, changes: &Schema) -> Result<()> {
    let (ours, theirs) = (stream.fields(), changes.fields());
    let same = ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    if same { Ok(()) } else { Err(Error::internal("changes in another schema than the stream's")) }
}

/// The snapshot of a stream that the log does not follow cannot be taken once more.
pub(crate) fn not_followed(stream: &str, known: &[&str]) -> Error {
    Error::new("WEIR-CHANGE-014", Kind::NotFound, format!("the log does not follow `{stream}`"))
        .because(format!("it follows {}", known.join(", ")))
        .hint("a table that is new in the pipeline file gets its snapshot with the next run")
}
