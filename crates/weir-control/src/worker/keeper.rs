//! Keeping a lease: renewed on a task of its own, so that nothing else the worker does can delay it.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_error::Kind;
use weir_store::model::{Lease, RunId};
use weir_store::{Store, System};

/// How long a lease is.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How long one renewal may take before it is tried anew.
const PATIENCE: Duration = Duration::from_secs(4);
/// The child must be gone before somebody else may claim the run.
const MARGIN: Duration = Duration::from_millis(1500);

/// How the lease stands.
#[derive(Debug, Clone)]
pub struct Held {
    /// As last renewed.
    pub lease: Lease,
    /// Somebody asked to stop the run.
    pub cancel_requested: bool,
    /// It is another worker's, or about to be.
    pub lost: bool,
}

/// Renews until it is dropped or the lease is lost.
pub struct Keeper {
    held: watch::Receiver<Held>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins with a lease that was claimed by a question asked at `asked`.
    pub fn begin(
        store: &Store,
        lease: Lease,
        asked: Instant,
        cancel_requested: bool,
        cancels: broadcast::Receiver<RunId>,
    ) -> Self {
        let (tell, held) = watch::channel(Held { lease, cancel_requested, lost: false });
        let task = tokio::spawn(keep(store.system(), tell, asked, cancels));
        Self { held, task }
    }

    /// How it stands now.
    pub fn now(&self) -> Held {
        self.held.borrow().clone()
    }

    /// Hears of changes.
    pub fn watch(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(system: System, tell: watch::Sender<Held>, asked: Instant, mut cancels: broadcast::Receiver<RunId>) {
    let run = tell.borrow().lease.run_id.clone();
    // Counted from before the question, so never later than the store counts; and monotonic, so that setting a clock makes no lease longer.
    let mut until = asked + LEASE;
    let mut next = asked + RENEW;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = cancelled(&mut cancels, &run) => {}
        }
        let asked = Instant::now();
        let lease = tell.borrow().lease.clone();
        match tokio::time::timeout(PATIENCE, system.heartbeat(&lease, LEASE)).await {
            Ok(Ok(beat)) => {
                until = asked + LEASE;
                next = asked + RENEW;
                tell.send_modify(|held| {
                    held.lease = beat.lease;
                    held.cancel_requested |= beat.cancel_requested;
                });
            }
            Ok(Err(error)) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {
                tracing::warn!(run = %run, "the lease is lost: {error}");
                return lose(&tell);
            }
            Ok(Err(error)) => {
                tracing::warn!(run = %run, "the lease could not be renewed: {error}");
                next = asked + Duration::from_millis(500);
            }
            Err(_) => {
                tracing::warn!(run = %run, "the lease could not be renewed within {} s", PATIENCE.as_secs());
                next = Instant::now();
            }
        }
        if Instant::now() + MARGIN >= until {
            tracing::error!(run = %run, "the lease ends and cannot be renewed; the run is given up");
            return lose(&tell);
        }
        next = next.min(until - MARGIN);
    }
}

fn lose(tell: &watch::Sender<Held>) {
    tell.send_modify(|held| held.lost = true);
}

/// Ends when this run is cancelled by somebody in this process.
async fn cancelled(cancels: &mut broadcast::Receiver<RunId>, run: &RunId) {
    loop {
        match cancels.recv().await {
            Ok(id) if id == *run => return,
            Ok(_) => {}
            // What was missed may have been ours: ask the database.
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
