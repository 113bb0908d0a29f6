//! `cast`: columns to other types, checked value by value.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use crate::chain::{CastColumn, Chain};
use crate::convert::convertible;
use crate::problem::{Problem, code};
use crate::types::{TypeWord, WORDS};

/// Gives columns another type. A value that has no counterpart in the new type, or would change (`1.5` as an integer, a decimal with more
/// digits, a time that a date cannot hold), is never bent silently: `on_error` says what happens to its row. NULL stays NULL. To truncate on purpose, say
/// `accept_loss`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cast {
    /// Column → type: text, bool, int8 … int64, uint8 … uint64, float32, float64, decimal(p,s), date, time, timestamp, timestamptz
    /// (both with an optional unit s, ms, us, ns), binary, json.
    columns: BTreeMap<String, String>,
    /// What happens to a row with a value that does not convert; `dead_letter` if absent.
    #[serde(default)]
    on_error: Option<OnError>,
    /// Accept values that are truncated or rounded by the conversion (`1.5` → `1`).
    #[serde(default)]
    accept_loss: bool,
}

/// What happens to a row with a value that does not convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// The row goes to the dead letters.
    DeadLetter,
    /// The value becomes NULL.
    Null,
    /// The run fails.
    Error,
}

/// What a cast does about values that do not convert, or change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Policy {
    /// As written; `None` = dead letters where rows can be set aside.
    pub(crate) on_error: Option<OnError>,
    pub(crate) accept_loss: bool,
}

impl Transform for Cast {
    fn check(&self) -> Vec<Problem> {
        check_words(&self.columns, "columns")
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        lower_casts(&self.columns, Policy { on_error: self.on_error, accept_loss: self.accept_loss }, "columns", chain, problems);
    }
}

/// Problems of the type words of a column → type map.
pub(super) fn check_words(columns: &BTreeMap<String, String>, option: &str) -> Vec<Problem> {
    columns
        .iter()
        .filter_map(|(column, word)| {
            let message = TypeWord::parse(word).err()?;
            let head = word.split('(').next().unwrap_or_default();
            let words = WORDS.split(',').map(|known| known.trim().split('(').next().unwrap_or_default());
            let problem = Problem::new(code::TRANSFORM_OPTIONS, message)
                .option(format!("{option}/{column}"))
                .expected(format!("types: {WORDS}"));
            Some(if words.clone().any(|known| known == head) { problem } else { problem.nearest(head, words) })
        })
        .collect()
}

/// Appends the casts of a column → type map.
pub(super) fn lower_casts(
    columns: &BTreeMap<String, String>,
    policy: Policy,
    option: &str,
    chain: &mut Chain<'_>,
    problems: &mut Vec<Problem>,
) {
    let schema = chain.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut casts = Vec::new();
    for (column, word) in columns {
        let Ok(to) = TypeWord::parse(word) else { continue };
        let Some((index, field)) = schema.column_with_name(column) else {
            problems.push(Problem::no_column(column, &format!("{option}/{column}"), &names));
            continue;
        };
        match convertible(field.data_type(), &to.data_type) {
            Ok(()) => casts.push(CastColumn { index, to }),
            Err(why) => problems
                .push(Problem::new(code::TRANSFORM_OPTIONS, format!("`{column}`: {why}")).option(format!("{option}/{column}"))),
        }
    }
    chain.cast(casts, policy);
}
