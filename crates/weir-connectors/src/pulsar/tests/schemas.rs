//! Messages whose schema the broker has: what Java's client wrote, what it reads of ours, when schemas change, and when something is wrong with one.

use std::process::Command;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use pulsar::message::proto;
use pulsar::message::proto::schema::Type;
use weir_connect::{Kind, Resume, RunIdentity, SchemaChangePolicy, SplitProgress, StreamTarget, WriteMode};

use super::writing::barrier;
use super::*;

/// Java's own client, from the server's distribution.
fn java(lab: &Lab, arguments: &[&str]) -> String {
    let home = weir_testkit::pulsar::install::home().unwrap();
    let mut command = Command::new(home.join("bin/pulsar-client"));
    command.args(["--url", &lab.url]).args(arguments).env("LC_ALL", "C.UTF-8");
    command.env("PULSAR_MEM", "-Xmx192m").env("PULSAR_GC", "-XX:+UseSerialGC");
    weir_testkit::process::run_checked(command.env("PULSAR_LOG_LEVEL", "error")).unwrap()
}

fn order(more: &str) -> String {
    format!(r#"{{"type": "record", "name": "Order", "namespace": "shop", "fields": [{{"name": "id", "type": "long"}}{more}]}}"#)
}

const NOTE: &str = r#", {"name": "note", "type": ["null", "string"], "default": null}"#;

fn schema(kind: Type, text: &str) -> proto::Schema {
    proto::Schema { name: "order".into(), schema_data: text.into(), r#type: kind as i32, properties: Vec::new() }
}

impl Lab {
    /// Messages of a producer that announces this schema.
    async fn announce(&self, topic: &str, schema: proto::Schema, payloads: &[&[u8]]) {
        let options = ProducerOptions { schema: Some(schema), ..ProducerOptions::default() };
        self.send_as(topic, options, payloads.iter().map(|payload| message(payload)).collect()).await;
    }

    /// How many versions a topic's schema has.
    async fn versions(&self, topic: &str) -> Vec<Value> {
        let all = self.admin(reqwest::Method::GET, &format!("schemas/{{ns}}/{topic}/schemas"), None).await;
        all["getSchemaResponses"].as_array().unwrap().clone()
    }
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

/// Whether Java's client shows this message, in whatever order.
fn has(said: &str, id: i64, note: &str) -> bool {
    let contents = said.lines().filter_map(|line| line.split_once("content:{").map(|(_, content)| content.trim_end_matches('}')));
    let mut members = contents.map(|content| content.split(", ").map(str::to_owned).collect::<Vec<_>>());
    let wanted = format!("id={id}");
    members.any(|members| {
        members.contains(&wanted) && (note.is_empty() && members.len() == 1 || members.iter().any(|one| one == note))
    })
}

/// All rows of one partition, in their order.
async fn all(lab: &Lab, options: Value) -> (RecordBatch, Vec<DeadLetter>) {
    let reader = lab.open(options, "t", ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    (concat_batches(&reader.schema(), read.rows()).unwrap(), read.dead)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_of_javas_client_is_read_by_the_schema_of_each_message_without_being_told_so() {
    let lab = Lab::new("avro");
    let topic = lab.full("t");
    let avro = |more: &str| format!("avro:{}", order(more));
    java(&lab, &["produce", "-s", "#", "-vs", &avro(""), "-m", r#"{"id": 1}#{"id": 2}"#, &topic]);
    java(&lab, &["produce", "-s", "#", "-vs", &avro(NOTE), "-m", r#"{"id": 3, "note": {"string": "ü"}}"#, &topic]);
    // A producer of the old version is still there.
    lab.announce("t", schema(Type::Avro, &order("")), &[&[8]]).await;
    let infos = lab.source(json!({"topic": "t"})).await.unwrap().streams().await.unwrap();
    let fields = infos[0].schema.fields();
    assert_eq!(fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "note"]);
    assert_eq!((fields[0].data_type(), fields[0].is_nullable()), (&DataType::Int64, false));
    for options in [json!({"topic": "t"}), json!({"topic": "t", "format": "avro", "metadata": ["sequence"]})] {
        let (rows, dead) = all(&lab, options).await;
        assert_eq!((ids_of(&rows), dead.len()), (vec![1, 2, 3, 4], 0));
        assert_eq!(texts(&rows, "note"), [None, None, Some("ü".to_owned()), None]);
    }
    // Whoever says something else is told, and bytes are bytes.
    let error = lab.read_error(json!({"topic": "t", "format": "json"}), "t", ReadRequest::default()).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PULSAR-007", Kind::Unsupported), "{error}");
    let (rows, _) = all(&lab, json!({"topic": "t", "format": "raw"})).await;
    assert_eq!(rows.column(0).as_binary::<i32>().value(0), [2]);
    lab.put("plain", None, ids(0..1)).await;
    let error = lab.read_error(json!({"topic": "plain", "format": "avro"}), "plain", ReadRequest::default()).await;
    assert!(error.to_string().contains("has no schema"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_schema_with_the_same_columns_goes_on_and_one_with_more_is_told_once() {
    let lab = Lab::new("evolution");
    lab.announce("t", schema(Type::Avro, &order("")), &[&[2], &[4]]).await;
    let request = || ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(json!({"topic": "t"}), "t", request()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let (mut got, mut position) = until_idle(&mut events).await;
    // Another schema for the broker, and the same one for whoever reads.
    let owned = order("").replace("\"Order\"", "\"Order\", \"owner\": \"shop\"");
    lab.announce("t", schema(Type::Avro, &owned), &[&[6]]).await;
    while got.len() < 3 {
        let (more, at) = until_idle(&mut events).await;
        got.extend(more);
        position = at.or(position);
    }
    assert_eq!(lab.versions("t").await.len(), 2);
    lab.announce("t", schema(Type::Avro, &order(NOTE)), &[&[8, 2, 2, b'n']]).await;
    let changed = loop {
        match tokio::time::timeout(LIMIT, events.next()).await.expect("nothing comes").unwrap().unwrap() {
            Event::SchemaChange(schema) => break schema,
            Event::Idle => {}
            Event::Batch(batch) => {
                got.extend((batch.records.num_rows() > 0).then(|| ids_of(&batch.records)).into_iter().flatten());
                position = batch.position;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(changed.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "note"]);
    assert!(events.next().await.is_none());
    assert_eq!(got, [1, 2, 3]);
    // The next attempt has the new columns, and begins with the message that has them.
    let progress = vec![SplitProgress { split: split.clone(), position: position.clone(), done: false, rows: 3 }];
    let resume = Some(Resume { reader_state: reader.state(), progress });
    let again = lab.open(json!({"topic": "t"}), "t", ReadRequest { resume, ..request() }).await.unwrap();
    assert_eq!(again.schema(), changed);
    let mut events = again.read(&again.splits()[0], position).await.unwrap();
    let Event::Batch(batch) = events.next().await.unwrap().unwrap() else { panic!("no rows") };
    assert_eq!((ids_of(&batch.records), texts(&batch.records, "note")), (vec![4], vec![Some("n".to_owned())]));
    let (rows, dead) = all(&lab, json!({"topic": "t"})).await;
    assert_eq!((ids_of(&rows), dead.len()), (vec![1, 2, 3, 4], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_gives_a_message_of_a_new_schema_to_the_next_run() {
    let lab = Lab::new("queue");
    lab.announce("t", schema(Type::Avro, &order("")), &[&[2], &[4]]).await;
    let options = json!({"topic": "t", "read_by": "subscription", "subscription_name": "s"});
    let source = lab.source(options.clone()).await.unwrap();
    let request = || ReadRequest { stream: "t".into(), parallelism: 1, unbounded: true, ..ReadRequest::default() };
    let reader = source.open(request()).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let (got, position) = until_idle(&mut events).await;
    assert_eq!(got, [1, 2]);
    lab.announce("t", schema(Type::Avro, &order(NOTE)), &[&[6, 2, 2, b'n'], &[8, 0]]).await;
    let mut told = 0;
    while let Some(event) = tokio::time::timeout(LIMIT, events.next()).await.expect("the stream does not end") {
        match event.unwrap() {
            Event::SchemaChange(schema) => told += schema.fields().len(),
            Event::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 2);
    let split = reader.splits().remove(0);
    source.committed("t", &[SplitProgress { split, position, done: false, rows: 2 }]).await.unwrap();
    drop((events, reader, source));
    let source = lab.source(options).await.unwrap();
    let reader = source.open(ReadRequest { unbounded: false, ..request() }).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    assert_eq!((read.ids(), read.dead.len()), (vec![3, 4], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_dead_letter_and_is_read_again_when_it_can() {
    let lab = Lab::new("poison");
    lab.announce("t", schema(Type::Avro, &order("")), &[&[2], &[4, 4]]).await;
    // Its producer announces nothing, or names a version that nobody has.
    lab.send("t", None, vec![message(&[6])]).await;
    let unknown = producer::Message { schema_version: Some(77u64.to_be_bytes().to_vec()), ..message(&[8]) };
    lab.send("t", None, vec![unknown]).await;
    lab.announce("t", schema(Type::Avro, &order("")), &[&[10]]).await;
    let options = json!({"topic": "t"});
    let (rows, dead) = all(&lab, options.clone()).await;
    assert_eq!(ids_of(&rows), [1, 5]);
    let told: Vec<_> =
        dead.iter().map(|letter| (letter.code.as_str(), letter.place.rsplit_once(" schema ").map(|(_, v)| v))).collect();
    let expected = [("WEIR-FMT-056", Some("0")), ("WEIR-PULSAR-026", None), ("WEIR-PULSAR-026", Some("77"))];
    assert_eq!(told, expected, "{dead:?}");
    let source = lab.source(options).await.unwrap();
    for letter in &dead {
        assert!(matches!(source.redecode("t", letter).await.unwrap().as_slice(), [Event::Dead(_)]), "{letter:?}");
    }
    let mended = DeadLetter { payload: vec![4], ..dead[0].clone() };
    let again = source.redecode("t", &mended).await.unwrap();
    let [Event::Batch(batch)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(ids_of(&batch.records), [2]);
    // A schema that has no columns is told when the stream is opened.
    let circle = r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": ["null", "A"]}]}"#;
    lab.announce("circle", schema(Type::Avro, circle), &[&[0]]).await;
    let error = lab.read_error(json!({"topic": "circle"}), "circle", ReadRequest::default()).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-FMT-050", Kind::Schema), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_values_of_javas_client_are_columns_wherever_the_key_is() {
    let lab = Lab::new("pairs");
    let key = r#"{"type": "record", "name": "K", "fields": [{"name": "shop", "type": "int"}]}"#;
    for way in ["inline", "separated"] {
        let topic = lab.full(way);
        let (key, value) = (format!("json:{key}"), format!("avro:{}", order(NOTE)));
        let messages = r#"{"id": 1, "note": {"string": "a"}}#{"id": 2, "note": null}"#;
        java(
            &lab,
            &["produce", "-s", "#", "-kvet", way, "-ks", &key, "-kvk", r#"{"shop": 7}"#, "-vs", &value, "-m", messages, &topic],
        );
        let reader = lab.open(json!({"topic": way, "metadata": ["topic"]}), way, ReadRequest::default()).await.unwrap();
        let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["id", "note", "_topic", "_key_shop"], "{way}");
        let read = drain(reader.as_ref()).await.unwrap();
        assert!(read.dead.is_empty(), "{way} {:?}", read.dead);
        let rows = concat_batches(&reader.schema(), read.rows()).unwrap();
        assert_eq!((ids_of(&rows), texts(&rows, "note")), (vec![1, 2], vec![Some("a".into()), None]), "{way}");
        assert_eq!(rows.column_by_name("_key_shop").unwrap().as_primitive::<Int32Type>().values(), &[7, 7], "{way}");
    }
    // The other way round; and no key, no value, and no pair at all.
    let sized = |text: &str| [&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat();
    let said = [("key.schema.type", "AVRO"), ("value.schema.type", "JSON"), ("kv.encoding.type", "INLINE")];
    let both = proto::Schema {
        schema_data: [sized(key), sized(&order(NOTE))].concat(),
        properties: said.map(|(key, value)| proto::KeyValue { key: key.into(), value: value.into() }).to_vec(),
        ..schema(Type::KeyValue, "")
    };
    let pair = |key: Option<&[u8]>, value: Option<&[u8]>| -> Vec<u8> {
        let part = |part: Option<&[u8]>| match part {
            Some(bytes) => [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat(),
            None => (-1i32).to_be_bytes().to_vec(),
        };
        [part(key), part(value)].concat()
    };
    let payloads = [
        pair(Some(&[14]), Some(b"{\"id\": 1, \"note\": \"a\"}")),
        pair(None, Some(b"{\"id\": 3}")),
        pair(Some(&[16]), None),
        b"odd".to_vec(),
        pair(Some(&[16, 16]), Some(b"{\"id\": 4}")),
        pair(Some(&[16]), Some(b"{\"id\": ")),
        pair(Some(&[16]), Some(b"{\"id\": 5}")),
    ];
    lab.announce("odd", both, &payloads.each_ref().map(Vec::as_slice)).await;
    let reader = lab.open(json!({"topic": "odd", "format": "key_value"}), "odd", ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    let rows = concat_batches(&reader.schema(), read.rows()).unwrap();
    let shops: Vec<Option<i32>> = rows.column_by_name("_key_shop").unwrap().as_primitive::<Int32Type>().iter().collect();
    assert_eq!((ids_of(&rows), shops), (vec![1, 3, 5], vec![Some(7), None, Some(8)]));
    let codes: Vec<&str> = read.dead.iter().map(|letter| letter.code.as_str()).collect();
    assert_eq!(codes, ["WEIR-PULSAR-022", "WEIR-PULSAR-028", "WEIR-FMT-056", "WEIR-FMT-111"], "{:?}", read.dead);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_is_read_by_the_descriptors_that_the_broker_has() {
    let lab = Lab::new("protobuf");
    let folder = tempfile::tempdir().unwrap();
    let text = r#"syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto";
        message Other { string x = 1; } message Order { int64 id = 1; optional string note = 2; google.protobuf.Timestamp at = 3; }"#;
    std::fs::write(folder.path().join("order.proto"), text).unwrap();
    // The compiler without which this connector is not built.
    let mut protoc = Command::new("protoc");
    protoc.args(["--include_imports", "--descriptor_set_out=set.bin", "order.proto"]).current_dir(folder.path());
    weir_testkit::process::run_checked(&mut protoc).unwrap();
    let set = std::fs::read(folder.path().join("set.bin")).unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, set);
    let data =
        json!({"fileDescriptorSet": encoded, "rootMessageTypeName": "shop.Order", "rootFileDescriptorName": "order.proto"});
    let records: [&[u8]; 3] = [&[8, 1], &[8, 2, 18, 1, b'n', 26, 2, 8, 5], &[18, 9, b'n']];
    lab.announce("t", schema(Type::ProtobufNative, &data.to_string()), &records).await;
    let (rows, dead) = all(&lab, json!({"topic": "t"})).await;
    assert_eq!((ids_of(&rows), texts(&rows, "note")), (vec![1, 2], vec![None, Some("n".into())]));
    let times = rows.column_by_name("at").unwrap().as_primitive::<arrow::datatypes::TimestampNanosecondType>();
    assert_eq!(times.iter().collect::<Vec<_>>(), [None, Some(5_000_000_000)]);
    assert_eq!(dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["WEIR-FMT-056"]);
}

fn rows(range: std::ops::Range<i64>) -> RecordBatch {
    let notes = StringArray::from_iter(range.clone().map(|id| (id % 2 > 0).then(|| format!("rów {id}"))));
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("note", DataType::Utf8, true)]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(notes)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn write(lab: &Lab, options: Value, batch: RecordBatch) -> Result<()> {
    let target = StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "1".into() },
        stream: "s".into(),
        schema: batch.schema(),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    };
    let stream = lab.sink(options).await.prepare(target).await?;
    let mut writer = stream.writer(0).await?;
    writer.write(batch).await?;
    writer.flush(&barrier()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_as_avro_is_read_by_javas_client_and_its_schema_grows_by_the_brokers_rules() {
    let lab = Lab::new("sink");
    let options = json!({"topic": "t", "format": "avro", "record_name": "shop.Order", "partitions": 2, "key": ["id"]});
    write(&lab, options.clone(), rows(0..6).project(&[0]).unwrap()).await.unwrap();
    // The same columns again are no second version; one more that may be NULL is one.
    write(&lab, options.clone(), rows(6..9).project(&[0]).unwrap()).await.unwrap();
    assert_eq!(lab.versions("t").await.len(), 1);
    let nameless = json!({"topic": "t", "format": "avro"});
    write(&lab, nameless.clone(), rows(9..12)).await.unwrap();
    let versions = lab.versions("t").await;
    assert_eq!((versions.len(), &versions[0]["type"]), (2, &json!("AVRO")));
    assert!(versions[1]["data"].as_str().unwrap().contains("\"shop\""), "{versions:?}");
    let said = java(&lab, &["consume", "-s", "java", "-n", "12", "-p", "Earliest", "-st", "auto_consume", &lab.full("t")]);
    for id in 0..12i64 {
        let note = match (id > 8, id % 2 > 0) {
            (true, true) => format!("note=rów {id}"),
            (true, false) => "note=NULL".to_owned(),
            _ => String::new(),
        };
        assert!(has(&said, id, &note), "{id} {note}: {said}");
    }
    let reader = lab.open(json!({"topic": "t"}), "t", ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    assert_eq!((read.ids(), read.dead.len()), ((0..12).collect::<Vec<_>>(), 0));
    // A type that is another one is refused before a row is there, with what to do.
    let text = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    let error = write(&lab, nameless, text).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PULSAR-007", Kind::Schema), "{error}");
    assert!(error.advice().unwrap().contains("set-schema-compatibility-strategy"), "{error:?}");
    assert_eq!(lab.messages("t-partition-0").await.len() + lab.messages("t-partition-1").await.len(), 12);
    let error = write(&lab, json!({"topic": "t"}), rows(0..1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PULSAR-007", Kind::Unsupported), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_announced_when_that_is_asked_for_and_javas_client_reads_it() {
    let lab = Lab::new("json");
    write(&lab, json!({"topic": "quiet"}), rows(0..2)).await.unwrap();
    let options = json!({"topic": "t", "announce_schema": true, "record_name": "shop.Order", "batch_messages": 1});
    write(&lab, options, rows(0..3)).await.unwrap();
    let info = lab.admin(reqwest::Method::GET, "schemas/{ns}/t/schema", None).await;
    let definition: Value = serde_json::from_str(info["data"].as_str().unwrap()).unwrap();
    assert_eq!((&info["type"], &definition["fields"][1]["type"]), (&json!("JSON"), &json!(["null", "string"])));
    let said = java(&lab, &["consume", "-s", "java", "-n", "3", "-p", "Earliest", "-st", "auto_consume", &lab.full("t")]);
    assert!(has(&said, 1, "note=rów 1"), "{said}");
    let (rows, dead) = all(&lab, json!({"topic": "t"})).await;
    assert_eq!((ids_of(&rows), dead.len()), (vec![0, 1, 2], 0));
    let kept = reqwest::get(format!("{}/admin/v2/schemas/{}/quiet/schema", lab.admin, lab.namespace)).await.unwrap();
    assert_eq!(kept.status(), 404);
    let connection = lab.connection();
    let error = Pulsar::default().validate("sink", &connection, &json!({"format": "csv", "announce_schema": true})).unwrap_err();
    assert_eq!(error.code(), "WEIR-PULSAR-001");
}
