//! The connector against a real broker; seeding and reading back go around it, with plain clients.

mod changes;
mod conformance;
mod faults;
mod guarded;
mod reading;
mod registered;
mod tls;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Error, Event, OnLoss, Position, ReadRequest, Result, SinkContext, Source, SourceContext, StreamReader,
};

use super::Kafka;

/// A record to send: partition, key, value.
type Given<'a> = (i32, Option<&'a str>, Option<&'a [u8]>);
/// A record that is there.
type Found = (i32, Option<Vec<u8>>, Option<Vec<u8>>);

/// The broker of the run, and a name that no other test has.
struct Lab {
    bootstrap: String,
    name: String,
    /// Addresses of schema registries.
    registry: Option<String>,
}

impl Lab {
    fn new(name: &str) -> Self {
        let broker = weir_testkit::Kafka::shared().unwrap();
        Self::at(broker.bootstrap(), name)
    }

    fn at(bootstrap: String, name: &str) -> Self {
        Self { bootstrap, name: format!("{name}-{}", uuid::Uuid::new_v4().simple()), registry: None }
    }

    /// With the registry of the run.
    fn registered(name: &str) -> Self {
        let registry = weir_testkit::SchemaRegistry::shared().unwrap();
        Self { registry: Some(registry.url()), ..Self::new(name) }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn connection(&self) -> Value {
        match &self.registry {
            Some(url) => json!({"bootstrap_servers": self.bootstrap, "registry": {"url": url, "timeout_secs": 3}}),
            None => json!({"bootstrap_servers": self.bootstrap}),
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("message.timeout.ms", "30000");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().remove("message.timeout.ms").create().unwrap()
    }

    async fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            new = new.set(key, value);
        }
        self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let consumer = self.plain("read_committed");
        wait("the topic can be seen", || {
            consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).is_ok_and(|found| {
                found.topics()[0].error().is_none()
                    && found.topics()[0].partitions().len() == partitions as usize
                    && found.topics()[0].partitions().iter().all(|partition| partition.leader() >= 0)
            })
        });
    }

    async fn delete(&self, topic: &str) {
        self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let consumer = self.plain("read_committed");
        wait("the topic is gone", || {
            consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).is_ok_and(|found| found.topics()[0].error().is_some())
        });
    }

    async fn widen(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        self.admin().create_partitions([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let consumer = self.plain("read_committed");
        wait("the partitions can be seen", || {
            consumer
                .fetch_metadata(Some(topic), Duration::from_secs(5))
                .is_ok_and(|found| found.topics()[0].partitions().len() == partitions)
        });
    }

    /// Deletes the records of a partition before an offset.
    async fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    /// Writes records as (partition, key, value).
    fn put(&self, topic: &str, records: &[Given<'_>]) {
        let producer: BaseProducer = self.client().create().unwrap();
        send(&producer, topic, records);
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn put_json(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = Value>) {
        let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        let records: Vec<_> = texts.iter().map(|text| (partition, None, Some(text.as_bytes()))).collect();
        self.put(topic, &records);
    }

    fn plain(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.client();
        config.remove("message.timeout.ms");
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("auto.offset.reset", "earliest").create().unwrap()
    }

    /// Everything in a topic that a reader of committed records sees now: per partition in order.
    fn records(&self, topic: &str) -> Vec<Found> {
        self.records_as(topic, "read_committed")
    }

    fn records_as(&self, topic: &str, isolation: &str) -> Vec<Found> {
        let consumer = self.plain(isolation);
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
        if metadata.topics()[0].error().is_some() {
            return Vec::new();
        }
        let mut list = TopicPartitionList::new();
        let mut open = metadata.topics()[0].partitions().len();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        let begin = Instant::now();
        while open > 0 {
            assert!(begin.elapsed() < Duration::from_secs(50), "{topic} is not read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    records.push((message.partition(), message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec)))
                }
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        records
    }

    fn values(&self, topic: &str) -> Vec<Value> {
        self.records(topic).into_iter().map(|(_, _, value)| serde_json::from_slice(&value.unwrap()).unwrap()).collect()
    }

    async fn source(&self, options: Value) -> Result<Arc<dyn Source>> {
        let connection = self.connection();
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: ".".into() };
        Kafka::default().source(context).await
    }

    async fn sink(&self, mut options: Value) -> Arc<dyn weir_connect::Sink> {
        if options.get("progress_topic").is_none() {
            options["progress_topic"] = json!(self.topic("progress"));
        }
        // The tests' pipelines have one name, and run at the same time.
        if options.get("transactional_id_prefix").is_none() {
            options["transactional_id_prefix"] = json!(self.name);
        }
        let context = SinkContext {
            connection: self.connection(),
            options,
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 2,
            base_dir: ".".into(),
        };
        Kafka::default().sink(context).await.unwrap()
    }

    async fn open(&self, options: Value, topic: &str, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        self.source(options).await?.open(ReadRequest { stream: topic.into(), parallelism: 2, ..request }).await
    }

    async fn read_error(&self, options: Value, topic: &str, request: ReadRequest) -> Error {
        let read = async {
            let reader = self.open(options, topic, request).await?;
            drain(reader.as_ref()).await
        };
        match read.await {
            Ok(read) => panic!("read {:?}", read.ids()),
            Err(error) => error,
        }
    }
}

fn send(producer: &BaseProducer, topic: &str, records: &[Given<'_>]) {
    for (partition, key, value) in records {
        let mut record = BaseRecord::<str, [u8], ()>::to(topic).partition(*partition);
        if let Some(key) = key {
            record = record.key(*key);
        }
        if let Some(value) = value {
            record = record.payload(*value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

fn wait(what: &str, is_so: impl FnMut() -> bool) {
    weir_testkit::wait_until(what, Duration::from_secs(30), is_so).unwrap();
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
        self.batches.values().flatten().map(|(batch, _)| batch)
    }

    /// The column `id`, sorted.
    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self
            .rows()
            .filter(|batch| batch.num_rows() > 0)
            .flat_map(|batch| {
                batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

async fn drain(reader: &dyn StreamReader) -> Result<Read> {
    let mut read = Read::default();
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => read.batches.entry(split.id.clone()).or_default().push((batch.records, batch.position)),
                Event::Dead(letter) => read.dead.push(letter),
                other => panic!("{other:?}"),
            }
        }
    }
    Ok(read)
}

fn ids(range: std::ops::Range<i64>) -> Vec<Value> {
    range.map(|id| json!({"id": id, "name": format!("row {id}")})).collect()
}
