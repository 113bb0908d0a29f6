//! `watermark`: says which column is the time of a row.

use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use crate::chain::Chain;
use crate::problem::{Problem, code};
use crate::types::show;

/// Says which column is the event time of the rows, for what keeps state after it in `mode: streaming`: what `event_time` says on a source, but after
/// a `cast` or `field_mapper`. Rows pass unchanged; other modes need no such thing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watermark {
    /// The column with the time: a timestamp.
    #[schemars(extend("x-weir-aliases" = ["timestamp_column", "time_column", "event_time"]))]
    column: String,
    /// How much older than the newest row of its split a row may be without being late. Milliseconds.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["max_out_of_orderness_ms", "out_of_orderness_ms"]))]
    max_lateness_ms: u32,
    /// A split that gives nothing for so long does not hold the others back. Milliseconds; absent: it always does.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["idle_timeout_ms"]))]
    idle_after_ms: Option<u32>,
}

impl Transform for Watermark {
    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let Some((at, field)) = schema.column_with_name(&self.column) else {
            let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
            return problems.push(Problem::no_column(&self.column, "column", &names));
        };
        if !matches!(field.data_type(), DataType::Timestamp(..)) {
            let message = format!("`{}` is {}, no timestamp", self.column, show(field.data_type()));
            let problem = Problem::new(code::EVENT_TIME, message).option("column");
            return problems.push(problem.help("`cast` it to `timestamp` or `timestamptz` first"));
        }
        chain.mark_time(at, i64::from(self.max_lateness_ms) * 1_000, self.idle_after_ms.map(|ms| i64::from(ms) * 1_000));
    }
}
