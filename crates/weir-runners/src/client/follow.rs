//! One job, from its submission to its end.
//!
//! Engines are asked, they do not tell; and what they say of a job's state is not enough. Four things are found here for all of them alike:
//!
//! * **lost**: the engine has not answered for [`Watch::lost_after`];
//! * **vanished**: it answers and does not know the job any more (a JobManager that kept its jobs in memory was restarted);
//! * **restarted**: the engine, or the job in it, began again: its own count of restarts went up, or its counters went back;
//! * **stalled**: `RUNNING`, and no row, byte, checkpoint or position has moved for [`Watch::stalled_after`].
//!
//! The first two end the following with an error. The others are told, and stand in [`Ended::warnings`]: a slow query and a dead job look alike from
//! outside, so whoever watches decides.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_error::{Error, Kind, Retry};

use super::{EngineClient, Job, Look, Savepoint, State, cause};

/// What to do with the job when the following shall stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// End it, keep nothing.
    Cancel,
    /// Stop it so that a later one can go on from there.
    Suspend,
}

/// How closely to look.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// Time between two looks.
    pub every: Duration,
    /// Silence after which the engine counts as lost.
    pub lost_after: Duration,
    /// Time without progress after which a running job counts as stalled.
    pub stalled_after: Duration,
    /// Time that a job may take to stop.
    pub stop_within: Duration,
    /// What a request to stop means.
    pub on_stop: OnStop,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(500),
            lost_after: Duration::from_secs(60),
            stalled_after: Duration::from_secs(300),
            stop_within: Duration::from_secs(180),
            on_stop: OnStop::Cancel,
        }
    }
}

/// What is seen on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// The job, once for each look.
    Look(&'a Look),
    /// The engine has stopped answering.
    Silent(&'a Error),
    /// It answers again, after this time.
    Back(Duration),
    /// The job was begun again.
    Restarted,
    /// Running, and nothing has moved for this time.
    Stalled(Duration),
    /// It moves again.
    Moving,
    /// The job was asked to stop.
    Stopping,
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// By itself, done.
    Finished,
    /// On request, nothing kept.
    Cancelled,
    /// On request; a later job can go on from there.
    Suspended(Savepoint),
    /// By an error: the job's own, or one of those that are found here.
    Failed(Error),
}

/// The end.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The last that was seen of the job.
    pub last: Option<Look>,
    /// What happened on the way and should be known.
    pub warnings: Vec<String>,
    /// Whether the job has ended for sure; `false`: it may still run, or come back, where it was submitted.
    pub settled: bool,
}

/// Codes of what is found here.
pub const LOST: &str = "WEIR-LAUNCH-011";
/// The engine does not know the job any more.
pub const VANISHED: &str = "WEIR-LAUNCH-012";

/// An engine that moves a job from one list to another may know it in neither for a moment.
const UNKNOWN_LOOKS: u32 = 3;

/// Looks until the job has ended, or cannot be followed any more. When `stop` fires the job is stopped as `watch` says, and its end is waited for.
pub async fn follow(
    client: &dyn EngineClient,
    job: &Job,
    watch: &Watch,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(Event<'_>) + Send),
) -> Ended {
    let mut seen =
        Seen { client, job, watch, tell, last: None, warnings: Vec::new(), moved: Instant::now(), stalled: false, away: None };
    let mut unknown = 0;
    let mut stopping: Option<Stopping> = None;
    loop {
        match client.look(job).await {
            Ok(Some(look)) => {
                unknown = 0;
                seen.answered();
                seen.look(look);
                if let Some(outcome) = seen.end(stopping.as_ref()) {
                    return seen.over(outcome, true);
                }
            }
            // A cancelled connector is gone for good.
            Ok(None) if watch.on_stop == OnStop::Cancel && stopping.as_ref().is_some_and(|stopping| stopping.heard) => {
                return seen.over(Outcome::Cancelled, true);
            }
            Ok(None) => {
                unknown += 1;
                if unknown >= UNKNOWN_LOOKS {
                    let error = seen.vanished();
                    return seen.over(Outcome::Failed(error), true);
                }
            }
            Err(error) if error.retryable() == Retry::Never => return seen.over(Outcome::Failed(error), false),
            Err(error) => {
                if let Some(lost) = seen.silent(error) {
                    return seen.over(Outcome::Failed(lost), false);
                }
            }
        }
        if stop.is_cancelled() {
            let begun = stopping.get_or_insert_with(|| Stopping { since: Instant::now(), heard: false, savepoint: None });
            if !begun.heard
                && let Some(error) = seen.ask_to_stop(begun).await
            {
                return seen.over(Outcome::Failed(error), false);
            }
            if begun.since.elapsed() > watch.stop_within {
                let error = seen.does_not_stop();
                return seen.over(Outcome::Failed(error), false);
            }
            tokio::time::sleep(watch.every).await;
        } else {
            tokio::select! {
                () = tokio::time::sleep(watch.every) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// A stop that was asked for.
struct Stopping {
    since: Instant,
    heard: bool,
    savepoint: Option<Savepoint>,
}

/// What was seen so far.
struct Seen<'a> {
    client: &'a dyn EngineClient,
    job: &'a Job,
    watch: &'a Watch,
    tell: &'a mut (dyn FnMut(Event<'_>) + Send),
    last: Option<Look>,
    warnings: Vec<String>,
    moved: Instant,
    stalled: bool,
    away: Option<Instant>,
}

impl Seen<'_> {
    fn place(&self) -> String {
        format!("job {} on {}", self.job.id(), self.client.place())
    }

    fn answered(&mut self) {
        if let Some(since) = self.away.take() {
            let away = since.elapsed();
            (self.tell)(Event::Back(away));
            self.warnings.push(format!("{} did not answer for {:.1} s", self.client.engine(), away.as_secs_f64()));
            // What it did in between is not known to be nothing.
            self.moved = Instant::now();
        }
    }

    fn look(&mut self, look: Look) {
        if let Some(before) = &self.last {
            if begun_again(before, &look) {
                (self.tell)(Event::Restarted);
                self.warnings.push(format!("the job was begun again on {} ({})", self.client.engine(), look.word));
            }
            if moved(before, &look) {
                self.moved = Instant::now();
                if std::mem::take(&mut self.stalled) {
                    (self.tell)(Event::Moving);
                }
            }
        }
        let still = self.moved.elapsed();
        if look.state == State::Running && !self.stalled && still > self.watch.stalled_after {
            self.stalled = true;
            (self.tell)(Event::Stalled(still));
            self.warnings.push(format!(
                "the job is {} on {} and nothing moved for {:.0} s: no row, checkpoint or position",
                look.word,
                self.client.engine(),
                still.as_secs_f64()
            ));
        }
        (self.tell)(Event::Look(&look));
        self.last = Some(look);
    }

    /// The end that the last look shows, if it does.
    fn end(&self, stopping: Option<&Stopping>) -> Option<Outcome> {
        let look = self.last.as_ref().filter(|look| look.state.ended())?;
        let savepoint = stopping.and_then(|stopping| stopping.savepoint.clone());
        Some(match (look.state, savepoint) {
            // Flink calls a job finished that was stopped with a savepoint.
            (State::Suspended | State::Finished, Some(savepoint)) => Outcome::Suspended(savepoint),
            (State::Finished, None) => Outcome::Finished,
            (State::Failed, _) => Outcome::Failed(cause::failed(
                self.client.engine(),
                &self.place(),
                look.error.as_deref().unwrap_or("no reason was given"),
            )),
            (State::Cancelled, _) if stopping.is_some() => Outcome::Cancelled,
            _ => Outcome::Failed(
                Error::new(
                    "WEIR-LAUNCH-014",
                    Kind::Conflict,
                    format!("the job was stopped on {}, and not by this command", self.client.engine()),
                )
                .at(self.place())
                .because(format!("{} says {}", self.client.engine(), look.word))
                .hint("the same command submits it again"),
            ),
        })
    }

    /// The engine's silence, which may have become too long.
    fn silent(&mut self, error: Error) -> Option<Error> {
        if self.away.is_none() {
            (self.tell)(Event::Silent(&error));
        }
        let away = self.away.get_or_insert_with(Instant::now).elapsed();
        (away > self.watch.lost_after).then(|| {
            Error::new(
                LOST,
                Kind::Connect,
                format!("{} is lost: it has not answered for {:.0} s", self.client.engine(), away.as_secs_f64()),
            )
            .at(self.place())
            .because(error.why().unwrap_or(error.what()))
            .hint("when it is back the same command looks for this job first, and does not submit a second one while it runs")
        })
    }

    fn vanished(&self) -> Error {
        let engine = self.client.engine();
        let why = match (&self.last, self.warnings.iter().any(|told| told.contains("did not answer"))) {
            (_, true) => {
                "it did not answer for a while before that: it was restarted, and kept its jobs in memory only".to_owned()
            }
            (Some(look), false) => {
                format!("it was {} when it was last seen; it was removed there, or {engine} was restarted", look.word)
            }
            (None, false) => "it was never seen there".to_owned(),
        };
        Error::new(VANISHED, Kind::NotFound, format!("{engine} does not know the job any more"))
            .at(self.place())
            .because(why)
            .hint("look at what the sinks have before you run it again: rows that the lost job wrote may be there")
    }

    async fn ask_to_stop(&mut self, stopping: &mut Stopping) -> Option<Error> {
        (self.tell)(Event::Stopping);
        let asked = match self.watch.on_stop {
            OnStop::Cancel => self.client.cancel(self.job).await,
            OnStop::Suspend => self.client.suspend(self.job).await.map(|savepoint| stopping.savepoint = Some(savepoint)),
        };
        match asked {
            Ok(()) => {
                stopping.heard = true;
                None
            }
            // Once more after the next look.
            Err(error) if error.retryable() != Retry::Never => None,
            // It ended by itself in the meantime, perhaps; the next look tells.
            Err(error) => match self.client.look(self.job).await {
                Ok(Some(look)) if look.state.ended() => {
                    stopping.heard = true;
                    None
                }
                _ => Some(error.at(self.place())),
            },
        }
    }

    fn does_not_stop(&self) -> Error {
        let word = self.last.as_ref().map_or("unknown", |look| look.word.as_str());
        Error::new("WEIR-LAUNCH-015", Kind::Conflict, format!("the job does not stop on {}", self.client.engine()))
            .at(self.place())
            .because(format!("it is {word} {} s after it was asked to", self.watch.stop_within.as_secs()))
            .hint("it may still run there; stop it with the engine's own tools")
    }

    fn over(self, outcome: Outcome, settled: bool) -> Ended {
        Ended { outcome, last: self.last, warnings: self.warnings, settled }
    }
}

/// Whether the engine itself says so, or a counter went back.
fn begun_again(before: &Look, now: &Look) -> bool {
    let back = |of: fn(&Look) -> Option<u64>| matches!((of(before), of(now)), (Some(was), Some(is)) if is < was);
    match (before.restarts, now.restarts) {
        (Some(was), Some(is)) => is > was,
        _ => {
            (now.state == State::Restarting && before.state != State::Restarting)
                || back(|look| look.rows_read)
                || back(|look| look.rows_written)
        }
    }
}

fn moved(before: &Look, now: &Look) -> bool {
    let facts = |look: &Look| {
        (
            look.state,
            look.rows_read,
            look.rows_written,
            look.bytes_read,
            look.bytes_written,
            look.checkpoints,
            look.positions.clone(),
        )
    };
    facts(before) != facts(now)
}

#[cfg(test)]
mod tests;
