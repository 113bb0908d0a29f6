//! Dead letters on their way to a sink of their own (`dead_letters: {to: …}`): what waits, in the order of its numbers. A letter stays in the
//! checkpoint too, to be looked at and replayed.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use weir_connect::letters;
use weir_error::Result;

use crate::carrier::{Kept, Portion};
use crate::run::RunContext;
use crate::store::StateStore;

/// The flow in the checkpoint. No stream is called so.
pub(crate) const FLOW: &str = "$dead_letters";

/// The letters of a run.
pub(crate) struct Letters {
    store: StateStore,
    pipeline: String,
    run_id: String,
}

impl Letters {
    pub(crate) fn of(run: &RunContext) -> Self {
        Self { store: run.store.clone(), pipeline: run.dead_letters_of.clone(), run_id: run.identity.run_id.clone() }
    }
}

#[async_trait]
impl Kept for Letters {
    fn flow(&self) -> String {
        FLOW.into()
    }

    fn split(&self) -> &'static str {
        "letters"
    }

    fn what(&self) -> &'static str {
        "dead letters"
    }

    fn schema(&self) -> SchemaRef {
        letters::schema()
    }

    async fn after(&self, number: i64) -> Result<Option<Portion>> {
        let kept = self.store.letters(&self.pipeline, &self.run_id, number).await?;
        let Some(last) = kept.last().map(|kept| kept.id) else { return Ok(None) };
        let source_bytes = kept.iter().map(|kept| kept.letter.payload.len() as u64).sum();
        Ok(Some(Portion { records: letters::batch(&self.pipeline, &self.run_id, &kept)?, last, source_bytes }))
    }
}
