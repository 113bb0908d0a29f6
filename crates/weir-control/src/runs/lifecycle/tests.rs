use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use weir_error::{Error, Kind};
use weir_store::model::{EdgeCounts, Outcome, RetryPolicy, Run, RunStatus, StreamCounts, Trigger};

use super::{Ending, Exit, MOST_ATTEMPTS, Running, Stop};
use crate::worker::Resources;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn run(attempt: u32, failed_before: u32) -> Run {
    Run {
        id: "r".into(),
        tenant_id: "t".into(),
        job_id: "j".into(),
        job_version: 1,
        status: RunStatus::Running,
        trigger: Trigger::Manual,
        attempt,
        cancel_requested: false,
        queued_at: now(),
        started_at: Some(now()),
        ended_at: None,
        worker: None,
        streams: vec![],
        report: None,
        error: None,
        trace_id: None,
        resources: Some(json!({"failed_attempts": failed_before})),
    }
}

fn after(attempt: u32, failed_before: u32, ending: Ending) -> Outcome {
    let policy = RetryPolicy { max_attempts: 3, backoff_secs: 10, max_backoff_secs: 15 };
    let run = run(attempt, failed_before);
    let resources = Resources::of_run(run.resources.as_ref());
    Running::new(&run, &policy).ended(ending, now()).into_outcome(vec![], resources)
}

fn ended(report: Option<Value>, exit: Exit) -> Ending {
    Ending { report, exit: Some(exit), stop: None, refused: None, said: String::new(), kernel_out_of_memory: false }
}

fn reported(status: &str, error: Option<Error>) -> Value {
    let error = error.map(|error| serde_json::to_value(error.to_json()).unwrap());
    json!({"run_id": "e1", "status": status, "streams": [], "error": error})
}

fn code(outcome: &Outcome) -> &str {
    outcome.error.as_ref().and_then(|error| error["code"].as_str()).unwrap_or_default()
}

fn failed_attempts(outcome: &Outcome) -> u32 {
    Resources::of_run(outcome.resources.as_ref()).failed_attempts
}

#[test]
fn a_report_of_success_wins_over_everything_else() {
    let done = || Some(reported("succeeded", None));
    for stop in [None, Some(Stop::Cancel), Some(Stop::Drain), Some(Stop::Limit(Error::internal("x")))] {
        let ending = Ending { stop, ..ended(done(), Exit::Signal(9)) };
        let outcome = after(1, 0, ending);
        assert_eq!((outcome.status, outcome.error, outcome.retry_at), (RunStatus::Succeeded, None, None));
    }
}

#[test]
fn a_transient_error_is_tried_again_with_growing_waits_until_the_policy_ends() {
    let broken = || ended(Some(reported("failed", Some(Error::new("WEIR-X-1", Kind::Io, "hm").transient()))), Exit::Code(1));
    let first = after(1, 0, broken());
    assert_eq!((first.status, first.retry_at), (RunStatus::Queued, Some(now() + TimeDelta::seconds(10))));
    assert_eq!((failed_attempts(&first), code(&first)), (1, "WEIR-X-1"));
    let second = after(2, 1, broken());
    assert_eq!(
        (second.status, second.retry_at),
        (RunStatus::Queued, Some(now() + TimeDelta::seconds(15))),
        "20 s, but at most 15"
    );
    let third = after(3, 2, broken());
    assert_eq!((third.status, third.retry_at, code(&third)), (RunStatus::Failed, None, "WEIR-X-1"));
    assert_eq!(failed_attempts(&third), 3);
}

#[test]
fn what_would_end_the_same_way_is_not_tried_again() {
    for kind in [Kind::Spec, Kind::TypeLoss, Kind::Auth, Kind::Data, Kind::Schema, Kind::Privilege, Kind::Internal] {
        let outcome = after(1, 0, ended(Some(reported("failed", Some(Error::new("WEIR-X-2", kind, "no")))), Exit::Code(1)));
        assert_eq!((outcome.status, code(&outcome)), (RunStatus::Failed, "WEIR-X-2"), "{kind:?}");
    }
    // Not even if somebody marks them as transient.
    for kind in [Kind::Spec, Kind::TypeLoss] {
        let error = Error::new("WEIR-X-3", kind, "no").transient();
        assert_eq!(after(1, 0, ended(Some(reported("failed", Some(error))), Exit::Code(2))).status, RunStatus::Failed);
    }
}

#[test]
fn a_system_that_cannot_be_reached_is_tried_again() {
    let report = reported("failed", Some(Error::new("WEIR-PG-1", Kind::Connect, "refused")));
    assert_eq!(after(1, 0, ended(Some(report), Exit::Code(3))).status, RunStatus::Queued);
    assert_eq!(after(1, 0, ended(None, Exit::Code(3))).status, RunStatus::Queued);
}

#[test]
fn a_lost_attempt_is_tried_again_beyond_the_policy_and_does_not_count() {
    let killed = || ended(None, Exit::Signal(libc::SIGKILL));
    let locked = || ended(Some(reported("failed", Some(Error::new("WEIR-RUN-010", Kind::Conflict, "held")))), Exit::Code(1));
    for ending in [killed, locked] {
        let outcome = after(9, 2, ending());
        assert_eq!((outcome.status, failed_attempts(&outcome)), (RunStatus::Queued, 2));
        assert!(outcome.retry_at.unwrap() > now());
    }
    let last = after(MOST_ATTEMPTS, 0, killed());
    assert_eq!((last.status, code(&last)), (RunStatus::Failed, "WEIR-WORKER-012"));
}

#[test]
fn a_shutdown_gives_the_run_back_at_once_and_without_a_mark() {
    for report in [Some(reported("interrupted", None)), None] {
        let outcome = after(2, 1, Ending { stop: Some(Stop::Drain), ..ended(report, Exit::Code(130)) });
        assert_eq!((outcome.status, outcome.retry_at, outcome.error), (RunStatus::Queued, Some(now()), None));
    }
    let broken = Some(reported("failed", Some(Error::new("WEIR-X-2", Kind::Data, "no"))));
    let outcome = after(2, 1, Ending { stop: Some(Stop::Drain), ..ended(broken, Exit::Code(1)) });
    assert_eq!((outcome.status, code(&outcome)), (RunStatus::Failed, "WEIR-X-2"), "it failed by itself meanwhile");
}

#[test]
fn a_cancelled_run_is_never_tried_again() {
    let transient = reported("failed", Some(Error::new("WEIR-X-1", Kind::Connect, "gone").transient()));
    for report in [Some(reported("interrupted", None)), None, Some(transient)] {
        let outcome = after(1, 0, Ending { stop: Some(Stop::Cancel), ..ended(report, Exit::Signal(9)) });
        assert_eq!((outcome.status, outcome.retry_at), (RunStatus::Cancelled, None));
    }
}

#[test]
fn a_limit_is_final_and_named() {
    let error = Error::new("WEIR-WORKER-022", Kind::Limit, "too slow");
    let ending = Ending { stop: Some(Stop::Limit(error)), ..ended(Some(reported("interrupted", None)), Exit::Code(130)) };
    let outcome = after(1, 0, ending);
    assert_eq!((outcome.status, code(&outcome)), (RunStatus::Failed, "WEIR-WORKER-022"));
}

#[test]
fn too_many_dead_letters_fail_the_run_and_are_counted() {
    let report =
        json!({"status": "dead_letters_exceeded", "streams": [{"name": "s", "rows_dead": 3}, {"name": "t", "rows_dead": 4}]});
    let outcome = after(1, 0, ended(Some(report), Exit::Code(4)));
    assert_eq!((outcome.status, code(&outcome)), (RunStatus::Failed, "WEIR-WORKER-040"));
    assert!(outcome.error.unwrap()["cause"].as_str().unwrap().starts_with("7 dead letters"));
    assert_eq!(outcome.streams.len(), 2);
}

#[test]
fn an_end_without_a_report_says_how_the_process_ended_and_what_it_said() {
    let said = |exit, said: &str| after(1, 0, Ending { said: said.into(), ..ended(None, exit) });
    let panic = said(Exit::Code(101), "thread 'main' panicked at …");
    assert_eq!((panic.status, code(&panic)), (RunStatus::Queued, "WEIR-WORKER-011"));
    assert_eq!(panic.error.unwrap()["cause"], "thread 'main' panicked at …");
    let abort = said(Exit::Signal(libc::SIGABRT), "memory allocation of 8589934592 bytes failed");
    assert_eq!((abort.status, code(&abort)), (RunStatus::Failed, "WEIR-WORKER-020"));
    let segv = said(Exit::Signal(libc::SIGSEGV), "");
    assert_eq!((segv.status, code(&segv)), (RunStatus::Queued, "WEIR-WORKER-011"));
    let spec = said(Exit::Code(2), "no such connector");
    assert_eq!((spec.status, code(&spec)), (RunStatus::Failed, "WEIR-WORKER-015"));
    let oom = after(1, 0, Ending { kernel_out_of_memory: true, ..ended(None, Exit::Signal(9)) });
    assert_eq!((oom.status, code(&oom), failed_attempts(&oom)), (RunStatus::Queued, "WEIR-WORKER-020", 1));
}

#[test]
fn a_run_that_could_not_start_fails_or_waits_as_its_error_says() {
    let outcome = after(1, 0, Ending::refused(Error::new("WEIR-WORKER-030", Kind::NotFound, "no such connection")));
    assert_eq!((outcome.status, code(&outcome)), (RunStatus::Failed, "WEIR-WORKER-030"));
    let outcome = after(1, 0, Ending::refused(Error::new("WEIR-WORKER-010", Kind::Io, "no process").transient()));
    assert_eq!((outcome.status, code(&outcome)), (RunStatus::Queued, "WEIR-WORKER-010"));
}

#[test]
fn counts_come_from_the_report_and_source_bytes_from_the_progress() {
    let report = json!({"status": "succeeded", "streams": [
        {"name": "a", "rows_read": 10, "rows_written": 7, "rows_filtered": 2, "rows_dead": 1, "bytes_written": 99,
         "edges": [{"from": "in", "to": "out", "rows": 7, "bytes": null}], "nodes": "of another shape"}]});
    let seen =
        |name: &str, rows_read, bytes_read| StreamCounts { name: name.into(), rows_read, bytes_read, ..StreamCounts::default() };
    let policy = RetryPolicy::default();
    let next = Running::new(&run(1, 0), &policy).ended(ended(Some(report), Exit::Code(0)), now());
    let outcome = next.into_outcome(vec![seen("a", 9, 500), seen("b", 3, 30)], Resources::default());
    let a = StreamCounts {
        name: "a".into(),
        rows_read: 10,
        rows_written: 7,
        rows_filtered: 2,
        rows_dead: 1,
        bytes_read: 500,
        bytes_written: 99,
        edges: vec![EdgeCounts { from: "in".into(), to: "out".into(), rows: Some(7), ..EdgeCounts::default() }],
        ..StreamCounts::default()
    };
    assert_eq!(outcome.streams, [a, seen("b", 3, 30)]);
    let silent = Running::new(&run(1, 0), &policy).ended(ended(None, Exit::Signal(9)), now());
    assert_eq!(silent.into_outcome(vec![seen("b", 3, 30)], Resources::default()).streams, [seen("b", 3, 30)]);
}
