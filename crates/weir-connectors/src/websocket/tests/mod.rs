//! The connector against servers that are kind, and servers that are not.

mod hostile;
mod reading;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Error, Event, EventStream, OnLoss, Position, ReadRequest, Result, Resume, Source, SourceContext,
    Split, SplitProgress, StreamReader,
};

use super::Websocket;

/// What came out of a stream.
#[derive(Default)]
struct Got {
    rows: Vec<RecordBatch>,
    dead: Vec<DeadLetter>,
    position: Option<Position>,
}

impl Got {
    fn ids(&self) -> Vec<i64> {
        let of = |batch: &RecordBatch| {
            batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
        };
        self.rows.iter().filter(|batch| batch.num_rows() > 0).flat_map(of).collect()
    }

    fn count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum::<usize>() + self.dead.len()
    }
}

async fn source(folder: &Path, connection: Value, options: Value) -> Result<Arc<dyn Source>> {
    let connector = Websocket::default();
    connector.validate("source", &connection, &options)?;
    let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: folder.to_owned() };
    connector.source(context).await
}

/// A stream that is being read.
struct Open {
    reader: Box<dyn StreamReader>,
    split: Split,
    events: EventStream,
}

impl Open {
    async fn new(source: Arc<dyn Source>, resume: Option<Resume>) -> Result<Self> {
        let stream = source.streams().await?.remove(0).name;
        let from = resume.as_ref().and_then(|resume| resume.progress.first()?.position.clone());
        let reader =
            source.open(ReadRequest { stream, unbounded: true, resume, parallelism: 1, ..ReadRequest::default() }).await?;
        let split = reader.splits().remove(0);
        let events = reader.read(&split, from).await?;
        Ok(Self { reader, split, events })
    }

    /// Reads until so many rows and letters are there.
    async fn take(&mut self, count: usize) -> Result<Got> {
        let mut got = Got::default();
        let read = async {
            while got.count() < count {
                match self.events.next().await.expect("a stream without end does not end")? {
                    Event::Batch(batch) => {
                        got.rows.push(batch.records);
                        got.position = batch.position;
                    }
                    Event::Dead(letter) => got.dead.push(letter),
                    Event::Idle => {}
                    other => panic!("{other:?}"),
                }
            }
            // After a letter comes a position.
            if (got.rows.is_empty() || got.position.is_none())
                && let Event::Batch(batch) = self.events.next().await.expect("a batch")?
            {
                got.rows.push(batch.records);
                got.position = batch.position;
            }
            Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(240), read).await {
            Ok(read) => read.map(|()| got),
            Err(_) => panic!("{count} were awaited, {} came", got.count()),
        }
    }

    /// What ends the stream.
    async fn error(&mut self) -> Error {
        let read = async {
            loop {
                if let Err(error) = self.events.next().await.expect("a stream without end does not end") {
                    return error;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("an error was awaited")
    }

    fn progress(&self, position: Option<Position>) -> Vec<SplitProgress> {
        vec![SplitProgress { split: self.split.clone(), position, done: false, rows: 0 }]
    }

    fn resume(&self, position: Option<Position>) -> Option<Resume> {
        Some(Resume { reader_state: self.reader.state(), progress: self.progress(position) })
    }
}

/// Options with which tests do not wait.
fn quick(more: Value) -> Value {
    let mut options = json!({
        "columns": {"id": "int64", "name": "text", "seq": "int64"},
        "subscribe_message": {"from": "{next_sequence}"},
        "sequence_field": "seq",
        "reconnect_config": {"max_attempts": 0, "initial_delay_ms": 1, "max_delay_ms": 2, "jitter": 0},
    });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

fn from_of(heard: &Value) -> i64 {
    heard["from"].as_str().unwrap().parse().unwrap()
}
