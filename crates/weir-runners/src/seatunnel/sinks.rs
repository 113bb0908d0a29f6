//! Sinks.

use arrow::datatypes::DataType;
use weir_connect::WriteMode;
use weir_spec::Delivery;
use weir_spec::model::{Mode, Node};

use super::Parts;
use super::conf::{Conf, Plugin};
use super::sources::{
    bucket, cassandra, clickhouse, client, elasticsearch, file_format, iceberg, login, rabbit_login, token_login,
};
use crate::compile::lanes::{Lane, filled, stream_of};
use crate::compile::systems::{
    Database, Documents, Endpoint, Family, FileFormat, Files, Kafka, Other, Pulsar, System, ValueFormat,
};
use crate::compile::views::view_name;
use crate::compile::{Compiling, Options, Output, Text, types};

/// The plugins of a sink in a lane: one for each of its inputs.
pub(super) fn plugins(compiling: &Compiling<'_>, lane: &Lane, node: &Node, parts: &mut Parts, output: &mut Output) {
    let (sink, options) = Endpoint::read(compiling, node);
    let stream = stream_of(compiling, lane, &sink);
    let made = Writing { compiling, lane, sink: &sink, options: &options, stream, output }.plugin();
    options.finish();
    let Some(plugin) = made else { return };
    for input in &node.inputs {
        let mut plugin = plugin.clone();
        plugin.inputs = vec![view_name(input, lane.stream.as_deref())];
        parts.sinks.push(plugin);
    }
}

struct Writing<'r, 'c> {
    compiling: &'r Compiling<'c>,
    lane: &'r Lane,
    sink: &'r Endpoint<'c>,
    options: &'r Options<'r>,
    stream: String,
    output: &'r mut Output,
}

impl Writing<'_, '_> {
    fn plugin(&mut self) -> Option<Plugin> {
        let sink = self.sink;
        match &sink.system {
            System::Database(database) => self.jdbc(database),
            System::Files(files) => self.files(files),
            System::Kafka(kafka) => self.kafka(kafka),
            System::Pulsar(pulsar) => self.pulsar(pulsar),
            System::RabbitMq(rabbit) => {
                self.appends("a queue");
                let mut plugin = Plugin::new("RabbitMQ");
                rabbit_login(&mut plugin, rabbit);
                plugin.put("queue_name", filled(self.compiling, sink, &rabbit.queue, &self.stream));
                if let Some(exchange) = &rabbit.exchange {
                    plugin.put("exchange", exchange.as_str()).put("routing_key", rabbit.queue.as_str());
                }
                self.output
                    .promise(Delivery::AtLeastOnce, format!("`{}`: messages may come again after a fault", sink.node.name));
                Some(plugin)
            }
            System::Documents(documents) => self.mongodb(documents),
            System::Http(http) => {
                self.appends("an API");
                let mut plugin = Plugin::new("Http");
                plugin.put("url", &http.url);
                if !http.headers.is_empty() {
                    let map = http.headers.iter().map(|(name, value)| (name.clone(), Conf::from(value))).collect();
                    plugin.put("headers", Conf::Map(map));
                }
                if http.method != "POST" && self.options.has("method") {
                    self.options.refuse(Some("method"), "sends POST", "`method: POST`");
                }
                self.options.pass(&["method", "body", "error_path"]);
                self.output
                    .promise(Delivery::AtLeastOnce, format!("`{}`: requests may be sent again after a fault", sink.node.name));
                Some(plugin)
            }
            System::Other(other) => self.other(other),
            System::Discard => {
                let mut plugin = Plugin::new("Console");
                plugin.put("log.print.data", false);
                self.output.promise(Delivery::AtLeastOnce, format!("`{}`: rows are counted and thrown away", sink.node.name));
                Some(plugin)
            }
            System::Log(_) | System::DocumentLog(_) | System::Socket(_) | System::Unknown => {
                self.options.refuse(None, "has no sink for this system", "the native engine");
                None
            }
        }
    }

    fn name(&self, written: &str) -> String {
        filled(self.compiling, self.sink, written, &self.stream)
    }

    /// Only appends, and takes no changes.
    fn appends(&self, what: &str) {
        if self.compiling.pipeline().mode == Mode::Cdc {
            self.options.refuse(
                None,
                format!("applies no changes to {what}"),
                "a database, Elasticsearch, Iceberg or Kafka; or the native engine",
            );
        } else if self.sink.write_mode != WriteMode::Append {
            let why = format!("has no `{}` for {what}", self.sink.write_mode.as_str());
            self.options.refuse(Some("write_mode"), why, "`append`, or the native engine");
        }
    }

    /// Whether rows replace rows of their key; what is neither this nor `append` is told.
    fn upserts(&self) -> bool {
        match self.sink.write_mode {
            WriteMode::Append => false,
            WriteMode::Upsert => true,
            WriteMode::Merge | WriteMode::Overwrite => {
                let why = format!("has no `{}` that a failed run leaves undone", self.sink.write_mode.as_str());
                self.options.refuse(Some("write_mode"), why, "`append` or `upsert`, or the native engine");
                false
            }
        }
    }

    /// The key, as the sink has it or the source's table.
    fn key(&self) -> Vec<String> {
        if !self.sink.key.is_empty() {
            return self.sink.key.clone();
        }
        let source = self.compiling.pipeline().nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        let key = self.compiling.shapes.primary_key(&source, self.lane.stream.as_deref());
        if key.is_empty() {
            self.options.refuse(Some("key"), "needs the key of the rows", "`key: [..]` at the sink, or compile with --connect");
        }
        key
    }

    fn promised(&mut self, upsert: bool) {
        let name = &self.sink.node.name;
        if upsert {
            self.output.promise(Delivery::EffectivelyOnce, format!("`{name}`: repeated rows replace themselves"));
        } else {
            self.output.promise(Delivery::AtLeastOnce, format!("`{name}`: rows may be written again after a fault"));
        }
    }

    fn jdbc(&mut self, database: &Database) -> Option<Plugin> {
        let upsert = self.upserts();
        let mut plugin = Plugin::new("Jdbc");
        login(&mut plugin, database);
        let table = self.name(database.tables.first().map_or("{stream}", String::as_str));
        // A stream of PostgreSQL has its schema in its name already.
        let table = table.strip_prefix("public.").filter(|rest| rest.contains('.')).map(ToString::to_string).unwrap_or(table);
        plugin.put("generate_sink_sql", true).put("database", &database.database);
        let table = match database.family {
            Family::Postgres => table,
            Family::Mysql => table.rsplit('.').next().unwrap_or(&table).to_string(),
        };
        plugin.put("table", table);
        if upsert {
            plugin.put("primary_keys", self.key().as_slice());
        }
        let schema = if database.never_creates { "ERROR_WHEN_SCHEMA_NOT_EXIST" } else { "CREATE_SCHEMA_WHEN_NOT_EXIST" };
        plugin.put("schema_save_mode", schema).put("data_save_mode", "APPEND_DATA");
        self.promised(upsert);
        Some(plugin)
    }

    fn files(&mut self, files: &Files) -> Option<Plugin> {
        self.appends("files");
        let mut plugin = Plugin::new(if files.bucket.is_some() { "S3File" } else { "LocalFile" });
        if files.is_one_file() {
            self.options.refuse(Some("path"), "writes a folder of files, not one file", "a path without an ending, and `format`");
        }
        plugin.put("path", Text::of_braces(&self.name(&files.path.braces())));
        let Some((format, _)) = file_format(files.format) else {
            self.options.refuse(
                Some("format"),
                format!("writes no files of `{}`", files.format.word()),
                "csv, tsv, ndjson, parquet, orc; or the native engine",
            );
            return None;
        };
        plugin.put("file_format_type", format);
        if matches!(files.format, FileFormat::Csv | FileFormat::Tsv) {
            let delimiter =
                files.delimiter.clone().unwrap_or_else(|| if files.format == FileFormat::Tsv { "\t" } else { "," }.into());
            if format == "text" {
                plugin.put("field_delimiter", delimiter);
            } else if delimiter != "," {
                self.options.refuse(Some("csv"), "writes CSV with commas", "`format: tsv`, or the native engine");
            }
            plugin.put("enable_header_write", files.header.unwrap_or(true));
            self.compiling.note(format!(
                "`{}`: SeaTunnel writes CSV without quotes, so a value with a delimiter or a line end reads as two",
                self.sink.node.name
            ));
        }
        let columnar = matches!(files.format, FileFormat::Parquet | FileFormat::Orc);
        if files.format == FileFormat::Parquet && self.has_moments() {
            self.compiling.note(format!(
                "`{}`: moments are written in milliseconds, more digits are cut; the engine's machines must be in UTC",
                self.sink.node.name
            ));
        }
        let compression = files.compression.clone().unwrap_or_else(|| if columnar { "zstd" } else { "none" }.into());
        match (compression.as_str(), columnar) {
            ("none", _) => {}
            ("snappy" | "zstd" | "lz4", true) => {
                plugin.put("compress_codec", compression.as_str());
            }
            ("gzip", true) if files.format == FileFormat::Parquet => {
                plugin.put("compress_codec", compression.as_str());
            }
            (other, _) => self.options.refuse(
                Some("compression"),
                format!("has no {other} for {}", files.format.word()),
                "`none`; zstd, snappy or lz4 for parquet and orc",
            ),
        }
        if !files.partition_by.is_empty() {
            let columns = self
                .sink
                .node
                .inputs
                .first()
                .and_then(|input| self.compiling.shapes.columns(&input.node, self.lane.stream.as_deref()));
            for part in &files.partition_by {
                let known = columns.as_ref().is_none_or(|columns| columns.field_with_name(part).is_ok());
                let of_time = ["year", "month", "day", "hour"].contains(&part.as_str())
                    && columns.as_ref().is_none_or(|columns| columns.field_with_name(part).is_err());
                if part.contains('(') || of_time || !known {
                    self.options.refuse(
                        Some("partition_by"),
                        format!("makes folders of columns, and `{part}` is none"),
                        "columns of that name made by a `sql` before, or the native engine",
                    );
                }
            }
            plugin.put("have_partition", true).put("partition_by", files.partition_by.as_slice());
            let folders: Vec<String> = (0..files.partition_by.len()).map(|at| format!("${{k{at}}}=${{v{at}}}")).collect();
            plugin.put("partition_dir_expression", folders.join("/"));
        }
        plugin.put("is_enable_transaction", true);
        if let Some(known) = &files.bucket {
            bucket(&mut plugin, known, self.options);
        } else {
            self.compiling.note(format!("`{}`: the path must be there on every machine of the engine", self.sink.node.name));
        }
        self.output.promise(Delivery::ExactlyOnce, format!("`{}`: files become visible with a checkpoint", self.sink.node.name));
        Some(plugin)
    }

    fn has_moments(&self) -> bool {
        let inputs = self.sink.node.inputs.iter();
        let mut known = inputs
            .filter_map(|input| self.compiling.shapes.columns(&crate::compile::address_of(input), self.lane.stream.as_deref()));
        known.any(|columns| columns.fields().iter().any(|field| matches!(field.data_type(), DataType::Timestamp(..))))
    }

    fn kafka(&mut self, kafka: &Kafka) -> Option<Plugin> {
        let mut plugin = Plugin::new("Kafka");
        let topic = kafka.topics.first().map_or("{stream}", String::as_str);
        plugin.put("topic", self.name(topic)).put("bootstrap.servers", &kafka.servers);
        if kafka.format != ValueFormat::Json {
            self.options.refuse(Some("format"), format!("is compiled without `{}` into topics", kafka.format.word()), "`json`");
        }
        let changes = self.compiling.pipeline().mode == Mode::Cdc;
        if changes && self.sink.write_mode != WriteMode::Append {
            self.options.refuse(
                Some("write_mode"),
                "writes changes as envelopes, not rows and tombstones by key",
                "`write_mode: append`; or Kafka Connect",
            );
        } else if !changes && self.sink.write_mode != WriteMode::Append {
            self.options.refuse(Some("write_mode"), "appends to topics", "`append`, with a `key`");
        }
        plugin.put("format", if changes { "debezium_json" } else { "json" });
        if !self.sink.key.is_empty() {
            plugin.put("partition_key_fields", self.sink.key.as_slice());
        }
        let name = &self.compiling.pipeline().name;
        if kafka.exactly_once {
            plugin.put("semantics", "EXACTLY_ONCE").put("transaction_prefix", format!("weir_{name}_{}", self.sink.node.name));
            self.output.promise(Delivery::ExactlyOnce, format!("`{}`: transactions end with a checkpoint", self.sink.node.name));
        } else {
            plugin.put("semantics", "AT_LEAST_ONCE");
            self.promised(false);
        }
        client(&mut plugin, kafka, false);
        Some(plugin)
    }

    fn pulsar(&mut self, pulsar: &Pulsar) -> Option<Plugin> {
        self.appends("topics of Pulsar");
        let mut plugin = Plugin::new("Pulsar");
        plugin.put("client.service-url", &pulsar.service_url);
        match &pulsar.admin_url {
            Some(url) => {
                plugin.put("admin.service-url", url);
            }
            None => {
                self.options.refuse(Some("admin_url"), "needs the address of the administration", "`admin_url: http://…:8080`")
            }
        }
        let topic = self.name(pulsar.topics.first().map_or("{stream}", String::as_str));
        plugin.put("topic", pulsar.full_name(&topic)).put("format", "json");
        if let Some(token) = &pulsar.token {
            token_login(&mut plugin, token);
        }
        if !self.sink.key.is_empty() {
            self.options.refuse(Some("key"), "writes messages without keys", "remove it, or the native engine");
        }
        if pulsar.format != ValueFormat::Json {
            self.options.refuse(Some("format"), "writes messages of JSON", "`json`");
        }
        self.promised(false);
        Some(plugin)
    }

    fn mongodb(&mut self, documents: &Documents) -> Option<Plugin> {
        let upsert = self.upserts();
        let mut plugin = Plugin::new("MongoDB");
        plugin.put("uri", &documents.uri).put("database", &documents.database);
        plugin.put("collection", self.name(documents.collections.first().map_or("{stream}", String::as_str)));
        let input = self.sink.node.inputs.first()?;
        let Some(columns) = self.compiling.shapes.columns(&input.node, self.lane.stream.as_deref()) else {
            self.options.refuse(None, "needs to know the columns", "`columns` at the source, or compile with --connect");
            return None;
        };
        let mut fields = Conf::map();
        for field in columns.fields() {
            match types::seatunnel(field.data_type()) {
                Ok(word) => fields.put(field.name().as_str(), word),
                Err(why) => self.options.refuse(None, format!("column `{}`: {why}", field.name()), "a cast before"),
            }
        }
        let mut schema = Conf::map();
        schema.put("fields", fields);
        plugin.put("schema", schema);
        if upsert {
            plugin.put("upsert-enable", true).put("primary-key", self.key().as_slice());
        }
        self.promised(upsert);
        Some(plugin)
    }

    fn other(&mut self, other: &Other) -> Option<Plugin> {
        let upsert = self.upserts();
        let table = self.name(&other.stream());
        let mut plugin;
        match other.kind.as_str() {
            "clickhouse" => {
                plugin = Plugin::new("Clickhouse");
                clickhouse(&mut plugin, other);
                plugin.put("table", table);
                if upsert {
                    plugin.put("support_upsert", true).put("primary_key", self.key().join(","));
                }
            }
            "cassandra" => {
                plugin = Plugin::new("Cassandra");
                cassandra(&mut plugin, other);
                plugin.put("table", table);
                self.options.pass(&["key"]);
                // An insert of Cassandra's is an upsert.
                self.promised(true);
                return Some(plugin);
            }
            "elasticsearch" => {
                plugin = Plugin::new("Elasticsearch");
                elasticsearch(&mut plugin, other);
                plugin.put("index", table);
                if upsert {
                    plugin.put("primary_keys", self.key().as_slice());
                }
                plugin.put("schema_save_mode", "CREATE_SCHEMA_WHEN_NOT_EXIST").put("data_save_mode", "APPEND_DATA");
            }
            _ => {
                plugin = Plugin::new("Iceberg");
                iceberg(&mut plugin, other, &table, self.options);
                if upsert {
                    plugin.put("iceberg.table.primary-keys", self.key().join(","));
                    plugin.put("iceberg.table.upsert-mode-enabled", true);
                }
            }
        }
        self.promised(upsert);
        Some(plugin)
    }
}
