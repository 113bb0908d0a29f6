//! The connector against a real broker; seeding and reading back go around it, with a plain client and the management API.

#[cfg(feature = "http")]
mod conformance;
mod faults;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use weir_connect::{
    Barrier, Connector, DeadLetter, Event, EventStream, OnLoss, Position, ReadRequest, Result, RunIdentity, SchemaChangePolicy,
    SinkContext, Source, SourceContext, Split, SplitProgress, StreamReader, StreamSink, StreamTarget, WriteMode,
};
use weir_testkit::Rabbitmq as Server;

use super::Rabbitmq;

/// A broker, and a virtual host that no other test has.
struct Lab {
    server: Server,
    virtual_host: String,
}

impl Lab {
    fn new() -> Self {
        Self::at(Server::shared().unwrap())
    }

    fn at(server: Server) -> Self {
        let virtual_host = server.create_virtual_host().unwrap();
        Self { server, virtual_host }
    }

    fn connection(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.server.port(), "virtual_host": self.virtual_host})
    }

    /// A channel of a client of its own; the connection must live as long.
    async fn plain(&self) -> (Connection, Channel) {
        let uri = format!("amqp://guest:guest@127.0.0.1:{}/{}", self.server.port(), self.virtual_host);
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (connection, channel)
    }

    async fn queue(&self, name: &str, arguments: FieldTable) {
        let (_connection, channel) = self.plain().await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await.unwrap();
    }

    async fn put(&self, queue: &str, payloads: &[Vec<u8>], properties: BasicProperties) {
        let (_connection, channel) = self.plain().await;
        let properties = properties.with_delivery_mode(2);
        let mut confirms = Vec::new();
        for payload in payloads {
            let options = BasicPublishOptions::default();
            let publishing = channel.basic_publish("".into(), queue.into(), options, payload, properties.clone());
            confirms.push(publishing.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack());
        }
    }

    async fn fill(&self, queue: &str, ids: std::ops::Range<i64>) {
        self.queue(queue, FieldTable::default()).await;
        let payloads: Vec<Vec<u8>> =
            ids.map(|id| json!({"id": id, "name": format!("row {id}")}).to_string().into_bytes()).collect();
        self.put(queue, &payloads, BasicProperties::default()).await;
    }

    async fn waiting_in(channel: &Channel, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
    }

    /// What is in a queue, which stays there.
    async fn messages(&self, queue: &str) -> Vec<Delivery> {
        let (_connection, channel) = self.plain().await;
        let mut found = Vec::new();
        while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            found.push(message.delivery);
        }
        channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true }).await.unwrap();
        self.until_waiting(queue, u32::try_from(found.len()).unwrap()).await;
        found
    }

    /// Messages that wait and were given to nobody.
    async fn waiting(&self, queue: &str) -> u32 {
        let (_connection, channel) = self.plain().await;
        Self::waiting_in(&channel, queue).await
    }

    /// Waits until so many messages wait in the queue.
    async fn until_waiting(&self, queue: &str, count: u32) {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let waiting = self.waiting(queue).await;
            if waiting == count {
                return;
            }
            assert!(std::time::Instant::now() < end, "{waiting} messages wait and not {count}");
        }
    }

    async fn source(&self, options: Value) -> Result<Arc<dyn Source>> {
        self.source_at(self.connection(), options).await
    }

    async fn source_at(&self, connection: Value, options: Value) -> Result<Arc<dyn Source>> {
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: ".".into() };
        Rabbitmq::default().source(context).await
    }

    async fn sink(&self, options: Value, stream: &str, schema: &Schema) -> Result<Box<dyn StreamSink>> {
        let context = SinkContext {
            connection: self.connection(),
            options,
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 2,
            base_dir: ".".into(),
        };
        let target = StreamTarget {
            run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
            stream: stream.into(),
            schema: Arc::new(schema.clone()),
            key: Vec::new(),
            cursor: None,
            write_mode: WriteMode::Append,
            on_schema_change: SchemaChangePolicy::Evolve,
            changes: false,
        };
        Rabbitmq::default().sink(context).await?.prepare(target).await
    }
}

fn options(queue: &str) -> Value {
    json!({"queue": queue, "columns": {"id": "int64", "name": "text"}, "only_columns": true})
}

fn with(mut options: Value, more: Value) -> Value {
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

async fn open(source: &dyn Source, queue: &str, unbounded: bool) -> Box<dyn StreamReader> {
    let request = ReadRequest { stream: queue.into(), parallelism: 2, unbounded, ..ReadRequest::default() };
    source.open(request).await.unwrap()
}

fn barrier() -> Barrier {
    Barrier { epoch: 1, lane: 0, progress: Vec::new() }
}

fn plain_schema() -> Schema {
    Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)])
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: Vec<String> = ids.clone().map(|id| format!("row {id}")).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(StringArray::from(names))];
    RecordBatch::try_new(Arc::new(plain_schema()), columns).unwrap()
}

/// What came out of a queue.
#[derive(Default)]
struct Read {
    batches: Vec<(RecordBatch, Option<Position>)>,
    dead: Vec<DeadLetter>,
}

impl Read {
    fn ids(&self) -> Vec<i64> {
        let ids = |batch: &RecordBatch| {
            batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(|(batch, _)| ids(batch)).collect()
    }

    fn texts(&self, name: &str) -> Vec<Option<String>> {
        let texts = |batch: &RecordBatch| {
            let column = batch.column_by_name(name).unwrap().as_string::<i32>();
            column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(|(batch, _)| texts(batch)).collect()
    }

    fn last(&self) -> Position {
        self.batches.last().unwrap().1.clone().unwrap()
    }
}

/// Everything up to the end, or up to the moment when there is nothing.
async fn drain(events: &mut EventStream) -> Result<Read> {
    let mut read = Read::default();
    while let Some(event) = events.next().await {
        match event? {
            Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
            Event::Dead(letter) => read.dead.push(letter),
            Event::Idle => break,
            other => panic!("{other:?}"),
        }
    }
    Ok(read)
}

fn durable(split: &Split, position: Option<Position>) -> Vec<SplitProgress> {
    vec![SplitProgress { split: split.clone(), done: position.is_none(), position, rows: 0 }]
}
