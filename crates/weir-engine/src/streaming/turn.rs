//! Turns: each is a run of the batch protocol under an identity of its own.
//!
//! A flow's checkpoint is the epoch that begins the turn, the turn's epochs, and perhaps one that closes it. When the sinks have committed, the
//! next beginning takes the place of all of them in one write.

use std::collections::BTreeMap;
use std::sync::Arc;

use twox_hash::XxHash3_128;
use weir_connect::{CommitReport, Recovery, RunIdentity, SplitProgress, failpoint};
use weir_error::{Error, Kind, Result};
use weir_plan::Flow;

use super::keyed::STATE_SPLIT;
use crate::flow::{FlowShared, Gauges, Target, kept_epochs, tokens, totals};
use crate::run::{RunContext, reconcile};
use crate::state::StateMark;
use crate::store::{Counts, Epoch, EpochBody, Keep, TurnMark};

/// Where a turn begins.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Its epoch.
    number: u64,
    /// The run as the sinks know it. It carries the time, as all ids of runs do.
    id: String,
    sinks: String,
    /// All splits, by id.
    pub(super) progress: BTreeMap<String, SplitProgress>,
    /// The state that belongs to it, of a flow that keeps some.
    pub(super) state: Option<StateMark>,
    /// Sums before the turn.
    pub(super) counts: Counts,
    /// What the sinks have shown before it.
    pub(super) reports: Vec<CommitReport>,
}

impl Base {
    /// A first turn that begins with what another run has left.
    pub(super) fn first(flow: &Flow, progress: Vec<SplitProgress>, state: Option<StateMark>) -> Self {
        let progress = progress.into_iter().map(|part| (part.split.id.clone(), part)).collect();
        // Epochs of the run come after the one that the state is of.
        let number = state.as_ref().map_or(1, |state| state.point.epoch.max(1));
        Self { number, id: new_id(), sinks: sinks(flow), progress, state, counts: Counts::default(), reports: Vec::new() }
    }

    pub(super) fn of(epoch: &Epoch) -> Option<Self> {
        let Some(TurnMark::Begins { id, sinks, reports }) = &epoch.body.turn else { return None };
        let progress = epoch.body.progress.iter().map(|part| (part.split.id.clone(), part.clone())).collect();
        Some(Self {
            number: epoch.number,
            id: id.clone(),
            sinks: sinks.clone(),
            progress,
            state: epoch.body.state.clone(),
            counts: epoch.body.counts.clone(),
            reports: reports.clone(),
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        let mark = TurnMark::Begins { id: self.id.clone(), sinks: self.sinks.clone(), reports: self.reports.clone() };
        let body = EpochBody {
            progress: self.progress.values().cloned().collect(),
            counts: self.counts.clone(),
            turn: Some(mark),
            state: self.state.clone(),
            ..EpochBody::default()
        };
        Epoch { number: self.number, prepared: false, body }
    }
}

/// A turn that is open.
pub(super) struct Turn {
    pub(super) shared: Arc<FlowShared>,
    pub(super) base: Base,
    /// The base is in the checkpoint.
    begun: bool,
}

/// What a crash, or a stop, left of a flow.
pub(super) struct Found {
    pub(super) turn: Turn,
    /// An attempt before this one has begun to read.
    pub(super) known: bool,
    /// How far every split is durable.
    pub(super) progress: BTreeMap<String, SplitProgress>,
    /// The state that belongs to it.
    pub(super) state: Option<StateMark>,
    /// What is durable in the open turn.
    pub(super) counts: Counts,
}

impl Turn {
    /// Brings the sinks and the checkpoint together: finishes a turn that was closing, or goes on with the open one.
    pub(super) async fn find(context: &Arc<RunContext>, flow: &Flow, gauges: &Arc<Gauges>) -> Result<Found> {
        let place =
            crate::store::FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &flow.name };
        let epochs = context.store.epochs(&place).await?;
        context.epoch.fetch_max(epochs.last().map_or(0, |epoch| epoch.number), std::sync::atomic::Ordering::Relaxed);
        let sinks = sinks(flow);
        let before = epochs.iter().rev().find_map(Base::of);
        let known = before.is_some();
        let base = match before {
            Some(base) if base.sinks == sinks => base,
            Some(base) if epochs.last().is_some_and(|last| last.number > base.number) => return Err(changed(context, flow)),
            before => {
                let (progress, state, counts) = before.map(|base| (base.progress, base.state, base.counts)).unwrap_or_default();
                // The sums of other sinks are not theirs.
                Base { number: 0, id: new_id(), sinks, progress, state, counts, reports: Vec::new() }
            }
        };
        let begun = base.number > 0;
        let (mut turn, mut recoveries) = Self::open(context, flow, gauges, base, begun).await?;
        let mut kept = kept_epochs(&turn.shared, &recoveries).await?;
        if kept.iter().any(closes) {
            turn.close(flow).await?;
            (turn, recoveries) = Self::open(context, flow, gauges, turn.base, true).await?;
            kept = Vec::new();
        }
        kept.retain(|epoch| epoch.body.turn.is_none());
        let mut progress = turn.base.progress.clone();
        let of_sinks = recoveries.iter().filter_map(|recovery| recovery.progress.as_ref()).flatten();
        for part in kept.iter().flat_map(|epoch| &epoch.body.progress).chain(of_sinks) {
            progress.insert(part.split.id.clone(), part.clone());
        }
        let state = last_state(&kept).or_else(|| turn.base.state.clone());
        let of_rows = progress.remove(STATE_SPLIT).map(|part| part.rows);
        if let Some(epoch) = of_rows.filter(|epoch| state.as_ref().is_none_or(|state| state.point.epoch != *epoch)) {
            return Err(Error::new("WEIR-STATE-012", Kind::Conflict, "the checkpoint does not know the state that belongs to the rows of the sinks")
                .at(format!("stream `{}`", flow.name))
                .because(format!("the sinks have epoch {epoch}, which the checkpoint has not"))
                .hint("was the state folder brought back from a backup? bring the target back from the same moment, or `weir state reset`"));
        }
        for (index, target) in turn.shared.targets.iter().enumerate() {
            // A sink that keeps its own positions knows itself what of the turn is valid.
            if recoveries[index].progress.as_ref().is_none_or(Vec::is_empty) {
                target.sink.discard(&tokens(&kept, index)).await?;
            }
        }
        Ok(Found { turn, known, progress, state, counts: totals(&kept) })
    }

    async fn open(
        context: &Arc<RunContext>,
        flow: &Flow,
        gauges: &Arc<Gauges>,
        base: Base,
        begun: bool,
    ) -> Result<(Self, Vec<Recovery>)> {
        let (mut targets, mut recoveries) = (Vec::new(), Vec::new());
        for output in &flow.outputs {
            let run = RunIdentity { pipeline: context.identity.pipeline.clone(), run_id: base.id.clone() };
            let (target, recovery) = Target::open(output, run, None).await?;
            targets.push(target);
            recoveries.push(recovery);
        }
        let shared = Arc::new(FlowShared {
            context: context.clone(),
            flow: flow.name.clone(),
            targets,
            sinks: flow.outputs.iter().map(|output| output.node.clone()).collect(),
            gates: flow.gates.as_slice().into(),
            gauges: gauges.clone(),
            todo: std::sync::Mutex::default(),
        });
        Ok((Self { shared, base, begun }, recoveries))
    }

    /// Writes where the turn begins, with all splits that there are, unless that was written before: nothing may be read before this.
    pub(super) async fn begin(&mut self, splits: &BTreeMap<String, SplitProgress>) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.base.progress = splits.clone();
        self.base.number = self.shared.next_epoch();
        self.write_base().await?;
        self.begun = true;
        Ok(())
    }

    async fn write_base(&self) -> Result<()> {
        self.shared.context.store.write_epoch(&self.shared.place(), &self.base.epoch(), &[], Keep::Newest).await
    }

    /// Shows what the turn has, and names the next one in its place; `false` if it has nothing. No lane may be writing.
    pub(super) async fn close(&mut self, flow: &Flow) -> Result<bool> {
        let (shared, store) = (&self.shared, &self.shared.context.store);
        let mut epochs = store.epochs(&shared.place()).await?;
        epochs.retain(|epoch| epoch.number > self.base.number);
        if epochs.is_empty() {
            return Ok(false);
        }
        failpoint!("engine.turn.before");
        if !epochs.iter().any(closes) {
            let body = EpochBody { turn: Some(TurnMark::Closes), ..EpochBody::default() };
            let closing = Epoch { number: shared.next_epoch(), prepared: false, body };
            store.write_epoch(&shared.place(), &closing, &[], Keep::All).await?;
        }
        failpoint!("engine.turn.closing");
        let mut reports = Vec::new();
        for (index, target) in shared.targets.iter().enumerate() {
            reports.push(target.sink.commit(&tokens(&epochs, index)).await?);
            failpoint!("engine.turn.sink");
        }
        let totals = totals(&epochs);
        reconcile(flow, &totals, &reports)?;
        let base = &mut self.base;
        base.state = last_state(&epochs).or_else(|| base.state.take());
        for part in epochs.into_iter().flat_map(|epoch| epoch.body.progress).filter(|part| part.split.id != STATE_SPLIT) {
            base.progress.insert(part.split.id.clone(), part);
        }
        base.counts.add(&totals);
        base.reports.resize(reports.len(), CommitReport::default());
        for (sum, report) in base.reports.iter_mut().zip(reports) {
            sum.rows += report.rows;
            sum.bytes += report.bytes;
            sum.objects += report.objects;
            sum.place = report.place;
        }
        base.number = shared.next_epoch();
        base.id = new_id();
        self.write_base().await?;
        failpoint!("engine.turn.after");
        Ok(true)
    }

    /// The turn after one that was closed.
    pub(super) async fn next(self, flow: &Flow) -> Result<Self> {
        let (context, gauges) = (self.shared.context.clone(), self.shared.gauges.clone());
        Ok(Self::open(&context, flow, &gauges, self.base, true).await?.0)
    }
}

/// The state as of the last of these epochs that has one.
fn last_state(epochs: &[Epoch]) -> Option<StateMark> {
    epochs.iter().rev().find_map(|epoch| epoch.body.state.clone())
}

fn closes(epoch: &Epoch) -> bool {
    epoch.body.turn == Some(TurnMark::Closes)
}

fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Receipts are kept by the number of the output: they must not come to another sink.
fn sinks(flow: &Flow) -> String {
    let mut text = String::new();
    for output in &flow.outputs {
        let place = output.sink.place(&output.stream);
        for part in [&output.node, &output.connector, &place, output.write_mode.as_str()] {
            text.push_str(&format!("{}:{part}", part.len()));
        }
    }
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}

fn changed(context: &RunContext, flow: &Flow) -> Error {
    let pipeline = &context.identity.pipeline;
    Error::new("WEIR-STREAM-001", Kind::Conflict, "the sinks were changed while rows were on their way to the old ones")
        .at(format!("pipeline `{pipeline}`, stream `{}`", flow.name))
        .because("the run before did not end cleanly, and its last rows belong to the sinks that it had")
        .hint(format!("run it once with the old file and stop it with Ctrl-C; or `weir state reset {pipeline}` to begin anew"))
}
