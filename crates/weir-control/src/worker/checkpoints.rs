//! Checkpoints of runs in a database that machines share: the child asks its worker, which asks the database.
//!
//! The child is not trusted with the database's password, and the worker does not know what a checkpoint is: both ends of the conversation are
//! the engine's. The binary brings the end that this crate lacks.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use weir_error::{Error, Result};
use weir_store::model::{JobId, TenantId};

use super::order::{ParentLine, StateAnswer, StateRefusal};

/// The checkpoint store of all runs.
#[async_trait]
pub trait Checkpoints: Send + Sync + fmt::Debug {
    /// What one attempt of a run of this job may see: nothing of another job.
    fn of(&self, tenant: &TenantId, job: &JobId) -> Result<Arc<dyn CheckpointsOfJob>>;

    /// Forgets all checkpoints and dead letters of a tenant's jobs; how many rows there were.
    async fn forget(&self, tenant: &TenantId) -> Result<u64>;
}

/// The checkpoints of one job, for one attempt.
#[async_trait]
pub trait CheckpointsOfJob: Send + Sync {
    /// Does what the engine asks. After an answer what was to be written is durable.
    async fn answer(&self, call: Value) -> Result<Value>;
}

/// Answers one call on a task of its own.
pub(super) fn answer(desk: Option<&Arc<dyn CheckpointsOfJob>>, id: u64, call: Value, told: UnboundedSender<ParentLine>) {
    let desk = desk.cloned();
    tokio::spawn(async move {
        let answer = match desk {
            Some(desk) => desk.answer(call).await,
            None => Err(Error::internal("this run keeps its checkpoints in its folder")),
        };
        let answer = match answer {
            Ok(ok) => StateAnswer { id, ok, error: None },
            Err(error) => StateAnswer { id, ok: Value::Null, error: Some(StateRefusal::of(&error)) },
        };
        // A child that is gone needs no answer.
        let _ = told.send(ParentLine::State(answer));
    });
}
