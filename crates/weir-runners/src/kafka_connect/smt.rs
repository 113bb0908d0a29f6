//! Transforms as Kafka Connect has them: one message at a time, no expressions.

use serde_json::Value;
use weir_spec::model::Node;

use super::Config;
use crate::compile::Compiling;
use crate::compile::views::{alternatives, transform_name};

/// Adds the transforms between source and sink, behind those that are there.
pub(super) fn chain(compiling: &Compiling<'_>, nodes: &[&Node], config: &mut Config) {
    let mut names: Vec<String> = config
        .0
        .get("transforms")
        .and_then(Value::as_str)
        .map(|list| list.split(',').map(Into::into).collect())
        .unwrap_or_default();
    if !nodes.is_empty() && config.0.get("transforms").is_some() && !names.iter().any(|name| name == "unwrap") {
        compiling.refuse(
            nodes[0],
            None,
            "changes rows, and with `write_mode: append` messages are envelopes",
            "`write_mode: upsert`",
        );
    }
    for node in nodes {
        match transform_name(&node.kind) {
            "field_mapper" => field_mapper(compiling, node, &mut names, config),
            "filter" => compiling.refuse(
                node,
                None,
                "has no filter by values without a script engine",
                "Flink, Spark, SeaTunnel, or the native engine",
            ),
            other => {
                compiling.refuse(node, None, format!("has no `{other}`: it changes one message at a time"), alternatives(other))
            }
        }
    }
    if !names.is_empty() {
        config.put("transforms", names.join(","));
    }
}

fn field_mapper(compiling: &Compiling<'_>, node: &Node, names: &mut Vec<String>, config: &mut Config) {
    let map = |option: &str| -> Vec<(String, Value)> {
        node.options
            .get(option)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let list = |option: &str| -> Vec<String> {
        node.options
            .get(option)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect()
    };
    let before = names.iter().position(|name| name == "route").unwrap_or(names.len());
    let mut steps = Vec::new();
    let (rename, drop, select) = (map("rename"), list("drop"), list("select"));
    let comma = |name: &String| name.contains([',', ':']);
    if rename.iter().any(|(from, to)| comma(from) || to.as_str().is_some_and(|to| to.contains([',', ':'])))
        || drop.iter().any(comma)
    {
        compiling.refuse(node, None, "takes lists of names without commas and colons", "other names");
        return;
    }
    if !rename.is_empty() || !drop.is_empty() {
        let step = node.name.clone();
        config.put(format!("transforms.{step}.type"), "org.apache.kafka.connect.transforms.ReplaceField$Value");
        if !drop.is_empty() {
            config.put(format!("transforms.{step}.exclude"), drop.join(","));
        }
        if !rename.is_empty() {
            let pairs: Vec<String> = rename.iter().filter_map(|(from, to)| Some(format!("{from}:{}", to.as_str()?))).collect();
            config.put(format!("transforms.{step}.renames"), pairs.join(","));
        }
        steps.push(step);
    }
    cast(compiling, node, &map("cast"), &rename, &mut steps, config);
    for (place, (name, value)) in map("constants").into_iter().enumerate() {
        let Some(text) = value.as_str() else {
            compiling.refuse(node, Some("constants"), "inserts constants that are text", "text in quotes");
            continue;
        };
        let step = format!("{}_constant_{}", node.name, place + 1);
        config.put(format!("transforms.{step}.type"), "org.apache.kafka.connect.transforms.InsertField$Value");
        config.put(format!("transforms.{step}.static.field"), name);
        config.put(format!("transforms.{step}.static.value"), text);
        steps.push(step);
    }
    if !select.is_empty() {
        let step = format!("{}_select", node.name);
        config.put(format!("transforms.{step}.type"), "org.apache.kafka.connect.transforms.ReplaceField$Value");
        config.put(format!("transforms.{step}.include"), select.join(","));
        compiling.note(format!("`{}.select`: the order of fields stays that of the messages", node.name));
        steps.push(step);
    }
    std::mem::drop(names.splice(before..before, steps));
}

fn cast(
    compiling: &Compiling<'_>,
    node: &Node,
    casts: &[(String, Value)],
    rename: &[(String, Value)],
    steps: &mut Vec<String>,
    config: &mut Config,
) {
    if casts.is_empty() {
        return;
    }
    let mut spec = Vec::new();
    for (name, word) in casts {
        let theirs = match word.as_str().unwrap_or_default() {
            "text" | "string" => "string",
            "bool" | "boolean" => "boolean",
            word @ ("int8" | "int16" | "int32" | "int64" | "float32" | "float64") => word,
            "double" => "float64",
            other => {
                compiling.refuse(
                    node,
                    Some("cast"),
                    format!("casts to no {other}"),
                    "text, bool, int8 to int64, float32, float64",
                );
                continue;
            }
        };
        // Behind the renaming.
        let name = rename.iter().find(|(from, _)| from == name).and_then(|(_, to)| to.as_str()).unwrap_or(name);
        spec.push(format!("{name}:{theirs}"));
    }
    compiling.note(format!("`{}.cast`: a value that does not fit stops the connector; a number may be rounded or wrap around, natively it is an error", node.name));
    let step = format!("{}_cast", node.name);
    config.put(format!("transforms.{step}.type"), "org.apache.kafka.connect.transforms.Cast$Value");
    config.put(format!("transforms.{step}.spec"), spec.join(","));
    steps.push(step);
}
