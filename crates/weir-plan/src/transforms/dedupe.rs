//! `dedupe`: keeps one row per key.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Op, Transform, options, schema_of};

/// Keeps one row per key. Sees all rows together: memory is bounded by spilling to disk.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeOptions {
    /// Columns that make rows the same. Empty: all columns.
    #[schemars(extend("x-weir-aliases" = ["keys", "columns"]))]
    pub key: Vec<String>,
    /// Which row of a key counts as first: `updated_at DESC, id`. Without it the choice among equals is arbitrary.
    pub order_by: Option<String>,
    /// Keep the first or the last in that order.
    pub keep: Keep,
}

/// Which row of a key is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

impl DedupeOptions {
    /// The query over `input` with these columns.
    pub fn query(&self, columns: &[&str]) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let all = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        if self.key.is_empty() {
            return format!("SELECT DISTINCT {all} FROM input");
        }
        let key = self.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let order = self.order_by.clone().unwrap_or_else(|| key.clone());
        match self.keep {
            Keep::First => format!(
                "SELECT {all} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS _weir_rank FROM input) WHERE _weir_rank = 1"
            ),
            // The last of an order is the row whose rank equals the size of its group.
            Keep::Last => format!(
                "SELECT {all} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS _weir_rank, \
                 count(*) OVER (PARTITION BY {key}) AS _weir_size FROM input) WHERE _weir_rank = _weir_size"
            ),
        }
    }
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "dedupe",
    bare: None,
    schema: schema_of::<DedupeOptions>,
    lower: |value| Ok(Op::Dedupe(options("dedupe", value)?)),
};
