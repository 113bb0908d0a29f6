//! Native execution: lanes, epochs, checkpoints, dead letters.
//!
//! The life of a run (see `docs/adr/0002` and [`weir_connect::sink`] for the commit protocol):
//!
//! * [`run()`]: takes the pipeline's lock, finds the run to resume or begins one, executes the flows, retries what is transient, reconciles
//!   the rows and writes the report.
//! * `flow`: one flow from recovery over reading to commit.
//! * `lane`: one lane: split → queue → `writing`: row program → writers → epoch.
//! * `streaming`: the same without end, in turns.
//! * `state`: what flows over event time keep.
//! * `relational`: a flow whose program must see rows together, through DataFusion with spilling.
//! * `cdc`: a log of changes, through a journal, into sinks.
//! * `carrier`: `letters` and `results` (of rules) on their way to sinks of their own. [`replay`]: dead letters, once more through their pipeline.
//! * [`portable`]: positions from another engine.
//! * [`store`]: what survives; [`cursor`]: the incremental cursor; [`queue`], [`memory`]: bounds.
//! * [`verify`]: whether a sink has what the source has.
//! * [`events`], [`report`], [`gates`]: what others see of a run.
#![deny(missing_docs)]

mod carrier;
mod cdc;
pub mod events;
mod flow;
pub mod gates;
mod lane;
mod letters;
pub mod memory;
pub mod portable;
pub mod queue;
mod relational;
pub mod replay;
pub mod report;
mod results;
mod run;
mod state;
pub mod store;
mod streaming;
pub mod verify;
mod writing;

pub use cdc::hold::HeldStream;
pub use cdc::{again, back, codec, hold, journal, look};
pub use events::{EventTimeProgress, JournalProgress, Progress, Reporter, RunEvent, Silent};
pub use report::{EdgeCounts, NodeCounts, RunReport, RunStatus, StreamReport};
pub use run::{RunOptions, going_on, run};
pub use streaming::savepoint;
pub use weir_connect::cursor;
