//! What differs between two shapes of a stream, and whether the contract allows it.

use arrow::datatypes::{Field, SchemaRef};
use weir_connect::fidelity::SOURCE_TYPE;
use weir_connect::{Error, Result, SchemaChange, SchemaChangePolicy, StreamTarget};

/// The source's name of a field's type, or Arrow's.
pub fn type_of(field: &Field) -> String {
    match field.metadata().get(SOURCE_TYPE) {
        Some(name) => name.clone(),
        None => field.data_type().to_string(),
    }
}

/// The field of that name.
pub fn field<'a>(schema: &'a SchemaRef, name: &str) -> Option<&'a Field> {
    schema.field_with_name(name).ok()
}

/// What differs, in words.
pub fn differences(old: &StreamTarget, change: &SchemaChange) -> Vec<String> {
    let mut all = Vec::new();
    let new_name = |name: &str| change.renamed.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
    let is_renamed = |name: &str| change.renamed.iter().any(|(_, to)| to == name);
    for before in old.schema.fields() {
        let (name, after) = match new_name(before.name()) {
            Some(to) => {
                all.push(format!("rename column {} to {to}", before.name()));
                (to, field(&change.schema, to))
            }
            None => (before.name().as_str(), field(&change.schema, before.name())),
        };
        match after {
            None => all.push(format!("drop column {name}")),
            Some(after) => {
                if before.data_type() != after.data_type() || type_of(before) != type_of(after) {
                    all.push(format!("change column {name} from {} to {}", type_of(before), type_of(after)));
                }
                // That NULL is forbidden from now on asks nothing of the target.
                if !before.is_nullable() && after.is_nullable() {
                    all.push(format!("allow NULL in column {name}"));
                }
            }
        }
    }
    for after in change.schema.fields() {
        if field(&old.schema, after.name()).is_none() && !is_renamed(after.name()) {
            all.push(format!("add column {} {}", after.name(), type_of(after)));
        }
    }
    if old.key != change.key {
        all.push(format!("change the key from ({}) to ({})", old.key.join(", "), change.key.join(", ")));
    }
    all
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
