//! The native form: the top-level keys of a pipeline. The other forms are rewritten to it and then read here too.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::graph;
use crate::model::{Connection, DeadLetterPolicy, Delivery, Mode, Node, Pipeline, Placement, Role};
use crate::nodes::{Draft, Reader};
use crate::options::Checker;
use crate::problems::{Path, Problems, nearest, short};
use crate::tree::{Entry, Tree};
use crate::vocabulary::Vocabulary;

/// The keys of a pipeline, in the order in which they are documented and written.
pub(crate) const KEYS: [&str; 26] = [
    "pipeline",
    "source",
    "sources",
    "transforms",
    "sink",
    "sinks",
    "mode",
    "schedule",
    "connections",
    "on_schema_change",
    "on_loss",
    "delivery",
    "dead_letters",
    "journal",
    "alerts",
    "description",
    "labels",
    "tenant",
    "credentials_ref",
    "parallelism",
    "placement",
    "checkpoint_interval_ms",
    "max_latency_ms",
    "roll",
    "engine",
    "engine_configs",
];
/// Words of `mode`.
pub(crate) const MODES: [&str; 4] = ["batch", "incremental", "cdc", "streaming"];
/// Words of `placement`.
pub(crate) const PLACEMENTS: [&str; 2] = ["process", "kubernetes"];
/// Words of `delivery`.
pub(crate) const DELIVERIES: [&str; 3] = ["at_least_once", "effectively_once", "exactly_once"];
/// Words of `journal.when_full`.
pub(crate) const WHEN_FULL: [&str; 2] = ["wait", "fail"];
/// Words of `on_schema_change`.
pub(crate) const SCHEMA_CHANGES: [&str; 5] = ["evolve", "freeze", "hold", "discard_row", "discard_column"];

/// Reads a document in the native form. A tree that is not `whole` lost parts when it was rewritten from another form,
/// and what was lost has been reported: its absence is not reported again.
pub(crate) fn read(root: &Tree, vocabulary: &dyn Vocabulary, problems: &mut Problems, whole: bool) -> Pipeline {
    let mut spans = BTreeMap::new();
    let mut reader = Reader::new(vocabulary, Checker { problems, spans: &mut spans });
    let mut pipeline = empty();
    let mut drafts: Vec<Draft> = Vec::new();
    let mut meant: Vec<String> = Vec::new();
    let mut letters: Option<Draft> = None;
    let entries = root.as_map().unwrap_or_default();
    let top = Path::default();
    // Nodes first and in the order of the flow, whatever the order in the file.
    for (key, role) in [
        ("source", Role::Source),
        ("sources", Role::Source),
        ("transforms", Role::Transform),
        ("sink", Role::Sink),
        ("sinks", Role::Sink),
    ] {
        if let Some(entry) = root.get(key) {
            drafts.extend(reader.nodes(entry, role, &top.key(key)));
        }
    }
    for entry in entries {
        let path = top.key(&entry.key);
        let check = &mut reader.checker;
        match entry.key.as_str() {
            "source" | "sources" | "transforms" | "sink" | "sinks" => {}
            "pipeline" => {
                if let Some(name) = check.name_field(entry, &path) {
                    pipeline.name = name;
                }
            }
            "mode" => match check.word_field(entry, &path, &MODES).as_deref() {
                Some("incremental") => pipeline.mode = Mode::Incremental,
                Some("cdc") => pipeline.mode = Mode::Cdc,
                Some("streaming") => pipeline.mode = Mode::Streaming,
                _ => {}
            },
            "schedule" => pipeline.schedule = check.schedule_field(entry, &path),
            "connections" => pipeline.connections = reader.connections(entry, &path),
            "on_schema_change" => pipeline.on_schema_change = check.word_field(entry, &path, &SCHEMA_CHANGES),
            "on_loss" => pipeline.on_loss = check.on_loss_field(entry, &path),
            "delivery" => {
                pipeline.delivery = check.word_field(entry, &path, &DELIVERIES).map(|word| match word.as_str() {
                    "exactly_once" => Delivery::ExactlyOnce,
                    "effectively_once" => Delivery::EffectivelyOnce,
                    _ => Delivery::AtLeastOnce,
                });
            }
            "dead_letters" => {
                for part in check.map_field(entry, &path, "a map such as {allow: 100}").to_vec() {
                    match part.key.as_str() {
                        "allow" => {
                            let allow = reader.checker.whole_field(&part, &path.key("allow"), 0);
                            pipeline.dead_letters.allow = allow.unwrap_or_default();
                        }
                        "to" => letters = reader.letters(&part, &path.key("to")),
                        _ => {
                            reader.checker.unknown_key(&part, "`dead_letters`", &path, &["allow", "to"]);
                        }
                    }
                }
            }
            "journal" => pipeline.journal = Some(check.journal_field(entry, &path)),
            "alerts" => pipeline.alerts = check.alerts_field(entry, &path),
            "description" => pipeline.description = check.text_field(entry, &path),
            "labels" => pipeline.labels = check.texts_field(entry, &path),
            "tenant" => pipeline.tenant = check.plain_field(entry, &path),
            "credentials_ref" => pipeline.credentials_ref = check.text_field(entry, &path),
            "parallelism" => pipeline.parallelism = check.whole_field(entry, &path, 1).and_then(|n| usize::try_from(n).ok()),
            "placement" => {
                pipeline.placement = check.word_field(entry, &path, &PLACEMENTS).map(|word| match word.as_str() {
                    "kubernetes" => Placement::Kubernetes,
                    _ => Placement::Process,
                });
            }
            "checkpoint_interval_ms" => pipeline.checkpoint_interval_ms = check.millis_field(entry, &path),
            "max_latency_ms" => pipeline.max_latency_ms = check.millis_field(entry, &path),
            "roll" => pipeline.roll = Some(check.roll_field(entry, &path)),
            "engine" => pipeline.engine = check.engine_field(entry, &path),
            "engine_configs" => pipeline.engine_configs = check.engine_configs_field(entry, &path),
            _ => meant.extend(check.unknown_key(entry, "the pipeline", &top, &KEYS)),
        }
    }
    let start = entries.first().map_or(root.span, |entry| entry.key_span);
    let has = |key: &str| root.get(key).is_some() || meant.iter().any(|word| word == key);
    if !has("pipeline") {
        reader.checker.problems.push(
            Diagnostic::error(codes::MISSING_KEY, "the pipeline has no name")
                .at("pipeline", Some(start))
                .expected("`pipeline: NAME`")
                .help("start with a line such as `pipeline: orders_to_lake`"),
        );
    }
    for (one, many) in [("source", "sources"), ("sink", "sinks")] {
        if let (Some(_), Some(second)) = (root.get(one), root.get(many)) {
            reader.broken = true;
            reader.checker.problems.push(
                Diagnostic::error(codes::TWO_FORMS, format!("`{one}` and `{many}` cannot stand side by side"))
                    .at(many, Some(second.key_span))
                    .label("the second of the two")
                    .help(format!("keep `{many}` and give each {one} a name there")),
            );
        }
    }
    let name_span = root.get("pipeline").map_or(start, |entry| entry.key_span);
    let nothing = |one: &str, many: &str| {
        let empty = |key: &str| root.get(key).is_none_or(|entry| entry.value.as_map().is_some_and(<[Entry]>::is_empty));
        empty(many) && !has(one) && !meant.iter().any(|word| word == many)
    };
    let expects = graph::Expects {
        no_source: whole && nothing("source", "sources"),
        no_sink: whole && nothing("sink", "sinks"),
        unread: std::mem::take(&mut reader.unread),
        broken: !whole || reader.broken,
        place: name_span,
    };
    let of_journal = pipeline.journal.as_ref().and_then(|journal| journal.connection.as_deref());
    let all: Vec<&Draft> = drafts.iter().chain(&letters).collect();
    connections_rule(&mut reader, &pipeline.connections, of_journal, &all);
    pipeline.dead_letters.to = letters.map(|draft| {
        let name = draft.name.unwrap_or_default();
        Box::new(Node { name, role: draft.role, kind: draft.kind, inputs: Vec::new(), options: draft.options })
    });
    let Reader { checker, .. } = reader;
    let (nodes, node_paths) = graph::link(drafts, &expects, vocabulary, checker);
    (pipeline.nodes, pipeline.node_paths) = (nodes, node_paths);
    pipeline.spans = spans;
    pipeline
}

fn empty() -> Pipeline {
    Pipeline {
        name: String::new(),
        description: None,
        mode: Mode::Batch,
        engine: None,
        engine_configs: BTreeMap::new(),
        schedule: None,
        parallelism: None,
        placement: None,
        checkpoint_interval_ms: None,
        max_latency_ms: None,
        roll: None,
        nodes: Vec::new(),
        connections: BTreeMap::new(),
        on_schema_change: None,
        on_loss: BTreeMap::new(),
        delivery: None,
        dead_letters: DeadLetterPolicy::default(),
        journal: None,
        alerts: Vec::new(),
        labels: BTreeMap::new(),
        credentials_ref: None,
        tenant: None,
        spans: BTreeMap::new(),
        node_paths: BTreeMap::new(),
    }
}

/// Names are lower_snake: state, tables and metrics are keyed by them.
pub(crate) fn name_rule(check: &mut Checker<'_>, name: &str, entry: &Entry, path: &Path) {
    if is_name(name) {
        return;
    }
    let span = if entry.value.as_text() == Some(name) { entry.value.span } else { entry.key_span };
    check.problems.push(
        Diagnostic::error(codes::NAME, format!("`{}` is not a name", short(name)))
            .at(&path.dotted, Some(span))
            .label("not lower_snake")
            .did_you_mean(Some(slug(name)).filter(|slug| slug != "unnamed"))
            .expected("a lower-case letter, then lower-case letters, digits and `_`, at most 63 in all"),
    );
}

/// Whether it is lower_snake.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A lower_snake name made of any text.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    out.truncate(63);
    let out = out.trim_matches('_').to_string();
    match out.chars().next() {
        None => "unnamed".into(),
        Some(first) if first.is_ascii_digit() => format!("p_{out}").chars().take(63).collect(),
        Some(_) => out,
    }
}

/// Nodes and the connections of the file fit together. `used` is used elsewhere.
fn connections_rule(
    reader: &mut Reader<'_, '_>,
    connections: &BTreeMap<String, Connection>,
    used: Option<&str>,
    drafts: &[&Draft],
) {
    let canonical =
        |kind: &str| reader.vocabulary.connector(kind).map_or_else(|| kind.to_string(), |words| words.canonical.clone());
    let mut found = Vec::new();
    let mut meant: Vec<String> = used.map(str::to_owned).into_iter().collect();
    for draft in drafts.iter().filter(|draft| draft.role != Role::Transform) {
        let Some(name) = draft.options.get("connection").and_then(Json::as_str) else { continue };
        let path = draft.path.key(&draft.kind).key("connection");
        let span = reader.checker.spans.get(&path.pointer).copied();
        let shared = |kind: &str| {
            reader.vocabulary.connector(&draft.kind).is_some_and(|words| words.connections_of.iter().any(|other| other == kind))
        };
        match connections.get(name) {
            Some(connection) if canonical(&connection.kind) != canonical(&draft.kind) && !shared(&connection.kind) => found.push(
                Diagnostic::error(
                    codes::CONNECTION_KIND,
                    format!("connection `{name}` is for `{}`, not for `{}`", connection.kind, draft.kind),
                )
                .at(&path.dotted, span)
                .label(format!("a connection of `{}`", connection.kind))
                .help(format!("name a connection of `{}`, or change the connector to `{}`", draft.kind, connection.kind)),
            ),
            Some(_) => {}
            None => {
                if let Some(word) = nearest(name, connections.keys().map(String::as_str)) {
                    meant.push(word.clone());
                    found.push(
                        Diagnostic::warning(
                            codes::CONNECTION_NAME,
                            format!("connection `{}` is not declared in this file", short(name)),
                        )
                        .at(&path.dotted, span)
                        .did_you_mean(Some(word))
                        .help("it will be looked up among the stored connections"),
                    );
                }
            }
        }
    }
    for name in connections.keys() {
        if !meant.contains(name) && !drafts.iter().any(|draft| mentions(&draft.options, name)) {
            let path = Path::default().key("connections").key(name);
            found.push(
                Diagnostic::warning(codes::UNUSED_CONNECTION, format!("connection `{}` is never used", short(name)))
                    .at(&path.dotted, reader.checker.spans.get(&path.pointer).copied())
                    .label("declared here")
                    .help(format!("write `connection: {}` in a source or sink, or remove it", short(name))),
            );
        }
    }
    reader.checker.problems.list.extend(found);
}

fn mentions(options: &Json, name: &str) -> bool {
    match options {
        Json::String(text) => text == name,
        Json::Array(items) => items.iter().any(|item| mentions(item, name)),
        Json::Object(map) => map.values().any(|item| mentions(item, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_always_a_name() {
        for text in ["MySQL to Data Lake Sync", "realtime-analytics", "2024 orders", "ü", "", "__x__", "A", &"long ".repeat(40)]
        {
            assert!(is_name(&slug(text)), "{text} -> {}", slug(text));
        }
        assert_eq!(slug("MySQL to Data Lake Sync"), "mysql_to_data_lake_sync");
    }
}
