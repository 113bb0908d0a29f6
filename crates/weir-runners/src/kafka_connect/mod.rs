//! Kafka Connect: Debezium's connectors for logs of changes, sink connectors for topics.
//!
//! A pipeline from a log to topics is one connector; one from topics to a sink is one connector per sink; one from a log to another
//! system is
//! both, with topics named after the pipeline between them. Each is a file as `POST /connectors` takes it, `{"name": …, "config": {…}}`.
//! Variables are written for the worker's `EnvVarConfigProvider` (`config.providers=env`): `${env:NAME}`.

pub mod client;
mod debezium;
mod sinks;
mod smt;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use weir_spec::model::{Delivery, Mode, Node, Role};

use crate::artefact;
use crate::capability::{Abilities, Can};
use crate::compile::systems::{Endpoint, Family, System};
use crate::compile::{Compiling, Output, Text};

/// A connector's configuration, in the order in which it is written.
#[derive(Debug, Default)]
pub(crate) struct Config(Map<String, Value>);

impl Config {
    pub(crate) fn put(&mut self, key: impl Into<String>, value: impl Into<Text>) {
        let value = value.into().show(|name| format!("${{env:{name}}}"));
        self.0.insert(key.into(), Value::String(value));
    }

    /// A number or truth value, which Connect takes as text too.
    pub(crate) fn set(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.into(), Value::String(value.to_string()));
    }

    fn into_file(self, name: &str) -> String {
        let whole = json!({"name": name, "config": self.0});
        format!("{whole:#}\n")
    }
}

/// Writes the connectors.
pub fn compile(compiling: &Compiling<'_>) -> Output {
    let mut output = Output::new();
    let pipeline = compiling.pipeline();
    let nodes: Vec<&Node> = pipeline.nodes.iter().collect();
    let (sources, sinks): (Vec<_>, Vec<_>) =
        nodes.into_iter().filter(|node| node.role != Role::Transform).partition(|node| node.role == Role::Source);
    if pipeline.mode == Mode::Batch {
        compiling.refuse_at("mode", "runs without end and has no batches", "`mode: cdc` or `streaming`; or another engine");
    }
    for node in sources {
        let (source, options) = Endpoint::read(compiling, node);
        let fed: Vec<&Node> =
            sinks.iter().copied().filter(|sink| upstream(compiling, sink).is_some_and(|at| at.name == node.name)).collect();
        match &source.system {
            System::Log(_) | System::DocumentLog(_) => log(compiling, &source, &fed, &mut output),
            System::Kafka(kafka) => {
                for sink in fed {
                    sinks::from_topics(compiling, kafka, sink, &mut output);
                }
            }
            _ => options.refuse(
                None,
                "has no source for this system",
                "`postgres-cdc`, `mysql-cdc`, `mongodb-cdc` or `kafka`; or another engine",
            ),
        }
        options.finish();
    }
    output
}

/// The source that feeds a node through transforms with one input each. What else there is between them is told.
fn upstream<'a>(compiling: &Compiling<'a>, node: &'a Node) -> Option<&'a Node> {
    let mut at = node;
    while at.role != Role::Source {
        let [input] = at.inputs.as_slice() else {
            compiling.refuse(at, Some("input"), "has connectors with one input", "one pipeline per input, or another engine");
            return None;
        };
        at = compiling.pipeline().node(&input.node)?;
    }
    Some(at)
}

/// The transforms between a source and a sink, in order.
pub(crate) fn between<'a>(compiling: &Compiling<'a>, sink: &'a Node) -> Vec<&'a Node> {
    let mut found = Vec::new();
    let mut at = sink;
    while let Some(above) =
        at.inputs.first().and_then(|input| compiling.pipeline().node(&input.node)).filter(|node| node.role == Role::Transform)
    {
        found.push(above);
        at = above;
    }
    found.reverse();
    found
}

/// A log: one connector that writes topics, and one for each sink that is no topic.
fn log(compiling: &Compiling<'_>, source: &Endpoint<'_>, fed: &[&Node], output: &mut Output) {
    let name = &compiling.pipeline().name;
    let mut config = debezium::config(compiling, source);
    let mut topics_to = None;
    let mut others = Vec::new();
    for sink in fed {
        let (sink, options) = Endpoint::read(compiling, sink);
        if !matches!(sink.system, System::Kafka(_)) {
            others.push((sink, options));
        } else if topics_to.is_some() {
            options.refuse(None, "writes the topics of a log once", "one pipeline per topic");
        } else {
            topics_to = Some((sink, options));
        }
    }
    match &topics_to {
        Some((sink, options)) => {
            debezium::into_topics(compiling, sink, &mut config);
            smt::chain(compiling, &between(compiling, sink.node), &mut config);
            options.finish();
            if !others.is_empty() {
                compiling.refuse(
                    sink.node,
                    None,
                    "would write one topic for this sink and for the others",
                    "one pipeline per sink",
                );
            }
        }
        None => debezium::with_schemas(&mut config),
    }
    if compiling.pipeline().delivery == Some(Delivery::ExactlyOnce) {
        config.set("exactly.once.support", "required");
        output
            .promise(Delivery::ExactlyOnce, "Debezium writes in transactions (workers with exactly.once.source.support=enabled)");
    } else {
        output.promise(
            Delivery::AtLeastOnce,
            "after a fault Debezium sends changes again, unless `delivery: exactly_once` is demanded",
        );
    }
    output.file(
        format!("{name}-{}.json", source.node.name),
        artefact::Role::Job,
        config.into_file(&format!("{name}-{}", source.node.name)),
    );
    for (sink, options) in others {
        sinks::from_log(compiling, &sink, output);
        options.finish();
    }
}

/// A log's connector for somebody who reads its envelopes as JSON: name of the file, content.
pub(crate) fn for_reader(compiling: &Compiling<'_>, source: &Endpoint<'_>) -> (String, String) {
    let mut config = debezium::config(compiling, source);
    debezium::without_schemas(&mut config);
    // Without a schema beside it a number in base64 could not be read.
    config.put("decimal.handling.mode", "string");
    let name = format!("{}-{}", compiling.pipeline().name, source.node.name);
    (format!("{name}.json"), config.into_file(&name))
}

/// The topic of a table.
pub(crate) fn topic_of(compiling: &Compiling<'_>, source: &Endpoint<'_>, stream: &str) -> String {
    let full = match &source.system {
        System::Log(log) if log.database.family == Family::Mysql && !stream.contains('.') => {
            format!("{}.{stream}", log.database.database.braces())
        }
        _ => stream.to_string(),
    };
    format!("{}.{full}", debezium::prefix(compiling))
}

/// What Connect can do.
pub fn abilities() -> Abilities {
    Abilities {
        engine: "kafka-connect",
        modes: &[Mode::Cdc, Mode::Streaming],
        sources: &[
            ("postgres-cdc", Can::Yes("Debezium")),
            ("mysql-cdc", Can::Yes("Debezium, for MySQL and MariaDB")),
            ("mongodb-cdc", Can::Yes("Debezium")),
            ("kafka", Can::Yes("topics")),
        ],
        sinks: &[
            ("kafka", Can::Partly("from a log")),
            ("postgres", Can::Partly("Debezium's JDBC sink; topics with schemas")),
            ("mysql", Can::Partly("Debezium's JDBC sink; topics with schemas")),
            ("s3", Can::Yes("Aiven's sink: csv, json, ndjson, parquet, avro")),
            ("file", Can::Partly("ndjson, as it is in the topic")),
        ],
        transforms: &[("field_mapper", Can::Partly("rename, drop, select, cast, constants that are text"))],
    }
}
