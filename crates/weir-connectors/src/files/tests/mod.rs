//! What the connectors promise, on a real disk and a real MinIO. This file: the bench that the tests work at.

mod changes;
mod commit;
mod conformance;
mod crash;
pub(super) mod cut;
pub(crate) mod debezium;
mod formats;
mod mend;
mod s3;
mod source;
mod state;
mod upsert;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use serde_json::{Value, json};
use weir_connect::{
    Barrier, CommitReport, Connector, Event, OnLoss, ReadRequest, RunIdentity, SchemaChangePolicy, Sink, SinkContext, Source,
    SourceContext, StreamSink, StreamTarget, StreamWriter, WriteMode,
};
use weir_error::Result;
use weir_testkit::{Bucket, Minio};

use super::Files;

/// A place of one's own on one of the two storages.
pub(super) struct Place {
    files: Files,
    pub(super) connection: Value,
    pub(super) base: PathBuf,
    pub(super) bucket: Option<Bucket>,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { files: Files::file(), connection: json!({}), base: dir.path().to_owned(), bucket: None, _dir: dir }
    }

    pub(super) fn s3() -> Self {
        let minio = Minio::shared().unwrap();
        let bucket = minio.create_bucket().unwrap();
        let connection = json!({
            "endpoint": minio.endpoint(), "bucket": bucket.name(),
            "access_key": minio.access_key(), "secret_key": minio.secret_key(),
        });
        let dir = tempfile::tempdir().unwrap();
        Self { files: Files::s3(), connection, base: dir.path().to_owned(), bucket: Some(bucket), _dir: dir }
    }

    pub(super) async fn source(&self, options: Value) -> Result<Arc<dyn Source>> {
        let (connection, base_dir) = (self.connection.clone(), self.base.clone());
        self.files.source(SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir }).await
    }

    pub(super) async fn sink(&self, options: Value) -> Result<Arc<dyn Sink>> {
        let (connection, base_dir) = (self.connection.clone(), self.base.clone());
        let context =
            SinkContext { connection, options, on_loss: OnLoss::default(), node: "sink".into(), parallelism: 2, base_dir };
        self.files.sink(context).await
    }

    pub(super) async fn prepare(&self, options: Value, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        self.sink(options).await?.prepare(target).await
    }

    /// A whole run without trouble.
    pub(super) async fn run(&self, options: Value, target: StreamTarget, batches: &[RecordBatch]) -> Result<CommitReport> {
        let stream = self.prepare(options, target).await?;
        stream.discard(&[]).await?;
        let mut writer = stream.writer(0).await?;
        let token = write(writer.as_mut(), batches, 1).await?;
        stream.commit(&[token]).await
    }

    /// Every row that a Weir source sees, as text, sorted.
    pub(super) async fn rows(&self, options: Value) -> Result<Vec<String>> {
        let source = self.source(options).await?;
        let mut rows = vec![];
        for stream in source.streams().await? {
            let reader = source.open(ReadRequest { stream: stream.name, parallelism: 2, ..ReadRequest::default() }).await?;
            for split in reader.splits() {
                let mut events = reader.read(&split, None).await?;
                while let Some(event) = events.try_next().await? {
                    match event {
                        Event::Batch(batch) => rows.extend(text(&batch.records)),
                        Event::Dead(letter) => panic!("dead letter: {letter:?}"),
                        _ => {}
                    }
                }
            }
        }
        rows.sort();
        Ok(rows)
    }

    /// Paths of everything below the place that a glob reader would see, and how big it is.
    pub(super) fn visible(&self) -> BTreeMap<String, u64> {
        self.everything().into_iter().filter(|(path, _)| !path.contains("_weir")).collect()
    }

    /// Paths of everything, hidden files too; incomplete uploads are not in it.
    pub(super) fn everything(&self) -> BTreeMap<String, u64> {
        if let Some(bucket) = &self.bucket {
            let size = |key: &String| bucket.get(key).unwrap().len() as u64;
            return bucket.keys("").unwrap().into_iter().map(|key| (key.clone(), size(&key))).collect();
        }
        let mut files = BTreeMap::new();
        let mut folders = vec![self.base.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let relative = path.strip_prefix(&self.base).unwrap().display().to_string();
                    files.insert(relative, std::fs::metadata(&path).unwrap().len());
                }
            }
        }
        files
    }

    pub(super) fn read_file(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.base.join(path)).unwrap()
    }

    pub(super) fn put_file(&self, path: &str, data: impl AsRef<[u8]>) {
        let path = self.base.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

/// Rows with these ids; everything else follows from the id.
pub(super) fn batch(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    named(ids, "n")
}

pub(super) fn named(ids: impl IntoIterator<Item = i64>, prefix: &str) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let names: StringArray = ids.iter().map(|id| (id % 5 != 0).then(|| format!("{prefix}{id}"))).collect();
    let days: Date32Array = ids.iter().map(|id| (id % 7 != 0).then_some((id % 3) as i32)).collect();
    let at: TimestampMicrosecondArray = ids.iter().map(|id| Some(id * 3_600_000_000)).collect();
    let columns: Vec<Arc<dyn Array>> =
        vec![Arc::new(Int64Array::from(ids)), Arc::new(names), Arc::new(days), Arc::new(at.with_timezone("UTC"))];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(super) fn target(run: &str, write_mode: WriteMode) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "test".into(), run_id: run.into() },
        stream: "orders".into(),
        schema: schema(),
        key: vec!["id".into()],
        cursor: None,
        write_mode,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

pub(super) async fn write(writer: &mut dyn StreamWriter, batches: &[RecordBatch], epoch: u64) -> Result<Value> {
    for batch in batches {
        writer.write(batch.clone()).await?;
    }
    Ok(writer.flush(&Barrier { epoch, lane: 0, progress: vec![] }).await?.token)
}

/// Rows as text, one line each.
pub(super) fn text(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| formatters.iter().map(|cell| cell.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

pub(super) fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches.iter().flat_map(text).collect();
    rows.sort();
    rows
}

pub(super) fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}
