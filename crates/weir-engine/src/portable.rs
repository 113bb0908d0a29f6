//! Positions from another engine become a pipeline's own, so that its next run goes on there and takes no snapshot.
//!
//! What they mean is for whoever writes them down (`weir_runners::seam`); here they are put where a run of our own would have left them. As with a
//! savepoint, a marker stands beside the pipeline's states until everything is there: a run between the two would begin anew, and is refused.

use std::fs::{self, File};
use std::path::Path;

use weir_error::{Error, Kind, Result};
use weir_plan::Plan;

use crate::run::lock;
use crate::state;
use crate::store::{StateStore, StreamState};
use crate::streaming::savepoint::{self, FlowPart, Manifest, UNFINISHED};

/// Where a pipeline goes on.
#[derive(Debug, Clone)]
pub enum Places {
    /// `mode: streaming`: the splits of every flow.
    Streams(Vec<FlowPart>),
    /// Other modes: by flow, what a committed run would have left for each source node.
    Committed(Vec<(String, Vec<(String, StreamState)>)>),
}

/// Makes them the pipeline's. All of them or, until it was repeated, none.
///
/// # Errors
/// The pipeline is running, or has a state of its own.
pub async fn adopt(plan: &Plan, state_dir: &Path, places: Places) -> Result<()> {
    let store = StateStore::open(state_dir).await?;
    let pipeline = &plan.pipeline.name;
    let _lock = lock(store.folder(), pipeline)?;
    let folder = state::folder_of(store.folder(), pipeline);
    let marker = folder.join(UNFINISHED);
    if !marker.exists() {
        nothing_yet(plan, &store).await?;
    }
    match places {
        Places::Streams(flows) => streams(plan, &store, flows).await,
        Places::Committed(flows) => {
            let failed = |error| Error::from(error).at(marker.display().to_string());
            fs::create_dir_all(&folder).map_err(failed)?;
            File::create(&marker).and_then(|file| file.sync_all()).map_err(failed)?;
            folder.ancestors().take(3).try_for_each(state::sync)?;
            let run_id = match store.unfinished(pipeline).await? {
                Some(open) => open.run_id,
                None => uuid::Uuid::now_v7().simple().to_string(),
            };
            store.begin(&run_id, pipeline, "imported", None).await?;
            for (flow, states) in &flows {
                store.open_flow(&run_id, flow, &[]).await?;
                store.committed(pipeline, &run_id, flow, &[], states).await?;
            }
            store.end(&run_id, "succeeded", "null").await?;
            fs::remove_file(&marker).map_err(failed)?;
            state::sync(&folder)
        }
    }
}

/// A stream goes on as from a savepoint, which is the same: positions that are whole, in a folder.
async fn streams(plan: &Plan, store: &StateStore, flows: Vec<FlowPart>) -> Result<()> {
    let manifest = Manifest::new(&plan.pipeline.name, flows);
    let from = store.folder().join(format!(".import-{}", uuid::Uuid::now_v7().simple()));
    let failed = |error: std::io::Error| Error::from(error).at(from.display().to_string());
    fs::create_dir(&from).map_err(failed)?;
    let taken = async {
        savepoint::keep(&manifest, &from)?;
        savepoint::begin(plan, store, "imported", Some(&from)).await?;
        match store.unfinished(&plan.pipeline.name).await? {
            Some(open) => store.end(&open.run_id, "stopped", "null").await,
            None => Err(Error::internal("a stream that was imported is not there")),
        }
    };
    let taken = taken.await;
    fs::remove_dir_all(&from).map_err(failed)?;
    taken
}

async fn nothing_yet(plan: &Plan, store: &StateStore) -> Result<()> {
    let pipeline = &plan.pipeline.name;
    let own = |what: String| {
        Error::new("WEIR-SEAM-010", Kind::Conflict, format!("`{pipeline}` has a state of its own"))
            .at(what)
            .hint(format!("go on with it; or give it up first: `weir state reset {pipeline}`"))
    };
    if let Some(open) = store.unfinished(pipeline).await? {
        return Err(own(format!("run {}", open.run_id)));
    }
    for flow in &plan.flows {
        for input in &flow.inputs {
            for name in [&flow.name, &input.node] {
                if store.stream_state(pipeline, name, &input.node).await? != StreamState::default() {
                    return Err(own(format!("stream `{name}`")));
                }
            }
        }
    }
    Ok(())
}
