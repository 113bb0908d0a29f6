//! Sources.

use arrow::datatypes::SchemaRef;
use weir_spec::Delivery;
use weir_spec::model::{Input, Node};

use super::python::{Chain, Program, expression, string, watermark};
use crate::compile::systems::{
    Bucket, Database, Endpoint, Family, FileFormat, Files, Kafka, Other, StartAt, System, ValueFormat,
};
use crate::compile::views::view_name;
use crate::compile::{Compiling, Options, Output, Text, types};

/// Reads a source into a frame and a view.
pub(super) fn source(compiling: &Compiling<'_>, stream: Option<&str>, node: &Node, program: &mut Program, output: &mut Output) {
    let (endpoint, options) = Endpoint::read(compiling, node);
    let reading = Reading { compiling, endpoint: &endpoint, options: &options, stream };
    let frame = match &endpoint.system {
        System::Database(database) => reading.jdbc(database, program),
        System::Kafka(kafka) => reading.kafka(kafka, program),
        System::Files(files) => reading.files(files, program),
        System::Other(other) if other.kind == "iceberg" => reading.iceberg(other, program),
        _ => {
            options.refuse(None, "has no source for this system", "Flink, SeaTunnel, or the native engine");
            None
        }
    };
    options.finish();
    let Some(mut frame) = frame else { return };
    if let Some(time) = endpoint.event_time.as_ref().filter(|_| !compiling.bounded()) {
        frame.call(watermark(time));
        if time.idle_after_ms.is_some() {
            compiling.note(format!("`{}.event_time.idle_after_ms`: Spark has one watermark for all partitions", node.name));
        }
    }
    if !compiling.bounded() {
        output.promise(Delivery::ExactlyOnce, "offsets and state are part of Spark's checkpoints");
    }
    program.frame(&view_name(&Input { node: node.name.clone(), port: None }, stream), &frame);
}

struct Reading<'r, 'c> {
    compiling: &'r Compiling<'c>,
    endpoint: &'r Endpoint<'c>,
    options: &'r Options<'r>,
    stream: Option<&'r str>,
}

impl Reading<'_, '_> {
    fn reader(&self) -> &'static str {
        if self.compiling.bounded() { "spark.read" } else { "spark.readStream" }
    }

    fn text(&self, text: &Text) -> String {
        expression(self.compiling, text)
    }

    /// The columns as DDL.
    fn ddl(&self) -> Option<String> {
        let found = self.compiling.shapes.columns(&self.endpoint.node.name, self.stream);
        let Some(columns) = found else {
            self.options.refuse(
                Some("columns"),
                "needs to know the columns",
                "`columns: {name: type}`, or compile with --connect",
            );
            return None;
        };
        ddl(&columns, self.options)
    }

    fn jdbc(&self, database: &Database, program: &mut Program) -> Option<Chain> {
        if !self.compiling.bounded() {
            self.options.refuse(None, "reads tables once, and the pipeline has no end", "`mode: batch`");
        }
        driver(database, program);
        let mut chain = Chain::new("spark.read.format(\"jdbc\")");
        login(self.compiling, database, &mut chain);
        match (&database.query, self.stream.map(ToString::to_string).or_else(|| database.tables.first().cloned())) {
            (Some(query), _) => chain.option("query", &self.text(query)),
            (None, Some(table)) => chain.option("dbtable", &string(&database.quoted(&table))),
            (None, None) => {
                self.options.refuse(None, "needs a table or a query", "`table: NAME`");
                return None;
            }
        };
        if database.family == Family::Postgres {
            // A timestamp without a zone stays one.
            chain.option("preferTimestampNTZ", "\"true\"");
        }
        chain.call("load()");
        Some(chain)
    }

    fn kafka(&self, kafka: &Kafka, program: &mut Program) -> Option<Chain> {
        program.package(KAFKA);
        let mut chain = Chain::new(format!("{}.format(\"kafka\")", self.reader()));
        chain.option("kafka.bootstrap.servers", &self.text(&kafka.servers));
        for (name, value) in &kafka.client {
            chain.option(&format!("kafka.{name}"), &self.text(value));
        }
        match (&kafka.pattern, self.stream) {
            (Some(pattern), None) => chain.option("subscribePattern", &string(pattern)),
            (_, Some(stream)) => chain.option("subscribe", &string(stream)),
            (None, None) => chain.option("subscribe", &string(&kafka.topics.join(","))),
        };
        match &kafka.start {
            StartAt::Earliest => chain.option("startingOffsets", "\"earliest\""),
            StartAt::Latest if !self.compiling.bounded() => chain.option("startingOffsets", "\"latest\""),
            StartAt::Timestamp(ms) => chain.option("startingTimestamp", &string(&ms.to_string())),
            StartAt::Offsets(offsets) => {
                let mut topics: std::collections::BTreeMap<String, serde_json::Map<String, serde_json::Value>> =
                    std::collections::BTreeMap::new();
                for (topic, partition, offset) in offsets {
                    let topic = if topic.is_empty() { kafka.topics.first().cloned().unwrap_or_default() } else { topic.clone() };
                    // Spark takes no offsets of topics that this reader does not subscribe to.
                    if self.stream.is_some_and(|stream| stream != topic) {
                        continue;
                    }
                    topics.entry(topic).or_default().insert(partition.to_string(), serde_json::json!(offset));
                }
                chain.option("startingOffsets", &string(&serde_json::json!(topics).to_string()))
            }
            StartAt::Latest | StartAt::Group => {
                self.options.refuse(
                    Some("start_mode"),
                    "begins at offsets and times, not where a group is; a batch not at the end",
                    "`earliest`, `timestamp`, `specific_offsets`",
                );
                return None;
            }
        };
        if self.compiling.bounded() {
            chain.option("endingOffsets", "\"latest\"");
        }
        chain.option("kafka.isolation.level", "\"read_committed\"").option("failOnDataLoss", "\"true\"");
        if let Some(group) = &kafka.group {
            chain.option("kafka.group.id", &string(group));
        }
        chain.call("load()");
        match kafka.format {
            ValueFormat::Json => {
                let ddl = self.ddl()?;
                chain.call(format!(
                    "select(F.from_json(F.col(\"value\").cast(\"string\"), {}, {{\"mode\": \"FAILFAST\"}}).alias(\"record\"))",
                    string(&ddl)
                ));
                chain.call("select(\"record.*\")");
            }
            ValueFormat::Text => {
                chain.call("select(F.col(\"value\").cast(\"string\").alias(\"value\"))");
            }
            ValueFormat::Raw => {
                chain.call("select(\"value\")");
            }
            other => {
                self.options.refuse(
                    Some("format"),
                    format!("is compiled without `{}` from topics", other.word()),
                    "json, text, raw; or Flink, or the native engine",
                );
                return None;
            }
        }
        Some(chain)
    }

    fn files(&self, files: &Files, program: &mut Program) -> Option<Chain> {
        let mut chain = Chain::new(self.reader());
        let known = self.compiling.shapes.columns(&self.endpoint.node.name, self.stream);
        let format = match files.format {
            FileFormat::Csv | FileFormat::Tsv => {
                chain.call("format(\"csv\")").call(format!("schema({})", string(&self.ddl()?)));
                let delimiter =
                    files.delimiter.clone().unwrap_or_else(|| if files.format == FileFormat::Tsv { "\t" } else { "," }.into());
                chain.option("sep", &string(&delimiter));
                match files.header {
                    Some(header) => {
                        chain.option("header", &string(&header.to_string()));
                    }
                    None => self.options.refuse(
                        Some("csv"),
                        "looks into no file for a header",
                        "`csv: {header: present}` or `absent`",
                    ),
                }
                match files.quote.as_deref() {
                    Some("") => {
                        chain.option("quote", "\"\"");
                    }
                    quote => {
                        if let Some(quote) = quote {
                            chain.option("quote", &string(quote));
                        }
                        // A line end within quotes belongs to the value.
                        chain.option("multiLine", "\"true\"");
                    }
                }
                // A doubled quote is a quote, a header in another order is an error.
                chain.option("escape", "\"\\\"\"").option("enforceSchema", "\"false\"").option("mode", "\"FAILFAST\"");
                None
            }
            FileFormat::Ndjson | FileFormat::Json => {
                chain.call("format(\"json\")").call(format!("schema({})", string(&self.ddl()?)));
                if files.format == FileFormat::Json {
                    chain.option("multiLine", "\"true\"");
                }
                chain.option("mode", "\"FAILFAST\"");
                None
            }
            FileFormat::Parquet => Some("parquet"),
            FileFormat::Orc => Some("orc"),
            FileFormat::Avro => {
                program.package(AVRO);
                Some("avro")
            }
            FileFormat::Debezium => {
                self.options.refuse(Some("format"), "reads no envelopes", "the native engine");
                return None;
            }
        };
        if let Some(format) = format {
            chain.call(format!("format({})", string(format)));
            match &known {
                Some(columns) => {
                    chain.call(format!("schema({})", string(&ddl(columns, self.options)?)));
                }
                None if !self.compiling.bounded() => {
                    self.ddl()?;
                }
                None => {}
            }
        }
        if let Some(bucket) = &files.bucket {
            session(self.compiling, bucket, program);
        } else {
            self.compiling.note(format!("`{}`: the path must be there on every machine of the engine", self.endpoint.node.name));
        }
        chain.call(format!("load({})", self.text(&files.uri("s3a"))));
        Some(chain)
    }

    fn iceberg(&self, other: &Other, program: &mut Program) -> Option<Chain> {
        let catalog = catalog(self.compiling, other, program);
        let Some(table) = other.get("table") else {
            self.options.refuse(Some("query"), "reads whole tables of Iceberg", "`table`, with a `sql` behind it");
            return None;
        };
        let full = format!("{catalog}.{}", table.braces());
        let mut chain = Chain::new(self.reader());
        chain.call(format!("table({})", string(&full)));
        Some(chain)
    }
}

/// Beside Spark's own jars: for 4.1, the newest that a release of Iceberg fits.
const KAFKA: &str = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0";
const AVRO: &str = "org.apache.spark:spark-avro_2.13:4.1.0";
const S3: &str = "org.apache.hadoop:hadoop-aws:3.4.2";
const ICEBERG: &str = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0";
const POSTGRES: &str = "org.postgresql:postgresql:42.7.13";
const MYSQL: &str = "com.mysql:mysql-connector-j:9.3.0";

/// The package that writes topics.
pub(super) fn needs_kafka(program: &mut Program) {
    program.package(KAFKA);
}

pub(super) fn needs_avro(program: &mut Program) {
    program.package(AVRO);
}

pub(super) fn driver(database: &Database, program: &mut Program) {
    program.package(if database.family == Family::Postgres { POSTGRES } else { MYSQL });
}

/// Address and login of a database.
pub(super) fn login(compiling: &Compiling<'_>, database: &Database, chain: &mut Chain) {
    chain.option("url", &expression(compiling, &database.jdbc_url())).option("driver", &string(database.driver()));
    chain.option("user", &expression(compiling, &database.user));
    if let Some(password) = &database.password {
        chain.option("password", &expression(compiling, password));
    }
}

/// A bucket is a setting of the session, of that bucket only.
pub(super) fn session(compiling: &Compiling<'_>, bucket: &Bucket, program: &mut Program) {
    program.package(S3);
    let base = match bucket.name.as_plain() {
        Some(name) => format!("spark.hadoop.fs.s3a.bucket.{name}"),
        None => "spark.hadoop.fs.s3a".to_string(),
    };
    let mut set = |name: &str, value: String| program.config(&format!("{base}.{name}"), &value);
    if let Some(endpoint) = &bucket.endpoint {
        set("endpoint", expression(compiling, endpoint));
    }
    if let Some(region) = &bucket.region {
        set("endpoint.region", expression(compiling, region));
    }
    if let Some((key, secret)) = &bucket.login {
        set("access.key", expression(compiling, key));
        set("secret.key", expression(compiling, secret));
    } else if bucket.anonymous {
        set("aws.credentials.provider", string("org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"));
    }
    if bucket.path_style {
        set("path.style.access", string("true"));
    }
}

/// The catalogue of an Iceberg connection: its name.
pub(super) fn catalog(compiling: &Compiling<'_>, other: &Other, program: &mut Program) -> String {
    program.package(ICEBERG);
    let name = other.get("catalog").map_or_else(|| "lake".into(), Text::braces);
    let base = format!("spark.sql.catalog.{name}");
    program.config("spark.sql.extensions", &string("org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"));
    program.config(&base, &string("org.apache.iceberg.spark.SparkCatalog"));
    let kind = other.get("catalog_type").cloned().unwrap_or_else(|| "rest".into());
    program.config(&format!("{base}.type"), &expression(compiling, &kind));
    for option in ["uri", "warehouse", "credential", "token"] {
        if let Some(value) = other.get(option) {
            program.config(&format!("{base}.{option}"), &expression(compiling, value));
        }
    }
    name
}

/// Columns as `CREATE TABLE` has them.
fn ddl(columns: &SchemaRef, options: &Options<'_>) -> Option<String> {
    let mut each = Vec::new();
    for field in columns.fields() {
        match types::spark(field.data_type()) {
            Ok(word) => each.push(format!("`{}` {word}", field.name().replace('`', "``"))),
            Err(why) => {
                options.refuse(
                    Some("columns"),
                    format!("column `{}`: {why}", field.name()),
                    "another type, or the native engine",
                );
                return None;
            }
        }
    }
    Some(each.join(", "))
}
