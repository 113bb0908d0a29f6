//! Schema drift: what changed in a stream between the last run and this one.

use serde::Serialize;
use serde_json::{Value, json};
use weir_error::Result;
use weir_store::model::{Drift, Run};
use weir_store::{Actor, TenantScope};

use crate::Platform;

/// One column's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which column.
    pub column: String,
    /// `added`, `removed`, `type` or `nullable`.
    pub change: &'static str,
    /// Before; `None` for an added one.
    pub from: Option<String>,
    /// Now; `None` for a removed one.
    pub to: Option<String>,
}

/// The changes from one schema to the next, in the order of the new one, removed columns last. A schema is `[{name, type, nullable?}, …]`; what
/// has another shape has no columns. The order of columns is no change.
pub fn changes(before: &Value, now: &Value) -> Vec<Change> {
    let (old, new) = (columns(before), columns(now));
    let mut changes = Vec::new();
    for (name, kind, nullable) in &new {
        let column = (*name).to_owned();
        match old.iter().find(|(old_name, ..)| old_name == name) {
            None => changes.push(Change { column, change: "added", from: None, to: Some((*kind).to_owned()) }),
            Some((_, old_kind, _)) if old_kind != kind => {
                changes.push(Change { column, change: "type", from: Some((*old_kind).to_owned()), to: Some((*kind).to_owned()) });
            }
            Some((_, _, Some(was))) if nullable.is_some_and(|is| is != *was) => {
                let word = |nullable: bool| Some(if nullable { "nullable" } else { "not null" }.to_owned());
                changes.push(Change { column, change: "nullable", from: word(*was), to: word(!*was) });
            }
            Some(_) => {}
        }
    }
    for (name, kind, _) in old.iter().filter(|(name, ..)| !new.iter().any(|(new_name, ..)| new_name == name)) {
        changes.push(Change { column: (*name).to_owned(), change: "removed", from: Some((*kind).to_owned()), to: None });
    }
    changes
}

fn columns(schema: &Value) -> Vec<(&str, &str, Option<bool>)> {
    schema
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| Some((c["name"].as_str()?, c["type"].as_str()?, c["nullable"].as_bool())))
        .collect()
}

/// The schemas that a run's report tells: `streams[].schema`.
pub fn schemas_of(run: &Run) -> Vec<(String, Value)> {
    let streams = run.report.as_ref().and_then(|report| report["streams"].as_array());
    let one =
        |stream: &Value| Some((stream["name"].as_str()?.to_owned(), stream.get("schema").filter(|s| s.is_array())?.clone()));
    streams.into_iter().flatten().filter_map(one).collect()
}

/// Compares the schemas of a run that succeeded with those kept from the run before, records what drifted and keeps the new ones. Gives the
/// number of changed columns. A stream that is seen for the first time has not drifted. Safe to repeat: the second time nothing differs.
pub async fn observe(platform: &Platform, run: &Run) -> Result<u64> {
    let store = platform.store.tenant(&TenantScope::granted(run.tenant_id.clone(), Actor::system("monitoring")));
    let schemas = schemas_of(run);
    if schemas.is_empty() {
        return Ok(0);
    }
    // What an interrupted first try has recorded counts, and is not recorded again.
    let mut known: Vec<Drift> = store.drifts(&run.job_id).await?;
    known.retain(|drift| drift.run_id == run.id);
    let mut count: u64 = known.iter().map(|drift| drift.changes.as_array().map_or(0, |changes| changes.len() as u64)).sum();
    for (stream, schema) in schemas {
        let before = store.stream_schema(&run.job_id, &stream).await?;
        if before.as_ref() == Some(&schema) {
            continue;
        }
        let changed = before.as_ref().map(|before| changes(before, &schema)).unwrap_or_default();
        if !changed.is_empty() && !known.iter().any(|drift| drift.stream == stream) {
            count += changed.len() as u64;
            let at = run.ended_at.unwrap_or(run.queued_at);
            let drift =
                Drift { job_id: run.job_id.clone(), run_id: run.id.clone(), stream: stream.clone(), changes: json!(changed), at };
            store.record_drift(drift).await?;
        }
        store.set_stream_schema(&run.job_id, &stream, &schema).await?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed_columns_are_found_and_their_order_is_none() {
        let before = json!([{"name": "id", "type": "int64", "nullable": false}, {"name": "a", "type": "utf8"}, {"name": "gone", "type": "date32"}]);
        let now = json!([{"name": "a", "type": "int32"}, {"name": "id", "type": "int64", "nullable": true}, {"name": "new", "type": "utf8"}]);
        let found = serde_json::to_value(changes(&before, &now)).unwrap();
        assert_eq!(
            found,
            json!([
                {"column": "a", "change": "type", "from": "utf8", "to": "int32"},
                {"column": "id", "change": "nullable", "from": "not null", "to": "nullable"},
                {"column": "new", "change": "added", "from": null, "to": "utf8"},
                {"column": "gone", "change": "removed", "from": "date32", "to": null},
            ])
        );
        assert_eq!(changes(&now, &now), []);
        assert_eq!(changes(&json!("nonsense"), &json!(null)), []);
    }
}
