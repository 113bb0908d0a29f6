//! One flow: opens its stream, deals its splits out to lanes, and turns over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use weir_connect::{ReadRequest, Resume, ResumeVerdict, SplitProgress, StreamReader};
use weir_error::{Error, Kind, Result};
use weir_plan::streaming::Pace;
use weir_plan::{Flow, FlowInput, Program, RowProgram};

use super::lane::{Common, Happening, StreamLane};
use super::turn::{Base, Turn};
use crate::events::{Progress, RunEvent};
use crate::flow::{FlowOutcome, Gauges};
use crate::memory;
use crate::report::StreamReport;
use crate::run::RunContext;
use crate::store::{Counts, ReaderRecord};
use crate::writing::Writing;

/// How often a source is asked for new splits.
const LOOK: Duration = Duration::from_secs(5);

/// Why a turn ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is old or large enough.
    Rolled,
    /// The run ends with it.
    Last,
}

/// Executes a flow until it is stopped, or everything that was there has arrived, going on from whatever an earlier attempt left.
pub(super) async fn execute(context: &Arc<RunContext>, flow: &Flow, pace: Pace) -> Result<FlowOutcome> {
    let ([input], Program::RowLocal(program)) = (flow.inputs.as_slice(), &flow.program) else {
        return Err(Error::new("WEIR-STREAM-004", Kind::Unsupported, "this stream sees rows together")
            .at(format!("stream `{}`", flow.name)));
    };
    let gauges = Arc::new(Gauges::default());
    let mut found = Turn::find(context, flow, &gauges).await?;
    let before = context.store.flow(&context.identity.run_id, &flow.name).await?;
    let resume = found.known.then(|| Resume {
        reader_state: before.and_then(|record| record.readers.into_iter().next()).map(|reader| reader.state).unwrap_or_default(),
        progress: found.progress.values().cloned().collect(),
    });
    let reader: Arc<dyn StreamReader> = Arc::from(input.source.open(request(context, input, resume)).await?);
    if let ResumeVerdict::StartOver { reason } = reader.verdict() {
        return Err(Error::new("WEIR-STREAM-002", Kind::Conflict, format!("the stream cannot be gone on with: {reason}"))
            .at(format!("stream `{}`", flow.name))
            .hint("`weir state reset` begins anew, and gives the sinks again what the source still has"));
    }
    let readers = [ReaderRecord { node: input.node.clone(), state: reader.state(), next_state: None, as_of: reader.as_of() }];
    context.store.open_flow(&context.identity.run_id, &flow.name, &readers).await?;
    let mut todo = Vec::new();
    for split in reader.splits() {
        let fresh = SplitProgress { split, position: None, done: false, rows: 0 };
        let known = found.progress.entry(fresh.split.id.clone()).or_insert(fresh);
        if !known.done {
            todo.push(known.clone());
        }
    }
    found.turn.begin(&found.progress).await?;
    tell_sums(&gauges, &found.turn.base, &found.counts);
    context.tell(RunEvent::StreamStarted { stream: flow.name.clone(), estimated_rows: None, estimated_bytes: None });
    let durable: Vec<SplitProgress> =
        found.progress.values().filter(|part| part.position.is_some() || part.done).cloned().collect();
    if !durable.is_empty() {
        // Durable, perhaps never told.
        input.source.committed(&input.stream.name, &durable).await?;
    }
    let (send, durable) = mpsc::unbounded_channel();
    let common = Arc::new(Common {
        context: context.clone(),
        flow: flow.name.clone(),
        pace,
        reader,
        behind: AtomicUsize::new(0),
        caught_up: Notify::new(),
        durable: send,
    });
    let mut stream = Stream::new(common.clone(), flow, program.clone(), found.progress.into_keys().collect());
    todo.into_iter().for_each(|split| stream.deal(split));
    let started = Instant::now();
    let tell = || tell_progress(&common, &gauges, started);
    let work = async {
        let acknowledging = acknowledge(input, durable, &common);
        tokio::pin!(acknowledging);
        let base = tokio::select! {
            base = stream.turns(found.turn, found.counts.read) => base,
            told = &mut acknowledging => Err(told.err().unwrap_or_else(|| Error::internal("nobody tells what is durable"))),
        };
        // After an error nothing of this attempt may still be on its way when the next one begins.
        stream.running.shutdown().await;
        let base = base?;
        let _ = common.durable.send(None);
        common.context.unless_stopped(acknowledging).await??;
        Ok::<_, Error>(base)
    };
    let base = tokio::select! {
        base = work => base?,
        never = RunContext::tick(tell) => match never {},
    };
    tell();
    let report = report(flow, &base);
    context.tell(RunEvent::StreamFinished {
        stream: flow.name.clone(),
        rows_written: report.rows_written,
        bytes_written: report.bytes_written,
        places: report.places.clone(),
    });
    Ok(FlowOutcome { report })
}

fn request(context: &RunContext, input: &FlowInput, resume: Option<Resume>) -> ReadRequest {
    ReadRequest {
        stream: input.stream.name.clone(),
        resume,
        parallelism: context.options.parallelism,
        batch_bytes: context.budget.batch,
        unbounded: true,
        ..ReadRequest::default()
    }
}

/// Tells the source what it may forget.
async fn acknowledge(
    input: &FlowInput,
    mut durable: mpsc::UnboundedReceiver<Option<Vec<SplitProgress>>>,
    common: &Common,
) -> Result<()> {
    while let Some(Some(first)) = durable.recv().await {
        let mut latest = BTreeMap::new();
        let (mut next, mut over) = (Some(first), false);
        while let Some(parts) = next {
            latest.extend(parts.into_iter().map(|part| (part.split.id.clone(), part)));
            next = match durable.try_recv() {
                Ok(Some(more)) => Some(more),
                Ok(None) => {
                    over = true;
                    None
                }
                Err(_) => None,
            };
        }
        let progress: Vec<SplitProgress> = latest.into_values().collect();
        let told = input.source.committed(&input.stream.name, &progress).await;
        told.map_err(|error| error.at(format!("stream `{}`", common.flow)))?;
        if over {
            break;
        }
    }
    Ok(())
}

/// A flow that is being read.
struct Stream<'f> {
    common: Arc<Common>,
    flow: &'f Flow,
    program: Arc<dyn RowProgram>,
    lanes: Vec<StreamLane>,
    /// Each lane's letter box, with the number of its splits.
    boxes: Vec<(mpsc::UnboundedSender<SplitProgress>, usize)>,
    running: JoinSet<Result<StreamLane>>,
    known: HashSet<String>,
}

impl<'f> Stream<'f> {
    fn new(common: Arc<Common>, flow: &'f Flow, program: Arc<dyn RowProgram>, known: HashSet<String>) -> Self {
        let (mut lanes, mut boxes) = (Vec::new(), Vec::new());
        for index in 0..common.context.options.parallelism.max(1) {
            let (lane, give) = StreamLane::new(index, common.clone());
            lanes.push(lane);
            boxes.push((give, 0));
        }
        Self { common, flow, program, lanes, boxes, running: JoinSet::new(), known }
    }

    /// Gives a split to the lane that has the fewest.
    fn deal(&mut self, split: SplitProgress) {
        let Some((give, count)) = self.boxes.iter_mut().min_by_key(|(_, count)| *count) else { return };
        *count += 1;
        self.common.behind.fetch_add(1, Ordering::SeqCst);
        // A lane that is gone has told why.
        let _ = give.send(split);
    }

    /// Turn after turn; where the next one would begin. The first has so many rows already.
    async fn turns(&mut self, mut turn: Turn, mut rows: u64) -> Result<Base> {
        loop {
            let happening = Arc::new(Happening::new(rows, self.common.pace.roll_bytes));
            for lane in std::mem::take(&mut self.lanes) {
                let writing = Writing::open(lane.index(), turn.shared.clone(), self.program.clone()).await?;
                self.running.spawn(lane.turn(writing, happening.clone()));
            }
            let end = self.until_over(&happening).await?;
            happening.over.cancel();
            // The first error ends the attempt; the other lanes stop as they would in a crash.
            while let Some(joined) = self.running.join_next().await {
                self.lanes.push(joined.map_err(|error| Error::internal("a lane died").caused_by(error))??);
            }
            let closed = turn.close(self.flow).await?;
            if end == End::Last {
                return Ok(turn.base);
            }
            if closed {
                turn = turn.next(self.flow).await?;
            }
            rows = 0;
        }
    }

    /// Waits for the turn's end; meanwhile new splits are looked for.
    async fn until_over(&mut self, happening: &Happening) -> Result<End> {
        let common = self.common.clone();
        let options = &common.context.options;
        let every = options.look_again.clamp(Duration::from_millis(1), LOOK);
        let mut looking = tokio::time::interval_at((Instant::now() + every).into(), every);
        looking.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rolls_at: Option<Instant> = None;
        loop {
            if options.until_caught_up && common.behind.load(Ordering::SeqCst) == 0 {
                return Ok(End::Last);
            }
            let roll = rolls_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = options.stop.cancelled() => return Ok(End::Last),
                Some(joined) = self.running.join_next() => {
                    joined.map_err(|error| Error::internal("a lane died").caused_by(error))??;
                    return Err(Error::internal("a lane went before the turn was over"));
                }
                () = common.caught_up.notified() => {}
                () = happening.enough.notified() => return Ok(End::Rolled),
                () = happening.some.notified(), if rolls_at.is_none() => rolls_at = Some(Instant::now() + common.pace.roll),
                () = tokio::time::sleep_until(roll.into()), if rolls_at.is_some() => return Ok(End::Rolled),
                _ = looking.tick() => self.look().await?,
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        for split in self.common.reader.look().await? {
            if self.known.insert(split.id.clone()) {
                self.deal(SplitProgress { split, position: None, done: false, rows: 0 });
            }
        }
        Ok(())
    }
}

/// The counters go on from what is durable.
fn tell_sums(gauges: &Gauges, base: &Base, turn: &Counts) {
    let mut sums = base.counts.clone();
    sums.add(turn);
    gauges.read.store(sums.read, Ordering::Relaxed);
    gauges.durable.store(sums.read, Ordering::Relaxed);
    gauges.dead.store(sums.dead, Ordering::Relaxed);
    gauges.written.store(sums.written.iter().sum(), Ordering::Relaxed);
    gauges.bytes.store(sums.bytes_read, Ordering::Relaxed);
}

fn tell_progress(common: &Common, gauges: &Gauges, started: Instant) {
    common.context.tell(RunEvent::Progress(Progress {
        stream: common.flow.clone(),
        rows_read: gauges.read.load(Ordering::Relaxed),
        rows_written: gauges.written.load(Ordering::Relaxed),
        bytes_read: gauges.bytes.load(Ordering::Relaxed),
        rows_dead: gauges.dead.load(Ordering::Relaxed),
        memory_bytes: memory::resident_bytes(),
        memory_limit_bytes: common.context.budget.total as u64,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        lag_rows: common.reader.lag(),
        ..Progress::default()
    }));
}

/// The sums since the run began.
fn report(flow: &Flow, base: &Base) -> StreamReport {
    let counts = &base.counts;
    let written: u64 = counts.written.iter().sum();
    StreamReport {
        name: flow.name.clone(),
        rows_read: counts.read,
        rows_written: written,
        rows_filtered: counts.filtered,
        rows_dead: counts.dead,
        rows_derived: (written + counts.filtered + counts.dead).saturating_sub(counts.read),
        bytes_written: base.reports.iter().map(|report| report.bytes).sum(),
        places: base.reports.iter().map(|report| report.place.clone()).collect(),
        objects: base.reports.iter().map(|report| report.objects).sum(),
        rules: counts.rules.clone(),
    }
}
