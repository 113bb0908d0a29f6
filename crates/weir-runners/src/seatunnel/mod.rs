//! Apache SeaTunnel: its configuration as HOCON (command line) or JSON (REST), for 2.3.4 and for 2.3.9 and newer.
//!
//! Names of options are those of the connectors' own option rules; a copy of the rules is in `tests/rules`, and every key that is written
//! is held against it. Variables stand as `${NAME}`: in HOCON they are read from the environment of whoever submits, in JSON whoever
//! submits puts
//! the values in.

pub mod client;
mod conf;
mod sinks;
mod sources;
mod transforms;

use weir_spec::model::{Mode, Role};

use crate::artefact;
use crate::capability::{Abilities, Can};
use crate::compile::lanes::lanes;
use crate::compile::{Compiling, Output};
use crate::registry::{Format, Release, Target};
use conf::{Conf, Plugin};

/// What a compilation collects: plugins in order.
#[derive(Default)]
struct Parts {
    sources: Vec<Plugin>,
    transforms: Vec<Plugin>,
    sinks: Vec<Plugin>,
}

/// Which release is written for.
fn release(compiling: &Compiling<'_>) -> Release {
    match compiling.target {
        Target::SeaTunnel(release) => release,
        _ => Release::V2_3_9,
    }
}

/// Writes the configuration.
pub fn compile(compiling: &Compiling<'_>) -> Output {
    let mut output = Output::new();
    let mut parts = Parts::default();
    let pipeline = compiling.pipeline();
    for lane in lanes(compiling) {
        for node in pipeline.of(Role::Source) {
            sources::plugin(compiling, &lane, node, &mut parts, &mut output);
        }
        for node in pipeline.of(Role::Transform) {
            transforms::plugins(compiling, &lane, node, &mut parts);
        }
        for node in pipeline.of(Role::Sink) {
            sinks::plugins(compiling, &lane, node, &mut parts, &mut output);
        }
    }
    let streaming = !compiling.bounded();
    let mut env = Conf::map();
    env.put("job.name", pipeline.name.as_str());
    env.put("job.mode", if streaming { "STREAMING" } else { "BATCH" });
    env.put("parallelism", u64::try_from(pipeline.parallelism.unwrap_or(1)).unwrap_or(1));
    match pipeline.checkpoint_interval_ms {
        Some(interval) => env.put("checkpoint.interval", interval),
        None if streaming => env.put("checkpoint.interval", 10_000u64),
        None => {}
    }
    let release = release(compiling);
    let (name, text) = match compiling.job.format {
        Format::Hocon => {
            (format!("{}.conf", pipeline.name), conf::hocon(&env, &parts.sources, &parts.transforms, &parts.sinks, release))
        }
        Format::Json => {
            (format!("{}.json", pipeline.name), conf::json(&env, &parts.sources, &parts.transforms, &parts.sinks, release))
        }
    };
    output.file(name, artefact::Role::Job, text);
    output
}

/// What SeaTunnel can do.
pub fn abilities() -> Abilities {
    Abilities {
        engine: "seatunnel",
        modes: &[Mode::Batch, Mode::Cdc, Mode::Streaming],
        sources: &[
            ("postgres", Can::Yes("Jdbc")),
            ("mysql", Can::Yes("Jdbc")),
            ("postgres-cdc", Can::Yes("Postgres-CDC")),
            ("mysql-cdc", Can::Yes("MySQL-CDC")),
            ("mongodb", Can::Partly("columns must be known")),
            ("mongodb-cdc", Can::Yes("MongoDB-CDC")),
            ("kafka", Can::Partly("2.3.9 and newer: json, text; columns must be known")),
            ("pulsar", Can::Partly("json; columns must be known")),
            ("rabbitmq", Can::Partly("json; columns must be known")),
            ("file", Can::Partly("csv, tsv, ndjson, parquet, orc")),
            ("s3", Can::Partly("csv, tsv, ndjson, parquet, orc")),
            ("http", Can::Partly("one endpoint, no pages")),
            ("clickhouse", Can::Yes("Clickhouse")),
            ("elasticsearch", Can::Partly("columns must be known")),
            ("cassandra", Can::Yes("Cassandra")),
            ("iceberg", Can::Yes("Iceberg")),
        ],
        sinks: &[
            ("postgres", Can::Partly("append, upsert")),
            ("mysql", Can::Partly("append, upsert")),
            ("mongodb", Can::Partly("append, upsert; columns must be known")),
            ("kafka", Can::Partly("json; of changes as envelopes")),
            ("pulsar", Can::Partly("json")),
            ("rabbitmq", Can::Yes("RabbitMQ")),
            ("file", Can::Partly("append; csv, tsv, ndjson, parquet, orc")),
            ("s3", Can::Partly("append; csv, tsv, ndjson, parquet, orc")),
            ("http", Can::Partly("a request a row")),
            ("clickhouse", Can::Partly("append, upsert")),
            ("elasticsearch", Can::Partly("append, upsert")),
            ("cassandra", Can::Yes("Cassandra")),
            ("iceberg", Can::Partly("append, upsert")),
            ("discard", Can::Yes("Console, silent")),
        ],
        transforms: &[
            ("sql", Can::Partly("row by row: no join, no aggregate")),
            ("filter", Can::Yes("Sql")),
            ("field_mapper", Can::Partly("columns must be known")),
            ("cast", Can::Partly("columns must be known; widening, or from text")),
            ("split", Can::Partly("by the values of a column, `unmatched: drop`")),
            ("json_path", Can::Partly("2.3.9 and newer")),
        ],
    }
}
