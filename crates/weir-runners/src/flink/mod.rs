//! Apache Flink: a script of Flink SQL, or the configuration of a streaming job runner.
//!
//! The script is for Flink 2.3: `SET`, `CREATE`, and one statement set with every `INSERT`. Statements end with `;` and an empty line
//! stands
//! between them, so whoever submits them one by one can tell them apart. Variables stand as `${NAME}`: Flink reads no environment,
//! whoever submits puts the
//! values in. What Flink has no source for is fed through Kafka by a companion (`bridge`).

mod bridge;
pub mod client;
mod job_json;
mod tables;

use weir_spec::Delivery;
use weir_spec::model::{Input, Mode, Node, Role};

use crate::artefact;
use crate::capability::{Abilities, Can};
use crate::compile::lanes::{Lane, lanes, stream_of};
use crate::compile::systems::{Endpoint, System};
use crate::compile::views::{Lowering, transform_name, view_name};
use crate::compile::{Compiling, Dialect, Output, Text};
use crate::registry::Target;
use tables::{Statements, literal};

/// Writes what the target asks for.
pub fn compile(compiling: &Compiling<'_>) -> Output {
    match compiling.target {
        Target::FlinkJson => job_json::compile(compiling),
        _ => script(compiling),
    }
}

/// The settings of the job, as `SET` and as `-D` say them.
fn settings(compiling: &Compiling<'_>) -> Vec<(String, String)> {
    let pipeline = compiling.pipeline();
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: String| all.push((key.into(), value));
    set("pipeline.name", pipeline.name.clone());
    set("execution.runtime-mode", if compiling.bounded() { "batch" } else { "streaming" }.into());
    // Our times without a zone are UTC wherever they meet instants.
    set("table.local-time-zone", "UTC".into());
    if let Some(parallelism) = pipeline.parallelism {
        set("parallelism.default", parallelism.to_string());
    }
    if !compiling.bounded() {
        set("execution.checkpointing.interval", pipeline.checkpoint_interval_ms.unwrap_or(10_000).to_string());
        set("execution.checkpointing.mode", "EXACTLY_ONCE".into());
        set("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION".into());
        set("state.backend.type", "rocksdb".into());
        if let Some(ttl) = pipeline.of(Role::Transform).filter_map(|node| node.options.get("ttl_ms")?.as_u64()).max() {
            set("table.exec.state.ttl", format!("{ttl} ms"));
        }
    }
    all
}

fn script(compiling: &Compiling<'_>) -> Output {
    let mut output = Output::new();
    let pipeline = compiling.pipeline();
    let mut statements = Statements::default();
    for (key, value) in settings(compiling) {
        statements.push(format!("SET {} = {}", literal(&key), literal(&value)));
    }
    let mut inserts = Vec::new();
    for lane in lanes(compiling) {
        for node in pipeline.of(Role::Source) {
            source(compiling, &lane, node, &mut statements, &mut output);
        }
        let lowering = Lowering { compiling, dialect: Dialect::Flink, stream: lane.stream.as_deref() };
        for node in pipeline.of(Role::Transform) {
            for view in lowering.views(node) {
                statements.push(format!("CREATE TEMPORARY VIEW {} AS\n{}", Dialect::Flink.name(&view.name), view.sql));
            }
        }
        for node in pipeline.of(Role::Sink) {
            inserts.extend(sink(compiling, &lane, node, &mut statements, &mut output));
        }
    }
    match inserts.as_slice() {
        [one] => statements.push(one.clone()),
        many => statements.push(format!("EXECUTE STATEMENT SET\nBEGIN\n{};\nEND", many.join(";\n"))),
    }
    let job = artefact::File { name: format!("{}.sql", pipeline.name), role: artefact::Role::Job, text: statements.text() };
    output.files.insert(0, job);
    let mut arguments: Vec<String> = settings(compiling).into_iter().map(|(key, value)| format!("-D{key}={value}")).collect();
    arguments.extend(statements.cluster.iter().map(|(key, value)| format!("-D{key}={}", value.braces())));
    output.file(format!("{}.args", pipeline.name), artefact::Role::Arguments, arguments.join("\n"));
    output
}

/// The table of a source, or the way by which its rows come.
fn source(compiling: &Compiling<'_>, lane: &Lane, node: &Node, statements: &mut Statements, output: &mut Output) {
    let (endpoint, options) = Endpoint::read(compiling, node);
    let name = view_name(&Input { node: node.name.clone(), port: None }, lane.stream.as_deref());
    let time = endpoint.event_time.clone().or_else(|| watermark_below(compiling, node));
    let table = tables::Table { compiling, endpoint: &endpoint, options: &options, name: &name, stream: lane.stream.as_deref() };
    match &endpoint.system {
        System::Kafka(_) | System::Database(_) | System::Files(_) | System::Other(_) => {
            table.source(time.as_ref(), statements);
        }
        System::Log(_) | System::DocumentLog(_) => bridge::log(&table, statements, output),
        System::Socket(_) | System::Pulsar(_) | System::RabbitMq(_) | System::Http(_) | System::Unknown => {
            bridge::companion(&table, time.as_ref(), statements, output);
        }
        System::Documents(_) | System::Discard => {
            options.refuse(None, "has no source for this system", "the native engine, or SeaTunnel")
        }
    }
    options.finish();
    if !compiling.bounded() {
        output.promise(Delivery::ExactlyOnce, "offsets and state are part of Flink's checkpoints");
    }
}

/// A `watermark` behind a source: Flink has it at the table.
fn watermark_below(compiling: &Compiling<'_>, source: &Node) -> Option<crate::compile::systems::EventTime> {
    let mut marks = compiling.pipeline().of(Role::Transform).filter(|node| transform_name(&node.kind) == "watermark");
    let mark = marks.find(|mark| {
        let mut at = *mark;
        loop {
            match at.inputs.as_slice() {
                [one] if one.node == source.name => return true,
                [one] => match compiling.pipeline().node(&one.node) {
                    Some(above) => at = above,
                    None => return false,
                },
                _ => return false,
            }
        }
    })?;
    let time = crate::compile::systems::EventTime::of(&mark.options)?;
    let known = compiling.shapes.columns(&source.name, None)?;
    if known.field_with_name(&time.column).is_err() {
        compiling.refuse(
            mark,
            Some("column"),
            format!("says event time where rows are read, and the source has no `{}`", time.column),
            "`event_time` at the source, of one of its columns",
        );
        return None;
    }
    Some(time)
}

/// The table of a sink, and the statements that fill it.
fn sink(compiling: &Compiling<'_>, lane: &Lane, node: &Node, statements: &mut Statements, output: &mut Output) -> Vec<String> {
    let (endpoint, options) = Endpoint::read(compiling, node);
    let stream = stream_of(compiling, lane, &endpoint);
    let mut inserts = Vec::new();
    for (place, input) in node.inputs.iter().enumerate() {
        let mut name = view_name(&Input { node: node.name.clone(), port: None }, lane.stream.as_deref());
        if place > 0 {
            name.push_str(&format!("__{}", place + 1));
        }
        let table =
            tables::Table { compiling, endpoint: &endpoint, options: &options, name: &name, stream: lane.stream.as_deref() };
        let Some(into) = table.sink(input, &stream, statements, output) else { continue };
        inserts.push(format!(
            "INSERT INTO {into}\nSELECT * FROM {}",
            Dialect::Flink.name(&view_name(input, lane.stream.as_deref()))
        ));
    }
    options.finish();
    inserts
}

/// What Flink has no source for.
const BRIDGED: Can = Can::Partly("fed through Kafka by a companion of Weir");

/// What Flink can do.
pub fn abilities() -> Abilities {
    Abilities {
        engine: "flink",
        modes: &[Mode::Batch, Mode::Cdc, Mode::Streaming],
        sources: &[
            ("kafka", Can::Yes("kafka")),
            ("postgres", Can::Partly("jdbc: tables, in batch")),
            ("mysql", Can::Partly("jdbc: tables, in batch")),
            ("file", Can::Partly("csv without a header, ndjson, parquet, avro, orc")),
            ("s3", Can::Partly("csv without a header, ndjson, parquet, avro, orc")),
            ("postgres-cdc", Can::Partly("through Kafka by Debezium; no timestamps without a zone")),
            ("mysql-cdc", Can::Partly("through Kafka by Debezium; no timestamps without a zone")),
            ("websocket", BRIDGED),
            ("webhook", BRIDGED),
            ("sse", BRIDGED),
            ("http", BRIDGED),
            ("pulsar", BRIDGED),
            ("rabbitmq", BRIDGED),
            ("mqtt", BRIDGED),
            ("nats", BRIDGED),
            ("redis", BRIDGED),
            ("iceberg", Can::Yes("catalog")),
        ],
        sinks: &[
            ("kafka", Can::Yes("kafka, upsert-kafka")),
            ("postgres", Can::Partly("append, upsert")),
            ("mysql", Can::Partly("append, upsert")),
            ("file", Can::Partly("append")),
            ("s3", Can::Partly("append")),
            ("iceberg", Can::Partly("append, upsert")),
            ("discard", Can::Yes("blackhole")),
        ],
        transforms: &[
            ("sql", Can::Partly("functions that mean the same")),
            ("filter", Can::Yes("WHERE")),
            ("field_mapper", Can::Partly("casts that widen, or from text")),
            ("cast", Can::Partly("casts that widen, or from text")),
            ("split", Can::Partly("with a default, or `unmatched: drop`")),
            ("dedupe", Can::Yes("ROW_NUMBER")),
            ("join", Can::Partly("inner, left, right, full")),
            ("aggregate", Can::Partly("count, sum, min, max; SQL")),
            ("window", Can::Yes("TUMBLE, HOP, CUMULATE, SESSION in streams")),
            ("watermark", Can::Yes("at the table")),
            ("json_path", Can::Partly("paths to one value")),
        ],
    }
}

/// A text of options with its variables.
fn shown(text: &Text) -> String {
    literal(&text.braces())
}
