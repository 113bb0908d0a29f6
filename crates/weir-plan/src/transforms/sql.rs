//! `sql`: any query over the named inputs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Op, Transform, options, schema_of};

/// A query. The upstream node is the table `input`, and has its own name too; with several inputs each has its node's
/// name. A query over one input that only filters and computes runs row by row with bounded memory; one that joins, aggregates or
/// sorts sees everything together and spills to disk. `now()` is fixed for the whole run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SqlOptions {
    /// The query: `SELECT *, amount * 1.2 AS gross FROM input`.
    query: String,
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "sql",
    bare: Some("query"),
    schema: schema_of::<SqlOptions>,
    lower: |value| Ok(Op::Sql(options::<SqlOptions>("sql", value)?.query)),
};
