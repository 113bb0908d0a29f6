//! What can be said about a pipeline without connecting anywhere.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_connect::{Registry, WriteMode};
use weir_spec::Diagnostic;
use weir_spec::model::{Mode, Node, Pipeline, Role};

use crate::letters;
use crate::options;
use crate::problem::{Places, Problem, code, distinct, warning};
use crate::shape;
use crate::transforms::{ALL, Kind};

/// Every problem found, warnings among them.
pub(crate) fn check(pipeline: &Pipeline, registry: &Registry) -> Vec<Diagnostic> {
    let places = Places(pipeline);
    let mut found = Vec::new();
    if let Err(problems) = options::on_loss(pipeline) {
        found.extend(problems.into_iter().map(|problem| {
            let key = problem.option.clone().unwrap_or_else(|| "on_loss".into());
            places.at_key(&key, problem)
        }));
    }
    if let Err(problem) = options::on_schema_change(pipeline) {
        found.push(places.at_key("on_schema_change", problem));
    }
    if let Some((node, problem)) = incremental(pipeline, registry) {
        found.push(places.in_node(&node, problem));
    }
    for (name, connection) in &pipeline.connections {
        connections(registry, name, connection, &places, &mut found);
    }
    for node in &pipeline.nodes {
        match node.role {
            Role::Transform => {
                transform(node, &places, &mut found);
            }
            Role::Source | Role::Sink => system(pipeline, registry, node, &places, &mut found),
        }
    }
    if let Some(node) = pipeline.dead_letters.to.as_deref()
        && let Err(problem) = letters::check(pipeline, registry, node)
    {
        found.push(places.in_node(&node.name, problem));
    }
    for (node, problem) in shape::problems(pipeline) {
        found.push(places.in_node(&node, problem));
    }
    for (node, port) in shape::unread(pipeline) {
        let problem = Problem::new(code::SHAPE, format!("nothing reads `{node}.{port}`: its rows go nowhere"))
            .option(port.clone())
            .help(format!("`input: {node}.{port}`"));
        found.push(warning(places.in_node(&node, problem)));
    }
    distinct(found)
}

fn connections(
    registry: &Registry,
    name: &str,
    connection: &weir_spec::model::Connection,
    places: &Places<'_>,
    found: &mut Vec<Diagnostic>,
) {
    let key = format!("connections/{name}");
    match registry.get(&connection.kind) {
        None => found.push(places.at_key(&key, options::unknown_connector(registry, &connection.kind))),
        Some(connector) => {
            let nothing = Value::Object(Default::default());
            if let Err(error) = connector.validate("connection", &connection.options, &nothing)
                && !undecided(&connection.options)
            {
                let key = format!("{key}/{}", connection.kind);
                found.push(places.at_key(&key, refused(&error)));
            }
        }
    }
}

fn transform(node: &Node, places: &Places<'_>, found: &mut Vec<Diagnostic>) {
    let Some(kind) = Kind::of(&node.kind) else {
        let names: Vec<&str> =
            ALL.iter().flat_map(|kind| std::iter::once(kind.name).chain(kind.aliases.iter().copied())).collect();
        let problem = Problem::new(code::UNKNOWN, format!("there is no transform `{}` in this release", node.kind))
            .nearest(&node.kind, names)
            .expected(format!("transforms: {}", ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")));
        found.push(places.in_node(&node.name, problem));
        return;
    };
    match kind.read(&node.options) {
        Err(why) => {
            found.push(places.in_node(&node.name, Problem::new(code::TRANSFORM_OPTIONS, format!("`{}`: {why}", kind.name))))
        }
        Ok(read) => {
            found.extend(read.check().into_iter().map(|problem| places.in_node(&node.name, problem)));
            found.extend(read.warnings().into_iter().map(|problem| warning(places.in_node(&node.name, problem))));
            if node.inputs.len() > 1 && !read.takes_many() {
                found.push(
                    places.in_node(
                        &node.name,
                        Problem::new(code::SHAPE, format!("`{}` takes one input, not {}", kind.name, node.inputs.len()))
                            .help("bring them together with `sql` first: a JOIN, or UNION ALL"),
                    ),
                );
            }
        }
    }
}

fn system(pipeline: &Pipeline, registry: &Registry, node: &Node, places: &Places<'_>, found: &mut Vec<Diagnostic>) {
    let connector = match options::connector(registry, node) {
        Ok(connector) => connector,
        Err(problem) => return found.push(places.in_node(&node.name, problem)),
    };
    let split = match options::split(pipeline, node, connector.as_ref()) {
        Ok(split) => split,
        Err(problem) => return found.push(places.in_node(&node.name, problem)),
    };
    let role = if node.role == Role::Source { "source" } else { "sink" };
    if let Err(error) = connector.validate(role, &split.connection, &split.own)
        && !undecided(&split.connection)
        && !undecided(&split.own)
    {
        found.push(places.in_node(&node.name, refused(&error)));
    }
    if node.role == Role::Source {
        for problem in [options::lag(node).err(), options::event_time(node).err()].into_iter().flatten() {
            found.push(places.in_node(&node.name, problem));
        }
        return;
    }
    let mode = match options::write_mode(pipeline.mode, node, connector.as_ref()) {
        Ok(mode) => mode,
        Err(problem) => return found.push(places.in_node(&node.name, problem)),
    };
    if let Err(problem) = options::deletes(node) {
        found.push(places.in_node(&node.name, problem));
    }
    if let Err(problem) = options::metadata(pipeline.mode, node) {
        found.push(places.in_node(&node.name, problem));
    }
    if pipeline.mode == Mode::Cdc && mode == WriteMode::Overwrite {
        found.push(
            places.in_node(
                &node.name,
                Problem::new(code::WRITE_MODE, "`mode: cdc` adds to what is there; `overwrite` cannot")
                    .option("write_mode")
                    .expected("upsert, merge; append where changes are kept as rows"),
            ),
        );
    }
    if mode == WriteMode::Overwrite && pipeline.mode == Mode::Streaming {
        found.push(
            places.in_node(
                &node.name,
                Problem::new(code::WRITE_MODE, "`mode: streaming` never comes to the end at which `overwrite` replaces")
                    .option("write_mode")
                    .expected("append, upsert, merge"),
            ),
        );
    }
    if mode == WriteMode::Overwrite && pipeline.mode == Mode::Incremental {
        found.push(
            places.in_node(
                &node.name,
                Problem::new(
                    code::WRITE_MODE,
                    "`write_mode: overwrite` with `mode: incremental` would leave only the newest rows",
                )
                .option("write_mode")
                .help("use append, or upsert with a key; or `mode: batch` to replace everything"),
            ),
        );
    }
    match options::key(node) {
        Err(problem) => found.push(places.in_node(&node.name, problem)),
        Ok(key) => {
            if let Some(twice) = key.iter().find(|name| key.iter().filter(|other| other == name).count() > 1) {
                let problem = Problem::new(code::KEY, format!("`{twice}` is in the key twice")).option("key");
                found.push(places.in_node(&node.name, problem));
            }
            let given = node.options.get("key").is_some_and(|key| !key.is_null());
            if key.is_empty() && given && matches!(mode, WriteMode::Upsert | WriteMode::Merge) {
                found.push(places.in_node(&node.name, no_key(mode)));
            }
        }
    }
}

/// `mode: incremental` needs something that tells new rows from old ones. One source that moves is enough: the others are
/// read whole each time.
fn incremental(pipeline: &Pipeline, registry: &Registry) -> Option<(String, Problem)> {
    if pipeline.mode != Mode::Incremental || pipeline.of(Role::Source).any(|node| moves(&node.options)) {
        return None;
    }
    let node = pipeline.of(Role::Source).next()?;
    let schema = registry.get(&node.kind).and_then(|connector| connector.descriptor().source.clone());
    let known: BTreeSet<&str> = schema
        .as_ref()
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut ways = Vec::new();
    if known.contains("cursor") || !known.contains("new_files_only") {
        ways.push("`cursor: updated_at` (a column that only grows)");
    }
    if known.contains("query") {
        ways.push("a `query` with '${last_run_time}' or '${cursor}'");
    }
    if known.contains("new_files_only") {
        ways.push("`new_files_only: true`");
    }
    let problem =
        Problem::new(code::CURSOR, format!("`mode: incremental`, and nothing tells new rows of `{}` from old ones", node.name))
            .help(format!("give the source {}", ways.join(", or ")));
    Some((node.name.clone(), problem))
}

/// Whether a source's options tell new from old: a cursor (of its own or of one of its endpoints), new files only, or a bound
/// parameter.
fn moves(options: &Value) -> bool {
    match options {
        Value::String(text) => text.contains("${last_run_time}") || text.contains("${cursor}"),
        Value::Array(items) => items.iter().any(moves),
        Value::Object(map) => map.iter().any(|(name, value)| match name.as_str() {
            "cursor" => !value.is_null(),
            "new_files_only" => value == &Value::Bool(true),
            _ => moves(value),
        }),
        _ => false,
    }
}

/// What a connector says about its options.
pub(crate) fn refused(error: &weir_error::Error) -> Problem {
    let message = match error.why() {
        Some(why) => format!("{}: {why}", error.what()),
        None => error.what().to_string(),
    };
    let problem = Problem::new(code::OPTIONS, message);
    match error.advice() {
        Some(advice) => problem.help(advice),
        None => problem,
    }
}

pub(crate) fn no_key(mode: WriteMode) -> Problem {
    Problem::new(code::KEY, format!("`write_mode: {}` needs a key, and there is none", mode.as_str()))
        .option("write_mode")
        .help("add `key: [..]` to the sink: the columns that tell one row from another")
}

pub(crate) fn two_writers(first: &str, second: &str, place: &str) -> Problem {
    let message = if first == second {
        format!("sink `{first}` would write several streams to one place, `{place}`")
    } else {
        format!("sinks `{first}` and `{second}` write to one place, `{place}`")
    };
    Problem::new(code::PLACE, message).help("give each its own place; `{stream}` in a path or table is the stream's name")
}

/// Whether a value still holds references: what it will be is known, and judged, only when they are resolved.
pub(crate) fn undecided(options: &Value) -> bool {
    match options {
        Value::String(text) => {
            text.contains("${") || text.contains("{{") || text.contains("vault://") || text.contains("file://")
        }
        Value::Array(all) => all.iter().any(undecided),
        Value::Object(all) => all.values().any(undecided),
        _ => false,
    }
}
