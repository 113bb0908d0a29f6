//! What is found by looking, with engines that say what a script says.

use super::*;
use crate::client::scripted::Scripted;

fn at(state: State, rows: u64) -> Look {
    Look { rows_read: Some(rows), rows_written: Some(rows), ..Look::new(state, format!("{state:?}").to_uppercase()) }
}

fn quick() -> Watch {
    Watch {
        every: Duration::from_millis(1),
        lost_after: Duration::from_millis(30),
        stalled_after: Duration::from_millis(30),
        stop_within: Duration::from_millis(200),
        on_stop: OnStop::Cancel,
    }
}

/// The end, and the events without the looks.
async fn played(client: &Scripted, watch: Watch, stop: &CancellationToken) -> (Ended, Vec<String>) {
    let mut told = Vec::new();
    let mut tell = |event: Event<'_>| {
        if !matches!(event, Event::Look(_)) {
            told.push(format!("{event:?}").split(['(', ' ']).next().unwrap_or_default().to_owned());
        }
    };
    let ended = follow(client, &Job::one("j"), &watch, stop, &mut tell).await;
    (ended, told)
}

fn error(ended: &Ended) -> &Error {
    match &ended.outcome {
        Outcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_is_followed_to_its_end_through_a_short_silence() {
    let script = Scripted::new([
        Ok(Some(at(State::Waiting, 0))),
        Ok(Some(at(State::Running, 3))),
        Err("refused"),
        Ok(Some(at(State::Finished, 9))),
    ]);
    let (ended, told) = played(&script, quick(), &CancellationToken::new()).await;
    assert!(matches!(ended.outcome, Outcome::Finished) && ended.settled);
    assert_eq!(ended.last.and_then(|look| look.rows_written), Some(9));
    assert_eq!(told, ["Silent", "Back"]);
    assert!(ended.warnings[0].starts_with("flink did not answer for"), "{:?}", ended.warnings);
}

#[tokio::test]
async fn an_engine_that_stays_silent_is_lost() {
    let script = Scripted::new([Ok(Some(at(State::Running, 3))), Err("connection refused")]);
    let (ended, told) = played(&script, quick(), &CancellationToken::new()).await;
    let error = error(&ended);
    assert_eq!((error.code(), error.exit_code(), error.why()), (LOST, 3, Some("connection refused")));
    assert!(!ended.settled, "the job may go on there");
    assert_eq!(told, ["Silent"]);
}

#[tokio::test]
async fn a_job_that_a_restart_forgot_has_vanished() {
    let script = Scripted::new([Ok(Some(at(State::Running, 3))), Err("refused"), Ok(Some(at(State::Running, 3))), Ok(None)]);
    let (ended, _) = played(&script, quick(), &CancellationToken::new()).await;
    let told = error(&ended);
    assert_eq!((told.code(), told.exit_code()), (VANISHED, 1));
    assert!(told.why().unwrap().contains("restarted"), "{told}");
    // Unknown for one look only: it was on its way between two lists.
    let script = Scripted::new([Ok(Some(at(State::Running, 3))), Ok(None), Ok(Some(at(State::Finished, 3)))]);
    let (ended, _) = played(&script, quick(), &CancellationToken::new()).await;
    assert!(matches!(ended.outcome, Outcome::Finished));
}

#[tokio::test]
async fn a_job_that_runs_and_does_nothing_is_told_once() {
    let mut looks = vec![Ok(Some(at(State::Running, 3)))];
    looks.extend((0..100).map(|_| Ok(Some(at(State::Running, 3)))));
    looks.extend([Ok(Some(at(State::Running, 4))), Ok(Some(at(State::Finished, 4)))]);
    let (ended, told) = played(&Scripted::new(looks), quick(), &CancellationToken::new()).await;
    assert_eq!(told, ["Stalled", "Moving"]);
    assert!(ended.warnings[0].contains("RUNNING on flink and nothing moved"), "{:?}", ended.warnings);
    // One that waits for a place is not stalled.
    let mut looks: Vec<_> = (0..100).map(|_| Ok(Some(at(State::Waiting, 0)))).collect();
    looks.push(Ok(Some(at(State::Finished, 0))));
    let (_, told) = played(&Scripted::new(looks), quick(), &CancellationToken::new()).await;
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_job_that_was_begun_again_is_told() {
    let restarted = |look: Look, times| Some(Look { restarts: Some(times), ..look });
    let script = Scripted::new([
        Ok(restarted(at(State::Running, 3), 0)),
        Ok(restarted(at(State::Restarting, 3), 1)),
        Ok(restarted(at(State::Running, 0), 1)),
        Ok(restarted(at(State::Finished, 5), 1)),
    ]);
    let (ended, told) = played(&script, quick(), &CancellationToken::new()).await;
    assert_eq!((told, ended.warnings.len()), (vec!["Restarted".to_owned()], 1));
    let script =
        Scripted::new([Ok(Some(at(State::Running, 3))), Ok(Some(at(State::Running, 1))), Ok(Some(at(State::Finished, 5)))]);
    assert_eq!(played(&script, quick(), &CancellationToken::new()).await.1, ["Restarted"], "counters that go back say it too");
}

#[tokio::test]
async fn a_stop_is_waited_for() {
    let stop = CancellationToken::new();
    stop.cancel();
    let running = || [Ok(Some(at(State::Running, 3)))];
    let script = Scripted::new(running()).after_stop(at(State::Cancelled, 3));
    let (ended, told) = played(&script, quick(), &stop).await;
    assert!(matches!(ended.outcome, Outcome::Cancelled) && ended.settled, "{ended:?}");
    assert_eq!((told, script.asked()), (vec!["Stopping".to_owned()], vec!["cancel".to_owned()]));
    let script = Scripted::new(running()).after_stop(at(State::Finished, 3));
    let (ended, _) = played(&script, Watch { on_stop: OnStop::Suspend, ..quick() }, &stop).await;
    assert!(matches!(&ended.outcome, Outcome::Suspended(Savepoint(place)) if place == "there"), "{ended:?}");
    let script = Scripted::new(running()).after_stop(at(State::Stopping, 3));
    let (ended, _) = played(&script, quick(), &stop).await;
    assert_eq!((error(&ended).code(), ended.settled), ("WEIR-LAUNCH-015", false));
}

#[tokio::test]
async fn whoever_else_stops_it_is_not_us() {
    let (ended, _) = played(&Scripted::new([Ok(Some(at(State::Cancelled, 3)))]), quick(), &CancellationToken::new()).await;
    assert_eq!(error(&ended).code(), "WEIR-LAUNCH-014");
    let failed = Look { error: Some("ERROR: relation \"t\" does not exist".into()), ..at(State::Failed, 3) };
    let (ended, _) = played(&Scripted::new([Ok(Some(failed))]), quick(), &CancellationToken::new()).await;
    assert_eq!((error(&ended).code(), error(&ended).kind()), ("WEIR-LAUNCH-013", Kind::NotFound));
    let (ended, _) = played(&Scripted::new([Err("never")]), quick(), &CancellationToken::new()).await;
    assert_eq!((error(&ended).exit_code(), ended.settled), (3, false));
}
