//! From the journal into one sink node.
//!
//! Writers flush at boundaries of the journal: at once when nothing more is waiting, else when enough has come together. A sink whose flushes have a
//! price (a file each) may wait longer; what it holds is in the journal until then. A flush is the sink's own
//! transaction of rows and the boundary's number, so each stream knows how far it is. The checkpoint follows, now and then: it knows up to where *all*
//! streams of the node are durable, also those that had no changes, and it keeps the dead letters and the counts. After a crash reading begins
//! at the checkpoint; a stream passes over what it has.
//!
//! A stream that waits for an approval (see [`super::hold`], `waiting`) is left out, and the checkpoint tells how far it is and what its
//! counts were then. Both ways, into the wait and out of it, the node begins again from its last checkpoint: an attempt after a crash finds the
//! same.

mod opening;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, CommitReport, SchemaChange, SchemaChangePolicy, Sink, Split, SplitProgress, StreamSink,
    StreamTarget, failpoint,
};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, Gate, Passed, add_rules};

pub(super) use self::opening::Left;
use self::opening::Opening;
use super::codec::{Mark, Record};
use super::hold::{self, Held};
use super::journal::Journal;
use super::outlet::{Maker, Outlet};
use super::shape::{self, Shape};
use super::{SPLIT, Shared};
use crate::gates;
use crate::run::RunContext;
use crate::store::{Counts, Epoch, EpochBody, FlowPlace, Keep, SetAside};

/// Flushes come at least after so many bytes of changes.
const FLUSH_BYTES: usize = 32 << 20;
/// And after so long, while changes keep coming.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Sinks that wait for more hold no more than this in memory, all together.
const HELD_BYTES: usize = 64 << 20;

/// Under this name the checkpoints of a sink node of a log are kept.
pub(super) fn name(log: &str, sink: &str) -> String {
    format!("{log} → {sink}")
}

/// One sink node.
pub(super) struct Applier {
    context: Arc<RunContext>,
    log: String,
    name: String,
    targets: Vec<Target>,
    /// Stream → index of its targets (a stream may be written twice by one node only under two names).
    routes: HashMap<Arc<str>, Vec<usize>>,
    /// Where reading begins.
    start: u64,
    /// The boundary of the last checkpoint: streams that are not so far are named in it.
    head: u64,
    /// Set back: up to this boundary the targets have everything, and are to get it once more.
    again: u64,
    /// Per flow of the log.
    ways: Vec<Way>,
    /// Sums per flow of the log; zero where the flow does not come here.
    counts: Vec<Counts>,
    /// Per flow of the log: its gates, and what has passed those that are counted here.
    gates: Vec<(Arc<[Gate]>, Vec<Passed>)>,
    dead: Vec<SetAside>,
    /// Since when there is something that is not durable.
    waiting: Option<Instant>,
    /// When it was last looked whether streams that wait may go on.
    looked: Option<Instant>,
    sink: String,
}

/// How far a stream is at this node.
#[derive(Default)]
struct Way {
    /// Up to this boundary all of it is counted and in its targets.
    from: u64,
    /// Up to this boundary changes of its shape are approved.
    approved: u64,
    /// Where it must not go on.
    stop: Option<Stop>,
    /// It waits after `from`.
    held: Option<Held>,
}

/// A change of the shape that nobody has approved.
struct Stop {
    /// The boundary that it belongs to.
    at: u64,
    /// Somebody has, but it cannot be carried out.
    problem: Option<String>,
}

/// One target of a stream.
struct Target {
    /// The flow in the log, and the output in the flow.
    flow: usize,
    output: usize,
    /// `None`: the stream waits.
    sink: Option<Box<dyn StreamSink>>,
    /// Of the input.
    stream: Arc<str>,
    /// Of the stream, at the last change that was applied.
    shape: Shape,
    /// The way of changes of this shape into the target.
    outlet: Outlet,
    maker: Maker,
    /// Under this name the checkpoint keeps what the target has got.
    place: String,
    writer: Option<Box<dyn ChangeWriter>>,
    /// The boundary that is durable here.
    seq: u64,
    /// Changes written since the run began.
    rows: u64,
    dirty: bool,
    /// Changes of the shape wait for an approval.
    holds: bool,
    /// It was opened in a shape that the stream has not come to yet.
    fell_back: bool,
    /// To ask what would have to be altered.
    connector: Arc<dyn Sink>,
    asks: StreamTarget,
}

/// How reading ended.
pub(super) enum End {
    /// At the end of the journal, or because the run stops.
    Over,
    /// A stream has to wait, or may go on: see [`Applier::reopen`].
    Again,
}

/// What became of a new shape.
enum Reshaped {
    Not,
    Done,
    /// It is not approved, or the target has refused it, for this reason.
    Stop(Option<String>),
}

impl Applier {
    /// Opens the sink's streams and finds out how far each is. `left` is what the last committed run ended with, and `journal` tells what
    /// became of its shapes.
    pub(super) async fn open(
        context: &Arc<RunContext>,
        log: &str,
        sink: &str,
        flows: &[&Flow],
        left: &Left,
        journal: &Arc<Journal>,
    ) -> Result<Self> {
        Self::open_with(context, log, sink, flows, left, journal, HashMap::new()).await
    }

    /// The same after [`End::Again`]: from the last checkpoint.
    pub(super) async fn reopen(&mut self, flows: &[&Flow], left: &Left, journal: &Arc<Journal>) -> Result<()> {
        let stops = self.ways.iter_mut().enumerate().filter_map(|(flow, way)| Some((flow, way.stop.take()?)));
        let stops: HashMap<usize, Stop> = stops.collect();
        // Their sessions may hold locks.
        self.targets.clear();
        let (context, log, sink) = (self.context.clone(), self.log.clone(), self.sink.clone());
        *self = Self::open_with(&context, &log, &sink, flows, left, journal, stops).await?;
        Ok(())
    }

    async fn open_with(
        context: &Arc<RunContext>,
        log: &str,
        sink: &str,
        flows: &[&Flow],
        left: &Left,
        journal: &Arc<Journal>,
        mut stops: HashMap<usize, Stop>,
    ) -> Result<Self> {
        let name = name(log, sink);
        let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &name };
        let checkpoint = context.store.epochs(&place).await?.pop();
        context.epoch.fetch_max(checkpoint.as_ref().map_or(0, |epoch| epoch.number), Ordering::Relaxed);
        let fresh = checkpoint.is_none();
        let body = checkpoint.map(|epoch| epoch.body).unwrap_or_default();
        let position = body.progress.first().and_then(|part| part.position.clone()).unwrap_or_default();
        let shapes = shape::read(&position["shapes"])?;
        let head = match position["seq"].as_u64() {
            Some(seq) => seq,
            None => left.begins(sink, journal)?,
        };
        let again = position["again"].as_u64().unwrap_or(0);
        let mut counts = body.streams;
        counts.resize(flows.len(), Counts::default());
        let approvals = hold::approved(&journal.place()).await?;
        let mut ways = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        let mut routes: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (at, flow) in flows.iter().enumerate() {
            let stream = flow.inputs[0].stream.name.as_str();
            let (run, counts, position, shapes) = (&context.identity, &counts[at], &position, &shapes);
            let opening = Opening { run, sink, flow, at, left, position, shapes, counts, again, journal };
            let behind = &position["behind"][stream];
            let from = behind["seq"].as_u64().unwrap_or(head);
            let approved = approvals.get(stream).copied().unwrap_or(0);
            let mut way = Way { from, approved, stop: stops.remove(&at), held: None };
            let holds = opening.outputs().any(|(_, output)| output.on_schema_change == SchemaChangePolicy::Hold);
            let held = if holds { Held::read(&behind["held"])? } else { None };
            if approved <= from {
                way.held = held;
                // It was let go, and came back.
                let problem = way.held.is_some().then(|| way.stop.take()?.problem).flatten();
                if let (Some(held), Some(problem)) = (&mut way.held, problem) {
                    held.refused(problem);
                }
                targets.extend(opening.targets(&way).await?);
            } else {
                match opening.targets(&way).await {
                    // It goes on waiting, whatever was approved.
                    Err(error) if holds && matches!(error.kind(), Kind::Schema | Kind::Conflict) => {
                        hold::approve_up_to(&journal.place(), stream, from).await?;
                        way.approved = from;
                        let shape = || shapes.get(stream).or_else(|| left.shapes.get(stream)).cloned();
                        let Some(mut held) = held.or_else(|| Some(Held::new(stream, sink, from, shape()?))) else {
                            return Err(error);
                        };
                        held.refused(hold::problem(&error));
                        way.held = Some(held);
                        targets.extend(opening.targets(&way).await?);
                    }
                    opened => targets.extend(opened?),
                }
            }
            ways.push(way);
        }
        for (at, target) in targets.iter().enumerate() {
            routes.entry(target.stream.clone()).or_default().push(at);
        }
        let goes = targets.iter().filter(|target| ways[target.flow].held.is_none());
        let start = goes.map(|target| ways[target.flow].from).min().unwrap_or(head);
        let passed = |(flow, counts): (&&Flow, &Counts)| (flow.gates.as_slice().into(), gates::of(&flow.gates, &counts.gates));
        let gates = flows.iter().zip(&counts).map(passed).collect();
        let mut applier = Self {
            context: context.clone(),
            log: log.to_owned(),
            name,
            targets,
            routes,
            start,
            head,
            again,
            ways,
            gates,
            counts,
            dead: Vec::new(),
            waiting: None,
            looked: None,
            sink: sink.to_owned(),
        };
        for held in applier.ways.iter().filter_map(|way| way.held.as_ref()) {
            context.warn(held.says());
        }
        context.hold(&applier.name, applier.held());
        if fresh {
            // A table may have another shape when this run is taken up again.
            let mark = Mark { seq: start, position: Value::Null, committed_at_us: None };
            applier.keep(&mark).await?;
        }
        Ok(applier)
    }

    /// The shapes of the streams as far as they were applied.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.targets.iter().map(|target| (&*target.stream, &target.shape))
    }

    /// What its targets have got through transforms, by place.
    pub(super) fn outlets(&self) -> Result<Map<String, Value>> {
        let all = self.targets.iter().map(|target| Ok((target.place.clone(), target.outlet.saved()?)));
        all.filter(|part| part.as_ref().map_or(true, |(_, saved)| saved.is_object())).collect()
    }

    /// The boundary that it begins after.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The boundary after which this node needs the journal.
    pub(super) fn needs(&self) -> u64 {
        self.least(self.start)
    }

    /// The same, when the node is at boundary `seq`.
    fn least(&self, seq: u64) -> u64 {
        self.flows().map(|flow| self.has(flow, seq)).min().unwrap_or(seq)
    }

    /// The flows that come here.
    fn flows(&self) -> impl Iterator<Item = usize> {
        self.targets.chunk_by(|one, next| one.flow == next.flow).map(|targets| targets[0].flow)
    }

    /// Up to where a flow is counted and applied when the node is at boundary `seq`.
    fn has(&self, flow: usize, seq: u64) -> u64 {
        let way = &self.ways[flow];
        if way.held.is_some() { way.from } else { seq.max(way.from) }
    }

    /// The last boundary that any stream of the node has.
    pub(super) fn reached(&self) -> u64 {
        self.targets.iter().map(|target| target.seq).max().unwrap_or(0).max(self.head)
    }

    /// Reads and applies to the end of the journal, or until the run stops.
    pub(super) async fn run(&mut self, shared: &Shared, side: usize) -> Result<End> {
        let context = self.context.clone();
        let mut reader = shared.journal.read_after(self.start)?;
        let mut seq = self.start;
        // The last boundary, as long as nothing that follows it was applied.
        let mut between: Option<Mark> = None;
        let (mut flushed, mut saved, mut bytes) = (Instant::now(), Instant::now(), 0);
        // The last boundary that is flushed and in no checkpoint: the journal cannot be trimmed up to it.
        let mut unsaved: Option<Mark> = None;
        let mut full = shared.waiting.subscribe();
        let interval = context.options.checkpoint_interval;
        self.settle(seq);
        if self.look(&shared.journal).await? {
            return Ok(End::Again);
        }
        loop {
            let next = {
                let mut reading = std::pin::pin!(reader.next());
                loop {
                    let something = between.is_some() && (self.waiting.is_some() || unsaved.is_some());
                    let until = self.waited_enough().into_iter().chain(unsaved.as_ref().map(|_| saved + interval)).min();
                    let looks_at = self.looks_at();
                    tokio::select! {
                        biased;
                        next = &mut reading => break next?,
                        // Nothing more comes for now.
                        () = wait(&mut full, until), if something => {}
                        () = time(looks_at), if looks_at.is_some() => {}
                        // Nothing is open: what was applied is flushed below.
                        () = context.options.stop.cancelled(), if bytes == 0 => break None,
                    }
                    let goes_on = self.look(&shared.journal).await?;
                    let Some(mark) = &between else {
                        // Nothing was read since the beginning.
                        if goes_on {
                            return Ok(End::Again);
                        }
                        continue;
                    };
                    if goes_on {
                        self.flush(mark, shared, true).await?;
                        self.checkpoint(mark, shared, side).await?;
                        return Ok(End::Again);
                    }
                    let over = self.waited_enough().is_some_and(|end| end <= Instant::now());
                    if self.waiting.is_some() && (over || *full.borrow()) {
                        self.flush(mark, shared, true).await?;
                        (flushed, bytes) = (Instant::now(), 0);
                        unsaved = Some(mark.clone());
                    }
                    if let Some(mark) = unsaved.take() {
                        self.checkpoint(&mark, shared, side).await?;
                        saved = Instant::now();
                    }
                }
            };
            let Some((record, last)) = next else { break };
            // What comes now belongs to the boundary that follows.
            let upcoming = seq + 1;
            if let (Record::Schema(change), Some(mark)) = (&record, &between)
                && self.waiting.is_some()
                && self.due(&change.stream, upcoming).any(|target| target.shape.changed(change).is_some())
            {
                // A change that is refused must not hold back the rows before it: somebody may fit the target to what comes after them.
                self.flush(mark, shared, true).await?;
                (flushed, bytes) = (Instant::now(), 0);
            }
            between = None;
            if !matches!(record, Record::Boundary(_)) {
                // The counts go on: they are those of a later boundary.
                unsaved = None;
                self.waiting.get_or_insert_with(Instant::now);
            }
            if !self.takes(&record, upcoming).await {
                continue;
            }
            match record {
                Record::Changes(batch) => {
                    bytes += batch.rows.get_array_memory_size().max(1);
                    self.changes(batch, upcoming, shared).await?;
                }
                Record::Truncate(stream, transaction) => {
                    bytes += 1;
                    for target in self.due(&stream, upcoming) {
                        target.dirty = true;
                        target.writer()?.truncate(&transaction).await?;
                    }
                }
                Record::Schema(change) => match self.reshape(&change, upcoming).await? {
                    Reshaped::Not => {}
                    Reshaped::Done => bytes += 1,
                    Reshaped::Stop(problem) => {
                        if problem.is_some() {
                            hold::approve_up_to(&shared.journal.place(), &change.stream, seq).await?;
                        }
                        if let Some(flow) = self.flow_of(&change.stream) {
                            self.ways[flow].stop = Some(Stop { at: upcoming, problem });
                        }
                        return Ok(End::Again);
                    }
                },
                Record::Dead(letter) => {
                    bytes += 1;
                    let Some(flow) = self.flow_of(&letter.stream) else { continue };
                    self.counts[flow].read += 1;
                    self.counts[flow].dead += 1;
                    // What leads to several outputs is counted on the way to the first.
                    if self.targets.iter().any(|target| target.flow == flow && target.output == 0)
                        && let Some(source) = self.gates[flow].1.first_mut()
                    {
                        source.dead += 1;
                    }
                    shared.gauges[flow].dead.fetch_add(1, Ordering::Relaxed);
                    // One node files it, or it would be there once per sink.
                    if side == 0 {
                        self.dead.push(SetAside { sink: None, letter });
                    }
                }
                Record::Boundary(mark) => {
                    seq = mark.seq;
                    between = Some(mark.clone());
                    let stopping = context.stopping();
                    let stops = self.ways.iter().any(|way| way.stop.as_ref().is_some_and(|stop| stop.at == seq + 1));
                    let goes_on = self.look(&shared.journal).await?;
                    if last || stopping || stops || goes_on || bytes >= FLUSH_BYTES || flushed.elapsed() >= FLUSH_EVERY {
                        // A checkpoint says that all streams are durable up to here.
                        let durable = self.flush(&mark, shared, stopping || stops || goes_on || *full.borrow()).await?;
                        self.settle(seq);
                        (flushed, bytes) = (Instant::now(), 0);
                        let turns = stops || goes_on;
                        let due = turns || saved.elapsed() >= interval || *full.borrow() || stopping || !self.dead.is_empty();
                        if durable && due {
                            self.checkpoint(&mark, shared, side).await?;
                            saved = Instant::now();
                        } else if durable {
                            unsaved = Some(mark);
                        }
                    }
                    if stopping {
                        return Ok(End::Over);
                    }
                    if goes_on {
                        return Ok(End::Again);
                    }
                }
            }
        }
        let mark = between.unwrap_or_else(|| shared.journal.tail().mark);
        if seq == mark.seq {
            self.flush(&mark, shared, true).await?;
            self.checkpoint(&mark, shared, side).await?;
        }
        Ok(End::Over)
    }

    /// Those who look see from where it goes on.
    pub(super) fn tell_sums(&self, shared: &Shared) {
        for flow in self.flows() {
            let (gauge, counts) = (&shared.gauges[flow], &self.counts[flow]);
            gauge.read.fetch_max(counts.read, Ordering::Relaxed);
            gauge.bytes.fetch_max(counts.bytes_read, Ordering::Relaxed);
            gauge.gates.at_least(&self.gates[flow].1);
        }
        for target in &self.targets {
            shared.gauges[target.flow].applied.fetch_max(target.rows, Ordering::Relaxed);
        }
    }

    /// The flow that a stream belongs to, if it comes here.
    fn flow_of(&self, stream: &str) -> Option<usize> {
        Some(self.targets[*self.routes.get(stream)?.first()?].flow)
    }

    /// Tells the targets of a stream its new shape.
    async fn reshape(&mut self, change: &SchemaChange, upcoming: u64) -> Result<Reshaped> {
        let approved = self.flow_of(&change.stream).is_some_and(|flow| upcoming <= self.ways[flow].approved);
        let mut reshaped = Reshaped::Not;
        for target in self.due(&change.stream, upcoming) {
            target.fell_back = false;
            let Some(changed) = target.shape.changed(change) else { continue };
            let shape = Shape { schema: changed.schema.clone(), key: changed.key.clone() };
            let outlet = match target.maker.outlet(&shape) {
                Err(error) if target.holds && error.kind() == Kind::Schema => {
                    return Ok(Reshaped::Stop(approved.then(|| hold::problem(&error))));
                }
                outlet => outlet?,
            };
            if let Some(seen) = target.outlet.becomes(&outlet, &changed) {
                if target.holds && !approved && !seen.differences(&target.outlet.schema, &target.outlet.key).is_empty() {
                    return Ok(Reshaped::Stop(None));
                }
                match target.writer()?.reshape(&seen).await {
                    Err(error) if target.holds && matches!(error.kind(), Kind::Schema | Kind::Conflict) => {
                        return Ok(Reshaped::Stop(Some(hold::problem(&error))));
                    }
                    done => done?,
                }
            }
            target.dirty = true;
            (target.shape, target.outlet) = (shape, outlet);
            reshaped = Reshaped::Done;
        }
        Ok(reshaped)
    }

    /// The targets of a stream that lack what belongs to this boundary.
    fn due(&mut self, stream: &str, upcoming: u64) -> impl Iterator<Item = &mut Target> {
        let wanted = self.routes.get(stream).cloned().unwrap_or_default();
        self.targets
            .iter_mut()
            .enumerate()
            .filter(move |(at, target)| wanted.contains(at) && target.seq < upcoming)
            .map(|(_, target)| target)
    }

    async fn changes(&mut self, batch: ChangeBatch, upcoming: u64, shared: &Shared) -> Result<()> {
        let Some(wanted) = self.routes.get(&batch.stream) else { return Ok(()) };
        let rows = batch.ops.len() as u64;
        let flow = self.targets[wanted[0]].flow;
        self.counts[flow].read += rows;
        self.counts[flow].bytes_read += batch.source_bytes;
        let gauge = &shared.gauges[flow];
        gauge.read.fetch_max(self.counts[flow].read, Ordering::Relaxed);
        gauge.bytes.fetch_max(self.counts[flow].bytes_read, Ordering::Relaxed);
        for at in wanted.clone() {
            let target = &mut self.targets[at];
            let sent = target.outlet.send(&batch)?;
            target.rows += sent.written;
            let counts = &mut self.counts[flow];
            counts.filtered += sent.filtered;
            counts.dead += sent.dead.len() as u64;
            counts.set_aside += sent.dead.len() as u64;
            // Outputs that share a node share its counts.
            if at == wanted[0] {
                add_rules(&mut counts.rules, &sent.rules);
            }
            gauge.dead.fetch_add(sent.dead.len() as u64, Ordering::Relaxed);
            let sums = &mut self.gates[flow].1;
            sums.iter_mut().zip(&sent.passed).for_each(|(sum, more)| sum.add(more));
            gauge.gates.at_least(sums);
            self.dead.extend(sent.dead.into_iter().map(|letter| SetAside { sink: Some(self.sink.clone()), letter }));
            if target.seq < upcoming {
                if target.fell_back && !target.shape.is_of(&batch.rows.schema()) {
                    return Err(target.too_early());
                }
                // Also if nothing of it goes on: the target is asked for nothing more before this boundary.
                target.dirty = true;
                if let Some(batch) = sent.batch {
                    target.writer()?.apply(batch).await?;
                }
            }
        }
        Ok(())
    }

    /// When the first of the sinks that wait for more has waited enough. `None` if one waits for nothing more: what it has is flushed when the
    /// journal's end is reached, not while it is being read.
    fn waited_enough(&self) -> Option<Instant> {
        let patience = self.targets.iter().filter(|target| target.dirty).map(Target::patience).min()?;
        self.waiting.filter(|_| !patience.is_zero())?.checked_add(patience)
    }

    /// Makes what was applied durable: in all streams at once, or, while none has waited long enough, in those whose sinks wait for no more.
    /// Whether all streams are durable now.
    async fn flush(&mut self, mark: &Mark, shared: &Shared, all: bool) -> Result<bool> {
        let held: usize =
            self.targets.iter().filter_map(|target| target.writer.as_ref()).map(|writer| writer.buffered_bytes()).sum();
        let all = all || held >= HELD_BYTES || self.waited_enough().is_none_or(|end| end <= Instant::now());
        let dirty: Vec<&mut Target> = self.targets.iter_mut().filter(|target| target.dirty && (all || target.full())).collect();
        if all {
            self.waiting = None;
        }
        if dirty.is_empty() {
            return Ok(all);
        }
        failpoint!("cdc.flush.before");
        let number = self.context.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let flushes = dirty.into_iter().map(|target| async move {
            let barrier = Barrier { epoch: number, lane: 0, progress: vec![progress(mark, target.rows)] };
            target.writer()?.flush(&barrier).await?;
            target.seq = mark.seq;
            target.dirty = false;
            Ok::<_, Error>(())
        });
        futures::future::try_join_all(flushes).await?;
        failpoint!("cdc.flush.after");
        for target in self.targets.iter().filter(|target| !target.dirty) {
            shared.gauges[target.flow].applied.fetch_max(target.rows, Ordering::Relaxed);
        }
        let durable = self.targets.iter().all(|target| !target.dirty);
        if durable {
            self.waiting = None;
        }
        Ok(durable)
    }

    /// Remembers that all streams are durable up to here.
    async fn checkpoint(&mut self, mark: &Mark, shared: &Shared, side: usize) -> Result<()> {
        let number = self.keep(mark).await?;
        shared.done(side, mark.seq, self.least(mark.seq))?;
        let rows = self.targets.iter().map(|target| target.rows).sum();
        self.context.tell(crate::events::RunEvent::Checkpoint {
            epoch: number,
            stream: self.sink.clone(),
            rows,
            at_ms: u64::try_from(self.context.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    async fn keep(&mut self, mark: &Mark) -> Result<u64> {
        let mut streams = self.counts.clone();
        for (counts, (gates, passed)) in streams.iter_mut().zip(&self.gates) {
            counts.written.clear();
            let some = passed.iter().any(|passed| *passed != Passed::default());
            counts.gates = if some { gates::named(gates, passed) } else { Vec::new() };
        }
        for target in &self.targets {
            let written = &mut streams[target.flow].written;
            // The outputs of a flow that come to this node, in their order.
            written.push(target.rows);
        }
        let mut reached = progress(mark, 0);
        let head = mark.seq.max(self.head);
        let mut position = json!({"seq": head, "at": mark.position, "shapes": shape::write(self.shapes())?});
        let behind = self.behind(mark.seq, head)?;
        if !behind.is_empty() {
            position["behind"] = behind.into();
        }
        let outlets = self.outlets()?;
        if !outlets.is_empty() {
            position["outlets"] = outlets.into();
        }
        if self.least(mark.seq) < self.again {
            position["again"] = self.again.into();
        }
        reached.position = Some(position);
        let body = EpochBody { progress: vec![reached], streams, ..EpochBody::default() };
        let number = self.context.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let place =
            FlowPlace { pipeline: &self.context.dead_letters_of, run_id: &self.context.identity.run_id, flow: &self.name };
        failpoint!("cdc.checkpoint.before");
        let dead = std::mem::take(&mut self.dead);
        self.context.store.write_epoch(&place, &Epoch { number, prepared: false, body }, &dead, Keep::Newest).await?;
        failpoint!("cdc.checkpoint.after");
        self.head = head;
        self.context.hold(&self.name, self.held());
        Ok(number)
    }

    /// Ends the run in every stream of the node: the place of each in the flows, and its report.
    pub(super) async fn commit(&self) -> Result<Vec<((usize, usize), CommitReport)>> {
        let mut reports = Vec::new();
        for target in &self.targets {
            let sink = target.sink.as_ref().ok_or_else(|| Error::internal("a stream that waits was to be committed"))?;
            reports.push(((target.flow, target.output), sink.commit(&[]).await?));
        }
        Ok(reports)
    }
}

impl Target {
    fn writer(&mut self) -> Result<&mut Box<dyn ChangeWriter>> {
        self.writer.as_mut().ok_or_else(|| Error::internal("changes came for a run that is committed"))
    }

    /// Changes of a shape that the target does not have any more.
    fn too_early(&self) -> Error {
        Error::new("WEIR-CHANGE-006", Kind::Schema, format!("changes of `{}` wait that have the shape before", self.stream))
            .because("the target was fitted to what the stream has become, and cannot take them")
            .hint("give the target back the columns that it had, until these changes are applied")
    }

    fn patience(&self) -> Duration {
        self.writer.as_ref().map_or(Duration::ZERO, |writer| writer.patience())
    }

    fn full(&self) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.full())
    }
}

/// Waits until the journal is full, or for the time; without one only for that.
async fn wait(full: &mut watch::Receiver<bool>, until: Option<Instant>) {
    tokio::select! {
        Ok(_) = full.wait_for(|full| *full) => {}
        () = time(until) => {}
    }
}

/// Waits for the time; for ever without one.
async fn time(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

fn progress(mark: &Mark, rows: u64) -> SplitProgress {
    let split = Split { id: SPLIT.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    SplitProgress { split, position: Some(json!({"seq": mark.seq, "at": mark.position})), done: false, rows }
}
