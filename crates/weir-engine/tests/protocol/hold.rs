//! `on_schema_change: hold`: a stream that waits, beside one that goes on, cut at every single operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_connect::{Op, SchemaChangePolicy};
use weir_engine::journal::Journals;
use weir_engine::{Reporter, RunEvent, RunReport, RunStatus, back, hold, look};
use weir_spec::{JournalPolicy, WhenFull};

use crate::changes::{Histories, Rig, STREAMS, transaction};
use crate::journal::{pipeline, small};

type History = BTreeMap<(String, i64), Vec<Option<i64>>>;

/// What the first transactions did to one stream.
fn of(stream: usize, transactions: u64) -> History {
    let mut history = History::new();
    for (at, op, key, value) in (1..=transactions).flat_map(transaction).filter(|change| change.0 == stream) {
        history.entry((STREAMS[at].into(), key)).or_default().push((op != Op::Delete).then_some(value));
    }
    history
}

fn seen(sink: &Histories, stream: usize) -> History {
    let world = sink.world.lock().unwrap();
    world.history.iter().filter(|((name, _), _)| name == STREAMS[stream]).map(|(at, seen)| (at.clone(), seen.clone())).collect()
}

const LAST: u64 = 10;
const WIDENS: u64 = 8;

/// `a` stands before the change of its shape, `b` has everything, and the run says so.
fn check_waiting(rig: &Rig, report: &RunReport, told: &str) {
    let error = report.error.as_ref().unwrap_or_else(|| panic!("{told}: it ended as {:?}", report.status));
    assert_eq!((error.code, report.exit_code()), (hold::HELD, 5), "{told}: {error:?}");
    assert_eq!(report.held.len(), rig.sinks.len(), "{told}");
    for (sink, held) in rig.sinks.iter().zip(&report.held) {
        assert_eq!((held.stream.as_str(), held.changes.as_slice()), ("a", &["add column extra Int64".to_owned()][..]), "{told}");
        assert_eq!(seen(sink, 1), of(1, LAST), "{told}: the other stream goes on");
        let applied =
            (0..WIDENS).find(|last| seen(sink, 0) == of(0, *last)).unwrap_or_else(|| panic!("{told}: {:?}", seen(sink, 0)));
        // A boundary comes after every third transaction at least.
        assert!(applied + 3 >= WIDENS, "{told}: {applied}");
        let waits = (applied + 1..=LAST).flat_map(transaction).filter(|change| change.0 == 0).count() as u64;
        let dead = (applied + 1..=LAST).filter(|n| n % 5 == 4).count() as u64;
        assert_eq!(held.rows, waits + dead, "{told}: {held:?}");
        assert_eq!(sink.world.lock().unwrap().columns["a"].len(), 2, "{told}: the target was altered");
    }
    assert_eq!(rig.source.acknowledged.load(Ordering::SeqCst), LAST, "{told}: the source was told");
}

async fn check_done(rig: &Rig, report: &RunReport, told: &str) {
    assert_eq!(report.status, RunStatus::Succeeded, "{told}: {:?}", report.error);
    rig.check(told).await;
    assert!(report.held.is_empty(), "{told}: {:?}", report.held);
    let read: u64 = report.streams.iter().map(|stream| stream.rows_read).sum();
    let changes: u64 = (1..=LAST).map(|n| transaction(n).len() as u64 + u64::from(n % 5 == 4)).sum();
    assert_eq!(read, changes, "{told}");
    for stream in &report.streams {
        let out = stream.rows_written + stream.rows_filtered + stream.rows_dead;
        assert_eq!(stream.rows_read + stream.rows_derived, out, "{told}: {stream:?}");
        assert!(rig.sinks.len() > 1 || stream.rows_derived == 0, "{told}: {stream:?}");
    }
    for sink in &rig.sinks {
        assert_eq!(sink.world.lock().unwrap().columns["a"].len(), 3, "{told}");
    }
}

/// An attempt that may be cut, and what the one after it comes to. Whether there was such an operation.
async fn cut(rig: &Rig, nth: i64, after: bool, crashes: &mut usize) -> (RunReport, bool) {
    rig.faults.arm(nth, after);
    let report = rig.attempt().await;
    let hit = rig.faults.hit.load(Ordering::SeqCst);
    rig.faults.arm(-1, false);
    if report.status == RunStatus::Succeeded || report.error.as_ref().is_some_and(|error| error.code == hold::HELD) {
        return (report, hit);
    }
    assert!(hit, "{:?}", report.error);
    *crashes += 1;
    (rig.attempt().await, hit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_in_a_bucket_as_in_a_folder() {
    let mut rig = Rig::holding(2, LAST, WIDENS).shelved();
    rig.journal = None;
    let report = rig.attempt().await;
    check_waiting(&rig, &report, "in a bucket");
    let at = Journals::new(rig.folder.path(), rig.shelf.clone().map(|shelf| shelf as Arc<dyn weir_connect::Objects>));
    let view = look::journals(at.clone(), &pipeline(2)).await.unwrap();
    assert_eq!(view.journals[0].sinks[0].held[0].stream, "a");
    assert_eq!(hold::approve(at, &pipeline(2), "a").await.unwrap().len(), 2);
    assert!(!rig.folder.path().join("journal").exists());
    let report = rig.attempt().await;
    check_done(&rig, &report, "in a bucket").await;
}

async fn survives(sinks: usize, approved: impl AsyncFn(&mut Rig)) {
    let mut crashes = 0;
    for waiting in [true, false] {
        for after in [false, true] {
            for nth in 1.. {
                let told = format!("operation {nth}, after={after}, waiting={waiting}");
                let mut rig = Rig::holding(sinks, LAST, WIDENS);
                let (report, before) = cut(&rig, if waiting { nth } else { -1 }, after, &mut crashes).await;
                check_waiting(&rig, &report, &told);
                approved(&mut rig).await;
                let (report, then) = cut(&rig, if waiting { -1 } else { nth }, after, &mut crashes).await;
                check_done(&rig, &report, &told).await;
                if !before && !then {
                    break;
                }
            }
        }
    }
    assert!(crashes > 40, "only {crashes} places to crash at");
}

async fn by_command(rig: &mut Rig) {
    let approved = hold::approve(rig.folder.path(), &pipeline(rig.sinks.len()), "a").await.unwrap();
    assert_eq!(approved.len(), rig.sinks.len());
}

fn fit(sinks: &[Arc<Histories>]) {
    for sink in sinks {
        let mut world = sink.world.lock().unwrap();
        let columns = world.columns.get_mut("a").unwrap();
        if columns.len() == 2 {
            columns.push("extra".into());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_waits_and_is_approved_is_exact_after_a_crash_at_every_operation() {
    survives(1, by_command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_waits_at_two_sinks_is_exact_after_a_crash_at_every_operation() {
    survives(2, by_command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_fitted_by_hand_is_exact_after_a_crash_at_every_operation() {
    survives(1, async |rig: &mut Rig| fit(&rig.sinks)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_contract_lets_a_stream_go_on() {
    let mut rig = Rig::holding(2, LAST, WIDENS);
    for _ in 0..2 {
        let report = rig.attempt().await;
        check_waiting(&rig, &report, "hold");
    }
    rig.contract = SchemaChangePolicy::Evolve;
    check_done(&rig, &rig.attempt().await, "evolve").await;
    rig.contract = SchemaChangePolicy::Hold;
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded, "the next run is not held by what was approved");
}

/// Acts when a stream is said to wait.
struct WhenHeld<F: FnMut() + Send>(F);

impl<F: FnMut() + Send> Reporter for WhenHeld<F> {
    fn event(&mut self, event: &RunEvent) {
        if matches!(event, RunEvent::Warning { message } if message.contains("waits for an approval")) {
            (self.0)();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_notices_that_a_target_was_fitted() {
    let mut rig = Rig::holding(1, LAST, WIDENS);
    Arc::get_mut(&mut rig.source).unwrap().endless = true;
    let (stop, sinks) = (CancellationToken::new(), rig.sinks.clone());
    let mut fits = WhenHeld(|| fit(&sinks));
    let arrived = async {
        let sink = &rig.sinks[0];
        while seen(sink, 0) != of(0, LAST) {
            sink.flushed.notified().await;
        }
        stop.cancel();
    };
    let both = futures::future::join(rig.attempt_with(&mut fits, stop.clone()), arrived);
    let (report, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it is noticed");
    assert_eq!(report.status, RunStatus::Interrupted, "{:?}", report.error);
    assert!(report.held.is_empty() && report.warnings.iter().any(|text| text.contains("goes on")), "{:?}", report.warnings);
    rig.check("fitted while it runs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_refuses_goes_on_waiting_and_says_why() {
    let rig = Rig::holding(1, LAST, WIDENS);
    let state = rig.folder.path();
    assert_eq!(hold::approve(state, &pipeline(1), "a").await.unwrap_err().code(), "WEIR-JOURNAL-015");
    check_waiting(&rig, &rig.attempt().await, "first");
    assert_eq!(hold::approve(state, &pipeline(1), "b").await.unwrap_err().code(), "WEIR-JOURNAL-015");
    assert_eq!(back::set_back(state, &pipeline(1), 1, None).await.unwrap_err().code(), "WEIR-JOURNAL-014");
    rig.sinks[0].world.lock().unwrap().stubborn = true;
    hold::approve(state, &pipeline(1), "a").await.unwrap();
    let refused = rig.attempt().await;
    let problem = refused.held[0].problem.clone().unwrap_or_default();
    assert!(problem.contains("lacks [\"extra\"]"), "{refused:?}");
    assert_eq!((refused.exit_code(), seen(&rig.sinks[0], 1)), (5, of(1, LAST)));
    // It waits as long as nobody approves it again.
    rig.sinks[0].world.lock().unwrap().stubborn = false;
    let waits = rig.attempt().await;
    assert_eq!(waits.held[0].problem, Some(problem));
    let listed = look::journals(state, &pipeline(1)).await.unwrap();
    assert_eq!(listed.journals[0].sinks[0].held, waits.held);
    hold::approve(state, &pipeline(1), "a").await.unwrap();
    check_done(&rig, &rig.attempt().await, "approved again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_stays_in_the_journal_and_counts_for_its_limit() {
    let many = 1_000;
    let mut rig = Rig { journal: small(WhenFull::Fail), ..Rig::holding(1, many, WIDENS) };
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-JOURNAL-004");
    // The sinks get what is there first, and that makes no room.
    let full = rig.attempt().await.error.unwrap();
    assert_eq!(full.code, "WEIR-JOURNAL-004");
    assert!(full.cause.as_ref().is_some_and(|cause| cause.contains("(on_schema_change: hold): `a`")), "{full:?}");
    rig.journal = Some(JournalPolicy { max_bytes: 256 << 20, when_full: WhenFull::Fail, ..JournalPolicy::default() });
    let report = rig.attempt().await;
    assert_eq!((report.exit_code(), report.held.len()), (5, 1), "{:?}", report.error);
    assert_eq!(seen(&rig.sinks[0], 1), of(1, many));
    let held = &look::journals(rig.folder.path(), &pipeline(1)).await.unwrap().journals[0];
    assert!(held.segments.len() > 1 && held.first < WIDENS, "{} segments from {}", held.segments.len(), held.first);
    hold::approve(rig.folder.path(), &pipeline(1), "a").await.unwrap();
    let report = rig.attempt().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    rig.check("a long wait").await;
    let after = &look::journals(rig.folder.path(), &pipeline(1)).await.unwrap().journals[0];
    assert_eq!(after.segments.len(), 1, "what nobody needs is let go");
}
