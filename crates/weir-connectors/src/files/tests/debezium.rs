//! Debezium's envelope beside a real Debezium's: the same changes of a real PostgreSQL, event by event. `debezium/golden.py` makes the other side. MySQL and
//! MariaDB are in `mysql`.

mod mysql;

use std::time::Duration;

use futures::StreamExt;
use weir_connect::source::Position;
use weir_connect::stream::LossChoice;
use weir_connect::{ChangeEvent, ChangeRequest, ChangeWriter, DeleteMode, StreamInfo};
use weir_testkit::{Database, PostgresServer};

use super::*;
use crate::postgres::PostgresCdc;

const CHANGES: &str = include_str!("debezium/changes.sql");
pub(crate) const GOLDEN: &str = include_str!("debezium/golden.ndjson");

/// Where both sides may differ: times, positions, numbers of transactions, the program, and which row of a snapshot it is.
pub(crate) fn normalised(mut message: Value) -> Value {
    for payload in ["/value", "/value/payload"] {
        if let Some(value) = message.pointer_mut(payload).and_then(Value::as_object_mut).filter(|value| value.contains_key("op"))
        {
            for name in ["ts_ms", "ts_us", "ts_ns"] {
                assert!(value[name].is_i64());
                value[name] = json!("at");
            }
            let source = value["source"].as_object_mut().unwrap();
            source["snapshot"] = json!(if source["snapshot"] == "false" { "false" } else { "true" });
            for name in ["version", "ts_ms", "ts_us", "ts_ns", "sequence", "txId", "lsn"] {
                // Reading is no transaction that the log would number.
                let numbered = name != "txId" || source["snapshot"] == "false";
                assert!(!source[name].is_null() || !numbered, "{name}");
                source[name] = json!("some");
            }
        }
    }
    message
}

/// What the schemas of ours do not have.
pub(crate) fn without_words_of_enums(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // Which words an enum has is not in the log.
            if fields.get("name").is_some_and(|name| name == "io.debezium.data.Enum")
                && fields.get("field").is_none_or(|field| field != "snapshot")
            {
                fields.remove("parameters");
            }
            fields.values_mut().for_each(without_words_of_enums);
        }
        Value::Array(items) => items.iter_mut().for_each(without_words_of_enums),
        _ => {}
    }
}

/// Streams of the log, each with its writer.
struct Into {
    pipeline: String,
    streams: Vec<(StreamInfo, Box<dyn ChangeWriter>)>,
}

impl Into {
    fn writer(&mut self, stream: &str) -> &mut Box<dyn ChangeWriter> {
        &mut self.streams.iter_mut().find(|(info, _)| info.name == stream).unwrap().1
    }
}

/// A writer of messages for each stream of the source.
async fn writers(place: &Place, source: &dyn Source, debezium: Value) -> Vec<(StreamInfo, Box<dyn ChangeWriter>)> {
    let options = json!({"path": "out/{stream}", "format": "debezium", "debezium": debezium});
    let mut streams = Vec::new();
    for info in source.changes().unwrap().streams().await.unwrap() {
        let target = StreamTarget {
            stream: info.name.clone(),
            schema: info.schema.clone(),
            key: info.primary_key.clone(),
            ..changes::changes_target("run-1")
        };
        let stream = place.prepare(options.clone(), target).await.unwrap();
        streams.push((info, stream.change_writer(DeleteMode::Hard).await.unwrap()));
    }
    streams
}

async fn drain(source: &dyn Source, into: &mut Into, from: Option<Position>, seq: i64) -> Position {
    let log = source
        .changes()
        .unwrap()
        .open(ChangeRequest {
            pipeline: into.pipeline.clone(),
            streams: into.streams.iter().map(|(info, _)| info.name.clone()).collect(),
            from,
            until_caught_up: true,
            before_images: true,
            parallelism: 1,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(50),
        })
        .await
        .unwrap();
    let mut events = log.read().await.unwrap();
    let mut position = None;
    while let Some(event) = events.next().await {
        match event.unwrap() {
            ChangeEvent::Changes(batch) => into.writer(&batch.stream.clone()).apply(batch).await.unwrap(),
            ChangeEvent::Truncate { stream, transaction } => into.writer(&stream).truncate(&transaction).await.unwrap(),
            ChangeEvent::Boundary(boundary) => position = Some(boundary.position),
            ChangeEvent::Schema(change) => into.writer(&change.stream.clone()).reshape(&change).await.unwrap(),
            ChangeEvent::Dead(letter) => panic!("{letter:?}"),
        }
    }
    for (_, writer) in &mut into.streams {
        writer.flush(&changes::barrier(seq, 0)).await.unwrap();
    }
    position.unwrap()
}

/// Plays the changes of a PostgreSQL into what `writers` makes of its streams.
pub(crate) async fn played(
    database: &Database,
    writers: impl AsyncFnOnce(&dyn Source) -> Vec<(StreamInfo, Box<dyn ChangeWriter>)>,
) {
    let (setup, then) = CHANGES.split_once("-- changes\n").unwrap();
    database.execute(setup).unwrap();
    let connector = PostgresCdc::default();
    let context = SourceContext {
        connection: json!({"url": database.url()}),
        options: json!({"tables": ["public.kinds", "public.plain", "public.strict", "public.whole"]}),
        on_loss: OnLoss { default: LossChoice::String, ..OnLoss::default() },
        parallelism: 1,
        base_dir: PathBuf::from("."),
    };
    let source = connector.source(context).await.unwrap();
    let streams = writers(source.as_ref()).await;
    // Slots are the server's, not the database's.
    let mut into = Into { pipeline: format!("golden {}", database.name()), streams };
    let position = drain(source.as_ref(), &mut into, None, 1).await;
    database.execute(then).unwrap();
    let position = drain(source.as_ref(), &mut into, Some(position), 2).await;
    source.changes().unwrap().forget(&into.pipeline, Some(&position)).await.unwrap();
}

async fn told(database: &Database, schemas: bool) -> Told {
    let place = Place::local();
    let options = json!({"schemas": schemas, "topic_prefix": "golden", "database": "bench"});
    played(database, async |source| writers(&place, source, options).await).await;
    messages(&place, normalised)
}

pub(crate) type Told = BTreeMap<String, Vec<Value>>;

/// What the files of these streams say, by topic.
fn messages(place: &Place, normalised: impl Fn(Value) -> Value) -> Told {
    let mut told = Told::new();
    for path in place.visible().into_keys() {
        let stream = path.split('/').nth(1).unwrap();
        let lines = String::from_utf8(place.read_file(&path)).unwrap();
        let messages = lines.lines().map(|line| normalised(serde_json::from_str(line).unwrap()));
        told.entry(format!("golden.{stream}")).or_default().extend(messages);
    }
    told
}

/// Message by message, all of them.
pub(crate) fn assert_messages(golden: &str, count: usize, told: &Told, normalised: impl Fn(Value) -> Value) {
    let mut expected = Told::new();
    for line in golden.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if record.get("schemas").is_none() {
            let message = json!({"key": record["key"], "value": record["value"]});
            expected.entry(record["topic"].as_str().unwrap().to_owned()).or_default().push(normalised(message));
        }
    }
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), count);
    assert_eq!(told.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (topic, expected) in &expected {
        for (at, (told, expected)) in told[topic].iter().zip(expected).enumerate() {
            let (told, expected) = (serde_json::to_string_pretty(told).unwrap(), serde_json::to_string_pretty(expected).unwrap());
            let different: Vec<_> = told.lines().zip(expected.lines()).filter(|(ours, theirs)| ours != theirs).take(8).collect();
            assert!(told == expected, "{topic} {at}: ours and theirs {different:#?}");
        }
        assert_eq!(told[topic].len(), expected.len(), "{topic}");
    }
}

/// The schemas of all messages; how many there were. `known` takes out of Debezium's what ours do not have.
pub(crate) fn assert_schemas(golden: &str, told: &Told, known: impl Fn(&mut Value)) -> usize {
    let mut compared = 0;
    for line in golden.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let Some(mut schemas) = record.get("schemas").cloned() else { continue };
        known(&mut schemas);
        for message in &told[record["topic"].as_str().unwrap()] {
            for part in ["key", "value"].into_iter().filter(|part| !message[*part].is_null()) {
                let (ours, theirs) = (
                    serde_json::to_string_pretty(&message[part]["schema"]).unwrap(),
                    serde_json::to_string_pretty(&schemas[part]).unwrap(),
                );
                let different: Vec<_> =
                    ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs).take(8).collect();
                assert!(ours == theirs, "{part} of {}: ours and theirs {different:#?}", record["topic"]);
                compared += 1;
            }
        }
    }
    compared
}

#[tokio::test]
async fn the_messages_are_those_of_a_real_debezium() {
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    assert_messages(GOLDEN, 42, &told(&database, false).await, normalised);
}

#[tokio::test]
async fn the_schemas_are_those_of_a_real_debezium() {
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let compared = assert_schemas(GOLDEN, &told(&database, true).await, without_words_of_enums);
    assert!(compared > 70, "{compared}");
}
