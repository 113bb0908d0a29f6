//! The shape that a stream had where a sink has got to, which is not the one that its table has by now.
//!
//! A sink's target is opened in the shape of the last change that it has, and brought on by the changes of the shape in the journal, each in its
//! place between the rows. A run that began with what the catalogue says would add columns, and forget renames, ahead of the rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value, json};
use weir_connect::SchemaChange;
use weir_connect::fidelity::COLUMN_ID;
use weir_error::Result;

use super::codec::{self, Record};
use super::journal::Journal;

/// A stream's columns and key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub schema: SchemaRef,
    pub key: Vec<String>,
}

/// Per stream.
pub(super) type Shapes = HashMap<Arc<str>, Shape>;

impl Shape {
    /// Whether rows have it.
    pub fn is_of(&self, schema: &SchemaRef) -> bool {
        let (ours, theirs) = (self.schema.fields(), schema.fields());
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
    }

    /// What a change makes of it; `None`: it is this already.
    pub fn changed(&self, change: &SchemaChange) -> Option<SchemaChange> {
        if self.schema == change.schema && self.key == change.key {
            return None;
        }
        // Only who knows the shape before can tell what was renamed: the source may have begun with a later one.
        let by_number = self.schema.fields().iter().filter_map(|old| {
            let number = old.metadata().get(COLUMN_ID)?;
            let new = change.schema.fields().iter().find(|new| new.metadata().get(COLUMN_ID) == Some(number))?;
            (old.name() != new.name()).then(|| (old.name().clone(), new.name().clone()))
        });
        let numbered =
            self.schema.fields().iter().chain(change.schema.fields()).any(|field| field.metadata().contains_key(COLUMN_ID));
        let renamed = if numbered { by_number.collect() } else { change.renamed.clone() };
        Some(SchemaChange { renamed, ..change.clone() })
    }
}

/// For a checkpoint.
pub(super) fn write<'a>(shapes: impl Iterator<Item = (&'a str, &'a Shape)>) -> Result<Value> {
    let mut all = Map::new();
    for (stream, shape) in shapes {
        all.insert(stream.to_owned(), json!({"schema": codec::schema_text(&shape.schema)?, "key": shape.key}));
    }
    Ok(Value::Object(all))
}

/// From a checkpoint; what was not written down is not there.
pub(super) fn read(value: &Value) -> Result<Shapes> {
    let mut shapes = Shapes::new();
    for (stream, shape) in value.as_object().into_iter().flatten() {
        let key = shape["key"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let schema = codec::schema_of_text(shape["schema"].as_str().unwrap_or_default())?;
        shapes.insert(stream.as_str().into(), Shape { schema, key });
    }
    Ok(shapes)
}

/// The last shape of a stream in the journal after boundary `from`, up to boundary `to`.
pub(super) async fn last_between(journal: &Arc<Journal>, stream: &str, from: u64, to: u64) -> Result<Option<Shape>> {
    let mut last = None;
    if from >= to {
        return Ok(last);
    }
    journal.holds(from)?;
    journal.holds(to)?;
    let mut reader = journal.read_after(from)?;
    while let Some((record, _)) = reader.next().await? {
        match record {
            Record::Schema(change) if &*change.stream == stream => last = Some(Shape { schema: change.schema, key: change.key }),
            Record::Boundary(mark) if mark.seq >= to => break,
            _ => {}
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn shape(columns: &[(&str, &str)]) -> Shape {
        let field = |(name, number): &(&str, &str)| {
            Field::new(*name, DataType::Int64, true).with_metadata([(COLUMN_ID.to_owned(), (*number).to_owned())].into())
        };
        Shape { schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())), key: vec!["id".into()] }
    }

    fn change(to: &Shape) -> SchemaChange {
        SchemaChange { stream: "t".into(), schema: to.schema.clone(), key: to.key.clone(), renamed: Vec::new(), statement: None }
    }

    #[test]
    fn a_rename_is_known_by_the_column_number_whatever_the_source_says() {
        let old = shape(&[("id", "1"), ("a", "2"), ("b", "3")]);
        let new = shape(&[("id", "1"), ("b", "2"), ("c", "3"), ("a", "4")]);
        let renamed = old.changed(&change(&new)).unwrap().renamed;
        assert_eq!(renamed, [("a".to_owned(), "b".to_owned()), ("b".to_owned(), "c".to_owned())]);
        assert!(new.changed(&change(&new)).is_none());
    }

    #[test]
    fn a_checkpoint_gives_back_shapes_with_their_numbers() {
        let old = shape(&[("id", "1"), ("ü", "2")]);
        let read = read(&write([("public.t", &old)].into_iter()).unwrap()).unwrap();
        assert_eq!(read["public.t"], old);
    }
}
