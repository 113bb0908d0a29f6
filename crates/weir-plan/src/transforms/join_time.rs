//! What a `join` says about time: how far two rows may be apart, or which version of a row counts.

use arrow::datatypes::{DataType, TimeUnit};
use schemars::JsonSchema;
use serde::Deserialize;

use super::as_of;
use super::join::{called, names};
use super::sql::has_reference;
use crate::chain::quoted;
use crate::problem::{Problem, code};
use crate::sql::{Table, parse_expression};
use crate::types::show;

/// How far the times of two rows may be apart. Both ends belong to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Within {
    /// The column of the left input with the time: a timestamp.
    left: String,
    /// That of the right input, of the same type.
    right: String,
    /// How much earlier than the left row the right one may be. Milliseconds.
    #[serde(default)]
    before_ms: u32,
    /// How much later. Milliseconds.
    #[serde(default)]
    after_ms: u32,
}

/// Which version of a right row counts: of the rows of its key the last one that is not later than the left row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AsOf {
    /// The column of the left input with the time: a timestamp.
    left: String,
    /// The column of the right input from whose time on a row is valid, of the same type.
    right: String,
    /// Which right rows are none and only end the version before: a condition in SQL with the name of the input (`rates.gone`). If absent,
    /// those whose `_op` is `d`, as Debezium's envelope has it.
    #[serde(default)]
    deleted: Option<String>,
}

/// The two columns as SQL; problems unless they are times of one type.
fn times(tables: [&Table; 2], columns: [&str; 2], option: &str, problems: &mut Vec<Problem>) -> [String; 2] {
    let mut kinds: Vec<DataType> = Vec::new();
    for ((table, column), side) in tables.into_iter().zip(columns).zip(["left", "right"]) {
        let option = format!("{option}/{side}");
        match table.schema.column_with_name(column) {
            None => {
                let mut problem = Problem::no_column(column, &option, &names(&table.schema));
                problem.message = format!("`{}` has no column `{column}`", called(table));
                problems.push(problem);
            }
            Some((_, field)) => match field.data_type() {
                DataType::Timestamp(..) => kinds.push(field.data_type().clone()),
                other => {
                    let message = format!("`{}.{column}` is {}, no timestamp", called(table), show(other));
                    let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option(option);
                    problems.push(problem.help("`cast` it to `timestamp` or `timestamptz` before"));
                }
            },
        }
    }
    if let [left, right] = kinds.as_slice()
        && left != right
    {
        let told = format!("the times are of two types: {} and {}", show(left), show(right));
        let problem = Problem::new(code::TRANSFORM_OPTIONS, told).option(format!("{option}/right"));
        problems.push(problem.help("`cast` one of them before"));
    }
    let column = |side: usize| format!("{}.{}", quoted(called(tables[side])), quoted(columns[side]));
    [column(0), column(1)]
}

impl Within {
    /// The bounds as SQL.
    pub(super) fn condition(&self, left: &Table, right: &Table, problems: &mut Vec<Problem>) -> String {
        let [one, other] = times([left, right], [&self.left, &self.right], "within", problems);
        let whole = matches!(
            left.schema.field_with_name(&self.left).map(|field| field.data_type()),
            Ok(DataType::Timestamp(TimeUnit::Second, _))
        );
        for (span, option) in [(self.before_ms, "within/before_ms"), (self.after_ms, "within/after_ms")] {
            if whole && span % 1_000 != 0 {
                let told = format!("`{}` has no fractions of a second", self.left);
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, told).option(option));
            }
        }
        format!(
            "{other} >= {one} - INTERVAL '{} milliseconds' AND {other} <= {one} + INTERVAL '{} milliseconds'",
            self.before_ms, self.after_ms
        )
    }
}

impl AsOf {
    /// What can be said without knowing any column.
    pub(super) fn check(&self) -> Vec<Problem> {
        match &self.deleted {
            Some(deleted) if !has_reference(deleted) => {
                parse_expression(deleted).err().map(|error| Problem::query(&error, "as_of/deleted")).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The right input with the time until which each of its rows is valid.
    pub(super) fn table(&self, right: &Table, keys: &[String]) -> String {
        let name = quoted(called(right));
        format!("({}) AS {name}", as_of::versions(&name, keys, &self.right, as_of::UNTIL))
    }

    /// What makes a version the one that counts.
    pub(super) fn condition(&self, left: &Table, right: &Table, problems: &mut Vec<Problem>) -> String {
        let [at, _] = times([left, right], [&self.left, &self.right], "as_of", problems);
        let name = quoted(called(right));
        let valid = as_of::valid(&name, &self.right, as_of::UNTIL, &at);
        let not_deleted = match &self.deleted {
            Some(deleted) => Some(format!("({deleted}) IS NOT TRUE")),
            None => as_of::not_deleted(&name, &right.schema),
        };
        not_deleted.map_or_else(|| valid.clone(), |not_deleted| format!("{valid} AND {not_deleted}"))
    }
}
