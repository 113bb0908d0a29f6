//! Apache Spark 4: a PySpark program, in batch or as Structured Streaming.
//!
//! Variables are read from the environment of the driver. The session is in UTC and in ANSI mode, where a value that does not fit is
//! an error.
//! Streams keep their checkpoints below `WEIR_CHECKPOINTS`.

pub mod client;
mod python;
mod read;
mod write;

use weir_spec::model::{Mode, Role};

use crate::artefact;
use crate::capability::{Abilities, Can};
use crate::compile::lanes::lanes;
use crate::compile::systems::EventTime;
use crate::compile::views::{Lowering, transform_name};
use crate::compile::{Compiling, Dialect, Output};
use python::{Program, string};

/// Writes the program.
pub fn compile(compiling: &Compiling<'_>) -> Output {
    let mut output = Output::new();
    let pipeline = compiling.pipeline();
    if pipeline.mode == Mode::Cdc {
        compiling.refuse_at("mode", "reads no logs of changes", "SeaTunnel, Flink, Kafka Connect, or the native engine");
        return output;
    }
    let mut program = Program::new(&pipeline.name);
    if let Some(parallelism) = pipeline.parallelism {
        program.config("spark.default.parallelism", &string(&parallelism.to_string()));
        program.config("spark.sql.shuffle.partitions", &string(&parallelism.to_string()));
    }
    let streaming = !compiling.bounded();
    for lane in lanes(compiling) {
        let stream = lane.stream.as_deref();
        for node in pipeline.of(Role::Source) {
            read::source(compiling, stream, node, &mut program, &mut output);
        }
        let lowering = Lowering { compiling, dialect: Dialect::Spark, stream };
        for node in pipeline.of(Role::Transform) {
            let time = (transform_name(&node.kind) == "watermark").then(|| EventTime::of(&node.options)).flatten();
            for view in lowering.views(node) {
                program.view(&view.name, &view.sql, time.as_ref().filter(|_| streaming));
            }
        }
        for node in pipeline.of(Role::Sink) {
            write::sink(compiling, &lane, node, &mut program, &mut output);
        }
    }
    if streaming {
        program.line("spark.streams.awaitAnyTermination()");
    } else {
        program.line("spark.stop()");
    }
    // Python looks for modules beside its program first: a `copy.py` would be taken for its own `copy`.
    output.file(format!("weir_{}.py", pipeline.name), artefact::Role::Job, program.text());
    if !program.packages().is_empty() {
        let packages = program.packages();
        output.file(format!("{}.args", pipeline.name), artefact::Role::Arguments, format!("--packages\n{}", packages.join(",")));
    }
    output
}

/// What Spark can do.
pub fn abilities() -> Abilities {
    Abilities {
        engine: "spark",
        modes: &[Mode::Batch, Mode::Streaming],
        sources: &[
            ("postgres", Can::Partly("JDBC: tables and queries, in batch")),
            ("mysql", Can::Partly("JDBC: tables and queries, in batch")),
            ("kafka", Can::Partly("json, text, raw")),
            ("file", Can::Partly("columns of csv and json must be known")),
            ("s3", Can::Partly("columns of csv and json must be known")),
            ("iceberg", Can::Yes("catalog")),
        ],
        sinks: &[
            ("postgres", Can::Partly("append")),
            ("mysql", Can::Partly("append")),
            ("kafka", Can::Partly("json; at least once")),
            ("file", Can::Partly("append")),
            ("s3", Can::Partly("append")),
            ("iceberg", Can::Partly("append; upsert in batch")),
            ("discard", Can::Yes("noop")),
        ],
        transforms: &[
            ("sql", Can::Partly("functions that mean the same")),
            ("filter", Can::Yes("WHERE")),
            ("field_mapper", Can::Partly("columns must be known; casts that widen, or from text")),
            ("cast", Can::Partly("columns must be known; casts that widen, or from text")),
            ("split", Can::Partly("with a default, or `unmatched: drop`")),
            ("dedupe", Can::Partly("in batch")),
            ("join", Can::Partly("inner, left, right, full; columns must be known")),
            ("aggregate", Can::Partly("count, sum, min, max; SQL")),
            ("window", Can::Partly("tumble, hop, session")),
            ("watermark", Can::Yes("withWatermark")),
            ("json_path", Can::Partly("paths to one value")),
        ],
    }
}
