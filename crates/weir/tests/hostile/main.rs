//! The whole program against hostile input and broken surroundings: broken files, full disks, dying servers, impatient people.
//!
//! Every test runs the real binary and looks at what a person has afterwards: the exit code, the error, whether the rows
//! reconcile, that nothing half-written is visible, and that running again after the repair gives exactly the right rows.
//!
//! * [`text_in`], [`json_in`], [`parquet_in`], [`moving_files`]: files that are broken, or change while they are read;
//! * [`places_out`], [`state`]: targets and state folders that cannot be written;
//! * [`postgres`], [`http`]: servers that refuse, vanish and lie;
//! * [`control`], [`letters`]: signals, reset, dead letters.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../cli/harness.rs"]
#[allow(dead_code)] // Each test target uses its part.
mod harness;
mod scene;

mod control;
mod http;
mod json_in;
mod letters;
mod moving_files;
mod parquet_in;
mod places_out;
mod postgres;
mod state;
mod text_in;
