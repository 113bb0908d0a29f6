//! What a run keeps in its checkpoint for sinks beside its streams, on its way there: dead letters ([`crate::letters`]) and what rules
//! counted ([`crate::results`]).
//!
//! Each is durable first in the checkpoint, in the transaction of the epoch that met it. From there a stream of its own carries it on, in the
//! order of its numbers and by the protocol of every stream ([`crate::streaming`]): a sink that keeps positions, or stages, has each once,
//! whatever the other sinks of the pipeline are.
//!
//! * this file: when it is carried; `source`: what waits as a stream.
//!
//! What a batch has met goes when its streams are committed: until then a run may start over and forget it. That of a stream without end,
//! and of a log, goes while it runs.

mod source;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Result};
use weir_plan::streaming::Pace;
use weir_plan::{Flow, FlowInput, FlowOutput, Plan, Program, RowOutput, RowProgram};

use crate::events::RunEvent;
use crate::letters::{self, Letters};
use crate::results::{self, RuleResults};
use crate::run::{RunContext, RunOptions};
use crate::store::{FlowPlace, Phase};
use crate::streaming;
use source::Waiting;
pub(crate) use source::{Kept, Portion};

/// How long what is left may take once the run is to stop; the rest goes with the next run.
const GRACE: Duration = Duration::from_secs(10);

/// Whether a flow of the checkpoint carries something, and reads no source.
pub(crate) fn carries(flow: &str) -> bool {
    flow == letters::FLOW || flow.starts_with(results::FLOWS)
}

/// How many a plan needs.
pub(crate) fn count(plan: &Plan) -> usize {
    usize::from(plan.letters.is_some()) + plan.results.len()
}

/// Carries one kind of thing of one run to one sink.
pub(crate) struct Carrier {
    run: Arc<RunContext>,
    context: Arc<RunContext>,
    events: mpsc::UnboundedReceiver<RunEvent>,
    kept: Arc<dyn Kept>,
    flow: Flow,
    pace: Pace,
    /// Told when nothing will come any more.
    over: watch::Sender<bool>,
}

impl Carrier {
    /// All that a plan needs.
    pub(crate) fn all(run: &Arc<RunContext>, plan: &Plan) -> Vec<Self> {
        let letters = plan.letters.as_ref().map(|output| (Arc::new(Letters::of(run)) as Arc<dyn Kept>, output));
        let results = plan.results.iter().map(|sink| (Arc::new(RuleResults::of(run, plan, sink)) as Arc<dyn Kept>, &sink.output));
        letters.into_iter().chain(results).map(|(kept, output)| Self::new(run, plan, kept, output)).collect()
    }

    fn new(run: &Arc<RunContext>, plan: &Plan, kept: Arc<dyn Kept>, output: &FlowOutput) -> Self {
        let (over, told) = watch::channel(false);
        let (send, events) = mpsc::unbounded_channel();
        let options = RunOptions {
            parallelism: 1,
            // It ends when everything is carried, and not when the run is asked to stop.
            until_caught_up: true,
            stop: CancellationToken::new(),
            from_savepoint: None,
            ..run.options.clone()
        };
        let context = run.beside(options, send);
        let flow = flow(Waiting::new(kept.clone(), told), output);
        let pace = Pace::of(&plan.pipeline, &flow, run.options.checkpoint_interval);
        Self { run: run.clone(), context, events, kept, flow, pace, over }
    }

    /// Carries while `work` goes on without end, and then what is left.
    ///
    /// # Errors
    /// Those of `work`: what was not carried yet is in the checkpoint. Those of the sink.
    async fn beside<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Self { run, context, mut events, kept, flow, pace, over } = self;
        // As with every sink: whoever reads to no end waits for one that is down.
        let tries = run.options.until_caught_up.then_some(run.options.max_retries);
        let carrying = streaming::carry(&context, &flow, pace, tries);
        let telling = tell(&run, &mut events);
        tokio::pin!(work, carrying, telling);
        let done = tokio::select! {
            biased;
            done = &mut work => done?,
            carried = &mut carrying => {
                carried?;
                return Err(Error::internal(format!("{} ended before their run", kept.what())));
            }
            never = &mut telling => match never {},
        };
        let _ = over.send(true);
        let late = async {
            match run.stopping() {
                true => tokio::time::sleep(GRACE).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            carried = &mut carrying => carried.map(drop)?,
            () = late => run.warn(format!("{} that were not carried to their sink yet go there with the next run", kept.what())),
            never = &mut telling => match never {},
        }
        Ok(done)
    }

    /// Carries what a batch has left, once; a run that is resumed after this does not again.
    pub(crate) async fn after(self) -> Result<()> {
        let Self { run, context, mut events, kept, flow, pace, over } = self;
        let (run_id, pipeline) = (context.identity.run_id.as_str(), context.dead_letters_of.as_str());
        let known = context.store.flow(run_id, &flow.name).await?;
        if known.is_some_and(|record| record.phase == Phase::Committed) {
            return Ok(());
        }
        let place = FlowPlace { pipeline, run_id, flow: &flow.name };
        if kept.after(0).await?.is_none() && context.store.epochs(&place).await?.is_empty() {
            return Ok(());
        }
        let _ = over.send(true);
        let carried = tokio::select! {
            biased;
            carried = streaming::carry(&context, &flow, pace, Some(run.options.max_retries)) => carried?,
            () = run.options.stop.cancelled() => return Err(Error::cancelled()),
            never = tell(&run, &mut events) => match never {},
        };
        tracing::debug!("{} {} were carried", carried.report.rows_written, kept.what());
        context.store.committed(pipeline, run_id, &flow.name, &[], &[]).await
    }
}

/// Work without end, with all that is carried beside it.
pub(crate) async fn beside<T>(carriers: Vec<Carrier>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut all: Pin<Box<dyn Future<Output = Result<T>> + '_>> = Box::pin(work);
    for carrier in carriers {
        all = Box::pin(carrier.beside(all));
    }
    all.await
}

/// What people should know of the carrying; its progress is not that of the pipeline.
async fn tell(run: &RunContext, events: &mut mpsc::UnboundedReceiver<RunEvent>) -> std::convert::Infallible {
    while let Some(event) = events.recv().await {
        if matches!(event, RunEvent::Retry { .. } | RunEvent::Warning { .. }) {
            run.tell(event);
        }
    }
    std::future::pending().await
}

fn flow(source: Waiting, output: &FlowOutput) -> Flow {
    let name = source.flow();
    let input = FlowInput {
        node: name.clone(),
        connector: "checkpoint".into(),
        stream: source.info(),
        source: Arc::new(source),
        table: name.clone(),
        cursor: None,
        cursor_lag: None,
    };
    Flow {
        name,
        inputs: vec![input],
        program: Program::RowLocal(Arc::new(AsTheyAre)),
        outputs: vec![output.clone()],
        gates: Vec::new(),
        replan: None,
    }
}

/// What is carried goes as it is.
struct AsTheyAre;

impl RowProgram for AsTheyAre {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        Ok(vec![RowOutput { batch: batch.clone(), filtered: 0, dead: Vec::new(), kept: Vec::new(), rules: Vec::new() }])
    }

    fn is_identity(&self) -> bool {
        true
    }
}
