//! The checkpoint store.
//!
//! Everything that belongs together is written in one transaction: an epoch with its positions, sink tokens, counters and dead letters; a flow's
//! commit with the cursor it moves. What is not here: what happened *inside* the sinks. They are asked first (see
//! [`weir_connect::sink`]).
//!
//! * this file: what is stored, and [`StateStore`], through which the engine asks;
//! * `results`: what rules counted, until it is carried to its sinks;
//! * [`tables`]: the SQL, for a SQLite file per state folder (`weir run`) and for a PostgreSQL that many machines share (the platform);
//! * [`link`]: the same questions over a wire, for a process that must not have the database's password;
//! * [`positions`]: how far streams are, for people;
//! * [`inspect`]: what `weir state` and `weir dead` show and change;
//! * [`letters`]: dead letters as the platform shows them: found, corrected, given up, chosen for a replay.

pub mod inspect;
pub mod letters;
pub mod link;
pub mod positions;
mod results;
pub mod tables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::letters::KeptLetter;
use weir_connect::{CommitReport, DeadLetter, SplitProgress};
use weir_error::{Error, Result};
use weir_plan::results::{KeptResult, RuleResult};
use weir_plan::{RuleCount, add_rules};

use crate::cursor::CursorState;
use crate::gates::{self, GateCount};
pub use crate::state::{Point, StateMark};
use link::{StateCall, StateLink};
use tables::Tables;

/// Counters of one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read, dead letters included.
    pub read: u64,
    /// Rows taken out by filters, summed over the outputs.
    pub filtered: u64,
    /// Dead letters, summed over the outputs.
    pub dead: u64,
    /// Rows given to each output.
    pub written: Vec<u64>,
    /// Source bytes.
    pub bytes_read: u64,
    /// Of a log: those of `dead` that a program set aside on the way to this sink; the others reach no sink at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_aside: u64,
    /// What the rules of `data_quality` nodes counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleCount>,
    /// Rows that came behind the watermark.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
    /// What passed each gate of the flow; empty in checkpoints of a version that did not count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateCount>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counts {
    /// Adds the counters of a later epoch.
    pub fn add(&mut self, other: &Counts) {
        self.read += other.read;
        self.filtered += other.filtered;
        self.dead += other.dead;
        self.bytes_read += other.bytes_read;
        self.set_aside += other.set_aside;
        self.late += other.late;
        add_rules(&mut self.rules, &other.rules);
        gates::add(&mut self.gates, &other.gates);
        if self.written.len() < other.written.len() {
            self.written.resize(other.written.len(), 0);
        }
        for (mine, theirs) in self.written.iter_mut().zip(&other.written) {
            *mine += theirs;
        }
    }
}

/// Everything that one flush of one lane made durable.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EpochBody {
    /// The lane.
    pub lane: usize,
    /// How far which splits got.
    pub progress: Vec<SplitProgress>,
    /// Receipts of the sinks, one per output; `Null` for none.
    pub tokens: Vec<Value>,
    /// Counters since the lane's last flush.
    pub counts: Counts,
    /// What the cursor saw.
    pub cursor: Option<CursorState>,
    /// Of a log: the sums of each stream since the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Counts>,
    /// More receipts, each with its output: of flushes that could not wait for the epoch's end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<(usize, Value)>,
    /// Of a stream without end: this epoch begins or closes a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnMark>,
    /// Of a flow that keeps state: the one that belongs to the progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateMark>,
    /// What rules counted, for the sinks that want it; kept beside the epoch, which goes without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<RuleResult>,
}

/// See `docs/adr/0008`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnMark {
    /// A turn begins here: the epoch's progress is all splits where the turn found them, its counts are the sums before it.
    Begins {
        /// The run as the sinks know it.
        id: String,
        /// Tells one set of sinks from another.
        sinks: String,
        /// What the sinks have shown before it, one per output.
        reports: Vec<CommitReport>,
    },
    /// Everything of the turn is durable; the sinks are being told to commit. Only forward from here.
    Closes,
}

/// An epoch as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// Written before a co-committed sink took the rows, and not yet confirmed after.
    pub prepared: bool,
    /// The content.
    pub body: EpochBody,
}

/// A flow's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Splits are being read.
    Reading,
    /// Everything is read and durable; the sinks are being told to commit. Only forward from here.
    Committing,
    /// Done.
    Committed,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Committing => "committing",
            Self::Committed => "committed",
        }
    }
    fn parse(text: &str) -> Result<Self> {
        match text {
            "reading" => Ok(Self::Reading),
            "committing" => Ok(Self::Committing),
            "committed" => Ok(Self::Committed),
            other => Err(Error::internal(format!("unknown flow phase `{other}` in the state file"))),
        }
    }
}

/// A dead letter with the way it was on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    /// The sink whose part of a row-local program set the row aside: only this sink lacks it for that reason. `None`: the source
    /// met it, or a program that sees rows together, and no sink has it.
    pub sink: Option<String>,
    /// The letter.
    pub letter: DeadLetter,
}

/// What a reader told us when it was opened, by source node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReaderRecord {
    /// Source node.
    pub node: String,
    /// `StreamReader::state`.
    pub state: Value,
    /// `StreamReader::next_state`.
    pub next_state: Option<Value>,
    /// `StreamReader::as_of`.
    pub as_of: Option<String>,
}

/// A flow as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Where it stands.
    pub phase: Phase,
    /// Its readers.
    pub readers: Vec<ReaderRecord>,
    /// The sinks' reports, once committed.
    pub reports: Vec<CommitReport>,
}

/// What the last committed run left for the next, per source node of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// The cursor.
    pub cursor: Option<CursorState>,
    /// `ReadRequest::previous` of the next run.
    pub previous: Option<Value>,
    /// `ReadRequest::last_run_time` of the next run.
    pub last_run_time: Option<String>,
}

/// A run as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub run_id: String,
    /// Fingerprint of the plan it belongs to.
    pub fingerprint: String,
    /// Attempts so far.
    pub attempts: u32,
}

/// What somebody asks of a log from outside, for its run to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Wanted {
    /// The changes of a stream's shape up to this boundary are carried out.
    Approve {
        /// The stream.
        stream: String,
        /// The boundary.
        seq: u64,
    },
    /// The snapshot of a stream is taken once more.
    Snapshot {
        /// The stream.
        stream: String,
        /// Only of the rows for which this condition holds.
        only: Option<String>,
    },
    /// The pipeline's file was changed: whoever runs it reads it anew and goes on with it. Asked of [`Wish::RUN`], carried out by what called
    /// [`crate::run()`], since a run knows no files.
    Reload,
    /// A savepoint of the stream is made in this folder, at the next end of a turn. Asked of [`Wish::RUN`].
    Savepoint {
        /// The folder, which must not be there yet.
        to: String,
    },
}

/// A [`Wanted`] that nobody has carried out yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Its number; later ones are greater.
    pub id: String,
    /// What it is.
    pub wanted: Wanted,
}

impl Wish {
    /// In the place of a source node: what is asked of the run as a whole.
    pub const RUN: &str = "";
}

/// Where the checkpoints of a run are.
#[derive(Debug, Clone)]
pub enum StatePlace {
    /// In `state.db` in this folder, which also holds the lock.
    Folder(PathBuf),
    /// Behind this link; the folder holds the lock and may be lost.
    Link(PathBuf, Arc<dyn StateLink>),
}

impl StatePlace {
    /// The folder of locks.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) | Self::Link(folder, _) => folder,
        }
    }

    /// Opens the store.
    pub async fn open(&self) -> Result<StateStore> {
        match self {
            Self::Folder(folder) => StateStore::open(folder).await,
            Self::Link(folder, link) => {
                std::fs::create_dir_all(folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
                Ok(StateStore { way: Way::Link(link.clone()), folder: folder.clone() })
            }
        }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct StateStore {
    way: Way,
    folder: PathBuf,
}

#[derive(Clone)]
enum Way {
    Tables(Tables),
    Link(Arc<dyn StateLink>),
}

/// Asks the tables, or the same over the link.
macro_rules! ask {
    ($store:ident, $tables:ident => $here:expr, $there:expr) => {
        match &$store.way {
            Way::Tables($tables) => $here.await,
            Way::Link(link) => link::typed(link.ask($there).await?),
        }
    };
}

impl StateStore {
    /// Opens, or creates, `state.db` in `folder`.
    pub async fn open(folder: &Path) -> Result<Self> {
        Ok(Self { way: Way::Tables(Tables::file(folder).await?), folder: folder.to_owned() })
    }

    /// The folder of the file and the locks.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tables, for what people look at; not over a link.
    pub(crate) fn tables(&self) -> Result<&Tables> {
        match &self.way {
            Way::Tables(tables) => Ok(tables),
            Way::Link(_) => Err(Error::internal("this is not asked over a link")),
        }
    }

    /// The newest run of a pipeline that has not ended, if any.
    pub async fn unfinished(&self, pipeline: &str) -> Result<Option<RunRecord>> {
        ask!(self, tables => tables.unfinished(pipeline), StateCall::Unfinished { pipeline: pipeline.into() })
    }

    /// Records a new run, or one more attempt of a run; gives the attempt's number. Attempts before it can write nothing from now on. Under
    /// `name` (the platform's run) [`Self::named`] finds it again.
    pub async fn begin(&self, run_id: &str, pipeline: &str, fingerprint: &str, name: Option<&str>) -> Result<u32> {
        ask!(self, tables => tables.begin(run_id, pipeline, fingerprint, name), StateCall::Begin {
            run_id: run_id.into(),
            pipeline: pipeline.into(),
            fingerprint: fingerprint.into(),
            name: name.map(str::to_owned),
        })
    }

    /// Records how an attempt ended. `succeeded` and `abandoned` end the run; others leave it to be resumed.
    pub async fn end(&self, run_id: &str, status: &str, report: &str) -> Result<()> {
        ask!(self, tables => tables.end(run_id, status, report), StateCall::End {
            run_id: run_id.into(),
            status: status.into(),
            report: report.into(),
        })
    }

    /// The report of the run that was begun under this name, if it has come to its end (`succeeded`, dead letters over the limit or
    /// not).
    pub async fn named(&self, name: &str) -> Result<Option<Value>> {
        ask!(self, tables => tables.named(name), StateCall::Named { name: name.into() })
    }

    /// The flow of a run, if it was ever opened.
    pub async fn flow(&self, run_id: &str, flow: &str) -> Result<Option<FlowRecord>> {
        ask!(self, tables => tables.flow(run_id, flow), StateCall::Flow { run_id: run_id.into(), flow: flow.into() })
    }

    /// Records the readers of a flow that is about to be read.
    pub async fn open_flow(&self, run_id: &str, flow: &str, readers: &[ReaderRecord]) -> Result<()> {
        ask!(self, tables => tables.open_flow(run_id, flow, readers), StateCall::OpenFlow {
            run_id: run_id.into(),
            flow: flow.into(),
            readers: readers.to_vec(),
        })
    }

    /// Everything of the flow is durable; from here it only goes forward.
    pub async fn committing(&self, run_id: &str, flow: &str) -> Result<()> {
        ask!(self, tables => tables.committing(run_id, flow), StateCall::Committing { run_id: run_id.into(), flow: flow.into() })
    }

    /// The flow is committed in every sink; in the same transaction the cursors move.
    pub async fn committed(
        &self,
        pipeline: &str,
        run_id: &str,
        flow: &str,
        reports: &[CommitReport],
        states: &[(String, StreamState)],
    ) -> Result<()> {
        ask!(self, tables => tables.committed(pipeline, run_id, flow, reports, states), StateCall::Committed {
            pipeline: pipeline.into(),
            run_id: run_id.into(),
            flow: flow.into(),
            reports: reports.to_vec(),
            states: states.to_vec(),
        })
    }

    /// What the last committed run left for this source node.
    pub async fn stream_state(&self, pipeline: &str, flow: &str, node: &str) -> Result<StreamState> {
        ask!(self, tables => tables.stream_state(pipeline, flow, node), StateCall::StreamState {
            pipeline: pipeline.into(),
            flow: flow.into(),
            node: node.into(),
        })
    }

    /// Writes an epoch with its dead letters, in one transaction.
    pub async fn write_epoch(&self, place: &FlowPlace<'_>, epoch: &Epoch, dead: &[SetAside], keep: Keep) -> Result<()> {
        ask!(self, tables => tables.write_epoch(place, epoch, dead, keep), StateCall::WriteEpoch {
            place: place.into(),
            epoch: epoch.clone(),
            dead: dead.to_vec(),
            keep,
        })
    }

    /// A prepared epoch is in the co-committed sinks too.
    pub async fn confirm_epoch(&self, place: &FlowPlace<'_>, epoch: u64, keep: Keep) -> Result<()> {
        ask!(self, tables => tables.confirm_epoch(place, epoch, keep), StateCall::ConfirmEpoch { place: place.into(), epoch, keep })
    }

    /// All epochs of a flow, in order.
    pub async fn epochs(&self, place: &FlowPlace<'_>) -> Result<Vec<Epoch>> {
        ask!(self, tables => tables.epochs(place), StateCall::Epochs { place: place.into() })
    }

    /// Forgets epochs of a flow, with their dead letters: all of them (`only: None`, the flow starts over) or one.
    pub async fn forget(&self, place: &FlowPlace<'_>, only: Option<u64>) -> Result<()> {
        ask!(self, tables => tables.forget(place, only), StateCall::Forget { place: place.into(), only })
    }

    /// Dead letters of a run with numbers above `after`, in their order: the next few megabytes, at least one if there is any. Those of an epoch that a
    /// sink may not have, and all behind them, are not among them yet.
    pub async fn letters(&self, pipeline: &str, run_id: &str, after: i64) -> Result<Vec<KeptLetter>> {
        ask!(self, tables => tables.letters(pipeline, run_id, after), StateCall::Letters {
            pipeline: pipeline.into(),
            run_id: run_id.into(),
            after,
        })
    }

    /// What rules counted in a run for a sink, with numbers above `after`, in their order: a thousand at most. What letters wait for, these do, too.
    pub async fn rule_results(&self, pipeline: &str, run_id: &str, sink: &str, after: i64) -> Result<Vec<KeptResult>> {
        ask!(self, tables => tables.rule_results(pipeline, run_id, sink, after), StateCall::RuleResults {
            pipeline: pipeline.into(),
            run_id: run_id.into(),
            sink: sink.into(),
            after,
        })
    }

    /// The sink has these up to a number, durably: they are forgotten.
    pub async fn rule_results_carried(&self, pipeline: &str, run_id: &str, sink: &str, up_to: i64) -> Result<()> {
        ask!(self, tables => tables.rule_results_carried(pipeline, run_id, sink, up_to), StateCall::RuleResultsCarried {
            pipeline: pipeline.into(),
            run_id: run_id.into(),
            sink: sink.into(),
            up_to,
        })
    }

    /// Asks something of the log of a source node, or of the run ([`Wish::RUN`]). Durable; whoever runs the pipeline looks for it now and then. What is asked for already is not
    /// asked for twice.
    pub async fn wish(&self, pipeline: &str, node: &str, wanted: &Wanted) -> Result<()> {
        ask!(self, tables => tables.wish(pipeline, node, wanted), StateCall::Wish {
            pipeline: pipeline.into(),
            node: node.into(),
            wanted: wanted.clone(),
        })
    }

    /// What is asked of the log of a source node, or of the run, oldest first.
    pub async fn wishes(&self, pipeline: &str, node: &str) -> Result<Vec<Wish>> {
        ask!(self, tables => tables.wishes(pipeline, node), StateCall::Wishes { pipeline: pipeline.into(), node: node.into() })
    }

    /// These were carried out, durably.
    pub async fn granted(&self, pipeline: &str, ids: &[String]) -> Result<()> {
        ask!(self, tables => tables.granted(pipeline, ids), StateCall::Granted { pipeline: pipeline.into(), ids: ids.to_vec() })
    }
}

/// What happens to the epochs before one that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// They stay: together they are the run.
    All,
    /// They go: the newest one says everything (a log has one position, and its counts are sums).
    Newest,
}

/// Names one flow of one run.
#[derive(Debug, Clone, Copy)]
pub struct FlowPlace<'a> {
    /// Pipeline under which dead letters are listed.
    pub pipeline: &'a str,
    /// Run.
    pub run_id: &'a str,
    /// Flow.
    pub flow: &'a str,
}
