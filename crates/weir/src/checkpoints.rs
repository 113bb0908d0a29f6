//! The engine's end of the checkpoints that a worker keeps for its runs, in the platform's PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_control::config::Settings;
use weir_control::worker::{Checkpoints, CheckpointsOfJob};
use weir_engine::store::link::StateCall;
use weir_engine::store::tables::Tables;
use weir_error::{Error, Kind, Result};
use weir_store::model::{JobId, TenantId};

/// Connections to the database for checkpoints: a lane waits for one now and then.
const CONNECTIONS: u32 = 8;

/// Where machines share a PostgreSQL, their runs' checkpoints are in it too. With SQLite there is one machine, and each job has a file.
pub async fn open(settings: &Settings) -> Result<Option<Arc<dyn Checkpoints>>> {
    if !in_database(settings) {
        return Ok(None);
    }
    let tables = Tables::shared(settings.database_url.expose(), CONNECTIONS).await?;
    Ok(Some(Arc::new(Shared { tables })))
}

/// Whether they are in the platform's database.
pub fn in_database(settings: &Settings) -> bool {
    let url = settings.database_url.expose();
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

#[derive(Debug)]
struct Shared {
    tables: Tables,
}

#[async_trait]
impl Checkpoints for Shared {
    fn of(&self, tenant: &TenantId, job: &JobId) -> Result<Arc<dyn CheckpointsOfJob>> {
        Ok(Arc::new(OfJob { tables: self.tables.scoped(tenant.as_str(), job.as_str())? }))
    }

    async fn forget(&self, tenant: &TenantId) -> Result<u64> {
        self.tables.forget_tenant(tenant.as_str()).await
    }
}

struct OfJob {
    tables: Tables,
}

#[async_trait]
impl CheckpointsOfJob for OfJob {
    async fn answer(&self, call: Value) -> Result<Value> {
        let call: StateCall = serde_json::from_value(call).map_err(|error| {
            Error::new("WEIR-WORKER-024", Kind::Internal, "a run asked what the checkpoint store does not know").because(error)
        })?;
        self.tables.answer(call).await
    }
}
