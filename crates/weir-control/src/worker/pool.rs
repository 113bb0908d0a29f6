//! The workers of one process: claims runs while there are free slots, and gives them back when the process is told to stop.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_store::model::Claimed;

use super::Observer;
use super::keeper::LEASE;
use super::supervisor::Supervisor;
use crate::platform::Platform;

/// How soon the queue is looked at again after it was found empty; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often runs of workers that are gone are given back.
const EXPIRE: Duration = Duration::from_secs(2);

/// A worker pool.
pub struct Pool {
    platform: Platform,
    observers: Vec<Arc<dyn Observer>>,
}

impl Pool {
    /// For this process.
    pub fn new(platform: Platform) -> Self {
        Self { platform, observers: Vec::new() }
    }

    /// Somebody who is told of runs.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Works until `stop` is cancelled, then gives every run of this process the drain time for a checkpoint and puts it back into the queue.
    /// Ends when the last child is gone. Errors of the database are logged and waited out.
    pub async fn run(mut self, stop: CancellationToken) {
        let slots = self.platform.settings.max_concurrent_jobs;
        let supervisor = Supervisor {
            platform: self.platform.clone(),
            drain: stop.clone(),
            observers: Arc::new(std::mem::take(&mut self.observers)),
        };
        let expiring = tokio::spawn(expire(self.platform.clone(), stop.clone()));
        let mut attempts = JoinSet::new();
        let mut pause = PAUSE;
        while !stop.is_cancelled() {
            while let Some(ended) = attempts.try_join_next() {
                noted(ended);
            }
            if attempts.len() >= slots {
                tokio::select! {
                    Some(ended) = attempts.join_next(), if !attempts.is_empty() => noted(ended),
                    () = stop.cancelled() => {}
                }
                continue;
            }
            match self.claim(&stop).await {
                Some((claimed, asked)) => {
                    pause = PAUSE;
                    let supervisor = supervisor.clone();
                    attempts.spawn(async move { supervisor.attempt(claimed, asked).await.is_some() });
                }
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        () = self.platform.signals.next_run() => pause = PAUSE,
                        // A job's next run may have waited for its former one.
                        Some(ended) = attempts.join_next(), if !attempts.is_empty() => {
                            noted(ended);
                            pause = PAUSE;
                        }
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        while let Some(ended) = attempts.join_next().await {
            noted(ended);
        }
        let _ = expiring.await;
    }

    /// The oldest run that is ready. A claim that was asked for is always heard to its end: the run would wait for its lease otherwise.
    async fn claim(&self, stop: &CancellationToken) -> Option<(Claimed, Instant)> {
        if stop.is_cancelled() {
            return None;
        }
        let asked = Instant::now();
        match self.platform.store.system().claim_run(&self.platform.settings.runner_id, LEASE).await {
            Ok(claimed) => claimed.map(|claimed| (claimed, asked)),
            Err(error) => {
                tracing::warn!("the queue cannot be read: {error}");
                None
            }
        }
    }
}

fn noted(ended: Result<bool, tokio::task::JoinError>) {
    if let Err(error) = ended {
        // The child was killed with its task; the lease runs out and the run is tried again.
        tracing::error!("an attempt ended without an outcome: {error}");
    }
}

/// Gives runs back whose workers are gone. Every process does it; the database lets one win.
async fn expire(platform: Platform, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRE) => {}
            () = stop.cancelled() => return,
        }
        match platform.store.system().expire_leases(Utc::now()).await {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                for run in &lost {
                    tracing::warn!(run = %run.id, worker = run.worker.as_deref().unwrap_or("?"), "a run lost its worker; it is {}", run.status.as_str());
                }
                platform.signals.run_queued();
            }
            Err(error) => tracing::warn!("expired leases cannot be looked for: {error}"),
        }
    }
}
