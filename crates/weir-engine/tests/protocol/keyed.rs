//! Streams that keep state over event time, under crashes at every single operation: the same windows as without them.
//!
//! The program counts rows per key and window of three seconds, in the simplest way that uses everything of the interface: changes, prefixes that
//! go, state that was spilled, late rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_connect::Result;
use weir_engine::{Reporter, RunEvent, RunOptions, RunStatus, Silent, run, savepoint};
use weir_plan::keyed::{Emitted, EventTime, KeyedProgram, Operators, StateChange, Stored};
use weir_plan::{RowOutput, RowProgram};

use crate::memory::schema;
use crate::stream::{AtOnce, CoCommitted, EPOCHS, HURRY, Rig, Staged, TURNS, Times, Way, crashes_survived};
use crate::topic::{Topic, broken};

const SECOND: i64 = 1_000_000;
const WINDOW: i64 = 3 * SECOND;

/// A row with this number has no time.
const TIMELESS: i64 = 77;

#[derive(Clone)]
pub struct Counts {
    /// Told apart by it.
    name: &'static str,
    /// What a counter takes in memory.
    weight: usize,
    idle_after: Option<i64>,
    /// Nothing can be spilled.
    stuck: bool,
    spilled: Arc<AtomicUsize>,
}

impl Counts {
    fn new() -> Self {
        Self { name: "counts", weight: 1, idle_after: None, stuck: false, spilled: Arc::default() }
    }
}

fn timed() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("at", time, true)]))
}

/// The second of a row.
fn second(id: i64) -> i64 {
    id % 100
}

/// The window and key that a row belongs to.
fn place(id: i64) -> (i64, u8) {
    (second(id) * SECOND / WINDOW * WINDOW, (id % 2) as u8)
}

/// A window's count as a number for the sinks.
fn number(window: i64, key: u8, count: u64) -> i64 {
    window / SECOND * 10_000 + i64::from(key) * 1_000 + count as i64
}

struct Timed;

impl RowProgram for Timed {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let times = ids.values().iter().map(|id| (second(*id) != TIMELESS).then_some(second(*id) * 1_000));
        let times = Arc::new(TimestampMillisecondArray::from_iter(times));
        let batch = RecordBatch::try_new(timed(), vec![batch.column(0).clone(), times]).unwrap();
        Ok(vec![RowOutput { batch, filtered: 0, dead: vec![], kept: vec![], rules: vec![] }])
    }
}

impl KeyedProgram for Counts {
    fn prepare(&self, _: usize) -> (Arc<dyn RowProgram>, SchemaRef) {
        (Arc::new(Timed), timed())
    }
    fn event_time(&self, _: usize) -> Option<EventTime> {
        Some(EventTime { column: 1, said: 1, max_lateness: 0, idle_after: self.idle_after })
    }
    fn operators(&self) -> Result<Box<dyn Operators>> {
        Ok(Box::new(Counting {
            of: self.clone(),
            memory: BTreeMap::new(),
            dirty: BTreeSet::new(),
            closed: vec![],
            watermark: i64::MIN,
        }))
    }
    fn fingerprint(&self) -> String {
        self.name.into()
    }
    fn reason(&self) -> String {
        "`counts` keeps a count per key and window".into()
    }
}

struct Counting {
    of: Counts,
    memory: BTreeMap<(i64, u8), u64>,
    dirty: BTreeSet<(i64, u8)>,
    closed: Vec<i64>,
    watermark: i64,
}

fn prefix(window: i64) -> Vec<u8> {
    [&[1u8][..], &window.to_be_bytes()].concat()
}

fn key(place: (i64, u8)) -> Vec<u8> {
    [prefix(place.0), vec![place.1]].concat()
}

fn parse(entry: (Vec<u8>, Bytes)) -> ((i64, u8), u64) {
    let window = i64::from_be_bytes(entry.0[1..9].try_into().unwrap());
    ((window, entry.0[9]), u64::from_be_bytes(entry.1[..].try_into().unwrap()))
}

fn over(window: i64, watermark: i64) -> bool {
    watermark >= window + WINDOW - 1_000
}

impl Operators for Counting {
    fn rows(&mut self, _: usize, batch: &RecordBatch, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        assert_eq!(batch.column(1).as_primitive::<TimestampMillisecondType>().len(), ids.len());
        for id in ids.values() {
            let place = place(*id);
            out.absorbed += 1;
            if over(place.0, self.watermark) {
                out.late += 1;
                continue;
            }
            let before = match self.memory.get(&place) {
                Some(count) => *count,
                None => stored.get(&key(place))?.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap())),
            };
            self.memory.insert(place, before + 1);
            self.dirty.insert(place);
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        assert!(time >= self.watermark, "time went back from {} to {time}", self.watermark);
        let mut all: BTreeMap<(i64, u8), u64> = stored.scan(&[1]).map(|entry| entry.map(parse)).collect::<Result<_>>()?;
        all.extend(&self.memory);
        all.retain(|(window, _), _| over(*window, time) && !over(*window, self.watermark));
        self.watermark = time;
        let ids: Vec<i64> = all.iter().map(|((window, key), count)| number(*window, *key, *count)).collect();
        self.closed.extend(all.keys().map(|(window, _)| *window));
        self.memory.retain(|(window, _), _| !over(*window, time));
        self.dirty.retain(|(window, _)| !over(*window, time));
        if !ids.is_empty() {
            out.batches.push((0, RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(ids))]).unwrap()));
        }
        Ok(())
    }

    fn changes(&mut self) -> Result<Vec<StateChange>> {
        let mut changes: Vec<StateChange> =
            std::mem::take(&mut self.closed).into_iter().map(|window| StateChange::RemovePrefix(prefix(window))).collect();
        for place in std::mem::take(&mut self.dirty) {
            changes.push(StateChange::Put(key(place), Bytes::copy_from_slice(&self.memory[&place].to_be_bytes())));
        }
        Ok(changes)
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        assert!(self.memory.is_empty());
        self.memory = stored.scan(&[1]).map(|entry| entry.map(parse)).collect::<Result<_>>()?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.memory.len() * self.of.weight
    }

    fn spill(&mut self, _: usize) -> Result<()> {
        assert!(self.dirty.is_empty(), "asked for before everything is in the store");
        if !self.of.stuck {
            self.of.spilled.fetch_add(self.memory.len(), Ordering::SeqCst);
            self.memory.clear();
        }
        Ok(())
    }
}

/// Every window that is over when everything was read, counted once.
pub fn expected(topics: &[&Arc<Topic>]) -> Vec<i64> {
    let mut counts: BTreeMap<(i64, u8), u64> = BTreeMap::new();
    let mut newest: BTreeMap<(usize, i64), i64> = BTreeMap::new();
    for (at, topic) in topics.iter().enumerate() {
        for id in topic.ids().into_iter().filter(|id| !broken(*id) && second(*id) != TIMELESS) {
            *counts.entry(place(id)).or_default() += 1;
            let newest = newest.entry((at, id / 100)).or_default();
            *newest = (*newest).max(second(id) * SECOND);
        }
    }
    let watermark = newest.values().min().unwrap() - 1_000;
    counts.retain(|(window, _), _| over(*window, watermark));
    let mut ids: Vec<i64> = counts.into_iter().map(|((window, key), count)| number(window, key, count)).collect();
    ids.sort_unstable();
    ids
}

/// Three partitions that all are there from the beginning.
fn rig(kinds: &[Way], times: Times) -> Rig {
    let mut rig = Rig { counts: Some(Counts::new()), lanes: 2, ..Rig::new(kinds, times) };
    rig.topic = Arc::new(Topic::new(rig.faults.clone(), 3, 13, false));
    rig
}

fn two_inputs(kinds: &[Way], times: Times) -> Rig {
    let mut rig = rig(kinds, times);
    rig.topic = Arc::new(Topic::new(rig.faults.clone(), 2, 10, false));
    rig.other = Some(Arc::new(Topic::new(rig.faults.clone(), 2, 13, false)));
    rig
}

async fn survives(make: impl Fn() -> Rig) {
    let crashes = crashes_survived(make).await;
    // One lane has fewer moments than several; what is between them is in `every_step_of_the_state_may_fail`.
    assert!(crashes > 20, "only {crashes} places to crash at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_into_a_staged_sink_survive_a_crash_at_every_operation() {
    survives(|| rig(&[Staged], TURNS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_a_long_turn_survive_a_crash_at_every_operation() {
    survives(|| rig(&[Staged], EPOCHS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_into_a_co_committed_sink_survive_a_crash_at_every_operation() {
    survives(|| rig(&[CoCommitted], EPOCHS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_two_inputs_survive_a_crash_at_every_operation() {
    survives(|| two_inputs(&[CoCommitted], TURNS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_into_a_sink_that_shows_rows_at_once_are_not_lost() {
    survives(|| rig(&[AtOnce], EPOCHS)).await;
    survives(|| rig(&[AtOnce], HURRY)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_survive_when_what_is_kept_is_spilled_after_every_epoch() {
    let spilled = Arc::new(AtomicUsize::new(0));
    let make = || {
        let mut rig = rig(&[CoCommitted], EPOCHS);
        // Two counters are the share.
        let weight = RunOptions::new("").max_memory_bytes / 4 / 2;
        rig.counts = Some(Counts { weight, spilled: spilled.clone(), ..Counts::new() });
        rig
    };
    survives(make).await;
    assert!(spilled.load(Ordering::SeqCst) > 100);
}

/// What is between the operations of the sinks and of the checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_the_state_may_fail() {
    let steps = ["engine.state.before", "engine.state.logged", "engine.state.confirmed", "engine.state.applied"];
    for (kind, times) in [(CoCommitted, EPOCHS), (Staged, TURNS), (CoCommitted, TURNS)] {
        for step in steps {
            for skipped in [0, 1, 3] {
                let rig = Rig { wire: false, ..rig(&[kind], times) };
                weir_connect::__fail::cfg(step, &format!("{skipped}*off->1*return->off")).unwrap();
                let report = rig.attempt().await;
                weir_connect::__fail::remove(step);
                rig.check(&report, &format!("{step} after {skipped}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_windows_stay_open_over_runs_and_other_parallelism_and_late_rows_stay_late() {
    for (kind, times) in [(Staged, TURNS), (CoCommitted, EPOCHS)] {
        let mut rig = Rig { wire: false, ..rig(&[kind], times) };
        let first = rig.attempt().await;
        rig.check(&first, "first").await;
        let view = rig.store().await.show("numbers").await.unwrap();
        assert_eq!((view.kept.len(), view.kept[0].stream.as_str()), (1, "numbers"));
        assert!(view.kept[0].epoch > 0 && view.kept[0].bytes > 0, "{view:?}");
        for (partition, lanes) in [(0, 1), (1, 3), (2, 4)] {
            rig.lanes = lanes;
            let base = partition as i64 * 100;
            rig.topic.append(partition, (13..20).map(|n| base + n));
            let report = rig.attempt().await;
            rig.check(&report, &format!("{partition}")).await;
            assert_eq!(report.run_id, first.run_id);
            assert_eq!(report.streams[0].rows_late, 0);
        }
        let before = rig.shown(0);
        // Its window was written by an attempt that is long gone.
        rig.topic.append(0, [1, 2]);
        let late = rig.attempt().await;
        assert_eq!((late.status, late.streams[0].rows_late), (RunStatus::Succeeded, 2), "{:?}", late.error);
        assert_eq!(rig.shown(0), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_a_time_is_set_aside_as_it_came() {
    let rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    rig.topic.append(1, [100 + TIMELESS]);
    let report = rig.attempt().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(rig.shown(0), rig.expected(0));
    let letters = rig.store().await.dead_list("numbers", 100).await.unwrap();
    let timeless: Vec<_> = letters.iter().filter(|letter| letter.code == "WEIR-STREAM-005").collect();
    assert_eq!(timeless.len(), 1);
    assert_eq!((timeless[0].payload.as_slice(), &timeless[0].sink), (&br#"{"id":177}"#[..], &None));
    let replayed = weir_engine::replay::replay(rig.plan(), vec![timeless[0].clone()], rig.options(), &mut Silent).await.unwrap();
    assert_eq!((replayed.through.len(), replayed.still_dead.len()), (0, 1), "time has gone on");
}

/// One partition goes on, and the run ends when so many rows were written.
struct GoOn<'t> {
    topic: &'t Topic,
    next: i64,
    rows: u64,
    stop: CancellationToken,
    last: Value,
}

impl Reporter for GoOn<'_> {
    fn event(&mut self, event: &RunEvent) {
        let RunEvent::Progress(progress) = event else { return };
        self.last = serde_json::to_value(progress).unwrap();
        match progress.rows_written >= self.rows {
            true => self.stop.cancel(),
            false => {
                self.topic.append(0, [self.next]);
                self.next += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_quiet_does_not_hold_time_back_for_ever() {
    let mut rig = Rig { wire: false, ..rig(&[CoCommitted], EPOCHS) };
    rig.counts = Some(Counts { idle_after: Some(20_000), ..Counts::new() });
    let over_without = rig.expected(0).len() as u64;
    let stop = CancellationToken::new();
    let options = RunOptions { until_caught_up: false, stop: stop.clone(), ..rig.options() };
    let mut reporter = GoOn { topic: &rig.topic, next: 15, rows: over_without + 1, stop, last: Value::Null };
    let report = tokio::time::timeout(Duration::from_secs(60), run(rig.plan(), options, &mut reporter)).await.unwrap();
    assert!(report.clean_stop, "{:?}", report.error);
    // The window in which the two quiet ones have their last rows, 112 and 212; 12 is a broken record.
    let shown = rig.shown(0);
    assert!(shown.contains(&number(12 * SECOND, 0, 2)), "{shown:?}");
    let time = &reporter.last["event_time"];
    assert!(time["watermark_ms"].as_i64().unwrap() >= 14_999 && time["lag_ms"].as_i64().unwrap() > 0, "{time}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_cannot_be_spilled_ends_the_run_and_names_what_keeps_it() {
    let mut rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    let weight = rig.options().max_memory_bytes;
    rig.counts = Some(Counts { weight, stuck: true, ..Counts::new() });
    let report = rig.attempt().await;
    let error = report.error.unwrap();
    assert_eq!((report.status, error.code), (RunStatus::Failed, "WEIR-STREAM-006"));
    assert!(error.cause.unwrap().contains("`counts`") && error.hint.unwrap().contains("--max-memory"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_lost_or_of_another_program_is_refused_until_it_is_given_up() {
    let mut rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    let first = rig.attempt().await;
    rig.check(&first, "first").await;
    rig.counts = Some(Counts { name: "others", ..Counts::new() });
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-STATE-010");
    rig.counts = None;
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-STREAM-007");
    rig.counts = Some(Counts::new());
    rig.check(&rig.attempt().await, "as it was").await;
    let folder = rig.folder.path().join("state").join("numbers");
    let moved = rig.folder.path().join("elsewhere");
    std::fs::rename(&folder, &moved).unwrap();
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-STATE-011");
    std::fs::rename(&moved, &folder).unwrap();
    rig.check(&rig.attempt().await, "it is back").await;
    let store = rig.store().await;
    assert_eq!(store.reset("numbers", None).await.unwrap(), 1);
    assert!(!folder.exists());
    rig.topic.acknowledged.lock().unwrap().clear();
    let again = rig.attempt().await;
    assert_eq!((again.status, again.streams[0].rows_read), (RunStatus::Succeeded, rig.ids().len() as u64));
    let twice: Vec<i64> = rig.expected(0).into_iter().flat_map(|id| [id, id]).collect();
    assert_eq!(rig.shown(0), twice);
    // One stream of several: its state goes, too.
    assert_eq!(store.reset("numbers", Some("numbers")).await.unwrap(), 1);
    assert!(folder.exists() && !folder.join("numbers").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_from_a_backup_does_not_go_with_rows_that_it_does_not_know() {
    let rig = Rig { wire: false, ..rig(&[CoCommitted], EPOCHS) };
    let checkpoints = |from: &std::path::Path, to: &std::path::Path| {
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(to.join(name));
            if from.join(name).exists() {
                std::fs::copy(from.join(name), to.join(name)).unwrap();
            }
        }
    };
    let crash = async || {
        rig.faults.arm(8, false);
        assert_eq!(rig.attempt().await.status, RunStatus::Failed);
        rig.faults.arm(-1, false);
    };
    let backup = weir_testkit::memory_folder();
    crash().await;
    checkpoints(rig.folder.path(), backup.path());
    crash().await;
    let now = weir_testkit::memory_folder();
    checkpoints(rig.folder.path(), now.path());
    checkpoints(backup.path(), rig.folder.path());
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-STATE-012");
    // As it was, it goes on.
    checkpoints(now.path(), rig.folder.path());
    rig.check(&rig.attempt().await, "as it was").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_is_where_another_run_begins() {
    let rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    rig.check(&rig.attempt().await, "first").await;
    let to = rig.folder.path().join("points").join("one");
    let manifest = savepoint::write(&rig.store().await, "numbers", &to).await.unwrap();
    assert_eq!((manifest.flows.len(), manifest.flows[0].progress.len()), (1, 3));
    assert!(manifest.flows[0].state.is_some());
    let again = savepoint::write(&rig.store().await, "numbers", &to).await.unwrap_err();
    assert_eq!(again.code(), "WEIR-SAVEPOINT-004");
    let before = rig.shown(0);
    for partition in 0..3 {
        rig.topic.append(partition, (13..20).map(|n| partition as i64 * 100 + n));
    }
    // It has a state of its own.
    let from = |rig: &Rig| RunOptions { from_savepoint: Some(to.clone()), ..rig.options() };
    let refused = run(rig.plan(), from(&rig), &mut Silent).await;
    assert_eq!(refused.error.unwrap().code, "WEIR-SAVEPOINT-007");
    rig.store().await.reset("numbers", None).await.unwrap();
    // A file that is not what the manifest says.
    let file = to.join(&manifest.flows[0].state.as_ref().unwrap().file);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let broken = run(rig.plan(), from(&rig), &mut Silent).await;
    assert_eq!(broken.error.unwrap().code, "WEIR-STATE-013");
    // What was begun and not ended is not taken for a state.
    assert_eq!(rig.attempt().await.error.unwrap().code, "WEIR-SAVEPOINT-005");
    std::fs::write(&file, &whole).unwrap();
    let report = run(rig.plan(), RunOptions { parallelism: 4, ..from(&rig) }, &mut Silent).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(report.streams[0].rows_read, 21, "what came after it");
    assert_eq!(rig.shown(0), rig.expected(0));
    assert!(rig.shown(0).len() > before.len());
    // The next one goes on by itself.
    let next = rig.attempt().await;
    assert_eq!((next.status, next.run_id, next.streams[0].rows_read), (RunStatus::Succeeded, report.run_id, 21));
}

/// Its turn would never end by itself, and nothing is shown until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_of_a_stream_that_runs_is_where_another_begins() {
    struct AllRead(u64, Arc<tokio::sync::Notify>);
    impl Reporter for AllRead {
        fn event(&mut self, event: &RunEvent) {
            if matches!(event, RunEvent::Progress(progress) if progress.rows_read >= self.0) {
                self.1.notify_one();
            }
        }
    }
    for times in [EPOCHS, TURNS] {
        let first = Rig { wire: false, ..rig(&[Staged], times) };
        let (store, to) = (first.store().await, first.folder.path().join("points").join("one"));
        assert_eq!(savepoint::ask(&store, "numbers", &to).await.unwrap_err().code(), "WEIR-SAVEPOINT-002");
        let (stop, read) = (CancellationToken::new(), Arc::new(tokio::sync::Notify::new()));
        let options = RunOptions { until_caught_up: false, stop: stop.clone(), ..first.options() };
        let mut reporter = AllRead(first.ids().len() as u64, read.clone());
        let asking = async {
            read.notified().await;
            let manifest = savepoint::ask(&store, "numbers", &to).await.unwrap();
            assert_eq!((manifest.flows.len(), manifest.flows[0].progress.len()), (1, 3));
            assert!(manifest.flows[0].state.is_some());
            assert_eq!(savepoint::ask(&store, "numbers", &to).await.unwrap_err().code(), "WEIR-SAVEPOINT-004");
            let shown = first.shown(0);
            assert_eq!(shown, first.expected(0), "the turn has ended");
            stop.cancel();
            shown
        };
        let (report, shown) = tokio::join!(run(first.plan(), options, &mut reporter), asking);
        assert!(report.clean_stop, "{:?}", report.error);
        first.check(&report, "after the savepoint").await;

        let second = Rig { topic: first.topic.clone(), wire: false, ..rig(&[Staged], times) };
        for partition in 0..3 {
            second.topic.append(partition, (13..20).map(|n| partition as i64 * 100 + n));
        }
        let options = RunOptions { from_savepoint: Some(to), ..second.options() };
        let report = run(second.plan(), options, &mut Silent).await;
        assert_eq!((report.status, report.streams[0].rows_read), (RunStatus::Succeeded, 21), "{:?}", report.error);
        let mut both = [shown, second.shown(0)].concat();
        both.sort_unstable();
        assert_eq!(both, second.expected(0));
    }
}

/// Nobody runs it any more when the wish is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_that_is_asked_of_a_stream_that_was_stopped_is_made_all_the_same() {
    let rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    rig.check(&rig.attempt().await, "first").await;
    let (store, to) = (rig.store().await, rig.folder.path().join("one"));
    let manifest = savepoint::ask(&store, "numbers", &to).await.unwrap();
    assert_eq!(manifest.flows.len(), 1);
    assert!(store.wishes("numbers", weir_engine::store::Wish::RUN).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_is_of_a_stream_that_was_stopped_cleanly_and_of_its_pipeline() {
    let mut rig = Rig { wire: false, ..rig(&[Staged], TURNS) };
    let to = rig.folder.path().join("one");
    let nothing = savepoint::write(&rig.store().await, "numbers", &to).await.unwrap_err();
    assert_eq!(nothing.code(), "WEIR-SAVEPOINT-002");
    // In the middle of a turn.
    let mut met = false;
    for nth in 5..40 {
        rig.faults.arm(nth, false);
        rig.attempt().await;
        rig.faults.arm(-1, false);
        if savepoint::write(&rig.store().await, "numbers", &to).await.is_err_and(|error| error.code() == "WEIR-SAVEPOINT-003") {
            met = true;
            break;
        }
        let _ = std::fs::remove_dir_all(&to);
    }
    assert!(met, "no crash left an open turn");
    rig.check(&rig.attempt().await, "to its end").await;
    savepoint::write(&rig.store().await, "numbers", &to).await.unwrap();
    rig.store().await.reset("numbers", None).await.unwrap();
    rig.counts = Some(Counts { name: "others", ..Counts::new() });
    let options = RunOptions { from_savepoint: Some(to), ..rig.options() };
    let refused = run(rig.plan(), options, &mut Silent).await;
    assert_eq!(refused.error.unwrap().code, "WEIR-SAVEPOINT-009");
}
