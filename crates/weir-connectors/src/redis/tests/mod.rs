//! The connector against a real server; seeding and reading back go around it, with a plain client.

#[cfg(feature = "http")]
mod conformance;
mod faults;
mod reading;
mod writing;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::StreamExt;
use redis::Commands;
use serde_json::{Value, json};
use weir_connect::{
    Barrier, Connector, DeadLetter, Event, OnLoss, Position, ReadRequest, Result, RunIdentity, SchemaChangePolicy, SinkContext,
    Source, SourceContext, StreamReader, StreamSink, StreamTarget, WriteMode,
};
use weir_testkit::Redis as Server;

use super::Redis;

/// An entry that is there: its id, and its fields in their order.
type Found = (String, Vec<(String, Vec<u8>)>);

/// A server, and a name that no other test has.
struct Lab {
    server: Server,
    name: String,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self::at(Server::shared().unwrap(), name)
    }

    fn at(server: Server, name: &str) -> Self {
        Self { server, name: format!("{name}-{}", uuid::Uuid::new_v4().simple()) }
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }

    fn connection(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.server.port()})
    }

    /// A client that shares no code with the connector's own commands.
    fn plain(&self) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.server.port())).unwrap().get_connection().unwrap()
    }

    fn add(&self, key: &str, id: &str, fields: &[(&str, &[u8])]) -> String {
        let mut command = redis::cmd("XADD");
        command.arg(key).arg(id);
        for (name, value) in fields {
            command.arg(*name).arg(*value);
        }
        command.query(&mut self.plain()).unwrap()
    }

    /// Entries `N-0` with JSON in the field `payload`.
    fn fill(&self, key: &str, ids: std::ops::Range<i64>) {
        let mut pipe = redis::pipe();
        for id in ids {
            let text = json!({"id": id, "name": format!("row {id}")}).to_string();
            pipe.cmd("XADD").arg(key).arg(format!("{}-0", id + 1)).arg("payload").arg(text).ignore();
        }
        pipe.query::<()>(&mut self.plain()).unwrap();
    }

    fn trim_before(&self, key: &str, id: &str) {
        redis::cmd("XTRIM").arg(key).arg("MINID").arg("=").arg(id).query::<i64>(&mut self.plain()).unwrap();
    }

    fn delete(&self, key: &str) {
        let _: i64 = self.plain().del(key).unwrap();
    }

    /// All entries.
    fn entries(&self, key: &str) -> Vec<Found> {
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(&mut self.plain()).unwrap()
    }

    async fn source(&self, options: Value) -> Result<Arc<dyn Source>> {
        self.source_at(self.connection(), options).await
    }

    async fn source_at(&self, connection: Value, options: Value) -> Result<Arc<dyn Source>> {
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: ".".into() };
        Redis::default().source(context).await
    }

    async fn open(&self, options: Value, key: &str, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        self.source(options).await?.open(ReadRequest { stream: key.into(), parallelism: 2, ..request }).await
    }

    async fn sink(&self, options: Value, key: &str, schema: &Schema) -> Result<Box<dyn StreamSink>> {
        let context = SinkContext {
            connection: self.connection(),
            options,
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 2,
            base_dir: ".".into(),
        };
        Redis::default().sink(context).await?.prepare(target(key, schema)).await
    }
}

fn target(key: &str, schema: &Schema) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
        stream: key.into(),
        schema: Arc::new(schema.clone()),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

fn barrier() -> Barrier {
    Barrier { epoch: 1, lane: 0, progress: Vec::new() }
}

fn plain_schema() -> Schema {
    Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)])
}

/// What came out of a stream.
#[derive(Default)]
struct Read {
    batches: Vec<(RecordBatch, Option<Position>)>,
    dead: Vec<DeadLetter>,
}

impl Read {
    fn ids(&self) -> Vec<i64> {
        self.batches
            .iter()
            .filter(|(batch, _)| batch.num_rows() > 0)
            .flat_map(|(batch, _)| {
                batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
            })
            .collect()
    }

    fn texts(&self, name: &str) -> Vec<Option<String>> {
        self.batches
            .iter()
            .flat_map(|(batch, _)| {
                let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Everything up to the end, or of a stream without end up to the moment when there is nothing.
async fn drain(reader: &dyn StreamReader, from: Option<Position>) -> Result<Read> {
    let mut read = Read::default();
    for split in reader.splits() {
        let mut events = reader.read(&split, from.clone()).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
                Event::Dead(letter) => read.dead.push(letter),
                Event::Idle => break,
                other => panic!("{other:?}"),
            }
        }
    }
    Ok(read)
}

fn forever() -> ReadRequest {
    ReadRequest { unbounded: true, ..ReadRequest::default() }
}
