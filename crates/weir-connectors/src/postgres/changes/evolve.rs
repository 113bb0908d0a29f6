//! A new shape of the stream, against the contract.
//!
//! | the source | evolve | freeze, hold | discard_column |
//! | --- | --- | --- | --- |
//! | adds a column | added; the rows that are there get its constant default, or NULL | refused | left out |
//! | drops a column | stays, NULL in rows written from now on; a NOT NULL is taken off | refused | stays; NOT NULL without default is refused |
//! | renames a column | renamed | refused | the new name is left out; refused where another column takes the old one |
//! | widens a type | widened | refused | refused |
//! | makes text of another kind | refused, unless the target has text | refused | as evolve |
//! | narrows a type | stays wide | refused | stays wide |
//! | allows NULL | NOT NULL is taken off | refused | as it is |
//! | forbids NULL | stays | stays | stays |
//! | changes the key | needs a unique index on the new key | refused | as evolve |
//!
//! Everything happens in the transaction of the flush that follows.

use arrow::datatypes::{DataType, Field};
use weir_connect::fidelity::{FILL, LOGICAL_TYPE};
use weir_connect::{Error, Kind, OnLoss, Result, SchemaChange, SchemaChangePolicy, StreamTarget};

use super::super::catalog;
use super::super::client::Client;
use super::super::quote::{TableName, ident, literal};
use super::super::target;
use crate::changes::shapes::{field, type_of};

/// Under `evolve`: what has to happen before stream and table are compared, because the table alone does not tell. Runs inside a transaction.
pub async fn prepare(
    client: &mut Client,
    old: &StreamTarget,
    change: &SchemaChange,
    name: &TableName,
    on_loss: &OnLoss,
) -> Result<Vec<String>> {
    if old.on_schema_change != SchemaChangePolicy::Evolve {
        return Ok(Vec::new());
    }
    let Some(relation) = catalog::find(client, name).await? else { return Ok(Vec::new()) };
    let shape = catalog::shapes(client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
    let table = name.sql();
    let has = |column: &str| shape.columns.iter().any(|found| found.name == column);
    let renames = in_order(&change.renamed, has);
    let mut statements: Vec<String> =
        renames.iter().map(|(from, to)| format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", ident(from), ident(to))).collect();
    for column in shape.columns.iter().filter(|column| column.not_null) {
        let called = change.renamed.iter().find(|(from, _)| from == &column.name).map_or(&column.name, |(_, to)| to);
        let ours = field(&old.schema, &column.name);
        let free = match field(&change.schema, called) {
            // Dropped at the source: there is no value any more.
            None => ours.is_some() && !column.optional,
            Some(after) => after.is_nullable() && ours.is_some_and(|before| !before.is_nullable()),
        };
        if free && !change.key.contains(called) && !shape.key.contains(&column.name) {
            statements.push(format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", ident(called)));
        }
    }
    for added in change.schema.fields() {
        // Now or never: later there are rows whose value was in the log and was left out.
        let leaves = change.renamed.iter().any(|(from, _)| from == added.name());
        let comes = change.renamed.iter().any(|(_, to)| to == added.name());
        let new = !comes && (leaves || (field(&old.schema, added.name()).is_none() && !has(added.name())));
        if let (true, Some(fill)) = (new, added.metadata().get(FILL)) {
            let (column, kind) = (ident(added.name()), target::column_type(added, on_loss));
            statements.push(format!("ALTER TABLE {table} ADD COLUMN {column} {kind} DEFAULT {}", literal(fill)));
            statements.push(format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"));
        }
    }
    Ok(statements)
}

/// A column that has become text, and is none at the target: the server would read there what it can, and bend it (`tomorrow` in a date).
pub async fn kinds(client: &mut Client, old: &StreamTarget, change: &SchemaChange, name: &TableName) -> Result<()> {
    let plain = |field: &Field| field.data_type() == &DataType::Utf8 && !field.metadata().contains_key(LOGICAL_TYPE);
    for after in change.schema.fields().iter().filter(|after| plain(after)) {
        let before = change.renamed.iter().find(|(_, to)| to == after.name()).map_or(after.name(), |(from, _)| from);
        if field(&old.schema, before).is_none_or(plain) {
            continue;
        }
        let sql = "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped AND t.typcategory NOT IN ('S', 'E')";
        if let Some(row) = client.query(sql, &[Some(&name.sql()), Some(after.name())]).await?.first() {
            let what = format!("column `{}` is {} now, and {} in the table", after.name(), type_of(after), row.text(0));
            return Err(Error::new("WEIR-PG-045", Kind::Schema, what)
                .at(name.display())
                .hint("change the column's type at the target, or rename it there"));
        }
    }
    Ok(())
}

/// Renames, so ordered that a new name is free when it is taken (a → b, b → c); a circle goes over a name of ours.
fn in_order(renamed: &[(String, String)], has: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut left: Vec<(String, String)> = renamed.iter().filter(|(from, to)| from != to && has(from)).cloned().collect();
    // A new name that the table has already, and nobody leaves: it was renamed there before.
    let leaving: Vec<String> = left.iter().map(|(from, _)| from.clone()).collect();
    left.retain(|(_, to)| !has(to) || leaving.contains(to));
    let mut done = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|(_, to)| !left.iter().any(|(from, _)| from == to));
        match free {
            Some(at) => done.push(left.remove(at)),
            None => {
                let (from, to) = left.remove(0);
                let aside = format!("_weir_{}", done.len());
                done.push((from, aside.clone()));
                left.push((aside, to));
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(renamed: &[(&str, &str)], has: &[&str]) -> Vec<String> {
        let renamed: Vec<(String, String)> = renamed.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        in_order(&renamed, |name| has.contains(&name)).iter().map(|(from, to)| format!("{from}>{to}")).collect()
    }

    #[test]
    fn renames_that_follow_or_exchange_each_other_find_their_names_free() {
        assert_eq!(ordered(&[("a", "b"), ("b", "c")], &["a", "b"]), ["b>c", "a>b"]);
        assert_eq!(ordered(&[("a", "b"), ("b", "a")], &["a", "b"]), ["a>_weir_0", "b>a", "_weir_0>b"]);
    }

    #[test]
    fn what_was_renamed_already_is_left_as_it_is() {
        assert_eq!(ordered(&[("a", "b")], &["b"]), [""; 0]);
        assert_eq!(ordered(&[("a", "b")], &["a", "b"]), [""; 0]);
    }
}
