//! A run: lock, resume or begin, flows, retries, reconciliation, report.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use twox_hash::XxHash3_128;
use weir_connect::{CommitKind, Objects, RunIdentity, WriteMode};
use weir_error::{Error, Kind, Result, Retry};
use weir_plan::{Flow, Plan, Program};
use weir_spec::Mode;

use crate::carrier::{self, Carrier};
use crate::cdc;
use crate::cdc::hold::HeldStream;
use crate::events::{Reporter, RunEvent};
use crate::flow::{self, FlowOutcome};
use crate::gates;
use crate::memory::Budget;
use crate::report::{RunReport, RunStatus, StreamReport};
use crate::results::Wanted;
use crate::store::{StatePlace, StateStore};
use crate::streaming;

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The checkpoint store, and the folder of locks.
    pub state: StatePlace,
    /// A name under which the platform will ask how this run ended, in case nobody hears it now.
    pub name: Option<String>,
    /// The memory budget.
    pub max_memory_bytes: usize,
    /// Lanes.
    pub parallelism: usize,
    /// Time between a lane's checkpoints.
    pub checkpoint_interval: Duration,
    /// Cancelled when the user asks to stop: the run checkpoints and ends as interrupted.
    pub stop: CancellationToken,
    /// How often a transient error may repeat without progress in between; a log that is followed without end has no limit.
    pub max_retries: u32,
    /// `mode: cdc`: the journal is in these objects; `None`: in the state folder.
    pub journal: Option<Arc<dyn Objects>>,
    /// `mode: cdc`: end when everything that was committed at the source when the run began is in the sinks.
    pub until_caught_up: bool,
    /// `mode: streaming`: begin where this savepoint is; the pipeline must not have a state of its own.
    pub from_savepoint: Option<PathBuf>,
    /// `on_schema_change: hold`: how often it is looked whether what waits was approved.
    pub look_again: Duration,
}

impl RunOptions {
    /// The defaults, for a state folder.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state: StatePlace::Folder(state_dir.into()),
            name: None,
            max_memory_bytes: 512 << 20,
            parallelism: std::thread::available_parallelism().map_or(2, usize::from),
            checkpoint_interval: Duration::from_secs(10),
            stop: CancellationToken::new(),
            max_retries: 5,
            journal: None,
            until_caught_up: false,
            from_savepoint: None,
            look_again: Duration::from_secs(5),
        }
    }
}

/// What the parts of a run share.
pub(crate) struct RunContext {
    pub(crate) identity: RunIdentity,
    /// The pipeline under which dead letters are listed; a replay files them under the pipeline they came from.
    pub(crate) dead_letters_of: String,
    pub(crate) store: StateStore,
    /// Who wants what rules counted.
    pub(crate) results: Wanted,
    pub(crate) options: RunOptions,
    pub(crate) budget: Budget,
    pub(crate) events: UnboundedSender<RunEvent>,
    pub(crate) started: Instant,
    pub(crate) epoch: AtomicU64,
    /// Streams that wait for an approval, by the sink node of a log.
    held: Mutex<BTreeMap<String, Vec<HeldStream>>>,
}

impl RunContext {
    /// The same run, for what goes on beside its streams: with options, epochs and listeners of its own.
    pub(crate) fn beside(&self, options: RunOptions, events: UnboundedSender<RunEvent>) -> Arc<Self> {
        Arc::new(Self {
            identity: self.identity.clone(),
            dead_letters_of: self.dead_letters_of.clone(),
            store: self.store.clone(),
            results: Wanted::default(),
            options,
            budget: self.budget,
            events,
            started: self.started,
            epoch: AtomicU64::new(0),
            held: Mutex::default(),
        })
    }
    pub(crate) fn tell(&self, event: RunEvent) {
        // The receiver lives as long as the run; if it is gone nobody wants to know.
        let _ = self.events.send(event);
    }
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.tell(RunEvent::Warning { message: message.into() });
    }
    /// These streams of a sink node wait by now.
    pub(crate) fn hold(&self, node: &str, held: Vec<HeldStream>) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), held);
    }
    pub(crate) fn held(&self) -> Vec<HeldStream> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }
    pub(crate) fn stopping(&self) -> bool {
        self.options.stop.is_cancelled()
    }
    /// Calls `tell` four times a second, for as long as it is polled.
    pub(crate) async fn tick(tell: impl Fn()) -> std::convert::Infallible {
        let mut clock = tokio::time::interval(Duration::from_millis(250));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            tell();
        }
    }
    /// Waits for what may never come, but not for long once the run is to stop: then it is the error of a cancelled run.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let given_up = async {
            self.options.stop.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = given_up => Err(Error::cancelled()),
        }
    }
}

/// How often the end of a run is told to a checkpoint store that does not answer.
const END_TRIES: u32 = 5;

/// What a source may take to come to a point from where the run can go on, once it is to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Executes a plan. Never panics and never returns early: whatever happens is in the report.
///
/// One run of a pipeline at a time per state folder (a lock file says who is in the way). An interrupted or failed run of
/// the same plan is resumed under its own id; a run of a changed plan begins anew, unless rows of the old one
/// are already visible and would be doubled.
pub async fn run(plan: Plan, options: RunOptions, reporter: &mut dyn Reporter) -> RunReport {
    let letters_of = plan.pipeline.name.clone();
    run_for(plan, options, reporter, letters_of).await
}

/// The same; dead letters are filed under the pipeline `letters_of`.
pub(crate) async fn run_for(plan: Plan, options: RunOptions, reporter: &mut dyn Reporter, letters_of: String) -> RunReport {
    let (events, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let started = Instant::now();
    let work = execute(&plan, options, events, started, letters_of);
    tokio::pin!(work);
    let mut warnings = plan.warnings.clone();
    let mut note = |event: RunEvent| {
        if let RunEvent::Warning { message } = &event {
            warnings.push(message.clone());
        }
        reporter.event(&event);
    };
    let attempt = loop {
        tokio::select! {
            biased;
            Some(event) = inbox.recv() => note(event),
            attempt = &mut work => break attempt,
        }
    };
    while let Ok(event) = inbox.try_recv() {
        note(event);
    }
    let endless = plan.pipeline.mode == Mode::Streaming;
    let report = attempt.into_report(&plan, warnings, started);
    if let Some((store, run_id)) = &report.1 {
        let stored = match report.0.status {
            // A stream has no end: the next run goes on with it.
            RunStatus::Succeeded | RunStatus::DeadLettersExceeded if endless => "stopped",
            RunStatus::Interrupted if report.0.clean_stop => "stopped",
            RunStatus::Succeeded | RunStatus::DeadLettersExceeded => "succeeded",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted => "interrupted",
        };
        let text = serde_json::to_string(&report.0).unwrap_or_default();
        let mut tries = 0;
        while let Err(error) = store.end(run_id, stored, &text).await {
            tries += 1;
            if error.retryable() == Retry::Never || tries == END_TRIES {
                // What is durable is as it is; the next run sees that everything is committed.
                tracing::warn!("the end of the run could not be recorded: {error}");
                break;
            }
            tokio::time::sleep(backoff(tries)).await;
        }
    }
    let report = report.0;
    reporter.event(&RunEvent::Finished {
        status: serde_json::to_value(report.status).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
    });
    report
}

/// How far an attempt came.
struct Attempt {
    place: Option<(StateStore, String)>,
    outcomes: Vec<FlowOutcome>,
    checkpoint: Option<u64>,
    held: Vec<HeldStream>,
    /// Of streams without end: all of them were stopped, and nothing that was read is missing.
    clean_stop: bool,
    error: Option<Error>,
}

impl Attempt {
    fn failed(error: Error) -> Self {
        Self { place: None, outcomes: Vec::new(), checkpoint: None, held: Vec::new(), clean_stop: false, error: Some(error) }
    }

    fn into_report(self, plan: &Plan, warnings: Vec<String>, started: Instant) -> (RunReport, Option<(StateStore, String)>) {
        let streams: Vec<StreamReport> = self.outcomes.iter().map(|outcome| outcome.report.clone()).collect();
        let dead: u64 = streams.iter().map(|stream| stream.rows_dead).sum();
        let status = match &self.error {
            Some(error) if error.kind() == Kind::Cancelled => RunStatus::Interrupted,
            Some(_) => RunStatus::Failed,
            None if dead > plan.pipeline.dead_letters.allow => RunStatus::DeadLettersExceeded,
            None => RunStatus::Succeeded,
        };
        let guarantee = serde_json::to_value(plan.guarantee.delivery).ok().and_then(|v| v.as_str().map(str::to_owned));
        let report = RunReport {
            run_id: self.place.as_ref().map(|(_, id)| id.clone()).unwrap_or_default(),
            pipeline: plan.pipeline.name.clone(),
            status,
            streams,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            guarantee: guarantee.unwrap_or_default(),
            checkpoint: self.checkpoint,
            clean_stop: self.clean_stop,
            warnings,
            held: self.held,
            error: self.error.filter(|error| error.kind() != Kind::Cancelled).map(|error| error.to_json()),
        };
        (report, self.place)
    }
}

async fn execute(
    plan: &Plan,
    options: RunOptions,
    events: UnboundedSender<RunEvent>,
    started: Instant,
    letters_of: String,
) -> Attempt {
    let pipeline = plan.pipeline.name.clone();
    let prepared = async {
        let store = options.state.open().await?;
        let lock = lock(options.state.folder(), &pipeline)?;
        let fingerprint = fingerprint(plan)?;
        streaming::savepoint::begin(plan, &store, &fingerprint, options.from_savepoint.as_deref()).await?;
        let (run_id, resumed) = choose_run(plan, &store, &fingerprint).await?;
        let attempt = store.begin(&run_id, &pipeline, &fingerprint, options.name.as_deref()).await?;
        Ok::<_, Error>((store, lock, run_id, resumed, attempt))
    };
    let (store, _lock, run_id, resumed, attempt) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => return Attempt::failed(error),
    };
    // Streams without end are read side by side.
    let side_by_side = if plan.pipeline.mode == Mode::Streaming { plan.flows.len() } else { 1 } + carrier::count(plan);
    let budget = Budget::new(options.max_memory_bytes, options.parallelism * side_by_side, side_by_side);
    let context = Arc::new(RunContext {
        dead_letters_of: letters_of,
        identity: RunIdentity { pipeline, run_id: run_id.clone() },
        store: store.clone(),
        results: Wanted::by(plan),
        options,
        budget,
        events,
        started,
        epoch: AtomicU64::new(0),
        held: Mutex::default(),
    });
    context.tell(RunEvent::Started {
        run_id: run_id.clone(),
        pipeline: context.identity.pipeline.clone(),
        mode: serde_json::to_value(plan.pipeline.mode).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
        attempt,
        note: resumed.unwrap_or_else(|| "a new run".into()),
    });
    let mut outcomes = Vec::new();
    let (mut error, mut clean_stop) = (None, false);
    if plan.pipeline.mode == Mode::Cdc {
        // Who follows a log to no end waits for a system that is down: meanwhile the journal takes what comes.
        let tries = context.options.until_caught_up.then_some(context.options.max_retries);
        let following = with_retries(&context, &plan.pipeline.name, tries, || cdc::execute(&context, plan));
        match carrier::beside(Carrier::all(&context, plan), following).await {
            Ok(done) => outcomes = done,
            Err(failure) => error = Some(failure),
        }
    }
    if plan.pipeline.mode == Mode::Streaming {
        match carrier::beside(Carrier::all(&context, plan), streaming::execute(&context, plan)).await {
            Ok(done) => {
                outcomes = done;
                clean_stop = context.stopping();
                error = clean_stop.then(Error::cancelled);
            }
            Err(failure) => error = Some(failure),
        }
    }
    let one_by_one = plan.flows.iter().filter(|_| !matches!(plan.pipeline.mode, Mode::Cdc | Mode::Streaming));
    for flow in one_by_one {
        match with_retries(&context, &flow.name, Some(context.options.max_retries), || flow::execute(&context, flow)).await {
            Ok(outcome) => outcomes.push(outcome),
            Err(failure) => {
                error = Some(failure);
                break;
            }
        }
        if context.stopping() && outcomes.len() < plan.flows.len() {
            error = Some(Error::cancelled());
            break;
        }
    }
    let ends = !matches!(plan.pipeline.mode, Mode::Cdc | Mode::Streaming);
    if ends && error.is_none() {
        for carrier in Carrier::all(&context, plan) {
            error = carrier.after().await.err();
            if error.is_some() {
                break;
            }
        }
    }
    let checkpoint = Some(context.epoch.load(Ordering::Relaxed)).filter(|&epoch| epoch > 0);
    Attempt { place: Some((store, run_id)), outcomes, checkpoint, held: context.held(), clean_stop, error }
}

/// The same path as a restart after a crash, taken inside the process: recover, discard, go on from the last checkpoint. A transient error may repeat so often
/// without progress in between; `None`: for ever.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T>>>(
    context: &Arc<RunContext>,
    stream: &str,
    fruitless_tries: Option<u32>,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let mut fruitless = 0;
    let mut seen = context.epoch.load(Ordering::Relaxed);
    loop {
        let error = match attempt().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        if context.stopping() {
            return Err(if error.kind() == Kind::Cancelled { error } else { Error::cancelled().because(error) });
        }
        let now = context.epoch.load(Ordering::Relaxed);
        fruitless = if now > seen { 1 } else { fruitless + 1 };
        seen = now;
        let delay = match error.retryable() {
            Retry::Never => return Err(error),
            _ if fruitless_tries.is_some_and(|most| fruitless > most) => return Err(error),
            Retry::After(delay) => delay,
            Retry::Transient => backoff(fruitless),
        };
        context.tell(RunEvent::Retry {
            stream: stream.to_owned(),
            message: error.to_string(),
            attempt: fruitless + 1,
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        });
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = context.options.stop.cancelled() => return Err(Error::cancelled()),
        }
    }
}

/// 250 ms doubling to 16 s, with jitter between half and the whole.
fn backoff(attempt: u32) -> Duration {
    let full = 250u64 << attempt.saturating_sub(1).min(6);
    Duration::from_millis(rand::rng().random_range(full / 2..=full))
}

/// Finds the run to resume, or names a new one. The text says what is resumed.
async fn choose_run(plan: &Plan, store: &StateStore, fingerprint: &str) -> Result<(String, Option<String>)> {
    let pipeline = &plan.pipeline.name;
    let fresh = || uuid::Uuid::now_v7().simple().to_string();
    let Some(open) = store.unfinished(pipeline).await? else { return Ok((fresh(), None)) };
    // A log goes on whatever became of its pipeline: its position is worth more than the file it was begun with.
    if open.fingerprint == fingerprint || plan.pipeline.mode == Mode::Cdc {
        let note = format!("going on with run {} (attempt {})", open.run_id, open.attempts + 1);
        return Ok((open.run_id, Some(note)));
    }
    if plan.pipeline.mode == Mode::Streaming && is_stream(plan, store, &open.run_id).await? {
        let note = format!("going on with run {} (attempt {}); the pipeline was changed", open.run_id, open.attempts + 1);
        return Ok((open.run_id, Some(note)));
    }
    for flow in &plan.flows {
        let place = crate::store::FlowPlace { pipeline, run_id: &open.run_id, flow: &flow.name };
        let visible = flow.outputs.iter().any(|output| {
            output.write_mode == WriteMode::Append && output.sink.capabilities(output.write_mode).commit != CommitKind::Staged
        });
        if visible && !store.epochs(&place).await?.is_empty() {
            return Err(Error::new(
                "WEIR-RUN-012",
                Kind::Conflict,
                format!("an unfinished run of `{pipeline}` has already appended rows, and the pipeline was changed since"),
            )
            .at(format!("run {}", open.run_id))
            .hint("change the pipeline back and run it to the end, or accept the rows that are there with `weir state reset`"));
        }
    }
    store.end(&open.run_id, "abandoned", "null").await?;
    Ok((fresh(), Some(format!("the pipeline changed since run {}; starting over", open.run_id))))
}

/// Whether what a run has kept of these flows was left by a stream, and not by a run of another mode.
async fn is_stream(plan: &Plan, store: &StateStore, run_id: &str) -> Result<bool> {
    for flow in &plan.flows {
        let place = crate::store::FlowPlace { pipeline: &plan.pipeline.name, run_id, flow: &flow.name };
        if store.epochs(&place).await?.first().is_some_and(|epoch| epoch.body.turn.is_none()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What must be equal for a run to be resumed: the graph, the mode and what changes the meaning of rows. Not
/// the schedule, the alerts or the lanes.
fn fingerprint(plan: &Plan) -> Result<String> {
    let pipeline = &plan.pipeline;
    let flows: Vec<_> = plan.flows.iter().map(|flow| &flow.name).collect();
    let relevant = serde_json::json!({
        "version": 1,
        "mode": pipeline.mode,
        "nodes": pipeline.nodes,
        "on_loss": pipeline.on_loss,
        "on_schema_change": pipeline.on_schema_change,
        "flows": flows,
    });
    let text =
        serde_json::to_string(&relevant).map_err(|error| Error::internal("the plan has no fingerprint").caused_by(error))?;
    Ok(format!("{:032x}", XxHash3_128::oneshot(text.as_bytes())))
}

/// A name as it may stand in a path of the state folder.
pub(crate) fn tame(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// Takes the pipeline's lock; it is free again when the file is closed, also by `kill -9`.
pub(crate) fn lock(folder: &Path, pipeline: &str) -> Result<File> {
    let path = folder.join(format!("{}.lock", tame(pipeline)));
    let file = File::create(&path).map_err(|error| Error::from(error).at(path.display().to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::new("WEIR-RUN-010", Kind::Conflict, format!("another run of `{pipeline}` is going on"))
            .at(path.display().to_string())
            .hint("wait for it, or stop it; two runs of one pipeline would write the same rows")),
    }
}

/// Whether somebody holds the pipeline's lock at this moment: a run of it is going on with this state folder, on this machine.
pub fn going_on(folder: &Path, pipeline: &str) -> bool {
    File::open(folder.join(format!("{}.lock", tame(pipeline)))).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// The report of one flow from its totals; an error if the rows do not reconcile.
pub(crate) fn reconcile(
    flow: &Flow,
    totals: &crate::store::Counts,
    reports: &[weir_connect::CommitReport],
) -> Result<StreamReport> {
    let written: u64 = reports.iter().map(|report| report.rows).sum();
    for (index, report) in reports.iter().enumerate() {
        let accepted = totals.written.get(index).copied().unwrap_or_default();
        if report.rows != accepted {
            return Err(Error::new(
                "WEIR-RUN-030",
                Kind::Internal,
                format!("the rows do not reconcile: {accepted} were handed to the sink, it shows {}", report.rows),
            )
            .at(format!("stream `{}`, {}", flow.name, report.place))
            .hint("do not trust this target until it was checked; please report this with the state folder"));
        }
    }
    let out = written + totals.filtered + totals.dead;
    let (filtered, derived) = match &flow.program {
        Program::RowLocal(_) => {
            let Some(derived) = out.checked_sub(totals.read) else {
                return Err(Error::new(
                    "WEIR-RUN-031",
                    Kind::Internal,
                    format!("the rows do not reconcile: {} were read, {out} are accounted for", totals.read),
                )
                .at(format!("stream `{}`", flow.name))
                .hint("this run is not a success; please report it with the state folder"));
            };
            if flow.outputs.len() == 1 && derived != 0 {
                return Err(Error::new(
                    "WEIR-RUN-031",
                    Kind::Internal,
                    format!("the rows do not reconcile: {} were read, {out} are accounted for", totals.read),
                )
                .at(format!("stream `{}`", flow.name)));
            }
            (totals.filtered, derived)
        }
        // A join or aggregate absorbs rows and makes others; what it did is not row by row.
        Program::Relational(_) | Program::Keyed(_) => {
            (totals.read.saturating_sub(written + totals.dead), out.saturating_sub(totals.read))
        }
    };
    let (nodes, edges) = gates::told(&flow.gates, &gates::of(&flow.gates, &totals.gates), reports);
    Ok(StreamReport {
        name: flow.name.clone(),
        rows_read: totals.read,
        rows_written: written,
        rows_filtered: filtered,
        rows_dead: totals.dead,
        rows_derived: derived,
        rows_late: totals.late,
        bytes_written: reports.iter().map(|report| report.bytes).sum(),
        places: reports.iter().map(|report| report.place.clone()).collect(),
        objects: reports.iter().map(|report| report.objects).sum(),
        rules: totals.rules.clone(),
        lag_rows: None,
        nodes,
        edges,
    })
}
