//! Closed sets of words, as the API writes them. One list each for input, output and the document.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_store::model;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $model:path { $($variant:ident),* $(,)? } in $case:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = $case)]
        #[schema(as = $name)]
        #[allow(missing_docs)]
        pub enum $name { $($variant),* }

        impl From<$model> for $name {
            fn from(value: $model) -> Self {
                type Model = $model;
                match value { $(Model::$variant => Self::$variant),* }
            }
        }
        impl From<$name> for $model {
            fn from(value: $name) -> Self {
                type Model = $model;
                match value { $($name::$variant => Model::$variant),* }
            }
        }
    )*};
}

words! {
    /// What a principal or token may do.
    Role = model::Role { Viewer, Operator, Editor, Admin, PlatformAdmin } in "kebab-case";
    /// Whether a tenant may do anything.
    TenantStatus = model::TenantStatus { Active, Suspended, Removed } in "snake_case";
    /// Person or program.
    PrincipalKind = model::PrincipalKind { User, ServiceAccount } in "snake_case";
    /// Whether a job runs by itself.
    JobStatus = model::JobStatus { Active, Paused } in "snake_case";
    /// What happens when a schedule fires while a run is going.
    Overlap = model::Overlap { Skip, Queue } in "snake_case";
    /// What happens with missed fires.
    CatchUp = model::CatchUp { None, Last, All } in "snake_case";
    /// Where a run stands.
    RunStatus = model::RunStatus { Queued, Running, Succeeded, Failed, Cancelled, Skipped } in "snake_case";
    /// Whether an alert holds.
    AlertState = model::AlertState { Firing, Resolved } in "snake_case";
}

/// Words of a filter.
pub const JOB_STATUSES: &[&str] = &["active", "paused"];
/// Words of a filter.
pub const RUN_STATUSES: &[&str] = &["queued", "running", "succeeded", "failed", "cancelled", "skipped"];
/// Words of a filter.
pub const ALERT_STATES: &[&str] = &["firing", "resolved"];
/// Words of a filter.
pub const MODES: &[&str] = &["batch", "incremental", "cdc", "streaming"];

/// Words of an order; `-` is the largest first.
pub const JOB_ORDERS: &[&str] = &[
    "-created_at",
    "created_at",
    "name",
    "-name",
    "status",
    "-status",
    "last_run_at",
    "-last_run_at",
    "last_run_status",
    "-last_run_status",
];
/// Words of an order; `-` is the largest first.
pub const RUN_ORDERS: &[&str] = &[
    "-queued_at",
    "queued_at",
    "started_at",
    "-started_at",
    "duration",
    "-duration",
    "rows_written",
    "-rows_written",
    "status",
    "-status",
    "job_name",
    "-job_name",
];

/// An order of jobs; the word was checked before.
pub fn job_order(word: Option<&str>) -> model::JobOrder {
    let Some(word) = word else { return model::JobOrder::default() };
    let (descending, name) = direction(word);
    let by = match name {
        "name" => model::JobKey::Name,
        "status" => model::JobKey::Status,
        "last_run_at" => model::JobKey::LastRun,
        "last_run_status" => model::JobKey::LastRunStatus,
        _ => model::JobKey::Created,
    };
    model::JobOrder { by, descending }
}

/// An order of runs; the word was checked before.
pub fn run_order(word: Option<&str>) -> model::RunOrder {
    let Some(word) = word else { return model::RunOrder::default() };
    let (descending, name) = direction(word);
    let by = match name {
        "started_at" => model::RunKey::Started,
        "duration" => model::RunKey::Duration,
        "rows_written" => model::RunKey::RowsWritten,
        "status" => model::RunKey::Status,
        "job_name" => model::RunKey::Job,
        _ => model::RunKey::Queued,
    };
    model::RunOrder { by, descending }
}

/// Whether the largest is first, and by what.
fn direction(word: &str) -> (bool, &str) {
    word.strip_prefix('-').map_or((false, word), |name| (true, name))
}

/// A word of a filter as its value; the words were checked before.
pub fn read<T: serde::de::DeserializeOwned>(word: Option<&str>) -> Option<T> {
    word.and_then(|word| serde_json::from_value(serde_json::Value::String(word.to_owned())).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_an_order_is_an_order_of_its_own() {
        let runs: Vec<_> = RUN_ORDERS.iter().map(|word| run_order(Some(word))).collect();
        let jobs: Vec<_> = JOB_ORDERS.iter().map(|word| job_order(Some(word))).collect();
        assert!(runs.iter().enumerate().all(|(at, order)| !runs[..at].contains(order)), "{runs:?}");
        assert!(jobs.iter().enumerate().all(|(at, order)| !jobs[..at].contains(order)), "{jobs:?}");
        assert_eq!((runs[0], jobs[0]), (run_order(None), job_order(None)));
    }

    #[test]
    fn filters_know_every_word_that_answers_use() {
        for (word, status) in RUN_STATUSES.iter().zip([
            model::RunStatus::Queued,
            model::RunStatus::Running,
            model::RunStatus::Succeeded,
            model::RunStatus::Failed,
            model::RunStatus::Cancelled,
            model::RunStatus::Skipped,
        ]) {
            assert_eq!(read::<RunStatus>(Some(word)).map(model::RunStatus::from), Some(status));
        }
    }
}
