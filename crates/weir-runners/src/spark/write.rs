//! Sinks.

use weir_connect::WriteMode;
use weir_spec::Delivery;
use weir_spec::model::{Input, Node};

use super::python::{Chain, Program, expression, name, string};
use super::read::{catalog, driver, login, needs_avro, needs_kafka, session};
use crate::compile::lanes::{Lane, filled, stream_of};
use crate::compile::systems::{Database, Endpoint, FileFormat, Files, Kafka, Other, System, ValueFormat};
use crate::compile::views::view_name;
use crate::compile::{Compiling, Options, Output, Text, address_of};

/// Writes what feeds a sink.
pub(super) fn sink(compiling: &Compiling<'_>, lane: &Lane, node: &Node, program: &mut Program, output: &mut Output) {
    let (endpoint, options) = Endpoint::read(compiling, node);
    let stream = stream_of(compiling, lane, &endpoint);
    for input in &node.inputs {
        let frame = view_name(input, lane.stream.as_deref());
        let mut writing =
            Writing { compiling, lane, endpoint: &endpoint, options: &options, stream: &stream, input, frame: &frame, output };
        match &endpoint.system {
            System::Database(database) => writing.jdbc(database, program),
            System::Kafka(kafka) => writing.kafka(kafka, program),
            System::Files(files) => writing.files(files, program),
            System::Other(other) if other.kind == "iceberg" => writing.iceberg(other, program),
            System::Discard => {
                writing.output.promise(Delivery::AtLeastOnce, format!("`{}`: rows are thrown away", node.name));
                writing.write("noop", Vec::new(), None, program);
            }
            _ => options.refuse(None, "has no sink for this system", "Flink, SeaTunnel, or the native engine"),
        }
    }
    options.finish();
}

struct Writing<'w, 'c> {
    compiling: &'w Compiling<'c>,
    lane: &'w Lane,
    endpoint: &'w Endpoint<'c>,
    options: &'w Options<'w>,
    stream: &'w str,
    input: &'w Input,
    frame: &'w str,
    output: &'w mut Output,
}

impl Writing<'_, '_> {
    fn name(&self, written: &str) -> String {
        filled(self.compiling, self.endpoint, written, self.stream)
    }

    fn text(&self, text: &Text) -> String {
        expression(self.compiling, text)
    }

    fn append_only(&self, way: &str) {
        if self.endpoint.write_mode != WriteMode::Append {
            let why = format!("has no `{}` here that a failed run leaves undone", self.endpoint.write_mode.as_str());
            self.options.refuse(Some("write_mode"), why, way);
        }
    }

    /// The options that a stream needs: where its positions are kept, how often it writes.
    fn pace(&self, chain: &mut Chain) {
        let mut place = self
            .compiling
            .variable("WEIR_CHECKPOINTS", None, false)
            .then("/")
            .then(&self.compiling.pipeline().name)
            .then("/")
            .then(&self.endpoint.node.name);
        if let Some(stream) = &self.lane.stream {
            place = place.then("/").then(crate::compile::identifier(stream));
        }
        chain.option("checkpointLocation", &self.text(&place));
        let interval = self.compiling.pipeline().checkpoint_interval_ms.unwrap_or(1_000);
        chain.call(format!("trigger(processingTime={})", string(&format!("{interval} milliseconds"))));
    }

    /// Writes a frame with a format of Spark's.
    fn write(&self, format: &str, calls: Vec<String>, path: Option<&Text>, program: &mut Program) {
        let batch = self.compiling.bounded();
        let mut chain = Chain::new(format!("{}.{}", name(self.frame), if batch { "write" } else { "writeStream" }));
        chain.call(format!("format({})", string(format)));
        for call in calls {
            chain.call(call);
        }
        let path = path.map(|path| self.text(path));
        if batch {
            chain.call("mode(\"append\")");
            chain.call(format!("save({})", path.unwrap_or_default()));
        } else {
            if let Some(path) = &path {
                chain.option("path", path);
            }
            self.pace(&mut chain);
            chain.call("outputMode(\"append\")").call("start()");
        }
        program.line(chain.text());
    }

    fn jdbc(&mut self, database: &Database, program: &mut Program) {
        self.append_only("`append`, Iceberg, Flink or SeaTunnel, or the native engine");
        driver(database, program);
        let table = self.name(database.tables.first().map_or("{stream}", String::as_str));
        let table = table.strip_prefix("public.").filter(|rest| rest.contains('.')).map(ToString::to_string).unwrap_or(table);
        if !database.never_creates {
            self.compiling
                .note(format!("`{}`: where there is no table, Spark makes one with its own types", self.endpoint.node.name));
        }
        let mut chain =
            Chain::new(if self.compiling.bounded() { format!("{}.write", name(self.frame)) } else { "batch.write".into() });
        chain.call("format(\"jdbc\")");
        login(self.compiling, database, &mut chain);
        chain.option("dbtable", &string(&database.quoted(&table))).call("mode(\"append\")").call("save()");
        if self.compiling.bounded() {
            program.line(chain.text());
        } else {
            let function = format!("write_{}", name(&self.endpoint.node.name));
            let indented = chain.text().replace('\n', "\n    ");
            program.line(format!("def {function}(batch, number):\n    {indented}"));
            let mut stream = Chain::new(format!("{}.writeStream.foreachBatch({function})", name(self.frame)));
            self.pace(&mut stream);
            stream.call("start()");
            program.line(stream.text());
        }
        self.output
            .promise(Delivery::AtLeastOnce, format!("`{}`: rows may be written again after a fault", self.endpoint.node.name));
    }

    fn kafka(&mut self, kafka: &Kafka, program: &mut Program) {
        self.append_only("`append`, with a `key`");
        needs_kafka(program);
        if kafka.format != ValueFormat::Json {
            self.options.refuse(Some("format"), format!("is compiled without `{}` into topics", kafka.format.word()), "`json`");
        }
        let value = "F.to_json(F.struct(\"*\"), {\"ignoreNullFields\": \"false\"}).alias(\"value\")";
        let columns = match self.endpoint.key.as_slice() {
            [] => value.to_string(),
            [one] if kafka.key_format.as_deref() != Some("json") => {
                format!("F.col({}).cast(\"string\").alias(\"key\"), {value}", string(one))
            }
            many => {
                let names: Vec<String> = many.iter().map(|name| string(name)).collect();
                format!("F.to_json(F.struct({})).alias(\"key\"), {value}", names.join(", "))
            }
        };
        let records = format!("{}_records", name(self.frame));
        program.line(format!("{records} = {}.select({columns})", name(self.frame)));
        let topic = self.name(kafka.topics.first().map_or("{stream}", String::as_str));
        let mut calls = vec![format!("option(\"kafka.bootstrap.servers\", {})", self.text(&kafka.servers))];
        calls.extend(
            kafka
                .client
                .iter()
                .map(|(name, value)| format!("option({}, {})", string(&format!("kafka.{name}")), self.text(value))),
        );
        if let Some(compression) = &kafka.compression {
            calls.push(format!("option(\"kafka.compression.type\", {})", string(compression)));
        }
        calls.push(format!("option(\"topic\", {})", string(&topic)));
        let Self { compiling, lane, endpoint, options, stream, input, .. } = *self;
        Writing { compiling, lane, endpoint, options, stream, input, frame: &records, output: &mut *self.output }
            .write("kafka", calls, None, program);
        let why = format!("`{}`: Spark writes topics without transactions", self.endpoint.node.name);
        self.output.promise(Delivery::AtLeastOnce, why);
    }

    fn files(&mut self, files: &Files, program: &mut Program) {
        self.append_only("`append`, Iceberg, or the native engine");
        if files.is_one_file() {
            self.options.refuse(Some("path"), "writes a folder of files, not one file", "a path without an ending, and `format`");
        }
        let mut calls = Vec::new();
        let columns = self.compiling.shapes.columns(&address_of(self.input), self.lane.stream.as_deref());
        for part in &files.partition_by {
            let derived = part.contains('(') || (columns.is_none() && ["year", "month", "day", "hour"].contains(&part.as_str()));
            if derived || columns.as_ref().is_some_and(|columns| columns.field_with_name(part).is_err()) {
                self.options.refuse(
                    Some("partition_by"),
                    format!("makes folders of columns, and `{part}` is none"),
                    "a column made by a `sql` before, or the native engine",
                );
            }
        }
        if !files.partition_by.is_empty() {
            let names: Vec<String> = files.partition_by.iter().map(|name| string(name)).collect();
            calls.push(format!("partitionBy({})", names.join(", ")));
        }
        let format = match files.format {
            FileFormat::Csv | FileFormat::Tsv => {
                let delimiter =
                    files.delimiter.clone().unwrap_or_else(|| if files.format == FileFormat::Tsv { "\t" } else { "," }.into());
                calls.push(format!("option(\"sep\", {})", string(&delimiter)));
                calls.push(format!("option(\"header\", {})", string(&files.header.unwrap_or(true).to_string())));
                calls.push("option(\"escape\", \"\\\"\")".into());
                "csv"
            }
            FileFormat::Ndjson => {
                calls.push("option(\"ignoreNullFields\", \"false\")".into());
                "json"
            }
            FileFormat::Parquet => "parquet",
            FileFormat::Orc => "orc",
            FileFormat::Avro => {
                needs_avro(program);
                "avro"
            }
            FileFormat::Json | FileFormat::Debezium => {
                self.options.refuse(
                    Some("format"),
                    format!("writes no files of `{}`", files.format.word()),
                    "ndjson, csv, parquet, avro, orc",
                );
                return;
            }
        };
        let default =
            if matches!(files.format, FileFormat::Parquet | FileFormat::Avro | FileFormat::Orc) { "zstd" } else { "none" };
        let compression = files.compression.clone().unwrap_or_else(|| default.into());
        let word = if files.format == FileFormat::Avro && compression == "zstd" { "zstandard".to_string() } else { compression };
        if word != "none" || files.format != FileFormat::Avro {
            calls.push(format!("option(\"compression\", {})", string(&word)));
        }
        if let Some(bucket) = &files.bucket {
            session(self.compiling, bucket, program);
        } else {
            self.compiling.note(format!("`{}`: the path must be there on every machine of the engine", self.endpoint.node.name));
        }
        let path = Text::of_braces(&self.name(&files.uri("s3a").braces()));
        self.write(format, calls, Some(&path), program);
        let node = &self.endpoint.node.name;
        match self.compiling.bounded() {
            true => self.output.promise(Delivery::AtLeastOnce, format!("`{node}`: a run that is repeated appends again")),
            false => self.output.promise(
                Delivery::ExactlyOnce,
                format!("`{node}`: Spark keeps a log of the files that count; readers must use it"),
            ),
        }
    }

    fn iceberg(&mut self, other: &Other, program: &mut Program) {
        let catalog = catalog(self.compiling, other, program);
        let table = string(&format!("{catalog}.{}", self.name(&other.stream())));
        let frame = name(self.frame);
        let node = self.endpoint.node.name.clone();
        let create = format!(
            "if not spark.catalog.tableExists({table}):\n    {frame}.limit(0).writeTo({table}).using(\"iceberg\").create()"
        );
        match (self.endpoint.write_mode, self.compiling.bounded()) {
            (WriteMode::Append, true) => {
                program.line(format!("{create}\n{frame}.writeTo({table}).append()"));
                self.output.promise(
                    Delivery::AtLeastOnce,
                    format!("`{node}`: a snapshot per run; a run that is repeated appends again"),
                );
            }
            (WriteMode::Append, false) => {
                let mut chain = Chain::new(format!("{frame}.writeStream.format(\"iceberg\").outputMode(\"append\")"));
                self.pace(&mut chain);
                chain.call(format!("toTable({table})"));
                program.line(chain.text());
                self.output.promise(Delivery::ExactlyOnce, format!("`{node}`: a snapshot per batch, with its number"));
            }
            (WriteMode::Upsert, true) if !self.endpoint.key.is_empty() => {
                let quoted = |name: &String| format!("`{}`", name.replace('`', "``"));
                let on: Vec<String> = self.endpoint.key.iter().map(|name| format!("t.{0} <=> s.{0}", quoted(name))).collect();
                let merge = format!(
                    "MERGE INTO {catalog}.{} t USING `{}` s ON {} WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
                    self.name(&other.stream()),
                    self.frame,
                    on.join(" AND ")
                );
                program.line(format!("{create}\nspark.sql({})", string(&merge)));
                self.output.promise(Delivery::EffectivelyOnce, format!("`{node}`: repeated rows replace themselves"));
            }
            (WriteMode::Upsert, true) => self.options.refuse(Some("key"), "needs the key of the rows", "`key: [..]` at the sink"),
            (other, _) => {
                let why = format!("has no `{}` here that a failed run leaves undone", other.as_str());
                self.options.refuse(Some("write_mode"), why, "`append`; `upsert` in batch; Flink, or the native engine");
            }
        }
    }
}
