//! `CREATE TABLE` for sources and sinks. Options: the connectors' pages of Flink 2.3 and of its Kafka, JDBC and Iceberg connectors.

use arrow::datatypes::{DataType, SchemaRef};
use weir_connect::WriteMode;
use weir_spec::Delivery;
use weir_spec::model::{Input, Mode};

use super::shown;
use crate::compile::lanes::filled;
use crate::compile::systems::{
    Bucket, Database, Endpoint, EventTime, FileFormat, Files, Kafka, Other, StartAt, System, ValueFormat, is_glob,
};
use crate::compile::{Compiling, Dialect, Options, Output, Text, address_of, types};

/// Files of streams are closed after so long, as our own engine closes them, and looked at so often.
const ROLL_MS: u64 = 60_000;
const LOOK_MS: u64 = 10_000;

/// Statements in order, and what the cluster must be set to for them.
#[derive(Default)]
pub(super) struct Statements {
    all: Vec<String>,
    /// Settings of the cluster: file systems.
    pub(super) cluster: Vec<(String, Text)>,
}

impl Statements {
    /// Adds a statement, unless it is there.
    pub(super) fn push(&mut self, statement: String) {
        if !self.all.contains(&statement) {
            self.all.push(statement);
        }
    }

    pub(super) fn text(&self) -> String {
        self.all.iter().map(|statement| format!("{statement};\n")).collect::<Vec<_>>().join("\n")
    }
}

/// A literal of SQL.
pub(super) fn literal(text: &str) -> String {
    Dialect::Flink.literal(text)
}

/// One table.
#[derive(Clone, Copy)]
pub(super) struct Table<'t, 'c> {
    pub(super) compiling: &'t Compiling<'c>,
    pub(super) endpoint: &'t Endpoint<'c>,
    pub(super) options: &'t Options<'t>,
    pub(super) name: &'t str,
    pub(super) stream: Option<&'t str>,
}

type With = Vec<(String, Text)>;

impl Table<'_, '_> {
    /// The columns of a source.
    pub(super) fn columns(&self) -> Option<SchemaRef> {
        let found = self.compiling.shapes.columns(&self.endpoint.node.name, self.stream);
        if found.is_none() {
            self.options.refuse(
                Some("columns"),
                "needs to know the columns",
                "`columns: {name: type}`, or compile with --connect",
            );
        }
        found
    }

    /// Names and types; of an event time in milliseconds, which is what Flink counts.
    pub(super) fn definitions(&self, columns: &SchemaRef, time: Option<&EventTime>) -> Vec<String> {
        let mut out = Vec::new();
        for field in columns.fields() {
            let is_time = time.is_some_and(|time| time.column == *field.name());
            let word = match (field.data_type(), is_time) {
                (DataType::Timestamp(_, None), true) => Ok("TIMESTAMP(3)".to_string()),
                (DataType::Timestamp(_, Some(_)), true) => Ok("TIMESTAMP_LTZ(3)".to_string()),
                (other, true) => {
                    Err(format!("the event time `{}` is {}, not a timestamp", field.name(), weir_plan::show_type(other)))
                }
                (other, false) => types::flink(other),
            };
            match word {
                Ok(word) => out.push(format!("{} {word}", Dialect::Flink.name(field.name()))),
                Err(why) => self.options.refuse(
                    Some("columns"),
                    format!("column `{}`: {why}", field.name()),
                    "another type, or the native engine",
                ),
            }
        }
        if let Some(time) = time {
            let late = time.max_lateness_ms;
            let seconds = late / 1000;
            let interval = format!("INTERVAL '{seconds}.{:03}' SECOND({}, 3)", late % 1000, seconds.to_string().len().max(2));
            let column = Dialect::Flink.name(&time.column);
            out.push(format!("WATERMARK FOR {column} AS {column} - {interval}"));
            if columns.field_with_name(&time.column).is_err() {
                self.options.refuse(
                    Some("event_time"),
                    format!("has no column `{}` for the event time", time.column),
                    "one of `columns`",
                );
            }
            self.compiling.note(format!("`{}`: Flink counts event time in milliseconds", self.endpoint.node.name));
        }
        out
    }

    pub(super) fn create(&self, definitions: &[String], partitions: &[String], with: &With) -> String {
        let by = match partitions {
            [] => String::new(),
            all => {
                format!(" PARTITIONED BY ({})", all.iter().map(|name| Dialect::Flink.name(name)).collect::<Vec<_>>().join(", "))
            }
        };
        let with: Vec<String> = with.iter().map(|(key, value)| format!("  {} = {}", literal(key), shown(value))).collect();
        format!(
            "CREATE TEMPORARY TABLE {} (\n  {}\n){by} WITH (\n{}\n)",
            Dialect::Flink.name(self.name),
            definitions.join(",\n  "),
            with.join(",\n")
        )
    }

    /// The table of a source that Flink has a connector for.
    pub(super) fn source(&self, time: Option<&EventTime>, statements: &mut Statements) {
        if let System::Other(other) = &self.endpoint.system {
            return self.other_source(other, time, statements);
        }
        let Some(columns) = self.columns() else { return };
        let mut with: With = Vec::new();
        match &self.endpoint.system {
            System::Kafka(kafka) => self.kafka_source(kafka, &mut with),
            System::Database(database) => self.jdbc_source(database, &mut with),
            System::Files(files) => self.files_source(files, &mut with, statements),
            _ => return,
        }
        if let Some(idle) = time.and_then(|time| time.idle_after_ms) {
            with.push(("scan.watermark.idle-timeout".into(), format!("{idle} ms").into()));
        }
        statements.push(self.create(&self.definitions(&columns, time), &[], &with));
    }

    pub(super) fn kafka_source(&self, kafka: &Kafka, with: &mut With) {
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        put("connector", "kafka".into());
        match (&kafka.pattern, self.stream) {
            (Some(pattern), None) => put("topic-pattern", pattern.into()),
            (_, Some(stream)) => put("topic", stream.into()),
            (None, None) => put("topic", kafka.topics.join(";").into()),
        }
        put("properties.bootstrap.servers", kafka.servers.clone());
        put(
            "properties.group.id",
            kafka.group.clone().unwrap_or_else(|| format!("weir-{}", self.compiling.pipeline().name)).into(),
        );
        put("properties.isolation.level", "read_committed".into());
        for (name, value) in &kafka.client {
            put(&format!("properties.{name}"), value.clone());
        }
        match &kafka.start {
            StartAt::Earliest => put("scan.startup.mode", "earliest-offset".into()),
            StartAt::Latest => put("scan.startup.mode", "latest-offset".into()),
            StartAt::Group => put("scan.startup.mode", "group-offsets".into()),
            StartAt::Timestamp(ms) => {
                put("scan.startup.mode", "timestamp".into());
                put("scan.startup.timestamp-millis", ms.to_string().into());
            }
            StartAt::Offsets(offsets) => {
                put("scan.startup.mode", "specific-offsets".into());
                let own = |topic: &str| topic.is_empty() || self.stream.is_none_or(|stream| stream == topic);
                let each: Vec<String> = offsets
                    .iter()
                    .filter(|(topic, ..)| own(topic))
                    .map(|(_, partition, offset)| format!("partition:{partition},offset:{offset}"))
                    .collect();
                put("scan.startup.specific-offsets", each.join(";").into());
            }
        }
        if self.compiling.bounded() {
            put("scan.bounded.mode", "latest-offset".into());
        }
        self.value_format(kafka, with, true);
    }

    fn value_format(&self, kafka: &Kafka, with: &mut With, source: bool) {
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        match (kafka.format, &kafka.registry) {
            (ValueFormat::Json, _) => {
                put("format", "json".into());
                put("json.timestamp-format.standard", "ISO-8601".into());
                if !source {
                    put("json.encode.decimal-as-plain-number", "true".into());
                }
            }
            (ValueFormat::Csv, _) => {
                put("format", "csv".into());
                if let Some(delimiter) = kafka.csv.as_ref().and_then(|csv| csv.get("delimiter")?.as_str()) {
                    put("csv.field-delimiter", delimiter.into());
                }
            }
            (ValueFormat::Text | ValueFormat::Raw, _) => put("format", "raw".into()),
            (ValueFormat::Debezium, _) if source => {
                put("format", "debezium-json".into());
                put("debezium-json.timestamp-format.standard", "ISO-8601".into());
            }
            (ValueFormat::Avro, Some(registry)) => {
                put("format", "avro-confluent".into());
                put("avro-confluent.url", registry.url.clone());
                if let Some((user, password)) = &registry.login {
                    put("avro-confluent.basic-auth.credentials-source", "USER_INFO".into());
                    put("avro-confluent.basic-auth.user-info", user.clone().then(":").then(password));
                }
            }
            (other, _) => self.options.refuse(
                Some("format"),
                format!("is compiled without `{}`", other.word()),
                "json, csv, text, raw; avro with a registry",
            ),
        }
    }

    fn jdbc(&self, database: &Database, table: &str, with: &mut With) {
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        put("connector", "jdbc".into());
        put("url", database.jdbc_url());
        put("table-name", table.into());
        put("username", database.user.clone());
        // Flink wants both or none.
        put("password", database.password.clone().unwrap_or_default());
        put("driver", database.driver().into());
    }

    fn jdbc_source(&self, database: &Database, with: &mut With) {
        if database.query.is_some() {
            self.options.refuse(
                Some("query"),
                "reads tables, not queries",
                "`table`, with a `sql` behind it; or Spark, SeaTunnel, the native engine",
            );
        }
        if !self.compiling.bounded() {
            self.options.refuse(None, "reads tables once, and the pipeline has no end", "`mode: cdc`, or `mode: batch`");
        }
        let table = self.stream.map(ToString::to_string).or_else(|| database.tables.first().cloned()).unwrap_or_default();
        self.jdbc(database, &table, with);
    }

    fn files(&self, files: &Files, path: Text, with: &mut With, statements: &mut Statements) {
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        put("connector", "filesystem".into());
        put("path", path);
        if !self.endpoint.is_source() && !self.compiling.bounded() {
            // Left alone, files of lines become visible after half an hour.
            let roll = self.compiling.pipeline().roll.unwrap_or_default();
            let interval_ms = roll.interval_ms.unwrap_or(ROLL_MS);
            put("sink.rolling-policy.rollover-interval", format!("{interval_ms} ms").into());
            put("sink.rolling-policy.check-interval", format!("{} ms", interval_ms.min(LOOK_MS)).into());
            if let Some(bytes) = roll.bytes {
                put("sink.rolling-policy.file-size", format!("{bytes} bytes").into());
            }
        }
        match files.format {
            FileFormat::Csv | FileFormat::Tsv => {
                put("format", "csv".into());
                let delimiter =
                    files.delimiter.clone().unwrap_or_else(|| if files.format == FileFormat::Tsv { "\t" } else { "," }.into());
                if delimiter != "," {
                    put("csv.field-delimiter", delimiter.into());
                }
                if self.endpoint.is_source() {
                    // An empty field is NULL.
                    put("csv.null-literal", "".into());
                    match files.quote.as_deref() {
                        None => {}
                        Some("") => put("csv.disable-quote-character", "true".into()),
                        Some(quote) => put("csv.quote-character", quote.into()),
                    }
                }
                if files.header != Some(false) {
                    let way = "`csv: {header: absent}` (`header: false` for a sink), another format, or the native engine";
                    self.options.refuse(Some("csv"), "knows no header in CSV", way);
                }
            }
            FileFormat::Ndjson => {
                put("format", "json".into());
                put("json.timestamp-format.standard", "ISO-8601".into());
                if !self.endpoint.is_source() {
                    put("json.encode.decimal-as-plain-number", "true".into());
                }
            }
            FileFormat::Parquet => {
                put("format", "parquet".into());
                put("parquet.utc-timezone", "true".into());
                if !self.endpoint.is_source() {
                    // A cluster has no Zstandard unless somebody adds it.
                    let word = files.compression.clone().unwrap_or_else(|| "snappy".into()).replace("none", "uncompressed");
                    put("parquet.compression", word.to_uppercase().into());
                }
            }
            FileFormat::Avro => put("format", "avro".into()),
            FileFormat::Orc => put("format", "orc".into()),
            other => self.options.refuse(
                Some("format"),
                format!("is compiled without files of `{}`", other.word()),
                "ndjson, csv, parquet, avro, orc",
            ),
        }
        if files.format != FileFormat::Parquet
            && files.compression.as_deref().is_some_and(|word| word != "none")
            && !self.endpoint.is_source()
        {
            self.options.refuse(Some("compression"), "writes text without compression", "`none`, or parquet");
        }
        match &files.bucket {
            Some(bucket) => self.cluster(bucket, statements),
            None => {
                if !files.path.braces().starts_with('/') {
                    self.options.refuse(
                        Some("path"),
                        "needs a path from the root, which is the same on every machine",
                        "an absolute path, or a bucket",
                    );
                }
                self.compiling
                    .note(format!("`{}`: the path must be there on every machine of the engine", self.endpoint.node.name));
            }
        }
    }

    /// Flink's file systems are set for the cluster, not for the table.
    fn cluster(&self, bucket: &Bucket, statements: &mut Statements) {
        let mut put = |key: &str, value: Text| {
            if !statements.cluster.iter().any(|(known, _)| known == key) {
                statements.cluster.push((key.into(), value));
            }
        };
        if let Some(endpoint) = &bucket.endpoint {
            put("s3.endpoint", endpoint.clone());
        }
        if let Some((key, secret)) = &bucket.login {
            put("s3.access-key", key.clone());
            put("s3.secret-key", secret.clone());
        }
        if bucket.path_style {
            put("s3.path.style.access", "true".into());
        }
        self.compiling.note(
            "buckets: Flink needs the plugin flink-s3-fs-hadoop, and the settings s3.* of the arguments for the whole cluster",
        );
    }

    fn files_source(&self, files: &Files, with: &mut With, statements: &mut Statements) {
        let uri = files.uri("s3").braces();
        let (folder, last) = uri.rsplit_once('/').unwrap_or(("", &uri));
        if is_glob(folder) {
            self.options.refuse(
                Some("path"),
                "takes a pattern for names, not for folders",
                "`*` in the last part of the path only",
            );
        }
        let path = if is_glob(last) { folder.to_string() } else { uri.clone() };
        self.files(files, Text::of_braces(&path), with, statements);
        if is_glob(last) {
            let pattern = format!("{folder}/{last}").replace('.', "\\.").replace('*', "[^/]*").replace('?', "[^/]");
            with.push((
                "source.path.regex-pattern".into(),
                format!(".*{}", pattern.trim_start_matches("file://").trim_start_matches("s3://")).into(),
            ));
        }
        if !self.compiling.bounded() {
            with.push(("source.monitor-interval".into(), "10 s".into()));
        }
    }

    fn other_source(&self, other: &Other, time: Option<&EventTime>, statements: &mut Statements) {
        if other.kind != "iceberg" {
            self.options.refuse(None, "has no connector for this system that fits Flink 2", "SeaTunnel");
            return;
        }
        if time.is_some() {
            self.options.refuse(Some("event_time"), "has no event time for tables of a catalogue", "the native engine");
        }
        let Some(table) = other.get("table").map(Text::braces) else {
            self.options.refuse(Some("query"), "reads whole tables of Iceberg", "`table`, with a `sql` behind it");
            return;
        };
        let catalog = catalog(other, statements);
        let hint =
            if self.compiling.bounded() { "" } else { " /*+ OPTIONS('streaming' = 'true', 'monitor-interval' = '10s') */" };
        statements.push(format!(
            "CREATE TEMPORARY VIEW {} AS\nSELECT * FROM {}{hint}",
            Dialect::Flink.name(self.name),
            in_catalog(&catalog, &table)
        ));
    }

    /// The table of a sink for one of its inputs: its name in `INSERT INTO`.
    pub(super) fn sink(&self, input: &Input, stream: &str, statements: &mut Statements, output: &mut Output) -> Option<String> {
        let Some(columns) = self.compiling.shapes.columns(&address_of(input), self.stream) else {
            self.options.refuse(None, "needs to know the columns", "`columns` at the source, or compile with --connect");
            return None;
        };
        let upsert = match self.endpoint.write_mode {
            WriteMode::Append => false,
            WriteMode::Upsert => true,
            other => {
                self.options.refuse(
                    Some("write_mode"),
                    format!("has no `{}` that a failed run leaves undone", other.as_str()),
                    "`append` or `upsert`, or the native engine",
                );
                false
            }
        };
        let key = if upsert { self.key() } else { Vec::new() };
        let mut definitions = self.definitions(&columns, None);
        if !key.is_empty() {
            let names: Vec<String> = key.iter().map(|name| Dialect::Flink.name(name)).collect();
            definitions.push(format!("PRIMARY KEY ({}) NOT ENFORCED", names.join(", ")));
        }
        let mut with: With = Vec::new();
        let mut partitions = Vec::new();
        let name = |written: &str| filled(self.compiling, self.endpoint, written, stream);
        let node = &self.endpoint.node.name;
        match &self.endpoint.system {
            System::Kafka(kafka) => {
                self.kafka_sink(kafka, &name(kafka.topics.first().map_or("{stream}", String::as_str)), upsert, &mut with, output)
            }
            System::Database(database) => {
                let table = name(database.tables.first().map_or("{stream}", String::as_str));
                let table =
                    table.strip_prefix("public.").filter(|rest| rest.contains('.')).map(ToString::to_string).unwrap_or(table);
                self.jdbc(database, &table, &mut with);
                if !database.never_creates {
                    self.compiling.note(format!("`{node}`: Flink makes no tables, `{table}` must be there"));
                }
                match upsert {
                    true => output.promise(Delivery::EffectivelyOnce, format!("`{node}`: repeated rows replace themselves")),
                    false => output.promise(Delivery::AtLeastOnce, format!("`{node}`: rows may be written again after a fault")),
                }
            }
            System::Files(files) => {
                if upsert || self.compiling.pipeline().mode == Mode::Cdc {
                    self.options.refuse(Some("write_mode"), "appends to files", "`append`, Iceberg, or the native engine");
                }
                if files.is_one_file() {
                    self.options.refuse(
                        Some("path"),
                        "writes a folder of files, not one file",
                        "a path without an ending, and `format`",
                    );
                }
                for part in &files.partition_by {
                    if columns.field_with_name(part).is_err() {
                        self.options.refuse(
                            Some("partition_by"),
                            format!("makes folders of columns, and `{part}` is none"),
                            "a column made by a `sql` before, or the native engine",
                        );
                    }
                }
                partitions.clone_from(&files.partition_by);
                let path = Text::of_braces(&name(&files.uri("s3").braces()));
                self.files(files, path, &mut with, statements);
                output.promise(Delivery::ExactlyOnce, format!("`{node}`: files become visible with a checkpoint, or at the end"));
            }
            System::Discard => {
                with.push(("connector".into(), "blackhole".into()));
                output.promise(Delivery::AtLeastOnce, format!("`{node}`: rows are thrown away"));
            }
            System::Other(other) if other.kind == "iceberg" => {
                let table = name(&other.stream());
                let catalog = catalog(other, statements);
                let full = in_catalog(&catalog, &table);
                let settings = if upsert {
                    " WITH ('format-version' = '2', 'write.upsert.enabled' = 'true')"
                } else {
                    " WITH ('format-version' = '2')"
                };
                if let Some((database, _)) = table.rsplit_once('.') {
                    statements.push(format!(
                        "CREATE DATABASE IF NOT EXISTS {}.{}",
                        Dialect::Flink.name(&catalog),
                        Dialect::Flink.name(database)
                    ));
                }
                statements.push(format!("CREATE TABLE IF NOT EXISTS {full} (\n  {}\n){settings}", definitions.join(",\n  ")));
                output.promise(Delivery::ExactlyOnce, format!("`{node}`: a snapshot per checkpoint"));
                return Some(full);
            }
            _ => {
                self.options.refuse(
                    None,
                    "has no connector for this system that fits Flink 2",
                    "SeaTunnel, or the native engine",
                );
                return None;
            }
        }
        statements.push(self.create(&definitions, &partitions, &with));
        Some(Dialect::Flink.name(self.name))
    }

    fn key(&self) -> Vec<String> {
        if !self.endpoint.key.is_empty() {
            return self.endpoint.key.clone();
        }
        let source = self.compiling.pipeline().nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        let key = self.compiling.shapes.primary_key(&source, self.stream);
        if key.is_empty() {
            self.options.refuse(Some("key"), "needs the key of the rows", "`key: [..]` at the sink");
        }
        key
    }

    fn kafka_sink(&self, kafka: &Kafka, topic: &str, upsert: bool, with: &mut With, output: &mut Output) {
        let node = &self.endpoint.node.name;
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        put("connector", if upsert { "upsert-kafka" } else { "kafka" }.into());
        put("topic", topic.into());
        put("properties.bootstrap.servers", kafka.servers.clone());
        for (name, value) in &kafka.client {
            put(&format!("properties.{name}"), value.clone());
        }
        if let Some(compression) = &kafka.compression {
            put("properties.compression.type", compression.into());
        }
        if upsert {
            if kafka.format != ValueFormat::Json {
                self.options.refuse(Some("format"), "is compiled with JSON for topics that are upserted", "`json`");
            }
            put("key.format", "json".into());
            put("value.format", "json".into());
            put("value.json.timestamp-format.standard", "ISO-8601".into());
            put("value.json.encode.decimal-as-plain-number", "true".into());
        } else {
            if !self.endpoint.key.is_empty() {
                let one = self.endpoint.key.len() == 1 && kafka.key_format.as_deref() != Some("json");
                put("key.format", if one { "raw" } else { "json" }.into());
                put("key.fields", self.endpoint.key.join(";").into());
            }
            self.value_format(kafka, with, false);
        }
        let mut put = |key: &str, value: Text| with.push((key.into(), value));
        if kafka.exactly_once {
            put("sink.delivery-guarantee", "exactly-once".into());
            put("sink.transactional-id-prefix", format!("weir-{}-{}", self.compiling.pipeline().name, self.name).into());
            output.promise(Delivery::ExactlyOnce, format!("`{node}`: transactions end with a checkpoint"));
        } else {
            put("sink.delivery-guarantee", "at-least-once".into());
            output.promise(Delivery::AtLeastOnce, format!("`{node}`: records may be written again after a fault"));
        }
    }
}

/// The catalogue of an Iceberg connection: its name.
fn catalog(other: &Other, statements: &mut Statements) -> String {
    let name = other.get("catalog").map_or_else(|| "lake".into(), Text::braces);
    let kind = other.get("catalog_type").map_or_else(|| "rest".into(), Text::braces);
    let mut with: With = vec![("type".into(), "iceberg".into()), ("catalog-type".into(), kind.into())];
    for option in ["uri", "warehouse", "credential", "token"] {
        with.extend(other.get(option).map(|value| (option.to_string(), value.clone())));
    }
    let with: Vec<String> = with.iter().map(|(key, value)| format!("  {} = {}", literal(key), shown(value))).collect();
    statements.push(format!("CREATE CATALOG {} WITH (\n{}\n)", Dialect::Flink.name(&name), with.join(",\n")));
    name
}

fn in_catalog(catalog: &str, table: &str) -> String {
    let (database, table) = table.rsplit_once('.').unwrap_or(("default", table));
    [catalog, database, table].map(|part| Dialect::Flink.name(part)).join(".")
}
