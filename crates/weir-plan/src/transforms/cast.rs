//! `cast`: converts columns; every value that does not convert exactly is accounted for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Op, Transform, options, schema_of};

/// Converts columns. A value that does not convert, or would be changed by it (a fraction lost, a digit rounded), is never
/// silently NULL: `on_error` says what happens to its row.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastOptions {
    /// Column → type word: `{amount: "decimal(15,2)", shipped_on: date}`.
    pub columns: BTreeMap<String, String>,
    /// What to do with a row whose value does not convert. In a pipeline that joins or aggregates, `dead_letter` acts as `error`.
    #[serde(default)]
    pub on_error: OnCastError,
    /// Accept values that are rounded or truncated by the conversion.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What to do with a row whose value does not convert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCastError {
    /// The row goes to the dead letters.
    #[default]
    DeadLetter,
    /// The value becomes NULL.
    Null,
    /// The run fails.
    Error,
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "cast",
    bare: None,
    schema: schema_of::<CastOptions>,
    lower: |value| Ok(Op::Cast(options("cast", value)?)),
};
