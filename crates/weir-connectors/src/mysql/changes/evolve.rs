//! A new shape of the stream, against the contract: what is to be done, as one statement. Pure: no I/O.
//!
//! | the source | evolve | freeze, hold | discard_column |
//! | --- | --- | --- | --- |
//! | adds a column | added; the rows that are there get its constant default, or NULL | refused | left out |
//! | drops a column | stays, NULL in rows written from now on; a NOT NULL is taken off | refused | stays; NOT NULL without default is refused |
//! | renames a column | renamed; refused if the table has another of that name | refused | the new name is left out; refused where another column takes the old one |
//! | widens a type | widened | refused | refused |
//! | makes text of another kind | refused, unless the target has text | refused | as evolve |
//! | narrows a type | stays wide | refused | stays wide |
//! | allows NULL | NOT NULL is taken off | refused | as it is |
//! | forbids NULL | stays | stays | stays |
//! | changes the key | needs a unique index on the new key | refused | as evolve |
//!
//! Everything is checked before anything is altered, and all of it is one ALTER TABLE: it happens, or it does not (on MariaDB before 10.6 only if the
//! server itself does not die in it).

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use weir_connect::fidelity::FILL;
use weir_connect::{Error, Kind, OnLoss, Result, SchemaChange, SchemaChangePolicy, StreamTarget};

use super::super::catalog::{RawColumn, Shape};
use super::super::encode::{ColumnPlan, Form, Rows};
use super::super::quote::{TableName, ident};
use super::super::target::{self, Change, same_name};
use super::super::types::{Base, ColumnType};
use crate::changes::shapes::field;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// The statement, if there is anything to do.
    pub sql: Option<String>,
    /// Columns of the table and their new names.
    pub renames: Vec<(String, String)>,
    /// Columns of the table before.
    pub before: Vec<String>,
    /// And after.
    pub after: Vec<String>,
    /// New columns with a default that must not stay.
    pub fills: Vec<String>,
}

/// What a change of shape is about.
pub struct Scene<'a> {
    /// The table.
    pub name: &'a TableName,
    /// As it is now.
    pub shape: &'a Shape,
    /// The stream so far.
    pub old: &'a StreamTarget,
    /// Its columns, and what the table calls them.
    pub names: &'a [(String, String)],
    /// The change.
    pub change: &'a SchemaChange,
    /// Columns without exact counterpart.
    pub on_loss: &'a OnLoss,
}

impl Scene<'_> {
    /// Checks everything, and says what is to be done.
    pub fn plan(&self, new: &StreamTarget) -> Result<Plan> {
        let evolve = self.old.on_schema_change == SchemaChangePolicy::Evolve;
        let renames = if evolve { self.renames()? } else { Vec::new() };
        let called = |name: &str| renames.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to.as_str()).to_string();
        let mut then = self.shape.clone();
        let mut loosened = Vec::new();
        for (at, column) in then.columns.iter_mut().enumerate() {
            let ours = self.names.iter().find(|(_, table)| same_name(table, &column.name));
            let before = ours.and_then(|(stream, _)| field(&self.old.schema, stream));
            let key = self.shape.key.iter().any(|key| same_name(key, &column.name));
            column.name = called(&column.name);
            if evolve && column.not_null && !key && !new.key.iter().any(|key| same_name(key, &column.name)) {
                let free = match new.schema.fields().iter().find(|after| same_name(after.name(), &column.name)) {
                    // Dropped at the source: there is no value any more.
                    None => before.is_some() && !column.optional,
                    Some(after) => after.is_nullable() && before.is_some_and(|before| !before.is_nullable()),
                };
                if free {
                    (column.not_null, column.optional) = (false, true);
                    loosened.push(at);
                }
            }
        }
        let written = target::written(new, self.name, self.on_loss)?;
        let (changes, _) = target::compare(new, &written, &then, self.name, self.on_loss)?;
        let mut clauses = Vec::new();
        for (at, (was, column)) in self.shape.columns.iter().zip(&then.columns).enumerate() {
            let wider = changes.iter().find_map(|change| match change {
                Change::Widen { column: name, definition } if *name == column.name => Some(definition.clone()),
                _ => None,
            });
            let whole = match wider {
                None if loosened.contains(&at) => Some(target::definition(self.name, column, &column.of.sql())?),
                wider => wider,
            };
            match whole {
                Some(whole) => clauses.push(format!("CHANGE COLUMN {} {} {whole}", ident(&was.name), ident(&column.name))),
                None if was.name != column.name => {
                    clauses.push(format!("RENAME COLUMN {} TO {}", ident(&was.name), ident(&column.name)));
                }
                None => {}
            }
        }
        let mut after: Vec<String> = then.columns.iter().map(|column| column.name.clone()).collect();
        let mut fills = Vec::new();
        for change in &changes {
            let Change::Add { column, kind } = change else { continue };
            let fill = match field(&new.schema, column).and_then(|field| Some((field, field.metadata().get(FILL)?))) {
                Some((field, text)) => {
                    fills.push(column.clone());
                    format!(" DEFAULT {}", self.fill(field, kind, text)?)
                }
                None => String::new(),
            };
            clauses.push(format!("ADD COLUMN {} {kind} NULL{fill}", ident(column)));
            after.push(column.clone());
        }
        let sql = (!clauses.is_empty()).then(|| format!("ALTER TABLE {} {}", self.name.sql(), clauses.join(", ")));
        let before = self.shape.columns.iter().map(|column| column.name.clone()).collect();
        Ok(Plan { sql, renames, before, after, fills })
    }

    /// Columns of the table that get another name.
    fn renames(&self) -> Result<Vec<(String, String)>> {
        let has = |name: &str| self.shape.columns.iter().find(|column| same_name(&column.name, name));
        let mut found = Vec::new();
        for field in self.change.schema.fields() {
            let to = field.name();
            let from = match self.change.renamed.iter().find(|(_, new)| new == to) {
                Some((from, _)) => from,
                // It has its name still; but the table may have a later one already, from before a crash.
                None if self.change.renamed.iter().any(|(from, _)| from == to) => continue,
                None => to,
            };
            let Some((_, table)) = self.names.iter().find(|(stream, _)| stream == from) else { continue };
            let Some(column) = has(table) else { continue };
            let same = if from == to { same_name(&column.name, to) } else { column.name == *to };
            if !same {
                found.push((column.name.clone(), to.clone()));
            }
        }
        for (from, to) in &found {
            let taken =
                has(to).is_some_and(|column| !found.iter().any(|(leaving, _): &(String, String)| leaving == &column.name));
            if taken {
                return Err(Error::new(
                    "WEIR-MY-045",
                    Kind::Schema,
                    format!("column `{from}` cannot be renamed: the table has a column `{to}` already"),
                )
                .at(self.name.display())
                .hint("a column that the source dropped stays in the table: drop it there, or rename it"));
            }
        }
        Ok(found)
    }

    /// What the source says that the rows have which are there, as a literal of the new column.
    fn fill(&self, field: &Field, kind: &str, text: &str) -> Result<String> {
        let wrong = |why: String| {
            Error::new(
                "WEIR-MY-116",
                Kind::Schema,
                format!("the value of the new column `{}` in older rows cannot be written", field.name()),
            )
            .at(self.name.display())
            .because(why)
            .hint("add the column to the table by hand, with this value in the rows that are there")
        };
        let of = ColumnType::parse(kind);
        let array: ArrayRef = match field.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                let bytes = text.strip_prefix("\\x").and_then(unhex);
                let bytes = bytes.ok_or_else(|| wrong(format!("`{text}` is not in hexadecimal digits")))?;
                Arc::new(BinaryArray::from_vec(vec![&bytes]))
            }
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::FixedSizeList(..) => {
                return Err(wrong(format!("`{text}` is a nested value in the words of the source")));
            }
            _ => Arc::new(StringArray::from(vec![text])),
        };
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let array = cast_with_options(&array, field.data_type(), &options).map_err(|error| wrong(error.to_string()))?;
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let column = RawColumn {
            name: field.name().clone(),
            of: of.clone(),
            type_name: kind.into(),
            not_null: false,
            optional: true,
            generated: false,
            charset: String::new(),
            collation: String::new(),
            default: None,
            extra: String::new(),
            comment: String::new(),
        };
        let shape = Shape { columns: vec![column], key: Vec::new() };
        let plans: Vec<ColumnPlan> = target::bind(&shape, self.name, &schema, &[0], self.on_loss)?;
        let batch = RecordBatch::try_new(schema, vec![array]).map_err(|error| wrong(error.to_string()))?;
        let mut out = Vec::new();
        Rows::new(&batch, &plans, Form::Insert)?.cell(0, 0, &plans, &mut out).map_err(|error| wrong(error.to_string()))?;
        let literal = String::from_utf8(out).map_err(|_| wrong("it is not UTF-8".into()))?;
        // These take expressions only.
        let large = matches!(of.base, Base::Text(_) | Base::Json | Base::Bytes(_) | Base::Geometry(_));
        Ok(if large { format!("({literal})") } else { literal })
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len() / 2).map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use weir_connect::RunIdentity;

    use super::*;

    fn column(name: &str, kind: &str) -> RawColumn {
        RawColumn {
            name: name.into(),
            of: ColumnType::parse(kind),
            type_name: kind.into(),
            not_null: false,
            optional: true,
            generated: false,
            charset: String::new(),
            collation: String::new(),
            default: None,
            extra: String::new(),
            comment: String::new(),
        }
    }

    fn fill(kind: DataType, sql: &str, text: &str) -> Result<String> {
        let field = Field::new("c", kind, true);
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let old = StreamTarget {
            run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
            stream: "s".into(),
            schema: schema.clone(),
            key: vec!["id".into()],
            cursor: None,
            write_mode: weir_connect::WriteMode::Upsert,
            on_schema_change: SchemaChangePolicy::Evolve,
            changes: true,
        };
        let change = SchemaChange { stream: "s".into(), schema, key: vec!["id".into()], renamed: Vec::new(), statement: None };
        let shape = Shape { columns: vec![column("id", "bigint")], key: vec!["id".into()] };
        let (name, on_loss) = (TableName::new("d", "t"), OnLoss::default());
        Scene { name: &name, shape: &shape, old: &old, names: &[], change: &change, on_loss: &on_loss }.fill(&field, sql, text)
    }

    #[test]
    fn what_older_rows_have_is_written_in_the_words_of_this_server() {
        use arrow::datatypes::TimeUnit::Microsecond;
        for (kind, sql, text, literal) in [
            (DataType::Boolean, "tinyint(1)", "t", "1"),
            (DataType::Int32, "int", "-7", "-7"),
            (DataType::Decimal128(10, 2), "decimal(10,2)", "1.50", "1.50"),
            (DataType::Utf8, "longtext", "it's \\", "('it\\'s \\\\')"),
            (DataType::Utf8, "varchar(9)", "x", "'x'"),
            (DataType::Binary, "longblob", "\\x00ff", "(X'00ff')"),
            (DataType::Timestamp(Microsecond, None), "datetime(6)", "2024-02-29 12:00:00.5", "'2024-02-29 12:00:00.500000'"),
            (
                DataType::Timestamp(Microsecond, Some("UTC".into())),
                "datetime(6)",
                "2024-02-29 12:00:00+02",
                "'2024-02-29 10:00:00'",
            ),
        ] {
            assert_eq!(fill(kind, sql, text).unwrap(), literal, "{sql} {text}");
        }
        for (kind, sql, text) in [(DataType::Int32, "int", "x"), (DataType::Binary, "longblob", "abc")] {
            assert_eq!(fill(kind, sql, text).unwrap_err().code(), "WEIR-MY-116");
        }
    }
}
