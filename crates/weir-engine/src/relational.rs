//! A flow whose program must see rows together: everything is read once, through DataFusion, into one epoch.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use serde_json::Value;
use weir_connect::{Barrier, DeadLetter, Event, Split, SplitProgress, StreamReader};
use weir_error::{Error, Kind, Result};
use weir_plan::gates::count;
use weir_plan::{Aside, Flow, Passed, RelationalProgram, RowProgram, RuleCount, add_rules};

use crate::cursor::{CursorState, CursorTracker};
use crate::flow::{FlowShared, poisoned};
use crate::gates;
use crate::run::RunContext;
use crate::store::{Counts, EpochBody, SetAside, StreamState};

/// What the scans of one input found out, apart from the rows.
#[derive(Default)]
struct Tally {
    read: AtomicU64,
    delivered: AtomicU64,
    bytes: AtomicU64,
    dead: Mutex<Vec<DeadLetter>>,
    rules: Mutex<Vec<RuleCount>>,
    cursor: Mutex<CursorState>,
}

/// One partition of an input: a fixed share of the splits, so that a program may scan the table more than once.
struct Share {
    schema: SchemaRef,
    reader: Arc<dyn StreamReader>,
    splits: Vec<Split>,
    tally: Arc<Tally>,
    shared: Arc<FlowShared>,
    /// Which input it is, and the gates that its rows pass.
    input: usize,
    gates: Arc<[usize]>,
    cursor: Option<(String, i64, Option<CursorState>)>,
    /// Done to each batch before the query sees it; `schema` is what comes out.
    prepare: Option<Arc<dyn RowProgram>>,
    /// Rows, dead letters and the cursor are counted by the first scan only.
    scanned: AtomicBool,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} splits)", self.splits.len())
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let first = !self.scanned.swap(true, Ordering::SeqCst);
        let (reader, splits, tally, shared) = (self.reader.clone(), self.splits.clone(), self.tally.clone(), self.shared.clone());
        let (schema, cursor, prepare) = (self.reader.schema(), self.cursor.clone(), self.prepare.clone());
        let (input, gates) = (self.input, self.gates.clone());
        let stream = async_stream(move |send| async move {
            let lag = cursor.as_ref().map_or(0, |(_, lag, _)| *lag);
            let mut tracker = match &cursor {
                Some((column, lag, previous)) => Some(CursorTracker::new(&schema, column, *lag, previous.as_ref())?),
                None => None,
            };
            for split in &splits {
                let mut events = shared.context.unless_stopped(reader.read(split, None)).await??;
                while let Some(event) = shared.context.unless_stopped(events.next()).await? {
                    if shared.context.stopping() {
                        return Err(Error::cancelled());
                    }
                    match event? {
                        Event::Batch(batch) => {
                            let rows = batch.records.num_rows() as u64;
                            if first {
                                tally.read.fetch_add(rows, Ordering::Relaxed);
                                tally.bytes.fetch_add(batch.source_bytes, Ordering::Relaxed);
                                shared.gauges.read.fetch_add(rows, Ordering::Relaxed);
                                shared.gauges.bytes.fetch_add(batch.source_bytes, Ordering::Relaxed);
                            }
                            let records = match &mut tracker {
                                Some(tracker) => {
                                    let (records, delivered) = tracker.pass(batch.records)?;
                                    if first {
                                        tally.delivered.fetch_add(delivered, Ordering::Relaxed);
                                    }
                                    records
                                }
                                None => batch.records,
                            };
                            let records = match &prepare {
                                Some(program) => prepared(program.as_ref(), &records, first.then_some((&*tally, &*shared)))?,
                                None => records,
                            };
                            if first {
                                went(&shared, &gates, &records);
                            }
                            if records.num_rows() > 0 && send.send(Ok(records)).await.is_err() {
                                return Ok(());
                            }
                        }
                        Event::Dead(letter) if first => {
                            tally.read.fetch_add(1, Ordering::Relaxed);
                            shared.gauges.read.fetch_add(1, Ordering::Relaxed);
                            shared.gauges.dead.fetch_add(1, Ordering::Relaxed);
                            shared.gauges.gates.add_at(input, &Passed { dead: 1, ..Passed::default() });
                            tally.dead.lock().map_err(poisoned)?.push(letter);
                        }
                        Event::SchemaChange(_) => {
                            return Err(Error::new("WEIR-RUN-040", Kind::Schema, "the schema changed while the stream was read"));
                        }
                        _ => {}
                    }
                }
            }
            if let (true, Some(tracker)) = (first, &mut tracker) {
                tally.cursor.lock().map_err(poisoned)?.merge(tracker.take(), lag);
            }
            Ok(())
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream))
    }
}

/// A batch through the row-local beginning of its way. What it takes out is counted where that is wanted.
fn prepared(program: &dyn RowProgram, records: &RecordBatch, count: Option<(&Tally, &FlowShared)>) -> Result<RecordBatch> {
    let mut passed = vec![Passed::default(); count.map_or(0, |(_, shared)| shared.gates.len())];
    let output = program.apply_counting(records, &mut passed)?.into_iter().next();
    let output = output.ok_or_else(|| Error::internal("a preparation without an output"))?;
    if let Some((tally, shared)) = count {
        shared.gauges.gates.add(&passed);
        tally.delivered.fetch_add(output.filtered, Ordering::Relaxed);
        shared.gauges.dead.fetch_add(output.dead.len() as u64, Ordering::Relaxed);
        tally.dead.lock().map_err(poisoned)?.extend(output.dead);
        add_rules(&mut *tally.rules.lock().map_err(poisoned)?, &output.rules);
    }
    Ok(output.batch)
}

/// Rows have passed these gates. Of a flow that sees rows together everything is one epoch, so what was counted live is what counts.
fn went(shared: &FlowShared, gates: &[usize], records: &RecordBatch) {
    let mut passed = vec![Passed::default(); shared.gates.len()];
    count(&mut passed, gates, records);
    shared.gauges.gates.add(&passed);
}

/// Runs `produce` on its own task and gives what it sends as a stream; its error ends the stream.
fn async_stream<F, W>(produce: F) -> impl futures::Stream<Item = Result<RecordBatch, DataFusionError>> + Send
where
    F: FnOnce(tokio::sync::mpsc::Sender<Result<RecordBatch, DataFusionError>>) -> W + Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let (send, mut receive) = tokio::sync::mpsc::channel(2);
    let mut tasks = tokio::task::JoinSet::new();
    let errors = send.clone();
    let work = produce(send);
    tasks.spawn(async move {
        if let Err(error) = work.await {
            // A closed channel means that nobody reads any more.
            let _ = errors.send(Err(DataFusionError::External(Box::new(error)))).await;
        }
    });
    futures::stream::poll_fn(move |context| {
        let polled = receive.poll_recv(context);
        if polled.is_ready() {
            return polled;
        }
        // The task holds a sender: a panic closes the channel, and must not look like the end of the data.
        match tasks.poll_join_next(context) {
            std::task::Poll::Ready(Some(Err(error))) => std::task::Poll::Ready(Some(Err(DataFusionError::External(Box::new(
                Error::internal("reading died").caused_by(error),
            ))))),
            _ => std::task::Poll::Pending,
        }
    })
}

fn session(context: &RunContext, aside: &Arc<Aside>) -> Result<SessionContext> {
    let spill = context.store.folder().join("spill");
    std::fs::create_dir_all(&spill).map_err(|error| Error::from(error).at(spill.display().to_string()))?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(context.budget.pool)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill])))
        .build_arc()
        .map_err(|error| Error::internal("the query engine cannot start").caused_by(error))?;
    let config = weir_plan::sql::config().with_target_partitions(context.options.parallelism).with_extension(aside.clone());
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Reads all inputs and writes all outputs as one epoch.
pub(crate) async fn run(
    shared: &Arc<FlowShared>,
    flow: &Flow,
    program: &dyn RelationalProgram,
    readers: Vec<Box<dyn StreamReader>>,
    states: &[StreamState],
) -> Result<()> {
    let aside = Arc::new(Aside::counting(shared.gates.len()));
    let session = session(&shared.context, &aside)?;
    let mut tallies = Vec::new();
    for (index, ((input, reader), state)) in flow.inputs.iter().zip(readers).zip(states).enumerate() {
        let reader: Arc<dyn StreamReader> = Arc::from(reader);
        let (prepare, schema) = match program.prepare(index) {
            Some((program, schema)) => (Some(program), schema),
            None => (None, reader.schema()),
        };
        let splits = reader.splits();
        let shares = shared.context.options.parallelism.min(splits.len()).max(1);
        let tally = Arc::new(Tally::default());
        let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
        for share in 0..shares {
            partitions.push(Arc::new(Share {
                schema: schema.clone(),
                prepare: prepare.clone(),
                reader: reader.clone(),
                splits: splits.iter().skip(share).step_by(shares).cloned().collect(),
                tally: tally.clone(),
                shared: shared.clone(),
                input: index,
                gates: program.gates_of_input(index).into(),
                cursor: input.cursor.clone().map(|column| (column, input.cursor_lag.unwrap_or(0), state.cursor.clone())),
                scanned: AtomicBool::new(false),
            }));
        }
        let table = StreamingTable::try_new(schema, partitions).map_err(|error| query(error, &flow.name))?;
        session.register_table(input.table.as_str(), Arc::new(table)).map_err(|error| query(error, &flow.name))?;
        tallies.push(tally);
    }
    let mut writers = Vec::new();
    let mut counts = Counts::default();
    for (index, frame) in program.frames(&session).await?.into_iter().enumerate() {
        let target = shared.targets.get(index).ok_or_else(|| Error::internal("more frames than sinks"))?;
        let schema = flow.outputs[index].schema.clone();
        let mut writer = target.sink.writer(0).await?;
        let mut rows = 0u64;
        let mut stream = frame.execute_stream().await.map_err(|error| query(error, &flow.name))?;
        while let Some(batch) = shared.context.unless_stopped(stream.next()).await? {
            if shared.context.stopping() {
                return Err(Error::cancelled());
            }
            let batch = conform(batch.map_err(|error| query(error, &flow.name))?, &schema)?;
            rows += batch.num_rows() as u64;
            shared.gauges.written.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            went(shared, program.gates_of_output(index), &batch);
            writer.write(batch).await?;
        }
        counts.written.push(rows);
        writers.push(writer);
    }
    let mut dead = Vec::new();
    let mut cursor = CursorState::default();
    for (tally, input) in tallies.iter().zip(&flow.inputs) {
        counts.read += tally.read.load(Ordering::Relaxed);
        counts.filtered += tally.delivered.load(Ordering::Relaxed);
        counts.bytes_read += tally.bytes.load(Ordering::Relaxed);
        dead.extend(std::mem::take(&mut *tally.dead.lock().map_err(poisoned)?));
        add_rules(&mut counts.rules, &tally.rules.lock().map_err(poisoned)?);
        cursor.merge(std::mem::take(&mut *tally.cursor.lock().map_err(poisoned)?), input.cursor_lag.unwrap_or(0));
    }
    let (set_aside, rules) = aside.take();
    shared.gauges.gates.add(&aside.passed());
    counts.gates = gates::named(&shared.gates, &shared.gauges.gates.read());
    shared.gauges.dead.fetch_add(set_aside.len() as u64, Ordering::Relaxed);
    dead.extend(set_aside);
    add_rules(&mut counts.rules, &rules);
    counts.dead = dead.len() as u64;
    let whole = Split { id: "whole".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    let progress = vec![SplitProgress { split: whole, position: None, done: true, rows: counts.read }];
    let barrier = Barrier { epoch: shared.next_epoch(), lane: 0, progress: progress.clone() };
    let mut tokens = vec![Value::Null; writers.len()];
    for (index, writer) in writers.iter_mut().enumerate() {
        if !shared.targets[index].co_committed {
            tokens[index] = writer.flush(&barrier).await?.token;
        }
    }
    let tracked = flow.inputs.iter().any(|input| input.cursor.is_some());
    let results = shared.context.results.of(&counts.rules);
    let body = EpochBody { progress, tokens, counts, results, cursor: tracked.then_some(cursor), ..EpochBody::default() };
    let dead: Vec<SetAside> = dead.into_iter().map(|letter| SetAside { sink: None, letter }).collect();
    shared.prepare(barrier.epoch, &body, &dead).await?;
    for (index, writer) in writers.iter_mut().enumerate() {
        if shared.targets[index].co_committed {
            writer.flush(&barrier).await?;
        }
    }
    shared.confirm(barrier.epoch, &body.counts).await
}

/// The batch under the schema that the sink was prepared with: same types, names and metadata, nullability as planned.
fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                arrow::compute::cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::internal("the program gave other types than it was planned with").caused_by(error))?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::internal("the program gave other columns than it was planned with").caused_by(error))
}

/// An error of the query engine; our own errors inside come out as they were.
fn query(error: DataFusionError, flow: &str) -> Error {
    let root = match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(other) => DataFusionError::External(other),
        },
        DataFusionError::Context(_, inner) => return query(*inner, flow),
        DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
            Ok(inner) => return query(inner, flow),
            Err(inner) => {
                return Error::new("WEIR-RUN-050", Kind::Data, "the query failed").at(format!("stream `{flow}`")).because(inner);
            }
        },
        other => other,
    };
    let exhausted = matches!(root, DataFusionError::ResourcesExhausted(_));
    let built = Error::new(
        "WEIR-RUN-050",
        if exhausted { Kind::Limit } else { Kind::Data },
        if exhausted { "the query needs more memory than the budget, even with spilling" } else { "the query failed" },
    )
    .at(format!("stream `{flow}`"))
    .caused_by(root);
    if exhausted { built.hint("give it more with --max-memory") } else { built }
}
