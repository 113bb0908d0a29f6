//! Values whose schema is in a registry: both ways, when schemas change, and when something is wrong with one.

use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_connect::{Barrier, Kind, Retry, RunIdentity, SchemaChangePolicy, StreamTarget, WriteMode};
use weir_testkit::{HttpFixture, Reply};

use super::super::registry::prefix;
use super::*;

/// One call of the registry's API, as another program would make it.
async fn call(lab: &Lab, method: &str, path: &str, body: Value) -> Value {
    let url = format!("{}/{path}", lab.registry.as_deref().unwrap());
    let request = reqwest::Client::new().request(method.parse().unwrap(), url);
    let request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

async fn register(lab: &Lab, subject: &str, kind: &str, schema: &str) -> u32 {
    let answer = call(lab, "POST", &format!("subjects/{subject}/versions"), json!({"schemaType": kind, "schema": schema})).await;
    answer["id"].as_u64().unwrap() as u32
}

fn value(id: u32, record: &[u8]) -> Vec<u8> {
    [&prefix(id)[..], record].concat()
}

fn put(lab: &Lab, topic: &str, values: &[Vec<u8>]) {
    let records: Vec<_> = values.iter().map(|value| (0, None, Some(value.as_slice()))).collect();
    lab.put(topic, &records);
}

fn avro(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "shop.Order", "fields": [{{"name": "id", "type": "long"}}{fields}]}}"#)
}

fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    let names = StringArray::from_iter(range.clone().map(|id| (id % 3 > 0).then(|| format!("rów {id}"))));
    let times = TimestampMicrosecondArray::from_iter_values(range.clone().map(|id| id * 1_000_003)).with_timezone("UTC");
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("ratio", DataType::Float64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]);
    let ratios = Float64Array::from_iter_values(range.clone().map(|id| id as f64 / 8.0));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(names), Arc::new(ratios), Arc::new(times)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn target(schema: SchemaRef) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "1".into() },
        stream: "s".into(),
        schema,
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

async fn write(lab: &Lab, options: Value, batch: RecordBatch) -> Result<()> {
    let stream = lab.sink(options).await.prepare(target(batch.schema())).await?;
    let mut writer = stream.writer(0).await?;
    writer.write(batch).await?;
    writer.flush(&Barrier { epoch: 1, lane: 0, progress: Vec::new() }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_back_as_they_went_in_each_language() {
    let lab = Lab::registered("languages");
    for (format, kind) in [("avro", "AVRO"), ("protobuf", "PROTOBUF"), ("json_schema", "JSON")] {
        let topic = lab.topic(format);
        let options =
            json!({"topic": topic, "format": format, "record_name": "shop.Order", "partitions": 1, "guarantee": "at_least_once"});
        write(&lab, options.clone(), batch(0..50)).await.unwrap();
        // The same columns again: no second version.
        write(&lab, options, batch(50..60)).await.unwrap();
        let versions = call(&lab, "GET", &format!("subjects/{topic}-value/versions"), Value::Null).await;
        assert_eq!(versions, json!([1]), "{format}");
        let latest = call(&lab, "GET", &format!("subjects/{topic}-value/versions/latest"), Value::Null).await;
        assert_eq!(latest["schemaType"].as_str().unwrap_or("AVRO"), kind);
        let id = latest["id"].as_u64().unwrap() as u32;
        let records = lab.records(&topic);
        assert!(records.iter().all(|record| record.2.as_ref().unwrap().starts_with(&prefix(id))), "{format}");
        let reader = lab.open(json!({"topic": topic, "format": format}), &topic, ReadRequest::default()).await.unwrap();
        let read = drain(reader.as_ref()).await.unwrap();
        assert_eq!((read.ids(), read.dead.len()), ((0..60).collect::<Vec<_>>(), 0), "{format}");
        let all = arrow::compute::concat_batches(&reader.schema(), read.rows()).unwrap();
        let expected = batch(0..60);
        for name in ["name", "ratio", "at"] {
            let wanted = expected.column_by_name(name).unwrap();
            let found = all.column_by_name(name).unwrap();
            // JSON has texts for times, Protobuf's are finer.
            let same = arrow::compute::cast(found, wanted.data_type()).unwrap();
            assert_eq!(&same, wanted, "{format} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_schema_with_the_same_columns_goes_on_and_one_with_more_is_told_once() {
    let lab = Lab::registered("evolution");
    let topic = lab.topic("t");
    let subject = format!("{topic}-value");
    lab.create(&topic, 1, &[]).await;
    let first = register(&lab, &subject, "AVRO", &avro("")).await;
    put(&lab, &topic, &[value(first, &[2]), value(first, &[4])]);
    let options = json!({"topic": topic, "format": "avro"});
    let request = || ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(options.clone(), &topic, request()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let mut ids = Vec::new();
    let mut position = None;
    let mut next = async |ids: &mut Vec<i64>, position: &mut Option<Position>| loop {
        match events.next().await {
            Some(Ok(Event::Batch(batch))) => {
                ids.extend(batch.records.column(0).as_primitive::<Int64Type>().values().iter());
                *position = batch.position;
            }
            other => return other,
        }
    };
    assert!(matches!(next(&mut ids, &mut position).await, Some(Ok(Event::Idle))));
    // Of the same columns, and the number narrower: nothing changes for who reads.
    let same = register(&lab, &subject, "AVRO", &avro("").replace("shop.Order\"", "shop.Order\", \"doc\": \"an order\"")).await;
    put(&lab, &topic, &[value(same, &[6])]);
    assert!(matches!(next(&mut ids, &mut position).await, Some(Ok(Event::Idle))));
    assert_eq!(ids, [1, 2, 3]);
    let more =
        register(&lab, &subject, "AVRO", &avro(r#", {"name": "note", "type": ["null", "string"], "default": null}"#)).await;
    put(&lab, &topic, &[value(same, &[8]), value(more, &[10, 2, 2, b'n'])]);
    let Some(Ok(Event::SchemaChange(schema))) = next(&mut ids, &mut position).await else { panic!("no change") };
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "note"]);
    assert!(next(&mut ids, &mut position).await.is_none());
    assert_eq!((ids, position), (vec![1, 2, 3, 4], Some(json!({"offset": 4}))));
    // The next attempt has the new columns, and older records in them.
    let again = lab.open(options, &topic, ReadRequest::default()).await.unwrap();
    let read = drain(again.as_ref()).await.unwrap();
    assert_eq!(read.ids(), [1, 2, 3, 4, 5]);
    let all = arrow::compute::concat_batches(&again.schema(), read.rows()).unwrap();
    let notes: Vec<_> = all.column(1).as_string::<i32>().iter().map(|note| note.map(str::to_owned)).collect();
    assert_eq!(notes, [None, None, None, None, Some("n".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_dead_letter_and_is_read_again_when_it_can() {
    let lab = Lab::registered("poison");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    let id = register(&lab, &format!("{topic}-value"), "AVRO", &avro("")).await;
    let other =
        register(&lab, &format!("{topic}-other"), "JSON", r#"{"type": "object", "properties": {"id": {"type": "integer"}}}"#)
            .await;
    let values = [
        value(id, &[2]),
        value(4_000_000, &[4]),
        b"{\"id\": 3}".to_vec(),
        value(id, &[8, 8]),
        value(other, b"{\"id\": 5}"),
        value(id, &[12]),
    ];
    put(&lab, &topic, &values);
    let options = json!({"topic": topic, "format": "avro"});
    let reader = lab.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    assert_eq!(read.ids(), [1, 6]);
    let dead: Vec<_> = read.dead.iter().map(|letter| (letter.code.as_str(), letter.place.rsplit(' ').next().unwrap())).collect();
    assert_eq!(dead, [("WEIR-KAFKA-042", "1"), ("WEIR-KAFKA-026", "2"), ("WEIR-FMT-056", "3"), ("WEIR-KAFKA-046", "4")]);
    let source = lab.source(options).await.unwrap();
    let again = source.redecode(&topic, &read.dead[0]).await.unwrap();
    assert!(matches!(again.as_slice(), [Event::Dead(_)]));
    let mended = DeadLetter { payload: value(id, &[4]), ..read.dead[0].clone() };
    let again = source.redecode(&topic, &mended).await.unwrap();
    let [Event::Batch(batch)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(batch.records.column(0).as_primitive::<Int64Type>().value(0), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_subject_of_the_topic_its_records_say_which_schema_it_is() {
    let lab = Lab::registered("sampled");
    let topic = lab.topic("t");
    lab.create(&topic, 2, &[]).await;
    let plain = json!({"topic": topic, "format": "avro"});
    let error = lab.source(plain.clone()).await.unwrap().streams().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-046", Kind::NotFound));
    let subject = lab.topic("order");
    let id = register(&lab, &subject, "AVRO", &avro("")).await;
    put(&lab, &topic, &[value(id, &[2]), value(id, &[4])]);
    let named = json!({"topic": topic, "format": "avro", "subject": subject});
    let by_record = json!({"topic": topic, "format": "avro", "subject_name_strategy": "record_name", "record_name": subject});
    for options in [plain, named, by_record] {
        let reader = lab.open(options, &topic, ReadRequest::default()).await.unwrap();
        assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_not_compatible_or_not_allowed_is_refused_before_a_record_is_written() {
    let lab = Lab::registered("refused");
    let topic = lab.topic("t");
    let subject = format!("{topic}-value");
    let options = |more: Value| {
        let mut options =
            json!({"topic": topic, "format": "avro", "record_name": "shop.Order", "partitions": 1, "guarantee": "at_least_once"});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    };
    let error = write(&lab, options(json!({"auto_register": false})), batch(0..1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-047", Kind::Schema));
    register(&lab, &subject, "AVRO", &avro("")).await;
    call(&lab, "PUT", &format!("config/{subject}"), json!({"compatibility": "BACKWARD"})).await;
    // Columns that older records do not have, and that must not be NULL.
    let error = write(&lab, options(json!({})), batch(0..1)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-043", Kind::Schema), "{error}");
    // The columns that it has: by the schema that is there, whatever its name.
    let ids = batch(0..3).project(&[0]).unwrap();
    write(&lab, options(json!({"auto_register": false})), ids).await.unwrap();
    assert_eq!(lab.records(&topic).len(), 3);
    assert_eq!(call(&lab, "GET", &format!("subjects/{subject}/versions"), Value::Null).await, json!([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_is_waited_for_and_the_next_address_is_asked() {
    let mut registry = weir_testkit::SchemaRegistry::start().unwrap();
    let lab = Lab { registry: Some(registry.url()), ..Lab::new("down") };
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    let id = register(&lab, &format!("{topic}-value"), "AVRO", &avro("")).await;
    put(&lab, &topic, &[value(id, &[2])]);
    let options = json!({"topic": topic, "format": "avro"});
    let both = Lab {
        registry: Some(format!("http://127.0.0.1:1,{}", registry.url())),
        bootstrap: lab.bootstrap.clone(),
        name: lab.name.clone(),
    };
    let reader = both.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), [1]);
    let late = both.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    registry.kill_9().unwrap();
    let error = match drain(late.as_ref()).await {
        Err(error) => error,
        Ok(read) => panic!("{:?}", read.ids()),
    };
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-040", Kind::Connect));
    assert_ne!(error.retryable(), Retry::Never);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_go_to_the_registry_and_a_refusal_is_told_without_them() {
    let fixture = HttpFixture::start().unwrap();
    fixture.on("/subjects/t-value/versions/latest", Reply::status(401));
    let ask = async |more: Value| {
        let mut connection = json!({"bootstrap_servers": "127.0.0.1:1", "registry": {"url": fixture.url()}});
        connection["registry"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let address = super::super::client::Address::new(serde_json::from_value(connection).unwrap(), ".".into()).unwrap();
        address.registry().unwrap().latest("t-value").await.unwrap_err()
    };
    for more in [json!({"user": "u", "password": "geheim"}), json!({"token": "geheim"})] {
        let error = ask(more).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-041", Kind::Auth));
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    }
    let sent: Vec<_> = fixture.requests().iter().map(|request| request.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Basic dTpnZWhlaW0=", "Bearer geheim"]);
}

#[test]
fn a_format_of_the_registry_needs_one() {
    let connection = json!({"bootstrap_servers": "b:1"});
    for role in ["source", "sink"] {
        let error = Kafka::default().validate(role, &connection, &json!({"topic": "t", "format": "avro"})).unwrap_err();
        assert_eq!(error.code(), "WEIR-KAFKA-001", "{error}");
        let with = json!({"bootstrap_servers": "b:1", "registry": {"url": "http://r:8081"}});
        Kafka::default().validate(role, &with, &json!({"topic": "t", "format": "avro"})).unwrap();
    }
    for registry in [json!({}), json!({"url": "ftp://r"}), json!({"url": "http://r", "user": "u"})] {
        let connection = json!({"bootstrap_servers": "b:1", "registry": registry});
        assert!(Kafka::default().validate("connection", &connection, &Value::Null).is_err());
    }
}
