//! The journal at its limit, looked at, and sinks that go back in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_connect::{Op, SnapshotAgain};
use weir_engine::codec::Record;
use weir_engine::journal::{JournalPlace, Journals};
use weir_engine::store::StateStore;
use weir_engine::{Reporter, RunEvent, RunStatus, again, back, look};
use weir_spec::{JournalPolicy, Keep, Pipeline, WhenFull};

use crate::changes::{Histories, Rig, STREAMS, rows_after, transaction};
use crate::journal_suite;
use crate::objects::Shelf;

/// Lets the sinks go on once the journal is said to be full.
struct Release {
    sinks: Vec<Arc<Histories>>,
    waited: bool,
}

impl Reporter for Release {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Warning { message } if message.contains("nothing more is read") => {
                self.sinks.iter().for_each(|sink| sink.hold(false));
            }
            RunEvent::Progress(progress) => self.waited |= progress.journal.is_some_and(|journal| journal.waiting),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_in_a_folder_passes_the_suite() {
    let folder = weir_testkit::memory_folder();
    let count = std::cell::Cell::new(0);
    let place = || {
        count.set(count.get() + 1);
        JournalPlace::Folder(folder.path().join(count.get().to_string()))
    };
    journal_suite::passes(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_objects_passes_the_suite() {
    journal_suite::passes(|| JournalPlace::Objects(Shelf::new(), "p/s".into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_in_a_bucket_is_looked_at_and_gone_back_in_from_elsewhere() {
    let policy = JournalPolicy { keep: Some(Keep::Ms(3_600_000)), ..JournalPolicy::default() };
    let rig = Rig { journal: Some(policy), ..Rig::new(1, 11, false).shelved() };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let at = Journals::new(rig.folder.path(), rig.shelf.clone().map(|shelf| shelf as Arc<dyn weir_connect::Objects>));
    let found = look::journals(at.clone(), &pipeline(1)).await.unwrap();
    assert_eq!((found.journals[0].last, &*found.journals[0].folder), (11, "shelf://log/source"));
    let changes: u64 = (1..=11).map(|n| transaction(n).len() as u64).sum();
    let mut records = look::records(at.clone(), &pipeline(1), "source", 0).await.unwrap();
    let mut read = 0;
    while let Some((_, record)) = records.read().await.unwrap() {
        if let Record::Changes(batch) = record {
            read += batch.ops.len() as u64;
        }
    }
    assert_eq!(read, changes);
    back::set_back(at.clone(), &pipeline(1), 5, None).await.unwrap();
    let again = rig.attempt().await;
    assert_eq!(again.status, RunStatus::Succeeded, "{:?}", again.error);
    let mut expected = since(0, 11);
    since(5, 11).into_iter().for_each(|(key, values)| expected.entry(key).or_default().extend(values));
    assert_eq!(rig.sinks[0].world.lock().unwrap().history, expected);
    at.clear(&pipeline(1)).await.unwrap();
    assert!(look::journals(at, &pipeline(1)).await.unwrap().journals.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_in_a_bucket_waits_for_the_sinks_and_goes_on() {
    let policy = Some(JournalPolicy { max_bytes: 32 << 10, ..JournalPolicy::default() });
    let rig = Rig { journal: policy, checkpoint_interval: Duration::from_secs(3600), ..Rig::new(2, 300, false).shelved() };
    rig.sinks[1].hold(true);
    let mut release = Release { sinks: rig.sinks.clone(), waited: false };
    let report = rig.attempt_told(&mut release).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert!(report.warnings.iter().any(|warning| warning.contains("32KiB")), "{:?}", report.warnings);
    rig.check("waited").await;
}

pub(crate) fn small(when_full: WhenFull) -> Option<JournalPolicy> {
    Some(JournalPolicy { max_bytes: 32 << 10, when_full, ..JournalPolicy::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_waits_for_the_sinks_and_goes_on() {
    // No checkpoint comes by itself: the sinks must hear that the journal needs room.
    let rig = Rig { journal: small(WhenFull::Wait), checkpoint_interval: Duration::from_secs(3600), ..Rig::new(2, 300, false) };
    rig.sinks[1].hold(true);
    let mut release = Release { sinks: rig.sinks.clone(), waited: false };
    let report = rig.attempt_told(&mut release).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert!(report.warnings.iter().any(|warning| warning.contains("32KiB")), "{:?}", report.warnings);
    rig.check("waited").await;
    let journal = &look::journals(rig.folder.path(), &pipeline(2)).await.unwrap().journals[0];
    // The limit, one segment and one transaction.
    assert!(journal.bytes < 48 << 10, "{journal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_ends_the_run_if_it_is_told_to_and_the_next_one_drains_it_first() {
    let mut rig = Rig { journal: small(WhenFull::Fail), ..Rig::new(1, 300, false) };
    rig.sinks[0].hold(true);
    let report = rig.attempt().await;
    let error = report.error.unwrap();
    assert_eq!((report.status, error.code), (RunStatus::Failed, "WEIR-JOURNAL-004"));
    rig.sinks[0].hold(false);
    rig.journal = small(WhenFull::Wait);
    let report = rig.attempt().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    rig.check("failed, then drained").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_fails_while_the_source_waits_ends_the_run() {
    let rig = Rig { journal: small(WhenFull::Wait), ..Rig::new(1, 300, false) };
    rig.sinks[0].hold(true);
    // The one that waits is told first, then every operation fails.
    struct Break<'a>(&'a Rig);
    impl Reporter for Break<'_> {
        fn event(&mut self, event: &RunEvent) {
            if matches!(event, RunEvent::Warning { message } if message.contains("nothing more is read")) {
                self.0.faults.arm(1, false);
                self.0.sinks[0].hold(false);
            }
        }
    }
    let report = rig.attempt_told(&mut Break(&rig)).await;
    assert_eq!(report.status, RunStatus::Failed);
    rig.faults.arm(-1, false);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    rig.check("broken while full").await;
}

pub(crate) fn pipeline(sinks: usize) -> Pipeline {
    let node = |name: &str, role: &str| json!({"name": name, "role": role, "kind": "x", "inputs": [], "options": {}});
    let mut nodes = vec![node("source", "source")];
    nodes.extend((0..sinks).map(|at| node(&format!("sink{at}"), "sink")));
    serde_json::from_value(json!({
        "name": "log", "mode": "cdc", "nodes": nodes, "connections": {}, "on_loss": {}, "alerts": [], "labels": {},
        "dead_letters": {"allow": 0}
    }))
    .unwrap()
}

type History = BTreeMap<(String, i64), Vec<Option<i64>>>;

/// What the transactions after this one did.
fn since(boundary: u64, last: u64) -> History {
    let mut all = History::new();
    for n in boundary + 1..=last {
        for (stream, op, key, value) in transaction(n) {
            let seen = (op != Op::Delete).then_some(value);
            all.entry((STREAMS[stream].into(), key)).or_default().push(seen);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_set_back_gets_once_more_what_came_after() {
    let rig = Rig::new(2, 11, false);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let (folder, pipeline) = (rig.folder.path(), pipeline(2));

    let found = look::journals(folder, &pipeline).await.unwrap();
    let journal = &found.journals[0];
    // The first opening has a boundary after every transaction.
    assert_eq!((found.running, journal.first, journal.last), (false, 0, 11));
    let changes: u64 = (1..=11).map(|n| transaction(n).len() as u64).sum();
    assert_eq!(journal.segments[0].changes, changes);
    assert_eq!(journal.streams.iter().map(|stream| stream.updates + stream.deletes).sum::<u64>(), changes);
    assert_eq!(journal.streams[0].dead, 2);
    assert_eq!(journal.sinks.iter().map(|sink| (sink.seq, sink.behind)).collect::<Vec<_>>(), [(Some(11), 0), (Some(11), 0)]);
    let mut records = look::records(folder, &pipeline, "source", 4).await.unwrap();
    let mut read = 0;
    while let Some((seq, record)) = records.read().await.unwrap() {
        let Record::Changes(batch) = record else { continue };
        assert_eq!(seq.to_string(), *batch.transactions[0].position);
        read += batch.ops.len();
    }
    assert_eq!(read, (5..=11).map(|n| transaction(n).len()).sum::<usize>());

    let done = back::set_back(folder, &pipeline, 5, Some("sink0")).await.unwrap();
    assert_eq!((done.len(), done[0].was, done[0].now), (1, 11, 5));
    let again = rig.attempt().await;
    assert_eq!(again.status, RunStatus::Succeeded, "{:?}", again.error);
    let once: History = rig.sinks[1].world.lock().unwrap().history.clone();
    let mut twice = once.clone();
    for (key, values) in since(5, 11) {
        twice.get_mut(&key).unwrap().extend(values);
    }
    assert_eq!(rig.sinks[0].world.lock().unwrap().history, twice);
    assert_eq!(once, since(0, 11), "the other sink got nothing");
    // It is where it was: nothing more comes.
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    assert_eq!(rig.sinks[0].world.lock().unwrap().history, twice);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_set_back_gets_everything_whatever_crashes_meanwhile() {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let told = format!("operation {nth}, after={after}");
            let rig = Rig::new(2, 11, false);
            assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
            back::set_back(rig.folder.path(), &pipeline(2), 5, None).await.unwrap();
            let before = rig.sinks[0].world.lock().unwrap().history.clone();
            rig.faults.arm(nth, after);
            let mut last = rig.attempt().await;
            let hit = rig.faults.hit.load(Ordering::SeqCst);
            if last.status == RunStatus::Failed {
                crashes += 1;
                rig.faults.arm(-1, false);
                last = rig.attempt().await;
            }
            assert_eq!(last.status, RunStatus::Succeeded, "{told}: {:?}", last.error);
            for sink in &rig.sinks {
                let world = sink.world.lock().unwrap();
                for (key, values) in since(5, 11) {
                    // What was applied before the crash may come a second time; the end of it is the end of the log.
                    let new = &world.history[&key][before[&key].len()..];
                    assert!(new.ends_with(&values[values.len() - 1..]), "{told}: {key:?} got {new:?}");
                    assert!(values.iter().all(|value| new.contains(value)), "{told}: {key:?} got {new:?} of {values:?}");
                }
            }
            if !hit {
                break;
            }
        }
    }
    assert!(crashes > 20, "only {crashes} places to crash at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_is_not_set_back_to_where_it_cannot_go() {
    let rig = Rig { journal: small(WhenFull::Wait), ..Rig::new(1, 300, false) };
    let (folder, pipeline) = (rig.folder.path(), pipeline(1));
    let refused = async |from, sink| back::set_back(folder, &pipeline, from, sink).await.unwrap_err().code().to_owned();
    assert_eq!(refused(0, None).await, "WEIR-JOURNAL-006");
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    assert_eq!(refused(0, None).await, "WEIR-JOURNAL-005", "it was trimmed");
    assert_eq!(refused(301, None).await, "WEIR-JOURNAL-009");
    assert_eq!(refused(299, Some("nobody")).await, "WEIR-JOURNAL-010");
    let lock = std::fs::File::create(folder.join("log.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(refused(299, None).await, "WEIR-RUN-010");
    drop(lock);
    let mut appends = pipeline.clone();
    appends.nodes[1].options = json!({"write_mode": "append"});
    assert_eq!(back::set_back(folder, &appends, 299, None).await.unwrap_err().code(), "WEIR-JOURNAL-011");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_can_be_gone_back_to() {
    let keep = Some(Keep::Ms(3_600_000));
    let policy = JournalPolicy { max_bytes: 16 << 20, keep, ..JournalPolicy::default() };
    let rig = Rig { journal: Some(policy), ..Rig::new(1, 30, false) };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    back::set_back(rig.folder.path(), &pipeline(1), 0, None).await.unwrap();
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let once = since(0, 30);
    for (key, history) in &rig.sinks[0].world.lock().unwrap().history {
        assert_eq!(*history, [once[key].clone(), once[key].clone()].concat());
    }
}

/// What a sink shows by now.
fn shown(sink: &Histories) -> BTreeMap<(usize, i64), i64> {
    let world = sink.world.lock().unwrap();
    let at = |name: &str| STREAMS.iter().position(|stream| *stream == name).unwrap();
    world.history.iter().filter_map(|((stream, key), values)| Some(((at(stream), *key), (*values.last()?)?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_joins_a_log_that_has_begun_gets_the_snapshot_and_the_others_stay_as_they_are() {
    let mut rig = Rig { journal: small(WhenFull::Wait), ..Rig::new(1, 300, false) };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    rig.sinks.push(Rig::new(1, 0, false).sinks.remove(0));
    rig.more(310);
    let report = rig.attempt().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert!(report.warnings.iter().any(|warning| warning.contains("sink1")), "{:?}", report.warnings);
    for sink in &rig.sinks {
        assert_eq!(shown(sink), rows_after(310));
    }
    let before = rig.sinks[1].world.lock().unwrap().history.clone();
    let again = rig.attempt().await;
    assert_eq!((again.status, again.warnings.len()), (RunStatus::Succeeded, 0), "{again:?}");
    assert_eq!(rig.sinks[1].world.lock().unwrap().history, before, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_joins_gets_everything_whatever_crashes_meanwhile() {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let told = format!("operation {nth}, after={after}");
            // A run that was stopped, and a journal that has let go of its beginning.
            let mut rig = Rig::new(1, 9, false).shelved();
            assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
            rig.sinks.push(rig.another_sink());
            rig.more(14);
            rig.faults.arm(nth, after);
            let mut last = rig.attempt().await;
            let hit = rig.faults.hit.load(Ordering::SeqCst);
            rig.faults.arm(-1, false);
            if last.status == RunStatus::Failed {
                crashes += 1;
                last = rig.attempt().await;
            }
            assert_eq!(last.status, RunStatus::Succeeded, "{told}: {:?}", last.error);
            for sink in &rig.sinks {
                assert_eq!(shown(sink), rows_after(14), "{told}");
            }
            if !hit {
                break;
            }
        }
    }
    assert!(crashes > 20, "only {crashes} places to crash at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snapshot_of_a_stream_is_taken_once_more_behind_what_the_journal_holds() {
    let mut rig = Rig::new(1, 11, false);
    let (folder, pipeline) = (rig.folder.path().to_owned(), pipeline(1));
    let wanted = [SnapshotAgain { stream: "a".into(), only: None }];
    let source = rig.source.clone();
    let ask = || again::snapshot(&folder, &pipeline, "source", &*source, &wanted);
    assert_eq!(ask().await.unwrap_err().code(), "WEIR-JOURNAL-024");
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    assert!(!ask().await.unwrap().running);
    let lock = std::fs::File::create(folder.join("log.lock")).unwrap();
    lock.lock().unwrap();
    assert!(ask().await.unwrap().running, "asking twice is asking once");
    drop(lock);
    rig.more(20);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let mut expected = since(0, 11);
    for ((stream, key), value) in rows_after(11).into_iter().filter(|((stream, _), _)| *stream == 0) {
        expected.entry((STREAMS[stream].into(), key)).or_default().push(Some(value));
    }
    since(11, 20).into_iter().for_each(|(key, values)| expected.entry(key).or_default().extend(values));
    assert_eq!(rig.sinks[0].world.lock().unwrap().history, expected);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    assert_eq!(rig.sinks[0].world.lock().unwrap().history, expected, "it was done once");
}

/// Every value that a stream ever had in a sink, by key.
fn histories(sink: &Histories, stream: usize) -> BTreeMap<i64, Vec<Option<i64>>> {
    let world = sink.world.lock().unwrap();
    let of = world.history.iter().filter(|((name, _), _)| name == STREAMS[stream]);
    of.map(|((_, key), values)| (*key, values.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_takes_a_snapshot_once_more_when_it_is_asked_for_one() {
    let mut rig = Rig::new(2, 11, false);
    rig.sinks[1] = rig.another_sink();
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let before: Vec<_> = rig.sinks.iter().map(|sink| histories(sink, 0)).collect();
    Arc::get_mut(&mut rig.source).unwrap().endless = true;
    let (folder, pipeline) = (rig.folder.path().to_owned(), pipeline(2));
    let stop = CancellationToken::new();
    let wanted = [SnapshotAgain { stream: "a".into(), only: None }];
    let asked = async {
        for round in 1..=2 {
            let done = |sink: &Histories, before: &BTreeMap<i64, Vec<Option<i64>>>| {
                let rows = rows_after(11).into_keys().filter(|(stream, _)| *stream == 0);
                let now = histories(sink, 0);
                rows.into_iter().all(|(_, key)| now[&key].len() == before[&key].len() + round)
            };
            again::snapshot(&folder, &pipeline, "source", &*rig.source, &wanted).await.unwrap();
            for (sink, before) in rig.sinks.iter().zip(&before) {
                while !done(sink, before) {
                    sink.flushed.notified().await;
                }
            }
        }
        stop.cancel();
    };
    let both = futures::future::join(rig.attempt_until(stop.clone()), asked);
    let (report, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it is noticed");
    assert_eq!(report.status, RunStatus::Interrupted, "{:?}", report.error);
    assert_eq!(report.warnings.iter().filter(|text| text.contains("once more")).count(), 2, "{:?}", report.warnings);
    let store = StateStore::open(&folder).await.unwrap();
    assert_eq!(store.wishes("log", "source").await.unwrap(), []);
    for sink in &rig.sinks {
        assert_eq!(shown(sink), rows_after(11));
        assert_eq!(histories(sink, 1), histories(&rig.sinks[0], 1), "the other stream has what it had");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_done_whatever_crashes_meanwhile() {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let told = format!("operation {nth}, after={after}");
            let mut rig = Rig { wire: true, ..Rig::new(1, 9, false) }.shelved();
            assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
            rig.more(14);
            // Somebody was at the target.
            rig.sinks[0].world.lock().unwrap().history.values_mut().for_each(|values| values.push(Some(-1)));
            let shelf = rig.shelf.clone().map(|shelf| shelf as Arc<dyn weir_connect::Objects>);
            let at = Journals::new(rig.folder.path(), shelf);
            let wanted = STREAMS.map(|stream| SnapshotAgain { stream: stream.into(), only: None });
            again::snapshot(at, &pipeline(1), "source", &*rig.source, &wanted).await.unwrap();
            rig.faults.arm(nth, after);
            let mut last = rig.attempt().await;
            let hit = rig.faults.hit.load(Ordering::SeqCst);
            rig.faults.arm(-1, false);
            if last.status == RunStatus::Failed {
                crashes += 1;
                last = rig.attempt().await;
            }
            assert_eq!(last.status, RunStatus::Succeeded, "{told}: {:?}", last.error);
            let rows = rows_after(14);
            let now = shown(&rig.sinks[0]);
            for (key, value) in &rows {
                assert_eq!(now.get(key), Some(value), "{told}: {key:?}");
            }
            let store = StateStore::open(rig.folder.path()).await.unwrap();
            assert_eq!(store.wishes("log", "source").await.unwrap(), [], "{told}");
            if !hit {
                break;
            }
        }
    }
    assert!(crashes > 20, "only {crashes} places to crash at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_joins_beside_one_that_keeps_every_change_is_refused() {
    let mut rig = Rig { journal: small(WhenFull::Wait), write_mode: weir_connect::WriteMode::Append, ..Rig::new(1, 300, false) };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let late = Rig::new(1, 0, false).sinks.remove(0);
    rig.sinks.push(late);
    let error = rig.attempt().await.error.unwrap();
    assert_eq!(error.code, "WEIR-JOURNAL-013", "{error:?}");
    assert!(rig.sinks[1].world.lock().unwrap().history.is_empty());
    rig.sinks.pop();
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    rig.check("without it").await;
}
