//! The loop that fires schedules. Every replica runs it; the database decides who takes a fire.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use weir_error::Result;
use weir_store::model::ScheduleRow;
use weir_store::system::Due;
use weir_store::{Store, System};

use super::decide::{Decision, decide};
use crate::Platform;

/// Jobs that are looked at together.
const BATCH: u32 = 500;
/// New and changed schedules are seen after this at the latest.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Fires schedules until it is stopped.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let signals = platform.signals.clone();
    Scheduler::new(&platform.store, Arc::new(move |_| signals.run_queued())).run(stop).await;
}

/// What the time is; another one in tests.
type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The loop with its parts.
pub struct Scheduler {
    system: System,
    clock: Clock,
    fired: Arc<dyn Fn(usize) + Send + Sync>,
}

impl Scheduler {
    /// With the time of this machine. `fired` is told how many runs were queued or skipped.
    pub fn new(store: &Store, fired: Arc<dyn Fn(usize) + Send + Sync>) -> Self {
        Self { system: store.system(), clock: Arc::new(Utc::now), fired }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Until the token is cancelled. A database that is away is asked again.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let sleep = tokio::select! {
                () = stop.cancelled() => return,
                turn = self.turn() => turn.unwrap_or_else(|error| {
                    tracing::warn!(error = ?error, "schedules cannot be looked at; trying again");
                    LONGEST_SLEEP
                }),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Takes everything that is due; says how long nothing will be.
    pub async fn turn(&self) -> Result<Duration> {
        loop {
            let now = (self.clock)();
            let due = self.system.due_schedules(now, BATCH).await?;
            let whole = due.len() >= BATCH as usize;
            let decided: Vec<_> = due.into_iter().map(|row| decided(row, now)).collect();
            let taken = self.system.fire_all(&decided).await?;
            let runs = decided.iter().zip(taken).filter(|(_, taken)| *taken).map(|((_, fires, _), _)| fires.len()).sum();
            if runs > 0 {
                (self.fired)(runs);
            }
            if !whole {
                break;
            }
        }
        let Some(next) = self.system.next_due().await? else { return Ok(LONGEST_SLEEP) };
        // Not zero: a job that another replica is taking just now stays due for a moment.
        Ok((next - (self.clock)()).to_std().unwrap_or_default().clamp(Duration::from_millis(5), LONGEST_SLEEP))
    }
}

/// A row with what becomes of it.
fn decided(row: ScheduleRow, now: DateTime<Utc>) -> Due {
    let Decision { fires, next } = decide(&row, now).unwrap_or_else(|error| {
        tracing::error!(tenant = %row.tenant_id, job = %row.job_id, error = ?error, "a schedule that cannot be read is switched off");
        Decision { fires: Vec::new(), next: None }
    });
    (row, fires, next)
}
