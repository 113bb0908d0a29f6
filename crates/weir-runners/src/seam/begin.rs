//! A pipeline that begins at a [`State`] on another engine: its sources get the options that say so, in our own words, and each compiler writes
//! them in its engine's. Kafka Connect takes no place in a connector's configuration: its connectors are made stopped, and the offsets are a
//! file beside each, for `PATCH /connectors/NAME/offsets` before `PUT /connectors/NAME/resume` (KIP-875, KIP-980).

use serde_json::{Map, Value, json};
use weir_connect::cursor::{CursorState, lower_bound};
use weir_connect::{Registry, StreamInfo};
use weir_error::{Error, Kind, Result};
use weir_spec::model::{Input, Mode, Node, Pipeline, Role};
use weir_spec::{Engine, units};

use super::{At, State, cannot};
use crate::artefact::{self, Artefacts, File};
use crate::registry::Target;

/// The engine of a target.
pub fn engine_of(target: Target) -> Engine {
    Engine::parse(target.engine().name).unwrap_or_default()
}

/// The pipeline as it begins at `state` on that engine. `streams` are those that its sources told, by node.
///
/// # Errors
/// The state says nothing of a source, or the engine cannot begin there without leaving rows out.
pub fn begin(
    pipeline: &Pipeline,
    registry: &Registry,
    streams: &std::collections::BTreeMap<String, Vec<StreamInfo>>,
    state: &State,
    target: Target,
) -> Result<Pipeline> {
    let engine = engine_of(target);
    let topics_only = state.sources.iter().all(|source| matches!(source.at, At::KafkaOffsets { .. }));
    if target == Target::FlinkJson && !topics_only {
        let why = "the configuration of `flink-json` has words for places of topics only";
        return Err(cannot(
            engine,
            pipeline.of(Role::Source).next().map_or("", |node| node.name.as_str()),
            why,
            "--target flink-sql",
        ));
    }
    if state.pipeline != pipeline.name {
        return Err(Error::new("WEIR-SEAM-005", Kind::Spec, format!("the state is of pipeline `{}`", state.pipeline))
            .because(format!("and the file holds `{}`", pipeline.name))
            .hint("export the state of this pipeline; or change `pipeline` in the document, if it was renamed"));
    }
    let mut begun = pipeline.clone();
    let sources: Vec<Node> = pipeline.of(Role::Source).cloned().collect();
    for source in &sources {
        let connector = registry.get(&source.kind).map_or(source.kind.as_str(), |known| known.descriptor().name);
        let places: Vec<&At> = state.places(&source.name).collect();
        let Some(first) = places.first() else {
            let what = format!("the state says nothing of source `{}`", source.name);
            return Err(Error::new("WEIR-SEAM-006", Kind::Spec, what).hint("it would begin anew and give its rows a second time"));
        };
        match (first, connector) {
            (At::KafkaOffsets { .. }, "kafka") => kafka(&mut begun, source, &places, engine)?,
            (At::PostgresLog { slot, .. }, "postgres-cdc") => {
                if engine == Engine::Seatunnel {
                    return Err(cannot(
                        engine,
                        &source.name,
                        "its PostgreSQL connector begins with a snapshot or at the end of the log, and would leave out what lies between",
                        "flink or kafka-connect (both by Debezium, from the slot)",
                    ));
                }
                set(&mut begun, &source.name, &[("slot", json!(slot)), ("snapshot", json!("never"))]);
            }
            (At::MysqlLog { file, position, .. }, "mysql-cdc") => {
                set(&mut begun, &source.name, &[("snapshot", json!("never"))]);
                if engine == Engine::Seatunnel {
                    set(&mut begun, &source.name, &[("start", json!({"file": file, "position": position}))]);
                }
            }
            (At::Cursor { .. }, _) => cursor(&mut begun, source, first, streams.get(&source.name).map_or(&[], Vec::as_slice))?,
            (_, other) => {
                return Err(cannot(
                    engine,
                    &source.name,
                    &format!("the state names a place that `{other}` does not have"),
                    "export it again: was the source changed since?",
                ));
            }
        }
    }
    if begun.mode == Mode::Incremental {
        // What is behind the place is read once; the next time begins with another state.
        begun.mode = Mode::Batch;
    }
    Ok(begun)
}

fn set(pipeline: &mut Pipeline, node: &str, options: &[(&str, Value)]) {
    let found = pipeline.nodes.iter_mut().find(|known| known.name == node).and_then(|node| node.options.as_object_mut());
    if let Some(map) = found {
        for (name, value) in options {
            map.insert((*name).to_owned(), value.clone());
        }
    }
}

fn kafka(pipeline: &mut Pipeline, source: &Node, places: &[&At], engine: Engine) -> Result<()> {
    if engine == Engine::KafkaConnect {
        // Beside the connector: see `attach`.
        return Ok(());
    }
    let mut starts = Map::new();
    for at in places {
        let At::KafkaOffsets { topic, offsets, .. } = at else {
            return Err(cannot(engine, &source.name, "the state names a topic and something else", "export it again"));
        };
        starts.extend(offsets.iter().map(|(partition, offset)| (format!("{topic}-{partition}"), json!(offset))));
    }
    let options = [("start_mode", json!("specific_offsets")), ("start_offsets", Value::Object(starts))];
    set(pipeline, &source.name, &options);
    Ok(())
}

/// A filter right behind the source: only what the native run has not had, and what it may have had at the last value.
fn cursor(pipeline: &mut Pipeline, source: &Node, at: &At, streams: &[StreamInfo]) -> Result<()> {
    let At::Cursor { column, value, boundary, .. } = at else { return Ok(()) };
    let unknown = |why: &str| {
        Error::new("WEIR-SEAM-007", Kind::Spec, format!("the type of cursor `{column}` of source `{}` is not known", source.name))
            .because(why.to_owned())
            .hint("compile with --connect, so that the source is asked")
    };
    let [stream] = streams else {
        return Err(unknown("one stream of the source must be known"));
    };
    let kind = stream.schema.field_with_name(column).map_err(|_| unknown("its stream has no such column"))?.data_type();
    let lag = lag(source)?;
    let state = match boundary {
        Some(state) => state.clone(),
        None => CursorState::at(value, kind)?,
    };
    let lowest = lower_bound(&state, lag, kind).ok_or_else(|| unknown("its last value has no bound"))?;
    let name = (0..).map(|n| if n == 0 { "from_cursor".to_owned() } else { format!("from_cursor_{n}") });
    let name = name.take(1 + pipeline.nodes.len()).find(|name| pipeline.node(name).is_none()).unwrap_or_default();
    for node in pipeline.nodes.iter_mut() {
        for input in node.inputs.iter_mut().filter(|input| input.node == source.name) {
            input.node.clone_from(&name);
        }
    }
    let at = pipeline.nodes.iter().position(|node| node.name == source.name).map_or(0, |at| at + 1);
    let filter = format!("\"{}\" >= {}", column.replace('"', "\"\""), literal(&lowest, kind));
    pipeline.nodes.insert(
        at,
        Node {
            name,
            role: Role::Transform,
            kind: "filter".into(),
            inputs: vec![Input { node: source.name.clone(), port: None }],
            options: json!({"where": filter}),
        },
    );
    if let Some(options) = pipeline.nodes[at - 1].options.as_object_mut() {
        options.retain(|name, _| !matches!(name.as_str(), "cursor" | "lag"));
    }
    Ok(())
}

fn literal(text: &str, kind: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    let quoted = format!("'{}'", text.replace('\'', "''"));
    // As every engine reads it; their sessions are in UTC.
    let moment = format!("'{}'", text.trim_end_matches('Z').replacen('T', " ", 1));
    match kind {
        kind if kind.is_integer() || matches!(kind, DataType::Decimal128(..)) => text.to_owned(),
        DataType::Date32 | DataType::Date64 => format!("CAST({quoted} AS DATE)"),
        DataType::Timestamp(_, None) => format!("CAST({moment} AS TIMESTAMP)"),
        DataType::Timestamp(_, Some(_)) => format!("CAST({moment} AS TIMESTAMPTZ)"),
        _ => quoted,
    }
}

/// The `lag` of a source: microseconds, or the cursor's own unit.
fn lag(source: &Node) -> Result<i64> {
    let wrong = || Error::new("WEIR-SEAM-008", Kind::Spec, format!("`lag` of source `{}` is no duration or number", source.name));
    match source.options.get("lag") {
        None | Some(Value::Null) => Ok(0),
        Some(Value::String(text)) => {
            let ms = units::duration_ms(text).ok_or_else(wrong)?;
            i64::try_from(ms).ok().and_then(|ms| ms.checked_mul(1000)).ok_or_else(wrong)
        }
        Some(number) => number.as_i64().ok_or_else(wrong),
    }
}

/// Puts beside each connector of an artefact the offsets that it begins at, and makes it stopped so that they can be set.
pub fn attach(made: &mut Artefacts, pipeline: &Pipeline, state: &State) {
    let mut beside = Vec::new();
    for file in &mut made.files {
        let Ok(mut connector) = serde_json::from_str::<Value>(&file.text) else { continue };
        let (Some(name), true) = (connector["name"].as_str().map(str::to_owned), connector["config"].is_object()) else {
            continue;
        };
        let Some(offsets) = connector_offsets(&mut connector, &name, pipeline, state) else { continue };
        connector["initial_state"] = json!("STOPPED");
        file.text = format!("{connector:#}\n");
        let text = format!("{offsets:#}\n");
        beside.push((name.clone(), File { name: format!("{name}.offsets.json"), role: artefact::Role::Offsets, text }));
    }
    for (name, file) in beside {
        made.notes.push(format!(
            "`{name}` is made stopped: `PATCH /connectors/{name}/offsets` with {}, then `PUT /connectors/{name}/resume`",
            file.name
        ));
        made.files.push(file);
    }
}

/// The body of `PATCH /connectors/NAME/offsets`.
fn connector_offsets(connector: &mut Value, name: &str, pipeline: &Pipeline, state: &State) -> Option<Value> {
    let class = connector["config"]["connector.class"].as_str().unwrap_or_default().to_owned();
    let places = || state.sources.iter().map(|source| &source.at);
    if class.contains("MySqlConnector") || class.contains("MariaDbConnector") {
        let source = state.sources.iter().find(|source| name == format!("{}-{}", pipeline.name, source.node))?;
        let At::MysqlLog { file, position, gtids } = &source.at else { return None };
        let mut offset = json!({"file": file, "pos": position});
        if let Some(gtids) = gtids {
            offset["gtids"] = json!(gtids);
        }
        // The history of tables is empty yet: it is read from the server, and no rows with it.
        connector["config"]["snapshot.mode"] = json!("recovery");
        let server = connector["config"]["topic.prefix"].clone();
        return Some(json!({"offsets": [{"partition": {"server": server}, "offset": offset}]}));
    }
    // A connector of Debezium for PostgreSQL begins where its slot is.
    let reads = connector["config"].get("topics").or_else(|| connector["config"].get("topics.regex"))?;
    let topics: Vec<&str> = reads.as_str().unwrap_or_default().split(',').collect();
    let mut offsets = Vec::new();
    for at in places() {
        let At::KafkaOffsets { topic, offsets: of_topic, .. } = at else { continue };
        if connector["config"].get("topics").is_some() && !topics.contains(&topic.as_str()) {
            continue;
        }
        offsets.extend(of_topic.iter().map(|(partition, offset)| {
            json!({"partition": {"kafka_topic": topic, "kafka_partition": partition}, "offset": {"kafka_offset": offset}})
        }));
    }
    (!offsets.is_empty()).then(|| json!({"offsets": offsets}))
}

/// The places in the words of an engine, by source node: its start options, or what Kafka Connect's offsets are set to.
///
/// # Errors
/// The engine cannot begin there without leaving rows out.
pub fn options(pipeline: &Pipeline, state: &State, engine: Engine) -> Result<Value> {
    let mut out = Map::new();
    for source in &state.sources {
        let words = match (&source.at, engine) {
            (At::KafkaOffsets { topic, offsets, .. }, Engine::KafkaConnect) => {
                let sinks = pipeline.of(Role::Sink).map(|sink| format!("{}-{}", pipeline.name, sink.name));
                let offsets: Vec<Value> = offsets
                    .iter()
                    .map(|(partition, offset)| {
                        json!({"partition": {"kafka_topic": topic, "kafka_partition": partition}, "offset": {"kafka_offset": offset}})
                    })
                    .collect();
                let body = json!({"offsets": offsets});
                Value::Object(sinks.map(|name| (format!("PATCH /connectors/{name}/offsets"), body.clone())).collect())
            }
            (At::KafkaOffsets { offsets, .. }, Engine::Flink) => {
                let each: Vec<String> =
                    offsets.iter().map(|(partition, offset)| format!("partition:{partition},offset:{offset}")).collect();
                json!({"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": each.join(";")})
            }
            (At::KafkaOffsets { topic, offsets, .. }, Engine::Seatunnel) => {
                let each: Map<String, Value> =
                    offsets.iter().map(|(partition, offset)| (format!("{topic}-{partition}"), json!(offset))).collect();
                json!({"start_mode": "specific_offsets", "start_mode.offsets": each})
            }
            (At::KafkaOffsets { topic, offsets, .. }, Engine::Spark) => {
                let each: Map<String, Value> =
                    offsets.iter().map(|(partition, offset)| (partition.to_string(), json!(offset))).collect();
                json!({"startingOffsets": json!({topic: each}).to_string()})
            }
            (At::PostgresLog { slot, .. }, Engine::Flink | Engine::KafkaConnect) => {
                json!({"slot.name": slot, "snapshot.mode": "no_data"})
            }
            (At::MysqlLog { file, position, .. }, Engine::Seatunnel) => json!({
                "startup.mode": "specific", "startup.specific-offset.file": file, "startup.specific-offset.pos": position,
            }),
            (At::MysqlLog { file, position, gtids }, Engine::Flink | Engine::KafkaConnect) => {
                let mut offset = json!({"file": file, "pos": position});
                if let Some(gtids) = gtids {
                    offset["gtids"] = json!(gtids);
                }
                let name = format!("{}-{}", pipeline.name, source.node);
                let server = crate::compile::identifier(&pipeline.name);
                json!({"snapshot.mode": "recovery", format!("PATCH /connectors/{name}/offsets"):
                    {"offsets": [{"partition": {"server": server}, "offset": offset}]}})
            }
            (At::Cursor { column, value, .. }, Engine::Seatunnel | Engine::Flink | Engine::Spark) => {
                json!({"filter": {"column": column, "at_least": value}})
            }
            (_, Engine::Native) => Value::Null,
            (at, engine) => {
                let why = match at {
                    At::PostgresLog { .. } => {
                        "it would begin with a snapshot, or at the end of the log and leave out what lies between"
                    }
                    At::Cursor { .. } => "it reads topics and logs, not tables",
                    _ => "it reads no logs of databases",
                };
                return Err(cannot(engine, &source.node, why, "another engine; or the native one"));
            }
        };
        if !words.is_null() {
            out.insert(format!("{}/{}", source.node, source.stream), words);
        }
    }
    Ok(Value::Object(out))
}
