//! One flow, from recovery over reading to commit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tokio::task::JoinSet;
use weir_connect::{
    CommitKind, CommitReport, CursorWindow, ReadRequest, Recovery, Resume, ResumeVerdict, RunIdentity, Split, SplitProgress,
    StreamReader, StreamSink, StreamTarget, failpoint,
};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, FlowInput, FlowOutput, Gate, Program, RuleCount};

use crate::cursor::{self, CursorState};
use crate::events::{Progress, RunEvent};
use crate::gates::{self, GateGauges};
use crate::lane::Lane;
use crate::memory;
use crate::report::StreamReport;
use crate::run::{RunContext, reconcile};
use crate::store::{Counts, Epoch, EpochBody, FlowPlace, Keep, Phase, ReaderRecord, SetAside, StreamState};

/// A flow that is committed.
pub(crate) struct FlowOutcome {
    pub(crate) report: StreamReport,
}

/// One output, opened.
pub(crate) struct Target {
    pub(crate) sink: Box<dyn StreamSink>,
    /// Keeps positions with the rows: flushed after the checkpoint was prepared.
    pub(crate) co_committed: bool,
    /// Shows rows as soon as they are flushed, whatever becomes of the checkpoint.
    pub(crate) at_once: bool,
}

impl Target {
    /// One output, made ready for a run (or a turn) under this identity, and what it remembers of it.
    pub(crate) async fn open(output: &FlowOutput, run: RunIdentity, cursor: Option<String>) -> Result<(Self, Recovery)> {
        let kind = output.sink.capabilities(output.write_mode).commit;
        let target = StreamTarget { cursor, ..output.target(run) };
        let sink = output.sink.prepare(target).await?;
        let recovery = sink.recover().await?;
        let co_committed = kind == CommitKind::CoCommitted || recovery.progress.is_some();
        let at_once = matches!(kind, CommitKind::Append | CommitKind::Idempotent);
        Ok((Self { sink, co_committed, at_once }, recovery))
    }
}

/// Live counters for the progress display.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) durable: AtomicU64,
    /// Rows behind the watermark.
    pub(crate) late: AtomicU64,
    /// Of a flow that keeps state: bytes of it in memory.
    pub(crate) state_bytes: AtomicU64,
    /// And its watermark; `i64::MIN`: there is none yet.
    pub(crate) watermark: AtomicI64,
    /// What passed each gate.
    pub(crate) gates: GateGauges,
}

impl Gauges {
    pub(crate) fn of(flow: &Flow) -> Arc<Self> {
        Arc::new(Self { gates: GateGauges::new(flow.gates.len()), ..Self::default() })
    }
}

/// What the lanes of a flow share.
pub(crate) struct FlowShared {
    pub(crate) context: Arc<RunContext>,
    pub(crate) flow: String,
    pub(crate) targets: Vec<Target>,
    /// The sink node of each target, for the dead letters of its way.
    pub(crate) sinks: Vec<String>,
    pub(crate) gates: Arc<[Gate]>,
    pub(crate) gauges: Arc<Gauges>,
    /// Splits still to read, with the position to go on from and the outputs that lack them.
    pub(crate) todo: Mutex<VecDeque<Todo>>,
}

/// A split to read.
pub(crate) struct Todo {
    pub(crate) split: Split,
    pub(crate) from: Option<Value>,
    /// Rows of this split that are durable already.
    pub(crate) rows_before: u64,
    /// Outputs that still need it.
    pub(crate) active: Vec<bool>,
    /// Everything but the rows was recorded by an earlier attempt: count nothing.
    pub(crate) quiet: bool,
}

impl FlowShared {
    pub(crate) fn place(&self) -> FlowPlace<'_> {
        FlowPlace { pipeline: &self.context.dead_letters_of, run_id: &self.context.identity.run_id, flow: &self.flow }
    }

    /// Step one of a checkpoint: the epoch is on disk. With a co-committed sink it is only *prepared*: the lane lets these
    /// sinks commit next, and [`Self::confirm`] follows.
    pub(crate) async fn prepare(&self, number: u64, body: &EpochBody, dead: &[SetAside]) -> Result<()> {
        let prepared = self.targets.iter().any(|target| target.co_committed);
        failpoint!("engine.checkpoint.before");
        let epoch = Epoch { number, prepared, body: body.clone() };
        self.context.store.write_epoch(&self.place(), &epoch, dead, Keep::All).await?;
        failpoint!("engine.checkpoint.prepared");
        Ok(())
    }

    /// Step two: every sink has the rows.
    pub(crate) async fn confirm(&self, number: u64, counts: &Counts) -> Result<()> {
        failpoint!("engine.checkpoint.flushed");
        if self.targets.iter().any(|target| target.co_committed) {
            self.context.store.confirm_epoch(&self.place(), number, Keep::All).await?;
        }
        failpoint!("engine.checkpoint.after");
        let durable = self.gauges.durable.fetch_add(counts.read, Ordering::Relaxed) + counts.read;
        self.context.tell(RunEvent::Checkpoint {
            epoch: number,
            stream: self.flow.clone(),
            rows: durable,
            at_ms: u64::try_from(self.context.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    pub(crate) fn next_epoch(&self) -> u64 {
        self.context.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Executes a flow to its commit, going on from whatever an earlier attempt left.
pub(crate) async fn execute(context: &Arc<RunContext>, flow: &Flow) -> Result<FlowOutcome> {
    let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &flow.name };
    let record = context.store.flow(place.run_id, place.flow).await?;
    let mut targets = Vec::new();
    let mut recoveries = Vec::new();
    if let Some(record) = record.as_ref().filter(|record| record.phase == Phase::Committed) {
        let report = reconcile(flow, &totals(&context.store.epochs(&place).await?), &record.reports)?;
        return Ok(FlowOutcome { report });
    }
    for output in &flow.outputs {
        let cursor = flow.inputs.iter().find_map(|input| input.cursor.clone());
        let (target, recovery) = Target::open(output, context.identity.clone(), cursor).await?;
        targets.push(target);
        recoveries.push(recovery);
    }
    let shared = Arc::new(FlowShared {
        context: context.clone(),
        flow: flow.name.clone(),
        targets,
        sinks: flow.outputs.iter().map(|output| output.node.clone()).collect(),
        gates: flow.gates.as_slice().into(),
        gauges: Gauges::of(flow),
        todo: Mutex::default(),
    });
    let epochs = kept_epochs(&shared, &recoveries).await?;
    context.epoch.fetch_max(epochs.iter().map(|epoch| epoch.number).max().unwrap_or(0), Ordering::Relaxed);
    let readers = match record.as_ref().map(|record| (record.phase, &record.readers)) {
        Some((Phase::Committing, readers)) => readers.clone(),
        other => {
            let before = other.map(|(_, readers)| readers.as_slice()).unwrap_or_default();
            read(&shared, flow, &epochs, &recoveries, before).await?
        }
    };
    commit(&shared, flow, &readers).await
}

/// The epochs that hold. An epoch of a flow with co-committed sinks holds if one of them has its positions: they are
/// asked first, because the two can disagree by one epoch in either direction.
pub(crate) async fn kept_epochs(shared: &FlowShared, recoveries: &[Recovery]) -> Result<Vec<Epoch>> {
    let place = shared.place();
    let known: Vec<&Vec<SplitProgress>> = recoveries.iter().filter_map(|recovery| recovery.progress.as_ref()).collect();
    let mut kept = Vec::new();
    for epoch in shared.context.store.epochs(&place).await? {
        let co_committed = shared.targets.iter().any(|target| target.co_committed);
        let holds = !co_committed
            || epoch.body.turn.is_some()
            || recoveries.iter().any(|recovery| recovery.committed.is_some())
            || known.iter().any(|progress| epoch.body.progress.iter().all(|part| reached(progress, part)));
        if !holds {
            shared.context.store.forget(&place, Some(epoch.number)).await?;
            continue;
        }
        if epoch.prepared {
            shared.context.store.confirm_epoch(&place, epoch.number, Keep::All).await?;
        }
        kept.push(epoch);
    }
    Ok(kept)
}

/// Whether `progress` contains `part`, or something later in the same split (rows only grow).
fn reached(progress: &[SplitProgress], part: &SplitProgress) -> bool {
    progress.iter().any(|known| known.split.id == part.split.id && known.rows >= part.rows && (known.done || !part.done))
}

/// The latest progress per split.
fn latest<'a>(parts: impl Iterator<Item = &'a SplitProgress>) -> BTreeMap<String, SplitProgress> {
    let mut map = BTreeMap::new();
    for part in parts {
        map.insert(part.split.id.clone(), part.clone());
    }
    map
}

pub(crate) fn totals(epochs: &[Epoch]) -> Counts {
    let mut totals = Counts::default();
    for epoch in epochs {
        totals.add(&epoch.body.counts);
    }
    totals
}

pub(crate) fn tokens(epochs: &[Epoch], output: usize) -> Vec<Value> {
    let of_epoch = |epoch: &Epoch| {
        let early = epoch.body.early.iter().filter(|(at, _)| *at == output).map(|(_, token)| token);
        early.chain(epoch.body.tokens.get(output)).filter(|token| !token.is_null()).cloned().collect::<Vec<_>>()
    };
    epochs.iter().flat_map(of_epoch).collect()
}

/// Reads everything that is not durable yet. Returns what the readers said, for the commit.
async fn read(
    shared: &Arc<FlowShared>,
    flow: &Flow,
    epochs: &[Epoch],
    recoveries: &[Recovery],
    before: &[ReaderRecord],
) -> Result<Vec<ReaderRecord>> {
    let context = shared.context.clone();
    // How far each output got: the sink's own word, or else the checkpoint's.
    let mut done: Vec<BTreeMap<String, SplitProgress>> = recoveries
        .iter()
        .map(|recovery| match &recovery.progress {
            Some(progress) => latest(progress.iter()),
            None => latest(epochs.iter().flat_map(|epoch| epoch.body.progress.iter())),
        })
        .collect();
    let row_local = matches!(flow.program, Program::RowLocal(_));
    let common = common_progress(&done);
    let resumable = row_local && !common.is_empty();

    let mut readers: Vec<Box<dyn StreamReader>> = Vec::new();
    let mut states: Vec<StreamState> = Vec::new();
    let mut start_over: Option<String> = None;
    for input in &flow.inputs {
        let state = context.store.stream_state(&context.identity.pipeline, &flow.name, &input.node).await?;
        let mut request = request(&context, input, &state);
        if resumable {
            let reader_state = before.iter().find(|record| record.node == input.node).map(|record| record.state.clone());
            request.resume = Some(Resume { reader_state: reader_state.unwrap_or_default(), progress: common.clone() });
        }
        let reader = input.source.open(request).await?;
        if let ResumeVerdict::StartOver { reason } = reader.verdict() {
            start_over = Some(reason);
        }
        readers.push(reader);
        states.push(state);
    }
    // A relational program saw everything or nothing: what it made durable counts only as a whole.
    let relational_done = !row_local && done.iter().all(|map| map.values().any(|part| part.done));
    if !row_local && !relational_done && done.iter().any(|map| !map.is_empty()) {
        start_over = Some("the outputs of a join or aggregate are made durable together".into());
    }

    if let Some(reason) = start_over {
        refuse_doubling(flow, shared, recoveries, &reason)?;
        context.warn(format!("stream {}: starting over, because {reason}", flow.name));
        for target in &shared.targets {
            target.sink.discard(&[]).await?;
        }
        context.store.forget(&shared.place(), None).await?;
        done.iter_mut().for_each(BTreeMap::clear);
    } else {
        for (index, target) in shared.targets.iter().enumerate() {
            // A sink that keeps its own positions knows itself what is staged and valid.
            if recoveries[index].progress.as_ref().is_none_or(Vec::is_empty) && recoveries[index].committed.is_none() {
                target.sink.discard(&tokens(epochs, index)).await?;
            }
        }
        let totals = totals(epochs);
        shared.gauges.read.store(totals.read, Ordering::Relaxed);
        shared.gauges.durable.store(totals.read, Ordering::Relaxed);
        shared.gauges.dead.store(totals.dead, Ordering::Relaxed);
        shared.gauges.written.store(totals.written.iter().sum(), Ordering::Relaxed);
        shared.gauges.bytes.store(totals.bytes_read, Ordering::Relaxed);
        shared.gauges.gates.set(&gates::of(&shared.gates, &totals.gates));
    }
    let records: Vec<ReaderRecord> = flow
        .inputs
        .iter()
        .zip(&readers)
        .map(|(input, reader)| ReaderRecord {
            node: input.node.clone(),
            state: reader.state(),
            next_state: reader.next_state(),
            as_of: reader.as_of(),
        })
        .collect();
    context.store.open_flow(&context.identity.run_id, &flow.name, &records).await?;
    let estimates = Estimates {
        rows: sum(flow.inputs.iter().map(|input| input.stream.estimated_rows)),
        bytes: sum(flow.inputs.iter().map(|input| input.stream.estimated_bytes)),
        started: Instant::now(),
    };
    let (estimated_rows, estimated_bytes) = (estimates.rows, estimates.bytes);
    context.tell(RunEvent::StreamStarted { stream: flow.name.clone(), estimated_rows, estimated_bytes });
    if relational_done {
        return Ok(records);
    }

    let work = async {
        match (&flow.program, readers.pop()) {
            (Program::RowLocal(program), Some(reader)) => {
                *shared.todo.lock().map_err(poisoned)? = plan_splits(reader.splits(), &done);
                let input = &flow.inputs[0];
                let tracked =
                    input.cursor.as_deref().map(|column| (column, input.cursor_lag.unwrap_or(0), states[0].cursor.clone()));
                run_lanes(shared, flow, program, reader, tracked).await
            }
            (Program::Relational(program), Some(last)) => {
                readers.push(last);
                crate::relational::run(shared, flow, program.as_ref(), readers, &states).await
            }
            (Program::Keyed(_), Some(_)) => {
                Err(Error::new("WEIR-STREAM-004", Kind::Unsupported, "state over time is kept in `mode: streaming` only")
                    .at(format!("stream `{}`", flow.name)))
            }
            (_, None) => Err(Error::internal(format!("flow `{}` has no input", flow.name))),
        }
    };
    tokio::select! {
        outcome = work => outcome?,
        never = RunContext::tick(|| tell_progress(shared, &estimates)) => match never {},
    }
    // The last figures, also of a stream that was quicker than the clock.
    tell_progress(shared, &estimates);
    Ok(records)
}

/// Rows that readers of the target can already see must not be written again.
fn refuse_doubling(flow: &Flow, shared: &FlowShared, recoveries: &[Recovery], reason: &str) -> Result<()> {
    for ((output, target), recovery) in flow.outputs.iter().zip(&shared.targets).zip(recoveries) {
        let visible = target.co_committed && output.write_mode == weir_connect::WriteMode::Append;
        if visible && recovery.progress.as_ref().is_some_and(|progress| !progress.is_empty()) {
            return Err(Error::new(
                "WEIR-RUN-013",
                Kind::Conflict,
                format!("the run cannot be resumed exactly: {reason}"),
            )
            .at(format!("stream `{}`, sink `{}`", flow.name, output.node))
            .because("rows of the interrupted run are already visible in an append target, and reading again would double them")
            .hint("`weir state reset` accepts the rows that are there; write_mode overwrite or upsert would have been safe here"));
        }
    }
    Ok(())
}

/// What every output has: only that may be left out of the next read.
fn common_progress(done: &[BTreeMap<String, SplitProgress>]) -> Vec<SplitProgress> {
    let Some((first, rest)) = done.split_first() else { return Vec::new() };
    first
        .values()
        .filter(|part| {
            if rest.is_empty() {
                true
            } else {
                part.done && rest.iter().all(|map| map.get(&part.split.id).is_some_and(|p| p.done))
            }
        })
        .cloned()
        .collect()
}

fn plan_splits(splits: Vec<Split>, done: &[BTreeMap<String, SplitProgress>]) -> VecDeque<Todo> {
    splits
        .into_iter()
        .filter_map(|split| {
            let has: Vec<Option<&SplitProgress>> = done.iter().map(|map| map.get(&split.id)).collect();
            let active: Vec<bool> = has.iter().map(|part| !part.is_some_and(|part| part.done)).collect();
            if !active.contains(&true) {
                return None;
            }
            let quiet = active.contains(&false);
            let single = if done.len() == 1 { has.first().copied().flatten() } else { None };
            let from = single.and_then(|part| part.position.clone());
            let rows_before = if from.is_some() { single.map_or(0, |part| part.rows) } else { 0 };
            Some(Todo { split, from, rows_before, active, quiet })
        })
        .collect()
}

fn request(context: &RunContext, input: &FlowInput, state: &StreamState) -> ReadRequest {
    let cursor = input.cursor.as_ref().map(|column| {
        let kind = input.stream.schema.field_with_name(column).map(|field| field.data_type().clone());
        let lower = match (&state.cursor, kind) {
            (Some(cursor), Ok(kind)) => cursor::lower_bound(cursor, input.cursor_lag.unwrap_or(0), &kind),
            _ => None,
        };
        CursorWindow { column: column.clone(), lower }
    });
    ReadRequest {
        stream: input.stream.name.clone(),
        cursor,
        last_run_time: Some(state.last_run_time.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".into())),
        resume: None,
        previous: state.previous.clone(),
        parallelism: context.options.parallelism,
        batch_bytes: context.budget.batch,
        limit: None,
        columns: None,
        unbounded: false,
    }
}

type Tracked<'a> = Option<(&'a str, i64, Option<CursorState>)>;

async fn run_lanes(
    shared: &Arc<FlowShared>,
    flow: &Flow,
    program: &Arc<dyn weir_plan::RowProgram>,
    reader: Box<dyn StreamReader>,
    tracked: Tracked<'_>,
) -> Result<()> {
    let lanes = shared.context.options.parallelism.min(shared.todo.lock().map_err(poisoned)?.len());
    let reader: Arc<dyn StreamReader> = Arc::from(reader);
    let mut running = JoinSet::new();
    for index in 0..lanes {
        let tracker = tracked
            .as_ref()
            .map(|(column, lag, previous)| {
                cursor::CursorTracker::new(&flow.inputs[0].stream.schema, column, *lag, previous.as_ref())
            })
            .transpose()?;
        let lane = Lane::open(index, shared.clone(), program.clone(), tracker).await?;
        running.spawn(lane.run(reader.clone()));
    }
    // The first error ends the attempt; dropping the set stops the other lanes, as a crash would.
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| Error::internal("a lane died").caused_by(error))??;
    }
    Ok(())
}

async fn commit(shared: &FlowShared, flow: &Flow, readers: &[ReaderRecord]) -> Result<FlowOutcome> {
    let context = &shared.context;
    let place = shared.place();
    failpoint!("engine.commit.before");
    context.store.committing(place.run_id, place.flow).await?;
    failpoint!("engine.commit.decided");
    let epochs = context.store.epochs(&place).await?;
    let mut reports: Vec<CommitReport> = Vec::new();
    for (index, target) in shared.targets.iter().enumerate() {
        reports.push(target.sink.commit(&tokens(&epochs, index)).await?);
        failpoint!("engine.commit.sink");
    }
    let totals = totals(&epochs);
    let report = reconcile(flow, &totals, &reports)?;
    tell_rules(context, &flow.name, &report.rules);
    let mut states = Vec::new();
    for (input, reader) in flow.inputs.iter().zip(readers) {
        let mut state = context.store.stream_state(&context.identity.pipeline, place.flow, &input.node).await?;
        if input.cursor.is_some() {
            let mut merged = state.cursor.take().unwrap_or_default();
            let nulls: u64 = epochs.iter().filter_map(|epoch| epoch.body.cursor.as_ref()).map(|part| part.null_rows).sum();
            for epoch in &epochs {
                if let Some(part) = epoch.body.cursor.clone() {
                    merged.merge(part, input.cursor_lag.unwrap_or(0));
                }
            }
            if nulls > 0 {
                context.warn(format!(
                    "stream {}: {nulls} rows have no value in the cursor column; later runs will not see such rows",
                    flow.name
                ));
            }
            state.cursor = Some(merged);
        }
        state.previous = reader.next_state.clone().or(state.previous);
        state.last_run_time = reader.as_of.clone().or(state.last_run_time);
        states.push((input.node.clone(), state));
    }
    failpoint!("engine.commit.after");
    context.store.committed(&context.identity.pipeline, place.run_id, place.flow, &reports, &states).await?;
    let progress: HashMap<String, SplitProgress> =
        latest(epochs.iter().flat_map(|epoch| epoch.body.progress.iter())).into_iter().collect();
    let progress: Vec<SplitProgress> = progress.into_values().collect();
    for input in &flow.inputs {
        input.source.committed(&input.stream.name, &progress).await?;
    }
    context.tell(RunEvent::StreamFinished {
        stream: flow.name.clone(),
        rows_written: report.rows_written,
        bytes_written: report.bytes_written,
        places: report.places.clone(),
    });
    Ok(FlowOutcome { report })
}

/// Says which rules did not hold for every row; those for the dead letters are told there.
pub(crate) fn tell_rules(context: &RunContext, flow: &str, rules: &[RuleCount]) {
    for count in rules.iter().filter(|count| count.failed > 0 && count.action != "quarantine") {
        let rows = if count.checked == 1 {
            "it does not hold".into()
        } else {
            format!("{} of {} rows break it", count.failed, count.checked)
        };
        context.warn(format!("stream {flow}: rule `{}` of `{}`: {rows} ({})", count.rule, count.node, count.action));
    }
}

/// What a stream was thought to be when its reading began.
#[derive(Clone, Copy)]
struct Estimates {
    rows: Option<u64>,
    bytes: Option<u64>,
    started: Instant,
}

fn tell_progress(shared: &FlowShared, estimates: &Estimates) {
    let gauges = &shared.gauges;
    let (nodes, edges) = gauges.gates.told(&shared.gates);
    shared.context.tell(RunEvent::Progress(Progress {
        nodes,
        edges,
        stream: shared.flow.clone(),
        rows_read: gauges.read.load(Ordering::Relaxed),
        rows_written: gauges.written.load(Ordering::Relaxed),
        bytes_read: gauges.bytes.load(Ordering::Relaxed),
        rows_dead: gauges.dead.load(Ordering::Relaxed),
        estimated_rows: estimates.rows,
        estimated_bytes: estimates.bytes,
        memory_bytes: memory::resident_bytes(),
        memory_limit_bytes: shared.context.budget.total as u64,
        elapsed_ms: u64::try_from(estimates.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..Progress::default()
    }));
}

fn sum(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.sum()
}

pub(crate) fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::internal("a lane died while it held the list of splits")
}
