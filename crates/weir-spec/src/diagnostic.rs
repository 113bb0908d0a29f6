//! One problem in a pipeline file, with its place, what was expected and the nearest valid word.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::model::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The pipeline cannot be used.
    Error,
    /// It can, but look here.
    Warning,
}

/// One problem. As JSON: `code`, `severity`, `message`, `file`, `line`, `column`, `path`, then `label`, `suggestion`,
/// `expected`, `help` where there is one, and `start` and `end` as byte offsets.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Stable code: `WEIR-SPEC-014`, `WEIR-PLAN-003`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// File name as given by the user.
    pub file: String,
    /// Where; `None` when the problem has no single place.
    pub span: Option<Span>,
    /// Path in the native form: `source.postgres.tables[0]`.
    pub path: String,
    /// Short text beside the underlined words: `did you mean `format`?`.
    pub label: Option<String>,
    /// The nearest valid word.
    pub suggestion: Option<String>,
    /// What would have been right: allowed words, a type, a rule.
    pub expected: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("line", &self.span.map(|span| span.line))?;
        map.serialize_entry("column", &self.span.map(|span| span.column))?;
        map.serialize_entry("path", &self.path)?;
        for (key, value) in
            [("label", &self.label), ("suggestion", &self.suggestion), ("expected", &self.expected), ("help", &self.help)]
        {
            if let Some(value) = value {
                map.serialize_entry(key, value)?;
            }
        }
        if let Some(span) = self.span {
            map.serialize_entry("start", &span.start)?;
            map.serialize_entry("end", &span.end)?;
        }
        map.end()
    }
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }
    /// A warning without a place yet.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }
    fn new(code: &str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            file: String::new(),
            span: None,
            path: String::new(),
            label: None,
            suggestion: None,
            expected: None,
            help: None,
        }
    }
    /// Puts it at a path, with the span if one is known.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>, span: Option<Span>) -> Self {
        self.path = path.into();
        self.span = span;
        self
    }
    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
    /// Adds the text beside the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
    /// Adds the nearest valid word, if there is one; it becomes the label too.
    #[must_use]
    pub fn did_you_mean(mut self, word: Option<String>) -> Self {
        if let Some(word) = word {
            self.label = Some(format!("did you mean `{word}`?"));
            self.suggestion = Some(word);
        }
        self
    }
    /// Whether the pipeline cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
