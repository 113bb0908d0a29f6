//! What Flink has no source for comes through Kafka: sockets, webhooks, APIs and other brokers by a companion, a pipeline of our own;
//! logs of databases by
//! Debezium on Kafka Connect (no CDC connector fits Flink 2). The companion is a second file; the job reads its topic.

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};
use weir_spec::Delivery;
use weir_spec::model::{Connection, Input, Mode, Node, Pipeline, Role};

use super::tables::{Statements, Table};
use crate::artefact;
use crate::compile::systems::{Endpoint, EventTime, Kafka, StartAt, System, ValueFormat};
use crate::compile::views::view_name;
use crate::compile::{Compiling, Dialect, Output, Text, identifier};
use crate::kafka_connect;

/// The brokers between companion and job: those of the pipeline's own topics, else those that the machine names.
fn brokers(compiling: &Compiling<'_>) -> (Kafka, Map<String, Value>) {
    for node in compiling.pipeline().nodes.iter().filter(|node| compiling.kind(node) == "kafka") {
        let (endpoint, options) = Endpoint::read(compiling, node);
        if let System::Kafka(kafka) = endpoint.system {
            let schema =
                compiling.job.registry.get("kafka").map(|known| known.descriptor().connection.clone()).unwrap_or_default();
            let known = |name: &str| schema.pointer("/properties").is_some_and(|all| all.get(name).is_some());
            let mut own = options.masked().as_object().cloned().unwrap_or_default();
            own.retain(|name, _| known(name));
            let bridge = Kafka {
                pattern: None,
                format: ValueFormat::Json,
                registry: None,
                start: StartAt::Earliest,
                group: None,
                key_format: None,
                csv: None,
                ..kafka
            };
            return (bridge, own);
        }
    }
    let servers = compiling.variable("KAFKA_BOOTSTRAP_SERVERS", None, false);
    let mut own = Map::new();
    own.insert("bootstrap_servers".into(), json!(servers.braces()));
    let bridge = Kafka {
        servers,
        client: Vec::new(),
        topics: Vec::new(),
        pattern: None,
        format: ValueFormat::Json,
        registry: None,
        start: StartAt::Earliest,
        group: None,
        key_format: None,
        csv: None,
        exactly_once: true,
        compression: None,
    };
    (bridge, own)
}

/// A source that our own engine reads into a topic.
pub(super) fn companion(table: &Table<'_, '_>, time: Option<&EventTime>, statements: &mut Statements, output: &mut Output) {
    let compiling = table.compiling;
    let (mut kafka, mut sink) = brokers(compiling);
    let topic = format!(
        "weir.{}.{}",
        identifier(&compiling.pipeline().name),
        view_name(&Input { node: table.endpoint.node.name.clone(), port: None }, table.stream)
    );
    sink.insert("topic".into(), json!(topic));
    kafka.topics = vec![topic.clone()];
    // The companion takes every option as it is written.
    let all: Vec<String> = table.options.masked().as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    table.options.pass(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let text = weir_spec::to_native_yaml(&pipeline(table, sink));
    let name = format!("{}-{}.weir.yaml", compiling.pipeline().name, table.endpoint.node.name);
    if !output.files.iter().any(|file| file.name == name) {
        output.file(name.clone(), artefact::Role::Companion, text);
    }
    compiling.note(format!(
        "`{}`: `weir run {name}` beside the job feeds topic `{topic}`, which the job reads",
        table.endpoint.node.name
    ));
    if let Some(columns) = table.columns() {
        let mut with = Vec::new();
        Table { stream: None, ..*table }.kafka_source(&kafka, &mut with);
        statements.push(table.create(&table.definitions(&columns, time), &[], &with));
    }
    output.promise(Delivery::AtLeastOnce, format!("`{}`: the peer may send a message again", table.endpoint.node.name));
}

/// The companion: the source as it is, and the topic.
fn pipeline(table: &Table<'_, '_>, sink: Map<String, Value>) -> Pipeline {
    let original = table.compiling.pipeline();
    let node = table.endpoint.node;
    let mut options = table.options.masked();
    if let Some(options) = options.as_object_mut() {
        options.remove("event_time");
    }
    let bounded = table.compiling.bounded();
    let mut pipeline = original.clone();
    pipeline.name = format!("{}_{}", original.name, node.name);
    pipeline.description = Some(format!("Feeds `{}` of `{}` on Flink.", node.name, original.name));
    pipeline.mode = if bounded { Mode::Batch } else { Mode::Streaming };
    pipeline.connections = std::collections::BTreeMap::<String, Connection>::new();
    pipeline.delivery = None;
    pipeline.journal = None;
    pipeline.alerts = Vec::new();
    pipeline.on_loss = std::collections::BTreeMap::new();
    pipeline.nodes = vec![
        Node { name: "source".into(), role: Role::Source, kind: node.kind.clone(), inputs: Vec::new(), options },
        Node {
            name: "sink".into(),
            role: Role::Sink,
            kind: "kafka".into(),
            inputs: vec![Input { node: "source".into(), port: None }],
            options: Value::Object(sink),
        },
    ];
    pipeline
}

/// A database's log: Debezium writes topics, the job reads its envelopes.
pub(super) fn log(table: &Table<'_, '_>, statements: &mut Statements, output: &mut Output) {
    let compiling = table.compiling;
    if matches!(table.endpoint.system, System::DocumentLog(_)) {
        table.options.refuse(None, "reads no documents of Debezium's, which are text", "SeaTunnel, or the native engine");
        return;
    }
    let (name, text) = kafka_connect::for_reader(compiling, table.endpoint);
    if !output.files.iter().any(|file| file.name == name) {
        output.file(name.clone(), artefact::Role::Companion, text);
    }
    let (mut kafka, _) = brokers(compiling);
    kafka.format = ValueFormat::Debezium;
    let stream = table.stream.map(ToString::to_string).or_else(|| table.endpoint.streams().first().cloned()).unwrap_or_default();
    let topic = kafka_connect::topic_of(compiling, table.endpoint, &stream);
    kafka.topics = vec![topic.clone()];
    compiling
        .note(format!("`{}`: `{name}` on Kafka Connect feeds topic `{topic}`, which the job reads", table.endpoint.node.name));
    let Some(columns) = table.columns() else { return };
    let raw = format!("{}__changes", table.name);
    let mut definitions = Vec::new();
    let mut out = Vec::new();
    for field in columns.fields() {
        let quoted = Dialect::Flink.name(field.name());
        let word = match field.data_type() {
            // Days since 1970 in the envelope.
            DataType::Date32 => {
                out.push(format!("TIMESTAMPADD(DAY, {quoted}, DATE '1970-01-01') AS {quoted}"));
                Ok("INT".to_string())
            }
            DataType::Timestamp(_, None) | DataType::Time32(_) | DataType::Time64(_) | DataType::Binary | DataType::Float32 => {
                Err(format!(
                    "column `{}`: Debezium writes {} in a way that Flink cannot read exactly",
                    field.name(),
                    weir_plan::show_type(field.data_type())
                ))
            }
            other => {
                out.push(quoted.clone());
                crate::compile::types::flink(other)
            }
        };
        match word {
            Ok(word) => definitions.push(format!("{quoted} {word}")),
            Err(why) => table.options.refuse(None, why, "tables without such columns, SeaTunnel, or the native engine"),
        }
    }
    let mut with: Vec<(String, Text)> = Vec::new();
    let raw_table = Table { stream: None, name: &raw, ..*table };
    raw_table.kafka_source(&kafka, &mut with);
    statements.push(raw_table.create(&definitions, &[], &with));
    statements.push(format!(
        "CREATE TEMPORARY VIEW {} AS\nSELECT {} FROM {}",
        Dialect::Flink.name(table.name),
        out.join(", "),
        Dialect::Flink.name(&raw)
    ));
    output.promise(Delivery::EffectivelyOnce, "Debezium may send changes again after a fault; they replace themselves by key");
}
