//! The connector against a real broker; the other side is another client, with its own idea of the protocol.

mod conformance;
mod faults;
mod reading;
mod writing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event as PeerEvent, MqttOptions};
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Event, EventStream, OnLoss, Position, ReadRequest, Result, SinkContext, Source, SourceContext,
    SplitProgress, StreamReader,
};

use super::Mqtt;

/// A broker, and a name that no other test has.
struct Lab {
    port: u16,
    name: String,
}

/// Topic, payload, and whether the broker had kept it.
type Heard = (String, Vec<u8>, bool);

impl Lab {
    fn new(name: &str) -> Self {
        Self::at(weir_testkit::Mosquitto::shared().unwrap().port(), name)
    }

    fn at(port: u16, name: &str) -> Self {
        Self { port, name: format!("{name}-{}", uuid::Uuid::new_v4().simple()) }
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.name)
    }

    fn peer(&self) -> MqttOptions {
        let mut options = MqttOptions::new(uuid::Uuid::new_v4().simple().to_string(), "127.0.0.1", self.port);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(64 << 20));
        options
    }

    /// Publishes, and waits until the broker has confirmed all.
    async fn put(&self, topic: &str, payloads: &[impl AsRef<[u8]>], qos: QoS, retain: bool) {
        let (client, mut events) = AsyncClient::new(self.peer(), 100);
        let payloads: Vec<Vec<u8>> = payloads.iter().map(|payload| payload.as_ref().to_vec()).collect();
        let (wanted, topic) = (payloads.len(), topic.to_owned());
        let sending = tokio::spawn(async move {
            for payload in payloads {
                client.publish(topic.clone(), qos, retain, payload).await.unwrap();
            }
            client
        });
        let mut confirmed = 0;
        while confirmed < wanted {
            if let PeerEvent::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) = events.poll().await.unwrap() {
                confirmed += 1;
            }
        }
        sending.await.unwrap();
    }

    async fn put_ids(&self, rest: &str, range: std::ops::Range<i64>) {
        let texts: Vec<String> = range.map(|id| json!({"id": id}).to_string()).collect();
        self.put(&self.topic(rest), &texts, QoS::AtLeastOnce, false).await;
    }

    /// Hears what is published from now on.
    async fn listen(&self, filter: &str) -> Arc<Mutex<Vec<Heard>>> {
        let (client, mut events) = AsyncClient::new(self.peer(), 100);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        loop {
            if let PeerEvent::Incoming(Packet::SubAck(_)) = events.poll().await.unwrap() {
                break;
            }
        }
        let all = heard.clone();
        tokio::spawn(async move {
            let _stays_subscribed = client;
            while let Ok(event) = events.poll().await {
                if let PeerEvent::Incoming(Packet::Publish(message)) = event {
                    let topic = String::from_utf8(message.topic.to_vec()).unwrap();
                    all.lock().unwrap().push((topic, message.payload.to_vec(), message.retain));
                }
            }
        });
        heard
    }

    fn connection(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.port, "connect_timeout_secs": 5})
    }

    /// With one column `id`, unless told otherwise.
    async fn source(&self, more: Value) -> Arc<dyn Source> {
        let mut options =
            json!({"topic": self.topic("#"), "client_id": self.name, "columns": {"id": "int64"}, "only_columns": true});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut connection = self.connection();
        if let Some(version) = options.as_object_mut().unwrap().remove("protocol_version") {
            connection["protocol_version"] = version;
        }
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: ".".into() };
        Mqtt::default().source(context).await.unwrap()
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
        Mqtt::default().sink(context).await.unwrap()
    }
}

/// A source that is being read without end.
struct Following {
    source: Arc<dyn Source>,
    reader: Box<dyn StreamReader>,
    events: EventStream,
}

impl Following {
    async fn of(source: Arc<dyn Source>) -> Self {
        Self::with(source, ReadRequest::default()).await.unwrap()
    }

    async fn with(source: Arc<dyn Source>, request: ReadRequest) -> Result<Self> {
        let reader = source.open(ReadRequest { stream: "s".into(), unbounded: true, ..request }).await?;
        let events = reader.read(&reader.splits().remove(0), None).await?;
        Ok(Self { source, reader, events })
    }

    async fn next(&mut self) -> Result<Event> {
        let event = tokio::time::timeout(Duration::from_secs(40), self.events.next()).await;
        event.expect("the reader says nothing").expect("the reader ended")
    }

    /// Up to the next time that the reader says it has given everything.
    async fn until_idle(&mut self) -> Result<(Vec<i64>, Option<Position>)> {
        let (mut ids, mut position) = (Vec::new(), None);
        loop {
            match self.next().await? {
                Event::Batch(batch) => {
                    ids.extend(ids_of(&batch.records));
                    position = batch.position.or(position);
                }
                Event::Idle => return Ok((ids, position)),
                Event::Dead(letter) => panic!("{letter:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn commit(&self, position: &Option<Position>) {
        let split = self.reader.splits().remove(0);
        let progress = SplitProgress { split, position: position.clone(), done: false, rows: 0 };
        self.source.committed("s", &[progress]).await.unwrap();
    }
}

/// What a bounded read gives.
#[derive(Default)]
struct Read {
    batches: Vec<(RecordBatch, Option<Position>)>,
    dead: Vec<DeadLetter>,
}

impl Read {
    fn ids(&self) -> Vec<i64> {
        self.batches.iter().flat_map(|(batch, _)| ids_of(batch)).collect()
    }
}

/// Reads what is there, and commits it as a run does.
async fn run(source: &Arc<dyn Source>, previous: Option<Value>) -> Result<(Read, Option<Value>)> {
    let reader = source.open(ReadRequest { stream: "s".into(), previous, ..ReadRequest::default() }).await?;
    let mut read = Read::default();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await?;
    while let Some(event) = tokio::time::timeout(Duration::from_secs(40), events.next()).await.expect("the reader says nothing") {
        match event? {
            Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
            Event::Dead(letter) => read.dead.push(letter),
            other => panic!("{other:?}"),
        }
    }
    drop(events);
    let position = read.batches.last().and_then(|(_, position)| position.clone());
    source.committed("s", &[SplitProgress { split, position, done: true, rows: 0 }]).await?;
    Ok((read, reader.next_state()))
}

fn ids_of(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect()
}

fn whole(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

fn wait(what: &str, is_so: impl FnMut() -> bool) {
    weir_testkit::wait_until(what, Duration::from_secs(30), is_so).unwrap();
}
