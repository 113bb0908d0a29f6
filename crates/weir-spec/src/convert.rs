//! Any pipeline in the native form: what `weir spec convert` prints.

use serde_json::{Map, Value as Json, json};

use crate::graph;
use crate::model::{Engine, Input, JournalPolicy, Keep, Mode, Node, Pipeline, Role, Schedule};
use crate::units;
use crate::yaml;

/// The pipeline as native YAML, without comments, in the documented order of keys. It reads back as an equal pipeline.
/// Secrets that the author wrote as plain text are written too: a file that lost them would not run.
pub fn to_native_yaml(pipeline: &Pipeline) -> String {
    let mut out = String::new();
    yaml::map(&to_native(pipeline), 0, &mut out);
    out
}

/// The same as a JSON object.
fn to_native(pipeline: &Pipeline) -> Map<String, Json> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            out.insert(key.into(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Json::String);
    let words = |value: Json| value.as_str().map(Into::into);
    let filled = |map: Map<String, Json>| (!map.is_empty()).then_some(Json::Object(map));
    put("pipeline", Some(json!(pipeline.name)));
    put("description", text(&pipeline.description));
    put("tenant", text(&pipeline.tenant));
    put("labels", filled(pipeline.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect()));
    put("mode", (pipeline.mode != Mode::Batch).then(|| json!(pipeline.mode)));
    put("engine", pipeline.engine.map(|engine| json!(engine)));
    put("schedule", pipeline.schedule.as_ref().map(schedule));
    put("parallelism", pipeline.parallelism.map(|n| json!(n)));
    put("placement", pipeline.placement.and_then(|placement| words(json!(placement)).map(Json::String)));
    put("checkpoint_interval_ms", pipeline.checkpoint_interval_ms.map(|n| json!(n)));
    put("max_latency_ms", pipeline.max_latency_ms.map(|n| json!(n)));
    put("roll", pipeline.roll.as_ref().map(|roll| json!(roll)));
    put("credentials_ref", text(&pipeline.credentials_ref));
    match short_form(pipeline) {
        Some((source, transforms, sink)) => {
            put("source", Some(source));
            put("transforms", (!transforms.is_empty()).then_some(Json::Array(transforms)));
            put("sink", Some(sink));
        }
        None => {
            for (key, role) in [("sources", Role::Source), ("transforms", Role::Transform), ("sinks", Role::Sink)] {
                put(
                    key,
                    filled(pipeline.of(role).map(|item| (item.name.clone(), node(item, None, role != Role::Source))).collect()),
                );
            }
        }
    }
    put(
        "connections",
        filled(
            pipeline
                .connections
                .iter()
                .map(|(name, connection)| (name.clone(), json!({&connection.kind: connection.options})))
                .collect(),
        ),
    );
    let settings = |(engine, settings): (&Engine, &Map<String, Json>)| (engine.word().into(), Json::Object(settings.clone()));
    put("engine_configs", filled(pipeline.engine_configs.iter().map(settings).collect()));
    put("on_schema_change", text(&pipeline.on_schema_change));
    let all = pipeline.on_loss.get("*").filter(|_| pipeline.on_loss.len() == 1);
    put(
        "on_loss",
        all.map(|word| json!(word))
            .or_else(|| filled(pipeline.on_loss.iter().map(|(column, word)| (column.clone(), json!(word))).collect())),
    );
    put("delivery", pipeline.delivery.and_then(|delivery| words(json!(delivery)).map(Json::String)));
    let mut letters = Map::new();
    if pipeline.dead_letters.allow > 0 {
        letters.insert("allow".into(), json!(pipeline.dead_letters.allow));
    }
    if let Some(to) = &pipeline.dead_letters.to {
        letters.insert("to".into(), node(to, None, false));
    }
    put("dead_letters", filled(letters));
    put("journal", pipeline.journal.as_ref().map(journal));
    let alerts: Vec<Json> = pipeline
        .alerts
        .iter()
        .map(|alert| {
            let mut rule = Map::new();
            rule.insert("metric".into(), json!(alert.metric));
            rule.insert("above".into(), json!(alert.above));
            for (key, value) in [("window", &alert.window), ("severity", &alert.severity), ("action", &alert.action)] {
                if let Some(value) = value {
                    rule.insert(key.into(), json!(value));
                }
            }
            Json::Object(rule)
        })
        .collect();
    put("alerts", (!alerts.is_empty()).then_some(Json::Array(alerts)));
    out
}

fn journal(policy: &JournalPolicy) -> Json {
    let mut out = Map::new();
    for (key, value) in [("path", &policy.path), ("connection", &policy.connection)] {
        if let Some(value) = value {
            out.insert(key.into(), json!(value));
        }
    }
    out.insert("max_bytes".into(), json!(units::size_text(policy.max_bytes)));
    out.insert("when_full".into(), json!(policy.when_full));
    let keep = policy.keep.map(|keep| match keep {
        Keep::Ms(ms) => units::duration_text(ms),
        Keep::Bytes(bytes) => units::size_text(bytes),
    });
    if let Some(keep) = keep {
        out.insert("keep".into(), json!(keep));
    }
    Json::Object(out)
}

fn schedule(schedule: &Schedule) -> Json {
    let more = [("timezone", &schedule.timezone), ("overlap", &schedule.overlap), ("catch_up", &schedule.catch_up)];
    if more.iter().all(|(_, value)| value.is_none()) {
        return json!(schedule.cron);
    }
    let mut out = Map::new();
    out.insert("cron".into(), json!(schedule.cron));
    for (key, value) in more {
        if let Some(value) = value {
            out.insert(key.into(), json!(value));
        }
    }
    Json::Object(out)
}

/// One node as it stands in a file, with its name or its inputs where they do not follow from its place.
fn node(node: &Node, name: Option<&str>, inputs: bool) -> Json {
    let mut out = Map::new();
    if let Some(name) = name {
        out.insert("name".into(), json!(name));
    }
    if inputs && !node.inputs.is_empty() {
        let mut all: Vec<Json> = node.inputs.iter().map(|input| json!(written(input))).collect();
        out.insert("input".into(), if all.len() == 1 { all.remove(0) } else { Json::Array(all) });
    }
    out.insert(node.kind.clone(), node.options.clone());
    Json::Object(out)
}

fn written(input: &Input) -> String {
    match &input.port {
        Some(port) => format!("{}.{port}", input.node),
        None => input.node.clone(),
    }
}

/// Source, transforms and sink, if the pipeline is one line.
fn short_form(pipeline: &Pipeline) -> Option<(Json, Vec<Json>, Json)> {
    let nodes = &pipeline.nodes;
    let last = nodes.len().checked_sub(1)?;
    for (at, item) in nodes.iter().enumerate() {
        let role = match at {
            0 => Role::Source,
            at if at == last => Role::Sink,
            _ => Role::Transform,
        };
        let fed = match item.inputs.as_slice() {
            [] => at == 0,
            [input] => at > 0 && input.port.is_none() && input.node == nodes[at - 1].name,
            _ => false,
        };
        if item.role != role || !fed {
            return None;
        }
    }
    // A name given to one node takes it from another: go on until nothing changes.
    let kinds: Vec<(Role, &str)> = nodes.iter().map(|item| (item.role, item.kind.as_str())).collect();
    let mut given: Vec<Option<&str>> = vec![None; nodes.len()];
    loop {
        let names = graph::names(&given, &kinds);
        let wrong: Vec<usize> = (0..nodes.len()).filter(|at| names[*at] != nodes[*at].name).collect();
        if wrong.is_empty() {
            break;
        }
        for at in wrong {
            given[at] = Some(&nodes[at].name);
        }
    }
    let mut all: Vec<Json> = nodes.iter().zip(given).map(|(item, name)| node(item, name, false)).collect();
    let sink = all.pop()?;
    let source = if all.is_empty() { return None } else { all.remove(0) };
    Some((source, all, sink))
}
