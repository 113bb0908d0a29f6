//! One flow: opens its stream, deals its splits out to lanes, and turns over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use weir_connect::SplitProgress;
use weir_error::{Error, Kind, Result};
use weir_plan::streaming::Pace;
use weir_plan::{Flow, Program};

use super::asked::Draft;
use super::inputs::{Inputs, Named};
use super::keyed::{self, Keyed};
use super::lane::{Common, Happening, StreamLane, Work};
use super::savepoint::{self, FlowPart, StatePart};
use super::turn::{Base, Turn};
use crate::events::{EventTimeProgress, Progress, RunEvent};
use crate::flow::{FlowOutcome, Gauges};
use crate::gates;
use crate::memory;
use crate::report::StreamReport;
use crate::run::RunContext;
use crate::state::StateMark;
use crate::store::Counts;
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
pub(super) async fn execute(
    context: &Arc<RunContext>,
    flow: &Flow,
    pace: Pace,
    asked: Option<watch::Receiver<Option<Arc<Draft>>>>,
) -> Result<FlowOutcome> {
    let gauges = Gauges::of(flow);
    let mut found = Turn::find(context, flow, &gauges).await?;
    let before = context.store.flow(&context.identity.run_id, &flow.name).await?;
    let works = works(context, flow, found.state.take(), &gauges).await?;
    let inputs = Inputs::open(context, flow, before, &found.progress, found.known).await?;
    context.store.open_flow(&context.identity.run_id, &flow.name, &inputs.records(flow)).await?;
    let mut todo = Vec::new();
    for mut split in inputs.splits() {
        let known = found.progress.entry(split.name.clone()).or_insert_with(|| split.progress());
        split.go_on(known);
        if !known.done {
            todo.push(split);
        }
    }
    found.turn.begin(&found.progress).await?;
    tell_sums(&gauges, flow, &found.turn.base, &found.counts);
    context.tell(RunEvent::StreamStarted { stream: flow.name.clone(), estimated_rows: None, estimated_bytes: None });
    // Durable, perhaps never told.
    inputs.committed(found.progress.values().filter(|part| part.position.is_some() || part.done)).await?;
    let (send, durable) = mpsc::unbounded_channel();
    let common = Arc::new(Common {
        context: context.clone(),
        flow: flow.name.clone(),
        gates: flow.gates.as_slice().into(),
        pace,
        preparations: match &flow.program {
            Program::Keyed(program) => keyed::preparations(program.as_ref(), flow),
            _ => Vec::new(),
        },
        inputs,
        behind: AtomicUsize::new(0),
        caught_up: Notify::new(),
        durable: send,
    });
    let mut stream = Stream::new(common.clone(), flow, works, found.progress.into_keys().collect());
    stream.asked = asked;
    todo.into_iter().for_each(|split| stream.deal(split));
    let started = Instant::now();
    let tell = || tell_progress(&common, &gauges, started);
    let work = async {
        let acknowledging = acknowledge(durable, &common);
        tokio::pin!(acknowledging);
        let base = tokio::select! {
            base = stream.turns(found.turn, found.counts.read.max(found.counts.written.iter().sum())) => base,
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
    let report = StreamReport { lag_rows: common.inputs.lag(), ..report(flow, &base) };
    context.tell(RunEvent::StreamFinished {
        stream: flow.name.clone(),
        rows_written: report.rows_written,
        bytes_written: report.bytes_written,
        places: report.places.clone(),
    });
    Ok(FlowOutcome { report })
}

/// What each lane of the flow is to do: as many lanes as the run has, or the one that owns the state.
async fn works(context: &RunContext, flow: &Flow, state: Option<StateMark>, gauges: &Arc<Gauges>) -> Result<Vec<Work>> {
    match (&flow.program, flow.inputs.as_slice()) {
        (Program::RowLocal(_), [_]) if state.is_some() => Err(Error::new(
            "WEIR-STREAM-007",
            Kind::Conflict,
            "the stream kept state, and the pipeline does not ask for it any more",
        )
        .at(format!("stream `{}`", flow.name))
        .because("what is in open windows would never be written")
        .hint("run it with the old file until they are closed; or give them up with `weir state reset PIPELINE`")),
        (Program::RowLocal(program), [_]) => {
            Ok((0..context.options.parallelism.max(1)).map(|_| Work::Rows(program.clone())).collect())
        }
        (Program::Keyed(program), [_, ..]) => {
            let keyed = Keyed::open(context, flow, program.as_ref(), state, gauges.clone()).await?;
            Ok(vec![Work::Keyed(Box::new(keyed))])
        }
        _ => Err(Error::new("WEIR-STREAM-004", Kind::Unsupported, "this stream sees rows together")
            .at(format!("stream `{}`", flow.name))),
    }
}

/// Tells the source what it may forget.
async fn acknowledge(mut durable: mpsc::UnboundedReceiver<Option<Vec<SplitProgress>>>, common: &Common) -> Result<()> {
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
        let told = common.inputs.committed(latest.values()).await;
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
    lanes: Vec<StreamLane>,
    /// Each lane's letter box, with the number of its splits.
    boxes: Vec<(mpsc::UnboundedSender<Named>, usize)>,
    running: JoinSet<Result<StreamLane>>,
    known: HashSet<String>,
    /// Savepoints that the run is asked for.
    asked: Option<watch::Receiver<Option<Arc<Draft>>>>,
}

impl<'f> Stream<'f> {
    fn new(common: Arc<Common>, flow: &'f Flow, works: Vec<Work>, known: HashSet<String>) -> Self {
        let (mut lanes, mut boxes) = (Vec::new(), Vec::new());
        for (index, work) in works.into_iter().enumerate() {
            let (lane, give) = StreamLane::new(index, common.clone(), work);
            lanes.push(lane);
            boxes.push((give, 0));
        }
        Self { common, flow, lanes, boxes, running: JoinSet::new(), known, asked: None }
    }

    /// Gives a split to the lane that has the fewest.
    fn deal(&mut self, split: Named) {
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
                let writing = Writing::open(lane.index(), turn.shared.clone()).await?;
                self.running.spawn(lane.turn(writing, happening.clone()));
            }
            let end = self.until_over(&happening).await?;
            happening.over.cancel();
            // The first error ends the attempt; the other lanes stop as they would in a crash.
            while let Some(joined) = self.running.join_next().await {
                self.lanes.push(joined.map_err(|error| Error::internal("a lane died").caused_by(error))??);
            }
            let closed = turn.close(self.flow).await?;
            if let Some(draft) = self.draft() {
                self.leave_part(&draft, &turn.base).await?;
            }
            if end == End::Last {
                return Ok(turn.base);
            }
            if closed {
                turn = turn.next(self.flow).await?;
            }
            rows = 0;
        }
    }

    /// The savepoint that lacks this flow.
    fn draft(&self) -> Option<Arc<Draft>> {
        let draft = self.asked.as_ref()?.borrow().clone()?;
        (!draft.has(&self.flow.name)).then_some(draft)
    }

    /// Copies where the flow is, and what it keeps. Between two turns: no lane is at work, and the base says all.
    async fn leave_part(&self, draft: &Draft, base: &Base) -> Result<()> {
        let progress = base.progress.values().cloned().collect();
        let readers = self.common.inputs.records(self.flow);
        let mut part = FlowPart { flow: self.flow.name.clone(), progress, readers, state: None };
        if let Some(mark) = &base.state {
            let keyed = self.lanes.iter().find_map(StreamLane::keyed);
            let keyed = keyed.ok_or_else(|| Error::internal("a flow keeps state, and no lane has it"))?;
            let file = savepoint::state_file(draft.number(), &self.flow.name);
            let path = draft.folder.join(&file);
            let mark = keyed.copy_state(mark, path.clone()).await?;
            let bytes = std::fs::metadata(&path).map_err(|error| Error::from(error).at(path.display().to_string()))?.len();
            part.state = Some(StatePart { file, bytes, mark });
        }
        draft.give(part);
        Ok(())
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
            if self.draft().is_some() {
                return Ok(End::Rolled);
            }
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
                () = told(&mut self.asked) => {}
                () = happening.enough.notified() => return Ok(End::Rolled),
                () = happening.some.notified(), if rolls_at.is_none() => rolls_at = Some(Instant::now() + common.pace.roll),
                () = tokio::time::sleep_until(roll.into()), if rolls_at.is_some() => return Ok(End::Rolled),
                _ = looking.tick() => self.look().await?,
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        for split in self.common.inputs.look().await? {
            if self.known.insert(split.name.clone()) {
                self.deal(split);
            }
        }
        Ok(())
    }
}

/// Something else is asked for.
async fn told(asked: &mut Option<watch::Receiver<Option<Arc<Draft>>>>) {
    if let Some(asked) = asked
        && asked.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// The counters go on from what is durable.
fn tell_sums(gauges: &Gauges, flow: &Flow, base: &Base, turn: &Counts) {
    let mut sums = base.counts.clone();
    sums.add(turn);
    gauges.read.store(sums.read, Ordering::Relaxed);
    gauges.durable.store(sums.read, Ordering::Relaxed);
    gauges.dead.store(sums.dead, Ordering::Relaxed);
    gauges.late.store(sums.late, Ordering::Relaxed);
    gauges.written.store(sums.written.iter().sum(), Ordering::Relaxed);
    gauges.bytes.store(sums.bytes_read, Ordering::Relaxed);
    gauges.gates.set(&gates::of(&flow.gates, &sums.gates));
}

fn tell_progress(common: &Common, gauges: &Gauges, started: Instant) {
    let (nodes, edges) = gauges.gates.told(&common.gates);
    common.context.tell(RunEvent::Progress(Progress {
        nodes,
        edges,
        stream: common.flow.clone(),
        rows_read: gauges.read.load(Ordering::Relaxed),
        rows_written: gauges.written.load(Ordering::Relaxed),
        bytes_read: gauges.bytes.load(Ordering::Relaxed),
        rows_dead: gauges.dead.load(Ordering::Relaxed),
        memory_bytes: memory::resident_bytes(),
        memory_limit_bytes: common.context.budget.total as u64,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        lag_rows: common.inputs.lag(),
        lag_ms: common.inputs.lag_ms(),
        lag_splits: common.inputs.furthest_behind(),
        event_time: (!common.preparations.is_empty()).then(|| event_time(gauges)),
        ..Progress::default()
    }));
}

fn event_time(gauges: &Gauges) -> EventTimeProgress {
    let watermark = Some(gauges.watermark.load(Ordering::Relaxed)).filter(|at| *at != i64::MIN);
    let now = chrono::Utc::now().timestamp_micros();
    EventTimeProgress {
        watermark_ms: watermark.map(|at| at.div_euclid(1_000)),
        lag_ms: watermark.map(|at| now.saturating_sub(at).div_euclid(1_000)),
        state_bytes: gauges.state_bytes.load(Ordering::Relaxed),
        rows_late: gauges.late.load(Ordering::Relaxed),
    }
}

/// The sums since the run began.
fn report(flow: &Flow, base: &Base) -> StreamReport {
    let counts = &base.counts;
    let written: u64 = counts.written.iter().sum();
    let (nodes, edges) = gates::told(&flow.gates, &gates::of(&flow.gates, &counts.gates), &base.reports);
    StreamReport {
        nodes,
        edges,
        name: flow.name.clone(),
        rows_read: counts.read,
        rows_written: written,
        rows_filtered: counts.filtered,
        rows_dead: counts.dead,
        rows_late: counts.late,
        rows_derived: (written + counts.filtered + counts.dead).saturating_sub(counts.read),
        bytes_written: base.reports.iter().map(|report| report.bytes).sum(),
        places: base.reports.iter().map(|report| report.place.clone()).collect(),
        objects: base.reports.iter().map(|report| report.objects).sum(),
        rules: counts.rules.clone(),
        lag_rows: None,
    }
}
