//! A workbench for tests: the parser with the options of real connectors (`tests/fixtures/connectors.json`), and no planner.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_spec::{ConnectorWords, Diagnostic, TransformWords, Vocabulary};

use crate::workbench::{Checked, Workbench};

pub(crate) struct Bench {
    connectors: Vec<Value>,
}

impl Bench {
    pub fn new() -> Self {
        Self { connectors: serde_json::from_str(include_str!("../tests/fixtures/connectors.json")).unwrap() }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.connectors
            .iter()
            .find(|connector| connector["name"] == name || connector["aliases"].as_array().unwrap().contains(&json!(name)))
    }
}

impl Vocabulary for Bench {
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>> {
        let found = self.find(name)?;
        let some = |key: &str| Some(found[key].clone()).filter(|schema| !schema.is_null());
        Some(Arc::new(ConnectorWords {
            connections_of: Vec::new(),
            canonical: found["name"].as_str().unwrap().into(),
            connection: found["connection"].clone(),
            source: some("source"),
            sink: some("sink"),
            address_option: if found["name"] == "postgres" { "table" } else { "path" }.into(),
        }))
    }
    fn connectors(&self) -> Vec<String> {
        self.connectors.iter().map(|connector| connector["name"].as_str().unwrap().to_string()).collect()
    }
    fn transform(&self, name: &str) -> Option<Arc<TransformWords>> {
        let bare = match name {
            "sql" => Some("query"),
            "filter" => Some("where"),
            "field_mapper" | "cast" | "dedupe" | "mask" => None,
            _ => return None,
        };
        let schema = json!({"type": "object", "properties": {"salt": {"type": "string", "x-weir-secret": true}}, "additionalProperties": true});
        Some(Arc::new(TransformWords { canonical: name.into(), schema, bare: bare.map(Into::into) }))
    }
    fn transforms(&self) -> Vec<String> {
        ["sql", "filter", "field_mapper", "cast", "dedupe", "mask"].map(Into::into).into()
    }
}

impl Workbench for Bench {
    fn check(&self, text: &str, file: &str, stored: &[(String, String)]) -> Checked {
        let parsed = weir_spec::parse(text, file, self);
        let mut diagnostics = parsed.diagnostics;
        for pipeline in &parsed.pipelines {
            diagnostics.extend(weir_spec::check_words(pipeline, self));
            for node in pipeline.systems() {
                let Some(name) = node.options.get("connection").and_then(Value::as_str) else { continue };
                if !pipeline.connections.contains_key(name) && !stored.iter().any(|(known, _)| known == name) {
                    diagnostics.push(Diagnostic::error("WEIR-PLAN-003", format!("there is no connection `{name}`")));
                }
            }
        }
        Checked { pipelines: parsed.pipelines, diagnostics }
    }
    fn connectors(&self) -> Value {
        Value::Array(self.connectors.clone())
    }
    fn secret_options(&self, kind: &str) -> Option<BTreeSet<String>> {
        fn collect(schema: &Value, out: &mut BTreeSet<String>) {
            match schema {
                Value::Object(map) => {
                    for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                        if property["x-weir-secret"] == true {
                            out.insert(name.clone());
                        }
                    }
                    map.values().for_each(|inner| collect(inner, out));
                }
                Value::Array(items) => items.iter().for_each(|inner| collect(inner, out)),
                _ => {}
            }
        }
        let mut out = BTreeSet::new();
        collect(&self.find(kind)?["connection"], &mut out);
        Some(out)
    }
    fn check_connection(&self, kind: &str, options: &Value) -> Vec<String> {
        let known = self.find(kind).map(|connector| connector["connection"]["properties"].clone()).unwrap_or_default();
        let unknown = options.as_object().into_iter().flatten().filter(|(name, _)| known.get(name.as_str()).is_none());
        unknown.map(|(name, _)| format!("unknown option `{name}`")).collect()
    }
}
