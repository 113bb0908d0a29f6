//! The commit protocol under crashes at every single operation, before and after its effect.
//!
//! The attempt is cut by an error that is not retried, which leaves exactly what a crash leaves: the state file and the world
//! outside. The next attempt must finish with every row exactly once and every broken record in the dead letters exactly once.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod changes;
mod hold;
mod journal;
mod journal_suite;
mod keyed;
mod memory;
mod objects;
mod store;
mod stream;
mod topic;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use memory::{Faults, MemorySink, Numbers, World};
use weir_connect::{DeadLetter, OnLoss, Result, SchemaChangePolicy, WriteMode};
use weir_engine::store::tables::Tables;
use weir_engine::store::{StatePlace, StateStore};
use weir_engine::{RunOptions, RunReport, RunStatus, Silent, run};
use weir_plan::{Flow, FlowInput, FlowOutput, Guarantee, Plan, Program, RelationalProgram, RowOutput, RowProgram};
use weir_spec::{Delivery, Pipeline};

/// Keeps odd numbers; one output per sink. Numbers that end in 5 are set aside on the way to `refuses`.
struct Odd {
    outputs: usize,
    refuses: Option<usize>,
}

fn refused(id: i64) -> DeadLetter {
    DeadLetter {
        stream: "numbers".into(),
        code: "WEIR-ROW-001".into(),
        reason: "it ends in 5".into(),
        place: format!("five {id}"),
        payload: format!("{{\"id\":{id}}}").into_bytes(),
        media_type: "application/json".into(),
    }
}

impl RowProgram for Odd {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        use arrow::array::{AsArray, BooleanArray};
        let ids = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
        let output = |at: usize| {
            let five = |id: i64| self.refuses == Some(at) && id % 10 == 5;
            let dead: Vec<DeadLetter> = ids.values().iter().filter(|id| five(**id)).map(|id| refused(*id)).collect();
            let keep = BooleanArray::from_iter(ids.values().iter().map(|id| Some(id % 2 == 1 && !five(*id))));
            let kept = arrow::compute::filter_record_batch(batch, &keep).unwrap();
            let filtered = (batch.num_rows() - kept.num_rows() - dead.len()) as u64;
            RowOutput { batch: kept, filtered, dead, kept: vec![Arc::new(keep)], rules: vec![] }
        };
        Ok((0..self.outputs).map(output).collect())
    }
}

/// Needs all rows together.
struct Grouped;

#[async_trait::async_trait]
impl RelationalProgram for Grouped {
    async fn frames(&self, context: &SessionContext) -> Result<Vec<DataFrame>> {
        // The input is scanned twice: a self-join must see all splits on both sides.
        let sql = "SELECT DISTINCT a.id FROM input a JOIN input b ON a.id = b.id WHERE a.id % 2 = 1 ORDER BY 1";
        Ok(vec![context.sql(sql).await.unwrap()])
    }
    fn reason(&self) -> String {
        "a join".into()
    }
}

struct Rig {
    relational: bool,
    source: Arc<Numbers>,
    sinks: Vec<Arc<MemorySink>>,
    folder: tempfile::TempDir,
    cursor: bool,
    lanes: usize,
    refuses: Option<usize>,
    wire: bool,
    /// Where dead letters go.
    letters: Option<Arc<MemorySink>>,
}

impl Rig {
    fn new(kinds: &[bool], positions: bool) -> Self {
        let faults = Arc::new(Faults::default());
        let sinks = kinds
            .iter()
            .map(|&co_committed| {
                Arc::new(MemorySink { world: Arc::new(Mutex::new(World::default())), faults: faults.clone(), co_committed })
            })
            .collect();
        let source = Arc::new(Numbers { mended: false, splits: 6, rows: 50, positions, start_over: Mutex::new(None) });
        Self {
            relational: false,
            source,
            sinks,
            folder: weir_testkit::memory_folder(),
            cursor: false,
            lanes: 1,
            refuses: None,
            wire: false,
            letters: None,
        }
    }

    /// The same, and its dead letters go somewhere.
    fn with_letters(self, co_committed: bool) -> Self {
        let sink = MemorySink { world: Arc::default(), faults: self.faults().clone(), co_committed };
        Self { letters: Some(Arc::new(sink)), ..self }
    }

    fn faults(&self) -> &Arc<Faults> {
        &self.sinks[0].faults
    }

    async fn attempt(&self) -> RunReport {
        let mut options = self.options();
        if self.wire {
            options.state = self.wire().await;
        }
        run(self.plan(), options, &mut Silent).await
    }

    /// The checkpoints behind a wire that breaks where everything else breaks.
    async fn wire(&self) -> StatePlace {
        let wire = store::Wire { tables: Tables::file(self.folder.path()).await.unwrap(), faults: self.faults().clone() };
        StatePlace::Link(self.folder.path().to_owned(), Arc::new(wire))
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            parallelism: self.lanes,
            // Every split, and every position, ends an epoch: the most places for a crash.
            checkpoint_interval: Duration::ZERO,
            ..RunOptions::new(self.folder.path())
        }
    }

    fn plan(&self) -> Plan {
        let pipeline = Pipeline {
            name: "numbers".into(),
            dead_letters: weir_spec::DeadLetterPolicy { allow: 100, to: None },
            ..serde_json::from_value(serde_json::json!({
                "name": "", "mode": "batch", "nodes": [], "connections": {}, "on_loss": {}, "alerts": [], "labels": {},
                "dead_letters": {"allow": 0}
            }))
            .unwrap()
        };
        let output = |node: String, sink: &Arc<MemorySink>| FlowOutput {
            node,
            connector: "memory".into(),
            sink: sink.clone(),
            stream: "numbers".into(),
            schema: memory::schema(),
            write_mode: WriteMode::Append,
            key: vec![],
            on_schema_change: SchemaChangePolicy::Evolve,
            on_loss: OnLoss::default(),
            deletes: weir_connect::DeleteMode::Hard,
            metadata: vec![],
        };
        let letters = self.letters.as_ref().map(|sink| FlowOutput {
            stream: "dead_letters".into(),
            schema: weir_connect::letters::schema(),
            ..output("dead_letters".into(), sink)
        });
        let outputs = self.sinks.iter().enumerate().map(|(index, sink)| output(format!("sink{index}"), sink)).collect();
        let flow = Flow {
            name: "numbers".into(),
            inputs: vec![FlowInput {
                node: "source".into(),
                connector: "numbers".into(),
                source: self.source.clone(),
                stream: memory::info(),
                table: "input".into(),
                cursor: self.cursor.then(|| "id".into()),
                cursor_lag: None,
            }],
            program: if self.relational {
                Program::Relational(Arc::new(Grouped))
            } else {
                Program::RowLocal(Arc::new(Odd { outputs: self.sinks.len(), refuses: self.refuses }))
            },
            outputs,
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

    async fn dead(&self) -> Vec<String> {
        let store = StateStore::open(self.folder.path()).await.unwrap();
        let mut places: Vec<String> = store.dead_list("numbers", 1000).await.unwrap().into_iter().map(|d| d.place).collect();
        places.sort();
        places
    }

    fn visible(&self, sink: usize) -> Vec<i64> {
        let mut rows = self.sinks[sink].world.lock().unwrap().visible.clone();
        rows.sort_unstable();
        rows
    }
}

fn expected() -> Vec<i64> {
    (0..300).filter(|id| id % 97 != 96 && id % 2 == 1).collect()
}

async fn survives_every_crash(kinds: &[bool], positions: bool, lanes: usize) {
    assert!(crashes_survived(|| Rig { lanes, ..Rig::new(kinds, positions) }).await > 40, "too few places to crash at");
}

/// Crashes a fresh rig at each of its operations in turn, resumes, and compares. Returns the number of crashes.
async fn crashes_survived(make: impl Fn() -> Rig) -> usize {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let rig = make();
            rig.faults().arm(nth, after);
            let first = rig.attempt().await;
            let hit = rig.faults().hit.load(std::sync::atomic::Ordering::SeqCst);
            let last = if hit {
                assert_eq!(first.status, RunStatus::Failed, "operation {nth} failed, so must the run");
                crashes += 1;
                rig.faults().arm(-1, false);
                let second = rig.attempt().await;
                assert!(first.run_id.is_empty() || second.run_id == first.run_id, "the same run goes on");
                second
            } else {
                first
            };
            assert_eq!(last.status, RunStatus::Succeeded, "operation {nth}, after={after}: {:?}", last.error);
            for sink in 0..rig.sinks.len() {
                assert_eq!(rig.visible(sink), expected(), "operation {nth}, after={after}, sink {sink}");
            }
            assert_eq!(rig.dead().await, ["number 193", "number 290", "number 96"], "operation {nth}, after={after}");
            if let Some(letters) = &rig.letters {
                let store = StateStore::open(rig.folder.path()).await.unwrap();
                let kept: Vec<i64> =
                    store.dead_list("numbers", 1000).await.unwrap().into_iter().map(|letter| letter.id).collect();
                assert_eq!(letters.world.lock().unwrap().visible, kept, "operation {nth}, after={after}: letters, in order");
            }
            let stream = &last.streams[0];
            assert_eq!(stream.rows_read, 300);
            assert_eq!(
                stream.rows_read + stream.rows_derived,
                stream.rows_written + stream.rows_filtered + stream.rows_dead,
                "operation {nth}: {stream:?}"
            );
            if !hit {
                break;
            }
        }
    }
    crashes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relational_flow_is_all_or_nothing_under_crashes() {
    for co_committed in [false, true] {
        let crashes = crashes_survived(|| Rig { relational: true, lanes: 2, ..Rig::new(&[co_committed], false) }).await;
        assert!(crashes >= 5, "only {crashes} places to crash at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staged_sink_survives_a_crash_at_every_operation() {
    survives_every_crash(&[false], false, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staged_sink_survives_with_positions_inside_splits() {
    survives_every_crash(&[false], true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_co_committed_sink_survives_a_crash_at_every_operation() {
    survives_every_crash(&[true], false, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_co_committed_sink_survives_with_positions_inside_splits() {
    survives_every_crash(&[true], true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_of_sink_in_one_flow_agree_after_every_crash() {
    survives_every_crash(&[false, true], true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_co_committed_sinks_agree_after_every_crash() {
    survives_every_crash(&[true, true], false, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_to_the_checkpoints_may_break_at_every_call() {
    for kinds in [&[false][..], &[true], &[false, true]] {
        let crashes = crashes_survived(|| Rig { wire: true, ..Rig::new(kinds, true) }).await;
        assert!(crashes > 80, "only {crashes} places to crash at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_a_batch_are_each_once_in_their_own_sink() {
    for (rows, letters) in [(true, true), (false, false)] {
        let numbers =
            || Arc::new(Numbers { mended: false, splits: 3, rows: 100, positions: false, start_over: Mutex::new(None) });
        let make = || Rig { wire: true, source: numbers(), ..Rig::new(&[rows], false) }.with_letters(letters);
        let crashes = crashes_survived(make).await;
        assert!(crashes > 80, "only {crashes} places to crash at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_lanes_survive_crashes_too() {
    survives_every_crash(&[false, true], false, 3).await;
}

#[tokio::test]
async fn a_changed_source_starts_over_when_nothing_is_visible_and_refuses_when_rows_would_double() {
    for (co_committed, status) in [(false, RunStatus::Succeeded), (true, RunStatus::Failed)] {
        let rig = Rig::new(&[co_committed], false);
        rig.faults().arm(30, false);
        assert_eq!(rig.attempt().await.status, RunStatus::Failed);
        rig.faults().arm(-1, false);
        *rig.source.start_over.lock().unwrap() = Some("somebody vacuumed".into());
        let report = rig.attempt().await;
        assert_eq!(report.status, status, "{:?}", report.error);
        if co_committed {
            assert_eq!(report.error.unwrap().code, "WEIR-RUN-013");
        } else {
            assert_eq!(rig.visible(0), expected());
            assert_eq!(rig.dead().await.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_second_incremental_run_delivers_only_what_is_new() {
    let mut rig = Rig { cursor: true, ..Rig::new(&[false], false) };
    assert_eq!(rig.attempt().await.streams[0].rows_written, expected().len() as u64);
    let second = rig.attempt().await;
    assert_eq!(second.streams[0].rows_written, 0, "the row at the boundary came again and was recognised");
    rig.source = Arc::new(Numbers { mended: false, splits: 7, rows: 50, positions: false, start_over: Mutex::new(None) });
    let third = rig.attempt().await;
    assert_eq!(third.streams[0].rows_written, 25);
    assert_eq!(rig.visible(0).len(), expected().len() + 25);
}

#[tokio::test]
async fn replayed_letters_arrive_once_and_broken_ones_wait() {
    let mut rig = Rig::new(&[false], false);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let store = StateStore::open(rig.folder.path()).await.unwrap();
    let letters = store.dead_list("numbers", 10).await.unwrap();
    let replayed = weir_engine::replay::replay(rig.plan(), letters.clone(), rig.options(), &mut Silent).await.unwrap();
    assert_eq!((replayed.through.len(), replayed.still_dead.len()), (0, 3));
    rig.source = Arc::new(Numbers { mended: true, splits: 6, rows: 50, positions: false, start_over: Mutex::new(None) });
    let replayed = weir_engine::replay::replay(rig.plan(), letters, rig.options(), &mut Silent).await.unwrap();
    assert_eq!(replayed.through.len(), 3);
    assert_eq!(rig.dead().await, Vec::<String>::new());
    let rows = rig.visible(0);
    assert_eq!(rows.iter().filter(|id| **id % 97 == 96).count(), 1, "193 is odd and arrives; 96 and 290 are filtered");

    // A crash right after the commit leaves the letters unmarked: what was committed says that they are through.
    let file = format!("sqlite://{}", rig.folder.path().join("state.db").display());
    let mut state = <sqlx::SqliteConnection as sqlx::Connection>::connect(&file).await.unwrap();
    sqlx::raw_sql("UPDATE dead_letter SET replayed_at = NULL").execute(&mut state).await.unwrap();
    let letters = store.dead_list("numbers", 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    let replayed = weir_engine::replay::replay(rig.plan(), letters, rig.options(), &mut Silent).await.unwrap();
    assert!(replayed.report.is_none() && replayed.still_dead.is_empty(), "{replayed:?}");
    assert_eq!((rig.dead().await, rig.visible(0)), (vec![], rows));
}

/// All numbers that may arrive once the source's letters are mended, too.
fn all() -> Vec<i64> {
    (0..300).filter(|id| id % 2 == 1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_survives_a_crash_at_every_operation_and_doubles_nothing_in_any_sink() {
    let mut crashes = 0;
    for kinds in [[false, true], [true, true]] {
        // The second replay may know letters that the first did not.
        for known_first in [33, 20] {
            for after in [false, true] {
                for nth in 1.. {
                    let told = format!("{kinds:?}, {known_first} letters, operation {nth}, after={after}");
                    let mut rig = Rig { refuses: Some(1), ..Rig::new(&kinds, false) };
                    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
                    let store = StateStore::open(rig.folder.path()).await.unwrap();
                    let letters = store.dead_list("numbers", 100).await.unwrap();
                    assert_eq!(letters.len(), 33);
                    assert_eq!(letters.iter().filter(|letter| letter.sink.as_deref() == Some("sink1")).count(), 30);
                    rig.refuses = None;
                    rig.source =
                        Arc::new(Numbers { mended: true, splits: 6, rows: 50, positions: false, start_over: Mutex::new(None) });

                    rig.faults().arm(nth, after);
                    let first = letters.iter().rev().take(known_first).rev().cloned().collect();
                    let replayed = weir_engine::replay::replay(rig.plan(), first, rig.options(), &mut Silent).await.unwrap();
                    let hit = rig.faults().hit.load(std::sync::atomic::Ordering::SeqCst);
                    crashes += usize::from(hit);
                    assert_eq!(replayed.report.unwrap().status == RunStatus::Failed, hit, "{told}");
                    rig.faults().arm(-1, false);
                    for _ in 0..2 {
                        let again =
                            weir_engine::replay::replay(rig.plan(), letters.clone(), rig.options(), &mut Silent).await.unwrap();
                        assert_eq!(again.still_dead, [], "{told}");
                        assert!(
                            again.report.as_ref().is_none_or(|report| report.status == RunStatus::Succeeded),
                            "{told}: {again:?}"
                        );
                        assert_eq!(rig.dead().await, Vec::<String>::new(), "{told}");
                        assert_eq!(rig.visible(0), all(), "{told}");
                        assert_eq!(rig.visible(1), all(), "{told}");
                    }
                    if !hit {
                        break;
                    }
                }
            }
        }
    }
    assert!(crashes > 40, "only {crashes} places to crash at");
}

#[tokio::test]
async fn letters_of_a_run_that_has_not_ended_wait_for_its_end() {
    let mut rig = Rig { refuses: Some(0), ..Rig::new(&[false], false) };
    rig.faults().arm(30, false);
    assert_eq!(rig.attempt().await.status, RunStatus::Failed);
    rig.faults().arm(-1, false);
    let store = StateStore::open(rig.folder.path()).await.unwrap();
    let letters = store.dead_list("numbers", 100).await.unwrap();
    assert!(!letters.is_empty());
    let mended = Rig { refuses: None, ..rig };
    let replayed = weir_engine::replay::replay(mended.plan(), letters.clone(), mended.options(), &mut Silent).await.unwrap();
    assert!(replayed.report.is_none() && replayed.through.is_empty());
    assert!(replayed.still_dead[0].1.contains("has not ended"), "{:?}", replayed.still_dead);

    rig = Rig { refuses: Some(0), ..mended };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let fives = store.dead_list("numbers", 100).await.unwrap().into_iter().filter(|letter| letter.sink.is_some()).collect();
    rig.refuses = None;
    let replayed = weir_engine::replay::replay(rig.plan(), fives, rig.options(), &mut Silent).await.unwrap();
    assert_eq!((replayed.through.len(), replayed.still_dead.len()), (30, 0));
    assert_eq!(rig.visible(0), expected());
}

#[tokio::test]
async fn a_letter_whose_sink_is_gone_or_whose_rows_are_seen_together_stays_with_what_to_do() {
    let mut rig = Rig { refuses: Some(1), ..Rig::new(&[false, false], false) };
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    let store = StateStore::open(rig.folder.path()).await.unwrap();
    let letters = store.dead_list("numbers", 100).await.unwrap();
    let of_sink = |letters: &[weir_engine::store::inspect::DeadView]| {
        letters.iter().filter(|letter| letter.sink.is_some()).cloned().collect::<Vec<_>>()
    };
    rig.refuses = None;
    rig.sinks.truncate(1);
    let replayed = weir_engine::replay::replay(rig.plan(), of_sink(&letters), rig.options(), &mut Silent).await.unwrap();
    assert!(replayed.report.is_none() && replayed.still_dead.len() == 30);
    assert!(replayed.still_dead[0].1.contains("on its way to sink `sink1`"), "{:?}", replayed.still_dead[0]);

    rig.relational = true;
    let replayed = weir_engine::replay::replay(rig.plan(), letters, rig.options(), &mut Silent).await.unwrap();
    assert!(replayed.report.is_none() && replayed.still_dead.len() == 33);
    let reason = &replayed.still_dead[0].1;
    for part in ["(a join)", "run the pipeline again", "`sink0` appends"] {
        assert!(reason.contains(part), "{reason}");
    }
}
