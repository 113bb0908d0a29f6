//! A program with state in a lane (`docs/adr/0009`): its operators, its clock, and its state on disk.
//!
//! * `prepare`: what readers' tasks do before the lane sees a batch;
//! * `clock`: watermarks;
//! * this file: the operators between queue and writers, and what they keep, epoch by epoch.
//!
//! The lane calls everything here, one after another: whatever is computed is computed between two moments at which all of it may become durable.

mod clock;
pub(super) mod prepare;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;
use weir_connect::{Split, SplitProgress, failpoint};
use weir_error::{Error, Kind, Result};
use weir_plan::keyed::{Emitted, KeyedProgram, Operators};
use weir_plan::{Flow, Passed};

use crate::flow::Gauges;
use crate::run::RunContext;
use crate::state::{self, State, StateMark};
use crate::store::{Counts, SetAside};
use crate::writing::{Ending, Writing};
use clock::Clock;
use prepare::{Preparation, Prepared};

/// Stands among the splits of a flow with state: its rows are the number of the state's epoch. So a sink that keeps positions keeps with its rows, too,
/// which state belongs to them, also when no split has moved.
pub(crate) const STATE_SPLIT: &str = "~state";

/// Operators, as their lane has them.
pub(super) struct Keyed {
    flow: String,
    /// What is kept, in the program's words.
    reason: String,
    operators: Box<dyn Operators>,
    clock: Clock,
    state: State,
    /// What the state may take in memory before it is spilled; twice as much for a moment.
    share: usize,
    gauges: Arc<Gauges>,
    /// How many gates the flow has.
    gates: usize,
    /// Rows came, or time went on, since the last epoch.
    dirty: bool,
}

/// How the batches of each input are prepared.
pub(super) fn preparations(program: &dyn KeyedProgram, flow: &Flow) -> Vec<Arc<Preparation>> {
    let gates = flow.gates.len();
    let one =
        |(at, input): (usize, &weir_plan::FlowInput)| Arc::new(Preparation::new(program, at, input.stream.name.clone(), gates));
    flow.inputs.iter().enumerate().map(one).collect()
}

impl Keyed {
    /// Operators with the state of this mark; without one they begin with nothing.
    pub(super) async fn open(
        context: &RunContext,
        flow: &Flow,
        program: &dyn KeyedProgram,
        mark: Option<StateMark>,
        gauges: Arc<Gauges>,
    ) -> Result<Self> {
        let folder = state::folder_of_flow(context.options.state.folder(), &context.identity.pipeline, &flow.name);
        let at = |error: Error| error.at(format!("stream `{}`", flow.name));
        let state = State::open(folder, program.fingerprint(), mark, context.budget.state_cache).await?;
        let mut operators = program.operators().map_err(at)?;
        operators.restore(state.stored()).map_err(at)?;
        let inputs = (0..flow.inputs.len()).map(|input| program.event_time(input)).collect();
        let clock = Clock::new(inputs, state.own()?.as_deref())?;
        let keyed = Self {
            flow: flow.name.clone(),
            reason: program.reason(),
            operators,
            clock,
            state,
            share: context.budget.state,
            gauges,
            gates: flow.gates.len(),
            dirty: false,
        };
        keyed.tell();
        Ok(keyed)
    }

    /// A split is read from now on, in the next slot.
    pub(super) fn take(&mut self, input: usize, split: &str) {
        self.clock.take(input, split);
    }

    /// Rows of a split. Returns how many came out.
    pub(super) async fn rows(&mut self, slot: usize, input: usize, batch: Prepared, writing: &mut Writing) -> Result<u64> {
        let mut out = Emitted { passed: batch.passed, ..Emitted::default() };
        self.dirty = true;
        if batch.records.num_rows() > 0 {
            self.operators.rows(input, &batch.records, self.state.stored(), &mut out).map_err(|error| self.at(error))?;
        }
        if batch.read > 0 {
            self.clock.saw(slot, batch.newest);
        }
        let counts = Counts {
            read: batch.read,
            bytes_read: batch.source_bytes,
            filtered: batch.filtered,
            rules: batch.rules,
            ..Counts::default()
        };
        let dead = batch.dead.into_iter().map(|letter| SetAside { sink: None, letter }).collect();
        self.write(out, counts, dead, writing).await
    }

    /// A record of a split that its source could not read.
    pub(super) fn broken(&mut self, slot: usize) {
        self.dirty = true;
        self.clock.saw(slot, None);
    }

    /// The source of a split says how far its time is.
    pub(super) fn told(&mut self, slot: usize, watermark: i64) {
        self.clock.told(slot, watermark);
    }

    /// Everything that was in a split has come.
    pub(super) fn waits(&mut self, slot: usize) {
        self.clock.waits(slot, Instant::now());
    }

    /// A split is closed for good.
    pub(super) fn closed(&mut self, slot: usize) {
        self.dirty = true;
        self.clock.closed(slot);
    }

    /// When time may go on although nothing comes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.clock.due()
    }

    /// Lets time go on as far as the splits are. `None`: nothing came of it; else how many rows came out.
    pub(super) async fn pass_time(&mut self, writing: &mut Writing) -> Result<Option<u64>> {
        let Some(watermark) = self.clock.advance(Instant::now()) else { return Ok(None) };
        let mut out = Emitted { passed: vec![Passed::default(); self.gates], ..Emitted::default() };
        self.operators.watermark(watermark, self.state.stored(), &mut out).map_err(|error| self.at(error))?;
        let rows = self.write(out, Counts::default(), Vec::new(), writing).await?;
        self.dirty |= rows > 0;
        Ok(self.dirty().then_some(rows))
    }

    async fn write(&mut self, out: Emitted, counts: Counts, dead: Vec<SetAside>, writing: &mut Writing) -> Result<u64> {
        let rows = out.batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum();
        writing.emitted(out, counts, dead).await?;
        self.tell();
        Ok(rows)
    }

    /// The state is so large that an epoch must end, so that it can be spilled.
    pub(super) fn urgent(&self) -> bool {
        self.operators.bytes() > self.share.saturating_mul(2)
    }

    /// There is something that is not durable.
    pub(super) fn dirty(&self) -> bool {
        self.dirty || self.clock.changed()
    }

    /// Ends an epoch: the state's changes are on disk before the checkpoint names them, and enter the store when the sinks have the rows.
    pub(super) async fn end_epoch(&mut self, mut progress: Vec<SplitProgress>, writing: &mut Writing) -> Result<()> {
        let number = writing.shared.next_epoch();
        let changes = self.operators.changes().map_err(|error| self.at(error))?;
        let own = self.clock.keep()?;
        self.dirty = false;
        failpoint!("engine.state.before");
        let mark = self.state.append(number, own, changes).await?;
        failpoint!("engine.state.logged");
        let split = Split { id: STATE_SPLIT.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
        progress.push(SplitProgress { split, position: None, done: false, rows: number });
        writing.end(Ending { number, progress, cursor: None, state: Some(mark) }).await?;
        failpoint!("engine.state.confirmed");
        self.state.apply().await?;
        failpoint!("engine.state.applied");
        if self.operators.bytes() > self.share {
            self.operators.spill(self.share / 2).map_err(|error| self.at(error))?;
        }
        self.tell();
        match self.urgent() {
            // All of it could have gone.
            true => Err(self.too_large()),
            false => Ok(()),
        }
    }

    /// The state of this mark, which is the newest, as one file that needs nothing else. Returns its mark there.
    pub(super) async fn copy_state(&self, mark: &StateMark, to: PathBuf) -> Result<StateMark> {
        self.state.copy(mark, to).await
    }

    fn tell(&self) {
        let gauges = &self.gauges;
        gauges.state_bytes.store(self.operators.bytes() as u64, Ordering::Relaxed);
        gauges.watermark.store(self.clock.watermark().unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    fn at(&self, error: Error) -> Error {
        error.at(format!("stream `{}`", self.flow))
    }

    fn too_large(&self) -> Error {
        Error::new(
            "WEIR-STREAM-006",
            Kind::Limit,
            format!("the state takes {} bytes of memory, twice its share is {}", self.operators.bytes(), self.share * 2),
        )
        .at(format!("stream `{}`", self.flow))
        .because(format!("what must be in memory at once does not fit: {}", self.reason))
        .hint("give the run more with `--max-memory`, or keep less: shorter windows, bounds or memories, fewer keys")
    }
}
