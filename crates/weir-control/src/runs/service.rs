//! Asking for runs and stopping them: thin, over the store, which keeps every rule that must hold under concurrency.

use chrono::Utc;
use weir_error::Result;
use weir_store::TenantScope;
use weir_store::model::{JobId, NewRun, Run, RunId, Trigger};

use crate::platform::Platform;

/// What people ask of runs. Made per request.
pub struct RunService<'p> {
    platform: &'p Platform,
    scope: &'p TenantScope,
}

impl<'p> RunService<'p> {
    /// For the caller of a request.
    pub fn new(platform: &'p Platform, scope: &'p TenantScope) -> Self {
        Self { platform, scope }
    }

    /// Queues a run of the job as it is now. A paused job runs too: pausing stops what starts by itself.
    pub async fn request_run(&self, job: &JobId) -> Result<Run> {
        let run = NewRun { job_id: job.clone(), trigger: Trigger::Manual, not_before: Utc::now() };
        let run = self.platform.store.tenant(self.scope).create_run(run).await?;
        self.platform.signals.run_queued();
        Ok(run)
    }

    /// Asks a run to stop: a queued one is cancelled at once, a running one makes a checkpoint first. `Conflict` when it has ended already.
    pub async fn cancel(&self, run: &RunId) -> Result<Run> {
        let run = self.platform.store.tenant(self.scope).request_cancel(run).await?;
        self.platform.signals.run_cancelled(&run.id);
        Ok(run)
    }

    /// Queues another run of the job version that this one had. `Conflict` while it has not ended.
    pub async fn retry(&self, run: &RunId) -> Result<Run> {
        let run = self.platform.store.tenant(self.scope).retry_run(run).await?;
        self.platform.signals.run_queued();
        Ok(run)
    }
}
