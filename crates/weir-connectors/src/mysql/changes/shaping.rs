//! The memory of a change of shape, for whoever takes over after a crash. Pure: no I/O.
//!
//! MySQL commits before and after every ALTER, so the target has its new shape before the rows that belong to it are durable. Whoever takes over then
//! gives the rows in the shape of the last flush again. What was only added does not disturb them. Renamed columns do: so before such a statement
//! the ledger notes what they are called before and after it, and the table itself tells which of the two it is.
//!
//! A column that was added with a value for the rows that are there keeps it as its default until that flush: rows of the old shape that come
//! (again) have it, too.

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use weir_connect::{Error, Kind, Result, StreamTarget};

use super::super::quote::TableName;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shaping {
    version: u32,
    /// Columns of the stream at the last flush, with their types.
    stream: Vec<String>,
    /// What the table calls them before the last statement, where that is something else.
    names: Vec<(String, String)>,
    /// What the last statement renames.
    renames: Vec<(String, String)>,
    /// Columns of the table before the last statement.
    before: Vec<String>,
    /// And after it.
    after: Vec<String>,
    /// Columns whose default is not to stay.
    pub fills: Vec<String>,
    /// The flush is durable: only defaults are left to be taken back.
    pub settled: bool,
}

fn columns(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
}

/// Where a name leads.
fn through(renames: &[(String, String)], name: &str) -> String {
    renames.iter().find(|(from, _)| from == name).map_or_else(|| name.to_string(), |(_, to)| to.clone())
}

impl Shaping {
    /// Of a stream in this shape, whose columns the table calls so.
    pub fn new(schema: &SchemaRef, names: Vec<(String, String)>) -> Self {
        Self { version: 1, stream: columns(schema), names, ..Self::default() }
    }

    /// The next statement.
    #[must_use]
    pub fn step(&self, renames: &[(String, String)], before: &[String], after: &[String], fills: &[String]) -> Self {
        let names = self.done();
        Self {
            names,
            renames: renames.to_vec(),
            before: before.to_vec(),
            after: after.to_vec(),
            fills: self.fills.iter().map(|name| through(renames, name)).chain(fills.iter().cloned()).collect(),
            ..self.clone()
        }
    }

    /// After a flush of rows that are still of the old shape.
    #[must_use]
    pub fn rebased(&self, schema: &SchemaRef, names: Vec<(String, String)>) -> Self {
        let (after, fills) = (self.after.clone(), self.fills.clone());
        Self { before: after.clone(), after, fills, ..Self::new(schema, names) }
    }

    /// Once the flush is durable.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { settled: true, ..self.clone() }
    }

    /// Names after the last statement.
    fn done(&self) -> Vec<(String, String)> {
        let mut names: Vec<(String, String)> =
            self.names.iter().map(|(stream, table)| (stream.clone(), through(&self.renames, table))).collect();
        for (from, to) in &self.renames {
            if !self.names.iter().any(|(_, table)| table == from) {
                names.push((from.clone(), to.clone()));
            }
        }
        names
    }

    /// What the table calls the columns of the stream in this shape, where that is something else.
    pub fn resolve(&self, schema: &SchemaRef, found: &[String], table: &TableName) -> Result<Vec<(String, String)>> {
        if self.settled || self.stream != columns(schema) {
            return Ok(Vec::new());
        }
        if found == self.after {
            return Ok(self.done());
        }
        if found == self.before || (self.names.is_empty() && self.renames.is_empty()) {
            return Ok(self.names.clone());
        }
        Err(Error::new("WEIR-MY-115", Kind::Conflict, "somebody altered the table while it got a new shape")
            .at(table.display())
            .because(format!(
                "its columns were to be ({}) or ({}), and are ({})",
                self.before.join(", "),
                self.after.join(", "),
                found.join(", ")
            ))
            .hint("give the table back one of these shapes"))
    }
}

/// The target with the table's names of the columns.
pub fn renamed(target: &StreamTarget, names: &[(String, String)]) -> StreamTarget {
    if names.is_empty() {
        return target.clone();
    }
    let fields: Vec<Field> =
        target.schema.fields().iter().map(|field| field.as_ref().clone().with_name(through(names, field.name()))).collect();
    StreamTarget {
        schema: SchemaRef::new(Schema::new_with_metadata(fields, target.schema.metadata().clone())),
        key: target.key.iter().map(|key| through(names, key)).collect(),
        ..target.clone()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect()
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_table_tells_how_far_the_renames_got() {
        let schema: SchemaRef =
            SchemaRef::new(Schema::new(["id", "a", "b"].map(|name| Field::new(name, DataType::Int64, true)).to_vec()));
        let table = TableName::new("d", "t");
        let exchange = Shaping::new(&schema, Vec::new()).step(
            &pairs(&[("a", "b"), ("b", "a")]),
            &names(&["id", "a", "b"]),
            &names(&["id", "b", "a"]),
            &[],
        );
        let then = exchange.step(&pairs(&[("b", "c")]), &names(&["id", "b", "a"]), &names(&["id", "c", "a"]), &[]);
        let found = |shaping: &Shaping, now: &[&str]| shaping.resolve(&schema, &names(now), &table);
        assert_eq!(found(&exchange, &["id", "a", "b"]).unwrap(), []);
        assert_eq!(found(&exchange, &["id", "b", "a"]).unwrap(), pairs(&[("a", "b"), ("b", "a")]));
        assert_eq!(found(&then, &["id", "b", "a"]).unwrap(), pairs(&[("a", "b"), ("b", "a")]));
        assert_eq!(found(&then, &["id", "c", "a"]).unwrap(), pairs(&[("a", "c"), ("b", "a")]));
        assert_eq!(found(&then, &["id", "c"]).unwrap_err().code(), "WEIR-MY-115");
        // The new shape is not the one that the names were noted for.
        let new: SchemaRef =
            SchemaRef::new(Schema::new(["id", "b", "a"].map(|name| Field::new(name, DataType::Int64, true)).to_vec()));
        assert_eq!(exchange.resolve(&new, &names(&["id", "b", "a"]), &table).unwrap(), []);
    }
}
