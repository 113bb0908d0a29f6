//! A savepoint of a stream that runs, asked for from outside ([`Wanted::Savepoint`]).
//!
//! Each flow ends its turn early, as if it had rolled: then its positions, its state and its sinks are of one moment, and nothing of it is on its
//! way. It leaves its part in the draft before its next turn begins, and reading goes on. When every flow has, the draft becomes the savepoint.
//! The flows of a run do not wait for each other, so each part is of its own moment, as in a run that is stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use weir_error::Result;
use weir_plan::Plan;

use super::savepoint::{self, FlowPart};
use crate::run::RunContext;
use crate::state::{blocking, clear};
use crate::store::{Wanted, Wish};

/// A savepoint that is being made.
pub(super) struct Draft {
    /// Its folder until it is whole.
    pub(super) folder: PathBuf,
    parts: Mutex<BTreeMap<String, FlowPart>>,
    files: AtomicUsize,
    more: Notify,
}

impl Draft {
    /// Whether this flow has left its part.
    pub(super) fn has(&self, flow: &str) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(flow)
    }

    /// Of its next file: names of flows as names of files may be equal.
    pub(super) fn number(&self) -> usize {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn give(&self, part: FlowPart) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part.flow.clone(), part);
        self.more.notify_one();
    }

    fn whole(&self, flows: usize) -> Option<Vec<FlowPart>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        (parts.len() == flows).then(|| parts.values().cloned().collect())
    }
}

/// What the flows of a run are asked for.
pub(super) struct Asked {
    now: watch::Sender<Option<Arc<Draft>>>,
}

impl Asked {
    pub(super) fn new() -> Self {
        Self { now: watch::channel(None).0 }
    }

    pub(super) fn listen(&self) -> watch::Receiver<Option<Arc<Draft>>> {
        self.now.subscribe()
    }

    /// Looks for what is asked of the run, and sees to it, for as long as it is polled.
    pub(super) async fn serve(&self, context: &RunContext, plan: &Plan) -> std::convert::Infallible {
        let pipeline = &context.identity.pipeline;
        loop {
            tokio::time::sleep(context.options.look_again).await;
            // A store that does not answer is met by the next checkpoint, which says so.
            let Ok(wishes) = context.store.wishes(pipeline, Wish::RUN).await else { continue };
            for Wish { id, wanted } in wishes {
                let Wanted::Savepoint { to } = wanted else { continue };
                if let Err(error) = self.make(context, plan, Path::new(&to)).await {
                    context.warn(format!("a savepoint was asked for and cannot be made: {error}"));
                }
                self.now.send_replace(None);
                // If that fails it is asked for once more, and the folder is there.
                let _ = context.store.granted(pipeline, &[id]).await;
            }
        }
    }

    async fn make(&self, context: &RunContext, plan: &Plan, to: &Path) -> Result<()> {
        if to.exists() {
            return Err(savepoint::there(to));
        }
        let folder = savepoint::draft(to)?;
        let draft = Draft { folder: folder.clone(), parts: Mutex::default(), files: AtomicUsize::new(0), more: Notify::new() };
        let draft = Arc::new(draft);
        self.now.send_replace(Some(draft.clone()));
        let parts = loop {
            if let Some(parts) = draft.whole(plan.flows.len()) {
                break parts;
            }
            draft.more.notified().await;
        };
        let open = context.store.unfinished(&context.identity.pipeline).await;
        let manifest = match open {
            Ok(open) => {
                savepoint::manifest(&context.identity.pipeline, open.map(|open| open.fingerprint).unwrap_or_default(), parts)
            }
            Err(error) => {
                clear(&folder)?;
                return Err(error);
            }
        };
        let to = to.to_owned();
        blocking(move || savepoint::finish(&manifest, &folder, &to)).await
    }
}
