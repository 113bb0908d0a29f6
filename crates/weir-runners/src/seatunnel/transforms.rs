//! Transforms. SeaTunnel's `Sql` sees one row at a time.

use serde_json::Value;
use weir_spec::model::{Input, Node};

use super::Parts;
use super::conf::{Conf, Plugin};
use super::sources::old;
use crate::compile::lanes::Lane;
use crate::compile::views::{Lowering, routes, transform_name, view_name};
use crate::compile::{Compiling, Dialect};

/// The plugins of a transform in a lane.
pub(super) fn plugins(compiling: &Compiling<'_>, lane: &Lane, node: &Node, parts: &mut Parts) {
    let stream = lane.stream.as_deref();
    let inputs: Vec<String> = node.inputs.iter().map(|input| view_name(input, stream)).collect();
    if inputs.len() > 1 {
        compiling.refuse(node, Some("input"), "brings no rows of several inputs together", "Flink, Spark, or the native engine");
        return;
    }
    let output = view_name(&Input { node: node.name.clone(), port: None }, stream);
    let mut push = |mut plugin: Plugin, output: String| {
        plugin.inputs.clone_from(&inputs);
        plugin.output = Some(output);
        parts.transforms.push(plugin);
    };
    match transform_name(&node.kind) {
        "split" => {
            for (name, plugin) in split(compiling, node, &inputs) {
                push(plugin, view_name(&Input { node: node.name.clone(), port: Some(name) }, stream));
            }
        }
        "json_path" => {
            if let Some(plugin) = json_path(compiling, node) {
                push(plugin, output);
            }
        }
        "field_mapper" if plain_mapping(node) => {
            if let Some(plugin) = mapping(compiling, node, stream) {
                push(plugin, output);
            }
        }
        _ => {
            let lowering = Lowering { compiling, dialect: Dialect::SeaTunnel, stream };
            for view in lowering.views(node) {
                let mut plugin = Plugin::new("Sql");
                plugin.put("query", view.sql);
                push(plugin, view.name);
            }
        }
    }
}

/// Renames, drops and chooses, and nothing else.
fn plain_mapping(node: &Node) -> bool {
    ["cast", "constants"]
        .iter()
        .all(|option| node.options.get(*option).and_then(Value::as_object).is_none_or(serde_json::Map::is_empty))
}

fn mapping(compiling: &Compiling<'_>, node: &Node, stream: Option<&str>) -> Option<Plugin> {
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
    let (drop, select) = (list("drop"), list("select"));
    let rename = node.options.get("rename").and_then(Value::as_object).cloned().unwrap_or_default();
    let address = crate::compile::address_of(node.inputs.first()?);
    let Some(columns) = compiling.shapes.columns(&address, stream) else {
        if rename.is_empty() && select.is_empty() && !drop.is_empty() && !old(compiling) {
            let mut plugin = Plugin::new("Filter");
            plugin.put("exclude_fields", drop.as_slice());
            return Some(plugin);
        }
        compiling.refuse(
            node,
            None,
            "needs to know the columns for a field_mapper",
            "declare them at the source (`columns`), or compile with --connect",
        );
        return None;
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for field in columns.fields().iter().filter(|field| !drop.contains(field.name())) {
        let to = rename.get(field.name()).and_then(Value::as_str).unwrap_or(field.name());
        pairs.push((field.name().clone(), to.to_string()));
    }
    if !select.is_empty() {
        pairs = select.iter().filter_map(|name| pairs.iter().find(|(_, to)| to == name).cloned()).collect();
    }
    let mut mapper = Conf::map();
    for (from, to) in pairs {
        mapper.put(from, to);
    }
    let mut plugin = Plugin::new("FieldMapper");
    plugin.put("field_mapper", mapper);
    Some(plugin)
}

/// Routes by the values of one column: no row can take two of them, and none has to be told that it took none.
fn split(compiling: &Compiling<'_>, node: &Node, inputs: &[String]) -> Vec<(String, Plugin)> {
    let by = node.options.get("by").and_then(Value::as_str).is_some();
    let drops = node.options.get("unmatched").and_then(Value::as_str) == Some("drop");
    let routes = routes(node).unwrap_or_default();
    if !by || !drops || routes.iter().any(|(_, predicate)| predicate.is_none()) {
        let way = "`by` with `values` and `unmatched: drop`; or Flink, Spark, or the native engine";
        compiling.refuse(node, None, "has no split by predicates, of which the first that is true counts", way);
        return Vec::new();
    }
    let lowering = Lowering { compiling, dialect: Dialect::SeaTunnel, stream: None };
    let from = inputs.first().map(String::as_str).unwrap_or_default();
    let each = routes.into_iter().filter_map(|(name, predicate)| {
        let sql = lowering.translated(node, "by", &predicate?)?;
        let mut plugin = Plugin::new("Sql");
        plugin.put("query", format!("SELECT * FROM {from} WHERE {sql}"));
        Some((name, plugin))
    });
    each.collect()
}

fn json_path(compiling: &Compiling<'_>, node: &Node) -> Option<Plugin> {
    if old(compiling) {
        compiling.refuse(node, None, "has no JsonPath in this release", "`seatunnel:2.3.9`");
        return None;
    }
    if !node.options.get("keep").and_then(Value::as_bool).unwrap_or(true) {
        compiling.refuse(node, Some("keep"), "keeps the column", "`keep: true` and a `field_mapper` that drops it");
    }
    if node.options.get("on_missing").and_then(Value::as_str).is_some_and(|word| word != "null") {
        compiling.refuse(node, Some("on_missing"), "gives NULL for a path that leads nowhere", "`on_missing: null`");
    }
    let mut columns = Vec::new();
    for taken in node.options.get("columns")?.as_array()? {
        let text = |name: &str| taken.get(name).and_then(Value::as_str);
        let mut column = Conf::map();
        column.put("src_field", node.options.get("column")?.as_str()?);
        column.put("path", text("path")?);
        column.put("dest_field", text("as")?);
        if let Some(word) = text("type").filter(|word| !matches!(*word, "text" | "string")) {
            let word = weir_plan::TypeWord::parse(word).ok()?;
            match crate::compile::types::seatunnel(&word.data_type) {
                Ok(word) => column.put("dest_type", word),
                Err(why) => compiling.refuse(node, Some("columns"), why, "another type"),
            }
        }
        columns.push(column);
    }
    let mut plugin = Plugin::new("JsonPath");
    plugin.put("columns", Conf::List(columns));
    Some(plugin)
}
