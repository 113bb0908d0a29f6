//! The connector against a real server in this process, with its faults.

mod again;
mod conformance;
mod faults;
mod incremental;
mod paging;
mod polling;
mod server;
mod writing;

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Error, Event, OnLoss, Position, ReadRequest, Result, Source, SourceContext, StreamReader,
};

use super::HttpConnector;

/// Connection options with quick retries.
fn connection(base: &str, more: Value) -> Value {
    let mut options = json!({"base_url": base, "retry_base_ms": 1, "timeout_secs": 10});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

async fn source(connection: Value, options: Value) -> Result<Arc<dyn Source>> {
    let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 1, base_dir: ".".into() };
    HttpConnector::default().source(context).await
}

#[derive(Default)]
struct Read {
    batches: Vec<(RecordBatch, Option<Position>)>,
    dead: Vec<DeadLetter>,
}

impl Read {
    /// Rows as JSON lines, written by another library than the one under test.
    fn lines(&self) -> Vec<String> {
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        for (batch, _) in &self.batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap();
        String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_owned).collect()
    }

    fn ids(&self) -> Vec<i64> {
        self.lines().iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
    }
}

async fn drain(reader: &dyn StreamReader, from: Option<Position>) -> Result<Read> {
    let mut read = Read::default();
    for split in reader.splits() {
        let mut events = reader.read(&split, from.clone()).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
                Event::Dead(letter) => read.dead.push(letter),
                other => panic!("{other:?}"),
            }
        }
    }
    Ok(read)
}

/// Reads the only stream, whole.
async fn read_all(connection: Value, options: Value) -> Result<Read> {
    let source = source(connection, options).await?;
    let stream = source.streams().await?.remove(0).name;
    let reader = source.open(ReadRequest { stream, parallelism: 1, ..ReadRequest::default() }).await?;
    drain(reader.as_ref(), None).await
}

async fn read_error(connection: Value, options: Value) -> Error {
    match read_all(connection, options).await {
        Ok(read) => panic!("read {} rows", read.lines().len()),
        Err(error) => error,
    }
}
