//! Wakes the workers of this process, so that a run starts and stops without waiting for the next look at the database. A signal that is
//! lost, or one for another process, costs a second; the database decides.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};
use weir_store::model::RunId;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Signals {
    queued: Arc<Notify>,
    deleted: Arc<Notify>,
    cancels: broadcast::Sender<RunId>,
}

impl Default for Signals {
    fn default() -> Self {
        Self { queued: Arc::default(), deleted: Arc::default(), cancels: broadcast::Sender::new(64) }
    }
}

impl Signals {
    /// A run was queued.
    pub fn run_queued(&self) {
        self.queued.notify_one();
    }

    /// Somebody asked to cancel a run.
    pub fn run_cancelled(&self, run: &RunId) {
        // Nobody listens when no run goes on here.
        let _ = self.cancels.send(run.clone());
    }

    /// A job was deleted.
    pub fn job_deleted(&self) {
        self.deleted.notify_one();
    }

    /// Ends when a job was deleted since the last call.
    pub(crate) async fn next_deletion(&self) {
        self.deleted.notified().await;
    }

    /// Ends when a run was queued since the last call.
    pub(super) async fn next_run(&self) {
        self.queued.notified().await;
    }

    /// Hears of cancelled runs from now on.
    pub(super) fn cancelled_runs(&self) -> broadcast::Receiver<RunId> {
        self.cancels.subscribe()
    }
}
