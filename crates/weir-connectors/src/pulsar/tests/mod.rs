//! The connector against a real broker; seeding and reading back go around it, with another client.

mod conformance;
mod faults;
mod oauth;
mod reading;
mod schemas;
mod subscriptions;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use pulsar::consumer::{ConsumerOptions, InitialPosition, Message};
use pulsar::producer::{self, ProducerOptions};
use pulsar::{Consumer, TokioExecutor};
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Error, Event, OnLoss, Position, ReadRequest, Result, SinkContext, Source, SourceContext, Split,
    StreamReader,
};

use super::Pulsar;

const LIMIT: Duration = Duration::from_secs(60);

/// The broker of the run, and a namespace that no other test has.
struct Lab {
    url: String,
    admin: String,
    namespace: String,
    /// The connection, where it is not that of everybody.
    with: Option<Value>,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self::at(&weir_testkit::Pulsar::shared().unwrap(), name)
    }

    fn at(server: &weir_testkit::Pulsar, name: &str) -> Self {
        let namespace = format!("weir/{name}-{}", uuid::Uuid::new_v4().simple());
        server.create_namespace(&namespace).unwrap();
        Self { url: server.url(), admin: server.admin_url(), namespace, with: None }
    }

    fn connection(&self) -> Value {
        let everybodys = json!({"service_url": self.url, "admin_url": self.admin, "namespace": self.namespace});
        self.with.clone().unwrap_or(everybodys)
    }

    fn full(&self, topic: &str) -> String {
        format!("persistent://{}/{topic}", self.namespace)
    }

    /// Asks the admin interface below the namespace.
    async fn admin(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}/admin/v2/{}", self.admin, path.replace("{ns}", &self.namespace));
        let mut request = reqwest::Client::new().request(method, &url);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn create(&self, topic: &str, partitions: u32) {
        let path = format!("persistent/{{ns}}/{topic}");
        match partitions {
            0 => self.admin(reqwest::Method::PUT, &path, None).await,
            count => self.admin(reqwest::Method::PUT, &format!("{path}/partitions"), Some(json!(count))).await,
        };
    }

    async fn client(&self) -> pulsar::Pulsar<TokioExecutor> {
        pulsar::Pulsar::builder(&self.url, TokioExecutor).build().await.unwrap()
    }

    /// Writes messages to a topic or partition, so many to an entry.
    async fn send(&self, topic: &str, batch: Option<u32>, messages: Vec<producer::Message>) {
        self.send_as(topic, ProducerOptions { batch_size: batch, ..ProducerOptions::default() }, messages).await;
    }

    async fn send_as(&self, topic: &str, options: ProducerOptions, messages: Vec<producer::Message>) {
        let client = self.client().await;
        let batches = options.batch_size.is_some();
        let options = ProducerOptions { block_queue_if_full: true, ..options };
        let mut producer = client.producer().with_topic(self.full(topic)).with_options(options).build().await.unwrap();
        let mut sent = Vec::new();
        for message in messages {
            sent.push(producer.send_non_blocking(message).await.unwrap());
        }
        if batches {
            producer.send_batch().await.unwrap();
        }
        for receipt in sent {
            receipt.await.unwrap();
        }
    }

    async fn put(&self, topic: &str, batch: Option<u32>, values: impl IntoIterator<Item = Value>) {
        let messages = values.into_iter().map(|value| message(value.to_string().as_bytes())).collect();
        self.send(topic, batch, messages).await;
    }

    /// Everything that is in a topic or partition now.
    async fn messages(&self, topic: &str) -> Vec<Message<Vec<u8>>> {
        let client = self.client().await;
        let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest);
        let mut consumer: Consumer<Vec<u8>, _> = client
            .consumer()
            .with_topic(self.full(topic))
            .with_subscription(format!("test-{}", uuid::Uuid::new_v4().simple()))
            .with_options(options)
            .build()
            .await
            .unwrap();
        let last = consumer.get_last_message_id().await.unwrap().remove(0);
        let mut messages: Vec<Message<Vec<u8>>> = Vec::new();
        let is_last = |message: &Message<Vec<u8>>| {
            let (id, size) = (message.message_id(), message.metadata().num_messages_in_batch);
            let whole = size.is_none_or(|size| id.batch_index.unwrap_or_default() + 1 >= size);
            (id.ledger_id, id.entry_id) >= (last.ledger_id, last.entry_id) && whole
        };
        while last.entry_id != u64::MAX && !messages.last().is_some_and(is_last) {
            let next = tokio::time::timeout(LIMIT, consumer.next()).await.expect("the messages do not come");
            messages.push(next.unwrap().unwrap());
        }
        messages
    }

    async fn values(&self, topic: &str) -> Vec<Value> {
        self.messages(topic).await.iter().map(|message| serde_json::from_slice(&message.payload.data).unwrap()).collect()
    }

    /// The column `id` of a topic or partition, sorted.
    async fn written(&self, topic: &str) -> Vec<i64> {
        let mut ids: Vec<i64> = self.values(topic).await.iter().map(|value| value["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    }

    async fn source(&self, options: Value) -> Result<Arc<dyn Source>> {
        let connection = self.connection();
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: ".".into() };
        Pulsar::default().source(context).await
    }

    async fn sink(&self, options: Value) -> Arc<dyn weir_connect::Sink> {
        let context = SinkContext {
            connection: self.connection(),
            options,
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 2,
            base_dir: ".".into(),
        };
        Pulsar::default().sink(context).await.unwrap()
    }

    async fn open(&self, options: Value, stream: &str, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        self.source(options).await?.open(ReadRequest { stream: stream.into(), parallelism: 2, ..request }).await
    }

    async fn read(&self, options: Value, stream: &str, request: ReadRequest) -> Read {
        drain(self.open(options, stream, request).await.unwrap().as_ref()).await.unwrap()
    }

    async fn read_error(&self, options: Value, stream: &str, request: ReadRequest) -> Error {
        let read = async {
            let reader = self.open(options, stream, request).await?;
            drain(reader.as_ref()).await
        };
        match read.await {
            Ok(read) => panic!("read {:?}", read.ids()),
            Err(error) => error,
        }
    }
}

fn message(payload: &[u8]) -> producer::Message {
    producer::Message { payload: payload.to_vec(), ..producer::Message::default() }
}

fn ids(range: std::ops::Range<i64>) -> Vec<Value> {
    range.map(|id| json!({"id": id, "name": format!("row {id}")})).collect()
}

fn ids_of(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect()
}

/// What came out of all splits.
#[derive(Default)]
struct Read {
    /// By partition.
    batches: BTreeMap<String, Vec<(RecordBatch, Option<Position>)>>,
    dead: Vec<DeadLetter>,
}

impl Read {
    fn rows(&self) -> impl Iterator<Item = &RecordBatch> {
        self.batches.values().flatten().map(|(batch, _)| batch).filter(|batch| batch.num_rows() > 0)
    }

    /// The column `id`, sorted.
    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.rows().flat_map(ids_of).collect();
        ids.sort_unstable();
        ids
    }
}

async fn read_split(reader: &dyn StreamReader, split: &Split, from: Option<Position>, into: &mut Read) -> Result<()> {
    let mut events = reader.read(split, from).await?;
    while let Some(event) = tokio::time::timeout(LIMIT, events.next()).await.expect("the stream does not end") {
        match event? {
            Event::Batch(batch) => into.batches.entry(split.id.clone()).or_default().push((batch.records, batch.position)),
            Event::Dead(letter) => into.dead.push(letter),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

async fn drain(reader: &dyn StreamReader) -> Result<Read> {
    let mut read = Read::default();
    for split in reader.splits() {
        read_split(reader, &split, None, &mut read).await?;
    }
    Ok(read)
}

/// Reads what there is up to the next `Idle`: rows and the last position.
async fn until_idle(events: &mut weir_connect::EventStream) -> (Vec<i64>, Option<Position>) {
    let (mut ids, mut position) = (Vec::new(), None);
    loop {
        match tokio::time::timeout(LIMIT, events.next()).await.expect("nothing comes").unwrap().unwrap() {
            Event::Batch(batch) => {
                if batch.records.num_rows() > 0 {
                    ids.extend(ids_of(&batch.records));
                }
                position = batch.position;
            }
            Event::Idle => return (ids, position),
            other => panic!("{other:?}"),
        }
    }
}
