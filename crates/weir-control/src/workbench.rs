//! What the platform must know of pipelines and connectors. The binary implements it, so that neither this crate nor the server is
//! built upon the engine. Nothing here connects anywhere: that happens in processes of their own (`weir execute`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weir_spec::{Diagnostic, Pipeline};

/// A pipeline file that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The pipelines of the file.
    pub pipelines: Vec<Pipeline>,
    /// All problems, in file order; with an error among them the file must not run.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Pipelines and connectors, as far as they can be known without connecting.
pub trait Workbench: Send + Sync {
    /// Parses and checks a pipeline file: words, shapes, graph, and what the planner can say without connecting. `stored` are the
    /// connections of the tenant by name and kind; a spec may name them with `connection: NAME`.
    fn check(&self, text: &str, file: &str, stored: &[(String, String)]) -> Checked;

    /// All connectors with their option schemas, as `weir connectors --json` prints them.
    fn connectors(&self) -> Value;

    /// The JSON Schema of pipeline files, as `weir spec schema` prints it. Who knows none says `{}`, which takes everything.
    fn spec_schema(&self) -> Value {
        Value::Object(Map::new())
    }

    /// Names of a connector's secret connection options; `None` = there is no such connector.
    fn secret_options(&self, kind: &str) -> Option<BTreeSet<String>>;

    /// What is wrong with a connection's options (unknown, missing, wrong type), each with the option's name; never with a value.
    fn check_connection(&self, kind: &str, options: &Value) -> Vec<String>;
}
