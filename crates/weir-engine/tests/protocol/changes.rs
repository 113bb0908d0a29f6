//! A log of changes into two sinks, cut at every single operation: every change of every key once and in order, in both, whatever the source
//! gives the second time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_connect::{
    Barrier, Boundary, ChangeBatch, ChangeEvent, ChangeLog, ChangeRequest, ChangeSource, ChangeStream, ChangeWriter, CommitKind,
    CommitReport, CommitToken, DeadLetter, DeleteMode, Error, Flushed, Kind, Objects, OnLoss, Op, Position, ReadRequest,
    Recovery, Result, SchemaChange, SchemaChangePolicy, Sink, SinkCapabilities, SinkType, SnapshotAgain, Source,
    SourceCapabilities, SplitProgress, StreamInfo, StreamReader, StreamSink, StreamTarget, StreamWriter, TransactionMark,
    WriteMode,
};
use weir_engine::store::tables::Tables;
use weir_engine::store::{StatePlace, StateStore};
use weir_engine::{Reporter, RunOptions, RunReport, RunStatus, Silent, run};
use weir_plan::{
    Flow, FlowInput, FlowOutput, Guarantee, MetadataColumn, OutputWay, Plan, Program, Replan, Replanned, RowOutput, RowProgram,
};
use weir_spec::{Delivery, JournalPolicy, Mode, Pipeline};

use crate::memory::Faults;
use crate::objects::Shelf;
use crate::store::Wire;

pub(crate) const STREAMS: [&str; 2] = ["a", "b"];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true), Field::new("value", DataType::Int64, true)]))
}

fn info(stream: &str) -> StreamInfo {
    StreamInfo {
        name: stream.into(),
        schema: schema(),
        primary_key: vec!["key".into()],
        estimated_rows: None,
        estimated_bytes: None,
        reading: "a script".into(),
    }
}

/// Transaction n, which is the same every time: some changes of both streams, now and then a broken record.
pub(crate) fn transaction(n: u64) -> Vec<(usize, Op, i64, i64)> {
    let mut changes = Vec::new();
    for part in 0..=n % 3 {
        let number = i64::try_from(n * 10 + part).unwrap();
        let op = if number % 7 == 3 { Op::Delete } else { Op::Update };
        changes.push((usize::try_from((n + part) % 2).unwrap(), op, number % 4, number));
    }
    changes
}

fn broken(n: u64) -> bool {
    n % 5 == 4
}

/// The shape of `a` after it was widened.
fn wide() -> SchemaRef {
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("extra", DataType::Int64, true));
    Arc::new(Schema::new(fields))
}

/// A log of a fixed number of transactions. How many come between two boundaries is different at every opening.
pub(crate) struct Script {
    pub(crate) transactions: u64,
    /// In this transaction, before its last change, `a` gets another column.
    pub(crate) widens: Option<u64>,
    /// Nothing more comes, and nobody says so.
    pub(crate) endless: bool,
    pub(crate) acknowledged: Arc<AtomicU64>,
    openings: AtomicU64,
    faults: Arc<Faults>,
}

#[async_trait]
impl Source for Script {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: false, replay_note: String::new() }
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(STREAMS.map(info).to_vec())
    }
    async fn open(&self, _: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Err(Error::internal("a log is not read so"))
    }
    fn changes(&self) -> Option<&dyn ChangeSource> {
        Some(self)
    }
}

#[async_trait]
impl ChangeSource for Script {
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Source::streams(self).await
    }
    async fn open(&self, request: ChangeRequest) -> Result<Arc<dyn ChangeLog>> {
        assert_eq!(request.streams, STREAMS);
        let again = request.from.iter().flat_map(|position| position["again"].as_array().into_iter().flatten());
        let again: Vec<usize> =
            again.map(|name| STREAMS.iter().position(|stream| *stream == name.as_str().unwrap()).unwrap()).collect();
        let from = request.from.map_or(0, |position| position["n"].as_u64().unwrap());
        let kept = self.acknowledged.load(Ordering::SeqCst);
        if from < kept {
            return Err(Error::new("WEIR-TEST-002", Kind::Data, format!("transactions {from} to {kept} are gone")));
        }
        self.faults.step(|| ())?;
        Ok(Arc::new(Opened {
            from,
            again,
            widens: self.widens,
            endless: self.endless,
            transactions: self.transactions,
            pace: self.openings.fetch_add(1, Ordering::SeqCst) % 3 + 1,
            acknowledged: self.acknowledged.clone(),
            faults: self.faults.clone(),
        }))
    }
    fn snapshot_again(&self, from: &Position, streams: &[SnapshotAgain]) -> Result<Position> {
        let names: Vec<&str> = streams.iter().map(|wanted| wanted.stream.as_str()).collect();
        Ok(json!({"n": from["n"], "again": names}))
    }
    async fn forget(&self, _: &str, _: Option<&Position>) -> Result<()> {
        Ok(())
    }
}

/// What there is after so many transactions.
pub(crate) fn rows_after(transactions: u64) -> BTreeMap<(usize, i64), i64> {
    let mut rows = BTreeMap::new();
    for (stream, op, key, value) in (1..=transactions).flat_map(transaction) {
        match op {
            Op::Delete => rows.remove(&(stream, key)),
            _ => rows.insert((stream, key), value),
        };
    }
    rows
}

struct Opened {
    from: u64,
    /// Streams that are read before the log.
    again: Vec<usize>,
    widens: Option<u64>,
    endless: bool,
    transactions: u64,
    pace: u64,
    acknowledged: Arc<AtomicU64>,
    faults: Arc<Faults>,
}

#[async_trait]
impl ChangeLog for Opened {
    async fn read(&self) -> Result<ChangeStream> {
        let mut events: Vec<Result<ChangeEvent>> = Vec::new();
        let change = |n: u64, (stream, op, key, value): (usize, Op, i64, i64)| {
            let columns: Vec<arrow::array::ArrayRef> =
                vec![Arc::new(Int64Array::from(vec![key])), Arc::new(Int64Array::from(vec![value]))];
            Ok(ChangeEvent::Changes(ChangeBatch {
                stream: STREAMS[stream].into(),
                ops: vec![op],
                rows: RecordBatch::try_new(schema(), columns).unwrap(),
                absent: vec![None, None],
                before: None,
                transactions: vec![TransactionMark { end: 1, position: n.to_string().into(), id: None, committed_at_us: 0 }],
                source_bytes: 8,
            }))
        };
        let again = rows_after(self.from).into_iter().filter(|((stream, _), _)| self.again.contains(stream));
        events.extend(again.map(|((stream, key), value)| change(self.from, (stream, Op::Read, key, value))));
        if !events.is_empty() {
            let position = json!({"n": self.from});
            events.push(Ok(ChangeEvent::Boundary(Boundary { position, committed_at_us: None, caught_up: false })));
        }
        for n in self.from + 1..=self.transactions {
            let mark = |end| TransactionMark { end, position: n.to_string().into(), id: None, committed_at_us: 0 };
            let changes = transaction(n);
            let last = changes.len() - 1;
            for (part, (stream, op, key, value)) in changes.into_iter().enumerate() {
                let mut columns: Vec<arrow::array::ArrayRef> =
                    vec![Arc::new(Int64Array::from(vec![key])), Arc::new(Int64Array::from(vec![value]))];
                let widened = self.widens.is_some_and(|at| (n, part) >= (at, transaction(at).len() - 1));
                let schema = if widened && stream == 0 { wide() } else { schema() };
                if self.widens == Some(n) && part == last {
                    events.push(Ok(ChangeEvent::Schema(SchemaChange {
                        stream: STREAMS[0].into(),
                        schema: wide(),
                        key: vec!["key".into()],
                        renamed: vec![],
                        statement: None,
                    })));
                }
                if schema.fields().len() == 3 {
                    columns.push(Arc::new(Int64Array::from(vec![2 * value])));
                }
                events.push(Ok(ChangeEvent::Changes(ChangeBatch {
                    stream: STREAMS[stream].into(),
                    ops: vec![op],
                    absent: vec![None; columns.len()],
                    rows: RecordBatch::try_new(schema, columns).unwrap(),
                    before: None,
                    transactions: vec![mark(1)],
                    source_bytes: 8,
                })));
            }
            if broken(n) {
                events.push(Ok(ChangeEvent::Dead(DeadLetter {
                    stream: "a".into(),
                    code: "WEIR-TEST-003".into(),
                    reason: "broken".into(),
                    place: format!("transaction {n}"),
                    payload: vec![],
                    media_type: "text/plain".into(),
                })));
            }
            if n % self.pace == 0 || n == self.transactions {
                let position = json!({"n": n});
                events.push(Ok(ChangeEvent::Boundary(Boundary {
                    position,
                    committed_at_us: None,
                    caught_up: n == self.transactions,
                })));
            }
        }
        let faults = self.faults.clone();
        let events = futures::stream::iter(events).map(move |event| faults.step(|| ()).and(event));
        Ok(if self.endless { events.chain(futures::stream::pending()).boxed() } else { events.boxed() })
    }
    async fn acknowledge(&self, position: &Position) -> Result<()> {
        let n = position["n"].as_u64().unwrap();
        self.faults.step(|| {
            self.acknowledged.fetch_max(n, Ordering::SeqCst);
        })
    }
}

/// What a target has: survives every crash.
#[derive(Default)]
pub(crate) struct World {
    /// By stream and key, every value it ever had; `None` for a delete.
    pub(crate) history: BTreeMap<(String, i64), Vec<Option<i64>>>,
    progress: BTreeMap<(String, String), SplitProgress>,
    rows: BTreeMap<(String, String), u64>,
    flushes: BTreeMap<String, usize>,
    /// By stream.
    pub(crate) columns: BTreeMap<String, Vec<String>>,
    /// No column is added, whatever the contract is.
    pub(crate) stubborn: bool,
    committed: BTreeMap<(String, String), CommitReport>,
}

impl World {
    /// What the target lacks; an error if it must not be added.
    fn lacks(&self, stream: &str, schema: &SchemaRef, policy: SchemaChangePolicy) -> Result<Vec<String>> {
        let Some(columns) = self.columns.get(stream) else { return Ok(names(schema)) };
        let mut lacks = names(schema);
        lacks.retain(|name| !columns.contains(name));
        if !lacks.is_empty() && (self.stubborn || policy != SchemaChangePolicy::Evolve) {
            let kind = if policy == SchemaChangePolicy::Hold { Kind::Conflict } else { Kind::Schema };
            return Err(Error::new("WEIR-TEST-005", kind, format!("`{stream}` lacks {lacks:?}")));
        }
        Ok(lacks)
    }
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

pub(crate) struct Histories {
    pub(crate) world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    /// How long it waits for more than two changes.
    patience: Duration,
    pub(crate) flushed: Arc<Notify>,
    /// While it is set no flush ends.
    held: watch::Sender<bool>,
}

impl Histories {
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

#[async_trait]
impl Sink for Histories {
    fn capabilities(&self, _: WriteMode) -> SinkCapabilities {
        SinkCapabilities { commit: CommitKind::CoCommitted, commit_note: String::new(), write_modes: vec![WriteMode::Upsert] }
    }
    fn sink_type(&self, field: &Field) -> SinkType {
        SinkType::exact(field.data_type().to_string())
    }
    fn place(&self, stream: &str) -> String {
        stream.into()
    }
    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        self.world.lock().unwrap().lacks(&target.stream, &target.schema, target.on_schema_change)
    }
    fn change_modes(&self) -> Vec<WriteMode> {
        vec![WriteMode::Upsert, WriteMode::Merge]
    }
    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        assert!(target.changes);
        let mut world = self.world.lock().unwrap();
        let lacks = world.lacks(&target.stream, &target.schema, target.on_schema_change)?;
        world.columns.entry(target.stream.clone()).or_default().extend(lacks);
        let at = (target.stream, target.run.run_id);
        Ok(Box::new(History {
            at,
            policy: target.on_schema_change,
            columns: target.schema,
            world: self.world.clone(),
            faults: self.faults.clone(),
            held: self.held.subscribe(),
            patience: self.patience,
            flushed: self.flushed.clone(),
        }))
    }
}

struct History {
    at: (String, String),
    policy: SchemaChangePolicy,
    columns: SchemaRef,
    held: watch::Receiver<bool>,
    world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    patience: Duration,
    flushed: Arc<Notify>,
}

#[async_trait]
impl StreamSink for History {
    async fn recover(&self) -> Result<Recovery> {
        let world = self.world.lock().unwrap();
        Ok(Recovery {
            progress: Some(world.progress.get(&self.at).cloned().into_iter().collect()),
            committed: world.committed.get(&self.at).cloned(),
            rows: 0,
        })
    }
    async fn discard(&self, _: &[CommitToken]) -> Result<()> {
        Ok(())
    }
    async fn writer(&self, _: usize) -> Result<Box<dyn StreamWriter>> {
        Err(Error::internal("changes only"))
    }
    async fn change_writer(&self, _: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        Ok(Box::new(Writes {
            at: self.at.clone(),
            policy: self.policy,
            columns: self.columns.clone(),
            pending: vec![],
            world: self.world.clone(),
            faults: self.faults.clone(),
            held: self.held.clone(),
            patience: self.patience,
            flushed: self.flushed.clone(),
        }))
    }
    async fn commit(&self, _: &[CommitToken]) -> Result<CommitReport> {
        self.faults.step(|| {
            let mut world = self.world.lock().unwrap();
            let rows = world.rows.get(&self.at).copied().unwrap_or(0);
            let report = CommitReport { rows, place: self.at.0.clone(), ..Default::default() };
            world.committed.insert(self.at.clone(), report.clone());
            report
        })
    }
}

struct Writes {
    at: (String, String),
    policy: SchemaChangePolicy,
    columns: SchemaRef,
    held: watch::Receiver<bool>,
    pending: Vec<(i64, Option<i64>)>,
    world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    patience: Duration,
    flushed: Arc<Notify>,
}

#[async_trait]
impl ChangeWriter for Writes {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        assert_eq!(names(&batch.rows.schema()), names(&self.columns), "what comes is what was told");
        assert_eq!(batch.transactions.last().unwrap().end, batch.ops.len());
        let columns: Vec<&Int64Array> =
            batch.rows.columns()[..2].iter().map(|column| column.as_primitive::<Int64Type>()).collect();
        if let Some(op) = batch.rows.column_by_name("_op") {
            let (op, position) = (op.as_string::<i32>(), batch.rows["_position"].as_string::<i32>());
            for row in 0..batch.ops.len() {
                assert_eq!(op.value(row), batch.ops[row].as_str());
                if batch.ops[row] != Op::Delete {
                    assert_eq!(position.value(row), (columns[1].value(row) / 10).to_string(), "the number tells the transaction");
                }
            }
            assert_eq!(batch.rows["_source_ts"].as_primitive::<TimestampMicrosecondType>().value(0), 0);
        }
        self.faults.step(|| {
            for (row, op) in batch.ops.iter().enumerate() {
                self.pending.push((columns[0].value(row), (*op != Op::Delete).then(|| columns[1].value(row))));
            }
        })
    }
    async fn truncate(&mut self, _: &TransactionMark) -> Result<()> {
        Err(Error::internal("not in this script"))
    }
    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        self.world.lock().unwrap().lacks(&self.at.0, &change.schema, self.policy)?;
        self.columns = change.schema.clone();
        self.faults.step(|| ())
    }
    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.held.wait_for(|held| !held).await.unwrap();
        let pending = std::mem::take(&mut self.pending);
        let rows = pending.len() as u64;
        self.faults.step(|| {
            let mut world = self.world.lock().unwrap();
            let lacks = world.lacks(&self.at.0, &self.columns, self.policy).unwrap();
            world.columns.entry(self.at.0.clone()).or_default().extend(lacks);
            for (key, value) in pending {
                world.history.entry((self.at.0.clone(), key)).or_default().push(value);
            }
            *world.rows.entry(self.at.clone()).or_default() += rows;
            world.progress.insert(self.at.clone(), barrier.progress[0].clone());
            *world.flushes.entry(self.at.0.clone()).or_default() += 1;
        })?;
        self.flushed.notify_one();
        Ok(Flushed { token: Value::Null, rows, bytes: 0 })
    }
    fn patience(&self) -> Duration {
        self.patience
    }
    fn full(&self) -> bool {
        self.patience.is_zero() || self.pending.len() > 2
    }
}

struct AsIs;

impl RowProgram for AsIs {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        Ok(vec![RowOutput { batch: batch.clone(), filtered: 0, dead: vec![], kept: vec![], rules: vec![] }])
    }
    fn is_identity(&self) -> bool {
        true
    }
}

/// On its way a number that can be divided by three is filtered out, and one that ends in two is set aside.
struct Picky;

impl RowProgram for Picky {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        let values = batch.column(1).as_primitive::<Int64Type>();
        let all: Vec<i64> = values.values().to_vec();
        let two = |value: i64| value % 10 == 2;
        let keep = BooleanArray::from_iter(all.iter().map(|value| Some(!two(*value) && value % 3 != 0)));
        let letter = |value: &i64| DeadLetter {
            stream: "a".into(),
            code: "WEIR-TEST-004".into(),
            reason: "it ends in 2".into(),
            place: format!("value {value}"),
            payload: vec![],
            media_type: "text/plain".into(),
        };
        let kept = arrow::compute::filter_record_batch(batch, &keep).unwrap();
        let kept = RecordBatch::try_new(picked(), kept.columns().to_vec()).unwrap();
        let dead: Vec<DeadLetter> = all.iter().filter(|value| two(**value)).map(letter).collect();
        let filtered = (batch.num_rows() - kept.num_rows() - dead.len()) as u64;
        let output =
            || RowOutput { batch: kept.clone(), filtered, dead: dead.clone(), kept: vec![Arc::new(keep.clone())], rules: vec![] };
        Ok(vec![output(), output()])
    }

    fn ways(&self, columns: usize) -> Option<Vec<OutputWay>> {
        let way = OutputWay { filters: [1].into(), filtered: true, ..OutputWay::whole(columns) };
        Some(vec![way.clone(), way])
    }
}

fn picked() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true), Field::new("number", DataType::Int64, true)]))
}

fn picked_with_metadata() -> SchemaRef {
    weir_plan::changes::with_metadata(&picked(), &MetadataColumn::ALL).unwrap()
}

struct Picks;

impl Replan for Picks {
    fn replan(&self, stream: &StreamInfo) -> Result<Replanned> {
        assert_eq!(stream.schema, schema());
        let output = || (picked_with_metadata(), vec!["key".to_owned()]);
        Ok(Replanned { program: Arc::new(Picky), outputs: vec![output(), output()] })
    }
}

pub(crate) struct Rig {
    pub(crate) source: Arc<Script>,
    pub(crate) sinks: Vec<Arc<Histories>>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) faults: Arc<Faults>,
    pub(crate) wire: bool,
    /// Changes go through [`Picky`], and the sinks get the columns about changes.
    pub(crate) picky: bool,
    pub(crate) journal: Option<JournalPolicy>,
    pub(crate) write_mode: WriteMode,
    /// The journal is here and not in the folder.
    pub(crate) shelf: Option<Arc<Shelf>>,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) contract: SchemaChangePolicy,
}

impl Rig {
    pub(crate) fn new(sinks: usize, transactions: u64, wire: bool) -> Self {
        let faults = Arc::new(Faults::default());
        // The first takes everything at once, the others wait for more.
        let sink = |index: usize| {
            let patience = if index == 0 { Duration::ZERO } else { Duration::from_secs(60) };
            let held = watch::Sender::new(false);
            Arc::new(Histories { world: Arc::default(), faults: faults.clone(), patience, flushed: Arc::default(), held })
        };
        let (acknowledged, openings) = (Arc::default(), AtomicU64::new(0));
        let source =
            Arc::new(Script { transactions, widens: None, endless: false, acknowledged, openings, faults: faults.clone() });
        Self {
            source,
            sinks: (0..sinks).map(sink).collect(),
            folder: weir_testkit::memory_folder(),
            faults,
            wire,
            picky: false,
            journal: None,
            write_mode: WriteMode::Upsert,
            shelf: None,
            checkpoint_interval: Duration::ZERO,
            contract: SchemaChangePolicy::Evolve,
        }
    }

    /// One that takes everything at once.
    pub(crate) fn another_sink(&self) -> Arc<Histories> {
        let (faults, held) = (self.faults.clone(), watch::Sender::new(false));
        Arc::new(Histories { world: Arc::default(), faults, patience: Duration::ZERO, flushed: Arc::default(), held })
    }

    /// The journal is in objects, in many small ones; each call of them is an operation too.
    pub(crate) fn shelved(self) -> Self {
        let faults = self.faults.clone();
        let shelf = Shelf::behind(Arc::new(move |effect: &mut dyn FnMut()| faults.step(effect)));
        let journal = Some(JournalPolicy { max_bytes: 4 << 10, ..JournalPolicy::default() });
        Self { shelf: Some(shelf), journal, ..self }
    }

    /// `a` gets another column in a transaction, in which it has changes before that, and its contract is `hold`.
    pub(crate) fn holding(sinks: usize, transactions: u64, widens: u64) -> Self {
        let mut rig = Self { contract: SchemaChangePolicy::Hold, ..Self::new(sinks, transactions, false) };
        assert_eq!(transaction(widens).iter().filter(|change| change.0 == 0).count(), 2);
        Arc::get_mut(&mut rig.source).unwrap().widens = Some(widens);
        rig
    }

    pub(crate) fn more(&mut self, transactions: u64) {
        let (acknowledged, openings) = (self.source.acknowledged.clone(), AtomicU64::new(1));
        self.source =
            Arc::new(Script { transactions, widens: None, endless: false, acknowledged, openings, faults: self.faults.clone() });
    }

    fn plan(&self) -> Plan {
        let pipeline = Pipeline {
            name: "log".into(),
            mode: Mode::Cdc,
            dead_letters: weir_spec::DeadLetterPolicy { allow: 10_000, to: None },
            journal: self.journal.clone(),
            ..serde_json::from_value(json!({
                "name": "", "mode": "cdc", "nodes": [], "connections": {}, "on_loss": {}, "alerts": [], "labels": {},
                "dead_letters": {"allow": 0}
            }))
            .unwrap()
        };
        let flows = STREAMS.map(|stream| Flow {
            name: stream.into(),
            inputs: vec![FlowInput {
                node: "source".into(),
                connector: "script".into(),
                source: self.source.clone(),
                stream: info(stream),
                table: "input".into(),
                cursor: None,
                cursor_lag: None,
            }],
            program: Program::RowLocal(Arc::new(AsIs)),
            outputs: self
                .sinks
                .iter()
                .enumerate()
                .map(|(index, sink)| FlowOutput {
                    node: format!("sink{index}"),
                    connector: "histories".into(),
                    sink: sink.clone(),
                    stream: stream.into(),
                    schema: if self.picky { picked_with_metadata() } else { schema() },
                    write_mode: self.write_mode,
                    key: vec!["key".into()],
                    on_schema_change: self.contract,
                    on_loss: OnLoss::default(),
                    deletes: DeleteMode::Hard,
                    metadata: if self.picky { MetadataColumn::ALL.to_vec() } else { vec![] },
                })
                .collect(),
            gates: vec![],
            replan: self.picky.then(|| Arc::new(Picks) as Arc<dyn Replan>),
        });
        Plan {
            pipeline: Arc::new(pipeline),
            flows: flows.into(),
            letters: None,
            results: vec![],
            guarantee: Guarantee { delivery: Delivery::ExactlyOnce, reasons: vec![] },
            columns: vec![],
            warnings: vec![],
            actions: vec![],
        }
    }

    pub(crate) async fn attempt(&self) -> RunReport {
        self.attempt_with(&mut Silent, CancellationToken::new()).await
    }

    pub(crate) async fn attempt_told(&self, reporter: &mut dyn Reporter) -> RunReport {
        self.attempt_with(reporter, CancellationToken::new()).await
    }

    pub(crate) async fn attempt_until(&self, stop: CancellationToken) -> RunReport {
        self.attempt_with(&mut Silent, stop).await
    }

    pub(crate) async fn attempt_with(&self, reporter: &mut dyn Reporter, stop: CancellationToken) -> RunReport {
        let mut options = RunOptions::new(self.folder.path());
        options.checkpoint_interval = self.checkpoint_interval;
        options.until_caught_up = true;
        options.journal = self.shelf.clone().map(|shelf| shelf as Arc<dyn Objects>);
        options.look_again = Duration::from_millis(20);
        options.stop = stop;
        if self.wire {
            let tables = Tables::file(self.folder.path()).await.unwrap();
            let wire = Wire { tables, faults: self.faults.clone() };
            options.state = StatePlace::Link(self.folder.path().to_owned(), Arc::new(wire));
        }
        run(self.plan(), options, reporter).await
    }

    pub(crate) async fn check(&self, told: &str) {
        let mut expected: BTreeMap<(String, i64), Vec<Option<i64>>> = BTreeMap::new();
        for n in 1..=self.source.transactions {
            for (stream, op, key, value) in transaction(n) {
                let seen = match op {
                    Op::Delete => None,
                    _ if self.picky && value % 10 == 2 => continue,
                    _ if self.picky && value % 3 == 0 => None,
                    _ => Some(value),
                };
                expected.entry((STREAMS[stream].into(), key)).or_default().push(seen);
            }
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            assert_eq!(sink.world.lock().unwrap().history, expected, "{told}, sink {index}");
        }
        let store = StateStore::open(self.folder.path()).await.unwrap();
        let mut dead: Vec<String> = store.dead_list("log", 1000).await.unwrap().into_iter().map(|dead| dead.place).collect();
        dead.sort();
        let mut wanted: Vec<String> =
            (1..=self.source.transactions).filter(|n| broken(*n)).map(|n| format!("transaction {n}")).collect();
        if self.picky {
            let changes = (1..=self.source.transactions).flat_map(transaction);
            let twos = changes.filter(|(_, op, _, value)| *op != Op::Delete && value % 10 == 2).map(|(.., value)| value);
            // Each sink lacks it for itself.
            wanted.extend(twos.flat_map(|value| vec![format!("value {value}"); self.sinks.len()]));
        }
        wanted.sort();
        assert_eq!(dead, wanted, "{told}");
    }
}

async fn survives(sinks: usize, wire: bool, picky: bool) {
    survives_with(|| Rig { picky, ..Rig::new(sinks, 11, wire) }).await;
}

async fn survives_with(rig: impl Fn() -> Rig) {
    let mut crashes = 0;
    for after in [false, true] {
        for nth in 1.. {
            let rig = rig();
            let (sinks, picky) = (rig.sinks.len(), rig.picky);
            rig.faults.arm(nth, after);
            let told = format!("operation {nth}, after={after}");
            let first = rig.attempt().await;
            let hit = rig.faults.hit.load(Ordering::SeqCst);
            let mut last = first;
            if hit && last.status == RunStatus::Failed {
                crashes += 1;
                rig.faults.arm(-1, false);
                let second = rig.attempt().await;
                assert!(last.run_id.is_empty() || second.run_id == last.run_id, "the same run goes on");
                last = second;
            }
            assert_eq!(last.status, RunStatus::Succeeded, "{told}: {:?}", last.error);
            rig.check(&told).await;
            let read: u64 = last.streams.iter().map(|stream| stream.rows_read).sum();
            let changes: u64 = (1..=11).map(|n| transaction(n).len() as u64 + u64::from(broken(n))).sum();
            assert_eq!(read, changes, "{told}");
            for stream in &last.streams {
                assert_eq!(
                    stream.rows_read + stream.rows_derived,
                    stream.rows_written + stream.rows_filtered + stream.rows_dead,
                    "{told}: {stream:?}"
                );
                assert!(sinks > 1 || stream.rows_derived == 0, "{told}: {stream:?}");
                assert_eq!(picky, stream.rows_filtered > 0, "{told}: {stream:?}");
            }
            if !hit {
                break;
            }
        }
    }
    assert!(crashes > 60, "only {crashes} places to crash at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_survives_a_crash_at_every_operation() {
    survives(1, false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sinks_of_a_log_are_exact_after_every_crash() {
    survives(2, false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_survives_a_wire_to_the_checkpoints_that_breaks_anywhere() {
    survives(1, true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_and_columns_about_changes_are_exact_after_every_crash() {
    survives(1, false, true).await;
    survives(2, false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_waits_for_more_is_flushed_less_often_and_misses_nothing() {
    let rig = Rig::new(2, 40, false);
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    rig.check("two sinks").await;
    let flushes = |index: usize| rig.sinks[index].world.lock().unwrap().flushes.clone();
    let changes = (1..=40).map(|n| transaction(n).len()).sum::<usize>();
    assert!(flushes(1).values().sum::<usize>() <= changes / 3 + 2, "{:?} for {changes} changes", flushes(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_ends_though_nothing_more_comes() {
    // Too little for a sink that waits for more than two changes.
    let mut rig = Rig::new(1, 1, false);
    let mut histories = Arc::into_inner(rig.sinks.pop().unwrap()).unwrap();
    histories.patience = Duration::from_millis(300);
    rig.sinks.push(Arc::new(histories));
    let (acknowledged, openings) = (Arc::default(), AtomicU64::new(0));
    rig.source =
        Arc::new(Script { transactions: 1, widens: None, endless: true, acknowledged, openings, faults: rig.faults.clone() });
    let stop = CancellationToken::new();
    let (wanted, begin) = (transaction(1).len(), std::time::Instant::now());
    let arrived = async {
        let sink = &rig.sinks[0];
        while sink.world.lock().unwrap().history.values().map(Vec::len).sum::<usize>() < wanted {
            sink.flushed.notified().await;
        }
        stop.cancel();
    };
    let both = futures::future::join(rig.attempt_until(stop.clone()), arrived);
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("what waits is flushed in time");
    assert!(begin.elapsed() >= Duration::from_millis(300), "it did not wait");
    rig.check("idle").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_run_goes_on_where_the_last_one_ended() {
    let mut rig = Rig::new(2, 11, false);
    let first = rig.attempt().await;
    rig.check("first").await;
    rig.more(25);
    let second = rig.attempt().await;
    assert_eq!(second.status, RunStatus::Succeeded, "{:?}", second.error);
    assert_ne!(second.run_id, first.run_id);
    rig.check("second").await;
    let third = rig.attempt().await;
    assert_eq!((third.status, third.streams[0].rows_read), (RunStatus::Succeeded, 0), "{:?}", third.error);

    // Without its journal a pipeline does not pretend to know what its sinks have.
    rig.more(30);
    rig.faults.arm(40, false);
    assert_eq!(rig.attempt().await.status, RunStatus::Failed);
    rig.faults.arm(-1, false);
    // The source remembers everything: it is our own check that must see it.
    rig.source.acknowledged.store(0, Ordering::SeqCst);
    let journal = rig.folder.path().join("journal");
    let kept = rig.folder.path().join("kept");
    std::fs::rename(&journal, &kept).unwrap();
    let lost = rig.attempt().await;
    assert_eq!(lost.error.unwrap().code, "WEIR-JOURNAL-003");
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::rename(&kept, &journal).unwrap();
    assert_eq!(rig.attempt().await.status, RunStatus::Succeeded);
    rig.check("third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_journal_is_in_a_bucket_survives_a_crash_at_every_operation() {
    survives_with(|| Rig::new(1, 11, false).shelved()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sinks_of_a_journal_in_a_bucket_survive_a_crash_at_every_operation() {
    survives_with(|| Rig::new(2, 11, false).shelved()).await;
}
