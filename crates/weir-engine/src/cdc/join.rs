//! A sink that is new to a log which has begun: what the others have had is not in the journal any more, so the source reads the snapshot of its streams once
//! more while the log goes on. The rows go through the journal like all others, and come to the other sinks too, where they change nothing.

use weir_connect::{ChangeSource, SnapshotAgain, WriteMode};
use weir_error::{Error, Kind, Result};
use weir_plan::Flow;

use super::applier::{self, Left};
use super::journal::{Journal, JournalWriter};
use crate::run::RunContext;
use crate::store::FlowPlace;

/// Gives the sinks that are new a place to begin, behind everything that the journal holds.
pub(super) async fn join(
    context: &RunContext,
    (node, source): (&str, &dyn ChangeSource),
    (sinks, flows): (&[&str], &[&Flow]),
    left: &mut Left,
    (journal, writer): (&Journal, &mut JournalWriter),
) -> Result<()> {
    let mut new = Vec::new();
    for sink in sinks {
        let name = applier::name(node, sink);
        let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &name };
        if context.store.epochs(&place).await?.is_empty() && left.begins(sink, journal).is_err() {
            new.push(*sink);
        }
    }
    let position = journal.tail().mark.position;
    if new.is_empty() || position.is_null() {
        return Ok(());
    }
    let takes = |flow: &Flow, sinks: &[&str]| flow.outputs.iter().any(|output| sinks.contains(&output.node.as_str()));
    let theirs: Vec<&&Flow> = flows.iter().filter(|flow| takes(flow, &new)).collect();
    let others = theirs.iter().flat_map(|flow| &flow.outputs).filter(|output| !new.contains(&output.node.as_str()));
    let by_key = |mode: WriteMode| matches!(mode, WriteMode::Upsert | WriteMode::Merge);
    if let Some(other) = others.into_iter().find(|output| !by_key(output.write_mode)) {
        return Err(refused(&new)
            .because(format!("the snapshot would come once more to sink `{}`, which keeps every change as a row", other.node)));
    }
    let streams: Vec<SnapshotAgain> =
        theirs.iter().map(|flow| SnapshotAgain { stream: flow.inputs[0].stream.name.clone(), only: None }).collect();
    let again = source.snapshot_again(&position, &streams).map_err(|error| refused(&new).because(error))?;
    writer.boundary(again, None).await?;
    writer.sync().await?;
    let seq = journal.tail().mark.seq;
    for sink in new {
        context.warn(format!("sink `{sink}` is new: the snapshot of its streams is taken once more, from boundary {seq} on"));
        left.joined.insert(sink.to_owned(), seq);
    }
    Ok(())
}

fn refused(new: &[&str]) -> Error {
    Error::new(
        "WEIR-JOURNAL-013",
        Kind::Conflict,
        format!("sink `{}` is new, and the log has begun without it", new.join("`, `")),
    )
    .hint("give it a pipeline of its own; or `weir state reset`, which begins with a new snapshot for all sinks")
}
