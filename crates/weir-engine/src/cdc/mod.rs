//! `mode: cdc`: a log of changes, through the journal, into sinks.
//!
//! ```text
//! source ──events──▶ journal (durable: the source may forget) ──▶ one applier per sink node ──▶ change writers, one per stream
//! ```
//!
//! * [`journal`], [`codec`]: what is durable, in a `folder` or a `bucket`; `reader`, `segments`: who reads it;
//! * `shape`: what a stream looked like where a sink has got to;
//! * `outlet`: from a stream's changes to those of one target: transforms, columns about changes;
//! * `applier`: from the journal into one sink node: epochs, checkpoints, counts;
//! * [`hold`]: streams that wait for an approval;
//! * [`look`], [`back`], [`again`]: the journal from outside: what is in it, a sink that goes back in it, a snapshot once more; `asked`: what is asked of a
//!   run that is going on; `join`: a sink that is new;
//! * this file: one log from opening to its end.
//!
//! A sink that applies changes keeps the number of the journal's boundary with its rows. After a crash the journal gives it, byte for byte,
//! what comes after that boundary: exactly once, whatever the source would give the second time.

pub mod again;
mod applier;
mod asked;
pub mod back;
mod bucket;
pub mod codec;
mod folder;
pub mod hold;
mod join;
pub mod journal;
pub mod look;
mod outlet;
mod reader;
mod segments;
mod shape;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_connect::{ChangeEvent, ChangeLog, ChangeRequest, CommitReport, Source};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, Plan};
use weir_spec::units::size_text;
use weir_spec::{JournalPolicy, WhenFull};

use crate::events::{JournalProgress, Progress, RunEvent};
use crate::flow::{self, FlowOutcome};
use crate::gates::{self, GateGauges};
use crate::memory;
use crate::queue;
use crate::report::StreamReport;
use crate::run::{RunContext, tame};
use crate::store::{Counts, FlowPlace, Phase, StreamState};
use applier::{Applier, End, Left};
use codec::{Mark, Record};
use journal::{Journal, JournalPlace, JournalWriter, Journals, Retention, SEGMENT_BYTES};

/// While changes keep coming, they are made durable together for this long at most.
const LINGER: Duration = Duration::from_millis(5);
/// Segments are not smaller than this, however little the journal may take.
const LEAST_SEGMENT_BYTES: u64 = 4 << 10;
/// The name of a log's one split in the progress of its sinks.
const SPLIT: &str = "journal";

/// One source node with its streams.
struct Log<'p> {
    node: &'p str,
    source: &'p Arc<dyn Source>,
    flows: Vec<&'p Flow>,
    policy: JournalPolicy,
}

/// Executes all logs of the plan side by side.
pub(crate) async fn execute(context: &Arc<RunContext>, plan: &Plan) -> Result<Vec<FlowOutcome>> {
    let mut logs: Vec<Log<'_>> = Vec::new();
    let policy = plan.pipeline.journal.clone().unwrap_or_default();
    for flow in &plan.flows {
        let [input] = flow.inputs.as_slice() else {
            return Err(Error::internal(format!("flow `{}` of a cdc pipeline has not one input", flow.name)));
        };
        match logs.iter_mut().find(|log| log.node == input.node) {
            Some(log) => log.flows.push(flow),
            None => logs.push(Log { node: &input.node, source: &input.source, flows: vec![flow], policy: policy.clone() }),
        }
    }
    let worked = futures::future::try_join_all(logs.iter().map(|log| log.work(context))).await?;
    let held = context.held();
    if !held.is_empty() {
        // The run goes on, with all of its logs, when it was approved.
        return Err(hold::error(&held));
    }
    let ends = logs.iter().zip(worked).map(async |(log, worked)| match worked {
        Worked::Committed(outcomes) => Ok(outcomes),
        Worked::Done(shared, appliers) => log.commit(&shared, &appliers).await,
    });
    Ok(futures::future::try_join_all(ends).await?.into_iter().flatten().collect())
}

/// How a log was left.
enum Worked {
    /// By an attempt before.
    Committed(Vec<FlowOutcome>),
    /// Everything of it is in the sinks.
    Done(Arc<Shared>, Vec<Applier>),
}

/// What the tasks of a log share.
struct Shared {
    context: Arc<RunContext>,
    journal: Arc<Journal>,
    /// Per sink node.
    sides: Vec<Side>,
    /// Told when one of them moves.
    trimmed: watch::Sender<u64>,
    /// The journal is full: the source waits, and sinks should say how far they are.
    waiting: watch::Sender<bool>,
    /// The attempt is over: nobody will make room any more.
    over: CancellationToken,
    policy: JournalPolicy,
    gauges: Vec<Gauge>,
}

/// How far a sink node is, by its checkpoints.
struct Side {
    /// The boundary that it has got to.
    at: AtomicU64,
    /// The boundary up to which it needs the journal no more: a stream of it may wait.
    done: AtomicU64,
}

/// Live counters of a stream.
#[derive(Default)]
struct Gauge {
    read: AtomicU64,
    applied: AtomicU64,
    dead: AtomicU64,
    bytes: AtomicU64,
    gates: GateGauges,
}

impl Shared {
    /// A sink node is at this boundary, and needs the journal up to `done` no more.
    fn done(&self, side: usize, at: u64, done: u64) -> Result<()> {
        self.sides[side].at.store(at, Ordering::Relaxed);
        self.sides[side].done.store(done, Ordering::Relaxed);
        self.trim()
    }

    /// The boundary up to which no sink node needs the journal.
    fn least(&self) -> u64 {
        self.sides.iter().map(|side| side.done.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// The journal has nothing for the sinks any more but what waits for an approval.
    fn exhausted(&self) -> bool {
        let last = self.journal.tail().mark.seq;
        self.sides.iter().all(|side| side.at.load(Ordering::Relaxed) >= last)
    }

    /// The streams that wait, for a sentence about the journal.
    fn held(&self) -> String {
        let held = self.context.held();
        let named: Vec<String> = held.iter().map(|held| format!("`{}` ({} bytes)", held.stream, held.bytes)).collect();
        match named.is_empty() {
            true => String::new(),
            false => format!("; it keeps what waits for an approval (on_schema_change: hold): {}", named.join(", ")),
        }
    }

    /// Lets go of what no sink needs and nobody wants to keep.
    fn trim(&self) -> Result<()> {
        let least = self.least();
        self.journal.trim(least, &Retention { keep: self.policy.keep, max_bytes: self.policy.max_bytes })?;
        self.trimmed.send_replace(least);
        Ok(())
    }
}

/// How a log ended.
enum Ended {
    /// With the log, or because the run stops.
    Over,
    /// Something was asked for that is done before the source is opened.
    Asked,
}

impl Log<'_> {
    /// Begins again, as after a crash, as often as something is asked for.
    async fn work(&self, context: &Arc<RunContext>) -> Result<Worked> {
        loop {
            if let Some(worked) = self.begin(context).await? {
                return Ok(worked);
            }
        }
    }

    /// `None`: it is to begin again.
    async fn begin(&self, context: &Arc<RunContext>) -> Result<Option<Worked>> {
        let run = &context.identity;
        let before = context.store.flow(&run.run_id, self.node).await?;
        if let Some(record) = before.as_ref().filter(|record| record.phase == Phase::Committed) {
            return Ok(Some(Worked::Committed(self.outcomes(&self.kept(context).await?, &record.reports))));
        }
        let reads = before.as_ref().is_none_or(|record| record.phase == Phase::Reading);
        let source = self.source.changes().ok_or_else(|| {
            Error::new("WEIR-RUN-050", Kind::Spec, format!("source `{}` has no log of changes", self.node))
                .hint("use the -cdc connector of that system, or `mode: batch`")
        })?;
        context.store.open_flow(&run.run_id, self.node, &[]).await?;
        // What the last committed run left.
        let left = context.store.stream_state(&run.pipeline, self.node, self.node).await?.previous;
        let start = match &left {
            Some(left) => {
                Mark { seq: left["seq"].as_u64().unwrap_or(0), position: left["position"].clone(), committed_at_us: None }
            }
            None => Mark { seq: 0, position: Value::Null, committed_at_us: None },
        };
        // A quarter of what it may take: three are trimmed while the last one is written.
        let segment_bytes = (self.policy.max_bytes / 4).clamp(LEAST_SEGMENT_BYTES, SEGMENT_BYTES);
        let (journal, mut writer) = Journal::open(&self.place(context), &start, segment_bytes).await?;
        if reads {
            asked::carry_out(context, (self.node, source), (&journal, &mut writer)).await?;
        }
        let mut left = Left::read(&left.unwrap_or_default())?;
        join::join(context, (self.node, source), (&self.sinks(), &self.flows), &mut left, (&journal, &mut writer)).await?;
        let mut appliers = Vec::new();
        for sink in self.sinks() {
            appliers.push(Applier::open(context, self.node, sink, &self.flows, &left, &journal).await?);
        }
        for applier in &appliers {
            journal.holds(applier.needs())?;
            journal.holds(applier.reached())?;
        }
        let shared = Arc::new(Shared {
            context: context.clone(),
            journal: journal.clone(),
            sides: appliers
                .iter()
                .map(|applier| Side { at: AtomicU64::new(applier.start()), done: AtomicU64::new(applier.needs()) })
                .collect(),
            trimmed: watch::Sender::new(0),
            waiting: watch::Sender::new(false),
            over: CancellationToken::new(),
            policy: self.policy.clone(),
            gauges: self
                .flows
                .iter()
                .map(|flow| Gauge { gates: GateGauges::new(flow.gates.len()), ..Gauge::default() })
                .collect(),
        });
        appliers.iter().for_each(|applier| applier.tell_sums(&shared));
        // The limit may have been lowered since.
        shared.trim()?;
        for flow in &self.flows {
            context.tell(RunEvent::StreamStarted {
                stream: flow.name.clone(),
                estimated_rows: flow.inputs[0].stream.estimated_rows,
                estimated_bytes: flow.inputs[0].stream.estimated_bytes,
            });
        }
        // A commit that was decided is carried out; nothing is read for it.
        if reads {
            let from = Some(journal.tail().mark.position).filter(|position| !position.is_null());
            let log = source.open(self.request(context, from.clone())).await?;
            if let Some(position) = &from {
                // Durable here, perhaps never told.
                log.acknowledge(position).await?;
            }
            if let Ended::Asked = self.run(&shared, log, writer, &mut appliers, &left).await? {
                return Ok(None);
            }
        } else {
            drop(writer);
        }
        Ok(Some(Worked::Done(shared, appliers)))
    }

    /// The sink nodes, each once, in the order of the first flow that names it.
    fn sinks(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = Vec::new();
        for output in self.flows.iter().flat_map(|flow| &flow.outputs) {
            if !nodes.contains(&output.node.as_str()) {
                nodes.push(&output.node);
            }
        }
        nodes
    }

    fn place(&self, context: &RunContext) -> JournalPlace {
        let journals = Journals::new(context.options.state.folder(), context.options.journal.clone());
        journals.place(&context.identity.pipeline, self.node)
    }

    fn request(&self, context: &RunContext, from: Option<Value>) -> ChangeRequest {
        ChangeRequest {
            pipeline: context.identity.pipeline.clone(),
            streams: self.flows.iter().map(|flow| flow.inputs[0].stream.name.clone()).collect(),
            from,
            until_caught_up: context.options.until_caught_up,
            before_images: self.flows.iter().flat_map(|flow| &flow.outputs).any(|output| output.sink.wants_before()),
            parallelism: context.options.parallelism,
            batch_bytes: context.budget.batch,
            linger: LINGER,
        }
    }

    /// Reads and applies until the log ends or the run stops.
    async fn run(
        &self,
        shared: &Arc<Shared>,
        log: Arc<dyn ChangeLog>,
        writer: JournalWriter,
        appliers: &mut [Applier],
        left: &Left,
    ) -> Result<Ended> {
        let context = &shared.context;
        let (send, receive) = queue::bounded(context.budget.queue);
        let (acks, mut acked) = watch::channel(Value::Null);
        let runtime = tokio::runtime::Handle::current();
        let mut writing = {
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || runtime.block_on(write(&shared, writer, receive, acks)))
        };
        let reading = async {
            let mut events = log.read().await?;
            loop {
                let event = tokio::select! {
                    biased;
                    () = context.options.stop.cancelled() => break,
                    event = events.next() => event,
                };
                let Some(event) = event.transpose()? else { break };
                let bytes = match &event {
                    ChangeEvent::Changes(batch) => batch.rows.get_array_memory_size() + 256,
                    _ => 256,
                };
                if !send.send(event, bytes).await {
                    break;
                }
            }
            drop(send);
            Ok::<_, Error>(())
        };
        let acknowledging = async {
            while acked.changed().await.is_ok() {
                let position = acked.borrow_and_update().clone();
                if !position.is_null() {
                    log.acknowledge(&position).await?;
                }
            }
            Ok::<_, Error>(())
        };
        let applying = appliers.iter_mut().enumerate().map(async |(side, applier)| {
            while let End::Again = applier.run(shared, side).await? {
                applier.reopen(&self.flows, left, &shared.journal).await?;
            }
            Ok::<_, Error>(())
        });
        let applying = futures::future::try_join_all(applying);
        let work = async {
            let written =
                async { (&mut writing).await.map_err(|error| Error::internal("writing the journal died").caused_by(error))? };
            tokio::try_join!(reading, written, acknowledging, applying).map(drop)
        };
        let outcome = tokio::select! {
            outcome = work => outcome.map(|()| Ended::Over),
            asked = asked::wait(context, self.node, &shared.journal) => asked.map(|()| Ended::Asked),
            never = RunContext::tick(|| self.tell(shared)) => match never {},
        };
        shared.over.cancel();
        if !writing.is_finished() {
            // The journal has one writer: the next attempt must find it gone. Its queue is closed by now.
            let _ = writing.await;
        }
        let ended = outcome?;
        self.tell(shared);
        if context.stopping() { Err(Error::cancelled()) } else { Ok(ended) }
    }

    async fn commit(&self, shared: &Shared, appliers: &[Applier]) -> Result<Vec<FlowOutcome>> {
        let context = &shared.context;
        let run = &context.identity;
        context.store.committing(&run.run_id, self.node).await?;
        let mut reports = Vec::new();
        for applier in appliers {
            reports.extend(applier.commit().await?);
        }
        // In the order of flows and their outputs, which is how they are told.
        reports.sort_by_key(|(at, _)| *at);
        let reports: Vec<CommitReport> = reports.into_iter().map(|(_, report)| report).collect();
        let mark = shared.journal.tail().mark;
        // All of them have got to the end.
        let shapes = shape::write(appliers.iter().flat_map(Applier::shapes))?;
        let mut previous = json!({"seq": mark.seq, "position": mark.position, "shapes": shapes, "sinks": self.sinks()});
        let mut outlets = Map::new();
        for applier in appliers {
            outlets.extend(applier.outlets()?);
        }
        if !outlets.is_empty() {
            previous["outlets"] = outlets.into();
        }
        let state = StreamState { previous: Some(previous), ..StreamState::default() };
        let kept = self.kept(context).await?;
        context.store.committed(&run.pipeline, &run.run_id, self.node, &reports, &[(self.node.to_owned(), state)]).await?;
        let outcomes = self.outcomes(&kept, &reports);
        for outcome in &outcomes {
            flow::tell_rules(context, &outcome.report.name, &outcome.report.rules);
            context.tell(RunEvent::StreamFinished {
                stream: outcome.report.name.clone(),
                rows_written: outcome.report.rows_written,
                bytes_written: outcome.report.bytes_written,
                places: outcome.report.places.clone(),
            });
        }
        Ok(outcomes)
    }

    /// The counts of the checkpoints, per flow: read and dead once, written per output.
    async fn kept(&self, context: &RunContext) -> Result<Vec<Counts>> {
        let mut counts: Vec<Counts> = self.flows.iter().map(|_| Counts::default()).collect();
        for sink in self.sinks() {
            let name = applier::name(self.node, sink);
            let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &name };
            let Some(epoch) = context.store.epochs(&place).await?.pop() else { continue };
            for ((flow, total), kept) in self.flows.iter().zip(&mut counts).zip(epoch.body.streams) {
                if flow.outputs.iter().any(|output| output.node == sink) {
                    (total.read, total.bytes_read) = (kept.read, kept.bytes_read);
                    // What could not be decoded is counted at every sink, what a program set aside at its own.
                    total.set_aside += kept.set_aside;
                    total.dead = kept.dead.saturating_sub(kept.set_aside) + total.set_aside;
                    total.filtered += kept.filtered;
                    // Each gate is counted on one way.
                    gates::add(&mut total.gates, &kept.gates);
                    // Each sink's node reads the log by itself: what one of them counted is what all count.
                    if total.rules.is_empty() {
                        total.rules = kept.rules;
                    }
                    total.written.extend(kept.written);
                }
            }
        }
        Ok(counts)
    }

    fn outcomes(&self, counts: &[Counts], reports: &[CommitReport]) -> Vec<FlowOutcome> {
        let mut reports = reports.iter();
        let told = self.flows.iter().zip(counts).map(|(flow, counts)| {
            let own: Vec<&CommitReport> = reports.by_ref().take(flow.outputs.len()).collect();
            let written: u64 = counts.written.iter().sum();
            let reports: Vec<CommitReport> = own.iter().map(|report| (*report).clone()).collect();
            let (nodes, edges) = gates::told(&flow.gates, &gates::of(&flow.gates, &counts.gates), &reports);
            FlowOutcome {
                report: StreamReport {
                    nodes,
                    edges,
                    name: flow.name.clone(),
                    rows_read: counts.read,
                    rows_written: written,
                    rows_filtered: counts.filtered,
                    rows_dead: counts.dead,
                    rows_late: 0,
                    rows_derived: (written + counts.filtered + counts.dead).saturating_sub(counts.read),
                    bytes_written: own.iter().map(|report| report.bytes).sum(),
                    places: own.iter().map(|report| report.place.clone()).collect(),
                    objects: own.iter().map(|report| report.objects).sum(),
                    rules: counts.rules.clone(),
                    lag_rows: None,
                },
            }
        });
        told.collect()
    }

    fn tell(&self, shared: &Shared) {
        let journal = JournalProgress {
            bytes: shared.journal.bytes(),
            max_bytes: shared.policy.max_bytes,
            waiting: *shared.waiting.borrow(),
        };
        for (flow, gauge) in self.flows.iter().zip(&shared.gauges) {
            let (nodes, edges) = gauge.gates.told(&flow.gates);
            shared.context.tell(RunEvent::Progress(Progress {
                nodes,
                edges,
                stream: flow.name.clone(),
                rows_read: gauge.read.load(Ordering::Relaxed),
                rows_written: gauge.applied.load(Ordering::Relaxed),
                bytes_read: gauge.bytes.load(Ordering::Relaxed),
                rows_dead: gauge.dead.load(Ordering::Relaxed),
                estimated_rows: None,
                estimated_bytes: None,
                memory_bytes: memory::resident_bytes(),
                memory_limit_bytes: shared.context.budget.total as u64,
                elapsed_ms: u64::try_from(shared.context.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                journal: Some(journal),
                ..Progress::default()
            }));
        }
    }
}

/// Under this name the checkpoints of a sink node of a log are kept.
pub(crate) fn sink_flow(log: &str, sink: &str) -> String {
    applier::name(log, sink)
}

/// The folder of a pipeline's journals, one per source node.
pub(crate) fn folder_of(state: &Path, pipeline: &str) -> PathBuf {
    state.join("journal").join(tame(pipeline))
}

/// Writes what comes into the journal, and makes it durable as often as nothing more is waiting.
async fn write(
    shared: &Shared,
    mut writer: JournalWriter,
    mut events: queue::Receiver<ChangeEvent>,
    acks: watch::Sender<Value>,
) -> Result<()> {
    let mut trimmed = shared.trimmed.subscribe();
    // What an earlier attempt left is given to the sinks first, whatever the limit is by now.
    if shared.journal.exceeds(shared.policy.max_bytes) {
        room(shared, &mut trimmed).await?;
    }
    while let Some(first) = events.recv().await {
        let mut next = Some(first);
        let mut position = None;
        let (begin, rest) = (std::time::Instant::now(), writer.rests_until());
        while let Some(event) = next {
            let record = match event {
                ChangeEvent::Changes(batch) => Record::Changes(batch),
                ChangeEvent::Schema(change) => Record::Schema(change),
                ChangeEvent::Truncate { stream, transaction } => Record::Truncate(stream, transaction),
                ChangeEvent::Dead(letter) => Record::Dead(letter),
                ChangeEvent::Boundary(boundary) => {
                    writer.boundary(boundary.position.clone(), boundary.committed_at_us).await?;
                    position = Some(boundary.position);
                    next = another(&mut events, begin, rest).await;
                    continue;
                }
            };
            writer.write(&record).await?;
            // In the middle of what belongs together: the rest comes.
            next = match position {
                None => events.recv().await,
                Some(_) => another(&mut events, begin, rest).await,
            };
        }
        let Some(position) = position else { break };
        weir_connect::failpoint!("cdc.journal.before");
        writer.sync().await?;
        weir_connect::failpoint!("cdc.journal.after");
        acks.send_replace(position);
        if shared.journal.exceeds(shared.policy.max_bytes) {
            match shared.policy.when_full {
                WhenFull::Wait => room(shared, &mut trimmed).await?,
                WhenFull::Fail => return Err(full(shared)),
            }
        }
    }
    writer.close();
    Ok(())
}

/// What comes next and is made durable together with what there is: what is there by now, or comes until the journal has rested.
async fn another(
    events: &mut queue::Receiver<ChangeEvent>,
    begin: std::time::Instant,
    rest: Option<std::time::Instant>,
) -> Option<ChangeEvent> {
    match rest.filter(|rest| *rest > std::time::Instant::now()) {
        Some(rest) => tokio::time::timeout_at(rest.into(), events.recv()).await.ok().flatten(),
        None if begin.elapsed() < LINGER => events.try_recv(),
        None => None,
    }
}

/// Waits until the sinks have made room, or the attempt is over.
async fn room(shared: &Shared, trimmed: &mut watch::Receiver<u64>) -> Result<()> {
    let max_bytes = shared.policy.max_bytes;
    shared.context.warn(format!(
        "the journal has reached {} (journal.max_bytes): nothing more is read from the source until the sinks have caught up{}",
        size_text(max_bytes),
        shared.held()
    ));
    shared.waiting.send_replace(true);
    while shared.journal.exceeds(max_bytes) {
        if shared.policy.when_full == WhenFull::Fail && shared.exhausted() {
            return Err(full(shared));
        }
        tokio::select! {
            changed = trimmed.changed() => if changed.is_err() { break },
            () = shared.over.cancelled() => break,
            () = shared.context.options.stop.cancelled() => break,
        }
    }
    shared.waiting.send_replace(false);
    Ok(())
}

fn full(shared: &Shared) -> Error {
    let max_bytes = shared.policy.max_bytes;
    let behind = shared.least();
    Error::new("WEIR-JOURNAL-004", Kind::Limit, format!("the journal has reached {} (journal.max_bytes)", size_text(max_bytes)))
        .because(format!(
            "it holds {} bytes; the slowest sink has boundary {behind} of {}{}",
            shared.journal.bytes(),
            shared.journal.tail().mark.seq,
            shared.held()
        ))
        .hint("the next run gives the sinks what is there before it reads on; see `weir journal ls`, raise `journal.max_bytes`, or use `when_full: wait`")
}
