//! What can be said about a pipeline without reaching any system.

use datafusion::sql::parser::DFParser;
use serde_json::Value;
use weir_connect::{Error, Kind, Registry, WriteMode};
use weir_spec::{Diagnostic, Mode, Node, Pipeline, Reference, Role, Segment};

use crate::options::{self, divide};
use crate::problems::{at_key, at_node, placed};
use crate::transforms::{self, Op};

/// Everything that is wrong already: unknown words, options that do not parse, SQL that is none, modes that cannot work.
pub fn offline(pipeline: &Pipeline, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for node in &pipeline.nodes {
        match node.role {
            Role::Transform => transform(pipeline, node, &mut found),
            _ => connector(pipeline, node, registry, &mut found),
        }
    }
    match pipeline.mode {
        Mode::Batch => {}
        Mode::Incremental => incremental(pipeline, &mut found),
        Mode::Cdc | Mode::Streaming => found.push(at_key(
            pipeline,
            "mode",
            Diagnostic::error("WEIR-PLAN-010", "this version runs `batch` and `incremental` pipelines only")
                .help("use mode: batch for everything, or mode: incremental with a cursor for what is new"),
        )),
    }
    for (column, choice) in &pipeline.on_loss {
        if serde_json::from_value::<weir_connect::stream::LossChoice>(Value::String(choice.clone())).is_err() {
            found.push(at_key(
                pipeline,
                "on_loss",
                Diagnostic::error("WEIR-PLAN-011", format!("`on_loss` of `{column}` is `{choice}`"))
                    .expected("error, string, accept or drop"),
            ));
        }
    }
    found
}

fn connector(pipeline: &Pipeline, node: &Node, registry: &Registry, found: &mut Vec<Diagnostic>) {
    let Some(connector) = registry.get(&node.kind) else {
        let role = if node.role == Role::Source { "source" } else { "sink" };
        let mut known: Vec<&str> = registry.names().collect();
        known.sort_unstable();
        found.push(placed(
            pipeline,
            &node.name,
            None,
            Diagnostic::error("WEIR-PLAN-001", format!("there is no connector `{}` for the {role} `{}`", node.kind, node.name))
                .expected(known.join(", "))
                .help("`weir connectors` lists what this build has"),
        ));
        return;
    };
    let divided = match divide(pipeline, node, connector.as_ref()) {
        Ok(divided) => divided,
        Err(error) => {
            found.push(at_node(pipeline, &node.name, None, &error));
            return;
        }
    };
    let role = if node.role == Role::Source { "source" } else { "sink" };
    // A value that is not known yet cannot be judged; the planner meets it resolved.
    if !refers(&divided.connection)
        && !refers(&divided.own)
        && let Err(error) = connector.validate(role, &divided.connection, &divided.own)
    {
        found.push(at_node(pipeline, &node.name, None, &error));
    }
    if let Err(error) = options::lag(&divided.own) {
        found.push(at_node(pipeline, &node.name, Some("lag"), &error));
    }
    if node.role == Role::Sink
        && let Err(error) = write_mode(&divided.own)
    {
        found.push(at_node(pipeline, &node.name, Some("write_mode"), &error));
    }
}

/// Whether any text holds a reference that is resolved before the run.
fn refers(value: &Value) -> bool {
    match value {
        Value::String(text) => weir_spec::segments(text).is_ok_and(|segments| {
            segments.iter().any(|segment| {
                matches!(segment, Segment::Reference(reference) if !matches!(reference, Reference::LastRunTime | Reference::Cursor))
            })
        }),
        Value::Array(items) => items.iter().any(refers),
        Value::Object(map) => map.values().any(refers),
        _ => false,
    }
}

fn transform(pipeline: &Pipeline, node: &Node, found: &mut Vec<Diagnostic>) {
    let Some(transform) = transforms::find(&node.kind) else {
        let known: Vec<&str> = transforms::ALL.iter().map(|transform| transform.name).collect();
        found.push(placed(
            pipeline,
            &node.name,
            None,
            Diagnostic::error("WEIR-PLAN-001", format!("there is no transform `{}`", node.kind)).expected(known.join(", ")),
        ));
        return;
    };
    let op = match (transform.lower)(&node.options) {
        Ok(op) => op,
        Err(error) => {
            found.push(at_node(pipeline, &node.name, None, &error));
            return;
        }
    };
    let syntax = match &op {
        Op::Sql(query) => DFParser::parse_sql(query).map(|statements| statements.len()),
        Op::Filter(predicate) => DFParser::parse_sql(&format!("SELECT ({predicate})")).map(|_| 1),
        _ => Ok(1),
    };
    let option = transform.bare;
    match syntax {
        Ok(1) => {}
        Ok(count) => {
            let error = Error::new(
                "WEIR-PLAN-031",
                Kind::Spec,
                format!("`{}` holds {count} statements, it must be one query", node.name),
            );
            found.push(at_node(pipeline, &node.name, option, &error));
        }
        Err(error) => found.push(at_node(pipeline, &node.name, option, &crate::sql::explain(error))),
    }
    if node.inputs.len() > 1 && !matches!(op, Op::Sql(_)) {
        found.push(placed(
            pipeline,
            &node.name,
            None,
            Diagnostic::error("WEIR-PLAN-013", format!("`{}` takes one input, it has {}", node.kind, node.inputs.len()))
                .help("join the inputs with a `sql` transform first"),
        ));
    }
}

fn incremental(pipeline: &Pipeline, found: &mut Vec<Diagnostic>) {
    let moves = |node: &Node| {
        let options = &node.options;
        let text = options.to_string();
        options.get("cursor").is_some()
            || options.get("new_files_only").and_then(Value::as_bool).unwrap_or(false)
            || text.contains("${last_run_time}")
            || text.contains("${cursor}")
            || options
                .get("endpoints")
                .and_then(Value::as_array)
                .is_some_and(|endpoints| endpoints.iter().any(|endpoint| endpoint.get("cursor").is_some()))
    };
    // One source that moves is enough: the others are looked up whole each time.
    if !pipeline.of(Role::Source).any(moves)
        && let Some(node) = pipeline.of(Role::Source).next()
    {
        found.push(placed(
            pipeline,
            &node.name,
            None,
            Diagnostic::error("WEIR-PLAN-012", "`mode: incremental` needs to know what is new")
                .help("give the source a `cursor` column, `new_files_only: true`, or a query with '${last_run_time}'"),
        ));
    }
}

/// The sink's `write_mode` option.
pub fn write_mode(options: &Value) -> weir_connect::Result<WriteMode> {
    match options.get("write_mode") {
        None | Some(Value::Null) => Ok(WriteMode::default()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|_| {
            Error::new("WEIR-PLAN-014", Kind::Spec, format!("`write_mode` is {value}"))
                .hint("write_mode: append, overwrite, upsert or merge")
        }),
    }
}
