//! Sink connectors: Debezium's for JDBC, Aiven's for S3, Apache Kafka's own for a file.

use weir_connect::{DeleteMode, WriteMode};
use weir_spec::model::{Delivery, Node};

use super::{Config, between, debezium, smt};
use crate::artefact;
use crate::compile::systems::{Database, Endpoint, FileFormat, Files, Kafka, StartAt, System, ValueFormat};
use crate::compile::{Compiling, Output};

/// A sink of what a log's connector wrote.
pub(super) fn from_log(compiling: &Compiling<'_>, sink: &Endpoint<'_>, output: &mut Output) {
    let mut config = Config::default();
    let prefix = debezium::prefix(compiling);
    config.put("topics.regex", format!("{}\\..*", prefix));
    write(compiling, sink, true, &mut config, output);
    debezium::with_schemas(&mut config);
    finish(compiling, sink, config, output);
}

/// A sink of topics.
pub(super) fn from_topics(compiling: &Compiling<'_>, kafka: &Kafka, sink: &Node, output: &mut Output) {
    let (sink, options) = Endpoint::read(compiling, sink);
    let mut config = Config::default();
    match (&kafka.pattern, kafka.topics.as_slice()) {
        (Some(pattern), _) => config.put("topics.regex", pattern.clone()),
        (None, topics) => config.put("topics", topics.join(",")),
    }
    if kafka.start != StartAt::Earliest {
        let source = compiling.pipeline().nodes.iter().find(|node| compiling.kind(node) == "kafka");
        if let Some(source) = source {
            compiling.refuse(
                source,
                Some("start_mode"),
                "begins sinks where their group is, at first at the beginning",
                "`earliest`; or PATCH /connectors/NAME/offsets",
            );
        }
    }
    write(compiling, &sink, false, &mut config, output);
    converters(compiling, kafka, &sink, &mut config);
    compiling.note("topics are on the brokers of the Connect cluster: `bootstrap_servers` must be the same");
    options.finish();
    finish(compiling, &sink, config, output);
}

fn finish(compiling: &Compiling<'_>, sink: &Endpoint<'_>, mut config: Config, output: &mut Output) {
    smt::chain(compiling, &between(compiling, sink.node), &mut config);
    let name = format!("{}-{}", compiling.pipeline().name, sink.node.name);
    config.set("tasks.max", compiling.pipeline().parallelism.unwrap_or(1));
    config.put("errors.tolerance", "none");
    output.file(format!("{name}.json"), artefact::Role::Job, config.into_file(&name));
}

fn write(compiling: &Compiling<'_>, sink: &Endpoint<'_>, changes: bool, config: &mut Config, output: &mut Output) {
    match &sink.system {
        System::Database(database) => jdbc(compiling, sink, database, changes, config, output),
        System::Files(files) if files.bucket.is_some() => s3(compiling, sink, files, changes, config, output),
        System::Files(files) => file(compiling, sink, files, changes, config, output),
        _ => compiling.refuse(sink.node, None, "has no sink for this system", "postgres, mysql, s3 or a file; or another engine"),
    }
}

fn jdbc(
    compiling: &Compiling<'_>,
    sink: &Endpoint<'_>,
    database: &Database,
    changes: bool,
    config: &mut Config,
    output: &mut Output,
) {
    config.put("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector");
    config.put("connection.url", database.jdbc_url());
    config.put("connection.username", &database.user);
    if let Some(password) = &database.password {
        config.put("connection.password", password);
    }
    let upsert = matches!(sink.write_mode, WriteMode::Upsert | WriteMode::Merge);
    match sink.write_mode {
        WriteMode::Append => config.put("insert.mode", "insert"),
        WriteMode::Upsert => config.put("insert.mode", "upsert"),
        WriteMode::Merge | WriteMode::Overwrite => {
            compiling.refuse(
                sink.node,
                Some("write_mode"),
                format!("has no `{}`", sink.write_mode.as_str()),
                "`append` or `upsert`",
            );
        }
    }
    if upsert {
        let from_rows = !sink.key.is_empty() && !changes;
        config.put("primary.key.mode", if from_rows { "record_value" } else { "record_key" });
        if !sink.key.is_empty() {
            config.put("primary.key.fields", sink.key.join(","));
        }
    } else {
        config.put("primary.key.mode", "none");
    }
    if changes {
        match sink.deletes {
            DeleteMode::Hard => config.set("delete.enabled", upsert),
            DeleteMode::Ignore => config.set("delete.enabled", false),
            DeleteMode::Soft => {
                compiling.refuse(sink.node, Some("delete_mode"), "marks no rows as deleted", "`hard` or `ignore`")
            }
        }
    }
    let table = database.tables.first().map_or("{stream}", String::as_str);
    let table = table.replace("public.{stream}", "{stream}");
    let format = if changes { "${source.table}" } else { "${topic}" };
    config.0.insert("collection.name.format".into(), serde_json::Value::String(table.replace("{stream}", format)));
    config.put("schema.evolution", if database.never_creates { "none" } else { "basic" });
    let promise = if upsert { Delivery::EffectivelyOnce } else { Delivery::AtLeastOnce };
    output.promise(promise, format!("`{}`: the offset of a topic moves after the rows are in the database", sink.node.name));
}

fn s3(compiling: &Compiling<'_>, sink: &Endpoint<'_>, files: &Files, changes: bool, config: &mut Config, output: &mut Output) {
    let Some(bucket) = &files.bucket else { return };
    append_only(compiling, sink, changes, "files");
    config.put("connector.class", "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector");
    config.put("aws.s3.bucket.name", &bucket.name);
    if let Some(region) = &bucket.region {
        config.put("aws.s3.region", region);
    }
    if let Some(endpoint) = &bucket.endpoint {
        config.put("aws.s3.endpoint", endpoint);
    }
    if let Some((key, secret)) = &bucket.login {
        config.put("aws.access.key.id", key);
        config.put("aws.secret.access.key", secret);
    }
    let format = match files.format {
        FileFormat::Csv => "csv",
        FileFormat::Json => "json",
        FileFormat::Ndjson => "jsonl",
        FileFormat::Parquet => "parquet",
        FileFormat::Avro => "avro",
        other => {
            compiling.refuse(
                sink.node,
                Some("format"),
                format!("writes no {}", other.word()),
                "csv, json, ndjson, parquet, avro",
            );
            return;
        }
    };
    config.put("format.output.type", format);
    config.put("format.output.fields", "value");
    config.set("format.output.envelope", false);
    let compression = files
        .compression
        .clone()
        .unwrap_or_else(|| if matches!(files.format, FileFormat::Parquet | FileFormat::Avro) { "zstd" } else { "none" }.into());
    match compression.as_str() {
        "none" | "gzip" | "snappy" | "zstd" => config.put("file.compression.type", compression.as_str()),
        other => compiling.refuse(sink.node, Some("compression"), format!("has no {other}"), "none, gzip, snappy, zstd"),
    }
    let mut folder = files.path.braces().trim_end_matches('/').replace("{stream}", "{{topic}}");
    if folder.contains("{date}") {
        folder = folder.replace("{date}", "{{timestamp:unit=yyyy}}-{{timestamp:unit=MM}}-{{timestamp:unit=dd}}");
    }
    for part in &files.partition_by {
        let unit = match part.as_str() {
            "year" => "yyyy",
            "month" => "MM",
            "day" => "dd",
            "hour" => "HH",
            other => {
                compiling.refuse(
                    sink.node,
                    Some("partition_by"),
                    format!("makes no folders by `{other}`"),
                    "year, month, day, hour: of the record's time",
                );
                continue;
            }
        };
        folder.push_str(&format!("/{part}={{{{timestamp:unit={unit}}}}}"));
    }
    let name = format!("{folder}/{{{{topic}}}}-{{{{partition}}}}-{{{{start_offset}}}}.{format}");
    // Variables of the path are the worker's, placeholders are the connector's.
    let name = name.replace("${", "${env:");
    config.0.insert("file.name.template".into(), serde_json::Value::String(name));
    output.promise(
        Delivery::AtLeastOnce,
        format!("`{}`: a file may be written again after a fault, under its first offset", sink.node.name),
    );
}

fn file(compiling: &Compiling<'_>, sink: &Endpoint<'_>, files: &Files, changes: bool, config: &mut Config, output: &mut Output) {
    append_only(compiling, sink, changes, "a file");
    if files.format != FileFormat::Ndjson || !files.is_one_file() {
        compiling.refuse(
            sink.node,
            Some("path"),
            "writes one file, of lines as they are in the topic",
            "a path that ends with `.ndjson`",
        );
    }
    if !between(compiling, sink.node).is_empty() {
        compiling.refuse(
            sink.node,
            None,
            "writes the lines of a topic as they are, without transforms",
            "another sink, or another engine",
        );
    }
    config.put("connector.class", "org.apache.kafka.connect.file.FileStreamSinkConnector");
    config.put("file", &files.path);
    output.promise(Delivery::AtLeastOnce, format!("`{}`: lines may come again after a fault", sink.node.name));
}

fn append_only(compiling: &Compiling<'_>, sink: &Endpoint<'_>, changes: bool, what: &str) {
    if changes {
        compiling.refuse(
            sink.node,
            None,
            format!("applies no changes to {what}"),
            "a database; or `mode: cdc` into topics and a second pipeline from there",
        );
    } else if sink.write_mode != WriteMode::Append {
        compiling.refuse(sink.node, Some("write_mode"), format!("appends to {what}"), "`append`");
    }
}

/// How the records of topics are read.
fn converters(compiling: &Compiling<'_>, kafka: &Kafka, sink: &Endpoint<'_>, config: &mut Config) {
    let needs_schema = match &sink.system {
        System::Database(_) => true,
        System::Files(files) => matches!(files.format, FileFormat::Parquet | FileFormat::Avro),
        _ => false,
    };
    let as_lines = matches!(&sink.system, System::Files(files) if files.bucket.is_none());
    match (kafka.format, &kafka.registry) {
        (ValueFormat::Json, _) if as_lines => {
            config.put("key.converter", "org.apache.kafka.connect.storage.StringConverter");
            config.put("value.converter", "org.apache.kafka.connect.storage.StringConverter");
        }
        (ValueFormat::Json, _) if needs_schema => {
            compiling.refuse(
                sink.node,
                None,
                "needs records that carry their types, and JSON does not",
                "topics in `avro` with a registry, or another engine",
            );
        }
        (ValueFormat::Json, _) => debezium::without_schemas(config),
        (ValueFormat::Avro, Some(registry)) => {
            config.put("key.converter", "org.apache.kafka.connect.storage.StringConverter");
            config.put("value.converter", "io.confluent.connect.avro.AvroConverter");
            config.put("value.converter.schema.registry.url", &registry.url);
            if let Some((user, password)) = &registry.login {
                config.put("value.converter.basic.auth.credentials.source", "USER_INFO");
                config.put("value.converter.basic.auth.user.info", user.clone().then(":").then(password));
            }
        }
        (other, _) => compiling.refuse(
            sink.node,
            None,
            format!("is compiled without topics in `{}`", other.word()),
            "`json`, or `avro` with a registry",
        ),
    }
}
