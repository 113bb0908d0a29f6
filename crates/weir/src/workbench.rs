//! What the platform asks about pipelines and connectors, answered by the parts that also run them. Nothing here connects anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_connect::Registry;
use weir_control::workbench::{Checked, Workbench};
use weir_plan::{Planner, Unresolved, Words};
use weir_spec::{Connection, Diagnostic, Pipeline};

use crate::commands::connectors::whole;
use crate::planning::{cores, problems};

/// The connectors of this build.
pub struct Bench {
    registry: Registry,
    words: Words,
    planner: Planner,
}

impl Bench {
    /// All connectors. Their option schemas are made at the first question.
    pub fn new() -> Self {
        let registry = weir_connectors::registry::registry();
        // Nothing is read from the folder: a check connects to nothing, not even to files.
        let planner = Planner {
            registry: registry.clone(),
            resolve: Arc::new(Unresolved),
            base_dir: PathBuf::from("."),
            parallelism: cores(),
        };
        Self { words: weir_plan::vocabulary(&registry), planner, registry }
    }
}

impl Workbench for Bench {
    fn check(&self, text: &str, file: &str, stored: &[(String, String)]) -> Checked {
        let parsed = weir_spec::parse(text, file, &self.words);
        let mut diagnostics = parsed.diagnostics;
        for pipeline in &parsed.pipelines {
            let known = with_stored(pipeline, stored);
            let mut more = problems(&self.words, &self.planner, &known);
            more.iter_mut().for_each(|problem| file.clone_into(&mut problem.file));
            more.extend(only_native(pipeline, file));
            more.retain(|problem| !diagnostics.contains(problem));
            diagnostics.extend(more);
        }
        Checked { pipelines: parsed.pipelines, diagnostics }
    }

    fn connectors(&self) -> Value {
        self.registry.iter().map(|connector| whole(connector.descriptor())).collect()
    }

    fn spec_schema(&self) -> Value {
        weir_spec::schema(&self.words)
    }

    fn secret_options(&self, kind: &str) -> Option<BTreeSet<String>> {
        let connector = self.registry.get(kind)?;
        let mut names = BTreeSet::new();
        secret_names(&connector.descriptor().connection, &mut names);
        Some(names)
    }

    fn check_connection(&self, kind: &str, options: &Value) -> Vec<String> {
        let Some(connector) = self.registry.get(kind) else {
            return vec![format!("there is no connector `{}` in this build", short(kind))];
        };
        let schema = &connector.descriptor().connection;
        let Value::Object(options) = options else { return vec!["the options are a map".into()] };
        let mut found = shape(schema, options);
        if found.is_empty() && !holds_reference(options) {
            let all = Value::Object(options.clone());
            if let Err(error) = connector.validate("connection", &all, &json!({})) {
                found.push(without_values(&error.to_string(), &all));
            }
        }
        found
    }
}

/// The platform hands no run over to another engine: nobody there would follow it, stop it, or hold it to the tenant's limits.
fn only_native(pipeline: &Pipeline, file: &str) -> Option<Diagnostic> {
    let engine = pipeline.foreign_engine()?.word();
    let mut problem =
        Diagnostic::error("WEIR-WORKER-029", format!("the platform runs jobs on the native engine, not on `{engine}`"))
            .at("engine", pipeline.spans.get("/engine").copied())
            .help(format!("remove `engine`, or hand it over with `weir run FILE --engine {engine}`"));
    file.clone_into(&mut problem.file);
    Some(problem)
}

/// The pipeline as it would run: the stored connections that it names, with options that only the worker knows.
fn with_stored(pipeline: &Pipeline, stored: &[(String, String)]) -> Pipeline {
    let mut pipeline = pipeline.clone();
    let named: BTreeSet<String> =
        pipeline.systems().filter_map(|node| node.options.get("connection")?.as_str()).map(Into::into).collect();
    for (name, kind) in stored.iter().filter(|(name, _)| named.contains(name)) {
        // A reference makes the options undecided: nothing is said about them before the worker fills them in.
        let options = json!({"stored": "{{stored}}"});
        pipeline.connections.entry(name.clone()).or_insert_with(|| Connection { kind: kind.clone(), options });
    }
    pipeline
}

/// Names of secret options at any depth, with their other spellings.
fn secret_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if property.get("x-weir-secret") == Some(&Value::Bool(true)) {
                    names.insert(name.clone());
                    names.extend(aliases(property).map(Into::into));
                }
            }
            map.values().for_each(|inner| secret_names(inner, names));
        }
        Value::Array(items) => items.iter().for_each(|inner| secret_names(inner, names)),
        _ => {}
    }
}

fn aliases(property: &Value) -> impl Iterator<Item = &str> {
    property.get("x-weir-aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Unknown, missing and wrongly typed options of the first level.
fn shape(schema: &Value, options: &Map<String, Value>) -> Vec<String> {
    let nothing = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
    let spelt: BTreeMap<&str, &str> =
        properties.iter().flat_map(|(name, property)| aliases(property).map(move |alias| (alias, name.as_str()))).collect();
    let mut found = Vec::new();
    for (name, value) in options {
        match properties.get(name) {
            Some(property) if !fits(property, value) => found.push(format!("`{name}`: this is {}", kind_of(value))),
            Some(_) => {}
            None => match spelt.get(name.as_str()) {
                Some(canonical) => found.push(format!("`{}`: a stored connection calls it `{canonical}`", short(name))),
                None => {
                    let known = properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    found.push(format!("`{}`: there is no such option; there are {known}", short(name)));
                }
            },
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| !options.contains_key(*name)).map(|name| format!("`{name}`: it is required")));
    found
}

/// Whether a value can be what the property's type says. References stand for any plain value.
fn fits(property: &Value, value: &Value) -> bool {
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    let reference = matches!(value, Value::String(text) if is_reference(text));
    types.iter().any(|word| match *word {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || reference,
        "number" => value.is_number() || reference,
        "boolean" => value.is_boolean() || reference,
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn is_reference(text: &str) -> bool {
    ["${", "{{", "vault://", "file://"].iter().any(|mark| text.contains(mark))
}

fn holds_reference(options: &Map<String, Value>) -> bool {
    texts(&Value::Object(options.clone())).iter().any(|text| is_reference(text))
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// A connector's own words about its options, unless they repeat a value: it may be a secret.
fn without_values(told: &str, options: &Value) -> String {
    let repeated = texts(options).iter().any(|text| {
        let escaped = format!("{text:?}");
        !text.is_empty() && (told.contains(text.as_str()) || told.contains(escaped.trim_matches('"')))
    });
    if repeated { "the options do not fit together; `weir connectors` lists what they may be".into() } else { told.into() }
}

fn short(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "pipeline: a\nsource:\n  postgres: {connection: crm, table: users}\nsink:\n  file: {path: out.csv}\n";

    fn codes(checked: &Checked) -> Vec<(bool, String)> {
        checked.diagnostics.iter().map(|problem| (problem.is_error(), problem.message.clone())).collect()
    }

    #[test]
    fn a_spec_may_name_a_stored_connection_of_the_right_kind() {
        let bench = Bench::new();
        let stored = |kind: &str| vec![("crm".to_owned(), kind.to_owned()), ("other".to_owned(), "unheard_of".to_owned())];
        let good = bench.check(SPEC, "spec", &stored("postgres"));
        assert!(!good.has_errors(), "{:?}", codes(&good));
        assert_eq!(good.pipelines[0].connections.len(), 0, "the pipeline is as written");
        assert!(bench.check(SPEC, "spec", &stored("http")).has_errors(), "another kind");
        let missing = bench.check(SPEC, "spec", &[]);
        assert!(missing.diagnostics.iter().any(|problem| problem.is_error() && problem.message.contains("no connection `crm`")));
        assert!(missing.diagnostics.iter().all(|problem| problem.file == "spec"));
    }

    #[test]
    fn every_mistake_is_told_once() {
        let bench = Bench::new();
        let checked = bench.check("pipeline: a\nsource:\n  postgress: {table: users}\nsink:\n  file: {}\n", "spec", &[]);
        assert!(checked.has_errors());
        let all = codes(&checked);
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len(), "{all:?}");
        assert!(all.iter().any(|(_, message)| message.contains("postgress")), "{all:?}");
    }

    #[test]
    fn secrets_are_known_by_every_spelling_and_connectors_by_every_name() {
        let bench = Bench::new();
        assert!(bench.secret_options("postgres").unwrap().contains("password"));
        let s3 = bench.secret_options("s3").unwrap();
        for name in ["secret_key", "secret_access_key", "session_token", "aws_session_token"] {
            assert!(s3.contains(name), "{name} of {s3:?}");
        }
        assert_eq!(bench.secret_options("minio"), bench.secret_options("s3"));
        assert!(bench.secret_options("unheard_of").is_none());
        let listed = bench.connectors();
        assert!(
            listed.as_array().unwrap().iter().any(|one| one["name"] == "postgres" && one["connection"]["properties"].is_object())
        );
    }

    #[test]
    fn what_is_wrong_with_a_connection_is_told_without_values() {
        let bench = Bench::new();
        let told = |kind: &str, options: Value| {
            let told = bench.check_connection(kind, &options);
            assert!(!told.join("\n").contains("s3cr3t"), "{told:?}");
            told
        };
        assert_eq!(
            told("postgres", json!({"host": "db", "database": "crm", "user": "u", "password": "s3cr3t"})),
            Vec::<String>::new()
        );
        assert!(told("postgres", json!({"hots": "s3cr3t"}))[0].starts_with("`hots`: there is no such option"));
        assert_eq!(told("postgres", json!({"host": ["s3cr3t"]})), ["`host`: this is a list"]);
        assert!(told("s3", json!({"secret_access_key": "s3cr3t"}))[0].contains("calls it `secret_key`"));
        assert_eq!(told("unheard_of", json!({})).len(), 1);
        assert_eq!(told("postgres", json!("s3cr3t")), ["the options are a map"]);
        assert!(!told("postgres", json!({"url": "mysql://s3cr3t"})).is_empty());
    }
}
