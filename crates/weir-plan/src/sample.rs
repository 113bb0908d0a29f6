//! Rows that are looked at while a plan is made, for transforms that read what columns hold.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::StreamExt;
use serde_json::Value;
use weir_connect::{Event, ReadRequest, StreamInfo};
use weir_error::{Error, Result};
use weir_spec::model::Node;

use crate::planner::OpenSource;
use crate::transforms::SAMPLING;

/// The sample of each stream, by source node and stream.
pub(crate) type Samples = BTreeMap<(String, String), RecordBatch>;

/// How many rows of each stream these nodes want to see; `None` = none.
pub(crate) fn wanted(nodes: &[&Node]) -> Option<u64> {
    let rows = |node: &&&Node| {
        let asked = node.options.get("sample_rows").and_then(Value::as_u64);
        asked.unwrap_or(crate::transforms::SAMPLE_ROWS)
    };
    nodes.iter().filter(|node| node.kind == SAMPLING).map(|node| rows(&node)).max()
}

/// About so many rows of a stream, from several of its splits, so that they are not all from its beginning. Dead letters are
/// left out: they meet the run.
pub(crate) async fn take(source: &OpenSource, stream: &StreamInfo, rows: u64) -> Result<RecordBatch> {
    const SPLITS: usize = 8;
    let request = ReadRequest {
        stream: stream.name.clone(),
        cursor: None,
        last_run_time: Some("1970-01-01T00:00:00Z".into()),
        resume: None,
        previous: None,
        parallelism: 1,
        batch_bytes: 0,
        limit: Some(rows),
        columns: None,
        unbounded: false,
    };
    let told = |error: Error| error.at(format!("source `{}`, the sample of `{}`", source.node.name, stream.name));
    let reader = source.source.open(request).await.map_err(told)?;
    let splits = reader.splits();
    let step = splits.len().div_ceil(SPLITS).max(1);
    let chosen: Vec<_> = splits.iter().step_by(step).collect();
    let each = rows.div_ceil(chosen.len().max(1) as u64).max(1);
    let mut batches: Vec<RecordBatch> = Vec::new();
    for split in chosen {
        let mut events = reader.read(split, None).await.map_err(told)?;
        let mut left = each;
        while left > 0 {
            let Some(event) = events.next().await else { break };
            if let Event::Batch(batch) = event.map_err(told)? {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(batch.records.num_rows());
                left -= most as u64;
                batches.push(batch.records.slice(0, most));
            }
        }
    }
    let schema = batches.first().map_or_else(|| stream.schema.clone(), RecordBatch::schema);
    concat_batches(&schema, &batches).map_err(|error| Error::internal("batches of one stream differ").caused_by(error))
}
