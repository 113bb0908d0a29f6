//! Streams without end, under crashes at every single operation, twice in a row: every row once where that is declared, none lost elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Int64Type};
use async_trait::async_trait;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_connect::*;
use weir_engine::store::tables::Tables;
use weir_engine::store::{FlowPlace, StatePlace, StateStore, TurnMark};
use weir_engine::{Reporter, RunEvent, RunOptions, RunReport, RunStatus, Silent, run};
use weir_plan::{Flow, FlowInput, FlowOutput, Guarantee, Plan, Program};
use weir_spec::{Delivery, Pipeline};

use crate::keyed;
use crate::memory::{Faults, MemorySink, World, info, schema};
use crate::store::Wire;
use crate::topic::{Broker, Topic, broken};
use crate::{Odd, refused};

/// Shows rows as soon as they are flushed.
struct Post {
    faults: Arc<Faults>,
    shown: Arc<Mutex<Vec<i64>>>,
}

#[async_trait]
impl Sink for Post {
    fn capabilities(&self, _: WriteMode) -> SinkCapabilities {
        SinkCapabilities { commit: CommitKind::Append, commit_note: String::new(), write_modes: vec![WriteMode::Append] }
    }
    fn sink_type(&self, field: &Field) -> SinkType {
        SinkType::exact(field.data_type().to_string())
    }
    fn place(&self, stream: &str) -> String {
        stream.into()
    }
    async fn preview(&self, _: &StreamTarget) -> Result<Vec<String>> {
        Ok(vec![])
    }
    async fn prepare(&self, _: StreamTarget) -> Result<Box<dyn StreamSink>> {
        Ok(Box::new(PostStream { faults: self.faults.clone(), shown: self.shown.clone() }))
    }
}

struct PostStream {
    faults: Arc<Faults>,
    shown: Arc<Mutex<Vec<i64>>>,
}

#[async_trait]
impl StreamSink for PostStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }
    async fn discard(&self, _: &[CommitToken]) -> Result<()> {
        Ok(())
    }
    async fn writer(&self, _: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(PostWriter { rows: vec![], faults: self.faults.clone(), shown: self.shown.clone() }))
    }
    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        self.faults
            .step(|| CommitReport { rows: tokens.iter().map(|token| token.as_u64().unwrap()).sum(), ..CommitReport::default() })
    }
}

struct PostWriter {
    rows: Vec<i64>,
    faults: Arc<Faults>,
    shown: Arc<Mutex<Vec<i64>>>,
}

#[async_trait]
impl StreamWriter for PostWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.faults.step(|| self.rows.extend(batch.column(0).as_primitive::<Int64Type>().values()))
    }
    async fn flush(&mut self, _: &Barrier) -> Result<Flushed> {
        let rows = std::mem::take(&mut self.rows);
        let count = rows.len() as u64;
        if count == 0 {
            return Ok(Flushed { token: json!(0), rows: 0, bytes: 0 });
        }
        self.faults.step(|| self.shown.lock().unwrap().extend(&rows))?;
        Ok(Flushed { token: json!(count), rows: count, bytes: 0 })
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Staged,
    CoCommitted,
    AtOnce,
}
pub use Way::{AtOnce, CoCommitted, Staged};

/// Milliseconds.
#[derive(Clone, Copy)]
pub struct Times {
    pub checkpoint: u64,
    pub roll: u64,
    pub latency: u64,
}

pub const NEVER: u64 = 3_600_000;
/// Every position ends a turn.
pub const TURNS: Times = Times { checkpoint: 0, roll: 0, latency: 0 };
/// Every position ends an epoch, and the stop the only turn.
pub const EPOCHS: Times = Times { checkpoint: 0, roll: NEVER, latency: 0 };
/// Sinks are hurried, and the stop ends the only epoch.
pub const HURRY: Times = Times { checkpoint: NEVER, roll: NEVER, latency: 0 };

pub enum Shown {
    World(Arc<Mutex<World>>),
    Post(Arc<Mutex<Vec<i64>>>),
}

pub struct Rig {
    pub topic: Arc<Topic>,
    /// A second input, of a program with state.
    pub other: Option<Arc<Topic>>,
    /// Rows are counted per window instead of filtered.
    pub counts: Option<keyed::Counts>,
    pub sinks: Vec<(Arc<dyn Sink>, Shown)>,
    /// Name of the first sink's node.
    pub node: String,
    pub kinds: Vec<Way>,
    /// Where dead letters go, and how.
    pub letters: Option<(Way, Arc<dyn Sink>, Shown)>,
    pub faults: Arc<Faults>,
    pub folder: tempfile::TempDir,
    pub times: Times,
    pub lanes: usize,
    pub refuses: Option<usize>,
    pub wire: bool,
}

fn sink(kind: Way, faults: &Arc<Faults>) -> (Arc<dyn Sink>, Shown) {
    if kind == AtOnce {
        let shown = Arc::new(Mutex::default());
        return (Arc::new(Post { faults: faults.clone(), shown: Arc::clone(&shown) }), Shown::Post(shown));
    }
    let world = Arc::new(Mutex::new(World::default()));
    let sink = MemorySink { world: world.clone(), faults: faults.clone(), co_committed: kind == CoCommitted };
    (Arc::new(sink), Shown::World(world))
}

impl Shown {
    /// In the order in which it became visible.
    fn ids(&self) -> Vec<i64> {
        match self {
            Self::World(world) => world.lock().unwrap().visible.clone(),
            Self::Post(shown) => shown.lock().unwrap().clone(),
        }
    }
}

impl Rig {
    /// The same, and its dead letters go somewhere.
    pub fn with_letters(self, kind: Way) -> Self {
        let (to, shown) = sink(kind, &self.faults);
        Self { letters: Some((kind, to, shown)), ..self }
    }

    pub fn new(kinds: &[Way], times: Times) -> Self {
        let faults = Arc::new(Faults::default());
        let make = |kind: &Way| sink(*kind, &faults);
        Self {
            topic: Arc::new(Topic::new(faults.clone(), 3, 9, true)),
            other: None,
            counts: None,
            sinks: kinds.iter().map(make).collect(),
            node: "sink0".into(),
            kinds: kinds.to_vec(),
            letters: None,
            faults,
            folder: weir_testkit::memory_folder(),
            times,
            lanes: 1,
            refuses: None,
            wire: true,
        }
    }

    pub fn plan(&self) -> Plan {
        let pipeline: Pipeline = serde_json::from_value(json!({
            "name": "numbers", "mode": "streaming", "nodes": [], "connections": {}, "on_loss": {}, "alerts": [], "labels": {},
            "dead_letters": {"allow": 100}, "max_latency_ms": self.times.latency,
            "roll": {"interval_ms": self.times.roll},
        }))
        .unwrap();
        let output = |(index, (sink, _)): (usize, &(Arc<dyn Sink>, Shown))| FlowOutput {
            node: if index == 0 { self.node.clone() } else { format!("sink{index}") },
            sink: sink.clone(),
            ..self.output()
        };
        let letters = self.letters.as_ref().map(|(_, sink, _)| FlowOutput {
            node: "dead_letters".into(),
            sink: sink.clone(),
            stream: "dead_letters".into(),
            schema: letters::schema(),
            ..self.output()
        });
        let input = |(topic, node): (&Arc<Topic>, &str)| FlowInput {
            node: node.into(),
            connector: "topic".into(),
            source: Arc::new(Broker(topic.clone())),
            stream: info(),
            table: "input".into(),
            cursor: None,
            cursor_lag: None,
        };
        let flow = Flow {
            name: "numbers".into(),
            inputs: self.topics().into_iter().zip(["source", "other"]).map(input).collect(),
            program: match &self.counts {
                Some(counts) => Program::Keyed(Arc::new(counts.clone())),
                None => Program::RowLocal(Arc::new(Odd { outputs: self.sinks.len(), refuses: self.refuses })),
            },
            outputs: self.sinks.iter().enumerate().map(output).collect(),
            gates: vec![],
            replan: None,
        };
        Plan {
            pipeline: Arc::new(pipeline),
            flows: vec![flow],
            letters,
            results: vec![],
            guarantee: Guarantee { delivery: Delivery::ExactlyOnce, reasons: vec![] },
            columns: vec![],
            warnings: vec![],
            actions: vec![],
        }
    }

    fn output(&self) -> FlowOutput {
        FlowOutput {
            node: self.node.clone(),
            connector: "memory".into(),
            sink: self.sinks[0].0.clone(),
            stream: "numbers".into(),
            schema: schema(),
            write_mode: WriteMode::Append,
            key: vec![],
            on_schema_change: SchemaChangePolicy::Evolve,
            on_loss: OnLoss::default(),
            deletes: DeleteMode::Hard,
            metadata: vec![],
        }
    }

    pub fn topics(&self) -> Vec<&Arc<Topic>> {
        std::iter::once(&self.topic).chain(&self.other).collect()
    }

    /// All that is in the inputs.
    pub fn ids(&self) -> Vec<i64> {
        self.topics().iter().flat_map(|topic| topic.ids()).collect()
    }

    pub fn options(&self) -> RunOptions {
        RunOptions {
            parallelism: self.lanes,
            checkpoint_interval: Duration::from_millis(self.times.checkpoint),
            until_caught_up: true,
            look_again: Duration::from_millis(1),
            ..RunOptions::new(self.folder.path())
        }
    }

    pub async fn attempt(&self) -> RunReport {
        let mut options = self.options();
        if self.wire {
            let wire = Wire { tables: Tables::file(self.folder.path()).await.unwrap(), faults: self.faults.clone() };
            options.state = StatePlace::Link(self.folder.path().to_owned(), Arc::new(wire));
        }
        run(self.plan(), options, &mut Silent).await
    }

    /// Runs until so many rows are durable, and then stops it.
    pub async fn follow(&self, rows: u64) -> RunReport {
        struct StopAt(u64, CancellationToken);
        impl Reporter for StopAt {
            fn event(&mut self, event: &RunEvent) {
                if matches!(event, RunEvent::Checkpoint { rows, .. } if *rows >= self.0) {
                    self.1.cancel();
                }
            }
        }
        let stop = CancellationToken::new();
        let options = RunOptions { until_caught_up: false, stop: stop.clone(), ..self.options() };
        run(self.plan(), options, &mut StopAt(rows, stop)).await
    }

    pub async fn store(&self) -> StateStore {
        StateStore::open(self.folder.path()).await.unwrap()
    }

    pub fn shown(&self, sink: usize) -> Vec<i64> {
        let mut rows = self.sinks[sink].1.ids();
        rows.sort_unstable();
        rows
    }

    pub fn expected(&self, sink: usize) -> Vec<i64> {
        if self.counts.is_some() {
            return keyed::expected(&self.topics());
        }
        let refused = |id: &i64| self.refuses == Some(sink) && id % 10 == 5;
        let mut ids: Vec<i64> = self.topic.ids();
        ids.retain(|id| !broken(*id) && id % 2 == 1 && !refused(id));
        ids.sort_unstable();
        ids
    }

    /// Everything is where it belongs, and the checkpoint is no larger than it has to be.
    pub async fn check(&self, report: &RunReport, told: &str) {
        assert!(matches!(report.status, RunStatus::Succeeded) || report.clean_stop, "{told}: {:?}", report.error);
        for (sink, kind) in self.kinds.iter().enumerate() {
            match kind {
                AtOnce => {
                    let shown: BTreeSet<i64> = self.shown(sink).into_iter().collect();
                    assert_eq!(shown.into_iter().collect::<Vec<_>>(), self.expected(sink), "{told}, sink {sink}");
                }
                _ => assert_eq!(self.shown(sink), self.expected(sink), "{told}, sink {sink}"),
            }
        }
        let mut dead: Vec<String> = self.ids().into_iter().filter(|id| broken(*id)).map(|id| format!("number {id}")).collect();
        let all = self.ids().into_iter().filter(|id| !broken(*id) && id % 10 == 5);
        dead.extend(all.filter(|_| self.refuses.is_some()).map(|id| refused(id).place));
        dead.sort();
        let store = self.store().await;
        let mut found: Vec<String> =
            store.dead_list("numbers", 1000).await.unwrap().into_iter().map(|letter| letter.place).collect();
        found.sort();
        assert_eq!(found, dead, "{told}");
        let stream = &report.streams[0];
        assert_eq!(stream.rows_read, self.ids().len() as u64, "{told}: {stream:?}");
        assert_eq!(
            stream.rows_read + stream.rows_derived,
            stream.rows_written + stream.rows_filtered + stream.rows_dead,
            "{told}: {stream:?}"
        );
        let place = FlowPlace { pipeline: "numbers", run_id: &report.run_id, flow: "numbers" };
        let epochs = store.epochs(&place).await.unwrap();
        assert_eq!(epochs.len(), 1, "{told}");
        assert!(matches!(epochs[0].body.turn, Some(TurnMark::Begins { .. })), "{told}");
        if let Some((kind, _, shown)) = &self.letters {
            let (mut there, kept) = (shown.ids(), store.dead_list("numbers", 1000).await.unwrap());
            if *kind == AtOnce {
                there = there.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            }
            assert_eq!(there, kept.into_iter().map(|letter| letter.id).collect::<Vec<_>>(), "{told}: letters, in order");
        }
        let mut splits = store.show("numbers").await.unwrap().splits;
        splits.retain(|part| part.split != "letters");
        let rows: Vec<(String, i64)> =
            splits.iter().map(|part| (part.split.clone(), part.position.as_ref().unwrap().as_i64().unwrap())).collect();
        let mut all = Vec::new();
        for (topic, node) in self.topics().into_iter().zip(["source", "other"]) {
            let ends: Vec<(String, i64)> = topic.ends().into_iter().collect();
            assert_eq!(topic.acknowledged.lock().unwrap().clone().into_iter().collect::<Vec<_>>(), ends, "{told}");
            let name = |id: String| if self.other.is_some() { format!("{node}/{id}") } else { id };
            all.extend(ends.into_iter().map(|(id, end)| (name(id), end)));
        }
        all.sort();
        assert_eq!(rows, all, "{told}");
    }
}

#[tokio::test]
async fn what_waits_at_the_source_is_told_as_a_whole_and_by_split() {
    struct Seen(Vec<(Option<u64>, BTreeMap<String, u64>)>);
    impl Reporter for Seen {
        fn event(&mut self, event: &RunEvent) {
            if let RunEvent::Progress(progress) = event {
                self.0.push((progress.lag_rows, progress.lag_splits.clone()));
            }
        }
    }
    let rig = Rig::new(&[Staged], EPOCHS);
    let many: Vec<(String, u64)> = (0..20).map(|split| (format!("p{split}"), split)).collect();
    let furthest: BTreeMap<String, u64> = many.iter().skip(4).cloned().collect();
    for (behind, whole, told) in [(vec![], None, BTreeMap::new()), (many, Some(190), furthest)] {
        *rig.topic.behind.lock().unwrap() = behind;
        let mut seen = Seen(Vec::new());
        let report = run(rig.plan(), rig.options(), &mut seen).await;
        assert_eq!((report.streams[0].lag_rows, seen.0.last()), (whole, Some(&(whole, told))));
    }
}

pub async fn survives(make: impl Fn() -> Rig) {
    let crashes = crashes_survived(make).await;
    assert!(crashes > 40, "only {crashes} places to crash at");
}

/// Crashes a fresh rig at each of its operations in turn, then once more on the way back, and compares. Returns the number of crashes.
pub async fn crashes_survived(make: impl Fn() -> Rig) -> usize {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let rig = make();
            rig.faults.arm(nth, after);
            let mut last = rig.attempt().await;
            let hit = rig.faults.hit.load(Ordering::SeqCst);
            if hit {
                crashes += 1;
                assert_eq!(last.status, RunStatus::Failed, "operation {nth} failed, so must the run");
                rig.faults.arm(nth * 5 % 17 + 1, !after);
                let second = rig.attempt().await;
                assert!(
                    last.run_id.is_empty() || second.run_id.is_empty() || second.run_id == last.run_id,
                    "the same run goes on"
                );
                rig.faults.arm(-1, false);
                last = rig.attempt().await;
            }
            rig.check(&last, &format!("operation {nth}, after={after}")).await;
            if !hit {
                break;
            }
        }
    }
    crashes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_a_staged_sink_survive_a_crash_at_every_operation() {
    survives(|| Rig::new(&[Staged], TURNS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_turn_of_a_staged_sink_survives_a_crash_at_every_operation() {
    survives(|| Rig { lanes: 2, ..Rig::new(&[Staged], EPOCHS) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_a_co_committed_sink_survive_a_crash_at_every_operation() {
    survives(|| Rig { lanes: 2, ..Rig::new(&[CoCommitted], TURNS) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_of_a_co_committed_sink_survive_a_crash_at_every_operation() {
    survives(|| Rig::new(&[CoCommitted], EPOCHS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_shows_rows_at_once_loses_none() {
    survives(|| Rig::new(&[AtOnce], EPOCHS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_hurried_between_epochs_loses_none() {
    survives(|| Rig::new(&[AtOnce], HURRY)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_of_all_kinds_agree_in_one_flow() {
    survives(|| Rig { refuses: Some(1), ..Rig::new(&[Staged, CoCommitted, AtOnce], TURNS) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_each_once_in_their_own_sink_whatever_the_sinks_of_the_rows_are() {
    for (rows, letters) in [(CoCommitted, CoCommitted), (CoCommitted, Staged), (Staged, AtOnce)] {
        let make = || Rig { lanes: 2, refuses: Some(0), ..Rig::new(&[rows], EPOCHS) }.with_letters(letters);
        let crashes = crashes_survived(make).await;
        assert!(crashes > 50, "only {crashes} places to crash at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_go_on_to_their_sink_after_a_stop() {
    let rig = Rig { wire: false, lanes: 2, ..Rig::new(&[CoCommitted], EPOCHS) }.with_letters(Staged);
    let first = rig.follow(27).await;
    rig.check(&first, "stopped").await;
    rig.topic.append(1, 150..160);
    let second = rig.follow(37).await;
    rig.check(&second, "stopped again").await;
    assert_eq!(second.run_id, first.run_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_stopped_goes_on_where_it_was() {
    for (kind, times) in [(Staged, TURNS), (CoCommitted, EPOCHS), (AtOnce, HURRY)] {
        let times = Times { checkpoint: times.checkpoint.min(5), ..times };
        let rig = Rig { wire: false, lanes: 2, ..Rig::new(&[kind], times) };
        let first = rig.follow(27).await;
        assert_eq!((first.status, first.clean_stop, first.exit_code()), (RunStatus::Interrupted, true, 0), "{:?}", first.error);
        rig.check(&first, "stopped").await;
        rig.topic.append(1, 150..160);
        let second = rig.follow(37).await;
        rig.check(&second, "stopped again").await;
        assert_eq!((second.run_id, second.streams[0].rows_read), (first.run_id, 37));
        if kind != AtOnce {
            assert_eq!(rig.shown(0), rig.expected(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_is_read_on_in_the_same_run() {
    let rig = Rig::new(&[CoCommitted], EPOCHS);
    rig.topic.hiccup.store(true, Ordering::SeqCst);
    let report = rig.attempt().await;
    rig.check(&report, "hiccup").await;
    assert!(rig.topic.reads.lock().unwrap().len() > 3, "it was opened again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_new_stream_begins_is_one_moment() {
    let mut rig = Rig::new(&[Staged], TURNS);
    let mut topic = Topic::new(rig.faults.clone(), 2, 9, false);
    topic.latest = true;
    topic.hiccup.store(true, Ordering::SeqCst);
    rig.topic = Arc::new(topic);
    // The first attempt does not come to read; meanwhile rows arrive.
    let options = RunOptions { max_retries: 0, ..rig.options() };
    assert_eq!(run(rig.plan(), options, &mut Silent).await.status, RunStatus::Failed);
    rig.topic.append(0, [51, 53]);
    let report = rig.attempt().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(rig.shown(0), [51, 53]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sinks_do_not_get_the_rows_of_an_open_turn() {
    let mut refusals = 0;
    for nth in 1..60 {
        let mut rig = Rig { wire: false, ..Rig::new(&[Staged], TURNS) };
        rig.faults.arm(nth, false);
        let report = rig.attempt().await;
        rig.faults.arm(-1, false);
        let place = FlowPlace { pipeline: "numbers", run_id: &report.run_id, flow: "numbers" };
        if rig.store().await.epochs(&place).await.unwrap().len() > 1 {
            // The turn has rows that only the old sink knows.
            rig.node = "other".into();
            let refused = rig.attempt().await;
            assert_eq!(refused.error.unwrap().code, "WEIR-STREAM-001", "operation {nth}");
            rig.node = "sink0".into();
            refusals += 1;
        }
        rig.check(&rig.attempt().await, "as it was").await;
        // After a clean end the sinks may be others.
        rig.node = "other".into();
        let report = rig.attempt().await;
        assert_eq!((report.status, report.streams[0].rows_read), (RunStatus::Succeeded, 27), "{:?}", report.error);
        if refusals == 3 {
            return;
        }
    }
    panic!("only {refusals} refusals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_a_stream_are_replayed_when_it_was_stopped() {
    let mut rig = Rig { wire: false, refuses: Some(0), ..Rig::new(&[Staged], TURNS) };
    let report = rig.attempt().await;
    rig.check(&report, "letters").await;
    let store = rig.store().await;
    let letters: Vec<_> = store.dead_list("numbers", 100).await.unwrap().into_iter().filter(|l| l.sink.is_some()).collect();
    assert!(!letters.is_empty());
    rig.refuses = None;
    let replayed = weir_engine::replay::replay(rig.plan(), letters.clone(), rig.options(), &mut Silent).await.unwrap();
    assert_eq!(replayed.through.len(), letters.len(), "{:?} {:?}", replayed.still_dead, replayed.report.and_then(|r| r.error));
    assert_eq!(rig.shown(0), rig.expected(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_can_be_begun_anew_in_the_run_of_the_others() {
    let rig = Rig { wire: false, ..Rig::new(&[Staged], TURNS) };
    let first = rig.attempt().await;
    let store = rig.store().await;
    assert_eq!(store.reset("numbers", Some("others")).await.unwrap(), 0);
    assert_eq!(store.reset("numbers", Some("numbers")).await.unwrap(), 1);
    assert_eq!(store.show("numbers").await.unwrap().splits, []);
    rig.topic.acknowledged.lock().unwrap().clear();
    let second = rig.attempt().await;
    assert_eq!((second.run_id, second.streams[0].rows_read), (first.run_id, 27));
    let twice: Vec<i64> = rig.expected(0).into_iter().flat_map(|id| [id, id]).collect();
    assert_eq!(rig.shown(0), twice);
}
