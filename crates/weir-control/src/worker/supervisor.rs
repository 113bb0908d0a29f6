//! One attempt of one run: starts the child, watches it, stops it when it must, and tells the store how it ended.
//!
//! Nothing that the child says or does is trusted: its lines are bounded and cleaned, its use is measured from outside, and whatever state it
//! is in, it is killed when the lease is lost, because another worker may have the run by then.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Kind, Result};
use weir_store::model::{Claimed, Run};

use super::away::Away;
use super::checkpoints;
use super::keeper::{Held, Keeper};
use super::launch::kill_group;
use super::limits::Bounds;
use super::lines::{Lines, MAX_LINE_BYTES, MAX_LOG_BYTES};
use super::meter::{Meter, Resources, Sample, kernel_memory_kills};
use super::order::{ParentLine, WorkOrder};
use super::outfit;
use super::record::Record;
use super::said::{Pipe, Said, log, understand};
use super::scrub::Scrubber;
use super::{Mark, Observer, Schemas};
use crate::platform::Platform;
use crate::runs::lifecycle::{Ending, Exit, Running, Stop};

/// How often the process is measured.
const MEASURE: Duration = Duration::from_millis(250);
/// How often counts and lines go to the store, at most.
pub(super) const FLUSH: Duration = Duration::from_millis(500);
/// How often the child is told that its worker lives.
const TELL: Duration = Duration::from_secs(2);
/// What a cancelled child has for its checkpoint.
pub(super) const CANCEL_PATIENCE: Duration = Duration::from_secs(30);
/// After its pipes are closed the process has this long to be gone.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);
/// How much of the child's last words is kept for the error.
const LAST_WORDS: usize = 4 << 10;

/// What an attempt needs of its worker.
#[derive(Clone)]
pub struct Supervisor {
    /// The platform.
    pub platform: Platform,
    /// Cancelled when the worker shuts down.
    pub drain: CancellationToken,
    /// Who wants to know.
    pub observers: Arc<Vec<Arc<dyn Observer>>>,
}

impl Supervisor {
    /// Executes a claimed run to the end of this attempt. `asked` is when the claim was asked for. `None`: the lease was lost, and with it the
    /// right to say anything.
    pub async fn attempt(&self, claimed: Claimed, asked: Instant) -> Option<Run> {
        let cancels = self.platform.signals.cancelled_runs();
        let requested = claimed.run.cancel_requested;
        let keeper = Keeper::begin(&self.platform.store, claimed.lease.clone(), asked, requested, cancels);
        let mut record = Record::begin(self.platform.store.system(), claimed.lease.clone(), Vec::new());
        let begin = Instant::now();
        self.mark(&claimed, Mark::Claimed);
        let watched = if requested {
            Watched {
                ending: Some(Ending { stop: Some(Stop::Cancel), ..Ending::refused(Error::cancelled()) }),
                ..Watched::default()
            }
        } else {
            match self.prepared(&claimed).await {
                Ok(Begun::Here(order, child)) => self.watch(&claimed, order, child, &keeper, &mut record).await,
                Ok(Begun::Away(away)) => self.watch_away(&claimed, away, &keeper, &mut record).await,
                Err(error) => {
                    record.line(log("error", error.to_string(), None));
                    Watched { ending: Some(Ending::refused(error)), ..Watched::default() }
                }
            }
        };
        let streams = record.end().await;
        let ending = watched.ending?;
        let used = Resources::of_run(claimed.run.resources.as_ref()).plus(&watched.sample, begin.elapsed());
        let used = Resources {
            source_bytes: used.source_bytes + streams.iter().map(|stream| stream.bytes_read).sum::<u64>(),
            target_bytes: used.target_bytes + streams.iter().map(|stream| stream.bytes_written).sum::<u64>(),
            ..used
        };
        let next = Running::new(&claimed.run, &claimed.job.body.retry).ended(ending, Utc::now());
        let run = self.finish(&keeper, next.into_outcome(streams, used)).await?;
        for observer in self.observers.iter() {
            observer.ended(&claimed, &run).await;
        }
        Some(run)
    }

    async fn prepared(&self, claimed: &Claimed) -> Result<Begun> {
        let order = outfit::for_run(&self.platform, claimed).await?;
        let order = match self.away(claimed, order).await? {
            Ok(away) => return Ok(Begun::Away(away)),
            Err(order) => order,
        };
        let child = self.platform.launcher.start(&order.base_dir).await?;
        Ok(Begun::Here(order, child))
    }

    /// Watches the child until it is gone.
    async fn watch(
        &self,
        claimed: &Claimed,
        order: WorkOrder,
        mut child: Child,
        keeper: &Keeper,
        record: &mut Record,
    ) -> Watched {
        let kernel_kills = kernel_memory_kills();
        let scrubber = Arc::new(Scrubber::new(&order.secret_values()));
        let bounds = Bounds::new(&order.limits);
        let mut meter = Meter::new(child.id().unwrap_or_default());
        let mut said = listen(&mut child, &scrubber);
        let desk = match (&self.platform.checkpoints, order.checkpoints_at_worker) {
            (Some(checkpoints), true) => checkpoints.of(&claimed.run.tenant_id, &claimed.job.id).ok(),
            _ => None,
        };
        let told = speak(&mut child, order, keeper.watch());
        self.mark(claimed, Mark::Ordered);
        let mut held = keeper.watch();
        let mut measure = tokio::time::interval(MEASURE);
        let mut flush = tokio::time::interval(FLUSH);
        for interval in [&mut measure, &mut flush] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let begin = Instant::now();
        let (mut report, mut last_words): (Option<Value>, String) = (None, String::new());
        let mut stop: Option<Stop> = None;
        // When politeness ends.
        let mut deadline: Option<Instant> = None;
        let mut lost = false;
        let mut keeper_gone = false;
        loop {
            let patience = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = said.recv() => match heard {
                    Some((_, Said::State { id, call })) => checkpoints::answer(desk.as_ref(), id, call, told.say.clone()),
                    Some((pipe, heard)) => {
                        if let (Pipe::Errors, Said::Log(line)) = (pipe, &heard) {
                            remember(&mut last_words, &line.message);
                        }
                        match record.take(heard) {
                            Some(Said::Report { body, memory_peak_bytes }) => {
                                meter.peak(memory_peak_bytes);
                                self.mark(claimed, Mark::Reported);
                                report = Some(body);
                            }
                            Some(Said::Schemas(schemas)) => self.planned(claimed, schemas).await,
                            _ => {}
                        }
                    }
                    None => break,
                },
                _ = measure.tick() => {
                    let sample = meter.look();
                    if sample.ended {
                        break;
                    }
                    if !matches!(stop, Some(Stop::Limit(_)))
                        && let Some(error) = bounds.exceeded(&sample)
                    {
                        record.line(log("error", error.to_string(), None));
                        stop = Some(Stop::Limit(error));
                        kill_group(&child);
                    }
                    if stop.is_none() && begin.elapsed() > bounds.time() {
                        let error = bounds.too_long();
                        record.line(log("error", error.to_string(), None));
                        stop = Some(Stop::Limit(error));
                        deadline = Some(Instant::now() + CANCEL_PATIENCE);
                        told.stop();
                    }
                }
                _ = flush.tick() => {
                    record.flush();
                    let used = Resources::default().plus(&meter.last(), begin.elapsed());
                    for observer in self.observers.iter() {
                        observer.progressed(claimed, &record.streams(), &used);
                    }
                }
                changed = held.changed(), if !keeper_gone => {
                    keeper_gone = changed.is_err();
                    let now = held.borrow_and_update().clone();
                    if now.lost {
                        lost = true;
                        kill_group(&child);
                        break;
                    }
                    if now.cancel_requested && !matches!(stop, Some(Stop::Cancel | Stop::Limit(_))) {
                        record.line(log("info", "cancelling: the run makes a checkpoint and stops".into(), None));
                        stop = Some(Stop::Cancel);
                        deadline = Some(Instant::now() + CANCEL_PATIENCE);
                        told.stop();
                    }
                }
                () = self.drain.cancelled(), if stop.is_none() => {
                    record.line(log("info", "the worker shuts down: the run makes a checkpoint and goes back to the queue".into(), None));
                    stop = Some(Stop::Drain);
                    deadline = Some(Instant::now() + Duration::from_secs(self.platform.settings.drain_secs));
                    told.stop();
                }
                () = patience => {
                    record.line(log("warning", "the run did not stop in time; its process is killed".into(), None));
                    kill_group(&child);
                    deadline = None;
                }
            }
        }
        // The last figures: a process that has ended but was not waited for still shows them.
        meter.look();
        let exit = gone(&mut child).await;
        // What was written before the end may still be in the pipes.
        while let Ok(Some((pipe, heard))) = tokio::time::timeout(Duration::from_millis(500), said.recv()).await {
            if let (Pipe::Errors, Said::Log(line)) = (pipe, &heard) {
                remember(&mut last_words, &line.message);
            }
            if let Some(Said::Report { body, memory_peak_bytes }) = record.take(heard) {
                meter.peak(memory_peak_bytes);
                report = Some(body);
            }
        }
        let sample = meter.last();
        if lost {
            return Watched { ending: None, sample };
        }
        let kernel_out_of_memory = kernel_memory_kills() > kernel_kills;
        let ending = Ending { report, exit, stop, refused: None, said: last_words, kernel_out_of_memory };
        Watched { ending: Some(ending), sample }
    }

    pub(super) fn mark(&self, claimed: &Claimed, mark: Mark) {
        self.observers.iter().for_each(|observer| observer.marked(claimed, mark));
    }

    pub(super) async fn planned(&self, claimed: &Claimed, schemas: Value) {
        let Ok(schemas) = serde_json::from_value::<Schemas>(schemas) else { return };
        for observer in self.observers.iter() {
            observer.planned(claimed, &schemas).await;
        }
    }

    /// Tells the store, as long as the lease is ours.
    async fn finish(&self, keeper: &Keeper, outcome: weir_store::model::Outcome) -> Option<Run> {
        let system = self.platform.store.system();
        loop {
            let held = keeper.now();
            if held.lost {
                return None;
            }
            match system.finish(&held.lease, outcome.clone()).await {
                Ok(run) => return Some(run),
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {
                    tracing::warn!(run = %held.lease.run_id, "the end of a run was not taken, somebody else has it: {error}");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(run = %held.lease.run_id, "the end of a run could not be stored: {error}");
                    tokio::time::sleep(FLUSH).await;
                }
            }
        }
    }
}

/// Where an attempt runs.
enum Begun {
    /// As a process of this machine.
    Here(WorkOrder, Child),
    /// In a cluster.
    Away(Away),
}

/// What was seen of a run. No ending: the lease was lost.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) ending: Option<Ending>,
    pub(super) sample: Sample,
}

/// Reads both pipes until they end.
fn listen(child: &mut Child, scrubber: &Arc<Scrubber>) -> mpsc::Receiver<(Pipe, Said)> {
    // Bounded: a child that says more than can be understood waits.
    let (tell, said) = mpsc::channel(256);
    if let Some(pipe) = child.stdout.take() {
        tokio::spawn(read(Lines::new(BufReader::new(pipe), MAX_LINE_BYTES), Pipe::Output, tell.clone(), scrubber.clone()));
    }
    if let Some(pipe) = child.stderr.take() {
        tokio::spawn(read(Lines::new(BufReader::new(pipe), MAX_LOG_BYTES), Pipe::Errors, tell, scrubber.clone()));
    }
    said
}

async fn read<R: tokio::io::AsyncBufRead + Unpin>(
    mut lines: Lines<R>,
    pipe: Pipe,
    tell: mpsc::Sender<(Pipe, Said)>,
    scrubber: Arc<Scrubber>,
) {
    while let Ok(Some(line)) = lines.next().await {
        if let Some(said) = understand(&line, pipe, &scrubber)
            && tell.send((pipe, said)).await.is_err()
        {
            return;
        }
    }
}

/// The other direction: the order, then a sign of life every two seconds, and the wish that it stop.
pub(super) struct Mouth {
    stop: CancellationToken,
    pub(super) say: mpsc::UnboundedSender<ParentLine>,
    _silent_when_dropped: tokio_util::sync::DropGuard,
}

impl Mouth {
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Writes on a task of its own: a child that does not read must not hold up its worker.
pub(super) fn speak(child: &mut Child, order: WorkOrder, held: watch::Receiver<Held>) -> Mouth {
    let (stop, quiet) = (CancellationToken::new(), CancellationToken::new());
    let (say, lines) = mpsc::unbounded_channel();
    if let Some(pipe) = child.stdin.take() {
        let (stop, quiet) = (stop.clone(), quiet.clone());
        tokio::spawn(async move {
            tokio::select! {
                // A pipe that breaks belongs to a child that is gone, which is noticed elsewhere.
                _ = talk(pipe, order, held, stop, lines) => {}
                () = quiet.cancelled() => {}
            }
        });
    }
    Mouth { stop, say, _silent_when_dropped: quiet.drop_guard() }
}

async fn write(pipe: &mut ChildStdin, line: &ParentLine) -> std::io::Result<()> {
    pipe.write_all(&line.to_line().map_err(std::io::Error::other)?).await
}

async fn talk(
    mut pipe: ChildStdin,
    order: WorkOrder,
    held: watch::Receiver<Held>,
    stop: CancellationToken,
    mut lines: mpsc::UnboundedReceiver<ParentLine>,
) -> std::io::Result<()> {
    let line = order.to_line().map_err(std::io::Error::other)?;
    drop(order);
    pipe.write_all(&line).await?;
    drop(line);
    let mut tell = tokio::time::interval(TELL);
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = tell.tick() => {
                let until = held.borrow().lease.until.timestamp_millis();
                write(&mut pipe, &ParentLine::LeaseUntilMs(until)).await?;
            }
            Some(line) = lines.recv() => write(&mut pipe, &line).await?,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                write(&mut pipe, &ParentLine::Cancel(true)).await?;
            }
        }
    }
}

/// Waits for the end; a process that has closed its pipes and stays is killed.
pub(super) async fn gone(child: &mut Child) -> Option<Exit> {
    let exit = |status: std::io::Result<ExitStatus>| status.ok().map(Exit::from);
    if let Ok(status) = tokio::time::timeout(EXIT_PATIENCE, child.wait()).await {
        return exit(status);
    }
    kill_group(child);
    exit(child.wait().await)
}

/// Keeps the end of what was said.
pub(super) fn remember(words: &mut String, line: &str) {
    if !words.is_empty() {
        words.push('\n');
    }
    words.push_str(line);
    if words.len() > LAST_WORDS {
        let mut cut = words.len() - LAST_WORDS;
        while !words.is_char_boundary(cut) {
            cut += 1;
        }
        words.drain(..cut);
    }
}
