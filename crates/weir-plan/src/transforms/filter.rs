//! `filter`: keeps rows for which a SQL predicate is true.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Op, Transform, options, schema_of};

/// Keeps the rows for which `where` is true. A predicate that is NULL is not true, as in SQL.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilterOptions {
    /// The predicate: `status <> 'draft' AND amount > 0`.
    r#where: String,
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "filter",
    bare: Some("where"),
    schema: schema_of::<FilterOptions>,
    lower: |value| Ok(Op::Filter(options::<FilterOptions>("filter", value)?.r#where)),
};
