//! The program as a person meets it: commands, what they say, exit codes. Real files and servers, never a sleep.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod ask;
mod asked;
mod brokers;
mod changes_into_files;
#[cfg(feature = "kafka")]
mod changes_into_topics;
mod changes_transformed;
mod counts;
mod dead_letters;
mod engines;
mod examples;
mod flights;
mod handover;
mod harness;
mod into_mysql;
mod journal;
mod journal_elsewhere;
#[path = "../../../weir-engine/tests/protocol/journal_suite.rs"]
mod journal_suite;
mod machines;
mod mistakes;
mod plans;
mod polling;
mod positions;
mod quality;
mod reload;
mod seam;
mod secrets;
mod serving;
mod settings;
mod snapshot_again;
mod sockets;
mod starter;
mod stopping;
mod streaming;
mod table_in_files;
mod vault;
#[cfg(feature = "kafka")]
mod windows;

/// Compares what a command said with the snapshot of that name.
#[macro_export]
macro_rules! assert_said {
    ($said:expr) => {
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!($said.shown())
        })
    };
    ($name:expr, $said:expr) => {
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!($name, $said.shown())
        })
    };
}
