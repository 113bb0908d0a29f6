//! What differs between two shapes of a stream, and whether the contract allows it.

use arrow::datatypes::{Field, SchemaRef};
pub use weir_connect::fidelity::type_of;
use weir_connect::{Error, Result, SchemaChange, SchemaChangePolicy, StreamTarget};

/// The field of that name.
pub fn field<'a>(schema: &'a SchemaRef, name: &str) -> Option<&'a Field> {
    schema.field_with_name(name).ok()
}

/// What differs, in words.
pub fn differences(old: &StreamTarget, change: &SchemaChange) -> Vec<String> {
    change.differences(&old.schema, &old.key)
}

/// Whether the contract allows any change at all. Changes nothing. `refused` is the system's own error, given the policy and what differs.
pub fn permit(old: &StreamTarget, change: &SchemaChange, refused: impl FnOnce(SchemaChangePolicy, &str) -> Error) -> Result<()> {
    let differences = differences(old, change);
    let policy = old.on_schema_change;
    let allowed = match policy {
        SchemaChangePolicy::Freeze | SchemaChangePolicy::Hold => differences.is_empty(),
        SchemaChangePolicy::Evolve => true,
        // Another column has the name now: its values would be mixed with those of the one that had it.
        _ => !change.renamed.iter().any(|(from, _)| field(&change.schema, from).is_some()),
    };
    if allowed {
        return Ok(());
    }
    let error = refused(policy, &differences.join("; "));
    Err(match &change.statement {
        Some(statement) => error.because(format!("the source ran: {statement}")),
        None => error,
    })
}
