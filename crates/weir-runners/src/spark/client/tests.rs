//! A `spark-submit` that is a shell script: what is tested is how a process is started, stopped and understood. The real one is in tests/engines.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_error::Secret;

use super::*;
use crate::client::{Ended, Event, File, OnStop, Outcome, Watch, follow};

const EVENTS: &str = r#"{"Event":"SparkListenerApplicationStart"}
{"Event":"SparkListenerTaskEnd","Task End Reason":{"Reason":"Success"},"Task Metrics":{"Input Metrics":{"Bytes Read":90,"Records Read":9},"Output Metrics":{"Bytes Written":70,"Records Written":7}}}
{"Event":"SparkListenerTaskEnd","Task End Reason":{"Reason":"TaskKilled"},"Task Metrics":{"Input Metrics":{"Bytes Read":5,"Records Read":5}}}
"#;

/// A Spark whose jobs are this script. It knows the folder of its job as the working folder.
fn spark(dir: &Path, script: &str) -> SparkClient {
    let home = dir.join("spark");
    std::fs::create_dir_all(home.join("bin")).unwrap();
    std::fs::create_dir_all(home.join("jars")).unwrap();
    std::fs::write(home.join("jars/spark-core_2.13-4.3.0.jar"), "").unwrap();
    let submit = home.join("bin/spark-submit");
    std::fs::write(&submit, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&submit, std::fs::Permissions::from_mode(0o755)).unwrap();
    SparkClient::new(&home, "local[1]", BTreeMap::new(), &dir.join("jobs")).unwrap()
}

fn job() -> Submission {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Submission {
        name: "orders".into(),
        run_id: NEXT.fetch_add(1, Ordering::Relaxed).to_string(),
        files: vec![File { name: "job.py".into(), text: "print()\n".into() }],
        variables: BTreeMap::from([("PW".to_owned(), Secret::new("hunter2-spark"))]),
        ..Submission::default()
    }
}

/// A job to its end; with `stop` it is stopped, in this way, once it runs.
async fn run(client: &SparkClient, stop: Option<OnStop>) -> (Job, Ended) {
    let submitted = client.submit(&job()).await.unwrap();
    let watch = Watch { every: Duration::from_millis(5), on_stop: stop.unwrap_or(OnStop::Cancel), ..Watch::default() };
    let token = CancellationToken::new();
    let mut tell = |event: Event<'_>| {
        if matches!(event, Event::Look(look) if look.state == State::Running) && stop.is_some() {
            token.cancel();
        }
    };
    let ended = follow(client, &submitted, &watch, &token, &mut tell).await;
    (submitted, ended)
}

#[tokio::test]
async fn rows_are_counted_from_the_log_of_events_and_secrets_stay_in_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "cat >events/.app.crc </dev/null\ncat >events/app <<'X'\n{EVENTS}X\n[ \"$PW\" = hunter2-spark ] && [ -z \"$WEIR_SECRET_KEY\" ]\n"
    );
    let client = spark(dir.path(), &script);
    assert_eq!(client.version().await.unwrap(), "4.3.0");
    let (submitted, ended) = run(&client, None).await;
    assert!(matches!(ended.outcome, Outcome::Finished), "{ended:?}");
    let last = ended.last.unwrap();
    assert_eq!((last.rows_read, last.rows_written, last.bytes_written), (Some(9), Some(7), Some(70)));
    let folder = client.folder(&submitted);
    for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter2"), "{}", file.display());
    }
}

#[tokio::test]
async fn a_failure_is_told_by_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo 'Traceback (most recent call last):'\necho 'pyspark.errors.exceptions.captured.AnalysisException: [PATH_NOT_FOUND] Path does not exist: file:/x'\nexit 1\n";
    let client = spark(dir.path(), script);
    let (submitted, ended) = run(&client, None).await;
    let Outcome::Failed(error) = &ended.outcome else { panic!("{ended:?}") };
    assert_eq!((error.kind(), error.why()), (Kind::NotFound, Some("[PATH_NOT_FOUND] Path does not exist: file:/x")));
    assert_eq!(client.logs(&submitted).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_job_that_is_stopped_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    // As Spark does: the signal is heard, and the end takes a moment.
    let script =
        format!("trap 'echo bye; exit 143' TERM\ncat >events/app.inprogress <<'X'\n{EVENTS}X\nwhile :; do sleep 0.05; done\n");
    for (on_stop, suspended) in [(OnStop::Cancel, false), (OnStop::Suspend, true)] {
        let client = spark(dir.path(), &script);
        let (submitted, ended) = run(&client, Some(on_stop)).await;
        match ended.outcome {
            Outcome::Cancelled => assert!(!suspended),
            Outcome::Suspended(_) => assert!(suspended),
            other => panic!("{other:?}"),
        }
        let log = client.logs(&submitted).await.unwrap();
        assert_eq!(log.last().map(String::as_str), Some("bye"), "it was let end by itself");
        assert!(alive(&client.folder(&submitted)).is_none());
    }
}

#[tokio::test]
async fn a_job_that_is_killed_says_so_and_one_that_never_was_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let client = spark(dir.path(), "kill -9 $$\n");
    let (_, ended) = run(&client, None).await;
    let Outcome::Failed(error) = &ended.outcome else { panic!("{ended:?}") };
    assert!(error.why().unwrap().contains("killed (signal 9)"), "{error}");
    assert_eq!(client.look(&Job::one("spark-other")).await.unwrap(), None);
    // Everything was killed at once, the shell too: no exit code.
    let folder = dir.path().join("jobs/spark-dead");
    std::fs::create_dir_all(folder.join("events")).unwrap();
    std::fs::write(folder.join("pid"), std::process::id().to_string()).unwrap();
    let look = client.look(&Job::one("spark-dead")).await.unwrap().unwrap();
    assert_eq!(look.state, State::Failed, "another process with that number is not it");
    assert!(look.error.unwrap().contains("gone without an exit code"));
    let nowhere = SparkClient::new(&dir.path().join("none"), "local[1]", BTreeMap::new(), dir.path()).unwrap();
    assert_eq!(nowhere.submit(&job()).await.unwrap_err().exit_code(), 3);
}

#[test]
fn half_a_line_is_read_when_it_is_whole_and_a_renamed_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let growing = dir.path().join("app.inprogress");
    let (first, rest) = EVENTS.split_at(60);
    let mut events = Events::default();
    events.read(dir.path()).unwrap();
    std::fs::write(&growing, first).unwrap();
    events.read(dir.path()).unwrap();
    assert_eq!(events.counted(Look::new(State::Running, "")).rows_read, Some(0));
    std::fs::write(dir.path().join("app"), format!("{first}{rest}")).unwrap();
    std::fs::remove_file(&growing).unwrap();
    events.read(dir.path()).unwrap();
    events.read(dir.path()).unwrap();
    assert_eq!(events.counted(Look::new(State::Running, "")).rows_read, Some(9));
}
