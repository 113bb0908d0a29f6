//! Everything here runs against real servers.

mod changes;
mod changes_faults;
mod changes_matrix;
mod changes_model;
mod changes_refused;
mod changes_shape;
mod conformance;
mod faults;
pub(super) mod matrix;
mod reading;
mod resume;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::conformance::matrix::plain_rows;
use weir_connect::stream::LossChoice;
use weir_connect::{
    Barrier, CommitReport, Connector, DeadLetter, Event, OnLoss, Position, ReadRequest, Result, RunIdentity, SchemaChangePolicy,
    Sink, SinkContext, Source, SourceContext, Split, SplitProgress, StreamReader, StreamSink, StreamTarget, WriteMode,
};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::Mysql;

pub(super) fn database() -> MysqlDatabase {
    database_of(Flavor::MariaDb)
}

pub(super) fn database_of(flavor: Flavor) -> MysqlDatabase {
    MysqlServer::shared(flavor).unwrap().create_database().unwrap()
}

pub(super) fn connection(url: &str) -> Value {
    json!({ "url": url })
}

/// A source over any connection, with any choice about loss.
pub(super) async fn source_at(connection: Value, options: Value, on_loss: OnLoss) -> Arc<dyn Source> {
    let context = SourceContext { connection, options, on_loss, parallelism: 2, base_dir: PathBuf::from(".") };
    Mysql::default().source(context).await.unwrap()
}

pub(super) async fn source(url: &str, options: Value) -> Arc<dyn Source> {
    source_at(connection(url), options, OnLoss::default()).await
}

pub(super) async fn sink_at(connection: Value, mut options: Value, on_loss: OnLoss) -> Arc<dyn Sink> {
    // Tests run side by side, and the kit's runs have the same names in all of them.
    if options.get("state_schema").is_none() {
        let url = connection["url"].as_str().unwrap_or_default().to_string();
        options["state_schema"] = url.rsplit('/').next().unwrap_or_default().into();
    }
    let context = SinkContext { connection, options, on_loss, node: "sink".into(), parallelism: 2, base_dir: PathBuf::from(".") };
    Mysql::default().sink(context).await.unwrap()
}

pub(super) async fn sink(url: &str, options: Value) -> Arc<dyn Sink> {
    sink_at(connection(url), options, OnLoss::default()).await
}

/// One choice for these columns.
pub(super) fn choose(choice: LossChoice, columns: &[&str]) -> OnLoss {
    let columns = columns.iter().map(|column| (column.to_string(), choice)).collect();
    OnLoss { default: LossChoice::Error, columns }
}

/// What came out of some splits.
#[derive(Default)]
pub(super) struct Taken {
    pub batches: Vec<RecordBatch>,
    pub positions: Vec<Option<Position>>,
    pub dead: Vec<DeadLetter>,
    pub progress: Vec<SplitProgress>,
}

impl Taken {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

pub(super) async fn take_split(reader: &dyn StreamReader, split: &Split, from: Option<Position>, into: &mut Taken) -> Result<()> {
    let mut events = reader.read(split, from).await?;
    let mut rows = 0;
    while let Some(event) = events.next().await {
        match event? {
            Event::Batch(batch) => {
                rows += batch.records.num_rows() as u64;
                into.batches.push(batch.records);
                into.positions.push(batch.position);
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
        take_split(reader, &split, None, &mut taken).await?;
    }
    Ok(taken)
}

/// The values as text, one sorted line per row. For types whose text form Arrow and the server share.
pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap()).collect();
        lines.extend((0..batch.num_rows()).map(|row| {
            let cell =
                |column: &arrow::array::ArrayRef| column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_string());
            line(columns.iter().map(cell))
        }));
    }
    lines.sort();
    lines
}

fn line(cells: impl Iterator<Item = Option<String>>) -> String {
    cells.map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join("|")
}

/// The rows of a query as the server prints them, in the form of [`lines`].
pub(super) fn server_lines(database: &MysqlDatabase, sql: &str) -> Vec<String> {
    let mut lines: Vec<String> = database.rows(sql).unwrap().into_iter().map(|row| line(row.into_iter())).collect();
    lines.sort();
    lines
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
        changes: false,
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

/// Copies a table into another one as a run does; what was read comes back.
pub(super) async fn copy(database: &MysqlDatabase, from: &str, to: &str, on_loss: OnLoss, load: &str) -> Result<Taken> {
    let source = source_at(connection(database.url()), json!({ "table": from }), on_loss.clone()).await;
    let reader = open(&source, ReadRequest::default()).await?;
    let taken = take_all(reader.as_ref()).await?;
    let sink = sink_at(connection(database.url()), json!({ "table": to, "load": load }), on_loss).await;
    run(&sink, target(to, from, reader.schema(), WriteMode::Append, &[]), &taken.batches).await?;
    Ok(taken)
}

pub(super) fn rows(from: i64, to: i64) -> RecordBatch {
    plain_rows(from, to, 3).unwrap()
}
