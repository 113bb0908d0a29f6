//! How far the sink is, asked of a pipeline that runs.

use std::time::{Duration, Instant};

use serde_json::Value;
use weir_connect::Result;
use weir_connect::verify::{VerifySink, VerifySource};

use crate::cdc::sink_flow;
use crate::store::{FlowPlace, StateStore};

/// Between two questions, at first and at most.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_AT_MOST: Duration = Duration::from_millis(250);
/// A quiet source is asked to say where it is this often.
const NUDGE: Duration = Duration::from_secs(1);

/// Where the sink's progress is found, and how long is waited for it.
pub struct Progress {
    /// The pipeline.
    pub pipeline: String,
    /// Source node and sink node.
    pub nodes: (String, String),
    /// The checkpoints, if they are at hand: they say how far the streams are that have no changes.
    pub store: Option<StateStore>,
    /// Nothing is waited for: the sides are compared as they are.
    pub as_is: bool,
    /// How long is waited for it, all questions of a comparison together: under a pipeline that is always behind each one waits.
    pub wait: Duration,
    /// Of that, what is over.
    pub waited: Duration,
    /// It did not get there in that time.
    pub stuck: bool,
}

impl Progress {
    /// Waits until everything before `point` is applied. `false` if the time for it is over: then it is not waited for again.
    pub async fn passes(&mut self, source: &dyn VerifySource, sink: &dyn VerifySink, point: &Value) -> Result<bool> {
        if self.as_is {
            return Ok(true);
        }
        if self.stuck {
            return Ok(false);
        }
        let (begun, mut pause, mut nudged) = (Instant::now(), PAUSE, None::<Instant>);
        loop {
            if self.positions(sink).await?.iter().any(|position| source.reached(position, point)) {
                self.waited += begun.elapsed();
                return Ok(true);
            }
            if self.waited + begun.elapsed() >= self.wait {
                self.stuck = true;
                return Ok(false);
            }
            if nudged.is_none_or(|at| at.elapsed() >= NUDGE) {
                source.nudge().await;
                nudged = Some(Instant::now());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_AT_MOST);
        }
    }

    /// Positions in the source's log that the sink is known to have applied.
    async fn positions(&self, sink: &dyn VerifySink) -> Result<Vec<Value>> {
        let mut positions: Vec<Value> = sink.progress(&self.pipeline).await?.iter().map(|kept| kept["at"].clone()).collect();
        if let Some(store) = &self.store {
            let (node, target) = (&self.nodes.0, &self.nodes.1);
            if let Some(run) = store.unfinished(&self.pipeline).await? {
                let flow = sink_flow(node, target);
                let place = FlowPlace { pipeline: &self.pipeline, run_id: &run.run_id, flow: &flow };
                let last = store.epochs(&place).await?.pop();
                let kept = last.and_then(|epoch| epoch.body.progress.into_iter().next()).and_then(|part| part.position);
                positions.extend(kept.map(|kept| kept["at"].clone()));
            } else {
                // Between two runs: where the last one ended.
                let state = store.stream_state(&self.pipeline, node, node).await?;
                positions.extend(state.previous.map(|left| left["position"].clone()));
            }
        }
        positions.retain(|position| !position.is_null());
        Ok(positions)
    }
}
