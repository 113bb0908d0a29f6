//! Connections under a network policy. A guard is for the whole process and for good: each test runs in a process of its own (nextest
//! does that).

use weir_connect::guard::{Files, Policy};
use weir_connect::{Kind, RunIdentity, SchemaChangePolicy, StreamTarget, WriteMode, guard};
use weir_testkit::FaultProxy;

use super::*;

async fn topic_with_records(lab: &Lab) -> String {
    let topic = lab.topic("t");
    lab.create(&topic, 2, &[]).await;
    lab.put_json(&topic, 0, (0..4).map(|id| json!({"id": id})));
    topic
}

fn permit(addresses: &[String]) {
    guard::install(Files::Anywhere, Policy::public_and(addresses).unwrap()).unwrap();
}

pub(super) fn target(topic: &str) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "guarded".into(), run_id: "r1".into() },
        stream: topic.into(),
        schema: std::sync::Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "id",
            arrow::datatypes::DataType::Int64,
            false,
        )])),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_a_broker_advertises_is_not_connected_to_unless_the_policy_permits_it() {
    let lab = Lab::new("advertised");
    let topic = topic_with_records(&lab).await;
    // The way in is permitted; behind it the broker tells clients to come to its own port, which is not.
    let door = FaultProxy::to(&lab.bootstrap).unwrap();
    let entrance = format!("127.0.0.1:{}", door.port());
    permit(std::slice::from_ref(&entrance));
    let through = Lab { bootstrap: entrance, name: lab.name.clone(), registry: None };
    let error = through.read_error(json!({"topic": topic}), &topic, ReadRequest::default()).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-008", Kind::Privilege), "{error}");
    assert!(error.to_string().contains(&lab.bootstrap) && door.accepted() > 0, "{error}");
    let sink = through.sink(json!({"topic": topic})).await;
    let error = sink.prepare(target(&topic)).await.err().unwrap();
    assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-008", Kind::Privilege), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_the_policy_permits_is_read_and_written() {
    let lab = Lab::new("permitted");
    let topic = topic_with_records(&lab).await;
    permit(std::slice::from_ref(&lab.bootstrap));
    let reader = lab.open(json!({"topic": topic}), &topic, ReadRequest::default()).await.unwrap();
    assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), [0, 1, 2, 3]);
    let copy = lab.topic("copy");
    let prepared = lab.sink(json!({"topic": copy})).await.prepare(target(&copy)).await.unwrap();
    prepared.recover().await.unwrap();
    let mut writer = prepared.writer(0).await.unwrap();
    let ids = arrow::array::Int64Array::from(vec![7, 8]);
    writer.write(RecordBatch::try_new(target(&copy).schema, vec![std::sync::Arc::new(ids)]).unwrap()).await.unwrap();
    let barrier = weir_connect::Barrier { epoch: 1, lane: 0, progress: Vec::new() };
    writer.flush(&barrier).await.unwrap();
    let mut values: Vec<i64> = lab.values(&copy).iter().map(|value| value["id"].as_i64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, [7, 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_reaches_past_the_policy() {
    let lab = Lab::new("past");
    permit(&[]);
    let report = Kafka::default().check(&lab.connection()).await.unwrap();
    assert!(!report.ok() && format!("{report:?}").contains("WEIR_EGRESS_ALLOW"), "{report:?}");
    for name in ["ssl.engine.location", "sasl.oauthbearer.token.endpoint.url", "sasl.kerberos.kinit.cmd", "client.dns.lookup"] {
        let connection = json!({"bootstrap_servers": lab.bootstrap, "properties": {name: "x"}});
        let error = Kafka::default().check(&connection).await.err().unwrap();
        assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-008", Kind::Privilege), "{name}: {error}");
    }
}
