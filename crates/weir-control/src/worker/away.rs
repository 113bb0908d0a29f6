//! Runs that are no processes of this machine: the same attempt, seen through what a cluster tells of it.
//!
//! The binary brings the cluster ([`Cluster`]); this file watches the run as the supervisor watches a child. What is measured from outside a
//! process (memory, CPU, bytes) the cluster bounds by itself; the report says how much memory there was.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Result};
use weir_store::model::{Claimed, NewLogLine, Quotas};

use super::keeper::Keeper;
use super::limits::Bounds;
use super::lines::Line;
use super::meter::{Resources, Sample};
use super::order::WorkOrder;
use super::record::Record;
use super::said::{Pipe, Said, log, understand};
use super::scrub::Scrubber;
use super::supervisor::{CANCEL_PATIENCE, FLUSH, Supervisor, Watched, remember};
use super::{Mark, outfit};
use crate::runs::lifecycle::{Ending, Exit, Stop};

/// After its grace a cluster has this long to say that the run is gone.
const MARGIN: Duration = Duration::from_secs(10);
/// After it was told to end at once.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Where runs go that shall not be processes of this machine.
pub trait Cluster: fmt::Debug + Send + Sync {
    /// Whether a run of this pipeline file goes there.
    fn takes(&self, spec: &str) -> bool;

    /// Hands a run over, and follows it until nothing more is to be told. Returns at once; an error means that nothing was begun.
    fn start(&self, away: Away) -> Result<Going>;
}

/// What is handed over.
#[derive(Debug)]
pub struct Away {
    /// The order. Nobody speaks to the run after it, so its `parent_pid` is 0.
    pub order: WorkOrder,
    /// A number that grows with each claim of a run of the job: when the claim's lease was to end, in ms since 1970. (The lease's own fence counts
    /// the claims of one run only.) The clocks of workers must agree, as for leases.
    pub fence: i64,
    /// What the tenant may use.
    pub quotas: Quotas,
    /// The data folder, on a volume that the run sees too.
    pub data_dir: PathBuf,
    /// The tenant's folder in it: all that the run may see.
    pub tenant_dir: PathBuf,
}

/// A run that goes on elsewhere.
#[derive(Debug)]
pub struct Going {
    /// What is told of it; the last is [`News::Ended`], unless it was abandoned.
    pub news: mpsc::Receiver<News>,
    /// Cancel it: make a checkpoint and end.
    pub stop: CancellationToken,
    /// Cancel it: end now.
    pub kill: CancellationToken,
    /// Cancel it: the lease is lost, end now and tell nothing more.
    pub abandon: CancellationToken,
}

/// What is told of a run elsewhere.
#[derive(Debug)]
pub enum News {
    /// A line of its output, either of both pipes.
    Line(Line),
    /// What happens to it, for the log.
    Note(NewLogLine),
    /// Its process runs: it waits for nothing any more.
    Begun,
    /// It has ended.
    Ended {
        /// How its process ended, if that is known.
        exit: Option<Exit>,
        /// Why, unless it ended by itself.
        error: Option<Error>,
    },
}

impl Supervisor {
    /// The order of a run that goes there, if it does.
    pub(super) async fn away(&self, claimed: &Claimed, order: WorkOrder) -> Result<std::result::Result<Away, WorkOrder>> {
        let Some(cluster) = self.platform.cluster.as_ref().filter(|cluster| cluster.takes(&order.spec)) else {
            return Ok(Err(order));
        };
        tracing::debug!(run = %claimed.run.id, "the run goes to {cluster:?}");
        let tenant = &claimed.run.tenant_id;
        let quotas = self.platform.store.system().present_tenant(tenant).await?.quotas;
        let data_dir = std::path::absolute(&self.platform.settings.data_dir)?;
        let tenant_dir = outfit::tenant_folder(&self.platform, tenant)?;
        let order = WorkOrder { parent_pid: 0, lease_until_ms: i64::MAX, ..order };
        let fence = claimed.lease.until.timestamp_millis();
        Ok(Ok(Away { order, fence, quotas, data_dir, tenant_dir }))
    }

    /// Hands it over and watches it until it is gone.
    pub(super) async fn watch_away(&self, claimed: &Claimed, away: Away, keeper: &Keeper, record: &mut Record) -> Watched {
        let scrubber = Scrubber::new(&away.order.secret_values());
        let bounds = Bounds::new(&away.order.limits);
        let going = match &self.platform.cluster {
            Some(cluster) => cluster.start(away),
            None => Err(Error::internal("a run goes to a cluster that there is not")),
        };
        let mut going = match going {
            Ok(going) => going,
            Err(error) => {
                record.line(log("error", error.to_string(), None));
                return Watched { ending: Some(Ending::refused(error)), sample: Sample::default() };
            }
        };
        self.mark(claimed, Mark::Ordered);
        let mut held = keeper.watch();
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let wall = Instant::now();
        let mut seen = Watch::default();
        let mut keeper_gone = false;
        let (exit, error) = loop {
            let patience = until(seen.deadline);
            let too_long = until(seen.begun.filter(|_| seen.stop.is_none()).map(|begun| begun + bounds.time()));
            tokio::select! {
                news = going.news.recv() => match news {
                    Some(News::Line(line)) => self.heard(claimed, &line, &scrubber, record, &mut seen).await,
                    Some(News::Note(line)) => record.line(line),
                    Some(News::Begun) => seen.begun = Some(Instant::now()),
                    Some(News::Ended { exit, error }) => break (exit, error),
                    None => break (None, Some(Error::internal("nothing more was told of a run in a cluster").transient())),
                },
                _ = flush.tick() => {
                    record.flush();
                    let used = Resources::default().plus(&seen.sample, wall.elapsed());
                    for observer in self.observers.iter() {
                        observer.progressed(claimed, &record.streams(), &used);
                    }
                }
                changed = held.changed(), if !keeper_gone => {
                    keeper_gone = changed.is_err();
                    let now = held.borrow_and_update().clone();
                    if now.lost {
                        going.abandon.cancel();
                        return Watched { ending: None, sample: seen.sample };
                    }
                    if now.cancel_requested && !matches!(seen.stop, Some(Stop::Cancel | Stop::Limit(_))) {
                        record.line(log("info", "cancelling: the run makes a checkpoint and stops".into(), None));
                        seen.stop(Stop::Cancel, CANCEL_PATIENCE, &going);
                    }
                }
                () = self.drain.cancelled(), if seen.stop.is_none() => {
                    record.line(log("info", "the worker shuts down: the run makes a checkpoint and goes back to the queue".into(), None));
                    seen.stop(Stop::Drain, Duration::from_secs(self.platform.settings.drain_secs), &going);
                }
                () = too_long => {
                    let error = bounds.too_long();
                    record.line(log("error", error.to_string(), None));
                    seen.stop(Stop::Limit(error), CANCEL_PATIENCE, &going);
                }
                () = patience => {
                    if going.kill.is_cancelled() {
                        break (None, Some(Error::internal("the cluster does not say that the run is gone").transient()));
                    }
                    record.line(log("warning", "the run did not stop in time; it is killed".into(), None));
                    going.kill.cancel();
                    seen.deadline = Some(Instant::now() + GONE_WITHIN);
                }
            }
        };
        if let Some(error) = &error {
            record.line(log("error", error.to_string(), None));
        }
        let Watch { report, last_words, stop, sample, .. } = seen;
        let ending = Ending { report, exit, stop, refused: error, said: last_words, kernel_out_of_memory: false };
        Watched { ending: Some(ending), sample }
    }

    async fn heard(&self, claimed: &Claimed, line: &Line, scrubber: &Scrubber, record: &mut Record, seen: &mut Watch) {
        // Both pipes come as one: what is no event was meant for people.
        let pipe = if line.bytes.starts_with(b"{") { Pipe::Output } else { Pipe::Errors };
        let Some(said) = understand(line, pipe, scrubber) else { return };
        if let (Pipe::Errors, Said::Log(line)) = (pipe, &said) {
            remember(&mut seen.last_words, &line.message);
        }
        match record.take(said) {
            Some(Said::Report { body, memory_peak_bytes }) => {
                seen.sample.memory_peak_bytes = seen.sample.memory_peak_bytes.max(memory_peak_bytes);
                self.mark(claimed, Mark::Reported);
                seen.report = Some(body);
            }
            Some(Said::Schemas(schemas)) => self.planned(claimed, schemas).await,
            _ => {}
        }
    }
}

/// What is known of it so far.
#[derive(Default)]
struct Watch {
    report: Option<Value>,
    last_words: String,
    stop: Option<Stop>,
    begun: Option<Instant>,
    /// When politeness ends.
    deadline: Option<Instant>,
    sample: Sample,
}

impl Watch {
    fn stop(&mut self, why: Stop, patience: Duration, going: &Going) {
        self.stop = Some(why);
        self.deadline = Some(Instant::now() + patience + MARGIN);
        going.stop.cancel();
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
