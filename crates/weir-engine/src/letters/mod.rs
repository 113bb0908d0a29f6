//! Dead letters on their way to a sink of their own (`dead_letters: {to: …}`).
//!
//! A letter is durable first in the checkpoint, in the transaction of the epoch that met it. From there a stream of its own carries it
//! on, in the order of the letters' numbers and by the protocol of every stream ([`crate::streaming`]): a sink that keeps positions, or
//! stages, has each letter once, whatever the other sinks of the pipeline are. A letter stays in the checkpoint too, to be looked at and
//! replayed.
//!
//! * this file: when it is carried; `source`: letters as a stream.
//!
//! Letters of a batch go when its streams are committed: until then a run may start over and forget what it met. Those of a stream
//! without end, and of a log, go while it runs.

mod source;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use weir_connect::letters;
use weir_error::{Error, Result};
use weir_plan::streaming::Pace;
use weir_plan::{Flow, FlowInput, FlowOutput, Plan, Program, RowOutput, RowProgram};

use crate::events::RunEvent;
use crate::run::{RunContext, RunOptions};
use crate::store::{FlowPlace, Phase};
use crate::streaming;
use source::Waiting;

/// The flow in the checkpoint. No stream is called so.
pub(crate) const FLOW: &str = "$dead_letters";

/// How long what is left may take once the run is to stop; the rest goes with the next run.
const GRACE: Duration = Duration::from_secs(10);

/// Carries the letters of one run.
pub(crate) struct Carrier {
    run: Arc<RunContext>,
    context: Arc<RunContext>,
    events: mpsc::UnboundedReceiver<RunEvent>,
    flow: Flow,
    pace: Pace,
    /// Told when no letter will come any more.
    over: watch::Sender<bool>,
}

impl Carrier {
    /// For a plan whose letters go somewhere.
    pub(crate) fn new(run: &Arc<RunContext>, plan: &Plan) -> Option<Self> {
        let output = plan.letters.as_ref()?;
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
        let source = Waiting::new(context.store.clone(), run.dead_letters_of.clone(), run.identity.run_id.clone(), told);
        let flow = flow(source, output);
        let pace = Pace::of(&plan.pipeline, &flow, run.options.checkpoint_interval);
        Some(Self { run: run.clone(), context, events, flow, pace, over })
    }

    /// Carries letters while `work` goes on without end, and then what is left.
    ///
    /// # Errors
    /// Those of `work`: letters that were not carried yet are in the checkpoint. Those of the sink of the letters.
    pub(crate) async fn beside<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Self { run, context, mut events, flow, pace, over } = self;
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
                return Err(Error::internal("the dead letters ended before their run"));
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
            () = late => run.warn("dead letters that were not carried to their sink yet go there with the next run"),
            never = &mut telling => match never {},
        }
        Ok(done)
    }

    /// Carries what a batch has set aside, once; a run that is resumed after this does not again.
    pub(crate) async fn after(self) -> Result<()> {
        let (run, context) = (self.run.clone(), self.context.clone());
        let (run_id, pipeline) = (context.identity.run_id.as_str(), context.dead_letters_of.as_str());
        let known = context.store.flow(run_id, FLOW).await?;
        if known.is_some_and(|record| record.phase == Phase::Committed) {
            return Ok(());
        }
        let place = FlowPlace { pipeline, run_id, flow: FLOW };
        if context.store.letters(pipeline, run_id, 0).await?.is_empty() && context.store.epochs(&place).await?.is_empty() {
            return Ok(());
        }
        let Self { mut events, flow, pace, over, .. } = self;
        let _ = over.send(true);
        let carried = tokio::select! {
            biased;
            carried = streaming::carry(&context, &flow, pace, Some(run.options.max_retries)) => carried?,
            () = run.options.stop.cancelled() => return Err(Error::cancelled()),
            never = tell(&run, &mut events) => match never {},
        };
        tracing::debug!("{} dead letters were carried", carried.report.rows_written);
        context.store.committed(pipeline, run_id, FLOW, &[], &[]).await
    }
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
    let input = FlowInput {
        node: FLOW.into(),
        connector: "dead_letters".into(),
        stream: source.info(),
        source: Arc::new(source),
        table: FLOW.into(),
        cursor: None,
        cursor_lag: None,
    };
    Flow {
        name: FLOW.into(),
        inputs: vec![input],
        program: Program::RowLocal(Arc::new(AsTheyAre)),
        outputs: vec![output.clone()],
        gates: Vec::new(),
        replan: None,
    }
}

/// Letters go as they are.
struct AsTheyAre;

impl RowProgram for AsTheyAre {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        debug_assert_eq!(batch.schema(), letters::schema());
        Ok(vec![RowOutput { batch: batch.clone(), filtered: 0, dead: Vec::new(), kept: Vec::new(), rules: Vec::new() }])
    }

    fn is_identity(&self) -> bool {
        true
    }
}
