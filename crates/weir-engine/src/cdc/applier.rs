//! From the journal into one sink node.
//!
//! Writers flush at boundaries of the journal: at once when nothing more is waiting, else when enough has come together. A sink whose flushes have a
//! price (a file each) may wait longer; what it holds is in the journal until then. A flush is the sink's own
//! transaction of rows and the boundary's number, so each stream knows how far it is. The checkpoint follows, now and then: it knows up to where *all*
//! streams of the node are durable, also those that had no changes, and it keeps the dead letters and the counts. After a crash reading begins
//! at the checkpoint; a stream passes over what it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, CommitReport, SchemaChangePolicy, Split, SplitProgress, StreamSink, StreamTarget,
    failpoint,
};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, FlowOutput};

use super::codec::{Mark, Record};
use super::journal::Journal;
use super::outlet::{Maker, Outlet};
use super::shape::{self, Shape, Shapes};
use super::{SPLIT, Shared};
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

/// What the last committed run of a log left.
#[derive(Default)]
pub(super) struct Left {
    /// The boundary that it ended with.
    pub seq: u64,
    /// The streams as they were then.
    pub shapes: Shapes,
    /// What the targets had got through transforms.
    pub outlets: Value,
    /// The sinks that it had; `None`: an older version did not write them down.
    pub sinks: Option<Vec<String>>,
    /// Where sinks that are new begin; see [`super::join`].
    pub joined: HashMap<String, u64>,
}

impl Left {
    pub(super) fn read(left: &Value) -> Result<Self> {
        let names = |sinks: &Vec<Value>| sinks.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self {
            seq: left["seq"].as_u64().unwrap_or(0),
            shapes: shape::read(&left["shapes"])?,
            outlets: left["outlets"].clone(),
            sinks: left["sinks"].as_array().map(names),
            joined: HashMap::new(),
        })
    }

    /// A sink that has no checkpoint begins where the last run ended, if it was there then. One that is new has nothing of what came before.
    pub(super) fn begins(&self, sink: &str, journal: &Journal) -> Result<u64> {
        if let Some(seq) = self.joined.get(sink) {
            return Ok(*seq);
        }
        let known = self.sinks.as_ref().is_none_or(|sinks| sinks.iter().any(|known| known == sink));
        if known && (self.seq > 0 || journal.holds(0).is_ok()) {
            return Ok(self.seq);
        }
        Err(Error::new("WEIR-JOURNAL-013", Kind::Conflict, format!("sink `{sink}` is new, and the log has begun without it"))
            .because("what the other sinks have had is not in the journal any more, so the rows of the snapshot would be missing")
            .hint("give it a pipeline of its own; or `weir state reset`, which begins with a new snapshot for all sinks"))
    }
}

/// One sink node.
pub(super) struct Applier {
    context: Arc<RunContext>,
    name: String,
    targets: Vec<Target>,
    /// Stream → index of its targets (a stream may be written twice by one node only under two names).
    routes: HashMap<Arc<str>, Vec<usize>>,
    /// Where reading begins.
    start: u64,
    /// Set back: up to this boundary the targets have everything, and are to get it once more.
    again: u64,
    /// Sums per flow of the log; zero where the flow does not come here.
    counts: Vec<Counts>,
    dead: Vec<SetAside>,
    /// Since when there is something that is not durable.
    waiting: Option<Instant>,
    sink: String,
}

/// A target with its writer.
struct Opened {
    sink: Box<dyn StreamSink>,
    writer: Option<Box<dyn ChangeWriter>>,
    /// The boundary that is durable in it.
    seq: Option<u64>,
    /// It has the shape of the source's table by now, and not the one that was asked for.
    fell_back: bool,
}

impl Opened {
    async fn new(
        output: &FlowOutput,
        target: &impl Fn(&Shape, SchemaChangePolicy) -> Result<StreamTarget>,
        shape: &Shape,
        policy: SchemaChangePolicy,
        told: &Shape,
    ) -> Result<Self> {
        let policy = if shape == told { output.on_schema_change } else { policy };
        match Self::open(output, target(shape, policy), target(shape, output.on_schema_change)).await {
            // Somebody has fitted the table, or the transforms, to what the source has become.
            Err(error) if shape != told && error.kind() == Kind::Schema => {
                let now = || target(told, output.on_schema_change);
                match Self::open(output, now(), now()).await {
                    Ok(opened) => Ok(Self { fell_back: true, ..opened }),
                    // Or it was left behind by another contract, and may be altered now.
                    Err(_) if policy != output.on_schema_change => {
                        let then = || target(shape, output.on_schema_change);
                        Self::open(output, then(), then()).await
                    }
                    Err(_) => Err(error),
                }
            }
            opened => opened,
        }
    }

    /// `strict` is looked at first.
    async fn open(output: &FlowOutput, strict: Result<StreamTarget>, target: Result<StreamTarget>) -> Result<Self> {
        let (strict, target) = (strict?, target?);
        if strict.on_schema_change != target.on_schema_change {
            output.sink.preview(&strict).await?;
        }
        let sink = output.sink.prepare(target).await?;
        let recovery = sink.recover().await?;
        let known = recovery.progress.iter().flatten().find(|part| part.split.id == SPLIT);
        let seq = known.and_then(|part| seq_of(part.position.as_ref()));
        let writer = match recovery.committed {
            Some(_) => None,
            None => Some(sink.change_writer(output.deletes).await?),
        };
        Ok(Self { sink, writer, seq, fell_back: false })
    }
}

/// One stream's way.
struct Target {
    /// The flow in the log, and the output in the flow.
    flow: usize,
    output: usize,
    sink: Box<dyn StreamSink>,
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
        let name = name(log, sink);
        let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &name };
        let checkpoint = context.store.epochs(&place).await?.pop();
        context.epoch.fetch_max(checkpoint.as_ref().map_or(0, |epoch| epoch.number), Ordering::Relaxed);
        let fresh = checkpoint.is_none();
        let body = checkpoint.map(|epoch| epoch.body).unwrap_or_default();
        let position = body.progress.first().and_then(|part| part.position.clone()).unwrap_or_default();
        let kept = shape::read(&position["shapes"])?;
        let start = match position["seq"].as_u64() {
            Some(seq) => seq,
            None => left.begins(sink, journal)?,
        };
        let again = position["again"].as_u64().unwrap_or(0);
        let mut counts = body.streams;
        counts.resize(flows.len(), Counts::default());
        let mut targets = Vec::new();
        let mut routes: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (at, flow) in flows.iter().enumerate() {
            for (index, output) in flow.outputs.iter().enumerate().filter(|(_, output)| output.node == sink) {
                let stream: Arc<str> = flow.inputs[0].stream.name.as_str().into();
                let maker = Maker::new(flow, index, output);
                let place = format!("{sink}/{stream}#{index}");
                let saved = [&position["outlets"][&place], &left.outlets[&place]].into_iter().find(|saved| saved.is_object());
                let saved = saved.unwrap_or(&Value::Null);
                let target = |shape: &Shape, policy| {
                    let outlet = maker.outlet_or_saved(shape, saved)?;
                    Ok(StreamTarget {
                        run: context.identity.clone(),
                        stream: output.stream.clone(),
                        schema: outlet.schema,
                        key: outlet.key,
                        cursor: None,
                        write_mode: output.write_mode,
                        on_schema_change: policy,
                        changes: true,
                    })
                };
                let told = maker.told(output);
                let known = kept.get(&stream).or_else(|| left.shapes.get(&stream).filter(|_| !left.joined.contains_key(sink))).cloned();
                let (mut shape, policy) = match known {
                    // The target has had this shape already: opening alters nothing.
                    Some(shape) if output.on_schema_change == SchemaChangePolicy::Evolve => (shape, SchemaChangePolicy::Freeze),
                    Some(shape) => (shape, output.on_schema_change),
                    None => (told.clone(), output.on_schema_change),
                };
                let mut opened = Opened::new(output, &target, &shape, policy, &told).await?;
                let seq = if start < again { start } else { opened.seq.unwrap_or(0).max(start) };
                if let Some(later) = shape::last_between(journal, &stream, start, seq).await? {
                    // What is saved was got in the shape before.
                    maker.outlet(&later)?;
                    opened = Opened::new(output, &target, &later, policy, &told).await?;
                    shape = later;
                }
                let Opened { sink: opened, writer, fell_back, .. } = opened;
                if fell_back {
                    shape = told;
                }
                let outlet = maker.outlet_or_saved(&shape, saved)?;
                let earlier = flow.outputs[..index].iter().filter(|output| output.node == sink).count();
                let rows = counts[at].written.get(earlier).copied().unwrap_or(0);
                routes.entry(stream.clone()).or_default().push(targets.len());
                targets.push(Target {
                    flow: at,
                    output: index,
                    sink: opened,
                    stream,
                    shape,
                    outlet,
                    maker,
                    place,
                    writer,
                    seq,
                    rows,
                    dirty: false,
                });
            }
        }
        let mut applier = Self {
            context: context.clone(),
            name,
            targets,
            routes,
            start,
            again,
            counts,
            dead: Vec::new(),
            waiting: None,
            sink: sink.to_owned(),
        };
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

    /// The boundary after which this node needs the journal.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The last boundary that any stream of the node has.
    pub(super) fn reached(&self) -> u64 {
        self.targets.iter().map(|target| target.seq).max().unwrap_or(0).max(self.start)
    }

    /// Reads and applies to the end of the journal, or until the run stops.
    pub(super) async fn run(&mut self, shared: &Shared, side: usize) -> Result<()> {
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
        loop {
            let next = {
                let mut reading = std::pin::pin!(reader.next());
                loop {
                    let something = between.is_some() && (self.waiting.is_some() || unsaved.is_some());
                    let until = self.waited_enough().into_iter().chain(unsaved.as_ref().map(|_| saved + interval)).min();
                    tokio::select! {
                        biased;
                        next = &mut reading => break next?,
                        // Nothing more comes for now.
                        () = wait(&mut full, until), if something => {}
                        // Nothing is open: what was applied is flushed below.
                        () = context.options.stop.cancelled(), if bytes == 0 => break None,
                    }
                    let Some(mark) = &between else { continue };
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
            match record {
                Record::Changes(batch) => {
                    bytes += batch.rows.get_array_memory_size().max(1);
                    self.changes(batch, upcoming, shared).await?;
                }
                Record::Truncate(stream, transaction) => {
                    bytes += 1;
                    for target in self.due(&stream, upcoming) {
                        target.dirty = true;
                        target.writer()?.truncate_by(&transaction).await?;
                    }
                }
                Record::Schema(change) => {
                    for target in self.due(&change.stream, upcoming) {
                        let Some(changed) = target.shape.changed(&change) else { continue };
                        let shape = Shape { schema: changed.schema.clone(), key: changed.key.clone() };
                        let outlet = target.maker.outlet(&shape)?;
                        bytes += 1;
                        target.dirty = true;
                        if let Some(seen) = target.outlet.becomes(&outlet, &changed) {
                            target.writer()?.reshape(&seen).await?;
                        }
                        (target.shape, target.outlet) = (shape, outlet);
                    }
                }
                Record::Dead(letter) => {
                    bytes += 1;
                    let Some(&flow) = self.routes.get(letter.stream.as_str()).and_then(|targets| targets.first()) else {
                        continue;
                    };
                    let flow = self.targets[flow].flow;
                    self.counts[flow].read += 1;
                    self.counts[flow].dead += 1;
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
                    if last || stopping || bytes >= FLUSH_BYTES || flushed.elapsed() >= FLUSH_EVERY {
                        // A checkpoint says that all streams are durable up to here.
                        let durable = self.flush(&mark, shared, stopping || *full.borrow()).await?;
                        (flushed, bytes) = (Instant::now(), 0);
                        let due = saved.elapsed() >= interval || *full.borrow() || stopping || !self.dead.is_empty();
                        if durable && due {
                            self.checkpoint(&mark, shared, side).await?;
                            saved = Instant::now();
                        } else if durable {
                            unsaved = Some(mark);
                        }
                    }
                    if stopping {
                        return Ok(());
                    }
                }
            }
        }
        let mark = between.unwrap_or_else(|| shared.journal.tail().mark);
        if seq == mark.seq {
            self.flush(&mark, shared, true).await?;
            self.checkpoint(&mark, shared, side).await?;
        }
        Ok(())
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
            gauge.dead.fetch_add(sent.dead.len() as u64, Ordering::Relaxed);
            self.dead.extend(sent.dead.into_iter().map(|letter| SetAside { sink: Some(self.sink.clone()), letter }));
            if target.seq < upcoming {
                // Also if nothing of it goes on: the target is asked for nothing more before this boundary.
                target.dirty = true;
                if let Some(batch) = sent.batch {
                    target.writer()?.apply(batch).await?;
                }
            }
        }
        Ok(())
    }

    /// When the first of the sinks that wait has waited enough; `None` if none waits.
    fn patience_ends(&self) -> Option<Instant> {
        let patience = self.targets.iter().filter(|target| target.dirty).map(Target::patience).min()?;
        self.waiting?.checked_add(patience)
    }

    /// The same, if all that wait have asked for it: what others have is flushed when the journal's end is reached, not while it is being read.
    fn waited_enough(&self) -> Option<Instant> {
        self.patience_ends().filter(|end| self.waiting.is_some_and(|since| *end > since))
    }

    /// Makes what was applied durable: in all streams at once, or, while none has waited long enough, in those whose sinks wait for no more.
    /// Whether all streams are durable now.
    async fn flush(&mut self, mark: &Mark, shared: &Shared, all: bool) -> Result<bool> {
        let held: usize =
            self.targets.iter().filter_map(|target| target.writer.as_ref()).map(|writer| writer.buffered_bytes()).sum();
        let all = all || held >= HELD_BYTES || self.patience_ends().is_none_or(|end| end <= Instant::now());
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
        shared.done(side, mark.seq)?;
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
        streams.iter_mut().for_each(|counts| counts.written.clear());
        for target in &self.targets {
            let written = &mut streams[target.flow].written;
            // The outputs of a flow that come to this node, in their order.
            written.push(target.rows);
        }
        let mut reached = progress(mark, 0);
        let mut position = json!({"seq": mark.seq, "at": mark.position, "shapes": shape::write(self.shapes())?});
        let outlets = self.outlets()?;
        if !outlets.is_empty() {
            position["outlets"] = outlets.into();
        }
        if mark.seq < self.again {
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
        Ok(number)
    }

    /// Ends the run in every stream of the node: the place of each in the flows, and its report.
    pub(super) async fn commit(&self) -> Result<Vec<((usize, usize), CommitReport)>> {
        let mut reports = Vec::new();
        for target in &self.targets {
            reports.push(((target.flow, target.output), target.sink.commit(&[]).await?));
        }
        Ok(reports)
    }
}

impl Target {
    fn writer(&mut self) -> Result<&mut Box<dyn ChangeWriter>> {
        self.writer.as_mut().ok_or_else(|| Error::internal("changes came for a run that is committed"))
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
    let time = async {
        match until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(_) = full.wait_for(|full| *full) => {}
        () = time => {}
    }
}

fn progress(mark: &Mark, rows: u64) -> SplitProgress {
    let split = Split { id: SPLIT.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    SplitProgress { split, position: Some(json!({"seq": mark.seq, "at": mark.position})), done: false, rows }
}

fn seq_of(position: Option<&Value>) -> Option<u64> {
    position?["seq"].as_u64()
}
