//! `mode: streaming`: splits that never end, in turns (`docs/adr/0008`).
//!
//! ```text
//! split ──events──▶ lane's queue ──▶ lane ──▶ writers          one turn: prepare … epochs … commit
//!   ▲ stays open over turns            └─ epoch ─▶ checkpoint    then the next begins where it ended
//! ```
//!
//! * `turn`: where a turn begins, how it closes, and what is done about one that a crash left;
//! * `lane`: one lane with its splits: what comes is written, and made durable at its pace; `reading`: the task of a split;
//! * `keyed`: operators with state, which one lane owns (`docs/adr/0009`);
//! * `inputs`: what a flow reads;
//! * `flow`: one flow: opens its stream, deals out splits, and turns over.
//!
//! * [`savepoint`]: positions and state in a folder of their own, and back; `asked`: while the stream runs.
//!
//! What is not here: where state is kept (`crate::state`).

mod asked;
mod flow;
mod inputs;
mod keyed;
mod lane;
mod reading;
pub mod savepoint;
mod turn;

use std::sync::Arc;

use weir_error::Result;
use weir_plan::streaming::Pace;
use weir_plan::{Flow, Plan};

pub(crate) use keyed::STATE_SPLIT;

use crate::flow::FlowOutcome;
use crate::run::{RunContext, with_retries};
use asked::Asked;

/// Executes all flows of the plan side by side, until the run is stopped or everything that was there has arrived.
pub(crate) async fn execute(context: &Arc<RunContext>, plan: &Plan) -> Result<Vec<FlowOutcome>> {
    // Who reads to no end waits for a system that is down: the source keeps what comes.
    let tries = context.options.until_caught_up.then_some(context.options.max_retries);
    let asked = Asked::new();
    let flows = plan.flows.iter().map(async |flow| {
        let pace = Pace::of(&plan.pipeline, flow, context.options.checkpoint_interval);
        with_retries(context, &flow.name, tries, || flow::execute(context, flow, pace, Some(asked.listen()))).await
    });
    tokio::select! {
        done = futures::future::try_join_all(flows) => done,
        never = asked.serve(context, plan) => match never {},
    }
}

/// Executes one flow beside those of the plan, until everything that was there has arrived. A system that is down may fail so often in a row; `None`: for ever.
pub(crate) async fn carry(context: &Arc<RunContext>, flow: &Flow, pace: Pace, tries: Option<u32>) -> Result<FlowOutcome> {
    with_retries(context, &flow.name, tries, || flow::execute(context, flow, pace, None)).await
}
