//! Plan-time problems as diagnostics with a place in the file.

use weir_connect::Error;
use weir_spec::{Diagnostic, Pipeline};

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanFailure {
    /// The spec does not fit; everything that was found.
    Diagnostics(Vec<Diagnostic>),
    /// A system could not be asked.
    Error(Error),
}

impl From<Error> for PlanFailure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// An error about a node as a diagnostic at that node (or at one of its options).
pub fn at_node(pipeline: &Pipeline, node: &str, option: Option<&str>, error: &Error) -> Diagnostic {
    let mut message = error.what().to_owned();
    if let Some(why) = error.why() {
        message.push_str(": ");
        message.push_str(why);
    }
    let mut diagnostic = placed(pipeline, node, option, Diagnostic::error(error.code(), message));
    diagnostic.help = error.advice().map(str::to_owned);
    diagnostic
}

/// Puts a diagnostic at a node or at one of its options, whichever the file has.
pub fn placed(pipeline: &Pipeline, node: &str, option: Option<&str>, diagnostic: Diagnostic) -> Diagnostic {
    let base = pipeline.node_paths.get(node).cloned().unwrap_or_default();
    let exact = option.map(|option| format!("{base}/{option}")).filter(|path| pipeline.spans.contains_key(path));
    let pointer = exact.unwrap_or(base);
    let span = pipeline.spans.get(&pointer).copied();
    let path = if pointer.is_empty() { node.to_owned() } else { pointer.trim_start_matches('/').replace('/', ".") };
    diagnostic.at(path, span)
}

/// Puts a diagnostic at a top-level key.
pub fn at_key(pipeline: &Pipeline, key: &str, diagnostic: Diagnostic) -> Diagnostic {
    let span = pipeline.spans.get(&format!("/{key}")).copied();
    diagnostic.at(key, span)
}
