//! What users write: the pipeline file in three surfaces, one [`Pipeline`] model, diagnostics, JSON Schema.
//!
//! Pure: no I/O, no async, no Arrow. Nothing after this crate knows which surface a pipeline came from.
#![deny(missing_docs)]

pub mod diagnostic;
pub mod model;
pub mod vocabulary;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{Alert, Connection, DeadLetterPolicy, Delivery, Input, Mode, Node, Pipeline, Role, Schedule, Span};
pub use vocabulary::{ConnectorWords, TransformWords, Vocabulary};

/// What came out of a file: every pipeline in it that has a usable shape, and every problem found.
#[derive(Debug, Default)]
pub struct Parsed {
    /// One per document; a document with errors may be missing.
    pub pipelines: Vec<Pipeline>,
    /// In file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a pipeline file (YAML or JSON, native form, job JSON of seed 000, or UIS v1.1), one or many documents.
pub fn parse(_text: &str, _file: &str, _vocabulary: &dyn Vocabulary) -> Parsed {
    Parsed::default()
}
