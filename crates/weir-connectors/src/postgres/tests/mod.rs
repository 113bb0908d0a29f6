//! Everything here runs against a real PostgreSQL.

mod conformance;
mod faults;
mod matrix;
mod reading;
mod resume;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::conformance::matrix::plain_rows;
use weir_connect::{
    Barrier, CommitReport, Connector, DeadLetter, Event, OnLoss, ReadRequest, Result, RunIdentity, SchemaChangePolicy, Sink,
    SinkContext, Source, SourceContext, Split, SplitProgress, StreamReader, StreamSink, StreamTarget, WriteMode,
};
use weir_testkit::{Database, PostgresServer};

use super::Postgres;

pub(super) fn database() -> Database {
    PostgresServer::shared().unwrap().create_database().unwrap()
}

pub(super) fn connection(url: &str) -> Value {
    json!({ "url": url })
}

pub(super) async fn source_with(url: &str, options: Value, on_loss: OnLoss) -> Arc<dyn Source> {
    let context = SourceContext { connection: connection(url), options, on_loss, parallelism: 2, base_dir: PathBuf::from(".") };
    Postgres::default().source(context).await.unwrap()
}

pub(super) async fn source(url: &str, options: Value) -> Arc<dyn Source> {
    source_with(url, options, OnLoss::default()).await
}

pub(super) async fn sink(url: &str, options: Value) -> Arc<dyn Sink> {
    let context = SinkContext {
        connection: connection(url),
        options,
        on_loss: OnLoss::default(),
        node: "sink".into(),
        parallelism: 2,
        base_dir: PathBuf::from("."),
    };
    Postgres::default().sink(context).await.unwrap()
}

/// What came out of some splits.
#[derive(Default)]
pub(super) struct Taken {
    pub batches: Vec<RecordBatch>,
    pub dead: Vec<DeadLetter>,
    pub progress: Vec<SplitProgress>,
}

impl Taken {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    pub fn table(&self, schema: &SchemaRef) -> RecordBatch {
        concat_batches(schema, &self.batches).unwrap()
    }
}

pub(super) async fn take_split(reader: &dyn StreamReader, split: &Split, into: &mut Taken) -> Result<()> {
    let mut events = reader.read(split, None).await?;
    let mut rows = 0;
    while let Some(event) = events.next().await {
        match event? {
            Event::Batch(batch) => {
                rows += batch.records.num_rows() as u64;
                into.batches.push(batch.records);
            }
            Event::Dead(letter) => {
                rows += 1;
                into.dead.push(letter);
            }
            other => panic!("{other:?}"),
        }
    }
    into.progress.push(SplitProgress { split: split.clone(), position: None, done: true, rows });
    Ok(())
}

pub(super) async fn take_all(reader: &dyn StreamReader) -> Result<Taken> {
    let mut taken = Taken::default();
    for split in reader.splits() {
        take_split(reader, &split, &mut taken).await?;
    }
    Ok(taken)
}

/// Opens the stream of that name, or the only one.
pub(super) async fn open(source: &Arc<dyn Source>, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
    let stream = match request.stream.is_empty() {
        true => source.streams().await?.remove(0).name,
        false => request.stream.clone(),
    };
    source.open(ReadRequest { stream, parallelism: 2, ..request }).await
}

pub(super) fn target(run: &str, stream: &str, schema: SchemaRef, mode: WriteMode, key: &[&str]) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: run.into() },
        stream: stream.into(),
        schema,
        key: key.iter().map(|key| key.to_string()).collect(),
        cursor: None,
        write_mode: mode,
        on_schema_change: SchemaChangePolicy::Evolve,
    }
}

pub(super) fn done(id: &str, rows: u64) -> SplitProgress {
    let split = Split { id: id.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    SplitProgress { split, position: None, done: true, rows }
}

pub(super) fn barrier(epoch: u64, progress: Vec<SplitProgress>) -> Barrier {
    Barrier { epoch, lane: 0, progress }
}

/// Writes batches as one split and flushes.
pub(super) async fn write(stream: &dyn StreamSink, epoch: u64, batches: &[RecordBatch]) -> Result<u64> {
    let mut writer = stream.writer(0).await?;
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    for batch in batches {
        writer.write(batch.clone()).await?;
    }
    Ok(writer.flush(&barrier(epoch, vec![done(&format!("split {epoch}"), rows)])).await?.rows)
}

/// A whole run: prepare, write, commit.
pub(super) async fn run(sink: &Arc<dyn Sink>, target: StreamTarget, batches: &[RecordBatch]) -> Result<CommitReport> {
    let stream = sink.prepare(target).await?;
    write(stream.as_ref(), 1, batches).await?;
    stream.commit(&[]).await
}

pub(super) fn rows(from: i64, to: i64) -> RecordBatch {
    plain_rows(from, to, 3).unwrap()
}
