//! The words a pipeline may use. The spec crate knows no connector: the binary hands the vocabulary in.

use std::sync::Arc;

use serde_json::Value;

/// What the spec needs to know about a connector to check options.
#[derive(Debug, Clone)]
pub struct ConnectorWords {
    /// The descriptor's name.
    pub canonical: String,
    /// Other connectors whose declared connections this one can use.
    pub connections_of: Vec<String>,
    /// JSON Schema of the connection's options.
    pub connection: Value,
    /// JSON Schema of the source's own options; `None` = not a source.
    pub source: Option<Value>,
    /// JSON Schema of the sink's own options; `None` = not a sink.
    pub sink: Option<Value>,
    /// The option that `table_or_topic` of seed 000 means.
    pub address_option: String,
}

/// What the spec needs to know about a transform.
#[derive(Debug, Clone)]
pub struct TransformWords {
    /// Its name.
    pub canonical: String,
    /// JSON Schema of its options.
    pub schema: Value,
    /// The option that a bare string means (`filter: a > 1` is `{filter: {where: "a > 1"}}`).
    pub bare: Option<String>,
}

/// All words, shared: a schema is large and asked for many times per file. Schemas may carry `x-weir-aliases` on properties; the parser renames aliases to the canonical name.
pub trait Vocabulary {
    /// A connector by name or alias.
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>>;
    /// Every connector name and alias.
    fn connectors(&self) -> Vec<String>;
    /// A transform by name or alias.
    fn transform(&self, name: &str) -> Option<Arc<TransformWords>>;
    /// Every transform name.
    fn transforms(&self) -> Vec<String>;
}
