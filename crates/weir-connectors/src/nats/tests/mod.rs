//! The connector against a real server; seeding and reading back go around it, with a plain client.

mod conformance;
mod faults;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context};
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Error, Event, EventStream, OnLoss, Position, ReadRequest, Result, SinkContext, Source, SourceContext,
    StreamReader,
};

use super::Nats;

/// A server, and a name that no other test has.
struct Lab {
    url: String,
    name: String,
    jetstream: Context,
}

impl Lab {
    async fn new(name: &str) -> Self {
        Self::at(weir_testkit::Nats::shared().unwrap().url(), name).await
    }

    async fn at(url: String, name: &str) -> Self {
        let jetstream = jetstream::new(async_nats::connect(&url).await.unwrap());
        Self { url, name: format!("{name}-{}", uuid::Uuid::new_v4().simple()), jetstream }
    }

    /// The lab's stream has all subjects below its name.
    async fn create(&self) {
        self.create_with(|_| {}).await;
    }

    async fn create_with(&self, more: impl FnOnce(&mut jetstream::stream::Config)) {
        let mut config =
            jetstream::stream::Config { name: self.name.clone(), subjects: vec![self.subject(">")], ..Default::default() };
        more(&mut config);
        self.jetstream.create_stream(config).await.unwrap();
    }

    fn subject(&self, rest: &str) -> String {
        format!("{}.{rest}", self.name)
    }

    async fn put(&self, rest: &str, payloads: &[&[u8]]) {
        let mut sent = Vec::new();
        for payload in payloads {
            sent.push(self.jetstream.publish(self.subject(rest), payload.to_vec().into()).await.unwrap());
        }
        for confirmation in sent {
            confirmation.await.unwrap();
        }
    }

    async fn put_ids(&self, rest: &str, range: std::ops::Range<i64>) {
        let texts: Vec<String> = range.map(|id| json!({"id": id, "name": format!("row {id}")}).to_string()).collect();
        let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        for part in payloads.chunks(1000) {
            self.put(rest, part).await;
        }
    }

    /// Everything that the stream has.
    async fn messages(&self, stream: &str) -> Vec<jetstream::Message> {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut all = Vec::new();
        let wanted = stream.cached_info().state.messages as usize;
        while all.len() < wanted {
            let mut some = consumer.fetch().max_messages(5000).messages().await.unwrap();
            while let Some(message) = some.next().await {
                all.push(message.unwrap());
            }
        }
        all
    }

    async fn written(&self, stream: &str) -> Vec<i64> {
        let id =
            |message: &jetstream::Message| serde_json::from_slice::<Value>(&message.payload).unwrap()["id"].as_i64().unwrap();
        let mut ids: Vec<i64> = self.messages(stream).await.iter().map(id).collect();
        ids.sort_unstable();
        ids
    }

    fn connection(&self) -> Value {
        json!({"servers": self.url, "connect_timeout_secs": 5})
    }

    async fn source(&self, mut options: Value) -> Result<Arc<dyn Source>> {
        if options.get("stream").is_none() {
            options["stream"] = json!(self.name);
        }
        let context = SourceContext {
            connection: self.connection(),
            options,
            on_loss: OnLoss::default(),
            parallelism: 2,
            base_dir: ".".into(),
        };
        Nats::default().source(context).await
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
        Nats::default().sink(context).await.unwrap()
    }

    async fn open(&self, options: Value, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        self.source(options).await?.open(ReadRequest { stream: self.name.clone(), parallelism: 2, ..request }).await
    }

    async fn read(&self, options: Value, request: ReadRequest) -> Read {
        let reader = self.open(options, request).await.unwrap();
        drain(reader.as_ref()).await.unwrap()
    }

    async fn read_error(&self, options: Value, request: ReadRequest) -> Error {
        let read = async {
            let reader = self.open(options, request).await?;
            drain(reader.as_ref()).await
        };
        match read.await {
            Ok(read) => panic!("read {:?}", read.ids()),
            Err(error) => error,
        }
    }
}

/// What came out of all splits.
#[derive(Default)]
struct Read {
    batches: Vec<(RecordBatch, Option<Position>)>,
    dead: Vec<DeadLetter>,
}

fn ids_of(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect()
}

impl Read {
    /// The column `id`, in the order it came.
    fn ids(&self) -> Vec<i64> {
        self.batches.iter().flat_map(|(batch, _)| ids_of(batch)).collect()
    }
}

async fn drain(reader: &dyn StreamReader) -> Result<Read> {
    let mut read = Read::default();
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await?;
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

/// Up to the next time that the reader says it has given everything.
async fn until_idle(events: &mut EventStream) -> Result<(Vec<i64>, Option<Position>)> {
    let (mut ids, mut position) = (Vec::new(), None);
    loop {
        let event = tokio::time::timeout(Duration::from_secs(40), events.next()).await.expect("the reader says nothing");
        match event.expect("the reader ended")? {
            Event::Batch(batch) => {
                ids.extend(ids_of(&batch.records));
                position = batch.position;
            }
            Event::Idle => return Ok((ids, position)),
            other => panic!("{other:?}"),
        }
    }
}

fn whole(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}
