//! From something wrong in a node to a diagnostic with its place in the pipeline file.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use weir_spec::model::{Pipeline, Span};
use weir_spec::{Diagnostic, Severity};

/// Codes of this crate. A code never changes its meaning.
pub mod code {
    /// No such connector or transform in this build.
    pub const UNKNOWN: &str = "WEIR-PLAN-001";
    /// A connector that cannot read is used as a source, or one that cannot write as a sink.
    pub const ROLE: &str = "WEIR-PLAN-002";
    /// The named connection is not declared, or belongs to another connector.
    pub const CONNECTION: &str = "WEIR-PLAN-003";
    /// The connector does not accept its options.
    pub const OPTIONS: &str = "WEIR-PLAN-004";
    /// The mode cannot run.
    pub const MODE: &str = "WEIR-PLAN-005";
    /// `mode: incremental` has nothing that tells new from old, or names a cursor that cannot be one.
    pub const CURSOR: &str = "WEIR-PLAN-006";
    /// The sink does not have this write mode.
    pub const WRITE_MODE: &str = "WEIR-PLAN-007";
    /// A key is missing or names no column.
    pub const KEY: &str = "WEIR-PLAN-008";
    /// Two sinks write to one place.
    pub const PLACE: &str = "WEIR-PLAN-009";
    /// A column would lose data.
    pub const LOSS: &str = "WEIR-PLAN-010";
    /// The demanded delivery cannot be kept.
    pub const DELIVERY: &str = "WEIR-SPEC-021";
    /// SQL that cannot be parsed.
    pub const SYNTAX: &str = "WEIR-PLAN-012";
    /// SQL that names what is not there, or does not fit its types.
    pub const QUERY: &str = "WEIR-PLAN-013";
    /// A transform does not accept its options.
    pub const TRANSFORM_OPTIONS: &str = "WEIR-PLAN-014";
    /// An option names a column that is not there, or one that exists already.
    pub const COLUMN: &str = "WEIR-PLAN-015";
    /// The graph has a shape that cannot run.
    pub const SHAPE: &str = "WEIR-PLAN-016";
    /// A word of the pipeline (`on_loss`, `on_schema_change`) is unknown.
    pub const WORD: &str = "WEIR-PLAN-017";
    /// A transform's place in the graph forbids setting rows aside.
    pub const DEAD_LETTERS: &str = "WEIR-PLAN-018";
    /// `metadata_columns` that do not exist, stand at the wrong place, or have the name of another column.
    pub const METADATA: &str = "WEIR-PLAN-021";
    /// The time of rows is not said, no timestamp, or not what a window counts on; or something keeps state without end.
    pub const EVENT_TIME: &str = "WEIR-PLAN-022";
    /// A mask that can be guessed.
    pub const WEAK_MASK: &str = "WEIR-PLAN-020";
}

/// Something wrong with a node's options, before its place in the file is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) option: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) suggestion: Option<String>,
    pub(crate) expected: Option<String>,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), option: None, label: None, suggestion: None, expected: None, help: None }
    }
    pub(crate) fn option(mut self, option: impl Into<String>) -> Self {
        self.option = Some(option.into());
        self
    }
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
    /// Adds the nearest of `known` to `word`, if one is near.
    pub(crate) fn nearest<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some(near) = nearest(word, known) {
            self.label = Some(format!("did you mean `{near}`?"));
            self.suggestion = Some(near.to_string());
        }
        self
    }

    /// A column that an option names and that is not there.
    pub(crate) fn no_column(name: &str, option: &str, columns: &[String]) -> Self {
        Self::new(code::COLUMN, format!("there is no column `{name}`"))
            .option(option)
            .nearest(name, columns.iter().map(String::as_str))
            .expected(listed(columns))
    }

    /// What DataFusion says about a query or an expression that stands in `option`.
    pub(crate) fn query(error: &DataFusionError, option: &str) -> Self {
        match error.find_root() {
            DataFusionError::SQL(error, _) => {
                Self::new(code::SYNTAX, format!("this SQL cannot be parsed: {}", plain(&error.to_string()))).option(option)
            }
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let mut names: Vec<String> = valid_fields.iter().map(|column| column.name.clone()).collect();
                    names.dedup();
                    let problem = Self::new(code::QUERY, format!("there is no column `{}`", field.name))
                        .option(option)
                        .nearest(&field.name, names.iter().map(String::as_str))
                        .expected(listed(&names));
                    match names.iter().find(|name| name.to_lowercase() == field.name.to_lowercase()) {
                        Some(name) => problem.help(format!("names without quotes mean lower case: write \"{name}\"")),
                        None => problem,
                    }
                }
                other => Self::new(code::QUERY, plain(&other.to_string())).option(option),
            },
            other => Self::new(code::QUERY, plain(&other.strip_backtrace())).option(option),
        }
    }
}

/// DataFusion's words without its prefixes.
pub(crate) fn plain(message: &str) -> String {
    let mut text = message.trim();
    for prefix in ["Error during planning: ", "sql parser error: ", "Execution error: ", "Schema error: ", "Arrow error: "] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_string()
}

fn listed(names: &[String]) -> String {
    const MOST: usize = 24;
    let mut text = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" … and {} more", names.len() - MOST));
    }
    format!("columns: {text}")
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(word.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Where things stand in the pipeline file.
pub(crate) struct Places<'a>(pub(crate) &'a Pipeline);

impl Places<'_> {
    /// A problem in a node, at the option that it names if that has a place, else at the node.
    pub(crate) fn in_node(&self, node: &str, problem: Problem) -> Diagnostic {
        let (path, span) = place(self.0, node, problem.option.as_deref());
        finish(problem, path, span)
    }

    /// A problem at a key of the pipeline itself: `delivery`, `on_loss/total`.
    pub(crate) fn at_key(&self, key: &str, problem: Problem) -> Diagnostic {
        let (path, span) = place_of_key(self.0, key);
        finish(problem, path, span)
    }
}

/// Where a node, or one of its options, stands in the pipeline file: the path as people write it, and the characters. An option that
/// has no
/// place of its own is where its node is.
pub fn place(pipeline: &Pipeline, node: &str, option: Option<&str>) -> (String, Option<Span>) {
    let letters = pipeline.dead_letters.to.as_deref().filter(|sink| sink.name == node && pipeline.node(node).is_none());
    let of_letters = letters.map(|_| "/dead_letters/to".to_string());
    let Some(pointer) = pipeline.node_paths.get(node).or(of_letters.as_ref()) else {
        let path = match option {
            Some(option) => format!("{node}.{option}"),
            None => node.to_string(),
        };
        return (path, None);
    };
    let kind = pipeline.node(node).or(letters).map_or("", |node| node.kind.as_str());
    let mut candidates = Vec::new();
    if let Some(option) = option {
        candidates.push(format!("{pointer}/{kind}/{option}"));
        candidates.push(format!("{pointer}/{option}"));
    }
    candidates.push(format!("{pointer}/{kind}"));
    let found = candidates.into_iter().find(|candidate| pipeline.spans.contains_key(candidate));
    let pointer = found.as_ref().unwrap_or(pointer);
    (dotted(pointer), pipeline.spans.get(pointer).copied())
}

/// Where a key of the pipeline itself stands: `mode`, `on_loss/total`.
pub fn place_of_key(pipeline: &Pipeline, key: &str) -> (String, Option<Span>) {
    let mut pointer = format!("/{key}");
    while !pipeline.spans.contains_key(&pointer) {
        match pointer.rfind('/') {
            Some(cut) if cut > 0 => pointer.truncate(cut),
            _ => break,
        }
    }
    (key.replace('/', "."), pipeline.spans.get(&pointer).copied())
}

fn finish(problem: Problem, path: String, span: Option<Span>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(problem.code, problem.message).at(path, span);
    diagnostic.label = problem.label;
    diagnostic.suggestion = problem.suggestion;
    diagnostic.expected = problem.expected;
    diagnostic.help = problem.help;
    diagnostic
}

/// A diagnostic that stops nothing.
pub(crate) fn warning(mut diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.severity = Severity::Warning;
    diagnostic
}

/// `/source/postgres/tables/0` → `source.postgres.tables[0]`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
    }
    path
}

/// Each problem once, in the order found.
pub(crate) fn distinct(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<Diagnostic> = Vec::with_capacity(diagnostics.len());
    for diagnostic in diagnostics {
        if !kept.contains(&diagnostic) {
            kept.push(diagnostic);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_becomes_a_path() {
        assert_eq!(dotted("/source/postgres/tables/0"), "source.postgres.tables[0]");
        assert_eq!(dotted("/sinks/a~1b/file"), "sinks.a/b.file");
    }

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("postgers", ["postgres", "file"]), Some("postgres"));
        assert_eq!(nearest("kafka", ["postgres", "file"]), None);
    }
}
