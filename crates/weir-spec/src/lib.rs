//! What users write: the pipeline file in three surfaces, one [`Pipeline`] model, diagnostics, JSON Schema.
//!
//! Pure: no I/O, no async, no Arrow. Nothing after this crate knows which surface a pipeline came from.
//!
//! Text becomes a tree with places; the job JSON and the unified ingestion spec are rewritten to the native form;
//! the native form is read, its options checked against the schemas of the [`Vocabulary`], and its graph linked.
//! Every step reports all it finds and goes on.
#![deny(missing_docs)]

pub mod codes;
pub mod convert;
pub mod diagnostic;
pub mod model;
pub mod reference;
pub mod render;
pub mod schema;
pub mod units;
pub mod vocabulary;

mod cron;
mod fields;
mod graph;
mod jdbc;
mod job;
mod json_text;
mod native;
mod nodes;
mod options;
mod problems;
mod texts;
mod tree;
mod uis;
mod words;
mod yaml;

pub use convert::to_native_yaml;
pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    Alert, Connection, DeadLetterPolicy, Delivery, Engine, Input, JournalPolicy, Keep, Mode, Node, Pipeline, Placement, Role,
    RollPolicy, Schedule, Span, WhenFull,
};
pub use problems::nearest;
pub use reference::{Reference, ReferenceError, Segment, secret_segments, segments};
pub use schema::schema;
pub use texts::{Scalar, Texts, texts};
pub use vocabulary::{ConnectorWords, TransformWords, Vocabulary};
pub use words::check_words;
pub use yaml::{from_yaml, to_yaml};

use problems::Problems;
use tree::Tree;

/// What came out of a file: every pipeline in it that has a usable shape, and every problem found.
#[derive(Debug, Default)]
pub struct Parsed {
    /// One per document; a document with errors may be missing.
    pub pipelines: Vec<Pipeline>,
    /// In file order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether there is an error; then the pipelines must not run.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses a pipeline file (YAML or JSON, native form, job JSON of seed 000, or UIS v1.1), one or many documents.
///
/// Total: any text gives an answer, in bounded time and memory. References are not resolved. Connectors and transforms
/// that the vocabulary lacks are kept with their options as written; [`check_words`] reports them.
pub fn parse(text: &str, file: &str, vocabulary: &dyn Vocabulary) -> Parsed {
    let mut problems = Problems::default();
    let documents = tree::load(text, &mut problems);
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for document in &documents {
        let Some(pipeline) = read(document, vocabulary, &mut problems) else { continue };
        if !pipeline.name.is_empty() && pipelines.iter().any(|other| other.name == pipeline.name) {
            problems.push(
                Diagnostic::error(
                    codes::SAME_PIPELINE,
                    format!("two pipelines of this file are called `{}`", problems::short(&pipeline.name)),
                )
                .at("pipeline", pipeline.spans.get("/pipeline").copied())
                .label("the second one")
                .help("state and checkpoints are kept by name; give one of them another"),
            );
        }
        pipelines.push(pipeline);
    }
    Parsed { pipelines, diagnostics: problems.finish(file) }
}

/// One document in whichever form it has.
fn read(document: &Tree, vocabulary: &dyn Vocabulary, problems: &mut Problems) -> Option<Pipeline> {
    let Some(entries) = document.as_map() else {
        problems.push(
            Diagnostic::error(codes::NOT_A_MAP, format!("a pipeline is a map, and this is {}", document.kind()))
                .at("", Some(document.span))
                .label("not a map")
                .help("start with `pipeline: NAME`"),
        );
        return None;
    };
    if document.get("pipeline").is_some() {
        return Some(native::read(document, vocabulary, problems, true));
    }
    type Lower = fn(&Tree, &dyn Vocabulary, &mut Problems) -> Tree;
    let lower: Option<Lower> = match () {
        () if uis::matches(document) => Some(uis::lower),
        () if job::matches(document) => Some(job::lower),
        () => None,
    };
    if let Some(lower) = lower {
        let errors = |problems: &Problems| problems.list.iter().filter(|problem| problem.is_error()).count();
        let before = errors(problems);
        let lowered = lower(document, vocabulary, problems);
        let whole = errors(problems) == before;
        return Some(native::read(&lowered, vocabulary, problems, whole));
    }
    let looks_native = |key: &str| native::KEYS.contains(&key) || nearest(key, ["pipeline"]).is_some();
    if entries.iter().any(|entry| looks_native(&entry.key)) {
        return Some(native::read(document, vocabulary, problems, true));
    }
    problems.push(
        Diagnostic::error(codes::UNKNOWN_FORM, "this is not a pipeline")
            .at("", Some(entries.first().map_or(document.span, |entry| entry.key_span)))
            .label("no key of a pipeline")
            .expected(
                "`pipeline:` and its nodes, a job with `source.connector_type`, or a unified ingestion spec with `provider`",
            )
            .help("`weir init` writes a starter"),
    );
    None
}
