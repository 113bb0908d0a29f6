//! Sources.

use arrow::datatypes::{DataType, TimeUnit};
use weir_spec::model::{Input, Node};

use super::conf::{Conf, Plugin};
use super::{Parts, release};
use crate::compile::lanes::Lane;
use crate::compile::systems::{
    Bucket, Captured, Database, DocumentLog, Documents, Endpoint, Family, FileFormat, Files, Http, Kafka, Log, Other, Pulsar,
    RabbitMq, StartAt, System, ValueFormat, is_glob,
};
use crate::compile::views::view_name;
use crate::compile::{Compiling, Options, Output, Text, types};
use crate::registry::Release;
use weir_spec::Delivery;

/// The plugin of a source, in a lane.
pub(super) fn plugin(compiling: &Compiling<'_>, lane: &Lane, node: &Node, parts: &mut Parts, output: &mut Output) {
    let (source, options) = Endpoint::read(compiling, node);
    if source.event_time.is_some() {
        options.refuse(Some("event_time"), "has no event time", "Flink, or the native engine");
    }
    let made = Reading { compiling, lane, source: &source, options: &options, output }.plugin();
    options.finish();
    if let Some(mut plugin) = made {
        plugin.output = Some(view_name(&Input { node: node.name.clone(), port: None }, lane.stream.as_deref()));
        parts.sources.push(plugin);
    }
}

struct Reading<'r, 'c> {
    compiling: &'r Compiling<'c>,
    lane: &'r Lane,
    source: &'r Endpoint<'c>,
    options: &'r Options<'r>,
    output: &'r mut Output,
}

impl Reading<'_, '_> {
    fn plugin(&mut self) -> Option<Plugin> {
        let source = self.source;
        match &source.system {
            System::Database(database) => self.jdbc(database),
            System::Log(log) => self.log(log),
            System::Documents(documents) => self.mongodb(documents),
            System::DocumentLog(log) => Some(self.mongodb_log(log)),
            System::Kafka(kafka) => self.kafka(kafka),
            System::Pulsar(pulsar) => self.pulsar(pulsar),
            System::RabbitMq(rabbit) => self.rabbitmq(rabbit),
            System::Files(files) => self.files(files),
            System::Http(http) => self.http(http),
            System::Other(other) => self.other(other),
            System::Socket(_) => {
                let instead = "Flink, for which a companion of Weir feeds Kafka; or the native engine";
                self.options.refuse(None, "has no source for this system", instead);
                None
            }
            System::Discard | System::Unknown => {
                self.options.refuse(None, "has no source for this system", "the native engine");
                None
            }
        }
    }

    /// The streams of this lane.
    fn names(&self, all: &[String]) -> Vec<String> {
        match &self.lane.stream {
            Some(stream) => vec![stream.clone()],
            None => all.to_vec(),
        }
    }

    fn jdbc(&mut self, database: &Database) -> Option<Plugin> {
        let mut plugin = Plugin::new("Jdbc");
        login(&mut plugin, database);
        let query = match (&database.query, self.names(&database.tables).first()) {
            (Some(query), _) => query.clone(),
            (None, Some(table)) => Text::plain(format!("SELECT * FROM {}", database.quoted(table))),
            (None, None) => {
                self.options.refuse(None, "needs a table or a query", "`table: NAME`");
                return None;
            }
        };
        plugin.put("query", query);
        if !self.compiling.bounded() {
            self.options.refuse(None, "reads tables once, and the pipeline has no end", "`mode: batch`, or `mode: cdc`");
        }
        Some(plugin)
    }

    fn log(&mut self, log: &Log) -> Option<Plugin> {
        let database = &log.database;
        let postgres = database.family == Family::Postgres;
        let mut plugin = Plugin::new(if postgres { "Postgres-CDC" } else { "MySQL-CDC" });
        plugin.put("base-url", database.jdbc_url()).put("username", &database.user);
        plugin.put_some("password", database.password.as_ref());
        plugin.put("database-names", Conf::List(vec![(&database.database).into()]));
        let full = |table: &String| match table.contains('.') && !postgres {
            true => table.clone(),
            false => format!("{}.{table}", database.database.braces()),
        };
        let names: Vec<String> = self.names(&database.tables).iter().map(full).collect();
        if names.iter().any(|name| is_glob(name)) {
            let pattern: Vec<String> = names.iter().map(|name| name.replace('.', "\\.").replace('*', ".*")).collect();
            plugin.put("table-pattern", pattern.join("|"));
        } else {
            let names = names.iter().map(|name| Conf::from(Text::of_braces(name))).collect();
            plugin.put("table-names", Conf::List(names));
        }
        if postgres {
            let ours = crate::compile::identifier(&self.compiling.pipeline().name);
            plugin.put("slot.name", log.slot.clone().unwrap_or_else(|| format!("weir_{ours}")));
            plugin.put("decoding.plugin.name", "pgoutput");
            if log.publication.is_some() {
                self.options.refuse(
                    Some("publication"),
                    "makes its own publication, `dbz_publication`",
                    "remove it, or Kafka Connect, or the native engine",
                );
            }
            if log.failover {
                self.options.refuse(
                    Some("failover"),
                    "has no slots that follow a failover",
                    "remove it, or Kafka Connect, or the native engine",
                );
            }
        } else if let Some(id) = log.server_id {
            plugin.put("server-id", id.to_string());
        }
        match (&log.start, log.captured) {
            (Some(start), _) => match (&start.file, &start.gtid) {
                (Some((file, position)), _) => {
                    plugin.put("startup.mode", "specific");
                    plugin.put("startup.specific-offset.file", file.as_str()).put("startup.specific-offset.pos", *position);
                }
                _ => self.options.refuse(
                    Some("start"),
                    "begins at a file and a position, not at a GTID",
                    "`start: {file: …, position: …}`",
                ),
            },
            (None, Captured::SnapshotThenChanges) => {
                plugin.put("startup.mode", "initial");
            }
            (None, Captured::Changes) => {
                plugin.put("startup.mode", "latest");
            }
            (None, Captured::SnapshotOnly) => {
                self.options.refuse(Some("snapshot"), "does not stop behind the snapshot", "`mode: batch` with the tables")
            }
        }
        if !log.snapshot_where.is_empty() {
            self.options.refuse(
                Some("snapshot_where"),
                "takes whole tables into the snapshot",
                "Kafka Connect, or the native engine",
            );
        }
        self.compiling.note(format!(
            "`{}`: SeaTunnel brings Debezium 1.9.8; MySQL 8.4 and newer have dropped a command that it uses",
            self.source.node.name
        ));
        self.output.promise(Delivery::ExactlyOnce, "positions of the log are part of SeaTunnel's checkpoints");
        Some(plugin)
    }

    fn mongodb(&mut self, documents: &Documents) -> Option<Plugin> {
        let mut plugin = Plugin::new("MongoDB");
        plugin.put("uri", &documents.uri).put("database", &documents.database);
        plugin.put("collection", self.names(&documents.collections).join(","));
        plugin.put_some("match.query", documents.filter.as_ref());
        plugin.put_some("match.projection", documents.projection.as_ref());
        plugin.put("schema", self.schema()?);
        Some(plugin)
    }

    fn mongodb_log(&mut self, log: &DocumentLog) -> Plugin {
        let documents = &log.documents;
        let mut plugin = Plugin::new("MongoDB-CDC");
        plugin.put("hosts", &documents.hosts);
        plugin.put("database", Conf::List(vec![(&documents.database).into()]));
        let names = self.names(&documents.collections);
        let full = names.iter().map(|name| Conf::from(documents.database.clone().then(".").then(name)));
        plugin.put("collection", Conf::List(full.collect()));
        plugin.put_some("username", documents.user.as_ref()).put_some("password", documents.password.as_ref());
        plugin.put_some("connection.options", documents.settings.as_ref());
        match log.captured {
            Captured::SnapshotThenChanges => {
                plugin.put("startup.mode", "initial");
            }
            _ => self.options.refuse(Some("snapshot"), "is compiled with a snapshot before the changes", "`snapshot: initial`"),
        }
        if log.full_document.is_some() {
            self.options.refuse(Some("full_document"), "looks documents up", "remove it, or Kafka Connect");
        }
        if documents.hosts.0.is_empty() {
            self.options.refuse(Some("hosts"), "needs `hosts` and not an address", "`hosts: mongo:27017`, `user` and `password`");
        }
        self.output.promise(Delivery::ExactlyOnce, "resume tokens are part of SeaTunnel's checkpoints");
        plugin
    }

    fn kafka(&mut self, kafka: &Kafka) -> Option<Plugin> {
        let mut plugin = Plugin::new("Kafka");
        plugin.put("bootstrap.servers", &kafka.servers);
        match &kafka.pattern {
            Some(pattern) => {
                plugin.put("topic", pattern.as_str()).put("pattern", true);
            }
            None => {
                plugin.put("topic", self.names(&kafka.topics).join(","));
            }
        }
        plugin.put_some("consumer.group", kafka.group.as_deref());
        match &kafka.start {
            StartAt::Earliest => plugin.put("start_mode", "earliest"),
            StartAt::Latest => plugin.put("start_mode", "latest"),
            StartAt::Group => plugin.put("start_mode", "group_offsets"),
            StartAt::Timestamp(ms) => plugin.put("start_mode", "timestamp").put("start_mode.timestamp", *ms),
            StartAt::Offsets(offsets) => {
                let topic = kafka.topics.first().cloned().unwrap_or_default();
                let mut places = Conf::map();
                for (named, partition, offset) in offsets {
                    let topic = if named.is_empty() { &topic } else { named };
                    places.put(format!("{topic}-{partition}"), *offset);
                }
                plugin.put("start_mode", "specific_offsets").put("start_mode.offsets", places)
            }
        };
        match kafka.format {
            ValueFormat::Json => {
                plugin.put("format", "json").put("schema", self.schema()?);
            }
            ValueFormat::Text => {
                plugin.put("format", "text").put("schema", self.schema()?);
            }
            ValueFormat::Debezium => {
                plugin.put("format", "debezium_json").put("schema", self.schema()?);
            }
            other => self.options.refuse(
                Some("format"),
                format!("is compiled without `{}` from topics", other.word()),
                "json, text, debezium_json; or Flink, or the native engine",
            ),
        }
        client(&mut plugin, kafka, true);
        if old(self.compiling) {
            // KafkaSourceReader and KafkaSourceSplitEnumerator of 2.3.4; apache/seatunnel#6388. Seen with the real one: 1,000 of 1,000,000 records of a
            // batch, and after a savepoint 997 of 1,000 that came to three partitions.
            let what = match self.compiling.bounded() {
                true => "ends its batch of a topic as finished after one poll, 500 records of each partition",
                false => {
                    "goes on behind where the topic ended when the job began, after every failure and savepoint: what was not read by then is lost"
                }
            };
            self.options.refuse(None, what, "SeaTunnel 2.3.9, Flink, Kafka Connect, or the native engine");
        } else if self.compiling.bounded() {
            // apache/seatunnel#11471.
            self.compiling.note(format!(
                "`{}`: in batch a topic is read up to where it ends when the job begins; one that is written in transactions may never end there",
                self.source.node.name
            ));
        }
        self.output.promise(Delivery::ExactlyOnce, "offsets are part of SeaTunnel's checkpoints");
        Some(plugin)
    }

    fn pulsar(&mut self, pulsar: &Pulsar) -> Option<Plugin> {
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
        plugin.put(
            "subscription.name",
            pulsar.subscription.clone().unwrap_or_else(|| format!("weir-{}", self.compiling.pipeline().name)),
        );
        match &pulsar.pattern {
            Some(pattern) => plugin.put("topic-pattern", pattern.as_str()),
            None => plugin.put(
                "topic",
                self.names(&pulsar.topics).iter().map(|topic| pulsar.full_name(topic)).collect::<Vec<_>>().join(","),
            ),
        };
        match (&pulsar.start, pulsar.from_subscription) {
            (_, true) => plugin.put("cursor.startup.mode", "SUBSCRIPTION").put("cursor.reset.mode", "EARLIEST"),
            (StartAt::Latest, _) => plugin.put("cursor.startup.mode", "LATEST"),
            (StartAt::Timestamp(ms), _) => plugin.put("cursor.startup.mode", "TIMESTAMP").put("cursor.startup.timestamp", *ms),
            _ => plugin.put("cursor.startup.mode", "EARLIEST"),
        };
        if let Some(token) = &pulsar.token {
            token_login(&mut plugin, token);
        }
        if pulsar.format != ValueFormat::Json {
            self.options.refuse(Some("format"), "reads messages of JSON", "`json`");
        }
        plugin.put("schema", self.schema()?);
        self.output.promise(Delivery::ExactlyOnce, "message ids are part of SeaTunnel's checkpoints");
        Some(plugin)
    }

    fn rabbitmq(&mut self, rabbit: &RabbitMq) -> Option<Plugin> {
        let mut plugin = Plugin::new("RabbitMQ");
        rabbit_login(&mut plugin, rabbit);
        plugin.put("queue_name", rabbit.queue.as_str());
        plugin.put_some("exchange", rabbit.exchange.as_deref());
        if rabbit.format != ValueFormat::Json {
            self.options.refuse(Some("format"), "reads messages of JSON", "`json`");
        }
        plugin.put("schema", self.schema()?);
        self.output.promise(Delivery::AtLeastOnce, "RabbitMQ sends a message again that was not acknowledged");
        Some(plugin)
    }

    fn files(&mut self, files: &Files) -> Option<Plugin> {
        let mut plugin = Plugin::new(if files.bucket.is_some() { "S3File" } else { "LocalFile" });
        let path = files.path.braces();
        let (folder, last) = path.rsplit_once('/').unwrap_or((".", &path));
        if is_glob(folder) {
            self.options.refuse(
                Some("path"),
                "takes a pattern for names, not for folders",
                "`*` in the last part of the path only",
            );
        }
        if is_glob(last) {
            plugin.put("path", Text::of_braces(folder));
            plugin.put("file_filter_pattern", last.replace('.', "\\.").replace('*', ".*").replace('?', "."));
        } else {
            plugin.put("path", Text::of_braces(&path));
        }
        let (format, needs_schema) = match file_format(files.format) {
            Some(known) => known,
            None => {
                let why = format!("is compiled without files of `{}`", files.format.word());
                self.options.refuse(Some("format"), why, "csv, tsv, ndjson, parquet, orc; or the native engine");
                return None;
            }
        };
        if files.format == FileFormat::Parquet {
            self.parquet();
        }
        plugin.put("file_format_type", format);
        if format == "text" || format == "csv" {
            let delimiter =
                files.delimiter.clone().unwrap_or_else(|| if files.format == FileFormat::Tsv { "\t" } else { "," }.into());
            if format == "text" || delimiter != "," {
                plugin.put("field_delimiter", delimiter);
            }
            if files.quote.as_deref() != Some("") {
                let why = "takes quotes in CSV for a part of the value, and a delimiter within them for its end";
                self.options.refuse(
                    Some("csv"),
                    why,
                    "`csv: {quote: \"\"}` if the files have none; or Flink, Spark, or the native engine",
                );
            }
            match files.header {
                Some(true) => {
                    plugin.put("skip_header_row_number", 1u64);
                    self.compiling.note(format!(
                        "`{}`: columns of CSV are taken by their place, whatever the header calls them",
                        self.source.node.name
                    ));
                }
                Some(false) => {}
                None => {
                    self.options.refuse(Some("csv"), "looks into no file for a header", "`csv: {header: present}` or `absent`")
                }
            }
        }
        if needs_schema {
            plugin.put("schema", self.schema()?);
        }
        if let Some(compression) = files.compression.as_deref().filter(|word| *word != "none") {
            self.options.refuse(
                Some("compression"),
                format!("is compiled without {compression} for files that are read"),
                "`none`, or the native engine",
            );
        }
        if let Some(bucket) = &files.bucket {
            self::bucket(&mut plugin, bucket, self.options);
        } else {
            self.compiling.note(format!("`{}`: the path must be there on every machine of the engine", self.source.node.name));
        }
        if !self.compiling.bounded() {
            self.options.refuse(None, "reads files once, and the pipeline has no end", "`mode: batch`");
        }
        Some(plugin)
    }

    fn http(&mut self, http: &Http) -> Option<Plugin> {
        let mut plugin = Plugin::new("Http");
        plugin.put("url", &http.url).put("method", http.method.as_str());
        for (key, entries) in [("headers", &http.headers), ("params", &http.params)] {
            if !entries.is_empty() {
                let map = entries.iter().map(|(name, value)| (name.clone(), Conf::from(value))).collect();
                plugin.put(key, Conf::Map(map));
            }
        }
        plugin.put_some("body", http.body.as_ref());
        plugin.put("format", "json");
        if let Some(records) =
            http.records.as_deref().map(|path| path.trim_start_matches("$.").trim_end_matches("[*]")).filter(|path| *path != "$")
        {
            plugin.put("content_field", format!("$.{records}.*"));
        }
        if let (false, Some(rate)) = (self.compiling.bounded(), http.rate_limit_per_second) {
            // Whole milliseconds between two requests, never faster than asked.
            plugin.put("poll_interval_millis", (1000.0 / rate).ceil().clamp(1.0, 86_400_000.0) as u64);
        }
        plugin.put("schema", self.schema()?);
        self.output.promise(Delivery::AtLeastOnce, "an HTTP source has no positions");
        Some(plugin)
    }

    fn other(&mut self, other: &Other) -> Option<Plugin> {
        let table = other.get("table").map(Text::braces);
        let query =
            other.get("query").cloned().or_else(|| table.as_ref().map(|table| Text::plain(format!("SELECT * FROM {table}"))));
        if query.is_none() && matches!(other.kind.as_str(), "clickhouse" | "cassandra") {
            self.options.refuse(None, "needs a table or a query", "`table: NAME`");
        }
        let query = query.unwrap_or_default();
        let mut plugin;
        match other.kind.as_str() {
            "clickhouse" => {
                plugin = Plugin::new("Clickhouse");
                clickhouse(&mut plugin, other);
                plugin.put("sql", query);
            }
            "cassandra" => {
                plugin = Plugin::new("Cassandra");
                cassandra(&mut plugin, other);
                plugin.put("cql", query);
            }
            "elasticsearch" => {
                plugin = Plugin::new("Elasticsearch");
                elasticsearch(&mut plugin, other);
                plugin.put("index", other.text("index"));
                // Which fields are read; without them it would read what the index has today.
                self.schema()?;
                let columns = self.compiling.shapes.columns(&self.source.node.name, None)?;
                let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
                plugin.put("source", names.as_slice());
            }
            _ => {
                plugin = Plugin::new("Iceberg");
                iceberg(&mut plugin, other, &table.unwrap_or_default(), self.options);
            }
        }
        Some(plugin)
    }

    /// `schema.fields`, from the columns that are known.
    /// 64-bit columns of Parquet are plain numbers there, whatever they mean: a decimal loses its point, a moment becomes microseconds.
    fn parquet(&self) {
        let node = &self.source.node.name;
        let Some(columns) = self.compiling.shapes.columns(node, self.lane.stream.as_deref()) else {
            self.compiling.note(format!("`{node}`: decimals, and moments in microseconds, are read as whole numbers there"));
            return;
        };
        for field in columns.fields() {
            let bent = match field.data_type() {
                DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Time64(_) => true,
                DataType::Timestamp(unit, _) => !matches!(unit, TimeUnit::Millisecond),
                _ => false,
            };
            if bent {
                let why = format!("reads column `{}` of Parquet as a whole number", field.name());
                self.options.refuse(Some("path"), why, "Flink, Spark, or the native engine");
            }
        }
    }

    fn schema(&self) -> Option<Conf> {
        let Some(columns) = self.compiling.shapes.columns(&self.source.node.name, self.lane.stream.as_deref()) else {
            self.options.refuse(
                Some("columns"),
                "needs to know the columns",
                "`columns: {name: type}`, or compile with --connect",
            );
            return None;
        };
        let mut fields = Conf::map();
        for field in columns.fields() {
            match types::seatunnel(field.data_type()) {
                Ok(word) => fields.put(field.name().as_str(), word),
                Err(why) => self.options.refuse(
                    Some("columns"),
                    format!("column `{}`: {why}", field.name()),
                    "another type, or the native engine",
                ),
            }
        }
        let mut schema = Conf::map();
        schema.put("fields", fields);
        Some(schema)
    }
}

/// Address and login of a database.
pub(super) fn login(plugin: &mut Plugin, database: &Database) {
    plugin.put("url", database.jdbc_url()).put("driver", database.driver()).put("user", &database.user);
    plugin.put_some("password", database.password.as_ref());
}

/// Settings of Kafka's client.
pub(super) fn client(plugin: &mut Plugin, kafka: &Kafka, source: bool) {
    let mut settings = Conf::map();
    for (name, value) in &kafka.client {
        settings.put(name.as_str(), value);
    }
    if source {
        settings.put("isolation.level", "read_committed");
    } else if let Some(compression) = &kafka.compression {
        settings.put("compression.type", compression.as_str());
    }
    if matches!(&settings, Conf::Map(entries) if !entries.is_empty()) {
        plugin.put("kafka.config", settings);
    }
}

pub(super) fn token_login(plugin: &mut Plugin, token: &Text) {
    plugin.put("auth.plugin-class", "org.apache.pulsar.client.impl.auth.AuthenticationToken");
    plugin.put("auth.params", Text::plain("token:").then(token));
}

pub(super) fn rabbit_login(plugin: &mut Plugin, rabbit: &RabbitMq) {
    plugin.put("host", &rabbit.host);
    match rabbit.port.as_plain().and_then(|port| port.parse::<u64>().ok()) {
        Some(port) => plugin.put("port", port),
        None => plugin.put("port", &rabbit.port),
    };
    plugin.put("virtual_host", &rabbit.virtual_host);
    if let Some((user, password)) = &rabbit.login {
        plugin.put("username", user).put("password", password);
    }
}

/// Layout there, and whether its columns must be told.
pub(super) fn file_format(format: FileFormat) -> Option<(&'static str, bool)> {
    Some(match format {
        FileFormat::Csv => ("csv", true),
        FileFormat::Tsv => ("text", true),
        FileFormat::Ndjson => ("json", true),
        FileFormat::Parquet => ("parquet", false),
        FileFormat::Orc => ("orc", false),
        FileFormat::Json | FileFormat::Avro | FileFormat::Debezium => return None,
    })
}

pub(super) fn bucket(plugin: &mut Plugin, bucket: &Bucket, options: &Options<'_>) {
    plugin.put("bucket", Text::plain("s3a://").then(&bucket.name));
    let aws = || Text::plain("s3.").then(bucket.region.clone().unwrap_or_else(|| "us-east-1".into())).then(".amazonaws.com");
    plugin.put("fs.s3a.endpoint", bucket.endpoint.clone().unwrap_or_else(aws));
    match &bucket.login {
        Some((key, secret)) => {
            plugin.put("fs.s3a.aws.credentials.provider", "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider");
            plugin.put("access_key", key).put("secret_key", secret);
        }
        None if bucket.anonymous => options.refuse(Some("anonymous"), "reads no bucket without credentials", "keys"),
        None => {
            plugin.put("fs.s3a.aws.credentials.provider", "com.amazonaws.auth.InstanceProfileCredentialsProvider");
        }
    }
    if bucket.path_style {
        let mut settings = Conf::map();
        settings.put("fs.s3a.path.style.access", "true");
        plugin.put("hadoop_s3_properties", settings);
    }
}

pub(super) fn clickhouse(plugin: &mut Plugin, other: &Other) {
    let url = other.text("url").braces();
    let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/').to_string();
    plugin.put("host", Text::of_braces(&host));
    plugin.put("database", other.get("database").cloned().unwrap_or_else(|| "default".into()));
    plugin.put("username", other.get("user").cloned().unwrap_or_else(|| "default".into()));
    plugin.put("password", other.text("password"));
}

pub(super) fn cassandra(plugin: &mut Plugin, other: &Other) {
    plugin.put("host", other.text("host")).put("keyspace", other.text("keyspace"));
    plugin.put_some("datacenter", other.get("datacenter"));
    if let (Some(user), Some(password)) = (other.get("user"), other.get("password")) {
        plugin.put("username", user).put("password", password);
    }
}

pub(super) fn elasticsearch(plugin: &mut Plugin, other: &Other) {
    plugin.put("hosts", other.list("hosts"));
    plugin.put_some("username", other.get("user")).put_some("password", other.get("password"));
}

pub(super) fn iceberg(plugin: &mut Plugin, other: &Other, table: &str, options: &Options<'_>) {
    let (namespace, name) = table.rsplit_once('.').unwrap_or(("default", table));
    plugin.put("catalog_name", other.get("catalog").cloned().unwrap_or_else(|| "lake".into()));
    plugin.put("namespace", Text::of_braces(namespace)).put("table", Text::of_braces(name));
    let mut catalog = Conf::map();
    let kind = other.get("catalog_type").and_then(Text::as_plain).unwrap_or("rest");
    if kind == "rest" {
        catalog.put("catalog-impl", "org.apache.iceberg.rest.RESTCatalog");
    } else {
        catalog.put("type", kind);
    }
    for option in ["uri", "warehouse", "credential", "token"] {
        if let Some(value) = other.get(option) {
            catalog.put(option, value);
        }
    }
    if other.get("query").is_some() {
        options.refuse(Some("query"), "reads whole tables of Iceberg", "`table`, with a `sql` behind it");
    }
    plugin.put("iceberg.catalog.config", catalog);
}

/// Whether a release lacks something that came with the next.
pub(super) fn old(compiling: &Compiling<'_>) -> bool {
    release(compiling) == Release::V2_3_4
}
