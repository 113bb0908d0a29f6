//! The store's questions as values, so that they can be asked over a wire.
//!
//! A run of the platform is a process that is not trusted with the platform's database. It asks its worker, which holds the run's lease and
//! asks the tables under the job's own scope: whatever is asked for, nothing of another job can be reached.

use std::fmt;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::CommitReport;
use weir_error::{Error, Result};

use super::letters::LetterCall;
use super::tables::Tables;
use super::{Epoch, FlowPlace, Keep, ReaderRecord, SetAside, StreamState, Wanted};

/// The way to a store somewhere else.
#[async_trait]
pub trait StateLink: Send + Sync + fmt::Debug {
    /// Asks, and waits for the answer. An answer means that what was to be written is durable; an error means that it may or
    /// may not be.
    async fn ask(&self, call: StateCall) -> Result<Value>;
}

/// [`FlowPlace`], owned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// Pipeline under which dead letters are listed.
    pub pipeline: String,
    /// Run.
    pub run_id: String,
    /// Flow.
    pub flow: String,
}

impl Place {
    fn as_ref(&self) -> FlowPlace<'_> {
        FlowPlace { pipeline: &self.pipeline, run_id: &self.run_id, flow: &self.flow }
    }
}

impl From<&FlowPlace<'_>> for Place {
    fn from(place: &FlowPlace<'_>) -> Self {
        Self { pipeline: place.pipeline.into(), run_id: place.run_id.into(), flow: place.flow.into() }
    }
}

/// One question or order; each is one method of [`super::StateStore`], which says what it means.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, clippy::large_enum_variant)] // One lives as long as it takes to be written.
pub enum StateCall {
    Unfinished { pipeline: String },
    Begin { run_id: String, pipeline: String, fingerprint: String, name: Option<String> },
    End { run_id: String, status: String, report: String },
    Named { name: String },
    Flow { run_id: String, flow: String },
    OpenFlow { run_id: String, flow: String, readers: Vec<ReaderRecord> },
    Committing { run_id: String, flow: String },
    Committed { pipeline: String, run_id: String, flow: String, reports: Vec<CommitReport>, states: Vec<(String, StreamState)> },
    StreamState { pipeline: String, flow: String, node: String },
    WriteEpoch { place: Place, epoch: Epoch, dead: Vec<SetAside>, keep: Keep },
    ConfirmEpoch { place: Place, epoch: u64, keep: Keep },
    Epochs { place: Place },
    Forget { place: Place, only: Option<u64> },
    Letters { pipeline: String, run_id: String, after: i64 },
    RuleResults { pipeline: String, run_id: String, sink: String, after: i64 },
    RuleResultsCarried { pipeline: String, run_id: String, sink: String, up_to: i64 },
    Wish { pipeline: String, node: String, wanted: Wanted },
    Wishes { pipeline: String, node: String },
    Granted { pipeline: String, ids: Vec<String> },
    Positions { pipeline: String },
    Dead(LetterCall),
}

impl Tables {
    /// Does what is asked.
    pub async fn answer(&self, call: StateCall) -> Result<Value> {
        use StateCall as C;
        match call {
            C::Unfinished { pipeline } => told(self.unfinished(&pipeline).await?),
            C::Begin { run_id, pipeline, fingerprint, name } => {
                told(self.begin(&run_id, &pipeline, &fingerprint, name.as_deref()).await?)
            }
            C::End { run_id, status, report } => told(self.end(&run_id, &status, &report).await?),
            C::Named { name } => told(self.named(&name).await?),
            C::Flow { run_id, flow } => told(self.flow(&run_id, &flow).await?),
            C::OpenFlow { run_id, flow, readers } => told(self.open_flow(&run_id, &flow, &readers).await?),
            C::Committing { run_id, flow } => told(self.committing(&run_id, &flow).await?),
            C::Committed { pipeline, run_id, flow, reports, states } => {
                told(self.committed(&pipeline, &run_id, &flow, &reports, &states).await?)
            }
            C::StreamState { pipeline, flow, node } => told(self.stream_state(&pipeline, &flow, &node).await?),
            C::WriteEpoch { place, epoch, dead, keep } => told(self.write_epoch(&place.as_ref(), &epoch, &dead, keep).await?),
            C::ConfirmEpoch { place, epoch, keep } => told(self.confirm_epoch(&place.as_ref(), epoch, keep).await?),
            C::Epochs { place } => told(self.epochs(&place.as_ref()).await?),
            C::Forget { place, only } => told(self.forget(&place.as_ref(), only).await?),
            C::Letters { pipeline, run_id, after } => told(self.letters(&pipeline, &run_id, after).await?),
            C::RuleResults { pipeline, run_id, sink, after } => told(self.rule_results(&pipeline, &run_id, &sink, after).await?),
            C::RuleResultsCarried { pipeline, run_id, sink, up_to } => {
                told(self.rule_results_carried(&pipeline, &run_id, &sink, up_to).await?)
            }
            C::Wish { pipeline, node, wanted } => told(self.wish(&pipeline, &node, &wanted).await?),
            C::Wishes { pipeline, node } => told(self.wishes(&pipeline, &node).await?),
            C::Granted { pipeline, ids } => told(self.granted(&pipeline, &ids).await?),
            C::Positions { pipeline } => told(self.positions(&pipeline).await?),
            C::Dead(call) => self.answer_letters(call).await,
        }
    }
}

/// An answer as what it stands for.
pub(super) fn typed<T: DeserializeOwned>(answer: Value) -> Result<T> {
    serde_json::from_value(answer).map_err(|error| Error::internal("an answer of the checkpoint store").caused_by(error))
}

pub(super) fn told(answer: impl Serialize) -> Result<Value> {
    serde_json::to_value(answer).map_err(|error| Error::internal("an answer of the checkpoint store").caused_by(error))
}
