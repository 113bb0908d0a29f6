//! Options of a source or sink node: which belong to the connection, which to the node; references resolved.

use serde_json::{Map, Value};
use weir_connect::{Connector, Error, Kind, Result};
use weir_spec::{Node, Pipeline, Role};

/// Turns references in option values into what they stand for.
pub trait ResolveReferences: Send + Sync {
    /// Replaces `${ENV:-default}`, `{{name}}` and, where the option is a secret, `vault://` and `file://` in every string of `options`.
    /// `${last_run_time}` and `${cursor}` are left as they are: they are bound at run time. All missing references are in one error.
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

/// Divides a node's options by the connector's schemas; a named connection comes from the pipeline. A property that both schemas
/// know goes to both. Options that neither knows stay with the node, so that parsing it complains.
pub fn divide(pipeline: &Pipeline, node: &Node, connector: &dyn Connector) -> Result<Divided> {
    let descriptor = connector.descriptor();
    let schema = match node.role {
        Role::Source => descriptor.source.as_ref(),
        _ => descriptor.sink.as_ref(),
    };
    let Some(schema) = schema else {
        return Err(Error::new(
            "WEIR-PLAN-002",
            Kind::Spec,
            format!("`{}` cannot be used as a {}", node.kind, if node.role == Role::Source { "source" } else { "sink" }),
        ));
    };
    let mut connection = Map::new();
    let mut own = Map::new();
    for (name, value) in node.options.as_object().into_iter().flatten() {
        if name == "connection" {
            let chosen = value.as_str().unwrap_or_default();
            let stored = pipeline.connections.get(chosen).ok_or_else(|| {
                let known: Vec<&str> = pipeline.connections.keys().map(String::as_str).collect();
                Error::new("WEIR-PLAN-003", Kind::Spec, format!("there is no connection `{chosen}`"))
                    .hint(format!("declare it under `connections`; known: {}", known.join(", ")))
            })?;
            for (key, value) in stored.options.as_object().into_iter().flatten() {
                connection.entry(key.clone()).or_insert(value.clone());
            }
            continue;
        }
        let in_connection = has(&descriptor.connection, name);
        if in_connection {
            connection.insert(name.clone(), value.clone());
        }
        if has(schema, name) || !in_connection {
            own.insert(name.clone(), value.clone());
        }
    }
    Ok(Divided { connection: Value::Object(connection), own: Value::Object(own) })
}

fn has(schema: &Value, property: &str) -> bool {
    schema.get("properties").and_then(|properties| properties.get(property)).is_some()
}

/// A text option of a node, if it is there.
pub fn text<'a>(options: &'a Value, name: &str) -> Option<&'a str> {
    options.get(name).and_then(Value::as_str)
}

/// `key`: one name or a list.
pub fn names(options: &Value, name: &str) -> Vec<String> {
    match options.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A duration as microseconds: `500ms 5s 10m 1h 1d`; a bare number is a numeric cursor's own unit.
pub fn lag(options: &Value) -> Result<Option<i64>> {
    let wrong = |value: &Value| {
        Error::new("WEIR-PLAN-004", Kind::Spec, format!("`lag` is {value}, which is no duration"))
            .hint("write 500ms, 5s, 10m, 1h or 1d; for a numeric cursor a number")
    };
    match options.get("lag") {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Number(number)) => number.as_i64().map(Some).ok_or_else(|| wrong(value)),
        Some(value @ Value::String(text)) => {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number: i64 = text[..digits].parse().map_err(|_| wrong(value))?;
            let unit: i64 = match text[digits..].trim() {
                "us" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                "" => 1,
                _ => return Err(wrong(value)),
            };
            number.checked_mul(unit).map(Some).ok_or_else(|| wrong(value))
        }
        Some(value) => Err(wrong(value)),
    }
}
