//! The snapshot of some streams once more, while the log of all of them goes on where it is.
//!
//! How a snapshot and a log are merged is the source's business; where it is with that is in the position of each boundary of the journal. So the journal
//! gets one more boundary, behind all that it holds, with the position in which those snapshots begin again. It is durable before anybody hears of it, and it
//! comes after everything that was promised; whoever reads the journal sees nothing but an empty boundary.

use serde::Serialize;
use weir_connect::{ChangeSource, SnapshotAgain};
use weir_error::{Error, Kind, Result};
use weir_spec::Pipeline;

use super::codec::Mark;
use super::journal::{Journal, Journals, SEGMENT_BYTES};
use crate::run::lock;
use crate::store::{Phase, StateStore};

/// Where it begins.
#[derive(Debug, Clone, Serialize)]
pub struct Begun {
    /// The source node.
    pub source: String,
    /// The boundary behind which the rows come.
    pub after: u64,
    /// The streams.
    pub streams: Vec<String>,
}

/// Lets the next run take the snapshot of these streams once more. Nothing runs meanwhile; all is checked before anything is written.
pub async fn snapshot(
    at: impl Into<Journals>,
    pipeline: &Pipeline,
    node: &str,
    source: &dyn ChangeSource,
    streams: &[SnapshotAgain],
) -> Result<Begun> {
    let at = at.into();
    let _lock = lock(at.state(), &pipeline.name).map_err(|error| {
        error.hint(
            "stop the run first, and start it again afterwards: the log goes on where it was, and no other table is disturbed",
        )
    })?;
    let store = StateStore::open(at.state()).await?;
    if let Some(run) = store.unfinished(&pipeline.name).await?
        && store.flow(&run.run_id, node).await?.is_some_and(|flow| flow.phase != Phase::Reading)
    {
        return Err(Error::new("WEIR-JOURNAL-023", Kind::Conflict, "the last run has still to commit")
            .at(format!("run {}", run.run_id))
            .hint("run the pipeline once more, then ask for the snapshot"));
    }
    let place = at.place(&pipeline.name, node);
    let nothing = || {
        Error::new("WEIR-JOURNAL-024", Kind::NotFound, format!("nothing of source `{node}` has come yet"))
            .at(place.show())
            .hint("its first run takes the snapshot anyway")
    };
    if !place.exists().await? {
        return Err(nothing());
    }
    let none = Mark { seq: 0, position: serde_json::Value::Null, committed_at_us: None };
    let (journal, mut writer) = Journal::open(&place, &none, SEGMENT_BYTES).await?;
    let mark = journal.tail().mark;
    if mark.position.is_null() {
        return Err(nothing());
    }
    writer.boundary(source.snapshot_again(&mark.position, streams)?, None).await?;
    writer.sync().await?;
    writer.close();
    Ok(Begun {
        source: node.to_owned(),
        after: mark.seq + 1,
        streams: streams.iter().map(|wanted| wanted.stream.clone()).collect(),
    })
}
