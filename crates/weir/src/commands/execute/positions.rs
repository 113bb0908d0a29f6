//! The verb about how far a job's streams are: what its checkpoints say.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_control::worker::order::WorkOrder;
use weir_engine::store::positions::Positions;
use weir_error::Result;

use super::asking::Asking;
use super::run;

pub async fn look(order: &WorkOrder, asking: Arc<Asking>) -> Result<Value> {
    // Looking makes nothing.
    if !order.checkpoints_at_worker && !order.state_dir.join("state.db").is_file() {
        return Ok(json!(Positions::default()));
    }
    let pipeline = run::open(order)?.pipeline.name.clone();
    Ok(json!(run::state(order, asking).open().await?.positions(&pipeline).await?))
}
