//! The verbs about a job's logs: what `weir journal ls`, `weir journal approve` and `weir snapshot` do, with what the order gives.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_connect::SnapshotAgain;
use weir_control::worker::order::WorkOrder;
use weir_engine::journal::Journals;
use weir_engine::{hold, look};
use weir_error::Result;

use super::asking::Asking;
use super::run;
use crate::commands::snapshot;
use crate::planning::Opened;

fn journals(order: &WorkOrder, opened: &Opened, asking: Arc<Asking>) -> Result<Journals> {
    Ok(Journals::beside(run::state(order, asking), run::journal(order, opened)?))
}

pub async fn look(order: &WorkOrder, asking: Arc<Asking>) -> Result<Value> {
    // Looking makes nothing.
    if !order.checkpoints_at_worker && !order.state_dir.join("state.db").is_file() {
        return Ok(json!({"logs": []}));
    }
    let opened = run::open(order)?;
    Ok(json!({"logs": look::logs(journals(order, &opened, asking)?, &opened.pipeline).await?}))
}

pub async fn approve(order: &WorkOrder, asking: Arc<Asking>, stream: &str) -> Result<Value> {
    let opened = run::open(order)?;
    Ok(json!({"approved": hold::approve(journals(order, &opened, asking)?, &opened.pipeline, stream).await?}))
}

pub async fn snapshot(order: &WorkOrder, asking: Arc<Asking>, stream: &str, only: Option<&str>) -> Result<Value> {
    let opened = run::open(order)?;
    let wanted = SnapshotAgain { stream: stream.to_owned(), only: only.map(str::to_owned) };
    Ok(json!({"snapshots": snapshot::ask(&opened, journals(order, &opened, asking)?, vec![wanted]).await?}))
}
