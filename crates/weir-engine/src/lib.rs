//! Native execution: lanes, epochs, checkpoints, dead letters.
#![deny(missing_docs)]

pub mod events;
pub mod report;

pub use events::{Progress, Reporter, RunEvent};
pub use report::{RunReport, RunStatus, StreamReport};
