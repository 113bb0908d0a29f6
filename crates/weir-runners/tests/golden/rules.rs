//! What an artefact is held against: the engines' own rules, and our table of what each engine can do.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_connect::Registry;
use weir_runners::artefact::{Artefacts, Role};
use weir_runners::compile::views::transform_name;
use weir_runners::registry::Target;
use weir_spec::{Pipeline, Role as NodeRole};

/// Keys that SeaTunnel's connectors read and the rules of their factories do not list: plugin, key. Each stands in a class of options of the
/// connector, as named here (the jars of 2.3.4; Http and Elasticsearch: the repository).
const DOCUMENTED: &[(&str, &str)] = &[
    // `JdbcOptions`: the table for which `generate_sink_sql` writes the statement.
    ("Jdbc", "table"),
    // `kafka.config.Config`: constants of other names.
    ("Kafka", "consumer.group"),
    ("Kafka", "topic"),
    // `BaseSourceConfigOptions`: lines before the rows.
    ("LocalFile", "skip_header_row_number"),
    ("S3File", "skip_header_row_number"),
    // `http.config.HttpConfig`, and `TableSchemaOptions` for `schema`: the factory builds its rule in a helper that was not read.
    ("Http", "url"),
    ("Http", "method"),
    ("Http", "headers"),
    ("Http", "params"),
    ("Http", "body"),
    ("Http", "format"),
    ("Http", "content_field"),
    ("Http", "schema"),
    ("Http", "poll_interval_millis"),
    // `elasticsearch.config.SourceConfig`: columns to read.
    ("Elasticsearch", "source"),
    // `TableSchemaOptions`: the columns of text files.
    ("LocalFile", "schema"),
];

/// What an artefact breaks.
pub(crate) fn broken(made: &Artefacts, registry: &Registry) -> Vec<String> {
    let mut found = Vec::new();
    for file in &made.files {
        if file.name.ends_with(".json") {
            match serde_json::from_str::<Value>(&file.text) {
                Err(why) => found.push(format!("{} is no JSON: {why}", file.name)),
                Ok(value) if matches!(made.target, Target::SeaTunnel(_)) => found.extend(seatunnel(&value)),
                Ok(value) if value.pointer("/config/connector.class").is_some() => found.extend(connect(&value["config"])),
                Ok(_) => {}
            }
        }
        if file.role == Role::Companion && file.name.ends_with(".yaml") {
            found.extend(
                super::parse(&file.text, registry).err().map(|why| format!("the companion {} is refused: {why}", file.name)),
            );
        }
        if !file.text.ends_with('\n') {
            found.push(format!("{} does not end with a line end", file.name));
        }
    }
    found
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn seatunnel(value: &Value) -> Vec<String> {
    let rules: Value = serde_json::from_str(include_str!("rules/seatunnel.json")).unwrap();
    let mut found = Vec::new();
    for section in ["source", "transform", "sink"] {
        for plugin in value[section].as_array().into_iter().flatten() {
            let name = plugin["plugin_name"].as_str().unwrap_or_default();
            let rule = &rules[name][section];
            if rule.is_null() {
                found.push(format!("there are no rules for the {section} `{name}`"));
                continue;
            }
            let (required, optional) = (names(&rule["required"]), names(&rule["optional"]));
            let keys: BTreeSet<String> = plugin.as_object().unwrap().keys().cloned().collect();
            for key in &keys {
                let common = ["plugin_name", "plugin_input", "plugin_output", "result_table_name", "source_table_name"]
                    .contains(&key.as_str());
                let documented = DOCUMENTED.iter().any(|(plugin, known)| *plugin == name && known == key);
                if !common && !documented && !required.contains(key) && !optional.contains(key) {
                    found.push(format!("the {section} `{name}` has no `{key}`"));
                }
            }
            for key in &required {
                // Settings with a default are "required" in the rules of sinks that make tables.
                if !keys.contains(key) && !matches!(key.as_str(), "schema_save_mode" | "data_save_mode") {
                    found.push(format!("the {section} `{name}` needs `{key}`"));
                }
            }
            for group in rule["exclusive"].as_array().into_iter().flatten() {
                let given = names(group).intersection(&keys).count();
                if given != 1 {
                    found.push(format!("the {section} `{name}` needs exactly one of {:?}", names(group)));
                }
            }
            for group in rule["bundled"].as_array().into_iter().flatten() {
                let given = names(group).intersection(&keys).count();
                if given != 0 && given != names(group).len() {
                    found.push(format!("the {section} `{name}` needs all or none of {:?}", names(group)));
                }
            }
        }
    }
    found
}

/// Keys of Connect itself, and of the sinks whose reference is not in `rules`, as their own classes have them: Debezium's JDBC sink 3
/// (`JdbcSinkConnectorConfig`, `SinkConnectorConfig`), Aiven's S3 sink 3 (`S3SinkConfig`, `FileNameFragment`, `OutputFormatFragment`), Kafka's own
/// file sink. Settings of Confluent's Avro converter are its registry client's with the converter's prefix (`basic.auth.credentials.source`).
fn connect(config: &Value) -> Vec<String> {
    let rules: Value = serde_json::from_str(include_str!("rules/debezium.json")).unwrap();
    let class = config["connector.class"].as_str().unwrap_or_default();
    let framework = |key: &str| {
        ["connector.class", "tasks.max", "topics", "topics.regex", "exactly.once.support", "errors.tolerance", "transforms"]
            .contains(&key)
            || ["key.converter", "value.converter", "transforms."].iter().any(|start| key.starts_with(start))
    };
    let own: BTreeSet<String> = match class {
        "io.debezium.connector.jdbc.JdbcSinkConnector" => [
            "connection.url",
            "connection.username",
            "connection.password",
            "insert.mode",
            "delete.enabled",
            "primary.key.mode",
            "primary.key.fields",
            "collection.name.format",
            "schema.evolution",
        ]
        .map(String::from)
        .into(),
        "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector" => [
            "aws.access.key.id",
            "aws.secret.access.key",
            "aws.s3.bucket.name",
            "aws.s3.endpoint",
            "aws.s3.region",
            "format.output.type",
            "format.output.fields",
            "format.output.envelope",
            "file.compression.type",
            "file.name.template",
        ]
        .map(String::from)
        .into(),
        "org.apache.kafka.connect.file.FileStreamSinkConnector" => ["file".to_string()].into(),
        _ => names(&rules[class]),
    };
    if own.is_empty() {
        return vec![format!("there are no rules for `{class}`")];
    }
    let keys = config.as_object().unwrap().keys();
    let overrides = |key: &str| key.starts_with("snapshot.select.statement.overrides.");
    keys.filter(|key| !framework(key) && !own.contains(*key) && !overrides(key))
        .map(|key| format!("`{class}` has no `{key}`"))
        .collect()
}

/// What compiles must be in the tables that the page of reference is made of.
pub(crate) fn unlisted(pipeline: &Pipeline, target: Target, registry: &Registry) -> Vec<String> {
    let abilities = (target.engine().abilities)();
    let mut found = Vec::new();
    if !abilities.modes.contains(&pipeline.mode) {
        found.push(format!("the mode {:?} is not in the table", pipeline.mode));
    }
    for node in &pipeline.nodes {
        let (name, table) = match node.role {
            NodeRole::Source => (registry.get(&node.kind).unwrap().descriptor().name, abilities.sources),
            NodeRole::Sink => (registry.get(&node.kind).unwrap().descriptor().name, abilities.sinks),
            NodeRole::Transform => (transform_name(&node.kind), abilities.transforms),
        };
        // A runner's configuration knows ClickHouse, for which Flink's SQL has no connector.
        let own = target == Target::FlinkJson && name == "clickhouse";
        if !own && table.iter().all(|(known, _)| *known != name) {
            found.push(format!("`{name}` ({:?}) is not in the table", node.role));
        }
    }
    found
}
