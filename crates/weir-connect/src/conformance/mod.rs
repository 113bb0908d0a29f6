//! The conformance kit: a library that a connector's tests call with just "seed" and "read back" on the real system.
//!
//! ```ignore
//! struct Postgres { … }                       // knows a running server
//! #[async_trait] impl Subject for Postgres { … }
//!
//! mod conformance {
//!     weir_connect::conformance!(super::Postgres::start().await);
//! }
//! ```
//!
//! makes one test per check; [`run_all`] runs them one after another and gives a [`Report`], from which the connector's
//! maturity is computed. What a subject declares ([`Declared`]) chooses the checks; a check that does not apply is told as skipped.
//!
//! * [`subject`]: what the connector supplies.
//! * [`matrix`]: rows that are hard to carry. [`compare`]: exact comparison of row sets.
//! * [`driver`]: a scripted engine with crashes at named places. [`given`]: a source over batches.
//! * [`checks`]: the checks themselves. [`lab`]: what they share.
//! * [`memory`]: the reference connector, with mutations that the kit must catch.

pub mod checks;
pub mod compare;
pub mod driver;
pub mod given;
pub mod lab;
pub mod matrix;
pub mod memory;
pub mod report;
pub mod subject;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::future::BoxFuture;
use weir_error::Result;

pub use lab::Lab;
pub use matrix::TypeFamily;
pub use report::{Line, Maturity, Outcome, Report, Weight};
pub use subject::{Declared, Subject};

/// One check: it passes or skips with a note; an error is a failure.
pub struct Check {
    /// Name, also of the generated test.
    pub name: &'static str,
    /// What a failure costs.
    pub weight: Weight,
    /// The check.
    pub run: for<'a> fn(&'a Lab<'a>) -> BoxFuture<'a, Result<Outcome>>,
}

/// Hands the names of all checks to another macro: `name! { {arguments} first second … }`.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    ($callback:ident ! { $($arguments:tt)* }) => {
        $crate::$callback! { { $($arguments)* }
            (Comfort options descriptor_is_sound)
            (Comfort options a_missing_option_is_named)
            (Comfort options an_unknown_option_is_named)
            (Comfort options a_good_connection_checks_out)
            (Comfort options bad_credentials_are_an_auth_error)
            (Comfort options an_unreachable_host_is_a_connect_error)
            (Safety source source_gives_the_type_matrix_exactly)
            (Safety source source_reads_an_empty_stream)
            (Safety source source_reads_a_wide_table)
            (Safety source source_reads_a_large_cell)
            (Safety source source_reads_the_same_twice)
            (Safety source source_resumes_from_every_position)
            (Safety source source_resumes_from_finished_splits)
            (Safety source source_can_be_cancelled_and_read_again)
            (Safety source source_leaves_nothing_behind_the_cursor)
            (Safety source source_survives_crashes)
            (Comfort source source_names_a_missing_stream)
            (Safety sink sink_holds_the_type_matrix_exactly)
            (Safety sink sink_never_bends_special_values)
            (Safety sink sink_takes_an_empty_stream)
            (Safety sink sink_takes_a_wide_table)
            (Safety sink sink_takes_a_large_cell)
            (Safety sink sink_appends_over_runs)
            (Safety sink sink_shows_nothing_before_commit)
            (Safety sink sink_survives_a_crash_before_flush)
            (Safety sink sink_survives_a_crash_after_flush)
            (Safety sink sink_survives_a_crash_after_checkpoint)
            (Safety sink sink_survives_a_crash_before_commit)
            (Safety sink sink_survives_a_crash_after_commit)
            (Safety sink sink_survives_a_crash_in_every_attempt)
            (Safety sink sink_commit_is_idempotent)
            (Safety sink sink_discards_what_is_not_kept)
            (Safety sink sink_overwrite_keeps_old_data_until_commit)
            (Safety sink sink_overwrite_with_nothing_empties)
            (Safety sink sink_upsert_replaces_by_key)
            (Safety sink sink_upsert_is_idempotent)
            (Safety sink sink_adds_a_column_under_evolve)
            (Safety sink sink_refuses_a_column_under_freeze)
            (Comfort sink sink_bounds_its_memory)
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ({} $(($weight:ident $module:ident $name:ident))*) => {
        &[$(Check { name: stringify!($name), weight: Weight::$weight, run: |lab| Box::pin(checks::$module::$name(lab)) }),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ({ $subject:expr } $(($weight:ident $module:ident $name:ident))*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let subject = $subject;
                $crate::conformance::assert_check(&subject, stringify!($name)).await;
            }
        )*
    };
}

/// One `#[tokio::test]` per check. The expression makes the subject and may `.await`; it is evaluated anew in each test.
#[macro_export]
macro_rules! conformance {
    ($subject:expr) => {
        $crate::__conformance_list! { __conformance_tests ! { $subject } }
    };
}

/// All checks, in the order of the report.
pub const CHECKS: &[Check] = crate::__conformance_list! { __conformance_checks ! {} };

/// A check that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs every check, one after another.
pub async fn run_all(subject: &dyn Subject) -> Report {
    let mut lines = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        lines.push(Line { name: check.name, weight: check.weight, outcome: run(subject, check).await });
    }
    Report { connector: subject.connector().descriptor().name.to_owned(), lines }
}

/// Runs the check of that name and panics with its note if it fails: what the generated tests call.
///
/// # Panics
/// If the check fails or there is none of that name.
pub async fn assert_check(subject: &dyn Subject, name: &str) {
    let Some(check) = CHECKS.iter().find(|check| check.name == name) else {
        panic!("there is no check `{name}`");
    };
    match run(subject, check).await {
        Outcome::Failed(note) => panic!("{name}: {note}"),
        Outcome::Passed(note) => println!("{name}: {note}"),
        Outcome::Skipped(note) => println!("{name} does not apply: {note}"),
    }
}

async fn run(subject: &dyn Subject, check: &Check) -> Outcome {
    let lab = Lab::new(subject);
    match tokio::time::timeout(PATIENCE, (check.run)(&lab)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(format!("{error:?}")),
        Err(_) => Outcome::Failed(format!("hangs: no result after {} s", PATIENCE.as_secs())),
    }
}
