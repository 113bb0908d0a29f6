//! What the options of a node mean for the plan: connection and own part, write mode, key, cursor, lag, allowed losses.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_connect::stream::LossChoice;
use weir_connect::{Connector, DeleteMode, OnLoss, Registry, SchemaChangePolicy, WriteMode};
use weir_error::{Error, Kind, Result};
use weir_spec::model::{Mode, Node, Pipeline, Role};

use crate::changes::MetadataColumn;
use crate::problem::{Problem, code, nearest};

/// Options of the plan itself: a connector that does not list them in its schema does not get them.
const GENERIC: [&str; 7] = ["write_mode", "key", "cursor", "lag", "event_time", "delete_mode", "metadata_columns"];

/// Turns references in option values into what they stand for.
pub trait ResolveReferences: Send + Sync {
    /// Replaces `${ENV:-default}`, `{{name}}` and, where the option is a secret, `vault://` and `file://` in every string of
    /// `options`. `${last_run_time}` and `${cursor}` are left as they are: they are bound at run time. All missing references
    /// are in one error.
    fn resolve(&self, options: &Value, credentials_ref: Option<&str>) -> Result<Value>;
}

/// Leaves everything as it is; for offline checks.
pub struct Unresolved;

impl ResolveReferences for Unresolved {
    fn resolve(&self, options: &Value, _: Option<&str>) -> Result<Value> {
        Ok(options.clone())
    }
}

/// A node's options, divided.
#[derive(Debug, Clone)]
pub struct Divided {
    /// What the connection takes.
    pub connection: Value,
    /// What the source or sink takes.
    pub own: Value,
}

/// Divides a node's options by the connector's schemas; a named connection comes from the pipeline. A property that both
/// schemas know goes to both. Options that neither knows stay with the node, so that parsing them complains; only those
/// that belong to the plan itself (`write_mode`, `key`, `cursor`, `lag`, `event_time`) are left out then.
pub fn divide(pipeline: &Pipeline, node: &Node, connector: &dyn Connector) -> Result<Divided> {
    split(pipeline, node, connector).map_err(|problem| {
        let error = Error::new(problem.code, Kind::Spec, problem.message);
        match (problem.help, problem.expected) {
            (Some(help), _) => error.hint(help),
            (None, Some(expected)) => error.hint(expected),
            (None, None) => error,
        }
    })
}

/// Finds the connector of a node.
pub(crate) fn connector(registry: &Registry, node: &Node) -> Result<Arc<dyn Connector>, Problem> {
    let Some(connector) = registry.get(&node.kind) else {
        return Err(unknown_connector(registry, &node.kind));
    };
    Ok(connector)
}

pub(crate) fn unknown_connector(registry: &Registry, kind: &str) -> Problem {
    let mut names: Vec<&str> = registry.iter().map(|connector| connector.descriptor().name).collect();
    names.sort_unstable();
    Problem::new(code::UNKNOWN, format!("there is no connector `{kind}` in this build"))
        .nearest(kind, registry.names())
        .expected(format!("connectors: {}", names.join(", ")))
        .help("weir connectors")
}

pub(crate) fn split(pipeline: &Pipeline, node: &Node, connector: &dyn Connector) -> Result<Divided, Problem> {
    let descriptor = connector.descriptor();
    let (schema, role) = match node.role {
        Role::Sink => (descriptor.sink.as_ref(), "sink"),
        _ => (descriptor.source.as_ref(), "source"),
    };
    let Some(schema) = schema else {
        return Err(Problem::new(code::ROLE, format!("connector `{}` is no {role}", descriptor.name)));
    };
    let mut connection = Map::new();
    let mut own = Map::new();
    let options = match &node.options {
        Value::Object(options) => options.clone(),
        Value::Null => Map::new(),
        _ => return Err(Problem::new(code::OPTIONS, "the options are a map")),
    };
    for (name, value) in options {
        match (name.as_str(), value) {
            ("connection", Value::String(declared)) => {
                for (name, value) in declared_connection(pipeline, &declared, connector)? {
                    connection.entry(name).or_insert(value);
                }
            }
            ("connection", Value::Object(inline)) => connection.extend(inline),
            ("connection", _) => return Err(Problem::new(code::CONNECTION, "`connection` is a name").option("connection")),
            (_, value) => {
                let in_connection = has_property(&descriptor.connection, &name);
                if has_property(schema, &name) || (!in_connection && !GENERIC.contains(&name.as_str())) {
                    own.insert(name.clone(), value.clone());
                }
                if in_connection {
                    connection.insert(name, value);
                }
            }
        }
    }
    Ok(Divided { connection: Value::Object(connection), own: Value::Object(own) })
}

fn declared_connection(pipeline: &Pipeline, name: &str, connector: &dyn Connector) -> Result<Map<String, Value>, Problem> {
    let descriptor = connector.descriptor();
    let Some(connection) = pipeline.connections.get(name) else {
        let known: Vec<&str> = pipeline.connections.keys().map(String::as_str).collect();
        let problem = Problem::new(code::CONNECTION, format!("there is no connection `{name}`")).option("connection");
        return Err(if known.is_empty() {
            problem.help(format!("declare it: `connections: {{{name}: {{{}: {{…}}}}}}`", descriptor.name))
        } else {
            problem.nearest(name, known.iter().copied()).expected(format!("connections: {}", known.join(", ")))
        });
    };
    let kind = connection.kind.as_str();
    if kind != descriptor.name && !descriptor.aliases.contains(&kind) && !connector.connections_of().contains(&kind) {
        let message = format!("connection `{name}` is for `{}`, not for `{}`", connection.kind, descriptor.name);
        return Err(Problem::new(code::CONNECTION, message).option("connection"));
    }
    Ok(connection.options.as_object().cloned().unwrap_or_default())
}

fn has_property(schema: &Value, name: &str) -> bool {
    schema.get("properties").and_then(Value::as_object).is_some_and(|properties| properties.contains_key(name))
}

/// The sink's write mode: as written, else the default of its schema, else `append`. Changes are for rows with a key: `mode: cdc` writes
/// `upsert` unless it is written otherwise.
pub(crate) fn write_mode(mode: Mode, node: &Node, connector: &dyn Connector) -> Result<WriteMode, Problem> {
    let written = node.options.get("write_mode").cloned();
    if written.is_none() && mode == Mode::Cdc {
        return Ok(WriteMode::Upsert);
    }
    let default = || {
        let schema = connector.descriptor().sink.as_ref()?;
        schema.pointer("/properties/write_mode/default").cloned()
    };
    let Some(value) = written.or_else(default) else { return Ok(WriteMode::default()) };
    serde_json::from_value(value.clone()).map_err(|_| {
        let words = ["append", "overwrite", "upsert", "merge"];
        let text = value.as_str().unwrap_or_default().to_string();
        Problem::new(code::WRITE_MODE, format!("`{text}` is no write mode"))
            .option("write_mode")
            .nearest(&text, words)
            .expected(words.join(", "))
    })
}

/// What deletes do in the sink: as written, else they delete.
pub(crate) fn deletes(node: &Node) -> Result<DeleteMode, Problem> {
    let Some(value) = node.options.get("delete_mode").filter(|value| !value.is_null()) else { return Ok(DeleteMode::default()) };
    serde_json::from_value(value.clone()).map_err(|_| {
        let words = ["hard", "soft", "ignore"];
        let text = value.as_str().unwrap_or_default().to_string();
        Problem::new(code::WRITE_MODE, format!("`{text}` is no delete mode"))
            .option("delete_mode")
            .nearest(&text, words)
            .expected(words.join(", "))
    })
}

/// The columns about changes that the sink asks for, in the order of [`MetadataColumn::ALL`].
pub(crate) fn metadata(mode: Mode, node: &Node) -> Result<Vec<MetadataColumn>, Problem> {
    const OPTION: &str = "metadata_columns";
    let words = MetadataColumn::ALL.map(MetadataColumn::word);
    let wrong = |message: String| Problem::new(code::METADATA, message).option(OPTION).expected(words.join(", "));
    let Some(value) = node.options.get(OPTION).filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let Value::Array(asked) = value else { return Err(wrong("`metadata_columns` is a list of words".into())) };
    if mode != Mode::Cdc && !asked.is_empty() {
        return Err(Problem::new(code::METADATA, "`metadata_columns` tell about changes, and only `mode: cdc` reads changes")
            .option(OPTION)
            .help("remove them, or read the log of a database with `mode: cdc`"));
    }
    for word in asked {
        let text = word.as_str().unwrap_or_default();
        if !words.contains(&text) {
            return Err(wrong(format!("`{}` is no metadata column", word.as_str().map_or(word.to_string(), Into::into)))
                .nearest(text, words));
        }
    }
    Ok(MetadataColumn::ALL.into_iter().filter(|column| asked.iter().any(|word| word.as_str() == Some(column.word()))).collect())
}

/// The sink's key, if it names one. `key: id` and `key: [id]` are the same.
pub(crate) fn key(node: &Node) -> Result<Vec<String>, Problem> {
    let wrong = || Problem::new(code::KEY, "`key` is a list of column names").option("key");
    match node.options.get("key") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(Into::into).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// How much earlier than the last cursor to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lag {
    /// For times.
    Micros(i64),
    /// For numbers: in the cursor's own unit.
    Units(i64),
}

/// The `lag` option: a duration (`5m`), or a whole number for numeric cursors.
pub(crate) fn lag(node: &Node) -> Result<Option<Lag>, Problem> {
    let wrong = |what: &str| {
        Problem::new(code::CURSOR, format!("`lag: {what}` is neither a duration nor a whole number"))
            .option("lag")
            .expected("`500ms`, `10s`, `5m`, `1h`, `1d`; a whole number for a numeric cursor")
    };
    match node.options.get("lag") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number
            .as_i64()
            .filter(|units| *units >= 0)
            .map(|units| Some(Lag::Units(units)))
            .ok_or_else(|| wrong(&number.to_string())),
        Some(Value::String(text)) => {
            let trimmed = text.trim();
            if let Ok(units) = trimmed.parse::<i64>()
                && units >= 0
            {
                return Ok(Some(Lag::Units(units)));
            }
            micros(trimmed).map(|micros| Some(Lag::Micros(micros))).ok_or_else(|| wrong(text))
        }
        Some(other) => Err(wrong(&other.to_string())),
    }
}

/// The `event_time` of a source, as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTime {
    pub(crate) column: String,
    #[serde(default)]
    pub(crate) max_lateness_ms: u32,
    #[serde(default)]
    pub(crate) idle_after_ms: Option<u32>,
}

/// The `event_time` option.
pub(crate) fn event_time(node: &Node) -> Result<Option<WrittenTime>, Problem> {
    let Some(value) = node.options.get("event_time").filter(|value| !value.is_null()) else { return Ok(None) };
    serde_json::from_value(value.clone()).map(Some).map_err(|error| {
        Problem::new(code::EVENT_TIME, format!("`event_time`: {error}"))
            .option("event_time")
            .expected("{column: ts, max_lateness_ms: 5000, idle_after_ms: 60000}")
    })
}

/// A duration in microseconds: one whole number and one unit.
pub(crate) fn micros(text: &str) -> Option<i64> {
    let cut = text.find(|c: char| !c.is_ascii_digit())?;
    let count: i64 = text[..cut].parse().ok()?;
    let unit = match &text[cut..] {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// `on_loss` of the pipeline.
pub(crate) fn on_loss(pipeline: &Pipeline) -> Result<OnLoss, Vec<Problem>> {
    let (mut on_loss, mut problems) = (OnLoss::default(), Vec::new());
    for (column, word) in &pipeline.on_loss {
        let choice = match word.as_str() {
            "error" => LossChoice::Error,
            "string" => LossChoice::String,
            "accept" => LossChoice::Accept,
            "drop" => LossChoice::Drop,
            other => {
                let words = ["error", "string", "accept", "drop"];
                problems.push(
                    Problem::new(code::WORD, format!("`on_loss: {other}` is no choice"))
                        .option(format!("on_loss/{column}"))
                        .nearest(other, words)
                        .expected(words.join(", ")),
                );
                continue;
            }
        };
        if column == "*" {
            on_loss.default = choice;
        } else {
            on_loss.columns.insert(column.clone(), choice);
        }
    }
    if problems.is_empty() { Ok(on_loss) } else { Err(problems) }
}

/// `on_schema_change` of the pipeline.
pub(crate) fn on_schema_change(pipeline: &Pipeline) -> Result<SchemaChangePolicy, Problem> {
    let Some(word) = &pipeline.on_schema_change else { return Ok(SchemaChangePolicy::default()) };
    serde_json::from_value(Value::String(word.clone())).map_err(|_| {
        let words = ["evolve", "freeze", "hold", "discard_row", "discard_column"];
        let mut problem = Problem::new(code::WORD, format!("`on_schema_change: {word}` is no choice")).expected(words.join(", "));
        problem.suggestion = nearest(word, words).map(Into::into);
        problem
    })
}
