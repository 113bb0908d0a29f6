//! The kit judged by the reference connector: whole it is stable in every commit kind, and no mutation goes unseen.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_error::Result;

use super::memory::{MemoryConnector, MemorySystem, Mutation};
use super::*;
use crate::connector::Connector;
use crate::stream::WriteMode;

struct Memory {
    system: Arc<MemorySystem>,
    mutation: Option<Mutation>,
    commit: &'static str,
}

impl Memory {
    fn new(commit: &'static str, mutation: Option<Mutation>) -> Self {
        Self { system: MemorySystem::new(), mutation, commit }
    }
}

#[async_trait]
impl Subject for Memory {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(MemoryConnector::new(self.system.clone(), self.mutation))
    }
    fn declared(&self) -> Declared {
        let modes: &[WriteMode] = match self.commit {
            "staged" => &[WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert],
            "append" => &[WriteMode::Append, WriteMode::Upsert],
            _ => &[WriteMode::Append],
        };
        let mut types = TypeFamily::PLAIN.to_vec();
        types.extend(TypeFamily::SPECIAL);
        let mut declared =
            Declared::both().modes(modes).types(&types).incremental().schema_change().max_buffered_bytes(300 * 1024);
        declared.connect_bound = Duration::from_millis(200);
        declared
    }
    fn connection(&self) -> Value {
        json!({"host": "memory", "password": "sesame"})
    }
    fn bad_connection(&self) -> Option<Value> {
        Some(json!({"host": "memory", "password": "wrong"}))
    }
    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"host": "nowhere", "password": "sesame"}))
    }
    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        self.system.seed(name, batches[0].schema(), batches);
        Ok(json!({"table": name}))
    }
    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({"table": format!("to_{name}"), "commit": self.commit})
    }
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.system.rows(&format!("to_{name}")))
    }
}

mod staged {
    crate::conformance!(super::Memory::new("staged", None));
}
mod co_committed {
    crate::conformance!(super::Memory::new("co_committed", None));
}
mod append {
    crate::conformance!(super::Memory::new("append", None));
}

/// The checks that must find each defect: at least one of those named here fails.
const CAUGHT: &[(&str, Mutation, &str)] = &[
    ("staged", Mutation::LosesARowOnTheSecondCommit, "sink_appends_over_runs"),
    ("staged", Mutation::CommitsTwice, "sink_commit_is_idempotent"),
    ("staged", Mutation::CommitsTwice, "sink_survives_a_crash_after_commit"),
    ("staged", Mutation::IgnoresDiscard, "sink_discards_what_is_not_kept"),
    ("staged", Mutation::IgnoresDiscard, "sink_survives_a_crash_after_flush"),
    ("staged", Mutation::ShowsBeforeCommit, "sink_shows_nothing_before_commit"),
    ("staged", Mutation::FlushIsNotDurable, "sink_survives_a_crash_after_checkpoint"),
    ("staged", Mutation::FlushSkipsTheFirstBatch, "sink_appends_over_runs"),
    ("staged", Mutation::DropKeepsUnflushedRows, "sink_survives_a_crash_before_flush"),
    ("staged", Mutation::FlushIsNotDurable, "sink_survives_a_crash_before_commit"),
    ("staged", Mutation::IgnoresDiscard, "sink_survives_a_crash_in_every_attempt"),
    ("staged", Mutation::RoundsFloats, "source_gives_the_type_matrix_exactly"),
    ("staged", Mutation::EmptyStreamFails, "source_reads_an_empty_stream"),
    ("staged", Mutation::LosesColumnsBeyond255, "source_reads_a_wide_table"),
    ("staged", Mutation::CutsLongText, "source_reads_a_large_cell"),
    ("staged", Mutation::MiscountsRows, "sink_takes_an_empty_stream"),
    ("staged", Mutation::CutsLongText, "sink_takes_a_large_cell"),
    ("staged", Mutation::TextNullBecomesEmpty, "sink_holds_the_type_matrix_exactly"),
    ("staged", Mutation::RoundsFloats, "sink_holds_the_type_matrix_exactly"),
    ("staged", Mutation::RoundsDecimals, "sink_holds_the_type_matrix_exactly"),
    ("staged", Mutation::NanBecomesNull, "sink_never_bends_special_values"),
    ("staged", Mutation::ShiftsEarlyDates, "sink_holds_the_type_matrix_exactly"),
    ("staged", Mutation::LosesColumnsBeyond255, "sink_takes_a_wide_table"),
    ("staged", Mutation::EmptyStreamFails, "sink_takes_an_empty_stream"),
    ("staged", Mutation::OverwritesAtTheStart, "sink_overwrite_keeps_old_data_until_commit"),
    ("staged", Mutation::OverwriteWithNothingKeeps, "sink_overwrite_with_nothing_empties"),
    ("staged", Mutation::UpsertAppends, "sink_upsert_replaces_by_key"),
    ("staged", Mutation::UpsertAppends, "sink_upsert_is_idempotent"),
    ("staged", Mutation::UpsertKeepsTheFirst, "sink_upsert_replaces_by_key"),
    ("staged", Mutation::AcceptsUnderFreeze, "sink_refuses_a_column_under_freeze"),
    ("staged", Mutation::ForgetsTheNewColumn, "sink_adds_a_column_under_evolve"),
    ("staged", Mutation::BuffersWithoutBound, "sink_bounds_its_memory"),
    ("co_committed", Mutation::ForgetsProgress, "sink_survives_a_crash_after_flush"),
    ("co_committed", Mutation::ProgressIsAheadOfRows, "sink_survives_a_crash_after_checkpoint"),
    ("co_committed", Mutation::IgnoresDiscard, "sink_discards_what_is_not_kept"),
    ("append", Mutation::ProgressIsAheadOfRows, "sink_survives_a_crash_after_flush"),
    ("staged", Mutation::LosesTheLastSplit, "source_reads_the_same_twice"),
    ("staged", Mutation::LosesTheLastSplit, "source_resumes_from_finished_splits"),
    ("staged", Mutation::SkipsARowOnResume, "source_resumes_from_every_position"),
    ("staged", Mutation::RepeatsARowOnResume, "source_resumes_from_every_position"),
    ("staged", Mutation::RepeatsARowOnResume, "source_survives_crashes"),
    ("staged", Mutation::RepeatsFinishedSplits, "source_resumes_from_finished_splits"),
    ("staged", Mutation::CursorIsExclusive, "source_leaves_nothing_behind_the_cursor"),
    ("staged", Mutation::CancelPoisons, "source_can_be_cancelled_and_read_again"),
    ("staged", Mutation::GivesDifferentRowsEachTime, "source_reads_the_same_twice"),
    ("staged", Mutation::MissingStreamIsEmpty, "source_names_a_missing_stream"),
    ("staged", Mutation::IgnoresUnknownOptions, "an_unknown_option_is_named"),
    ("staged", Mutation::VagueAboutMissingOptions, "a_missing_option_is_named"),
    ("staged", Mutation::AnyPasswordWillDo, "bad_credentials_are_an_auth_error"),
    ("staged", Mutation::BlamesTheNetworkForThePassword, "bad_credentials_are_an_auth_error"),
    ("staged", Mutation::HangsOnUnreachable, "an_unreachable_host_is_a_connect_error"),
    ("staged", Mutation::CheckIsAlwaysFine, "bad_credentials_are_an_auth_error"),
];

#[tokio::test]
async fn every_defect_is_caught_by_the_check_that_is_meant_for_it() {
    let mut unseen = Vec::new();
    for &(commit, mutation, name) in CAUGHT {
        let Some(check) = CHECKS.iter().find(|check| check.name == name) else { panic!("no check {name}") };
        match run(&Memory::new(commit, Some(mutation)), check).await {
            Outcome::Failed(_) => {}
            other => unseen.push(format!("{commit} {mutation:?}: {name} says {other:?}")),
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

#[tokio::test]
async fn every_check_of_rows_has_a_defect_that_it_catches() {
    // These look at descriptor and report of a connector that cannot be otherwise here.
    let shared = ["descriptor_is_sound", "a_good_connection_checks_out"];
    for check in CHECKS {
        let caught = CAUGHT.iter().any(|(_, _, name)| *name == check.name);
        assert!(caught || shared.contains(&check.name), "no defect shows that `{}` can fail", check.name);
    }
}

#[tokio::test]
async fn a_whole_connector_is_stable_and_a_leaking_one_alpha() {
    let report = run_all(&Memory::new("staged", None)).await;
    assert_eq!(report.maturity(), Maturity::Stable, "{report}");
    assert_eq!(report.lines.len(), CHECKS.len());

    let report = run_all(&Memory::new("staged", Some(Mutation::CommitsTwice))).await;
    assert_eq!(report.maturity(), Maturity::Alpha, "{report}");

    let report = run_all(&Memory::new("staged", Some(Mutation::VagueAboutMissingOptions))).await;
    assert_eq!(report.maturity(), Maturity::Beta, "{report}");
    let table = report.to_string();
    assert!(table.contains("FAIL") && table.contains("memory: Beta"), "{table}");
}
