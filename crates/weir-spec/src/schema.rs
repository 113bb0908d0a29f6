//! The JSON Schema of the native form, for editors: every key, every connector's options, every transform's.

use serde_json::{Map, Value as Json, json};

use crate::model::Engine;
use crate::native::{DELIVERIES, KEYS, MODES, PLACEMENTS, SCHEMA_CHANGES, WHEN_FULL};
use crate::nodes::{SINK_OPTIONS, SOURCE_OPTIONS};
use crate::vocabulary::Vocabulary;

/// JSON Schema (draft 2020-12) of a pipeline file in the native form, with the words of this vocabulary.
pub fn schema(vocabulary: &dyn Vocabulary) -> Json {
    let mut defs = Map::new();
    let (mut sources, mut sinks, mut connections) = (Map::new(), Map::new(), Map::new());
    for name in vocabulary.connectors() {
        let Some(words) = vocabulary.connector(&name) else { continue };
        let key = &words.canonical;
        if !defs.contains_key(&format!("connection.{key}")) {
            defs.insert(
                format!("connection.{key}"),
                options(&[&words.connection], &format!("connection.{key}"), &[], &mut Map::new()),
            );
            for (role, own, shared) in [("source", &words.source, &*SOURCE_OPTIONS), ("sink", &words.sink, &*SINK_OPTIONS)] {
                if let Some(own) = own {
                    let prefix = format!("{role}.{key}");
                    let mut inner = Map::new();
                    let built = options(&[own, &words.connection, shared], &prefix, &required(&words.connection), &mut inner);
                    defs.insert(prefix, built);
                    defs.append(&mut inner);
                }
            }
            let mut inner = Map::new();
            options(&[&words.connection], &format!("connection.{key}"), &[], &mut inner);
            defs.append(&mut inner);
        }
        let to = |role: &str| json!({"$ref": format!("#/$defs/{role}.{key}")});
        connections.insert(name.clone(), to("connection"));
        if words.source.is_some() {
            sources.insert(name.clone(), to("source"));
        }
        if words.sink.is_some() {
            sinks.insert(name.clone(), to("sink"));
        }
    }
    let mut transforms = Map::new();
    for name in vocabulary.transforms() {
        let Some(words) = vocabulary.transform(&name) else { continue };
        let prefix = format!("transform.{}", words.canonical);
        if !defs.contains_key(&prefix) {
            let mut inner = Map::new();
            let mut built = options(&[&words.schema], &prefix, &[], &mut inner);
            if let Some(bare) = &words.bare {
                let about = built.get("description").cloned().unwrap_or_default();
                built = json!({"anyOf": [{"type": "string", "description": format!("The same as `{bare}`.")}, built]});
                if !about.is_null() {
                    built["description"] = about;
                }
            }
            defs.insert(prefix.clone(), built);
            defs.append(&mut inner);
        }
        transforms.insert(name, json!({"$ref": format!("#/$defs/{prefix}")}));
    }
    let input = json!({
        "description": "The node or nodes to read: `name`, or `name.port` for a node with several outputs. By default the node before.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    });
    let name = json!({"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "Name of the node."});
    defs.insert("source".into(), node("Reads: exactly one connector with its options.", sources, &[("name", &name)]));
    defs.insert(
        "transform".into(),
        node("Changes rows: exactly one transform.", transforms, &[("name", &name), ("input", &input)]),
    );
    defs.insert(
        "sink".into(),
        node("Writes: exactly one connector with its options.", sinks, &[("name", &name), ("input", &input)]),
    );
    defs.insert("connection".into(), node("Address and credentials of one system.", connections, &[]));
    let mut properties = Map::new();
    for key in KEYS {
        properties.insert(key.into(), top_level(key));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weir pipeline",
        "type": "object",
        "required": ["pipeline"],
        "additionalProperties": false,
        "properties": properties,
        "$defs": defs,
    })
}

fn top_level(key: &str) -> Json {
    let named = |what: &str| json!({"type": "object", "additionalProperties": {"$ref": format!("#/$defs/{what}")}});
    let text = json!({"type": "string"});
    let duration = json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"});
    let loss = json!({"enum": ["error", "string", "accept", "drop"]});
    let (about, mut schema) = match key {
        "pipeline" => (
            "The name: lower_snake, unique in the tenant.",
            json!({"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": 63}),
        ),
        "source" => ("Where rows come from.", json!({"$ref": "#/$defs/source"})),
        "sources" => ("Several sources by name.", named("source")),
        "transforms" => (
            "What happens on the way: a list in order, or a map by name.",
            json!({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/transform"}}, named("transform")]}),
        ),
        "sink" => ("Where rows go.", json!({"$ref": "#/$defs/sink"})),
        "sinks" => ("Several sinks by name.", named("sink")),
        "mode" => (
            "How sources are read: everything, what is new, changes, or without end.",
            json!({"enum": MODES, "default": "batch"}),
        ),
        "schedule" => (
            "When it runs by itself: five cron fields, or a map with them.",
            json!({"anyOf": [text, {
            "type": "object", "required": ["cron"], "additionalProperties": false,
            "properties": {
                "cron": {"type": "string", "description": "Five cron fields."},
                "timezone": {"type": "string", "description": "IANA time zone; UTC if absent."},
                "overlap": {"enum": ["skip", "queue"], "description": "When the last run is still going."},
                "catch_up": {"enum": ["none", "last", "all"], "description": "What happens with runs that were missed."},
            }}]}),
        ),
        "connections" => ("Connections declared in the file; usually they are stored once and shared.", named("connection")),
        "on_schema_change" => ("What a stream's schema may do.", json!({"enum": SCHEMA_CHANGES})),
        "on_loss" => (
            "What to do with columns that have no exact counterpart: one word for all, or a map by column.",
            json!({"anyOf": [loss, {"type": "object", "additionalProperties": loss}]}),
        ),
        "delivery" => ("What must be kept; the plan fails when it cannot.", json!({"enum": DELIVERIES})),
        "dead_letters" => (
            "Records that could not be processed.",
            json!({"type": "object", "additionalProperties": false, "properties": {
                "allow": {"type": "integer", "minimum": 0, "description": "More than this many fail the run."},
                "to": {"$ref": "#/$defs/sink", "description": "A sink that gets them too, each once and in order: a topic, a table, files."}}}),
        ),
        "journal" => (
            "`mode: cdc`: the durable changes between the log and its sinks.",
            json!({"type": "object", "additionalProperties": false, "properties": {
                "path": {"type": "string", "pattern": "^s3://[^/]+(/.*)?$",
                    "description": "Keep it in a bucket, so that any machine can go on; by default it is where the checkpoints are."},
                "connection": {"type": "string", "description": "The `s3` connection that reaches `path`; by default the credentials of the machine."},
                "max_bytes": {"anyOf": [{"type": "integer", "minimum": 1_048_576}, {"type": "string", "pattern": "^[0-9]+([KMGT]i?)?B$"}],
                    "default": "10GiB", "description": "It may take so much room."},
                "when_full": {"enum": WHEN_FULL, "default": "wait",
                    "description": "At the limit the source waits for the sinks, or the run fails."},
                "keep": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|([KMGT]i?)?B)$",
                    "description": "How long, or how much, of what every sink has stays for `weir journal replay`."},
            }}),
        ),
        "alerts" => (
            "Rules of the platform.",
            json!({"type": "array", "items": {
            "type": "object", "required": ["metric", "above"], "additionalProperties": false,
            "properties": {
                "metric": {"type": "string"}, "above": {"type": "number"}, "window": duration,
                "severity": {"enum": ["info", "warning", "critical"]}, "action": {"type": "string"},
            }}}),
        ),
        "description" => ("Free text.", text),
        "labels" => ("Labels such as `owner`.", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        "tenant" => ("The tenant; must be the caller's.", text),
        "credentials_ref" => ("Where `{{name}}` references are looked up.", text),
        "parallelism" => ("Lanes; by default the cores of the machine.", json!({"type": "integer", "minimum": 1})),
        "placement" => (
            "Where the platform runs it: a process of the worker's machine, or a Job of its Kubernetes cluster; by default as the platform is set.",
            json!({"enum": PLACEMENTS}),
        ),
        "checkpoint_interval_ms" => (
            "Time between checkpoints, in milliseconds or as a duration.",
            json!({"anyOf": [{"type": "integer", "minimum": 1}, duration]}),
        ),
        "max_latency_ms" => (
            "`mode: streaming`: a row waits no longer than this for others on its way to a sink that shows rows at once.",
            json!({"anyOf": [{"type": "integer", "minimum": 1}, duration], "default": 20}),
        ),
        "roll" => (
            "`mode: streaming`: how long rows are collected where they become visible together, as files do.",
            json!({"type": "object", "additionalProperties": false, "properties": {
                "interval_ms": {"anyOf": [{"type": "integer", "minimum": 1}, duration], "description": "For so long; files: 60s."},
                "bytes": {"anyOf": [{"type": "integer", "minimum": 1_048_576}, {"type": "string", "pattern": "^[0-9]+([KMGT]i?)?B$"}],
                    "default": "128MiB", "description": "Or until so much was read."},
            }}),
        ),
        "engine" => (
            "Where it runs: in this process, or compiled for another engine and handed over.",
            json!({"enum": Engine::ALL, "default": "native"}),
        ),
        "engine_configs" => (
            "Settings of engines (address, sizes), by engine; docs/how-to/engines.md lists them.",
            json!({"type": "object", "additionalProperties": {"type": "object"}, "propertyNames": {"enum": Engine::ALL[1..]}}),
        ),
        _ => ("", json!(true)),
    };
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".into(), json!(about));
    }
    schema
}

/// A map with exactly one of the words, and perhaps `name` and `input`.
fn node(about: &str, words: Map<String, Json>, more: &[(&str, &Json)]) -> Json {
    let one: Vec<Json> = words.keys().map(|word| json!({"required": [word]})).collect();
    let mut properties = words;
    for (key, schema) in more {
        properties.insert((*key).into(), (*schema).clone());
    }
    let mut out = json!({"type": "object", "description": about, "additionalProperties": false, "properties": properties});
    if !one.is_empty() {
        out["oneOf"] = Json::Array(one);
    }
    out
}

fn required(schema: &Json) -> Vec<Json> {
    schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default()
}

/// Several option schemas as one. `unless_connection` are required only where no connection is named. Definitions are
/// moved to `defs` under a prefix of their own.
fn options(parts: &[&Json], prefix: &str, unless_connection: &[Json], defs: &mut Map<String, Json>) -> Json {
    if let [only] = parts
        && only.get("properties").is_none()
    {
        let mut out = moved(only, prefix, defs);
        if let Some(map) = out.as_object_mut() {
            map.remove("title");
        }
        return out;
    }
    let mut properties = Map::new();
    let mut needed: Vec<Json> = Vec::new();
    let mut extra = json!(false);
    for part in parts {
        let part = moved(part, prefix, defs);
        for (name, schema) in part.get("properties").and_then(Json::as_object).into_iter().flatten() {
            if properties.contains_key(name) {
                continue;
            }
            for alias in schema.get("x-weir-aliases").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
                let mut other = schema.clone();
                if let Some(map) = other.as_object_mut() {
                    map.remove("x-weir-aliases");
                    map.insert("deprecated".into(), json!(true));
                    map.insert("description".into(), json!(format!("Another spelling of `{name}`.")));
                }
                properties.entry(alias).or_insert(other);
            }
            properties.insert(name.clone(), schema.clone());
        }
        needed.extend(required(&part).into_iter().filter(|name| !unless_connection.contains(name)));
        match part.get("additionalProperties") {
            None | Some(Json::Bool(false)) => {}
            Some(open) => extra = open.clone(),
        }
    }
    // A required option may stand under one of its other spellings; only the parser can tell, so none is required here.
    needed.retain(|name| {
        name.as_str().and_then(|name| properties.get(name)).is_some_and(|schema| schema.get("x-weir-aliases").is_none())
    });
    let mut out = json!({"type": "object", "properties": properties, "additionalProperties": extra});
    if let Some(about) = parts.iter().find_map(|part| part.get("description")) {
        out["description"] = about.clone();
    }
    if !needed.is_empty() {
        out["required"] = Json::Array(needed);
    }
    out
}

/// The schema with its `$defs` taken out and its references pointing to where they went.
fn moved(schema: &Json, prefix: &str, defs: &mut Map<String, Json>) -> Json {
    let mut out = schema.clone();
    if let Some(map) = out.as_object_mut() {
        map.remove("$schema");
        if let Some(Json::Object(inner)) = map.remove("$defs") {
            for (name, definition) in inner {
                let mut definition = definition;
                point(&mut definition, prefix);
                defs.insert(format!("{prefix}.{name}"), definition);
            }
        }
    }
    point(&mut out, prefix);
    out
}

fn point(schema: &mut Json, prefix: &str) {
    match schema {
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Json::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/$defs/{prefix}.{name}");
                        }
                    }
                    other => point(other, prefix),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| point(item, prefix)),
        _ => {}
    }
}
