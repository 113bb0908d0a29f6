//! The snapshot of some streams once more, while the log of all of them goes on where it is.
//!
//! How a snapshot and a log are merged is the source's business; where it is with that is in the position of each boundary of the journal. So the journal
//! gets one more boundary, behind all that it holds, with the position in which those snapshots begin again. It is durable before anybody hears of it, and it
//! comes after everything that was promised; whoever reads the journal sees nothing but an empty boundary.
//!
//! Here it is asked for. The run writes the boundary, the one that is going on or the next one: see [`super::asked`].

use serde::Serialize;
use serde_json::Value;
use weir_connect::{ChangeSource, SnapshotAgain};
use weir_error::{Error, Kind, Result};
use weir_spec::{Pipeline, Role};

use super::journal::Journals;
use super::look;
use crate::run::going_on;
use crate::store::{StateStore, Wanted};

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Begun {
    /// The source node.
    pub source: String,
    /// The streams.
    pub streams: Vec<String>,
    /// A run is going on here: it begins with them within seconds. Else the next one does.
    pub running: bool,
}

/// Lets the run that is going on, or the next one, take the snapshot of these streams once more. All is checked before anything is asked for; asking
/// twice is asking once.
pub async fn snapshot(
    at: impl Into<Journals>,
    pipeline: &Pipeline,
    node: &str,
    source: &dyn ChangeSource,
    streams: &[SnapshotAgain],
) -> Result<Begun> {
    let at = at.into();
    let store = at.store().await?;
    if let Some(position) = last_position(&store, pipeline, node).await? {
        source.snapshot_again(&position, streams)?;
    }
    for wanted in streams {
        let wanted = Wanted::Snapshot { stream: wanted.stream.clone(), only: wanted.only.clone() };
        store.wish(&pipeline.name, node, &wanted).await?;
    }
    Ok(Begun {
        source: node.to_owned(),
        streams: streams.iter().map(|wanted| wanted.stream.clone()).collect(),
        running: going_on(at.state(), &pipeline.name),
    })
}

/// Where the source was by the checkpoints; `None`: somewhere, no checkpoint tells. An error if the log has not begun.
async fn last_position(store: &StateStore, pipeline: &Pipeline, node: &str) -> Result<Option<Value>> {
    let left = store.stream_state(&pipeline.name, node, node).await?.previous.unwrap_or_default();
    let mut begun = left["seq"].is_u64();
    for sink in pipeline.of(Role::Sink) {
        let Some(reached) = look::reached(store, pipeline, node, &sink.name).await? else { continue };
        begun |= reached.seq > 0;
        if !reached.position["at"].is_null() {
            return Ok(Some(reached.position["at"].clone()));
        }
    }
    if !begun {
        return Err(Error::new("WEIR-JOURNAL-024", Kind::NotFound, format!("nothing of source `{node}` has come yet"))
            .hint("its first run takes the snapshot anyway"));
    }
    Ok(Some(left["position"].clone()).filter(|position| !position.is_null()))
}
