//! What the clients of all engines share: submit, follow, stop, savepoints, logs.
//!
//! * this file: the contract ([`EngineClient`]) and its words;
//! * [`follow()`]: one job until it ends, is lost, or shall stop;
//! * [`launch()`]: the same from the submission on, with what earlier commands left;
//! * [`ledger`]: which job of a pipeline was submitted and has not been seen to end, so that none is submitted twice;
//! * [`rest`]: requests, under the guard of this process; [`cause`]: the first cause in what an engine says;
//! * [`settings`]: where an engine is, and its client; [`variables`]: secrets, put into an artefact on its way out.
//!
//! Each engine's own client is in its folder. How an artefact is made is not here: see [`crate::compile`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_error::{Error, Kind, Result, Secret};

pub mod cause;
pub mod follow;
pub mod launch;
pub mod ledger;
pub mod rest;
pub mod settings;
pub mod variables;

#[cfg(test)]
mod scripted;

pub use follow::{Ended, Event, OnStop, Outcome, Watch, follow};
pub use launch::{Begun, launch};

/// One engine, somewhere.
///
/// An error with [`weir_error::Retry::Transient`] means that the engine did not answer and may be asked again; every other error is its answer.
#[async_trait]
pub trait EngineClient: Send + Sync {
    /// The engine's name, as pipelines spell it.
    fn engine(&self) -> &'static str;

    /// Where it is: an address or a folder. Names no secret.
    fn place(&self) -> String;

    /// The engine's version; fails as every other request would, so it is the way to ask whether the engine is there.
    async fn version(&self) -> Result<String>;

    /// Whether the values of variables travel with the job; `false`: the engine's own machines have them.
    fn takes_values(&self) -> bool {
        true
    }

    /// Hands a job over. After `Ok` the engine has it, and has it once; after an error with code [`UNCERTAIN`] it may have it; after any other it has not.
    async fn submit(&self, job: &Submission) -> Result<Job>;

    /// The job that this very submission made ([`Submission::run_id`]), if the engine has it: for a command that died before it heard the answer.
    async fn find(&self, job: &Submission) -> Result<Option<Job>>;

    /// How the job is; `None`: the engine does not know it (any more).
    async fn look(&self, job: &Job) -> Result<Option<Look>>;

    /// Asks for the end of the job. Returns when the engine has heard it; the end itself is seen by looking. Harmless for a job that has ended.
    async fn cancel(&self, job: &Job) -> Result<()>;

    /// Stops the job so that a later one can go on from there, and returns when that place is durable.
    async fn suspend(&self, job: &Job) -> Result<Savepoint> {
        let _ = job;
        Err(Error::new("WEIR-LAUNCH-017", Kind::Unsupported, format!("{} cannot stop this job with a savepoint", self.engine()))
            .at(self.place())
            .hint("a batch job begins again; `mode: streaming` keeps positions where the engine has checkpoints"))
    }

    /// The last lines that the engine has to say about the job, oldest first; at most [`LOG_LINES`].
    async fn logs(&self, job: &Job) -> Result<Vec<String>>;
}

/// Lines that [`EngineClient::logs`] gives at most.
pub const LOG_LINES: usize = 200;

/// The code of a submission that the engine may or may not have heard.
pub const UNCERTAIN: &str = "WEIR-LAUNCH-018";

/// What is handed to an engine.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// The job's name there: the pipeline's.
    pub name: String,
    /// A name that no other submission has. It finds the job again if the engine's answer gets lost.
    pub run_id: String,
    /// The artefact.
    pub files: Vec<File>,
    /// What the variables that the artefact expects stand for, by name.
    pub variables: BTreeMap<String, Secret>,
    /// Whether the job has no end of its own.
    pub streaming: bool,
    /// Where to go on.
    pub resume: Option<Savepoint>,
}

impl Submission {
    /// The only file of these kinds (`sql`, `json`).
    pub(crate) fn only(&self, extensions: &[&str], engine: &str) -> Result<&File> {
        let fits = |file: &&File| extensions.iter().any(|extension| file.name.ends_with(&format!(".{extension}")));
        let mut found = self.files.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (one, _) => Err(Error::new("WEIR-LAUNCH-010", Kind::Spec, format!("{engine} takes one file of a job"))
                .at(self.name.clone())
                .because(format!(
                    "the artefact has {} .{}",
                    if one.is_none() { "no" } else { "several" },
                    extensions.join(" or .")
                ))),
        }
    }
}

/// One text of an artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// `job.sql`, ….
    pub name: String,
    /// Its content; holds no secret.
    pub text: String,
}

/// A job that an engine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The engine's own names of it. Only Kafka Connect has more than one: a connector each.
    pub ids: Vec<String>,
}

impl Job {
    pub(crate) fn one(id: impl Into<String>) -> Self {
        Self { ids: vec![id.into()] }
    }

    /// The name of a job that has one, and of the first connector.
    pub fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }
}

/// A place to go on from, in the engine's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Savepoint(pub String);

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The engine has it and has not begun: it waits for a place to run.
    Waiting,
    /// It runs, as far as the engine knows.
    Running,
    /// A part of it failed, and the engine begins it again by itself.
    Restarting,
    /// On its way to an end.
    Stopping,
    /// Done.
    Finished,
    /// Ended on request, nothing kept.
    Cancelled,
    /// Ended on request; a later job can go on from there.
    Suspended,
    /// Ended by an error.
    Failed,
}

impl State {
    /// Whether nothing more will happen.
    pub fn ended(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Suspended | Self::Failed)
    }
}

/// What one look at a job shows. A count that the engine does not give is `None`, never 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// How it is.
    pub state: State,
    /// The engine's own word for that.
    pub word: String,
    /// Rows that the sources gave.
    pub rows_read: Option<u64>,
    /// Rows that the sinks took.
    pub rows_written: Option<u64>,
    /// Bytes that the sources gave.
    pub bytes_read: Option<u64>,
    /// Bytes that the sinks took.
    pub bytes_written: Option<u64>,
    /// How often the engine has begun it again by itself.
    pub restarts: Option<u64>,
    /// Checkpoints that were completed.
    pub checkpoints: Option<u64>,
    /// Where the sources are, if the engine says so in no number.
    pub positions: Option<String>,
    /// Why it failed: the first cause.
    pub error: Option<String>,
}

impl Look {
    /// A look that shows the state alone.
    pub fn new(state: State, word: impl Into<String>) -> Self {
        Self {
            state,
            word: word.into(),
            rows_read: None,
            rows_written: None,
            bytes_read: None,
            bytes_written: None,
            restarts: None,
            checkpoints: None,
            positions: None,
            error: None,
        }
    }
}

/// Two counts that may be missing; both missing stays missing.
pub(crate) fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (one, other) => one.or(other),
    }
}

/// An answer that is not what the engine's API says it is.
pub(crate) fn strange(engine: &'static str, place: String, missing: &str) -> Error {
    Error::new("WEIR-LAUNCH-004", Kind::Unsupported, format!("{engine} answers in a way that this release does not understand"))
        .at(place)
        .because(format!("there is no {missing}"))
        .hint("docs/how-to/engines.md lists the releases that are tested")
}
