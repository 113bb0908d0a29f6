//! The configuration of a streaming job runner on Flink: one JSON object with the parts that such runners read (`job_type`,
//! `flink_config`, `sources`,
//! `transforms`, `sinks`, `state_management`, `monitoring`). Names of settings are Flink's own where it has them.

use serde_json::{Map, Value, json};
use weir_connect::WriteMode;
use weir_spec::Delivery;
use weir_spec::model::{Node, Role};
use weir_spec::units::duration_ms;

use crate::artefact;
use crate::compile::lanes::{Lane, filled, stream_of};
use crate::compile::systems::{Captured, Endpoint, EventTime, Family, Kafka, StartAt, System};
use crate::compile::views::{Lowering, expressible, transform_name};
use crate::compile::{Compiling, Dialect, Options, Output, Text, address_of, types};

/// Seconds of which an alert about delay is made, unless the pipeline says.
const DELAY_MS: u64 = 300_000;

/// Writes the configuration.
pub(super) fn compile(compiling: &Compiling<'_>) -> Output {
    let mut output = Output::new();
    let pipeline = compiling.pipeline();
    let mut sources = Vec::new();
    let mut transforms = Vec::new();
    for node in pipeline.of(Role::Source) {
        let (endpoint, options) = Endpoint::read(compiling, node);
        sources.extend(source(compiling, &endpoint, &options));
        if let Some(time) = &endpoint.event_time {
            transforms.push(watermark(&format!("{}_watermark", node.name), &node.name, time));
        }
        options.finish();
    }
    for node in pipeline.of(Role::Transform) {
        transforms.extend(transform(compiling, node));
    }
    let mut sinks = Vec::new();
    for node in pipeline.of(Role::Sink) {
        let (endpoint, options) = Endpoint::read(compiling, node);
        sinks.extend(sink(compiling, &endpoint, &options, &mut output));
        options.finish();
    }
    let whole = json!({
        "job_type": if compiling.bounded() { "batch" } else { "streaming" },
        "flink_config": flink_config(compiling),
        "sources": sources,
        "transforms": transforms,
        "sinks": sinks,
        "state_management": state(compiling),
        "monitoring": monitoring(compiling),
    });
    output.file(format!("{}.json", pipeline.name), artefact::Role::Job, format!("{whole:#}\n"));
    let mut arguments = vec!["--detached".to_string(), "--job-name".into(), pipeline.name.clone()];
    arguments.extend(
        pipeline.parallelism.map(|parallelism| vec!["--parallelism".to_string(), parallelism.to_string()]).unwrap_or_default(),
    );
    arguments.extend(["--job-config".to_string(), format!("{}.json", pipeline.name)]);
    output.file(format!("{}.args", pipeline.name), artefact::Role::Arguments, arguments.join("\n"));
    output
}

fn interval(compiling: &Compiling<'_>) -> u64 {
    compiling.pipeline().checkpoint_interval_ms.unwrap_or(60_000)
}

/// Settings of the cluster. Labels of the pipeline may size the task managers.
fn flink_config(compiling: &Compiling<'_>) -> Value {
    let pipeline = compiling.pipeline();
    let mut all = Map::new();
    let mut put = |key: &str, value: String| all.insert(key.into(), Value::String(value));
    for (label, key) in
        [("taskmanager_memory", "taskmanager.memory.process.size"), ("task_slots", "taskmanager.numberOfTaskSlots")]
    {
        if let Some(value) = pipeline.labels.get(label) {
            put(key, value.clone());
        }
    }
    put("parallelism.default", pipeline.parallelism.unwrap_or(1).to_string());
    put("state.backend.type", "rocksdb".into());
    put("execution.checkpointing.mode", "EXACTLY_ONCE".into());
    put("execution.checkpointing.interval", interval(compiling).to_string());
    for node in pipeline.nodes.iter().filter(|node| compiling.kind(node) == "kafka") {
        let (endpoint, _) = Endpoint::read(compiling, node);
        if let System::Kafka(kafka) = endpoint.system {
            put("kafka.bootstrap.servers", compiling.with_credentials(&kafka.servers));
            break;
        }
    }
    Value::Object(all)
}

fn texts(compiling: &Compiling<'_>, entries: &[(String, Text)]) -> Value {
    Value::Object(entries.iter().map(|(name, value)| (name.clone(), json!(compiling.with_credentials(value)))).collect())
}

fn columns(compiling: &Compiling<'_>, node: &Node, options: &Options<'_>) -> Option<Value> {
    let columns = compiling.shapes.columns(&node.name, None)?;
    let mut all = Map::new();
    for field in columns.fields() {
        match types::flink(field.data_type()) {
            Ok(word) => drop(all.insert(field.name().clone(), Value::String(word))),
            Err(why) => {
                options.refuse(Some("columns"), format!("column `{}`: {why}", field.name()), "another type, or the native engine")
            }
        }
    }
    Some(Value::Object(all))
}

fn source(compiling: &Compiling<'_>, endpoint: &Endpoint<'_>, options: &Options<'_>) -> Option<Value> {
    let shown = |text: &Text| compiling.with_credentials(text);
    let node = endpoint.node;
    let mut out = Map::new();
    match &endpoint.system {
        System::Socket(socket) => {
            out.insert("type".into(), json!(socket.kind));
            out.insert("name".into(), json!(format!("{}_{}", socket.kind, socket.stream)));
            let url = shown(&socket.url);
            let protocol = url.split_once("://").map(|(scheme, _)| scheme.to_string());
            out.insert("url".into(), json!(url));
            if let Some(protocol) = protocol {
                out.insert("protocol".into(), json!(protocol));
            }
            if !socket.headers.is_empty() {
                out.insert("headers".into(), texts(compiling, &socket.headers));
            }
            out.insert("format".into(), json!("json"));
            if socket.kind != "webhook" {
                let part = |value: &Value, name: &str, default: Value| value.get(name).cloned().unwrap_or(default);
                let reconnect = &socket.reconnect;
                out.insert(
                    "reconnect_config".into(),
                    json!({
                        "max_attempts": part(reconnect, "max_attempts", json!(10)),
                        "initial_delay_ms": part(reconnect, "initial_delay_ms", json!(1000)),
                        "max_delay_ms": part(reconnect, "max_delay_ms", json!(30_000)),
                        "backoff_multiplier": part(reconnect, "backoff_multiplier", json!(2.0)),
                    }),
                );
                let beat = &socket.heartbeat;
                let heartbeat = json!({"interval_ms": part(beat, "interval_ms", json!(30_000)), "timeout_ms": part(beat, "timeout_ms", json!(10_000))});
                out.insert("heartbeat".into(), heartbeat);
            }
        }
        System::Kafka(kafka) => {
            out.insert("type".into(), json!("kafka"));
            out.insert("name".into(), json!(format!("kafka_{}", kafka.topics.first().unwrap_or(&node.name))));
            topics(compiling, kafka, options, &mut out);
        }
        System::Log(log) => {
            let database = &log.database;
            let (kind, tables) = (if database.family == Family::Postgres { "postgres" } else { "mysql" }, &database.tables);
            out.insert("type".into(), json!("cdc"));
            out.insert("name".into(), json!(format!("{kind}_changes")));
            out.insert("connector".into(), json!("debezium"));
            out.insert("database".into(), json!(kind));
            out.insert("hostname".into(), json!(shown(&database.host)));
            out.insert("port".into(), json!(shown(&database.port)));
            out.insert("username".into(), json!(shown(&database.user)));
            if let Some(password) = &database.password {
                out.insert("password".into(), json!(shown(password)));
            }
            out.insert("database_name".into(), json!(shown(&database.database)));
            out.insert("table_names".into(), json!(tables));
            let mut debezium = Map::new();
            let mode = match log.captured {
                Captured::SnapshotThenChanges => "initial",
                Captured::Changes => "no_data",
                Captured::SnapshotOnly => "initial_only",
            };
            debezium.insert("snapshot.mode".into(), json!(mode));
            if database.family == Family::Postgres {
                debezium.insert("plugin.name".into(), json!("pgoutput"));
                for (key, value) in [("slot.name", &log.slot), ("publication.name", &log.publication)] {
                    if let Some(value) = value {
                        debezium.insert(key.into(), json!(value));
                    }
                }
            } else {
                debezium.insert("include.schema.changes".into(), json!("false"));
                if let Some(id) = log.server_id {
                    debezium.insert("database.server.id".into(), json!(id.to_string()));
                }
            }
            if log.start.is_some() || !log.snapshot_where.is_empty() || log.failover {
                options.refuse(
                    None,
                    "is told no place to begin at and no parts of tables",
                    "Kafka Connect, or the native engine",
                );
            }
            out.insert("debezium_config".into(), Value::Object(debezium));
        }
        System::Http(http) => {
            out.insert("type".into(), json!("http"));
            out.insert("name".into(), json!(format!("http_{}", http.stream)));
            out.insert("url".into(), json!(shown(&http.url)));
            out.insert("method".into(), json!(http.method));
            for (key, entries) in [("headers", &http.headers), ("query_params", &http.params)] {
                if !entries.is_empty() {
                    out.insert(key.into(), texts(compiling, entries));
                }
            }
            out.insert("format".into(), json!("json"));
        }
        _ => {
            options.refuse(None, "has no source for this system in a runner's configuration", "flink-sql, or the native engine");
            return None;
        }
    }
    if let Some(columns) = columns(compiling, node, options) {
        out.insert("columns".into(), columns);
    }
    Some(Value::Object(out))
}

fn topics(compiling: &Compiling<'_>, kafka: &Kafka, options: &Options<'_>, out: &mut Map<String, Value>) {
    out.insert("bootstrap_servers".into(), json!(compiling.with_credentials(&kafka.servers)));
    match (&kafka.pattern, kafka.topics.as_slice()) {
        (Some(pattern), _) => out.insert("topic_pattern".into(), json!(pattern)),
        (None, [one]) => out.insert("topic".into(), json!(one)),
        (None, many) => out.insert("topics".into(), json!(many)),
    };
    if let Some(group) = &kafka.group {
        out.insert("group_id".into(), json!(group));
    }
    out.insert("format".into(), json!(kafka.format.word()));
    out.extend(begin(compiling, kafka, options));
    if !kafka.client.is_empty() {
        out.insert("properties".into(), texts(compiling, &kafka.client));
    }
}

/// Where a first run begins and a batch ends, in the words of Flink's connector: without them it would begin where a group is.
fn begin(compiling: &Compiling<'_>, kafka: &Kafka, options: &Options<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    let mode = match &kafka.start {
        StartAt::Earliest => "earliest-offset",
        StartAt::Latest => "latest-offset",
        StartAt::Group => "group-offsets",
        StartAt::Timestamp(ms) => {
            out.insert("scan.startup.timestamp-millis".into(), json!(ms));
            "timestamp"
        }
        StartAt::Offsets(offsets) => {
            let [topic] = kafka.topics.as_slice() else {
                options.refuse(
                    Some("start_offsets"),
                    "is told places of one topic only",
                    "a source for each topic, or flink-sql",
                );
                return out;
            };
            let own = offsets.iter().filter(|(known, ..)| known.is_empty() || known == topic);
            let each: Vec<String> = own.map(|(_, partition, offset)| format!("partition:{partition},offset:{offset}")).collect();
            out.insert("scan.startup.specific-offsets".into(), json!(each.join(";")));
            "specific-offsets"
        }
    };
    out.insert("scan.startup.mode".into(), json!(mode));
    if compiling.bounded() {
        out.insert("scan.bounded.mode".into(), json!("latest-offset"));
    }
    out
}

fn watermark(name: &str, input: &str, time: &EventTime) -> Value {
    let mut out = json!({
        "type": "watermark",
        "name": name,
        "input": input,
        "timestamp_column": time.column,
        "max_out_of_orderness_ms": time.max_lateness_ms,
    });
    if let Some(idle) = time.idle_after_ms {
        out["idle_timeout_ms"] = json!(idle);
    }
    out
}

fn transform(compiling: &Compiling<'_>, node: &Node) -> Option<Value> {
    let kind = transform_name(&node.kind);
    if !expressible(kind, Dialect::Flink) {
        compiling.refuse(
            node,
            None,
            format!("has no `{kind}` that gives the same rows"),
            crate::compile::views::alternatives(kind),
        );
        return None;
    }
    let inputs: Vec<String> = node.inputs.iter().map(address_of).collect();
    let input = if inputs.len() == 1 { json!(inputs[0]) } else { json!(inputs) };
    if kind == "watermark" {
        return Some(watermark(&node.name, inputs.first()?, &EventTime::of(&node.options)?));
    }
    if kind == "field_mapper" {
        let mut out = json!({"type": "field_mapping", "name": node.name, "input": input});
        let parts = [("rename", "mapping"), ("drop", "drop"), ("cast", "cast"), ("constants", "constants"), ("select", "select")];
        for (ours, theirs) in parts {
            if let Some(value) = node.options.get(ours).filter(|value| !value.is_null()) {
                out[theirs] = value.clone();
            }
        }
        return Some(out);
    }
    // Everything else is a query, as Flink takes it.
    let lowering = Lowering { compiling, dialect: Dialect::Flink, stream: None };
    let views = lowering.views(node);
    let queries: Vec<Value> = views.into_iter().map(|view| json!({"view": view.name, "query": view.sql})).collect();
    match queries.as_slice() {
        [] => None,
        [one] => Some(json!({"type": "sql", "name": node.name, "input": input, "query": one["query"]})),
        many => Some(json!({"type": "split", "name": node.name, "input": input, "routes": many})),
    }
}

fn sink(compiling: &Compiling<'_>, endpoint: &Endpoint<'_>, options: &Options<'_>, output: &mut Output) -> Option<Value> {
    let shown = |text: &Text| compiling.with_credentials(text);
    let stream = stream_of(compiling, &Lane { stream: None }, endpoint);
    let name = |written: &str| filled(compiling, endpoint, written, &stream);
    let node = endpoint.node;
    let upsert = endpoint.write_mode == WriteMode::Upsert;
    let mut out = Map::new();
    match &endpoint.system {
        System::Kafka(kafka) => {
            let topic = name(kafka.topics.first().map_or("{stream}", String::as_str));
            out.insert("type".into(), json!("kafka"));
            out.insert("name".into(), json!(format!("kafka_{topic}")));
            out.insert("bootstrap_servers".into(), json!(shown(&kafka.servers)));
            out.insert("topic".into(), json!(topic));
            match endpoint.key.as_slice() {
                [] => None,
                [one] => out.insert("key_field".into(), json!(one)),
                many => out.insert("key_fields".into(), json!(many)),
            };
            out.insert("format".into(), json!(kafka.format.word()));
            out.insert("transactional".into(), json!(kafka.exactly_once));
            if !kafka.client.is_empty() {
                out.insert("properties".into(), texts(compiling, &kafka.client));
            }
            output.promise(
                if kafka.exactly_once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
                format!("`{}`: transactions, or none", node.name),
            );
        }
        System::Other(other) if matches!(other.kind.as_str(), "iceberg" | "clickhouse") => {
            let table = name(&other.stream());
            out.insert("type".into(), json!(other.kind));
            out.insert("name".into(), json!(format!("{}_{table}", other.kind)));
            for (key, value) in &other.values {
                out.insert(key.clone(), json!(shown(value)));
            }
            out.insert("table".into(), json!(table));
            if upsert {
                out.insert("upsert_key".into(), json!(endpoint.key));
            }
            let promise = if other.kind == "iceberg" { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
            output.promise(
                promise,
                format!(
                    "`{}`: {}",
                    node.name,
                    if other.kind == "iceberg" { "a snapshot per checkpoint" } else { "rows may come again" }
                ),
            );
        }
        System::Database(database) => {
            let table = name(database.tables.first().map_or("{stream}", String::as_str));
            out.insert("type".into(), json!("jdbc"));
            out.insert("name".into(), json!(format!("jdbc_{table}")));
            out.insert("url".into(), json!(shown(&database.jdbc_url())));
            out.insert("table".into(), json!(table));
            out.insert("username".into(), json!(shown(&database.user)));
            if let Some(password) = &database.password {
                out.insert("password".into(), json!(shown(password)));
            }
            if upsert {
                out.insert("primary_key".into(), json!(endpoint.key));
            }
            output.promise(
                if upsert { Delivery::EffectivelyOnce } else { Delivery::AtLeastOnce },
                format!("`{}`: rows may come again", node.name),
            );
        }
        System::Files(files) => {
            let uri = name(&files.uri("s3").braces());
            out.insert("type".into(), json!("filesystem"));
            out.insert("name".into(), json!(format!("files_{}", node.name)));
            out.insert("path".into(), json!(uri));
            out.insert("format".into(), json!(files.format.word()));
            if !files.partition_by.is_empty() {
                out.insert("partition_by".into(), json!(files.partition_by));
            }
            output.promise(Delivery::ExactlyOnce, format!("`{}`: files become visible with a checkpoint", node.name));
        }
        _ => {
            options.refuse(
                None,
                "has no sink for this system in a runner's configuration",
                "kafka, iceberg, clickhouse, postgres, mysql, files",
            );
            return None;
        }
    }
    if !matches!(endpoint.write_mode, WriteMode::Append | WriteMode::Upsert) {
        options.refuse(
            Some("write_mode"),
            format!("has no `{}` that a failed run leaves undone", endpoint.write_mode.as_str()),
            "`append` or `upsert`",
        );
    }
    let from: Vec<String> = node.inputs.iter().map(address_of).collect();
    out.insert("input".into(), if from.len() == 1 { json!(from[0]) } else { json!(from) });
    Some(Value::Object(out))
}

fn state(compiling: &Compiling<'_>) -> Value {
    let pipeline = compiling.pipeline();
    let ttl = pipeline.of(Role::Transform).filter_map(|node| node.options.get("ttl_ms")?.as_u64()).max();
    let savepoints = compiling.variable("FLINK_SAVEPOINTS", None, false).braces();
    let mut out = json!({
        "backend": "rocksdb",
        "checkpoint_config": {
            "interval_ms": interval(compiling),
            "timeout_ms": 300_000,
            "mode": "EXACTLY_ONCE",
            "num_retained": 10,
            "externalized_retention": "RETAIN_ON_CANCELLATION",
        },
        "savepoint_config": {"dir": format!("{savepoints}/{}/", pipeline.name), "retention": "RETAIN_ON_CANCELLATION"},
        "state_ttl": {"enabled": false},
    });
    if let Some(ttl) = ttl {
        out["state_ttl"] = json!({"enabled": true, "time_ms": ttl, "cleanup_ms": ttl.min(3_600_000)});
    }
    out
}

fn monitoring(compiling: &Compiling<'_>) -> Value {
    let pipeline = compiling.pipeline();
    let mut alerts =
        json!({"processing_delay_threshold_ms": DELAY_MS, "error_rate_threshold": 0.01, "checkpoint_failure_threshold": 3});
    let mut rules = Vec::new();
    for alert in &pipeline.alerts {
        match alert.metric.as_str() {
            "error_rate" => alerts["error_rate_threshold"] = json!(alert.above),
            "checkpoint_failures" => alerts["checkpoint_failure_threshold"] = json!(alert.above),
            "processing_lag" | "lag" => alerts["processing_delay_threshold_ms"] = json!(alert.above * 1000.0),
            _ => {}
        }
        let mut rule = json!({"metric": alert.metric, "threshold": alert.above});
        if let Some(ms) = alert.window.as_deref().and_then(duration_ms) {
            rule["window_ms"] = json!(ms);
        }
        for (key, value) in [("severity", &alert.severity), ("action", &alert.action)] {
            if let Some(value) = value {
                rule[key] = json!(value);
            }
        }
        rules.push(rule);
    }
    if !rules.is_empty() {
        alerts["rules"] = Value::Array(rules);
    }
    json!({
        "metrics_enabled": true,
        "metrics_prefix": format!("uis.{}", pipeline.name),
        "prometheus": {"enabled": true, "port": 9999, "path": "/metrics"},
        "custom_metrics": ["source_throughput", "sink_throughput", "processing_latency_ms", "checkpoint_duration_ms", "state_size_bytes", "error_rate"],
        "alerts": alerts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_has_the_names_that_runners_read() {
        let time = EventTime { column: "event_time".into(), max_lateness_ms: 5000, idle_after_ms: None };
        let made = watermark("add_watermark", "ticks", &time);
        assert_eq!(made["timestamp_column"], "event_time");
        assert_eq!(made["max_out_of_orderness_ms"], 5000);
    }
}
