//! What differs between two shapes of a stream.

use arrow::datatypes::{Field, SchemaRef};
pub use weir_connect::fidelity::type_of;
use weir_connect::{SchemaChange, StreamTarget};

/// The field of that name.
pub fn field<'a>(schema: &'a SchemaRef, name: &str) -> Option<&'a Field> {
    schema.field_with_name(name).ok()
}

/// What differs, in words.
pub fn differences(old: &StreamTarget, change: &SchemaChange) -> Vec<String> {
    change.differences(&old.schema, &old.key)
}
